//! A version that somebody applied is active at once, says whose it is, and stands over the file: until the file
//! changes, through looks, signals and restarts. What is wrong or late changes nothing.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn marked(origin: SocketAddr, mark: &str) -> Config {
    let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::new().upstream("u", &[origin], "").route("r", "/", "u", &edit)
}

fn text(gateway: &Gateway, config: &Config) -> String {
    config.render(&gateway.folder().join("state"))
}

fn post(gateway: &Gateway, query: &str, more: &str, text: &str) -> Answer {
    gateway.admin_post(&format!("/v1/versions{query}"), more, text)
}

fn applied(gateway: &Gateway, query: &str, config: &Config) -> Value {
    let answer = post(gateway, &format!("?now=true{query}"), "", &text(gateway, config));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

fn reasons(gateway: &Gateway) -> String {
    gateway.admin_get("/readyz").json()["reasons"].to_string()
}

/// Waits until the gateway has read its file after a signal: what HUP refreshes was counted.
fn reread(gateway: &Gateway) {
    let count = || gateway.metrics().value("tidegate_config_applies_total", &[]);
    let before = count();
    gateway.hup();
    wait_until(PATIENCE, "the file was read again", || count() > before);
}

#[test]
fn an_applied_version_is_active_at_once_and_says_whose_it_is() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    let started = gateway.status()["version"].clone();
    assert_eq!(
        (&started["cause"], &started["by"], &started["overrules_file"]),
        (&"boot".into(), &Value::Null, &false.into())
    );
    let answer = applied(&gateway, "&reason=the%20fleet%20is%20slow", &marked(origin.address(), "api"));
    assert_eq!(generation(&gateway), "api", "for the next request");
    assert_eq!(
        (&answer["state"], &answer["changed"], &answer["persisted"]),
        (&"active".into(), &true.into(), &true.into())
    );
    assert_eq!((&answer["by"], &answer["reason"]), (&"loopback".into(), &"the fleet is slow".into()));
    let version = gateway.status()["version"].clone();
    assert_eq!(
        (&version["number"], &version["hash"]),
        (&answer["version"]["number"], &answer["version"]["hash"])
    );
    assert_eq!((&version["cause"], &version["by"]), (&"api".into(), &"loopback".into()));
    assert_eq!((&version["reason"], &version["overrules_file"]), (&"the fleet is slow".into(), &true.into()));
    assert!(version["since"].as_str().is_some_and(|since| since.len() == 24 && since.ends_with('Z')));
    let why = reasons(&gateway);
    assert!(
        why.contains("the file is not what runs") && why.contains("loopback") && why.contains("slow"),
        "{why}"
    );
    assert_eq!(gateway.status()["degraded"], false);
    let again = applied(&gateway, "", &marked(origin.address(), "api"));
    assert_eq!((&again["changed"], &again["version"]), (&false.into(), &answer["version"]));
}

#[test]
fn an_applied_version_stands_through_looks_signals_and_restarts() {
    let origin = Origin::well_behaved();
    let file = marked(origin.address(), "file");
    let mut gateway = Gateway::start(&file);
    let answer = applied(&gateway, "&reason=why", &marked(origin.address(), "api"));
    // The same text again is no change, whatever happened to the file meanwhile.
    fs::remove_file(gateway.file()).expect("removed");
    reread(&gateway);
    assert_eq!(generation(&gateway), "api");
    gateway.write(&file);
    for _ in 0..3 {
        reread(&gateway);
        assert_eq!(generation(&gateway), "api", "a signal is no way back");
    }
    let since = gateway.status()["version"]["since"].clone();
    for _ in 0..2 {
        gateway = gateway.restart(Launch::default());
        assert_eq!(generation(&gateway), "api", "nor is a restart");
        let version = gateway.status()["version"].clone();
        assert_eq!((&version["hash"], &version["since"]), (&answer["version"]["hash"], &since));
        assert_eq!((&version["by"], &version["reason"]), (&"loopback".into(), &"why".into()));
        assert!(reasons(&gateway).contains("the file is not what runs"));
    }
    assert_eq!(gateway.status()["degraded"], false);
}

#[test]
fn a_changed_file_is_a_change_again_also_over_a_restart() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    applied(&gateway, "", &marked(origin.address(), "api"));
    gateway.change(&marked(origin.address(), "newer file"));
    assert_eq!(generation(&gateway), "newer file");
    let version = gateway.status()["version"].clone();
    assert_eq!((&version["by"], &version["overrules_file"]), (&Value::Null, &false.into()));
    assert_eq!(reasons(&gateway), "[]");
    // Back to a text that was once overruled: it was not what was last read.
    gateway.change(&marked(origin.address(), "file"));
    assert_eq!(generation(&gateway), "file");
    applied(&gateway, "", &marked(origin.address(), "api"));
    let file = gateway.file();
    let newest = text(&gateway, &marked(origin.address(), "newest file"));
    drop(fs::write(file.with_extension("new"), &newest));
    let gateway = {
        // Changed while nobody looked.
        let folder = gateway.folder().to_owned();
        fs::rename(file.with_extension("new"), folder.join("gateway.toml")).expect("replaced");
        gateway.restart(Launch::default())
    };
    assert_eq!(generation(&gateway), "newest file");
}

