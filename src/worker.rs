//! One core: a thread with a single-threaded runtime on which its connections live and die. It takes
//! connections from the acceptor through a bounded mailbox, does their TLS handshakes under a deadline, and
//! ticks: everything that is overdue is found there (`hyper-notes.md` 9, 10).

use crate::listener::Listener;
use crate::listener::accept::{Accepted, Cores};
use crate::listener::entrance::Terms;
use crate::listener::limits::{ConnectionPermit, Refusal};
use crate::runtime;
use crate::runtime::clock::TICK;
use crate::runtime::watchdog::Heartbeats;
use crate::server::client::{Came, Client, TlsFacts};
use crate::server::connection;
use crate::server::door::sniff::Protocol;
use crate::server::ledger::Census;
use crate::server::station::{Resident, Shared, Station};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::CoreId;
use crate::upstream::outbox::Socket;
use crate::upstream::transport::Transport;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

/// Connections that may wait for a core to take them.
const MAILBOX: usize = 1024;

/// Questions of operators that may wait for a core.
const QUESTIONS: usize = 4;

/// Asks a core who holds slots there.
type Question = oneshot::Sender<Census>;

/// The cores of the data plane.
pub struct Workers {
    cores: Vec<Core>,
}

struct Core {
    mailbox: mpsc::Sender<Delivered>,
    questions: mpsc::Sender<Question>,
    load: Arc<AtomicU32>,
}

/// A connection in a core's mailbox or on the core; counts towards its load.
struct Delivered {
    accepted: Accepted,
    _load: Load,
}

struct Load(Arc<AtomicU32>);

impl Load {
    fn new(load: &Arc<AtomicU32>) -> Self {
        load.fetch_add(1, Relaxed);
        Load(load.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Workers {
    /// Starts `count` cores; they end when `stop` is cancelled.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start(
        count: usize,
        shared: &Shared,
        log: &AccessLog,
        hearts: &Arc<Heartbeats>,
        stop: &CancellationToken,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut cores = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (mailbox, arrivals) = mpsc::channel(MAILBOX);
            let (questions, asked) = mpsc::channel(QUESTIONS);
            let id = CoreId(u32::try_from(index).unwrap_or(u32::MAX));
            let (shared, log, hearts, stop) = (shared.clone(), log.clone(), hearts.clone(), stop.clone());
            let main = move || async move {
                let station = Station::new(id, shared, log.core());
                run(station, arrivals, asked, &hearts, &stop).await;
            };
            let (_, thread) = runtime::spawn(&format!("core-{index}"), main)?;
            threads.push(thread);
            cores.push(Core { mailbox, questions, load: Arc::default() });
        }
        Ok((Workers { cores }, threads))
    }

    /// Asks every core who holds slots there; `None` for a core that has too many questions waiting already. A core
    /// that is stuck never answers: the caller has the deadline.
    pub fn ask_who_holds(&self) -> Vec<Option<oneshot::Receiver<Census>>> {
        let ask = |core: &Core| {
            let (question, answer) = oneshot::channel();
            core.questions.try_send(question).ok().map(|()| answer)
        };
        self.cores.iter().map(ask).collect()
    }

    /// Client connections on a core, or in its mailbox.
    pub fn connections(&self, core: usize) -> u32 {
        self.cores.get(core).map_or(0, |core| core.load.load(Relaxed))
    }
}

impl Cores for Workers {
    fn count(&self) -> usize {
        self.cores.len()
    }

    fn load(&self, core: usize) -> u32 {
        self.connections(core)
    }

