//! What goes wrong around a change leaves no trace, locks nobody out and is told as it is: refused versions, full and
//! hung disks, files that are too large or broken, tokens that go.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::raw::{Answer, Raw};
use crate::support::{PATIENCE, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn post(gateway: &Gateway, query: &str, more: &str, config: &Config) -> Answer {
    let text = config.render(&gateway.folder().join("state"));
    gateway.admin_post(&format!("/v1/versions?now=true{query}"), more, text)
}

fn applied(gateway: &Gateway, query: &str, config: &Config) -> Value {
    let answer = post(gateway, query, "", config);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// The text of the file with one more upstream, and a route to it.
fn with(origin: &Origin, name: &str) -> Config {
    Config::simple(origin.address()).upstream(name, &[origin.address()], "").route(
        name,
        &format!("/{name}"),
        name,
        "",
    )
}

fn names(gateway: &Gateway, name: &str) -> bool {
    gateway.admin_get("/metrics").text().contains(name)
}

#[test]
fn a_refused_version_leaves_no_names_in_the_metrics() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let taken = format!("[[listeners]]\nname = \"second\"\naddress = \"{}\"\n", gateway.admin());
    let answer = post(&gateway, "", "", &with(&origin, "ghost").text(&taken));
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(!names(&gateway, "ghost"), "{}", gateway.admin_get("/metrics").text());
}

#[test]
fn names_that_are_gone_leave_the_metrics_with_their_last_request() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&with(&origin, "leaver"));
    assert_eq!(gateway.get("/leaver").status(), 200);
    assert!(names(&gateway, "leaver"));
    applied(&gateway, "", &Config::simple(origin.address()));
    wait_until(PATIENCE, "nobody uses it any more", || !names(&gateway, "leaver"));
}

#[test]
fn the_status_never_names_one_version_and_the_author_of_another() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    // Doors that come and go make a change last.
    let texts = ["one", "two"].map(|door| {
        let door = format!("[[listeners]]\nname = \"{door}\"\naddress = \"127.0.0.1:0\"\n");
        Config::simple(origin.address()).text(&door)
    });
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Relaxed) {
                let version = gateway.status()["version"].clone();
                seen.push((version["number"].clone(), version["reason"].clone()));
            }
            seen
        });
        for n in 0..20 {
            applied(&gateway, &format!("&reason=change-{n}"), &texts[n % 2]);
        }
        over.store(true, Relaxed);
        look.join().expect("it looked")
    });
    let mut reasons: HashMap<String, Value> = HashMap::new();
    for (number, reason) in seen {
        let known = reasons.entry(number.to_string()).or_insert_with(|| reason.clone());
        assert_eq!(*known, reason, "version {number}");
    }
}

#[test]
fn whoever_would_lose_their_own_token_needs_break_glass() {
    let origin = Origin::well_behaved();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let config = |tokens: &[String]| {
        Config::simple(origin.address()).admin(&format!("tokens = [{}]", tokens.join(", ")))
    };
    let (ops, root) = (token("ops", "operator"), token("root", "admin"));
    let gateway = Gateway::start(&config(&[ops.clone(), root.clone()]));
    let apply = |who: &str, query: &str, tokens: &[String]| {
        let answer = post(&gateway, query, &format!("Authorization: Bearer {who}\r\n"), &config(tokens));
        (answer.status(), answer.json()["reason"].clone())
    };
    assert_eq!(apply("ops", "", std::slice::from_ref(&root)), (422, "own_token".into()));
    assert_eq!(apply("ops", "&break_glass=true", std::slice::from_ref(&root)), (403, "forbidden".into()));
    assert_eq!(apply("ops", "", &[token("ops", "viewer"), root.clone()]).0, 422, "reading is not enough");
    assert_eq!(apply("root", "", std::slice::from_ref(&ops)).0, 422);
    assert_eq!(apply("ops", "", &[ops.clone(), root.clone(), token("new", "viewer")]).0, 200);
    assert_eq!(apply("root", "&break_glass=true", std::slice::from_ref(&ops)).0, 200);
    assert_eq!(apply("root", "", &[ops, root]).0, 401, "it is gone");
}

