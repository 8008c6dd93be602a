//! Any version that was ever fully active comes back with one command in under a second, whatever is broken, gone or
//! hanging; what was taken back stays out, and the answer says what was not written down.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::Origin;
use crate::support::raw::{Answer, fetch};
use crate::support::tls::{Authority, handshake};
use crate::support::{PATIENCE, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The promise is a second; a busy machine that builds meanwhile gets another one.
const SOON: Duration = Duration::from_secs(2);

fn marked(origin: SocketAddr, mark: &str) -> Config {
    let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::new().upstream("u", &[origin], "").route("r", "/", "u", &edit)
}

fn apply(gateway: &Gateway, config: &Config) -> Value {
    let text = config.render(&gateway.folder().join("state"));
    let answer = gateway.admin_post("/v1/versions?now=true", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn ask(gateway: &Gateway, body: &str) -> Answer {
    gateway.admin_post("/v1/rollback", "Content-Type: application/json\r\n", body)
}

/// Rolls back, in time.
#[track_caller]
fn back(gateway: &Gateway, body: &str) -> Value {
    let started = Instant::now();
    let answer = ask(gateway, body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    answer.json()
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

fn reasons(gateway: &Gateway) -> String {
    gateway.admin_get("/readyz").json()["reasons"].to_string()
}

fn state(gateway: &Gateway) -> std::path::PathBuf {
    gateway.folder().join("state")
}

fn ledger(gateway: &Gateway) -> Value {
    serde_json::from_slice(&fs::read(state(gateway).join("state.json")).expect("a ledger")).expect("JSON")
}

/// Waits until the gateway has read its file after a signal.
fn reread(gateway: &Gateway) {
    let count = || gateway.metrics().value("tidegate_config_applies_total", &[]);
    let before = count();
    gateway.hup();
    wait_until(PATIENCE, "the file was read again", || count() > before);
}

#[test]
fn one_command_brings_back_what_was_good_before_and_says_all_of_it() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let one = gateway.hash();
    apply(&gateway, &marked(origin.address(), "two"));
    let answer = back(&gateway, r#"{"reason": "two is bad"}"#);
    assert_eq!(generation(&gateway), "one", "for the next request");
    assert_eq!((&answer["from"], &answer["version"]["number"]), (&2.into(), &1.into()));
    assert_eq!((&answer["version"]["hash"], &answer["persisted"]), (&one.as_str().into(), &true.into()));
    assert_eq!(answer["unrecorded"], serde_json::json!([]));
    let version = gateway.status()["version"].clone();
    assert_eq!((&version["number"], &version["cause"]), (&1.into(), &"rollback".into()));
    assert_eq!((&version["by"], &version["reason"]), (&"loopback".into(), &"two is bad".into()));
    let causes = |cause| gateway.metrics().value("tidegate_rollbacks_total", &[("cause", cause)]);
    assert_eq!((causes("operator"), causes("guard"), causes("crash_loop")), (1.0, 0.0, 0.0));
    let events = gateway.log();
    assert!(events.contains("rolled back") && events.contains("two is bad"), "{events}");
    // The next version has a number of its own.
    assert_eq!(apply(&gateway, &marked(origin.address(), "three"))["version"]["number"], 3);
}

#[test]
fn a_number_names_any_good_version_and_what_was_taken_back_is_passed_over() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "1"));
    ["2", "3", "4"].iter().for_each(|mark| drop(apply(&gateway, &marked(origin.address(), mark))));
    back(&gateway, "{}");
    assert_eq!(generation(&gateway), "3");
    apply(&gateway, &marked(origin.address(), "5"));
    assert_eq!(back(&gateway, "")["version"]["number"], 3, "4 was taken back itself");
    assert_eq!(back(&gateway, r#"{"version": 1}"#)["version"]["number"], 1);
    assert_eq!(back(&gateway, r#"{"version": 1}"#)["from"], 1, "again is no error");
    assert_eq!(back(&gateway, r#"{"version": 5}"#)["version"]["number"], 5, "also a newer one");
    assert_eq!(generation(&gateway), "5");
    let refused = ask(&gateway, r#"{"version": 99}"#);
    assert_eq!((refused.status(), &refused.json()["reason"]), (404, &"not_a_good_version".into()));
    back(&gateway, r#"{"version": 1}"#);
    let refused = ask(&gateway, "{}");
    assert_eq!((refused.status(), &refused.json()["reason"]), (409, &"no_good_version".into()));
    assert_eq!(refused.json()["good"], serde_json::json!([1, 2, 3, 4, 5]));
    assert_eq!((ask(&gateway, "[").status(), ask(&gateway, r#"{"verison": 1}"#).status()), (400, 400));
    assert_eq!(generation(&gateway), "1", "nothing changed");
}

#[test]
fn what_was_rolled_back_stays_out_until_it_changes_or_somebody_applies_it() {
    let origin = Origin::well_behaved();
    let bad = marked(origin.address(), "bad");
    let gateway = Gateway::start(&marked(origin.address(), "good"));
    gateway.change(&bad);
    back(&gateway, r#"{"reason": "bad"}"#);
    let stays = |gateway: &Gateway, when: &str| {
        reread(gateway);
        assert_eq!(generation(gateway), "good", "{when}");
        assert!(reasons(gateway).contains("the file is not what runs"), "{when}: {}", reasons(gateway));
    };
    stays(&gateway, "a signal");
    // Away and back is no change of the text.
    gateway.write_text("garbage = = 1");
    reread(&gateway);
    gateway.write(&bad);
    reread(&gateway);
    assert_eq!(generation(&gateway), "good", "it came back as it was");
    let why = reasons(&gateway);
    assert!(why.contains("version 2") && why.contains("was rolled back"), "{why}");
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "good", "a restart");
    assert!(reasons(&gateway).contains("was rolled back"), "{}", reasons(&gateway));
    assert_eq!(gateway.status()["degraded"], false);
    assert_eq!(gateway.status()["version"]["number"], 1);
    gateway.change(&marked(origin.address(), "better"));
    assert_eq!((generation(&gateway).as_str(), reasons(&gateway).as_str()), ("better", "[]"));
    apply(&gateway, &bad);
    assert_eq!(generation(&gateway), "bad", "somebody applied it");
    gateway.write(&bad);
    reread(&gateway);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "bad", "so it is not kept out any more");
}

#[test]
fn a_rollback_needs_neither_the_file_nor_a_disk_that_takes_anything() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    gateway.write_text("garbage = = 1");
    wait_until(PATIENCE, "it was read", || reasons(&gateway).contains("refused"));
    // Whatever is written next cannot be a file any more.
    let beside = state(&gateway).join("state.new");
    wait_until(PATIENCE, "nothing is being written", || fs::create_dir(&beside).is_ok());
    for gone in ["good", "secrets", "active.toml", "last-good.toml", "history.db"] {
        let path = state(&gateway).join(gone);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    let answer = back(&gateway, "{}");
    assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), ("one", &false.into()));
    assert!(answer["unrecorded"][0].as_str().is_some_and(|why| why.contains("state directory")), "{answer}");
    assert_eq!(gateway.status()["degraded"], true, "and everyone is told");
    fs::remove_dir(&beside).expect("removed");
    reread(&gateway);
    wait_until(PATIENCE, "it is kept after all", || gateway.status()["degraded"] == false);
    assert_eq!(ledger(&gateway)["active"]["number"], 1);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn a_full_disk_and_a_state_directory_that_is_gone_are_told_and_delay_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    let whole = state(&gateway);
    fs::rename(&whole, whole.with_extension("away")).expect("moved");
    fs::write(&whole, "not a directory").expect("written");
    let answer = back(&gateway, "{}");
    assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), ("one", &false.into()));
}

#[test]
fn a_disk_that_hangs_delays_no_rollback_and_is_told() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    // Whoever opens it to write waits for a reader that never comes.
    let pipe = state(&gateway).join("state.new");
    wait_until(PATIENCE, "nothing is being written", || {
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).is_ok()
    });
    for to in ["one", "two", "one"] {
        let version = if to == "one" { 1 } else { 2 };
        let answer = back(&gateway, &format!("{{\"version\": {version}}}"));
        assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), (to, &false.into()));
        assert!(answer["unrecorded"][0].as_str().is_some_and(|why| why.contains("400 ms")), "{answer}");
    }
    assert_eq!(gateway.admin_get("/readyz").status(), 200);
}

#[test]
fn a_control_plane_that_hangs_in_a_file_holds_no_rollback_up() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    let pipe = gateway.folder().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    fs::rename(&pipe, gateway.file()).expect("the file hangs from now on");
    let _writer = wait_for(PATIENCE, "the file is being read", || {
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(gateway.file()).ok()
    });
    // The background thread is in the pipe, and an apply waits behind it.
    let text = marked(origin.address(), "three").render(&state(&gateway));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gateway.admin_post("/v1/versions?now=true", "", &text).status());
        let answer = back(&gateway, "{}");
        assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), ("one", &true.into()));
        assert!([200, 202].contains(&waiting.join().expect("answered")));
    });
}

