//! It always starts: a file that is broken, empty or gone at boot means the last good version, with the process
//! marked degraded; only a gateway that never had a good version refuses, with the findings.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::origins::Origin;
use crate::support::raw::fetch;
use crate::support::tls::{Authority, Pair, handshake, quoted};
use crate::support::{PATIENCE, wait_until};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// What may stand where a configuration was; `None` is no file.
const BROKEN: [Option<&[u8]>; 5] = [
    Some(b"\x7fELF\x00\xff\xfe not a configuration"),
    Some(b"[[routes\nname = = 1\n"),
    Some(b""),
    Some(b"[gateway]\nworkers = 2\n"),
    None,
];

pub fn put(file: &Path, content: Option<&[u8]>) {
    match content {
        Some(content) => fs::write(file, content).expect("the file is written"),
        None => fs::remove_file(file).expect("the file is removed"),
    }
}

/// Serves, and tells everyone who asks that it is not what it was told to be.
pub fn serves_degraded(gateway: &Gateway, why: &str) {
    assert_eq!(gateway.get("/").status(), 200, "{why}");
    assert_eq!(gateway.metrics().value("tidegate_config_degraded", &[]), 1.0, "{why}");
    assert_eq!(gateway.status()["degraded"], true, "{why}");
    let ready = gateway.admin_get("/readyz");
    assert_eq!(ready.status(), 200, "{why}: degraded is no reason to take it out");
    let reasons = ready.json()["reasons"].as_array().cloned().unwrap_or_default();
    assert!(
        reasons.iter().any(|reason| reason.as_str().is_some_and(|reason| reason.contains("degraded"))),
        "{why}: {reasons:?}"
    );
}

/// A gateway that found garbage where its configuration was.
fn on_its_last_good(config: &Config) -> Gateway {
    let gateway = Gateway::start(config);
    put(&gateway.file(), Some(b"garbage"));
    let gateway = gateway.restart(Launch::default());
    serves_degraded(&gateway, "garbage");
    gateway
}

