//! The real binary, run as an operator runs it: a file, a state directory, signals, the admin API.
//!
//! It is killed when the value is dropped; a failed test leaves its last log lines in the test's output.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use super::config::Config;
use super::external::finish;
use super::metrics::Metrics;
use super::raw::{Answer, Raw, fetch, get};
use super::{PATIENCE, wait_for, wait_until};

/// How long a debug build may take to be ready on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A running gateway.
pub struct Gateway {
    child: Child,
    folder: Arc<TempDir>,
    admin: SocketAddr,
    listeners: Value,
}

/// What a start may say beside the file.
#[derive(Debug, Default)]
pub struct Launch {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// An option of `ulimit`.
    limit: Option<String>,
    stdout: Option<Stdio>,
    /// Where it will write its addresses; `state` in its folder if nothing is said.
    state: Option<PathBuf>,
}

impl Launch {
    /// A hard limit on open files.
    pub fn open_files(limit: u32) -> Launch {
        Launch { limit: Some(format!("-n {limit}")), ..Launch::default() }
    }

    /// As a disk that is full: no file grows beyond so many blocks of 512 bytes.
    pub fn file_blocks(limit: u32) -> Launch {
        Launch { limit: Some(format!("-f {limit}")), ..Launch::default() }
    }

    /// Its standard output instead of a file in its folder, which is where its access log is looked for.
    pub fn stdout(stdout: Stdio) -> Launch {
        Launch { stdout: Some(stdout), ..Launch::default() }
    }

    /// `--state-dir`.
    pub fn state_dir(mut self, state: &Path) -> Launch {
        self.arguments = vec!["--state-dir".into(), state.into()];
        self.state = Some(state.to_owned());
        self
    }

    /// `TIDEGATE_STATE_DIR`.
    pub fn state_in_environment(mut self, state: &Path) -> Launch {
        self.environment.push(("TIDEGATE_STATE_DIR", state.into()));
        self.state.get_or_insert(state.to_owned());
        self
    }

    /// One more variable of the environment.
    pub fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Launch {
        self.environment.push((name, value.into()));
        self
    }

    fn command(&mut self, folder: &Path) -> Command {
        let mut command = match &self.limit {
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh", BINARY]);
                shell
            }
            None => Command::new(BINARY),
        };
        let log = |name| Stdio::from(File::create(folder.join(name)).expect("a log file"));
        command
            .args(["run", "-c"])
            .arg(folder.join("gateway.toml"))
            .args(&self.arguments)
            .env_remove("TIDEGATE_STATE_DIR")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .envs(self.environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(self.stdout.take().unwrap_or_else(|| log("stdout")))
            .stderr(log("stderr"));
        command
    }
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub fn start(config: &Config) -> Gateway {
        Gateway::start_in(TempDir::new().expect("a temporary folder"), config, Launch::default())
    }

    /// The same with a hard limit on open files.
    pub fn start_with_open_files(config: &Config, limit: u32) -> Gateway {
        Gateway::launch(config, Launch::open_files(limit))
    }

    /// The same with more to say.
    pub fn launch(config: &Config, launch: Launch) -> Gateway {
        Gateway::start_in(TempDir::new().expect("a temporary folder"), config, launch)
    }

    /// Starts it with a configuration file in `folder`, which may hold what the file names.
    pub fn start_in(folder: TempDir, config: &Config, launch: Launch) -> Gateway {
        let state = folder.path().join("state");
        fs::create_dir_all(&state).expect("a state directory");
        let text = config.render(&state);
        fs::write(folder.path().join("gateway.toml"), text).expect("the configuration is written");
        Gateway::spawn(Arc::new(folder), launch)
    }

