//! A gateway on one thread, and origins with knobs.

use super::origins::message;
use super::*;
use crate::config::{self as text, ProcessEnvironment};
use crate::control::incidents::{self, Incidents};
use crate::control::keyrings::Keyrings;
use crate::control::notify::Notifier;
use crate::control::origin;
use crate::control::steering::Steering;
use crate::control::steering::keep::Kept;
use crate::control::store::Store;
use crate::control::store::books::Books;
use crate::control::store::record::Record;
use crate::control::{Begun, Cause, Parts};
use crate::listener::Listeners;
use crate::listener::accept::{Accepted, Cores};
use crate::request::cohort::Purpose;
use crate::routing::table::Live;
use crate::runtime::bells::Bells;
use crate::runtime::clock::TICK;
use crate::runtime::descriptors::Descriptors;
use crate::server::client::{Came, Client};
use crate::server::connection;
use crate::server::process::Process;
use crate::server::station::{Resident, Shared, Station};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::upstream::outbox::Socket;
use crate::upstream::transport::Transport;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// A test takes well under a second; on a machine that is busy, longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What tells clients apart in these tests.
const CLIENT: HeaderName = HeaderName::from_static("x-client");

/// Runs a test with a gateway that has nothing to serve yet.
pub(super) fn run(test: impl AsyncFnOnce(House)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let test = async { tokio::time::timeout(PATIENCE, test(House::new())).await };
    LocalSet::new().block_on(&runtime, test).expect("it comes to its end");
}

/// The gateway.
pub(super) struct House {
    pub(super) control: Arc<Control>,
    station: Option<Rc<Station>>,
    steering: Arc<Steering>,
    address: SocketAddr,
    directory: tempfile::TempDir,
    /// Of the looks of the control plane, which need not wait for real ones.
    now: Cell<Instant>,
    served: Rc<Cell<u32>>,
    stop: Rc<Cell<bool>>,
}

/// The mailbox of the only core.
struct Mailbox(mpsc::Sender<Accepted>);

impl Cores for Mailbox {
    fn count(&self) -> usize {
        1
    }

    fn load(&self, _: usize) -> u32 {
        0
    }

