//! Secrets go where they are meant to go, and nowhere else: not into findings, logs, the admin API or the state
//! directory, whether they are right or wrong.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{PATIENCE, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

const SECRET: &str = "hunter2-correct-horse";

fn config(backend: SocketAddr) -> Config {
    let edits = "request_headers = { set = { authorization = \"Bearer ${file:secret}\" } }";
    Config::new().upstream("u", &[backend], "").route("r", "/", "u", edits)
}

/// Everything that an operator can see of a gateway.
fn everything_said(gateway: &Gateway) -> String {
    let paths = ["/v1/status", "/v1/upstreams", "/v1/upstreams/u", "/readyz", "/metrics"];
    let mut said: String = paths.iter().map(|path| gateway.admin_get(path).text()).collect();
    said += &gateway.log();
    said += &fs::read_to_string(gateway.folder().join("stdout")).unwrap_or_default();
    for entry in fs::read_dir(gateway.folder().join("state")).expect("a state directory") {
        said += &fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
    }
    said
}

fn shows_no_secret(said: &str) {
    for word in ["hunter2", "correct-horse"] {
        assert!(!said.contains(word), "{word} in {said}");
    }
}

fn check(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = finish(cli(&["check"]).args(arguments).arg(file), PATIENCE);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_secret_reaches_the_backend_and_nobody_else() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("secret"), SECRET).expect("the secret is written");
    let gateway = Gateway::start_in(folder, &config(origin.address()), Launch::default());
    let echo = gateway.get("/").json();
    let bearer = format!("Bearer {SECRET}");
    assert_eq!(header_seen(&echo, "authorization"), Some(bearer.as_str()));
    origin.switch(Behaviour::SendsGarbage);
    assert_eq!(gateway.get("/").status(), 502);
    shows_no_secret(&gateway.get("/").text());
    wait_until(PATIENCE, "the requests are logged", || gateway.access_log().len() == 3);
    let said = everything_said(&gateway);
    assert!(said.contains("${file:secret}"), "the text before filling is kept as last good");
    shows_no_secret(&said);
    let (code, said) = check(&gateway.file(), &[]);
    assert_eq!(code, Some(0), "{said}");
    shows_no_secret(&said);
}

#[test]
fn a_secret_that_is_wrong_is_refused_without_being_shown() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("secret"), SECRET).expect("the secret is written");
    let gateway = Gateway::start_in(folder, &config(origin.address()), Launch::default());
    let secret = gateway.folder().join("secret");
    for wrong in
        [format!("{SECRET}\nsecond line"), format!("{SECRET}\x01{SECRET}"), format!("\r\n\0{SECRET}")]
    {
        fs::write(&secret, &wrong).expect("the secret is written");
        for arguments in [&[][..], &["--json"]] {
            let (code, said) = check(&gateway.file(), arguments);
            assert_eq!(code, Some(1), "{wrong:?}: {said}");
            assert!(said.contains("${file:secret}"), "it names the place: {said}");
            shows_no_secret(&said);
        }
    }
    gateway.write(&config(origin.address()).route("more", "/more", "u", ""));
    gateway.hup();
    wait_until(PATIENCE, "the refusal shows", || {
        gateway.metrics().get("tidegate_config_last_apply_successful", &[]) == Some(0.0)
    });
    wait_until(PATIENCE, "the log says so", || gateway.log().contains("configuration refused"));
    shows_no_secret(&everything_said(&gateway));
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown_either() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("gateway.toml");
    fs::write(folder.path().join("secret"), SECRET).expect("the secret is written");
    let good = config(SocketAddr::from(([127, 0, 0, 1], 9))).render(folder.path());
    for (part, wrong) in [
        ("workers = 2", "workers = \"${file:secret}\""),
        ("path_prefix = \"/\"", "path_prefix = \"${file:secret}\""),
        ("upstream = \"u\"", "upstream = \"${file:secret}\""),
        ("address = \"127.0.0.1:9\"", "address = \"${file:secret}\""),
        ("path_prefix = \"/\"", "timeout = \"${file:secret}\""),
        ("path_prefix = \"/\"", "class = \"${file:secret}\""),
    ] {
        fs::write(&file, good.replace(part, wrong)).expect("the file is written");
        let (code, said) = check(&file, &[]);
        assert_eq!(code, Some(1), "{wrong}: {said}");
        shows_no_secret(&said);
    }
    fs::remove_file(folder.path().join("secret")).expect("the secret is removed");
    fs::write(&file, good).expect("the file is written");
    let (code, said) = check(&file, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("secret") && said.contains("hint"), "it says which file is missing: {said}");
}
