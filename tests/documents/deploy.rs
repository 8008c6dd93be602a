//! What lies in deploy/ to be installed is what its own words say: the unit keeps to a stated exposure, the image runs
//! as nobody, the manifests are read by a parser and fit each other and the program.

use super::{read, root};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The exposure of the unit at most, as systemd counts it: 0 is nothing, 10 is everything. What is left is the network,
/// which it is there for, and the ports below 1024.
const EXPOSURE: f64 = 2.0;

/// Runs a program of the system's; skips where it is not installed, as tests/it/support does.
fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(_) if std::env::var_os("TIDEGATE_REQUIRE_EXTERNAL").is_none() => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program} is required here: {error}"),
    }
}

/// The unit, with this build for the program that it runs.
fn unit() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder of its own");
    let text = read("deploy/tidegate.service");
    let text = text.replace("/usr/local/bin/tidegate", env!("CARGO_BIN_EXE_tidegate"));
    let file = folder.path().join("tidegate.service");
    fs::write(&file, text).expect("written");
    (folder, file)
}

#[test]
fn systemd_understands_the_unit() {
    let (_folder, file) = unit();
    let Some((passed, said)) = run("systemd-analyze", &["verify", "--man=no", &file.display().to_string()])
    else {
        return;
    };
    let ours: Vec<_> = said.lines().filter(|line| line.contains("tidegate.service")).collect();
    assert!(passed && ours.is_empty(), "{said}");
}

#[test]
fn the_unit_keeps_to_its_exposure() {
    let (_folder, file) = unit();
    let arguments = ["security", "--offline=true", "--no-pager", &file.display().to_string()];
    let Some((_, said)) = run("systemd-analyze", &arguments) else { return };
    let (_, level) = said.split_once("Overall exposure level for tidegate.service: ").expect("an exposure");
    let level: f64 = level.split_whitespace().next().and_then(|level| level.parse().ok()).expect("a number");
    assert!(level <= EXPOSURE, "{level} is more than {EXPOSURE}:\n{said}");
}

#[test]
fn the_image_is_built_as_the_crate_wants_and_runs_as_nobody() {
    let text = read("deploy/Dockerfile").replace("\\\n", " ");
    let of = |word: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.map(str::to_owned).collect()
    };
    let stages = of("FROM");
    let manifest = read("Cargo.toml");
    let version = manifest.split_once("rust-version = \"").expect("a version").1.split('"').next();
    assert_eq!(stages.len(), 2, "one stage to build in, one to run");
    assert!(stages[0].starts_with(&format!("rust:{}-", version.expect("in quotes"))), "{stages:?}");
    assert!(!stages[1].contains("rust"), "what runs has no compiler: {stages:?}");
    // By number, so that Kubernetes can see that it is not root.
    let user = of("USER").pop().expect("a user");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    for word in ["ENTRYPOINT", "CMD"] {
        let command = of(word).pop().expect("a command");
        assert!(
            serde_json::from_str::<Vec<String>>(&command).is_ok(),
            "{word} {command} would run in a shell"
        );
    }
    assert_eq!(of("STOPSIGNAL"), ["SIGTERM"], "which drains");
    let ignored = read(".dockerignore");
    assert!(ignored.lines().any(|line| line == "target") && ignored.lines().any(|line| line == ".git"));
}

