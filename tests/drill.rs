//! `tidegate drill` on the real binary: each scene on a small configuration that is wrong on purpose, where it has to
//! name the setting, and on the amended one, where it has to be silent about it.
//!
//! What is looked at are shares, words and advice, never times: other things run on this machine too.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For a drill to begin or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two drills at a time: each has a fleet and a crowd, and waits for most of its time.
static STANDS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
static DRILLS: AtomicUsize = AtomicUsize::new(0);

/// An edge before two upstreams, with what a test adds to the first, to its route and at the end.
fn config(upstream: &str, route: &str, more: &str) -> String {
    format!(
        r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:0"
[[upstreams]]
name = "orders"
backends = [{{ name = "a", address = "orders-a.internal:80" }}, {{ name = "b", address = "orders-b.internal:80" }}]
{upstream}
[[upstreams]]
name = "catalogue"
backends = [{{ name = "a", address = "192.0.2.7:80" }}, {{ name = "b", address = "192.0.2.8:80" }}]
[[routes]]
name = "orders"
path_prefix = "/orders"
upstream = "orders"
timeout = "2s"
{route}
[[routes]]
name = "catalogue"
path_prefix = "/catalogue"
upstream = "catalogue"
timeout = "2s"
{more}
"#
    )
    // What a test says of a route stands in for what stands there already.
    .replace(if route.contains("timeout") { "timeout = \"2s\"\ntimeout" } else { "\u{0}" }, "timeout")
}

/// What came of a drill.
struct Drilled {
    report: Value,
    status: Option<i32>,
}

fn run(text: &str, arguments: &[&str]) -> (Output, TempDir) {
    let folder = TempDir::new().expect("a folder of its own");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, text).expect("written");
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).expect("made");
    let stand = &STANDS[DRILLS.fetch_add(1, Relaxed) % STANDS.len()];
    let _stand = stand.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "--quick", "-c"]).arg(&file).args(arguments).env("TMPDIR", &scratch);
    let output = command.output().expect("it runs");
    let left: Vec<PathBuf> =
        fs::read_dir(&scratch).expect("it is there").map(|it| it.expect("readable").path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "nothing is left behind");
    (output, folder)
}