#[test]
fn a_broken_file_does_not_bring_back_the_overruled_one() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    applied(&gateway, "", &marked(origin.address(), "api"));
    gateway.write_text("garbage = = 1");
    wait_until(PATIENCE, "it was read", || reasons(&gateway).contains("refused"));
    assert_eq!(generation(&gateway), "api");
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "api", "the last good version");
    assert_eq!(gateway.status()["degraded"], true, "and a file that is broken is told");
}

#[test]
fn a_signal_refreshes_what_fills_the_active_text() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("mark"), "one").expect("written");
    let gateway = Gateway::start_in(folder, &marked(origin.address(), "file"), Launch::default());
    applied(&gateway, "", &marked(origin.address(), "${file:mark}"));
    assert_eq!(generation(&gateway), "one");
    fs::write(gateway.folder().join("mark"), "two").expect("written");
    reread(&gateway);
    assert_eq!(generation(&gateway), "two");
    assert_eq!(gateway.status()["version"]["by"], "loopback");
    // Without what fills it, it starts with what was kept, and says so.
    fs::remove_file(gateway.folder().join("mark")).expect("removed");
    let gateway = gateway.restart(Launch::default());
    assert_eq!((generation(&gateway).as_str(), &gateway.status()["degraded"]), ("two", &true.into()));
}

#[test]
fn what_is_invalid_stale_or_unclear_changes_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    let (hash, good) = (gateway.hash(), text(&gateway, &marked(origin.address(), "api")));
    let refused = |query: &str, more: &str, text: &str| {
        let answer = post(&gateway, query, more, text);
        assert_eq!(answer.get("content-type"), Some("application/problem+json"), "{}", answer.text());
        assert_eq!(gateway.hash(), hash, "{query} {more}");
        (answer.status(), answer.json())
    };
    let (status, problem) = refused("?now=true", "", &good.replace("[gateway]", "[gatewya]"));
    assert_eq!(
        (status, &problem["reason"], &problem["findings"][0]["line"]),
        (422, &"invalid".into(), &1.into())
    );
    let missing = good.replace(
        "name = \"edge\"",
        "name = \"edge\"\ntls = { certificates = [{ certificate = \"no\", key = \"no\" }] }",
    );
    assert_eq!(refused("?now=true", "", &missing).0, 422, "a certificate that is not there");
    fs::write(gateway.folder().join("secret"), "hunter2").expect("written");
    let named = good.replace("name = \"u\"", "name = \"u\"\ntls = { ca = \"${file:secret}\" }");
    let (status, problem) = refused("?now=true", "", &named);
    let said = format!("{problem}{}{}", gateway.log(), reasons(&gateway));
    assert!(status == 422 && !said.contains("hunter2"), "{said}");
    let (status, problem) = refused("?now=true", &format!("If-Match: \"{}\"\r\n", "0".repeat(64)), &good);
    assert_eq!(
        (status, &problem["reason"], &problem["active"]),
        (412, &"stale".into(), &hash.as_str().into())
    );
    assert_eq!(refused("?now=true&stages=5%25,100%25", "", &good).0, 400, "at once is without stages");
    assert_eq!(refused("?stages=5%25", "", &good).0, 400, "not everyone is reached");
    assert_eq!(refused("?now=true&raeson=x", "", &good).0, 400);
    assert_eq!(refused("?now=true&reason=a%0Ab", "", &good).0, 422);
    assert_eq!(refused("?now=true", "Origin: http://evil.test\r\n", &good).0, 403);
    assert_eq!(refused("?now=true", "Content-Type: text/plain\r\n", &good).0, 415);
    assert_eq!(gateway.metrics().value("tidegate_config_last_apply_successful", &[]), 1.0, "of the file");
    let fits = post(&gateway, "?now=true", &format!("If-Match: \"{hash}\"\r\n"), &good);
    assert_eq!(fits.status(), 200, "{}", fits.text());
}