#[test]
fn a_broken_file_at_boot_means_the_last_good_version() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&Config::simple(origin.address()));
    let good = gateway.hash();
    for content in BROKEN {
        let what = format!("{:?}", content.map(String::from_utf8_lossy));
        put(&gateway.file(), content);
        gateway = gateway.restart(Launch::default());
        serves_degraded(&gateway, &what);
        assert_eq!(gateway.hash(), good, "{what}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_before_remarks_about_it() {
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("u", &[origin.address()], "");
    let gateway = Gateway::start(&config.clone().route("r", "/", "u", ""));
    // A file that is not there is a remark, and stands before the mistake.
    let notify = "[[notify]]\nname = \"n\"\nurl = \"https://127.0.0.1:1/\"\nca = \"gone.pem\"\n";
    gateway.write(&config.text(notify).route("r", "/", "u", "timout = \"1s\""));
    let gateway = gateway.restart(Launch::default());
    let reasons = gateway.status()["reasons"].to_string();
    assert!(reasons.contains("unknown key `timout`") && reasons.contains("line "), "{reasons}");
    assert!(!reasons.contains("gone.pem"), "{reasons}");
}

#[test]
fn no_word_beside_the_file_is_missed_where_the_state_directory_is_given() {
    let origin = Origin::well_behaved();
    let missed = |launch: fn(&Path) -> Launch| {
        let folder = TempDir::new().expect("a temporary folder");
        // In the way of the word, as a folder that only root may write is.
        fs::create_dir(folder.path().join(".gateway.toml.state")).expect("made");
        let launch = launch(&folder.path().join("state"));
        let gateway = Gateway::start_in(folder, &Config::simple(origin.address()), launch);
        // The log has its own thread; this line comes after the one that is looked for.
        wait_until(PATIENCE, "it says that it is ready", || gateway.log().contains("\"message\":\"ready\""));
        gateway.log().contains("no word can be left")
    };
    assert!(missed(|_| Launch::default()));
    assert!(!missed(|state| Launch::default().state_dir(state)));
    assert!(!missed(|state| Launch::default().state_in_environment(state)));
}

#[test]
fn a_degraded_gateway_recovers_with_its_file() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = on_its_last_good(&config);
    gateway.write(&config.route("more", "/more", "u", ""));
    gateway.hup();
    wait_until(PATIENCE, "it is degraded no more", || {
        gateway.metrics().get("tidegate_config_degraded", &[]) == Some(0.0)
    });
    assert!(gateway.admin_get("/readyz").json()["reasons"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_first_boot_without_a_good_file_exits_with_the_findings() {
    for content in BROKEN {
        let folder = TempDir::new().expect("a temporary folder");
        let (file, state) = (folder.path().join("gateway.toml"), folder.path().join("state"));
        if content.is_some() {
            put(&file, content);
        }
        let output = finish(cli(&["run", "-c"]).arg(&file).arg("--state-dir").arg(&state), PATIENCE);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("gateway.toml"), "it names the file: {said}");
        assert!(said.contains("hint"), "and what to do: {said}");
    }
}

#[test]
fn the_command_line_then_the_environment_then_the_file_say_where_state_is() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let elsewhere = TempDir::new().expect("a temporary folder");
    let (argument, variable) = (elsewhere.path().join("argument"), elsewhere.path().join("variable"));
    let both = || Launch::default().state_dir(&argument).state_in_environment(&variable);
    let gateway = Gateway::launch(&config, both());
    let is_unused = |state: &Path| fs::read_dir(state).map_or(true, |mut entries| entries.next().is_none());
    assert!(!is_unused(&argument) && is_unused(&variable));
    let gateway = gateway.restart(Launch::default().state_in_environment(&variable));
    assert!(!is_unused(&variable));
    assert!(is_unused(&gateway.folder().join("state")), "what the file says is not used");
    put(&gateway.file(), Some(b"garbage"));
    let gateway = gateway.restart(both());
    serves_degraded(&gateway, "state by argument");
    serves_degraded(&gateway.restart(Launch::default().state_in_environment(&variable)), "by variable");
}

#[test]
fn a_state_directory_that_cannot_be_written_costs_no_request() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "not a directory").expect("the file is written");
    let launch = Launch::default().state_dir(&file.join("state"));
    let gateway = Gateway::launch(&Config::simple(origin.address()), launch);
    serves_degraded(&gateway, "no state");
    let reasons = gateway.admin_get("/readyz").text();
    assert!(reasons.contains("state directory"), "{reasons}");
    let config = Config::simple(origin.address()).route("more", "/more", "u", "");
    gateway.change(&config);
    // The new version is there a moment before the word that its change is done.
    wait_until(PATIENCE, "the change is a success", || {
        gateway.metrics().value("tidegate_config_last_apply_successful", &[]) == 1.0
    });
}

#[test]
fn a_signal_right_after_the_start_is_heard() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let mut gateway = Gateway::start(&config);
    for _ in 0..10 {
        gateway.hup();
        assert_eq!(gateway.get("/").status(), 200);
        gateway = gateway.restart(Launch::default());
    }
}

#[test]
fn a_file_that_comes_back_as_it_was_ends_the_degradation() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = on_its_last_good(&config);
    gateway.write(&config);
    wait_until(PATIENCE, "it is degraded no more", || {
        gateway.metrics().get("tidegate_config_degraded", &[]) == Some(0.0)
    });
    assert_eq!(gateway.metrics().value("tidegate_config_last_apply_successful", &[]), 1.0);
}

#[test]
fn a_file_that_is_away_for_a_moment_is_forgiven() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = Gateway::start(&config);
    let successful = || gateway.metrics().value("tidegate_config_last_apply_successful", &[]);
    put(&gateway.file(), None);
    wait_until(PATIENCE, "it is missed", || successful() == 0.0);
    assert_eq!(gateway.get("/").status(), 200);
    gateway.write(&config);
    wait_until(PATIENCE, "it is forgiven", || successful() == 1.0);
}