#[test]
fn variables_files_and_certificates_that_are_gone_do_not_refuse_a_rollback() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("mark"), "kept").expect("written");
    let tls = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let plain = "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";
    let first = marked(origin.address(), "${file:mark}${SUFFIX}").listener(&tls).text(plain);
    let launch = || Launch::default().variable("SUFFIX", "!");
    let gateway = Gateway::start_in(folder, &first, launch());
    let kept = state(&gateway).join("secrets/0000001.json");
    assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600);
    // A process without the variable, and a version that names nothing of it.
    apply(&gateway, &marked(origin.address(), "two").text(plain));
    let gateway = gateway.restart(Launch::default());
    fs::remove_file(gateway.folder().join("mark")).expect("removed");
    fs::remove_file(&pair.key).expect("removed");
    let answer = back(&gateway, "{}");
    let plain = gateway.listener("plain");
    assert_eq!(fetch(plain, "/").get("x-gen"), Some("kept!"));
    let notices = answer["notices"].to_string();
    for gone in ["${file:", "${SUFFIX}", "edge.test.key"] {
        assert!(notices.contains(gone), "{gone} in {notices}");
    }
    assert!(!notices.contains("kept!"), "never what filled it: {notices}");
    let edge = || {
        let written = fs::read(state(&gateway).join("addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&written).ok()?;
        addresses["listeners"]["edge"].as_str()?.parse::<SocketAddr>().ok()
    };
    let trusting = authority.client_config(&["http/1.1"], None);
    wait_until(PATIENCE, "the door shows what was kept", || {
        edge().is_some_and(|edge| handshake(edge, "edge.test", &trusting).is_ok())
    });
    // And it starts like that.
    let gateway = gateway.restart(Launch::default());
    assert_eq!(fetch(gateway.listener("plain"), "/").get("x-gen"), Some("kept!"));
    assert_eq!(gateway.status()["degraded"], true, "{}", reasons(&gateway));
    assert!(handshake(gateway.edge(), "edge.test", &trusting).is_ok());
}

#[test]
fn what_is_missing_even_among_what_was_kept_closes_its_route_and_no_other() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("token"), "hunter2").expect("written");
    let edit = "request_headers = { set = { authorization = \"Bearer ${file:token}\" } }";
    let first = marked(origin.address(), "one").route("secret", "/secret", "u", edit);
    let gateway = Gateway::start_in(folder, &first, Launch::default());
    apply(&gateway, &marked(origin.address(), "two"));
    let secrets = state(&gateway).join("secrets");
    let token = gateway.folder().join("token");
    let gateway = gateway.restart_after(Launch::default(), || {
        fs::remove_dir_all(secrets).expect("removed");
        fs::remove_file(token).expect("removed");
    });
    let notices = back(&gateway, "{}")["notices"].to_string();
    assert!(notices.contains("missing_secret") && notices.contains("token"), "{notices}");
    assert_eq!(generation(&gateway), "one");
    let closed = gateway.get("/secret");
    assert_eq!((closed.status(), closed.get("x-tidegate-reason")), (503, Some("missing_secret")));
    assert!(closed.get("retry-after").is_some(), "{}", closed.text());
    let gateway = gateway.restart(Launch::default());
    assert_eq!((gateway.get("/").status(), gateway.get("/secret").status()), (200, 503));
    assert!(reasons(&gateway).contains("missing_secret"), "{}", reasons(&gateway));
    // It is there again: a signal is enough.
    fs::write(gateway.folder().join("token"), "hunter2").expect("written");
    reread(&gateway);
    wait_until(PATIENCE, "its route is open again", || gateway.get("/secret").status() == 200);
}