#[test]
fn uploads_that_hang_leave_room_for_others() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let head = "POST /v1/versions?now=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n#";
    let mut hung: Vec<Raw> = (0..30).map(|_| Raw::connect(gateway.admin())).collect();
    hung.iter_mut().for_each(|upload| upload.send(head));
    assert_eq!(gateway.status()["ready"], true, "they were all heard");
    applied(&gateway, "", &with(&origin, "more"));
    assert_eq!(gateway.get("/more").status(), 200);
    assert_eq!(hung[0].answer(false).status(), 408);
}

#[test]
fn a_disk_that_hangs_does_not_hide_that_a_version_is_active() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let pipe = gateway.folder().join("state/last-good.new");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let answer = post(&gateway, "&reason=slow", "", &with(&origin, "more"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let said = answer.json();
    assert_eq!((&said["state"], &said["persisted"]), (&"active".into(), &false.into()));
    assert_eq!(said["version"]["hash"].as_str(), Some(gateway.hash().as_str()));
    assert_eq!(
        (gateway.get("/more").status(), &gateway.status()["version"]["reason"]),
        (200, &"slow".into())
    );
    // Whoever writes into the pipe is let go.
    let mut reader = fs::File::open(&pipe).expect("opened");
    let _ = reader.read_to_end(&mut Vec::new());
}

#[test]
fn what_a_full_disk_did_not_take_is_kept_when_there_is_room_again() {
    let origin = Origin::well_behaved();
    let file = Config::simple(origin.address());
    let gateway = Gateway::start(&file);
    let beside = gateway.folder().join("state/last-good.new");
    fs::create_dir(&beside).expect("made");
    assert_eq!(applied(&gateway, "", &with(&origin, "more"))["persisted"], false);
    assert_eq!(gateway.status()["degraded"], true);
    fs::remove_dir(&beside).expect("removed");
    // The file says what it said: only a look.
    gateway.write(&file);
    wait_until(PATIENCE, "it is kept", || gateway.status()["degraded"] == false);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(gateway.get("/more").status(), 200, "after a restart too");
}

#[test]
fn a_file_of_any_size_costs_no_memory() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let peak = || gateway.metrics().value("process_resident_memory_bytes", &[]);
    let before = peak();
    let large = gateway.folder().join("large");
    fs::File::create(&large).and_then(|file| file.set_len(400 << 20)).expect("a large file");
    fs::rename(&large, gateway.file()).expect("replaced");
    let highest = std::cell::Cell::new(before);
    wait_until(PATIENCE, "it is refused", || {
        highest.set(highest.get().max(peak()));
        gateway.status()["reasons"].to_string().contains("larger than 16 MiB")
    });
    assert!(highest.get() - before < (100 << 20) as f64, "{} from {before}", highest.get());
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn a_broken_file_that_somebody_decided_against_is_nothing_to_be_degraded_by() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    gateway.write_text("garbage = = 1");
    wait_until(PATIENCE, "it was read", || gateway.status()["last_apply_successful"] == false);
    applied(&gateway, "&reason=repair", &with(&origin, "more"));
    let before = gateway.status();
    let gateway = gateway.restart(Launch::default());
    let after = gateway.status();
    assert_eq!(gateway.get("/more").status(), 200);
    assert_eq!((&before["degraded"], &after["degraded"]), (&false.into(), &false.into()), "{after}");
    assert_eq!((&before["reasons"], &after["version"]["reason"]), (&after["reasons"], &"repair".into()));
}

#[test]
fn an_origin_that_cannot_be_read_is_told() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    applied(&gateway, "", &with(&origin, "more"));
    fs::write(gateway.folder().join("state/origin.json"), "{\"hash\":").expect("written");
    let gateway = gateway.restart(Launch::default());
    // The ledger says it too, so that the file which was decided against stays out.
    assert_eq!(gateway.get("/more").status(), 200);
    wait_for(PATIENCE, "it is told", || gateway.log().contains("origin.json").then_some(()));
}