    fn deliver(&self, _: usize, accepted: Accepted) -> Result<(), Accepted> {
        self.0.try_send(accepted).map_err(mpsc::error::TrySendError::into_inner)
    }
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let (control, steering, _) = control(&config(nobody, ""), directory.path(), None);
        let (served, stop) = (Rc::default(), Rc::default());
        let now = Cell::new(Instant::now());
        House { control, station: None, steering, address: nobody, directory, now, served, stop }
    }

    /// Opens the door with this version.
    pub(super) async fn begin(&mut self, text: &str) {
        let (mailbox, mut arrivals) = mpsc::channel(64);
        let descriptors = Arc::new(Descriptors::with_budget(1_024));
        let listeners = Listeners::start(Arc::new(Mailbox(mailbox)), descriptors).expect("a thread");
        let (control, steering, station) = control(text, self.directory.path(), Some(listeners));
        let station = station.expect("it has a door");
        self.address = control.bound()[0].1;
        spawn_local(station.clone().keep_house());
        spawn_local(station.clone().answer_bell());
        spawn_local(station.outbox.clone().deliver());
        let (tick, looks) = (station.clone(), control.clone());
        spawn_local(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                looks.look_on(ticks.tick().await.into_std());
                tick.tick();
            }
        });
        let core = station.clone();
        spawn_local(async move {
            while let Some(accepted) = arrivals.recv().await {
                spawn_local(welcome(core.clone(), accepted));
            }
        });
        (self.control, self.steering, self.station) = (control, steering, Some(station));
    }

    /// What serves.
    pub(super) fn live(&self) -> Arc<Tables> {
        self.control.live.tables()
    }

    /// A version that may become active.
    pub(super) fn candidate(&self, text: &str) -> Candidate {
        let (plan, number) = (
            plan(text, self.directory.path()),
            self.control.books().change(|record| record.ledger.take_number()).0,
        );
        let origin = origin::Origin::now(Cause::Api, Some("ops".to_owned()), None);
        Candidate { plan, text: text.into(), number, origin, overruled: None }
    }

    /// Makes a version active at once.
    pub(super) fn make_active(&self, text: &str) -> Result<Receipt, String> {
        let candidate = self.candidate(text);
        let step = Step { number: candidate.number, rollbacks: self.control.rollbacks(), good: true };
        self.control.activate(candidate.into_active(), step)
    }

    /// Puts a version beside the active one.
    pub(super) fn offer(&self, text: &str, share: Share) {
        self.control.offer(self.candidate(text), share, Fact::Header(CLIENT)).expect("it can be built");
    }

    /// So many clients ask within a minute.
    pub(super) async fn meet(&self, clients: u32) {
        self.look();
        for client in 0..clients {
            self.ask(client).await;
        }
        self.look();
    }

    /// The control plane looks, a second later.
    pub(super) fn look(&self) {
        self.station.iter().for_each(|station| station.tick());
        self.now.set(self.now.get() + Duration::from_millis(1_100));
        self.steering.tick(self.now.get());
    }

    /// Which clients the candidate serves.
    pub(super) fn sides(&self, clients: u32) -> Vec<bool> {
        let live = self.live();
        let trial = live.trial.as_ref().expect("one is tried");
        let is_in = |client: u32| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT, HeaderValue::from(client));
            let key = trial.fact.key(IpAddr::from([127, 0, 0, 1]), &headers);
            trial.share.holds(key.position(Purpose::Rollout, trial.occasion))
        };
        (0..clients).map(is_in).collect()
    }

    /// Requests that the upstream holds.
    pub(super) fn in_flight(&self) -> u32 {
        self.live().stable.upstreams[0].shared.line.in_flight.get()
    }

    /// The core and the control plane let go of what is over.
    pub(super) fn settle(&self) {
        self.station.iter().for_each(|station| station.tick());
        self.control.tidy();
    }

    /// Waits for a state.
    pub(super) async fn until(&self, state: impl Fn() -> bool) {
        while !state() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks once, on a connection of its own.
    pub(super) async fn ask(&self, client: u32) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).await.expect("the door is open");
        ask(&mut connection, client).await
    }

    /// The same beside what the test goes on with.
    pub(super) fn asking(&self, client: u32) -> JoinHandle<(u16, String)> {
        let address = self.address;
        spawn_local(async move {
            let mut connection = TcpStream::connect(address).await.expect("the door is open");
            ask(&mut connection, client).await
        })
    }

    /// Asks again and again on one connection until [`House::stop_asking`]; the statuses of failures.
    pub(super) fn asking_on_and_on(&self, client: u32) -> JoinHandle<Vec<u16>> {
        let (address, served, stop) = (self.address, self.served.clone(), self.stop.clone());
        spawn_local(async move {
            let mut connection = TcpStream::connect(address).await.expect("the door is open");
            let mut failed = Vec::new();
            while !stop.get() {
                let (status, _) = ask(&mut connection, client).await;
                failed.extend((status != 200).then_some(status));
                served.set(served.get() + 1);
            }
            failed
        })
    }

    /// Waits until so many more were served.
    pub(super) async fn served(&self, more: u32) {
        let until = self.served.get() + more;
        self.until(|| self.served.get() >= until).await;
    }

    pub(super) fn stop_asking(&self) {
        self.stop.set(true);
    }
}