fn drill(text: &str, scene: &str, upstream: &str) -> Drilled {
    let mut arguments = vec!["--json", "--only", scene];
    if !upstream.is_empty() {
        arguments.extend(["--upstream", upstream]);
    }
    let (output, _folder) = run(text, &arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no report:\n{out}\n{err}"));
    Drilled { report, status: output.status.code() }
}

impl Drilled {
    /// The lines that it says to write for something.
    fn advice(&self, of: &str) -> Vec<String> {
        let all = self.report["advice"].as_array().expect("a list").iter().filter(|it| it["of"] == of);
        all.map(|it| it["write"].as_str().expect("text").to_owned()).collect()
    }

    #[track_caller]
    fn names(&self, of: &str, write: &str) {
        let advice = self.advice(of);
        assert!(advice.iter().any(|it| it.contains(write)), "{write} of {of} in {:#}", self.report);
    }

    #[track_caller]
    fn is_silent(&self, of: &str, write: &str) {
        let advice = self.advice(of);
        assert!(!advice.iter().any(|it| it.contains(write)), "{write} of {of} in {:#}", self.report);
    }

    /// A route in the first scene that did not strike `catalogue`.
    #[track_caller]
    fn route(&self, name: &str) -> &Value {
        let scenes = self.report["scenes"].as_array().expect("a list").iter();
        let scenes = scenes.filter(|scene| scene["struck"] != "catalogue");
        let mut routes = scenes.flat_map(|scene| scene["routes"].as_array().expect("a list"));
        routes.find(|it| it["route"] == name).unwrap_or_else(|| panic!("{name} in {:#}", self.report))
    }

    /// The part of a route's requests that was served.
    #[track_caller]
    fn served(&self, name: &str) -> f64 {
        let hit = &self.route(name)["hit"];
        hit["served"].as_f64().expect("a number") / hit["sent"].as_f64().expect("a number")
    }
}

#[test]
fn a_hung_upstream_hurts_its_own_users_and_a_long_timeout_is_named() {
    let long = drill(&config("", "timeout = \"30s\"", ""), "hung-upstream", "");
    long.names("route orders", "timeout = \"2s\"");
    assert_eq!(long.served("orders"), 0.0, "{:#}", long.report);
    assert!(long.served("catalogue") > 0.9, "{:#}", long.report);
    assert_eq!(long.route("orders")["role"], "struck");
    let short = drill(&config("", "timeout = \"1s\"", ""), "hung-upstream", "orders");
    short.is_silent("route orders", "timeout");
}

const SESSION: &str = r#"
[[upstreams]]
name = "sessions"
backends = [{ name = "a", address = "sessions.internal:80" }]
[[auth]]
name = "session"
upstream = "sessions"
path = "/verify"
"#;

#[test]
fn a_hung_auth_refuses_clients_that_it_knew_unless_old_decisions_stand_in() {
    let deny = drill(&config("", "auth = \"session\"", SESSION), "hung-auth", "");
    deny.names("auth session", "on_error = \"stale\"");
    assert_eq!(deny.route("orders")["verdict"], "fails");
    assert_eq!(deny.status, Some(1));
    assert!(deny.served("catalogue") > 0.9, "a route without it: {:#}", deny.report);
    let more = format!("{SESSION}on_error = \"stale\"\ncache = {{ stale = \"5m\" }}\n");
    let stale = drill(&config("", "auth = \"session\"", &more), "hung-auth", "orders");
    stale.is_silent("auth session", "stale");
    let known = &stale.route("orders")["hit"]["known"];
    let (sent, served) = (known["sent"].as_f64().expect("sent"), known["served"].as_f64().expect("served"));
    assert!(sent > 20.0 && served > sent * 0.9, "{:#}", stale.report);
}

#[test]
fn a_name_that_is_denied_takes_no_address_away_unless_the_file_says_so() {
    let drop = drill(&config("on_nxdomain = \"drop\"", "", ""), "bad-name", "orders");
    drop.names("upstream orders", "on_nxdomain = \"keep_for\"");
    let keep = drill(&config("", "", ""), "bad-name", "orders");
    keep.is_silent("upstream orders", "on_nxdomain");
    assert!(keep.served("orders") > 0.95, "{:#}", keep.report);
}

#[test]
fn a_change_with_a_wrong_name_reaches_everyone_where_no_stages_are_required() {
    let open = drill(&config("", "", "[rollout]\nrequired = false\n"), "bad-name", "catalogue");
    open.names("rollout", "required = true");
    assert_eq!((open.status, &open.report["holds"]), (Some(1), &false.into()));
    let staged = drill(&config("", "", ""), "bad-name", "catalogue");
    staged.is_silent("rollout", "required");
    let scenes = staged.report["scenes"].as_array().expect("a list");
    let change = scenes.iter().find_map(|scene| scene["measured"]["change"].as_str()).expect("it was tried");
    assert!(["refused", "reverted"].contains(&change), "{change}");
    let skipped = staged.report["skipped"].as_array().expect("a list");
    assert!(
        skipped.iter().any(|it| it["why"].as_str().is_some_and(|why| why.contains("no backend has a name")))
    );
}

#[test]
fn a_cold_fleet_without_a_ramp_dies_of_what_it_gets_and_one_with_steps_does_not() {
    let burst = drill(&config("ramp = { steps = [\"100%\"] }", "", ""), "restart-all", "orders");
    burst.names("upstream orders", "ramp = { steps = ");
    let steps = drill(&config("", "", ""), "restart-all", "orders");
    let died = |drilled: &Drilled| {
        let died = &drilled.report["scenes"][0]["measured"]["crashes"];
        died.as_u64().unwrap_or_else(|| panic!("crashes in {:#}", drilled.report))
    };
    assert!(died(&steps) < died(&burst), "{} and {}", died(&steps), died(&burst));
    // Gentler steps may be advised on a machine that has no time, but not what is there already.
    steps.is_silent("upstream orders", "ramp = { steps = [\"25%\"");
}

#[test]
fn one_backend_of_two_is_not_missed() {
    let one = drill(&config("", "", ""), "restart-one", "orders");
    assert!(one.served("orders") > 0.8, "{:#}", one.report);
    one.is_silent("upstream orders", "backends = [");
}

#[test]
fn a_crowd_waits_in_backends_where_the_limit_only_counts() {
    let shadow = drill(&config("", "", ""), "flash-crowd", "orders");
    // A machine that is too slow to tell says so, and advises nothing.
    if shadow.report["scenes"][0]["times_judged"] == true {
        shadow.names("upstream orders", "adaptive_limit = \"enforce\"");
    }
    let enforced = drill(&config("adaptive_limit = \"enforce\"", "", ""), "flash-crowd", "orders");
    enforced.is_silent("upstream orders", "adaptive_limit");
    assert!(enforced.served("orders") < 0.9 && enforced.served("orders") > 0.02, "{:#}", enforced.report);
}

#[test]
fn a_storm_is_told_with_what_came_and_what_was_served_when_it_was_over() {
    let storm = drill(&config("adaptive_limit = \"enforce\"", "", ""), "retry-storm", "orders");
    let measured = &storm.report["scenes"][0]["measured"];
    let number = |key: &str| measured[key].as_f64().unwrap_or_else(|| panic!("{key} in {measured:#}"));
    if storm.report["scenes"][0]["times_judged"] == true {
        assert!(number("offered_per_second") > number("capacity_per_second"), "{measured:#}");
    }
    assert!(number("served_afterwards") > 0.3, "{measured:#}");
}

/// Keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn the_report_has_the_shape_that_the_readme_describes() {
    let all = drill(&config("", "timeout = \"30s\"", ""), "hung-upstream,hung-auth", "orders").report;
    assert_eq!(
        keys(&all),
        ["advice", "asked", "holds", "quick", "requests_per_second", "rewritten", "scenes", "skipped"]
    );
    assert_eq!(keys(&all["asked"]), ["of_routes", "of_upstreams", "routes", "unanswered", "upstreams"]);
    assert_eq!(all["asked"]["of_routes"], 2);
    let scene = &all["scenes"][0];
    assert_eq!(
        keys(scene),
        [
            "advice",
            "doubt",
            "late_p99_ms",
            "measured",
            "routes",
            "scene",
            "seconds",
            "struck",
            "times_judged",
            "title",
            "verdict"
        ]
    );
    assert_eq!((&scene["scene"], &scene["struck"]), (&"hung-upstream".into(), &"orders".into()));
    let route = &scene["routes"][0];
    assert_eq!(keys(route), ["auth", "calm", "class", "hit", "role", "route", "upstream", "verdict", "why"]);
    let sight = [
        "answered_within_3_s",
        "failed",
        "known",
        "refused",
        "refused_times",
        "sent",
        "served",
        "served_times",
        "tries",
    ];
    assert_eq!((keys(&route["calm"]), keys(&route["hit"])), (sight.to_vec(), sight.to_vec()));
    assert_eq!(keys(&all["advice"][0]), ["because", "now", "of", "scenes", "setting", "write"]);
    assert_eq!(
        (&all["skipped"][0]["scene"], keys(&all["skipped"][0])),
        (&"hung-auth".into(), vec!["scene", "why"])
    );
}

