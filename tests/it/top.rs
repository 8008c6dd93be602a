//! `top` in a real terminal, before a real gateway under load: what it shows, what its keys do, and what it leaves
//! behind.

use crate::support::config::Config;
use crate::support::gateway::{BINARY, Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::Origin;
use crate::support::terminal::Terminal;
use crate::support::{PATIENCE, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

fn marked(origin: SocketAddr, mark: &str) -> Config {
    let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::new().upstream("orders", &[origin, origin], "").route("r", "/", "orders", &edit)
}

/// Where the socket of its admin side is.
fn socket(gateway: &Gateway) -> String {
    gateway.folder().join("state/admin.sock").display().to_string()
}

/// A terminal in which `top` has begun, by the socket unless `more` says otherwise.
fn top(gateway: &Gateway, (columns, rows): (u16, u16), more: &[(&str, String)]) -> Option<Terminal> {
    let mut environment = vec![("TIDEGATE_ADMIN", socket(gateway))];
    environment.extend(more.iter().cloned());
    let terminal = Terminal::open(columns, rows, &environment)?;
    let pid = pid_file(gateway);
    terminal.line(&format!("sh -c 'echo $$ > {}; exec {BINARY} top'; echo left:$?", pid.display()));
    Some(terminal)
}

fn pid_file(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("top.pid")
}

fn process(gateway: &Gateway) -> Pid {
    let text = std::fs::read_to_string(pid_file(gateway)).expect("the process has said its id");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process id")
}

fn signal(gateway: &Gateway, signal: Signal) {
    kill_process(process(gateway), signal).expect("it is signalled");
}

/// The shell is back, on the screen that it had, and echoes what is typed.
fn is_given_back(terminal: &Terminal, status: &str) {
    let screen = terminal.until("the shell is back", |screen| screen.contains(status));
    assert!(!terminal.is_taken() && !screen.contains("in flight"), "{screen}");
    terminal.line("stty -a | tr ';' '\\n' | grep -ow '[-]*icanon\\|[-]*echo' | tr '\\n' ' '");
    terminal.until("lines and echo are as they were", |screen| screen.contains("icanon echo"));
}

fn ramp(gateway: &Gateway) -> Value {
    gateway.upstream("orders")["ramp"].clone()
}

#[test]
fn top_shows_the_load_and_its_keys_move_a_ramp_and_roll_back() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    gateway.change(&marked(origin.address(), "two"));
    let generation = || wait_for(PATIENCE, "an answer", || gateway.get("/").get("x-gen").map(str::to_owned));
    assert_eq!(generation(), "two");
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(20));
    let Some(terminal) = top(&gateway, (100, 30), &[]) else { return };
    terminal.until("the upstream is shown", |screen| screen.contains("orders") && screen.contains("2/2"));
    assert!(terminal.is_taken());

    terminal.press(&["r"]);
    terminal.until("it asks how much", |screen| screen.contains("orders may carry how much"));
    terminal.types("25");
    terminal.until("it has an outlook", |screen| screen.contains("at 25%:"));
    assert_eq!(ramp(&gateway), Value::Null, "nothing is done before Enter");
    terminal.press(&["Enter"]);
    terminal.types("cold caches");
    terminal.press(&["Enter"]);
    wait_until(PATIENCE, "the ramp is set", || ramp(&gateway)["percent"] == 25.0);
    assert_eq!(ramp(&gateway)["reason"], "cold caches");
    terminal.until("it says what came of it", |screen| screen.contains("orders carries 25%"));

    terminal.press(&["Enter"]);
    terminal.until("backends and levers are shown", |screen| {
        screen.contains("orders0") && screen.contains("orders1") && screen.contains("cold caches")
    });
    terminal.press(&["Down", "d"]);
    terminal.until("it asks before it drains", |screen| screen.contains("Drain orders/orders0"));
    terminal.press(&["Escape"]);
    terminal.until("nothing is asked any more", |screen| !screen.contains("Drain orders"));

    terminal.press(&["R"]);
    terminal.until("it says what comes back", |screen| screen.contains("version 1 ("));
    assert_eq!(generation(), "two", "one key does nothing");
    terminal.press(&["y"]);
    wait_until(PATIENCE, "the version before is back", || generation() == "one");
    terminal.until("it says what came back", |screen| screen.contains("version 2 was taken back"));

    terminal.press(&["q"]);
    is_given_back(&terminal, "left:0");
    assert!(load.stop().count(200) > 0);
}