/// A control plane as the gateway builds it, and its only core's station where there is a door.
fn control(
    text: &str,
    directory: &std::path::Path,
    listeners: Option<Listeners>,
) -> (Arc<Control>, Arc<Steering>, Option<Rc<Station>>) {
    let plan = plan(text, directory);
    let metrics = Arc::new(Metrics::new(1));
    let descriptors = Arc::new(Descriptors::with_budget(1_024));
    let names = Arc::new(Directory::default());
    let mut builder = Builder::new(1, metrics.clone(), names.clone(), descriptors.clone());
    let table = builder.build(&plan, 1).expect("no file is needed");
    builder.commit(&plan);
    let (live, bells) = (Arc::new(Live::new(Arc::new(table))), Arc::new(Bells::new(1)));
    let steering = Steering::new(live.clone(), bells.clone(), Kept::default());
    let access_log = AccessLog::start(plan.access_log.target.clone(), metrics.clone()).expect("a thread");
    let has_door = listeners.is_some();
    let listeners = listeners.unwrap_or_else(|| {
        let nobody = Arc::new(Mailbox(mpsc::channel(1).0));
        Listeners::start(nobody, descriptors).expect("a thread")
    });
    if has_door {
        listeners.apply(&plan.listeners).expect("port 0 is free");
    }
    let shared = Shared {
        live: live.clone(),
        process: Arc::new(Process::default()),
        metrics: metrics.clone(),
        bells,
        started: Instant::now(),
    };
    let station = has_door.then(|| Station::new(CoreId(0), shared, access_log.core()));
    let mut record = Record::default();
    record.ledger.know_number(1);
    let incidents = Incidents::new(live.clone(), incidents::keep::Kept::default());
    let parts = Parts {
        incidents,
        file: directory.join("tidegate.toml"),
        environment: Arc::new(ProcessEnvironment),
        live,
        steering: steering.clone(),
        listeners: Arc::new(listeners),
        builder,
        names,
        keyrings: Arc::new(Keyrings::new(None, Arc::default())),
        notifier: Arc::new(Notifier::new(Arc::default())),
        books: Books::new(Store::at(directory), record),
        metrics,
        access_log,
        admin: Box::new(|_| {}),
    };
    let origin = origin::Origin::now(Cause::Boot, None, None);
    let active = Active { plan, text: text.into(), origin, overruled: None };
    let begun = Begun {
        read: None,
        seen: None,
        active,
        materials: Arc::default(),
        parent: None,
        degraded: None,
        refused: None,
    };
    (Arc::new(Control::new(parts, begun)), steering, station)
}

fn plan(text: &str, directory: &std::path::Path) -> Plan {
    let checked = text::check(text, &directory.join("tidegate.toml"), &ProcessEnvironment);
    let errors = checked.errors();
    checked.plan.unwrap_or_else(|| panic!("{errors:?}"))
}

/// A configuration of one route `r` to one upstream `u`, with these lines, of one backend.
pub(super) fn config(backend: SocketAddr, lines: &str) -> String {
    format!(
        "[gateway]\n\n[access_log]\ntarget = \"off\"\n\n[rollout]\ncohort = \"header:x-client\"\n\n\
         [[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\n\
         [[upstreams]]\nname = \"u\"\nbackends = [{{ name = \"a\", address = \"{backend}\" }}]\n{lines}\n\n\
         [[routes]]\nname = \"r\"\npath_prefix = \"/\"\nupstream = \"u\"\n"
    )
}

/// The same, with an auth that asks the same backend.
pub(super) fn with_auth(backend: SocketAddr, path: &str) -> String {
    let auth = format!(
        "[[auth]]\nname = \"s\"\nkind = \"external\"\nupstream = \"u\"\npath = \"{path}\"\ncache = {{ ttl = \"30s\" }}\n"
    );
    let plain = config(backend, "");
    plain.replace("upstream = \"u\"\n", "upstream = \"u\"\nauth = \"s\"\n") + &auth
}

async fn welcome(station: Rc<Station>, accepted: Accepted) {
    let Accepted { stream, peer, listener, entrance, terms, mut permit } = accepted;
    permit.handshake_done();
    let socket = TcpStream::from_std(stream).expect("a runtime with sockets");
    let came = Came { listener, entrance, settings: terms.settings, peer, tls: None };
    let client = Client::new(station.clone(), came);
    let resident = Resident::enter(&station, &client);
    connection::serve(client, Transport::Tcp(Socket::new(socket, &station.outbox)), None).await;
    drop(resident);
    drop(permit);
}

/// One request on a connection; status and body.
async fn ask(connection: &mut TcpStream, client: u32) -> (u16, String) {
    let request = format!("GET / HTTP/1.1\r\nhost: t\r\nx-client: {client}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("it is open");
    let (head, mut body) = message(connection).await.expect("an answer");
    let status = head[9..12].parse().expect("a status");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.unwrap_or(0);
    while body.len() < length {
        let mut piece = [0; 4_096];
        let read = connection.read(&mut piece).await.expect("the rest");
        assert!(read > 0, "the answer is cut off");
        body.extend_from_slice(&piece[..read]);
    }
    (status, String::from_utf8_lossy(&body).into_owned())
}