#[test]
fn usage_is_2_and_what_is_no_configuration_is_1() {
    let (usage, _folder) = run("", &["--only", "fire"]);
    assert_eq!(usage.status.code(), Some(2));
    let (wrong, _folder) = run("[[upstreams]]\nname = 7\n", &["--only", "hung-upstream"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("not valid"), "{said}");
    let (unknown, _folder) = run(&config("", "", ""), &["--upstream", "payments"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("payments"));
}

#[test]
fn nobody_of_the_configuration_is_ever_dialled() {
    // Everything that the file names is this listener, or would be asked of it.
    let trap = TcpListener::bind("127.0.0.1:0").expect("a port");
    trap.set_nonblocking(true).expect("set");
    let at = trap.local_addr().expect("an address");
    let udp = UdpSocket::bind(at).expect("the same port");
    udp.set_nonblocking(true).expect("set");
    let text = format!(
        r#"
[gateway]
resolver = ["{at}"]
[[listeners]]
name = "edge"
address = "127.0.0.1:0"
[[upstreams]]
name = "orders"
backends = [{{ name = "a", address = "{at}" }}, {{ name = "b", address = "trap.internal:{port}" }}]
health = {{ kind = "tcp" }}
[[auth]]
name = "token"
kind = "jwt"
jwks_url = "http://{at}/keys"
any_audience = true
[[routes]]
name = "orders"
path_prefix = "/orders"
upstream = "orders"
auth = "token"
timeout = "1s"
[rollout]
required = true
"#,
        port = at.port()
    );
    let report = drill(&text, "hung-upstream,bad-name", "").report;
    assert_eq!(report["asked"]["routes"], serde_json::json!(["orders"]));
    assert!(trap.accept().is_err(), "somebody dialled");
    let mut bytes = [0; 512];
    assert!(udp.recv_from(&mut bytes).is_err(), "somebody asked");
}

#[test]
fn text_says_what_users_saw_and_what_to_write() {
    let (output, _folder) =
        run(&config("", "timeout = \"30s\"", ""), &["--only", "hung-upstream", "--upstream", "orders"]);
    let (text, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for said in
        ["hung-upstream: orders", "orders degraded", "What to change:", "route orders: timeout = \"2s\""]
    {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(progress.contains("accepts and never answers"), "{progress}");
}

/// A file of many routes, most of which are not asked.
#[test]
fn of_a_thousand_routes_some_are_asked_and_it_says_which() {
    let mut text = config("", "", "");
    for route in 0..1_000 {
        let upstream = format!("u{}", route % 20);
        if route < 20 {
            text += &format!(
                "[[upstreams]]\nname = \"{upstream}\"\nbackends = [{{ name = \"a\", address = \"192.0.2.1:80\" }}]\n"
            );
        }
        text += &format!(
            "[[routes]]\nname = \"r{route}\"\npath_prefix = \"/r{route}\"\nupstream = \"{upstream}\"\n"
        );
    }
    let asked = &drill(&text, "bad-name", "").report["asked"];
    assert_eq!((&asked["of_routes"], &asked["of_upstreams"]), (&1_002.into(), &22.into()));
    let routes = asked["routes"].as_array().expect("a list");
    assert!((4..=16).contains(&routes.len()), "{asked:#}");
}

/// Tokens, a service that judges, and certificates that are not there.
#[test]
fn examples_with_auths_and_certificates_are_drilled_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["guarded.toml", "tls-edge.toml"] {
        let text = fs::read_to_string(folder.join(name)).expect("text");
        let report = drill(&text, "hung-auth", "").report;
        assert_eq!(report["asked"]["unanswered"], serde_json::json!([]), "{name}: {report:#}");
        let played = report["scenes"].as_array().expect("a list").len();
        let skipped = report["skipped"].as_array().expect("a list").len();
        assert_eq!(
            (played > 0, skipped > 0),
            (name == "guarded.toml", name == "tls-edge.toml"),
            "{report:#}"
        );
    }
}

#[test]
fn a_drill_that_is_interrupted_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder of its own");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "--only", "restart-all"]).env("TMPDIR", folder.path());
    let mut drill = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let left =
        || fs::read_dir(folder.path()).expect("it is there").filter_map(Result::ok).map(|it| it.path());
    let gateway = wait_for("its gateway runs", || {
        let addresses = left().find_map(|scratch| fs::read(scratch.join("state/addresses.json")).ok())?;
        let addresses: Value = serde_json::from_slice(&addresses).ok()?;
        Pid::from_raw(i32::try_from(addresses["pid"].as_u64()?).ok()?)
    });
    let id = Pid::from_raw(drill.id() as i32).expect("a process id");
    kill_process(id, Signal::INT).expect("told");
    let status = wait_for("it ends", || drill.try_wait().expect("its status is known"));
    assert_eq!(status.code(), Some(1));
    assert!(test_kill_process(gateway).is_err(), "the gateway is gone");
    assert_eq!(left().count(), 0);
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
