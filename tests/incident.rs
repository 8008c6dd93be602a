//! 24 March 2023, replayed by `tidegate drill incident` on the real binary: each test is one thing that it has to show.
//!
//! The drill runs once for all of them. It is told to leave nothing behind, and is looked at for that too.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For a part of the drill to begin, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the drill found.
static DRILL: LazyLock<Value> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder of its own");
    let output = drill(folder.path(), &[]).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no report:\n{out}\n{err}"));
    assert_eq!(output.status.code(), Some(i32::from(report["holds"] != true)), "{report:#}");
    assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
    report
});

fn drill(scratch: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "incident", "--quick", "--json"]).args(arguments).env("TMPDIR", scratch);
    command
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("and readable").path()).collect()
}

#[track_caller]
fn holds(bar: &str) {
    let bars = DRILL["bars"].as_array().expect("bars");
    let found =
        bars.iter().find(|it| it["name"] == bar).unwrap_or_else(|| panic!("no {bar} in {:#}", *DRILL));
    assert_eq!(found["holds"], true, "{found:#}\n{:#}", *DRILL);
}

#[test]
fn a_bad_address_that_does_not_resolve_is_refused_and_hurts_nobody() {
    holds("unresolvable_is_stopped");
    holds("unresolvable_hurts_nobody");
}

#[test]
fn a_bad_address_that_no_probe_can_see_is_stopped_at_the_first_cohort_within_seconds() {
    holds("silent_is_stopped_at_the_first_cohort");
    holds("silent_costs_its_cohort_at_most");
    holds("reverted_within_seconds");
}

#[test]
fn b_forced_through_it_hurts_only_what_needs_it_and_one_word_or_none_ends_it() {
    holds("routes_without_auth_notice_nothing");
    holds("known_identities_keep_working");
    holds("forced_is_reverted");
}

#[test]
fn b_monitoring_answers_all_the_while() {
    holds("monitoring_answers");
}

#[test]
fn c_while_everything_hangs_and_the_check_would_refuse_a_rollback_takes_less_than_a_second() {
    holds("the_check_would_refuse");
    holds("rollback_takes_less_than_a_second");
    holds("everybody_is_served_after_it");
    holds("what_a_gone_file_said_is_kept");
}

#[test]
fn d_no_cold_backend_crashes_when_the_whole_fleet_restarts() {
    holds("no_cold_origin_crashes");
    holds("let_up_by_percentage");
}

#[test]
fn d_all_of_the_traffic_comes_back() {
    holds("everything_is_back");
}

#[test]
fn no_bar_of_the_drill_is_left_out_here() {
    let bars = DRILL["bars"].as_array().expect("bars");
    let code = include_str!("incident.rs");
    for name in bars.iter().map(|bar| bar["name"].as_str().expect("a name")) {
        assert!(code.contains(&format!("holds(\"{name}\");")), "nobody looks at {name}");
    }
}

#[test]
fn it_stands_beside_24_march_2023() {
    let seconds = |at: &str| DRILL[at].as_f64().unwrap_or(f64::MAX);
    let then = |at: &str| DRILL["march_24"][at].as_f64().expect("it is known");
    assert_eq!((then("push_to_rollback_s"), then("rollback_to_well_s")), (56.0 * 60.0, 43.0 * 60.0));
    for what in ["push_to_revert_s", "rollback_s", "restart_to_well_s"] {
        assert!(seconds(what) < 60.0, "{what}: {:#}", *DRILL);
    }
    assert!(DRILL["lost"].as_f64().expect("counted") < then("lost_at_this_rate") / 50.0);
    assert!(DRILL["timeline"].as_array().is_some_and(|moments| moments.len() > 10));
}

/// A drill that has its gateway running.
struct Begun {
    drill: Child,
    gateway: Pid,
    folder: TempDir,
}

fn begun() -> Begun {
    // Not beside the one that is measured.
    LazyLock::force(&DRILL);
    let folder = TempDir::new().expect("a folder of its own");
    let command = drill(folder.path(), &["--only", "d"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let drill = command.expect("it starts");
    let gateway = wait_for("its gateway runs", || {
        let scratch = left_in(folder.path()).pop()?;
        let addresses = fs::read(scratch.join("state/addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&addresses).ok()?;
        Pid::from_raw(i32::try_from(addresses["pid"].as_u64()?).ok()?)
    });
    Begun { drill, gateway, folder }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn is_gone(process: Pid) -> bool {
    test_kill_process(process).is_err()
}

#[test]
fn a_drill_that_is_interrupted_leaves_nothing_behind() {
    let Begun { mut drill, gateway, folder } = begun();
    let id = Pid::from_raw(drill.id() as i32).expect("a process id");
    kill_process(id, Signal::INT).expect("told");
    let status = wait_for("it ends", || drill.try_wait().expect("its status is known"));
    let mut said = String::new();
    drill.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(is_gone(gateway));
    assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_drill_that_is_killed_takes_its_gateway_with_it() {
    let Begun { mut drill, gateway, .. } = begun();
    drill.kill().expect("killed");
    drill.wait().expect("its status is known");
    wait_for("its gateway is gone", || is_gone(gateway).then_some(()));
}