/// The manifests, each a document.
fn manifests() -> Vec<Value> {
    let text = read("deploy/kubernetes/tidegate.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let all: Vec<_> = documents.map(|it| Value::deserialize(it).expect("it is YAML")).collect();
    assert!(
        all.iter().all(|it| it["apiVersion"].as_str().is_some() && it["metadata"]["name"].as_str().is_some())
    );
    all
}

fn manifest(kind: &str, name: &str) -> Value {
    let found = manifests()
        .into_iter()
        .find(|it| it["kind"].as_str() == Some(kind) && it["metadata"]["name"].as_str() == Some(name));
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The labels that something selects pods by.
fn selects(selector: &Value) -> Option<&str> {
    selector["matchLabels"]["app"].as_str().or_else(|| selector["app"].as_str())
}

#[test]
fn the_manifests_fit_each_other() {
    let set = manifest("StatefulSet", "tidegate");
    let (spec, pod) = (&set["spec"], &set["spec"]["template"]["spec"]);
    let app = spec["template"]["metadata"]["labels"]["app"].as_str();
    assert_eq!(app, Some("tidegate"));
    let headless = spec["serviceName"].as_str().expect("a service");
    assert_eq!(manifest("Service", headless)["spec"]["clusterIP"].as_str(), Some("None"));
    let selectors = [
        spec["selector"].clone(),
        manifest("Service", "tidegate")["spec"]["selector"].clone(),
        manifest("Service", headless)["spec"]["selector"].clone(),
        manifest("PodDisruptionBudget", "tidegate")["spec"]["selector"].clone(),
        manifest("NetworkPolicy", "tidegate")["spec"]["podSelector"].clone(),
    ];
    assert!(selectors.iter().all(|selector| selects(selector) == app), "{selectors:?}");
    for spread in pod["topologySpreadConstraints"].as_array().expect("it is spread") {
        assert_eq!(selects(&spread["labelSelector"]), app);
    }
    let container = &pod["containers"][0];
    let ports: Vec<_> =
        container["ports"].as_array().expect("ports").iter().filter_map(|it| it["name"].as_str()).collect();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        assert!(["/readyz", "/livez"].contains(&get["path"].as_str().expect("a path")), "{probe}");
        assert!(ports.contains(&get["port"].as_str().expect("a port by name")), "{probe}");
    }
    let volumes = pod["volumes"].as_array().expect("volumes").iter();
    let claims = spec["volumeClaimTemplates"].as_array().expect("a claim").iter().map(|it| &it["metadata"]);
    let names: Vec<_> = volumes.chain(claims).filter_map(|it| it["name"].as_str()).collect();
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        assert!(names.contains(&mount["name"].as_str().expect("a name")), "{mount:?}");
        assert!(mount["subPath"].is_null(), "what is mounted by subPath never changes: {mount:?}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(context["capabilities"]["drop"][0].as_str(), Some("ALL"));
}

/// Seconds in a configuration's text, or its default.
fn seconds(config: &str, key: &str) -> u64 {
    let found = config.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('='));
    let text = found.unwrap_or_else(|| {
        let reference = include_str!("../../config/tidegate.toml");
        reference
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='))
            .expect("a default")
    });
    text.trim().trim_matches('"').trim_end_matches('s').parse().expect("whole seconds")
}

#[test]
fn the_manifests_configuration_passes_the_check_and_its_drain_fits_into_the_grace() {
    let config =
        manifest("ConfigMap", "tidegate")["data"]["tidegate.toml"].as_str().expect("a text").to_owned();
    let set = manifest("StatefulSet", "tidegate");
    let pod = &set["spec"]["template"]["spec"];
    let pause = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1];
    let pause: u64 = pause.as_str().and_then(|it| it.parse().ok()).expect("it waits so many seconds");
    let drain = seconds(&config, "drain_delay") + seconds(&config, "drain_timeout");
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a grace");
    assert!(grace > pause + drain, "{grace} s are less than {pause} + {drain}");
    // The hash that the secret has there.
    let folder = tempfile::tempdir().expect("a folder of its own");
    fs::write(folder.path().join("on-call"), "0".repeat(64)).expect("written");
    let text = config.replace("/etc/tidegate-tokens", &folder.path().display().to_string());
    assert_ne!(text, config, "the secret is mounted where the file looks for it");
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, text).expect("written");
    let check = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg(&file).output().expect("runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn every_sysctl_has_a_number_and_a_reason() {
    let text = read("deploy/sysctl.d/60-tidegate.conf");
    let mut settings = 0;
    for paragraph in text.split("\n\n").skip(1) {
        let (said, set): (Vec<_>, Vec<_>) = paragraph.lines().partition(|line| line.starts_with('#'));
        assert!(!said.is_empty(), "no reason for {set:?}");
        for line in set {
            let (key, value) = line.split_once(" = ").expect("key = value");
            assert!(key.contains('.') && value.split(' ').all(|it| it.parse::<u64>().is_ok()), "{line}");
            settings += 1;
        }
    }
    assert!(settings >= 8, "only {settings} settings");
    // What the gateway asks the system for is what it may have.
    let listener = super::sources(&root().join("src/listener"));
    assert!(listener.contains("4096"), "the backlog");
    assert!(text.contains("somaxconn = 4096"));
}
