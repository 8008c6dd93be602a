//! A peer that runs: started on its filled configuration in a folder of its own, pinned, waited for until it
//! answers, asked what it has cost, told of changes, and stopped. Everything it starts is in one process group,
//! which is killed when the value is dropped.

use crate::cost::{self, Memory};
use crate::fill::{self, Values};
use crate::peers::Kind;
use crate::place::Place;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a peer may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end when it is asked to.
const END: Duration = Duration::from_secs(3);

/// Where the committed configurations are.
pub fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers")
}

/// Addresses of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTP/1.1 without TLS.
    Http,
    /// TLS, with HTTP/1.1 and HTTP/2 by ALPN.
    Tls,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// Metrics and administration.
    Admin,
}

const DOORS: [(Door, &str); 4] =
    [(Door::Http, "http"), (Door::Tls, "tls"), (Door::H2c, "h2c"), (Door::Admin, "admin")];

/// What to start: who, on which templates, filled with what.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub kind: Kind,
    /// Templates below `peers/`, and the names of the filled files. The first must have the name that the
    /// peer is started with.
    pub templates: Vec<(String, String)>,
    /// Values beside the doors, the folder and the certificate, which the start fills in.
    pub values: Values,
    /// Which it is of several of the same kind at once, from 0.
    pub nth: usize,
    /// Worker threads or processes, and as many cores from the proxy's on.
    pub workers: usize,
}

impl Recipe {
    /// The peer's usual configuration in front of these origins (HTTP/1.1, HTTP/2).
    pub fn new(kind: Kind, origin: SocketAddr, origin_h2: SocketAddr) -> Recipe {
        let files = kind.templates().iter();
        let templates = files.map(|(template, file)| ((*template).to_owned(), (*file).to_owned())).collect();
        let mut values = Values::default();
        values.set("version", "first").set("in_flight", 64);
        for (name, address) in [("origin", origin), ("origin_h2", origin_h2)] {
            values.set(name, address).set(&format!("{name}_port"), address.port());
        }
        Recipe { kind, templates, values, nth: 0, workers: 1 }
    }

    fn write(&self, values: &Values, folder: &Path) -> Result<()> {
        for (template, file) in &self.templates {
            let path = templates().join(template);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text = fill::fill(&text, values).with_context(|| path.display().to_string())?;
            // By rename, so that who watches the file never sees half of it.
            let beside = folder.join(format!(".{file}.new"));
            fs::write(&beside, text)?;
            fs::rename(beside, folder.join(file))?;
        }
        Ok(())
    }
}

/// A running peer.
pub struct Peer {
    recipe: Recipe,
    values: Values,
    folder: PathBuf,
    child: Child,
    /// From exec to the end of the first answer.
    pub started_in: Duration,
}

impl Peer {
    /// Starts it and waits until it answers.
    pub fn start(place: &Place, recipe: &Recipe) -> Result<Peer> {
        let name = recipe.kind.name();
        // A port that was free may be taken by the time that the peer binds it.
        let mut tries = 0;
        loop {
            tries += 1;
            match Peer::try_start(place, recipe) {
                Err(error) if tries < 3 => eprintln!("{name} once more: {error:#}"),
                result => return result.with_context(|| format!("starting {name}")),
            }
        }
    }