#[test]
fn what_a_rollback_says_holds_no_secret_though_a_file_is_named_by_one() {
    let authority = Authority::new();
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("secret"), "hunter2").expect("written");
    let named = folder.path().join("hunter2");
    fs::copy(authority.ca(), &named).expect("copied");
    let first = marked(origin.address(), "one")
        .upstream("tls", &[origin.address()], "tls = { ca = \"${file:secret}\" }")
        .route("tls", "/tls", "tls", "");
    let gateway = Gateway::start_in(folder, &first, Launch::default());
    apply(&gateway, &marked(origin.address(), "two"));
    fs::remove_file(&named).expect("removed");
    fs::remove_file(gateway.folder().join("secret")).expect("removed");
    let said = back(&gateway, "{}").to_string();
    assert!(said.contains("what was kept of it is used") && !said.contains("hunter2"), "{said}");
}

#[test]
fn the_door_to_operators_is_not_rolled_back() {
    let origin = Origin::well_behaved();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let with = |mark, tokens: &str| marked(origin.address(), mark).admin(&format!("tokens = [{tokens}]"));
    let [ops, new] = ["ops", "new"].map(|name| token(name, "operator"));
    let viewer = token("dash", "viewer");
    let gateway = Gateway::start(&with("one", &format!("{ops}, {viewer}")));
    let post = |path: &str, token: &str, body: &str| {
        let json = if path.contains("rollback") { "Content-Type: application/json\r\n" } else { "" };
        gateway.admin_post(path, &format!("Authorization: Bearer {token}\r\n{json}"), body)
    };
    let two = with("two", &format!("{ops}, {new}, {viewer}")).render(&state(&gateway));
    assert_eq!(post("/v1/versions?now=true", "ops", &two).status(), 200);
    assert_eq!(post("/v1/rollback", "dash", "{}").status(), 403, "a viewer may not");
    assert_eq!(post("/v1/rollback", "new", "{}").json()["version"]["number"], 1);
    assert_eq!(post("/v1/rollback", "new", r#"{"version": 2}"#).status(), 200, "the new token stays");
    assert_eq!(post("/v1/rollback", "new", r#"{"version": 1}"#).status(), 200);
    let gateway = gateway.restart(Launch::default());
    let answer = gateway.admin_post("/v1/rollback", "Authorization: Bearer new\r\n", "");
    assert_eq!(answer.status(), 409, "also after a restart: {}", answer.text());
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn nobody_notices_a_rollback() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    for _ in 0..5 {
        apply(&gateway, &marked(origin.address(), "two"));
        back(&gateway, "{}");
    }
    let report = load.stop();
    report.only(&[200]);
    assert!(report.count(200) > 50, "{report:?}");
}

#[test]
fn a_rollback_is_done_while_every_core_is_saturated() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    let load = Load::closed(gateway.edge(), "/", 24);
    wait_until(PATIENCE, "there is load", || origin.requests() > 500);
    back(&gateway, "{}");
    load.stop().only(&[200, 503]);
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn an_address_that_somebody_else_has_closes_one_door_and_no_other() {
    let origin = Origin::well_behaved();
    let door = |at: SocketAddr| format!("[[listeners]]\nname = \"second\"\naddress = \"{at}\"\n");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let gateway = Gateway::start(&marked(origin.address(), "one").text(&door(free)));
    apply(&gateway, &marked(origin.address(), "two"));
    let _taken = wait_for(PATIENCE, "the address is free", || std::net::TcpListener::bind(free).ok());
    let notices = back(&gateway, "{}")["notices"].to_string();
    assert!(notices.contains("listener second") && notices.contains(&free.to_string()), "{notices}");
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn the_command_line_rolls_back() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    apply(&gateway, &marked(origin.address(), "two"));
    let run = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = run(&["rollback", "--reason", "two is bad"]);
    assert!(code == Some(0) && said.starts_with("version 1 (") && said.contains("version 2"), "{said}");
    assert_eq!(generation(&gateway), "one");
    let (code, said, _) = run(&["rollback", "2", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &answer["version"]["number"]), (Some(0), &2.into()));
    let (code, _, said) = run(&["rollback", "99"]);
    assert!(code == Some(1) && said.contains("ersion 99") && said.contains("1, 2"), "{said}");
    assert_eq!(run(&["rollback", "x"]).0, Some(2));
}

#[test]
fn a_killed_process_leaves_the_version_before_or_the_one_after() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&marked(origin.address(), "0"));
    for round in 1..=6 {
        let mark = round.to_string();
        let text = marked(origin.address(), &mark).render(&state(&gateway));
        let (admin, host) = (gateway.admin(), gateway.admin());
        // Asked for, and killed somewhere on the way.
        let asking = std::thread::spawn(move || {
            let head = format!(
                "POST /v1/versions?now=true HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            let Ok(mut raw) = crate::support::raw::Raw::try_connect(admin) else { return };
            let _ = raw.try_send(format!("{head}{text}"));
            let _ = raw.try_answer(false);
        });
        let after = Instant::now() + Duration::from_millis(round * 4);
        wait_until(PATIENCE, "it is somewhere on the way", || Instant::now() >= after);
        let file = state(&gateway).join("state.json");
        gateway = gateway.restart_after(Launch::default(), || {
            // So often killed, it would be a crash loop.
            let mut kept: Value = serde_json::from_slice(&fs::read(&file).expect("a ledger")).expect("JSON");
            kept["starts"] = serde_json::json!([]);
            fs::write(&file, kept.to_string()).expect("written");
        });
        asking.join().expect("it ends");
        let runs: u64 = generation(&gateway).parse().expect("one of them");
        assert!(runs <= round, "{runs}");
        assert_eq!(gateway.status()["degraded"], false, "{}", reasons(&gateway));
        let kept = ledger(&gateway);
        assert_eq!(kept["active"]["hash"], gateway.status()["version"]["hash"].as_str().expect("a hash"));
        assert!(Path::new(&state(&gateway)).join("last-good.toml").exists());
    }
}