    fn deliver(&self, core: usize, accepted: Accepted) -> Result<(), Accepted> {
        let Some(core) = self.cores.get(core) else { return Err(accepted) };
        let delivered = Delivered { accepted, _load: Load::new(&core.load) };
        core.mailbox.try_send(delivered).map_err(|refused| refused.into_inner().accepted)
    }
}

async fn run(
    station: Rc<Station>,
    mut arrivals: mpsc::Receiver<Delivered>,
    mut asked: mpsc::Receiver<Question>,
    hearts: &Heartbeats,
    stop: &CancellationToken,
) {
    tokio::task::spawn_local(station.clone().keep_house());
    tokio::task::spawn_local(station.clone().answer_bell());
    tokio::task::spawn_local(station.outbox.clone().deliver());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut count: u64 = 0;
    loop {
        tokio::select! {
            Some(delivered) = arrivals.recv() => {
                tokio::task::spawn_local(welcome(station.clone(), delivered));
            }
            Some(question) = asked.recv() => {
                // Whoever asked may have given up while the core was stuck; then the work is for nobody.
                if !question.is_closed() {
                    let _ = question.send(station.census());
                }
            }
            due = ticks.tick() => {
                count += 1;
                tick(&station, hearts, (count, due.into_std()));
            }
            () = stop.cancelled() => break,
        }
    }
    station.log.flush();
}

/// The tick with this number, which was due then.
fn tick(station: &Station, hearts: &Heartbeats, (count, due): (u64, Instant)) {
    let since_start = station.shared.started.elapsed().as_millis();
    let late = Instant::now().saturating_duration_since(due);
    station.strain.ticked(late, station.core, station.views().stable().highest, hearts);
    hearts.beat(station.core.0 as usize, u64::try_from(since_start).unwrap_or(u64::MAX));
    station.tick();
    if count.is_multiple_of(10) {
        station.tidy();
    }
    if count.is_multiple_of(100) {
        station.fade();
    }
}

/// A connection from the mailbox to its end. Most of its time it waits: what only its beginning needs is boxed, and
/// given back.
fn welcome(station: Rc<Station>, delivered: Delivered) -> impl Future<Output = ()> {
    let entering = Box::pin(let_in(station, delivered));
    async move {
        let Some(Entered { client, transport, protocol, place }) = entering.await else { return };
        connection::serve(client, transport, protocol).await;
        drop(place);
    }
}

/// A connection that may ask.
struct Entered {
    client: Rc<Client>,
    transport: Transport,
    /// What its TLS agreed on.
    protocol: Option<Protocol>,
    place: Place,
}

/// What a connection holds while it lives, in the order in which it is given back.
struct Place {
    _resident: Resident,
    _permit: ConnectionPermit,
    _load: Load,
}

async fn let_in(station: Rc<Station>, delivered: Delivered) -> Option<Entered> {
    let Delivered { accepted, _load } = delivered;
    let Accepted { stream, peer, listener, entrance, terms, mut permit } = accepted;
    let socket = TcpStream::from_std(stream).ok()?;
    let Opened { transport, protocol, tls } =
        open(Socket::new(socket, &station.outbox), &listener, &terms).await?;
    permit.handshake_done();
    let came = Came { listener, entrance, settings: terms.settings, peer, tls };
    let client = Client::new(station.clone(), came);
    let place = Place { _resident: Resident::enter(&station, &client), _permit: permit, _load };
    Some(Entered { client, transport, protocol, place })
}

struct Opened {
    transport: Transport,
    protocol: Option<Protocol>,
    tls: Option<TlsFacts>,
}

/// TLS, if the listener has it, under a deadline.
async fn open(socket: Socket, listener: &Listener, terms: &Terms) -> Option<Opened> {
    let Some(door) = terms.tls.clone() else {
        return Some(Opened { transport: Transport::Tcp(socket), protocol: None, tls: None });
    };
    let handshake = TlsAcceptor::from(door.config.clone()).accept(socket);
    let stream = match within(terms.settings.handshake_timeout, handshake).await {
        Some(Ok(stream)) => stream,
        Some(Err(_)) => {
            listener.limits().count(Refusal::HandshakeFailed);
            return None;
        }
        None => {
            listener.limits().count(Refusal::HandshakeTimeout);
            return None;
        }
    };
    let session = stream.get_ref().1;
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let server_name = session.server_name().map(str::to_owned);
    let transport = Transport::Tls(Box::new(TlsStream::Server(stream)));
    Some(Opened { transport, protocol: Some(protocol), tls: Some(TlsFacts { server_name, door }) })
}

async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout_at((Instant::now() + patience).into(), future).await.ok()
}