#[test]
fn top_gives_the_terminal_back_when_it_is_told_to_end() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let Some(terminal) = top(&gateway, (40, 12), &[("NO_COLOR", "1".to_owned())]) else { return };
    terminal.until("it is small and there", |screen| screen.contains("orders") && screen.contains("2/2"));
    terminal.resize(80, 24);
    terminal.until("it has grown", |screen| screen.contains("p99"));
    signal(&gateway, Signal::TERM);
    is_given_back(&terminal, "left:0");
}

#[test]
fn top_ends_with_its_terminal() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let Some(terminal) = top(&gateway, (80, 24), &[]) else { return };
    terminal.until("the upstream is shown", |screen| screen.contains("orders"));
    let status = format!("/proc/{}/stat", process(&gateway).as_raw_nonzero());
    drop(terminal);
    let ended = || std::fs::read_to_string(&status).map_or(true, |text| text.contains(") Z"));
    wait_until(PATIENCE, "it has ended", ended);
}

#[test]
fn a_gateway_that_is_gone_is_said_to_be_gone_and_is_found_again() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let Some(terminal) = top(&gateway, (80, 24), &[]) else { return };
    terminal.until("the upstream is shown", |screen| screen.contains("orders") && !screen.contains("LOST"));
    let gateway = gateway.restart_after(Launch::default(), || {
        let screen = terminal.until("it says that nobody answers", |screen| screen.contains("! LOST for"));
        assert!(screen.contains("orders"), "what was seen last is still there:\n{screen}");
    });
    terminal.until("it is heard again", |screen| screen.contains("orders") && !screen.contains("LOST"));
    terminal.press(&["C-c"]);
    is_given_back(&terminal, "left:0");
    drop(gateway);
}

#[test]
fn a_rollout_is_shown_with_its_guard_and_aborted_by_two_keys() {
    let origin = Origin::well_behaved();
    let policy = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"60s\"\n";
    let version = |mark: &str| {
        let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
        Config::under(policy).upstream("orders", &[origin.address()], "").route("r", "/", "orders", &edit)
    };
    let gateway = Gateway::start(&version("old"));
    gateway.write(&version("new"));
    let Some(terminal) = top(&gateway, (100, 30), &[]) else { return };
    terminal.until("the rollout is above every pane", |screen| screen.contains("> rollout of version 2 by"));
    terminal.press(&["3"]);
    terminal.until("the guard's numbers are shown", |screen| {
        screen.contains("[50%] 100%") && screen.contains("candidate") && screen.contains("stable")
    });
    terminal.press(&["a"]);
    terminal.until("it asks", |screen| screen.contains("Abort the rollout of version 2"));
    let rollout = || gateway.admin_get("/v1/rollout").json();
    assert_eq!(rollout()["version"]["number"], 2, "one key does nothing");
    terminal.types("not tonight");
    terminal.press(&["Enter"]);
    wait_until(PATIENCE, "it is aborted", || rollout()["last"]["outcome"] == "aborted");
    terminal.until("the end and its reason are shown", |screen| {
        screen.contains("version 2 is aborted") && screen.contains("not tonight")
    });
    terminal.press(&["q"]);
    is_given_back(&terminal, "left:0");
}