    fn try_start(place: &Place, recipe: &Recipe) -> Result<Peer> {
        let kind = recipe.kind;
        let program = place.programs.get(&kind).with_context(|| format!("{} is not here", kind.name()))?;
        let name = if recipe.nth == 0 { String::new() } else { format!("-{}", recipe.nth) };
        let folder = place.folder.join("run").join(format!("{}{name}", kind.name()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut values = recipe.values.clone();
        values.set("folder", folder.display()).set("workers", recipe.workers);
        values.set("certificate", place.certificate.display());
        values.set("key", place.key.display()).set("pem", place.pem.display());
        for ((_, door), port) in DOORS.iter().zip(free_ports()?) {
            values.set(door, format!("127.0.0.1:{port}")).set(&format!("{door}_port"), port);
        }
        recipe.write(&values, &folder)?;
        let log = File::create(folder.join("output"))?;
        let value = |name: &str| values.get(name).unwrap_or_default().to_owned();
        let cores: Vec<_> =
            if recipe.workers == 1 { vec![place.proxy] } else { vec![place.load, place.proxy] };
        let mut command = Place::pinned(&cores, program);
        command
            .args(kind.arguments(&folder, &value("http"), &value("origin"), recipe.workers))
            .envs(kind.environment(&folder, recipe.workers))
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let begin = Instant::now();
        let child = command.spawn().context("taskset")?;
        let mut peer = Peer { recipe: recipe.clone(), values, folder, child, started_in: Duration::ZERO };
        peer.await_answer(begin)?;
        peer.started_in = begin.elapsed();
        Ok(peer)
    }

    fn await_answer(&mut self, begin: Instant) -> Result<()> {
        while begin.elapsed() < START {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}: {}", self.output());
            }
            if get(self.door(Door::Http), "/").is_ok_and(|answer| answer.starts_with("HTTP/1.1 ")) {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_micros(500));
        }
        bail!("no answer in {START:?}: {}", self.output())
    }

    /// Who it is.
    pub fn kind(&self) -> Kind {
        self.recipe.kind
    }

    /// One of its addresses.
    pub fn door(&self, door: Door) -> SocketAddr {
        let (_, name) = DOORS.iter().find(|(known, _)| *known == door).expect("every door has a name");
        self.values.get(name).and_then(|address| address.parse().ok()).expect("set at the start")
    }

    /// User and system time of all its processes so far.
    pub fn processor_time(&self) -> Duration {
        cost::processor_time(self.child.id())
    }

    /// Memory of all its processes now.
    pub fn memory(&self) -> Result<Memory> {
        cost::memory(self.child.id())
    }

    /// Writes its files anew with so many routes, and `version` as the answer at `/version`. Nothing reads them
    /// before `take_over`, but Envoy, which watches them.
    pub fn rewrite(&mut self, routes: usize, version: &str) -> Result<()> {
        self.values.repeat = routes;
        self.values.set("version", version);
        self.recipe.write(&self.values, &self.folder)
    }

    /// Gives a name of the templates another value, and writes its files anew.
    pub fn change(&mut self, name: &str, value: impl ToString) -> Result<()> {
        self.values.set(name, value);
        self.recipe.write(&self.values, &self.folder)
    }

    /// Asks it to read its files, as its operators do.
    pub fn take_over(&self) -> Result<()> {
        match self.kind() {
            Kind::Nginx | Kind::Tidegate => self.signal(Signal::HUP),
            Kind::Haproxy => self.signal(Signal::USR2),
            Kind::Caddy => self.load_caddyfile(),
            Kind::Relay | Kind::Envoy => Ok(()),
        }
    }

    fn load_caddyfile(&self) -> Result<()> {
        let text = fs::read_to_string(self.folder.join("Caddyfile"))?;
        let admin = self.door(Door::Admin);
        let mut socket = TcpStream::connect(admin)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let head = format!(
            "POST /load HTTP/1.1\r\nHost: {admin}\r\nContent-Type: text/caddyfile\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            text.len()
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(text.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { bail!("POST /load: {answer}") }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(self.child.id() as i32).context("a process id")?;
        Ok(kill_process(id, signal)?)
    }

    /// What it wrote, for messages.
    pub fn output(&self) -> String {
        let text = fs::read_to_string(self.folder.join("output")).unwrap_or_default();
        text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Peer {
    /// Asks it to end, then kills what is left of its group.
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.child.id() as i32) else { return };
        // Each takes TERM for: at once (nginx, HAProxy, Envoy) or after its drain, which nobody waits for here.
        let _ = kill_process_group(group, Signal::TERM);
        let begin = Instant::now();
        let patient = self.kind() != Kind::Tidegate;
        while patient && begin.elapsed() < END && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A GET on a connection of its own; the whole answer. Who says its length need not close at once.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Caddy's admin side answers only who calls it by its address.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let (mut answer, mut room) = (Vec::new(), vec![0; 64 << 10]);
    while !is_whole(&answer) {
        match socket.read(&mut room)? {
            0 => break,
            read => answer.extend_from_slice(&room[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; DOORS.len()]> {
    let mut held = Vec::new();
    let mut ports = [0; DOORS.len()];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