    /// Starts it on a configuration text as it is, with its state in its folder.
    pub fn start_on(text: &str, launch: Launch) -> Gateway {
        let folder = TempDir::new().expect("a temporary folder");
        let state = folder.path().join("state");
        fs::write(folder.path().join("gateway.toml"), text).expect("the configuration is written");
        Gateway::spawn(Arc::new(folder), launch.state_dir(&state))
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// How many ends of pipes it has open.
    pub fn pipes(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        let ends = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        ends.filter(|end| end.to_string_lossy().starts_with("pipe:")).count()
    }

    /// Memory that is its own, as the system counts it, in KiB.
    pub fn own_kib(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).expect("it runs");
        let line =
            text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("what is its own");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Kills it and starts it again on what is there now.
    pub fn restart(self, launch: Launch) -> Gateway {
        self.restart_after(launch, || ())
    }

    /// The same with something done in between.
    pub fn restart_after(self, launch: Launch, between: impl FnOnce()) -> Gateway {
        let folder = self.folder.clone();
        drop(self);
        between();
        Gateway::spawn(folder, launch)
    }

    fn spawn(folder: Arc<TempDir>, mut launch: Launch) -> Gateway {
        let state = launch.state.clone().unwrap_or_else(|| folder.path().join("state"));
        // What the process before left there would be taken for the new one's.
        let _ = fs::remove_file(state.join("addresses.json"));
        let child = launch.command(folder.path()).spawn().expect("the gateway starts");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway { child, folder, admin: nowhere, listeners: Value::Null };
        gateway.learn_addresses(&state);
        gateway
    }

    /// The gateway writes its addresses once it is ready; where it cannot write, its log has them.
    fn learn_addresses(&mut self, state: &Path) {
        let addresses: Value = wait_for(START, "the gateway is ready", || {
            if let Some(status) = self.child.try_wait().expect("its status is known") {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            match fs::read(state.join("addresses.json")) {
                Ok(written) => serde_json::from_slice(&written).ok(),
                Err(_) => addresses_in(&self.log()),
            }
        });
        let admin = addresses["admin"].as_str().and_then(|a| a.parse().ok());
        self.admin = admin.unwrap_or_else(|| panic!("an admin address in {addresses}"));
        self.listeners = addresses["listeners"].clone();
    }

    /// Where clients connect.
    pub fn edge(&self) -> SocketAddr {
        self.listener("edge")
    }

    /// Where the clients of a named listener connect.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let address = self.listeners[name].as_str().and_then(|a| a.parse().ok());
        address.unwrap_or_else(|| panic!("listener {name} in {}", self.listeners))
    }

    /// Where operators connect.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The folder with its file, its state and its logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A cleartext connection to the edge.
    pub fn connect(&self) -> Raw {
        Raw::connect(self.edge())
    }

    /// A GET to the edge on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        fetch(self.edge(), path)
    }

    /// A GET to the admin side.
    pub fn admin_get(&self, path: &str) -> Answer {
        let host = self.admin;
        Raw::connect(self.admin)
            .ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// A POST to the admin side, with more header lines and a body.
    pub fn admin_post(&self, path: &str, more: &str, body: impl AsRef<[u8]>) -> Answer {
        let (host, body) = (self.admin, body.as_ref());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n",
            body.len()
        );
        Raw::connect(self.admin).ask([head.as_bytes(), body].concat())
    }