#[test]
fn a_backend_that_is_drained_by_keys_gets_no_new_requests_until_it_is_ready_again() {
    let (one, other) = (Origin::well_behaved(), Origin::well_behaved());
    let config = Config::new().upstream("orders", &[one.address(), other.address()], "");
    let gateway = Gateway::start(&config.route("r", "/", "orders", ""));
    let load = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(10));
    let Some(terminal) = top(&gateway, (100, 30), &[]) else { return };
    terminal.until("the upstream is shown", |screen| screen.contains("orders") && screen.contains("2/2"));
    let state = || gateway.upstream("orders")["backends"][0]["state"].clone();
    let both_serve = || {
        let (before, others) = (one.requests(), other.requests());
        wait_until(PATIENCE, "both serve", || one.requests() > before && other.requests() > others);
    };
    both_serve();
    terminal.press(&["Enter"]);
    terminal.until("its backends are shown", |screen| screen.contains("orders0"));
    terminal.press(&["Down", "d"]);
    terminal.until("it asks before it drains", |screen| screen.contains("Drain orders/orders0"));
    assert_eq!(state(), "ready", "two keys do nothing");
    terminal.types("kernel update");
    terminal.press(&["Enter"]);
    wait_until(PATIENCE, "it is drained", || state() == "drained");
    terminal.until("it is shown with its reason", |screen| {
        screen.contains("drained") && screen.contains("kernel update")
    });
    let (before, others) = (one.requests(), other.requests());
    wait_until(PATIENCE, "the other one serves on", || other.requests() > others + 20);
    assert_eq!(one.requests(), before, "it gets nothing new");
    terminal.press(&["d"]);
    terminal.until("it asks before it brings it back", |screen| screen.contains("orders/orders0 back"));
    terminal.press(&["Enter"]);
    wait_until(PATIENCE, "it is ready", || state() == "ready");
    both_serve();
    terminal.press(&["q"]);
    is_given_back(&terminal, "left:0");
    assert!(load.stop().count(200) > 0);
}

#[test]
fn a_gateway_that_stands_still_is_said_to_be_silent_and_is_heard_again() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let Some(terminal) = top(&gateway, (80, 24), &[]) else { return };
    terminal.until("the upstream is shown", |screen| screen.contains("orders") && !screen.contains("LOST"));
    gateway.stopped(|| {
        terminal.until("its silence is told", |screen| screen.contains("! LOST for"));
    });
    terminal.until("it is heard again", |screen| screen.contains("orders") && !screen.contains("LOST"));
    terminal.press(&["q"]);
    is_given_back(&terminal, "left:0");
}

#[test]
fn a_viewer_sees_everything_and_is_told_why_nothing_moves() {
    let origin = Origin::well_behaved();
    let hash = blake3::hash(b"a token to look with").to_hex();
    let tokens = format!("tokens = [{{ name = \"eye\", role = \"viewer\", hash = \"{hash}\" }}]");
    let gateway = Gateway::start(&marked(origin.address(), "one").admin(&tokens));
    let admin = format!("http://{}", gateway.admin());
    let token = "a token to look with".to_owned();
    let Some(terminal) = top(&gateway, (100, 30), &[("TIDEGATE_ADMIN", admin), ("TIDEGATE_TOKEN", token)])
    else {
        return;
    };
    terminal.until("the upstream is shown", |screen| screen.contains("orders") && screen.contains("2/2"));
    terminal.press(&["c"]);
    // Who is known to be a viewer is told before anything is asked, otherwise when the gateway refuses.
    let refused = |screen: &str| screen.contains("viewer's token reads; this needs an operator's");
    let screen = terminal.until("it is refused, or asked", |screen| {
        refused(screen) || screen.contains("Take the ramp of orders away")
    });
    if !refused(&screen) {
        terminal.press(&["Enter"]);
        terminal.until("it says why not", refused);
    }
    terminal.press(&["q"]);
    is_given_back(&terminal, "left:0");
}

#[test]
fn without_a_terminal_top_says_so_and_prints_one_picture_if_asked() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "one"));
    let refused = gateway.cli(&["top"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("no") && said.contains("top --once"), "{said}");
    let once = gateway.cli(&["top", "--once"]);
    let picture = String::from_utf8(once.stdout).expect("text");
    assert_eq!(once.status.code(), Some(0));
    assert!(picture.contains("orders") && picture.contains("2/2") && !picture.contains('\x1b'), "{picture}");
    assert!(picture.lines().all(|line| line.chars().count() <= 100), "{picture}");
    let json = gateway.cli(&["top", "--json"]);
    let snapshot: Value = serde_json::from_slice(&json.stdout).expect("one snapshot");
    assert_eq!(snapshot["status"]["version"]["number"], 1);
}