#[test]
fn a_disk_that_takes_no_last_good_version_is_told_and_costs_no_request() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = Gateway::start(&config);
    // What is written beside the last good version first cannot be a file any more.
    let beside = gateway.file().with_file_name("state").join("last-good.new");
    std::fs::create_dir(&beside).expect("made");
    let gateway = gateway.restart(Launch::default());
    serves_degraded(&gateway, "a start that cannot be kept");
    std::fs::remove_dir(&beside).expect("removed");
    gateway.hup();
    wait_until(PATIENCE, "it is kept again", || {
        gateway.metrics().get("tidegate_config_degraded", &[]) == Some(0.0)
    });
}

/// A cleartext listener beside `edge`, which shows `pair`, and an upstream that shows `client`.
fn with_certificates(origin: &Origin, pair: &Pair, client: &Pair) -> Config {
    let shows =
        |pair: &Pair| format!("certificate = {}, key = {}", quoted(&pair.certificate), quoted(&pair.key));
    Config::simple(origin.address())
        .listener(&format!("tls = {{ certificates = [{{ {} }}] }}", shows(pair)))
        .text("[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"")
        .upstream("secret", &[origin.address()], &format!("tls = {{ {} }}", shows(client)))
        .route("secret", "/secret", "secret", "")
}

#[test]
fn certificates_that_are_broken_at_boot_close_only_what_they_belong_to() {
    let authority = Authority::new();
    let (pair, client) = (authority.server(&["edge.test"]), authority.client("client"));
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&with_certificates(&origin, &pair, &client));
    let (good, own) = (fs::read(&pair.key).expect("read"), fs::read(&client.key).expect("read"));
    fs::write(&pair.key, "").expect("written");
    fs::write(&client.key, "").expect("written");
    let gateway = gateway.restart(Launch::default());
    assert_eq!(fetch(gateway.listener("plain"), "/").status(), 200);
    let secret = fetch(gateway.listener("plain"), "/secret");
    assert_eq!((secret.status(), secret.get("x-tidegate-reason")), (503, Some("missing_secret")));
    let trusting = authority.client_config(&["http/1.1"], None);
    assert!(handshake(gateway.edge(), "edge.test", &trusting).is_err());
    let reasons = gateway.admin_get("/readyz").text();
    assert!(reasons.contains("edge.test.key") && reasons.contains("client.key"), "{reasons}");
    fs::write(&pair.key, good).expect("written");
    wait_until(PATIENCE, "the listener opens", || handshake(gateway.edge(), "edge.test", &trusting).is_ok());
    fs::write(&client.key, own).expect("written");
    wait_until(PATIENCE, "so does the route", || fetch(gateway.listener("plain"), "/secret").status() != 503);
}

#[test]
fn a_first_version_whose_certificates_are_broken_is_refused_or_gives_way_to_the_last_good_one() {
    let authority = Authority::new();
    let (pair, other) = (authority.server(&["edge.test"]), authority.server(&["other.test"]));
    let origin = Origin::well_behaved();
    let mixed = Pair { certificate: pair.certificate.clone(), key: other.key.clone() };
    let wrong = with_certificates(&origin, &mixed, &pair);
    let folder = TempDir::new().expect("a temporary folder");
    let (file, state) = (folder.path().join("gateway.toml"), folder.path().join("state"));
    put(&file, Some(wrong.render(&state).as_bytes()));
    let output = finish(cli(&["run", "-c"]).arg(&file), PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listener edge") && said.contains("other.test.key"), "{said}");

    let gateway = Gateway::start(&Config::simple(origin.address()));
    let good = gateway.hash();
    put(&gateway.file(), Some(wrong.render(&gateway.folder().join("state")).as_bytes()));
    let gateway = gateway.restart(Launch::default());
    serves_degraded(&gateway, "the pair does not fit");
    assert_eq!(gateway.hash(), good);
    fs::copy(&pair.key, &other.key).expect("copied");
    gateway.write(&wrong);
    wait_until(PATIENCE, "the same text is taken once they fit", || gateway.hash() != good);
    wait_until(PATIENCE, "it is degraded no more", || gateway.status()["degraded"] == false);
}