    /// One scrape.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_get("/metrics").text())
    }

    /// `/v1/status`.
    pub fn status(&self) -> Value {
        self.admin_get("/v1/status").json()
    }

    /// `/v1/upstreams`: the items.
    pub fn upstreams(&self) -> Vec<Value> {
        self.admin_get("/v1/upstreams").json()["items"].as_array().expect("a list of items").clone()
    }

    /// `/v1/upstreams/NAME`.
    pub fn upstream(&self, name: &str) -> Value {
        self.admin_get(&format!("/v1/upstreams/{name}")).json()
    }

    /// The hash of the active version.
    pub fn hash(&self) -> String {
        self.status()["version"]["hash"].as_str().expect("the active hash").to_owned()
    }

    /// Replaces the file by another, as editors and deploy tools do: written beside it, then renamed.
    pub fn write(&self, config: &Config) {
        self.write_text(&config.render(&self.folder.path().join("state")));
    }

    /// The same with any text.
    pub fn write_text(&self, text: &str) {
        let (new, file) = (self.folder.path().join("gateway.toml.new"), self.file());
        fs::write(&new, text).expect("the configuration is written");
        fs::rename(new, file).expect("the configuration is replaced");
    }

    /// Replaces the file and waits until it is active.
    pub fn change(&self, config: &Config) {
        let before = self.hash();
        self.write(config);
        wait_until(PATIENCE, "the new version is active", || self.hash() != before);
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Asks it to read its file again.
    pub fn hup(&self) {
        self.signal(Signal::HUP);
    }

    /// Asks it to drain.
    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Does something while the gateway stands still.
    pub fn stopped(&self, work: impl FnOnce()) {
        self.signal(Signal::STOP);
        work();
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(id, signal).expect("the gateway is signalled");
    }

    /// Its exit status, once it has ended.
    pub fn exit(&mut self, deadline: Duration) -> ExitStatus {
        wait_for(deadline, "the gateway ends", || self.child.try_wait().expect("its status is known"))
    }

    /// Its access log so far: the JSON lines of stdout that are about a request.
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.get("status").is_some()).collect()
    }

    /// The first access log line that `wanted` accepts, once it is there.
    pub fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.logged_within(PATIENCE, what, wanted)
    }

    /// The same for a line that takes its time.
    pub fn logged_within(&self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(deadline, what, || self.access_log().into_iter().find(&wanted))
    }

    /// What it told its operator.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Its last log lines, and how it ended if it did, into the output of the test, which is seen when that fails.
    pub fn tell(&mut self) {
        match self.child.try_wait() {
            Ok(Some(status)) => println!("the gateway ended with {status}; its last log lines:"),
            _ => println!("the gateway's last log lines:"),
        }
        let log = self.log();
        let last: Vec<&str> = log.lines().rev().take(30).collect();
        last.iter().rev().for_each(|line| println!("  {line}"));
    }

    /// Waits until nothing is in flight, neither at the process nor at any upstream or backend.
    pub fn settles(&self, deadline: Duration) {
        wait_until(deadline, "nothing is in flight", || {
            let metrics = self.metrics();
            let gauges =
                ["tidegate_upstream_inflight", "tidegate_backend_inflight", "tidegate_upstream_queue_depth"];
            let quiet = gauges.iter().all(|gauge| metrics.get(gauge, &[]).unwrap_or(0.0) == 0.0);
            quiet && self.status()["in_flight"].as_u64() == Some(0)
        });
    }

    /// Requests in flight at an upstream, zombies included.
    pub fn in_flight(&self, upstream: &str) -> f64 {
        self.metrics().value("tidegate_upstream_inflight", &[("upstream", upstream)])
    }

    /// Bytes buffered in the process.
    pub fn buffered(&self) -> f64 {
        self.metrics().value("tidegate_buffered_bytes", &[])
    }

    /// How many requests were refused for want of room, for an upstream.
    pub fn sheds(&self, upstream: &str) -> f64 {
        self.metrics().value("tidegate_shed_total", &[("upstream", upstream)])
    }

    /// Runs another command of the same binary against this gateway.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let admin = format!("http://{}", self.admin);
        finish(cli(arguments).env("TIDEGATE_ADMIN", admin), PATIENCE)
    }

    /// Asks `count` times without waiting for an answer; for origins that hang.
    pub fn ask(&self, path: &str, count: usize) -> Vec<Raw> {
        let asked = |_| {
            let mut raw = self.connect();
            raw.send(get(path));
            raw
        };
        (0..count).map(asked).collect()
    }

    /// Is the edge still answering?
    pub fn serves(&self, path: &str) -> bool {
        let Ok(mut raw) = Raw::try_connect(self.edge()) else { return false };
        raw.try_send(get(path)).is_ok() && raw.try_answer(false).is_ok_and(|answer| answer.status() == 200)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses in the log's line that it is ready.
fn addresses_in(log: &str) -> Option<Value> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ready = lines.find(|line| line["message"] == "ready")?;
    let pairs = ready["listeners"].as_str()?.trim_matches(['[', ']']).split("), ");
    let pairs = pairs.filter_map(|pair| pair.trim_matches(['(', ')']).split_once(", "));
    let listeners: serde_json::Map<_, _> =
        pairs.map(|(name, address)| (name.trim_matches('"').to_owned(), address.into())).collect();
    Some(serde_json::json!({ "admin": ready["admin"], "listeners": listeners }))
}

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// One of its commands.
pub fn cli(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env_remove("TIDEGATE_ADMIN")
        .env_remove("TIDEGATE_TOKEN")
        .env_remove("TIDEGATE_STATE_DIR");
    command
}
