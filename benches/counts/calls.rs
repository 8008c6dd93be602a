//! System calls of one request at the real binary, on the thread of its only core: strace writes a line for each, and
//! the lines between two moments are those of the requests between them. Requests come one after the other, so each
//! wait of the core is for one; under load many share one.
//!
//! Waits that ended because their time was up are left out, and so is memory that goes back to the system when it has
//! been quiet: they are the clock's, not a request's.

use crate::street::{self, Origin, Talk};
use crate::visits::{self, CROWD, Visitor, Way};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Requests that are counted.
const TIMES: usize = 300;
/// Requests before them.
const WARM_UP: usize = 50;
/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// The last lines of a request may come after its answer.
const SETTLES: Duration = Duration::from_millis(50);
/// How memory goes back.
const GIVES_BACK: &str = "madvise";
/// The thread of the core.
const CORE: &str = "core-0";

/// A gateway under strace, an origin, and the runtime of the origin and the clients.
pub struct Traced {
    runtime: LocalRuntime,
    child: Child,
    folder: TempDir,
    edge: SocketAddr,
    admin: SocketAddr,
    trace: PathBuf,
    _held: Option<Talk>,
}

impl Traced {
    /// Starts all of it.
    pub fn start() -> Result<Traced> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let origin = runtime.block_on(street::origin());
        let folder = TempDir::new()?;
        let file = folder.path().join("gateway.toml");
        let text = visits::configuration(origin.address, "off");
        fs::write(&file, format!("[gateway]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n{text}"))?;
        // As a child of strace's child it keeps the id that is known here, and nobody need attach to it.
        let child = Command::new("strace")
            .args(["-D", "-ff", "-s", "0", "-e", "signal=none", "-o"])
            .arg(folder.path().join("calls"))
            .arg(env!("CARGO_BIN_EXE_tidegate"))
            .args(["run", "-c"])
            .arg(&file)
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("strace")?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut traced = Traced {
            runtime,
            child,
            folder,
            edge: nowhere,
            admin: nowhere,
            trace: PathBuf::new(),
            _held: None,
        };
        traced.learn(&origin)?;
        Ok(traced)
    }

    /// Where it listens, and where the core's calls are.
    fn learn(&mut self, origin: &Origin) -> Result<()> {
        let file = self.folder.path().join("state/addresses.json");
        let ready = wait_for(|| {
            let addresses: serde_json::Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            let address = |value: &serde_json::Value| value.as_str()?.parse().ok();
            Some((address(&addresses["listeners"]["edge"])?, address(&addresses["admin"])?))
        });
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        (self.edge, self.admin) = ready.with_context(|| format!("the gateway does not start:\n{}", log()))?;
        let core = self.core()?;
        self.trace = self.folder.path().join(format!("calls.{core}"));
        self._held = Some(self.runtime.block_on(visits::hold(self.edge, origin)));
        Ok(())
    }

    /// The id of the core's thread.
    fn core(&self) -> Result<String> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            if fs::read_to_string(task.path().join("comm"))?.trim_end() == CORE {
                return Ok(task.file_name().to_string_lossy().into_owned());
            }
        }
        bail!("the gateway has no thread {CORE}")
    }

    /// Calls of one request on a path, by name.
    pub fn calls(&mut self, path: &str) -> Result<BTreeMap<String, f64>> {
        let visit = visits::main_paths().into_iter().find(|visit| visit.name == path);
        let visit = visit.with_context(|| format!("{path:?} is no main path"))?;
        let crowd = visit.way == Way::Parked;
        let mut visitor = self.runtime.block_on(Visitor::enter(self.edge, visit));
        let times = if crowd { CROWD } else { TIMES };
        if crowd {
            wait_for(|| (self.parked().ok()? >= CROWD).then_some(())).context("nobody is parked")?;
        } else {
            self.runtime.block_on(visitor.ask(WARM_UP));
        }
        let before = self.traced()?.len();
        self.runtime.block_on(visitor.ask(times));
        let trace = self.traced()?;
        let mut calls = BTreeMap::<_, f64>::new();
        for call in trace[before..].lines().filter_map(call) {
            *calls.entry(call.to_owned()).or_default() += 1.0 / times as f64;
        }
        ensure!(!calls.is_empty(), "strace saw nothing; may it trace here?");
        Ok(calls)
    }

    /// All lines about the core so far.
    fn traced(&self) -> Result<String> {
        thread::sleep(SETTLES);
        fs::read_to_string(&self.trace).context("what strace wrote")
    }

    /// How many connections are parked.
    fn parked(&self) -> Result<usize> {
        let mut admin = TcpStream::connect(self.admin)?;
        admin.set_read_timeout(Some(PATIENCE))?;
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        admin.read_to_string(&mut text)?;
        let line = text.lines().find(|line| line.starts_with("tidegate_connections_parked{"));
        let value = line.and_then(|line| line.rsplit(' ').next()).context("no such metric")?;
        Ok(value.parse()?)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of the call in a line, if it is one that counts.
fn call(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let timed_out = name.starts_with("epoll_") && line.trim_end().ends_with("= 0") && name != "epoll_ctl";
    (is_name && !timed_out && name != GIVES_BACK).then_some(name)
}

/// Looks until there is something, or gives up.
fn wait_for<T>(mut seen: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = seen();
        if found.is_some() || started.elapsed() > PATIENCE {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
