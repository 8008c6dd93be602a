//! What goes wrong under the audit costs the audit at most: a database deleted or damaged under way, disks that take
//! nothing, hang or are full, and kills at any moment.

use crate::audit::{RAMP, actions, lines, move_ramp, row_of, rows, run, started, state, verdict};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::operator::change;
use crate::support::origins::Origin;
use crate::support::raw::Raw;
use crate::support::{PATIENCE, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[test]
fn a_database_that_is_deleted_under_way_is_a_loss_that_is_named() {
    let (_origin, gateway) = started();
    move_ramp(&gateway, 1..=3);
    let lost = rows(&gateway, &[])[2]["hash"].as_str().expect("a hash").to_owned();
    fs::remove_file(state(&gateway, "history.db")).expect("removed");
    move_ramp(&gateway, 4..=4);
    assert_eq!(actions(&gateway), ["audit.segment", "ramp.set"]);
    let begins = &rows(&gateway, &[])[0];
    assert_eq!(
        (&begins["action"], &begins["segment"], &begins["prev"]),
        (&json!("audit.segment"), &json!(2), &json!(lost))
    );
    let verdict = verdict(&gateway, "");
    assert!(
        verdict["notices"][0].as_str().is_some_and(|told| told.contains("row that is known was 3")),
        "{verdict}"
    );
    assert_eq!(run(&gateway, &["audit", "--verify"]).0, Some(0));
    let (status, told) = run(&gateway, &["audit", "--verify", "--head", &lost]);
    assert!(status == Some(1) && told.contains("NOT VALID") && told.contains("lost"), "{told}");
    assert_eq!(gateway.metrics().value("tidegate_audit_segment", &[]), 2.0);
    wait_until(PATIENCE, "the lines have what the database lost", || lines(&gateway).len() == 5);
}

#[test]
fn garbage_in_place_of_the_database_holds_up_neither_start_nor_change() {
    let (_origin, gateway) = started();
    move_ramp(&gateway, 1..=3);
    let garbage = || {
        for name in ["history.db-wal", "history.db"] {
            fs::write(state(&gateway, name), "garbage ".repeat(2_000)).expect("written");
        }
    };
    garbage();
    move_ramp(&gateway, 4..=4);
    assert_eq!(actions(&gateway), ["audit.segment", "ramp.set"]);
    gateway.stopped(garbage);
    let gateway = gateway.restart(Launch::default());
    move_ramp(&gateway, 5..=5);
    assert_eq!(actions(&gateway), ["audit.segment", "ramp.set"]);
    let verdict = verdict(&gateway, "");
    assert_eq!((&verdict["valid"], &verdict["segment"]), (&json!(true), &json!(3)), "{verdict}");
    assert!(state(&gateway, "history.db.lost-2").exists());
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_made_up_for() {
    let origin = Origin::well_behaved();
    let folder = tempfile::tempdir().expect("a folder of its own");
    for name in ["history.db", "audit.jsonl"] {
        fs::create_dir_all(folder.path().join("state").join(name)).expect("in its way");
    }
    let gateway = Gateway::start_in(folder, &Config::simple(origin.address()), Launch::default());
    let refused = change(gateway.admin(), "PUT", RAMP, &json!({ "percent": 5 }));
    assert_eq!((refused.status(), refused.get("x-tidegate-audit")), (200, Some("unrecorded")));
    wait_until(PATIENCE, "it is told", || {
        let reasons = gateway.admin_get("/readyz").json()["reasons"].to_string();
        reasons.contains("audit are not being recorded") && reasons.contains("wait in memory: ")
    });
    assert_eq!(gateway.admin_get("/v1/audit").json()["reason"], "history_unavailable");
    assert_eq!(gateway.metrics().value("tidegate_history_available", &[]), 0.0);
    for name in ["history.db", "audit.jsonl"] {
        fs::remove_dir(state(&gateway, name)).expect("out of its way");
    }
    wait_until(PATIENCE, "it is recorded after all", || lines(&gateway).len() == 1);
    move_ramp(&gateway, 6..=6);
    let late: Vec<_> = rows(&gateway, &[]).iter().map(|row| row["late"].clone()).collect();
    assert_eq!((late, gateway.status()["reasons"].clone()), (vec![json!(true), json!(false)], json!([])));
}

#[test]
fn a_disk_that_hangs_holds_up_neither_a_change_nor_the_end() {
    let origin = Origin::well_behaved();
    let folder = tempfile::tempdir().expect("a folder of its own");
    let state = folder.path().join("state");
    fs::create_dir_all(&state).expect("made");
    // Whoever opens a pipe for writing waits for a reader, who never comes.
    mknodat(CWD, state.join("audit-head.json.new"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .expect("a pipe");
    let config = Config::simple(origin.address()).gateway("drain_delay = \"0s\"");
    let mut gateway = Gateway::start_in(folder, &config, Launch::default());
    move_ramp(&gateway, 1..=50);
    let unrecorded = change(gateway.admin(), "PUT", RAMP, &json!({ "percent": 51 }));
    assert_eq!((unrecorded.status(), row_of(&unrecorded)), (200, None));
    let asked = gateway.admin_get("/v1/audit:verify");
    assert_eq!(
        (asked.status(), &asked.json()["reason"]),
        (503, &json!("history_unavailable")),
        "{}",
        asked.text()
    );
    wait_until(PATIENCE, "it is told", || gateway.metrics().value("tidegate_history_available", &[]) == 0.0);
    gateway.term();
    assert_eq!(gateway.exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_disk_that_is_full_costs_rows_and_nothing_else() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::launch(&Config::simple(origin.address()), Launch::file_blocks(256));
    let mut percent = 0;
    wait_until(PATIENCE * 3, "there is no room any more", || {
        percent = percent % 100 + 1;
        move_ramp(&gateway, percent..=percent);
        gateway.metrics().value("tidegate_history_available", &[]) == 0.0
    });
    assert_eq!(gateway.upstreams()[0]["ramp_percent"], percent as f64);
    assert!(gateway.serves("/"));
    let reasons = gateway.admin_get("/readyz").json()["reasons"].to_string();
    assert!(reasons.contains("hint: make room"), "{reasons}");
    let taken = fs::read_to_string(state(&gateway, "audit.jsonl")).expect("readable");
    assert!(taken.ends_with('\n'), "no half line is left");
    let gateway = gateway.restart(Launch::default());
    let verdict = verdict(&gateway, "");
    assert!(verdict["valid"] == true && verdict["segment"] == 1, "{verdict}");
}

#[test]
fn a_state_directory_that_cannot_be_one_costs_the_audit_and_nothing_else() {
    let origin = Origin::well_behaved();
    let folder = tempfile::tempdir().expect("a folder of its own");
    let file = folder.path().join("no-directory");
    fs::write(&file, "").expect("written");
    let gateway = Gateway::launch(&Config::simple(origin.address()), Launch::default().state_dir(&file));
    move_ramp(&gateway, 5..=5);
    assert!(gateway.serves("/") && gateway.admin_get("/v1/audit").status() == 503);
}

/// Moves a ramp again and again until nobody answers; how often, and the rows that the answers named.
fn move_until_killed(admin: SocketAddr, asked: &AtomicU64, told: &Mutex<Vec<u64>>) {
    let body = "{\"percent\": 5}";
    let request = format!(
        "PUT {RAMP} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    while let Ok(mut raw) = Raw::try_connect(admin) {
        asked.fetch_add(1, Relaxed);
        let is_sent = raw.try_send(&request).is_ok();
        let Some(answer) = is_sent.then(|| raw.try_answer(false).ok()).flatten() else { return };
        told.lock().expect("whole").extend(row_of(&answer));
    }
}

/// How many; more for a long run.
fn kills() -> u32 {
    let told = std::env::var("TIDEGATE_KILLS").ok();
    told.map_or(8, |told| told.parse().expect("TIDEGATE_KILLS is a number"))
}

#[test]
fn a_kill_at_any_moment_leaves_a_chain_that_verifies() {
    let (_origin, mut gateway) = started();
    let mut chance = fastrand::Rng::with_seed(6);
    let asked = AtomicU64::new(0);
    for round in 0..kills() {
        let (wanted, told, admin) = (chance.usize(5..80), Mutex::default(), gateway.admin());
        gateway = std::thread::scope(|scope| {
            let clients = [0, 1].map(|_| scope.spawn(|| move_until_killed(admin, &asked, &told)));
            wait_until(PATIENCE * 3, "there are enough", || told.lock().expect("whole").len() >= wanted);
            gateway.restart_after(Launch::default(), || {
                clients.into_iter().for_each(|it| it.join().expect("ends"))
            })
        });
        let newest = told.into_inner().expect("whole").into_iter().max().expect("some");
        let verdict = verdict(&gateway, &format!("?count={newest}"));
        let is_whole = verdict["valid"] == true && verdict["segment"] == 1 && verdict["notices"] == json!([]);
        assert!(is_whole, "round {round}: {verdict}");
        let count = verdict["count"].as_u64().expect("a number");
        assert!(count <= asked.load(Relaxed), "{count} rows of {asked:?} that were asked for");
        wait_until(PATIENCE, "the lines have them too", || lines(&gateway).len() as u64 == verdict["count"]);
    }
    let path = state(&gateway, "audit.jsonl");
    let offline = cli(&["audit", "--verify", "--file"]).arg(path).output().expect("it runs");
    assert!(offline.status.success(), "{}", String::from_utf8_lossy(&offline.stdout));
}