#[test]
fn a_viewer_may_not_and_an_operator_is_named() {
    let origin = Origin::well_behaved();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let tokens = format!("tokens = [{}, {}]", token("dash", "viewer"), token("ops", "operator"));
    let config = |mark| marked(origin.address(), mark).admin(&tokens);
    let gateway = Gateway::start(&config("file"));
    let good = text(&gateway, &config("api"));
    for (more, status) in
        [("", 401), ("Authorization: Bearer dash\r\n", 403), ("Authorization: Bearer x\r\n", 401)]
    {
        assert_eq!(post(&gateway, "?now=true", more, &good).status(), status, "{more}");
        assert_eq!(gateway.admin_post("/v1/config:check", more, &good).status(), status, "{more}");
    }
    let answer = post(&gateway, "?now=true", "Authorization: Bearer ops\r\n", &good);
    assert_eq!((answer.status(), &answer.json()["by"]), (200, &"ops".into()));
    assert!(gateway.log().contains("\"by\":\"ops\""), "the log names them");
}

#[test]
fn a_full_disk_is_told_and_delays_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    // What is written beside the last good version first cannot be a file any more.
    let beside = gateway.folder().join("state").join("last-good.new");
    fs::create_dir(&beside).expect("made");
    let answer = applied(&gateway, "", &marked(origin.address(), "api"));
    assert_eq!((&answer["persisted"], generation(&gateway).as_str()), (&false.into(), "api"));
    assert_eq!(gateway.status()["degraded"], true);
    fs::remove_dir(&beside).expect("removed");
    let again = applied(&gateway, "", &marked(origin.address(), "api"));
    assert_eq!((&again["persisted"], &gateway.status()["degraded"]), (&true.into(), &false.into()));
}

#[test]
fn a_file_that_hangs_leaves_the_change_pending_and_the_next_is_told_whose_it_is() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    let before = fs::read(gateway.file()).expect("read");
    let pipe = gateway.folder().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    fs::rename(&pipe, gateway.file()).expect("the file hangs from now on");
    // A pipe can be opened for writing as soon as somebody reads it.
    let mut writer = wait_for(PATIENCE, "the file is being read", || {
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(gateway.file()).ok()
    });
    let answers = std::thread::scope(|scope| {
        let ask = |mark: &'static str| {
            let text = text(&gateway, &marked(origin.address(), mark));
            let gateway = &gateway;
            scope.spawn(move || post(gateway, &format!("?now=true&reason={mark}"), "", &text))
        };
        let asked = [ask("one"), ask("two")];
        let started = Instant::now();
        assert_eq!((gateway.admin_get("/readyz").status(), generation(&gateway).as_str()), (200, "file"));
        assert!(started.elapsed() < Duration::from_secs(2), "nobody else waits");
        asked.map(|asked| asked.join().expect("answered"))
    });
    let [one, two] = &answers;
    let (pending, conflict) = if one.status() == 202 { (one, two) } else { (two, one) };
    assert_eq!((pending.status(), conflict.status()), (202, 409), "{} {}", one.text(), two.text());
    let (pending, conflict) = (pending.json(), conflict.json());
    assert_eq!((&pending["state"], &conflict["reason"]), (&"pending".into(), &"conflict".into()));
    assert_eq!(conflict["other"], serde_json::json!({ "by": "loopback", "reason": pending["reason"] }));
    // The file is one again, and whoever reads the pipe is let go with what it said before.
    let whole = gateway.folder().join("whole");
    fs::write(&whole, &before).expect("written");
    fs::rename(&whole, gateway.file()).expect("replaced");
    writer.write_all(&before).expect("read");
    drop(writer);
    let mark = pending["reason"].as_str().expect("a reason").to_owned();
    wait_until(PATIENCE, "the pending change is active", || generation(&gateway) == mark);
}

#[test]
fn the_command_line_applies_and_shows_what_is_wrong() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "file"));
    let file = gateway.folder().join("next.toml");
    let path = file.to_str().expect("text");
    fs::write(&file, text(&gateway, &marked(origin.address(), "api"))).expect("written");
    let run = |arguments: &[&str]| {
        let output = gateway.cli(&[&["apply", path], arguments].concat());
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = run(&["--now", "--stages", "5%,100%"]);
    assert!(code == Some(2) && said.contains("--now"), "{said}");
    let (code, _, said) = run(&["--now", "--if-match", &"0".repeat(16)]);
    assert!(code == Some(1) && said.contains("412"), "{said}");
    let (code, said, _) = run(&["--now", "--reason", "a & b", "--if-match", &gateway.hash()[..16]]);
    assert!(code == Some(0) && said.starts_with("version 2 ("), "{said}");
    assert_eq!(
        (generation(&gateway).as_str(), &gateway.status()["version"]["reason"]),
        ("api", &"a & b".into())
    );
    let (code, said, _) = run(&["--now", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &answer["changed"]), (Some(0), &false.into()));
    fs::write(&file, "[gatewya]\nworkers = 2\n").expect("written");
    let (code, _, said) = run(&["--now"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("next.toml:1:2") && said.contains("[gatewya]") && said.contains("hint"), "{said}");
}
