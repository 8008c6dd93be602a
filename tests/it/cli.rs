//! The command line: what it prints, and the exit status by which scripts know. 0 done, 1 refused or
//! invalid, 2 usage, 3 the gateway cannot be reached.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, cli};
use crate::support::origins::{Origin, refused};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = finish(command, SOON);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// A file with this text in a folder of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).expect("the file is written");
    (folder, path)
}

fn good() -> String {
    let address = "127.0.0.1:9".parse().expect("an address");
    Config::simple(address).render(Path::new("/var/lib/tidegate"))
}

fn check(path: &Path) -> Command {
    let mut command = cli(&["check"]);
    command.arg(path);
    command
}

#[test]
fn a_good_file_passes() {
    let (_folder, path) = file(&good());
    let (code, stdout, stderr) = run(&mut check(&path));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines_and_hints() {
    let text = good().replace("path_prefix", "path_prefx").replace("upstream = \"u\"", "upstream = \"nope\"")
        + "\n[[upstreams]]\nname = \"u2\"\nbackends = []\nconnect_timeout = \"5 parsecs\"\n";
    let (_folder, path) = file(&text);
    let (code, stdout, stderr) = run(&mut check(&path));
    let all = format!("{stdout}{stderr}");
    assert_eq!(code, Some(1), "{all}");
    for (mistake, hint) in
        [("path_prefx", "path_prefix"), ("nope", "u"), ("5 parsecs", "ms"), ("backends = []", "backend")]
    {
        let line = 1 + text.lines().position(|line| line.contains(mistake)).expect("it is in the text");
        assert!(all.contains(mistake), "{mistake} is shown:\n{all}");
        assert!(all.contains(&format!("gateway.toml:{line}:")), "{mistake} is on line {line}:\n{all}");
        assert!(all.contains(hint), "{mistake} has a hint:\n{all}");
    }
}

#[test]
fn mistakes_are_data_for_programs() {
    let (_folder, path) = file(&good().replace("path_prefix", "path_prefx"));
    let (code, stdout, _) = run(check(&path).arg("--json"));
    assert_eq!(code, Some(1));
    let findings: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    assert!(
        findings.to_string().contains("path_prefx") && findings.to_string().contains("\"line\""),
        "{findings}"
    );
}

#[test]
fn broken_toml_names_its_line() {
    let (_folder, path) = file("[gateway]\nworkers = 2\n\n[[routes]\nname = \"x\"\n");
    let (code, stdout, stderr) = run(&mut check(&path));
    assert_eq!(code, Some(1));
    assert!(format!("{stdout}{stderr}").contains(":4:"), "{stdout}{stderr}");
}

#[test]
fn values_are_filled_from_the_environment_and_never_shown() {
    let text = good()
        .replace("workers = 2", "workers = \"${CORES}\"")
        .replace("path_prefix = \"/\"", "path_prefix = \"${PREFIX:/}\"");
    let (_folder, path) = file(&text);
    let (code, stdout, stderr) = run(check(&path).env("CORES", "2"));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(check(&path).env_remove("CORES"));
    let all = format!("{stdout}{stderr}");
    assert_eq!(code, Some(1));
    assert!(all.contains("CORES"), "it names what is missing: {all}");
    let (code, stdout, stderr) = run(check(&path).env("CORES", "hunter2"));
    let all = format!("{stdout}{stderr}");
    assert_eq!(code, Some(1));
    assert!(all.contains("${CORES}") && !all.contains("hunter2"), "a filled value is not shown: {all}");
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let twice = "[[routes]]\nname = \"again\"\npath_prefix = \"/\"\nupstream = \"u\"\n";
    let (_folder, path) = file(&(good() + twice));
    let (code, stdout, stderr) = run(&mut check(&path));
    let all = format!("{stdout}{stderr}");
    assert_eq!(code, Some(1), "{all}");
    assert!(all.contains("again") && all.contains("name = \"r\""), "both are named: {all}");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let (code, _, stderr) = run(&mut check(Path::new("/nowhere/gateway.toml")));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/nowhere/gateway.toml"), "{stderr}");
    let (code, _, stderr) =
        run(cli(&["run", "-c", "/nowhere/gateway.toml"]).args(["--state-dir", "/nowhere"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/nowhere/gateway.toml"), "{stderr}");
}

#[test]
fn a_gateway_without_a_good_version_does_not_start_from_a_bad_file() {
    let state = TempDir::new().expect("a temporary folder");
    let text = good()
        .replace("path_prefix", "path_prefx")
        .replace("/var/lib/tidegate", &state.path().display().to_string());
    let (_folder, path) = file(&text);
    let (code, stdout, stderr) = run(cli(&["run", "-c"]).arg(path));
    assert_eq!(code, Some(1));
    assert!(format!("{stdout}{stderr}").contains("path_prefx"), "{stdout}{stderr}");
}

#[test]
fn every_file_in_config_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files =
        std::fs::read_dir(folder).expect("config/ is there").map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 3, "the reference, the quickstart and an example: {files:?}");
    for path in files {
        let (code, stdout, stderr) = run(&mut check(&path));
        assert_eq!(code, Some(0), "{}:\n{stdout}{stderr}", path.display());
    }
}

#[test]
fn the_schema_is_the_committed_one() {
    let (code, stdout, stderr) = run(&mut cli(&["schema"]));
    assert_eq!(code, Some(0), "{stderr}");
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    assert!(printed["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let committed = std::fs::read_to_string(committed).expect("config/schema.json is there");
    let committed: Value = serde_json::from_str(&committed).expect("JSON");
    assert_eq!(printed, committed, "hint: `tidegate schema > config/schema.json`");
}

#[test]
fn status_is_for_people_and_for_programs() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let people = gateway.cli(&["status"]);
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    assert_eq!(people.status.code(), Some(0), "{}", String::from_utf8_lossy(&people.stderr));
    assert!(text.contains("64") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let programs = gateway.cli(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&programs.stdout).expect("JSON");
    assert!(status.to_string().contains(&gateway.hash()), "{status}");
    let socket = gateway.folder().join("state/admin.sock");
    let (code, _, stderr) = run(cli(&["status", "--admin"]).arg(socket));
    assert_eq!(code, Some(0), "through the socket: {stderr}");
}

#[test]
fn a_gateway_that_cannot_be_reached_is_exit_3() {
    let (code, _, stderr) = run(cli(&["status", "--admin"]).arg(format!("http://{}", refused())));
    assert_eq!(code, Some(3));
    assert!(stderr.contains("hint"), "it says what to do: {stderr}");
}

#[test]
fn usage_errors_are_exit_2() {
    for arguments in [&["frobnicate"][..], &["run"], &["check"], &["status", "--no-such-flag"]] {
        let (code, _, stderr) = run(&mut cli(arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
    }
}

#[test]
fn completions_and_help_are_there() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(&mut cli(&["completions", shell]));
        assert!(code == Some(0) && stdout.contains("tidegate") && stdout.contains("check"), "{shell}");
    }
    let (code, stdout, _) = run(&mut cli(&["--help"]));
    assert_eq!(code, Some(0));
    for verb in ["run", "demo", "check", "schema", "status", "completions"] {
        assert!(stdout.contains(verb), "{verb} in {stdout}");
    }
}
