//! Backends named by their misbehaviour. Each is a real server on its own port and thread, counts what it
//! sees, and may change its behaviour while it runs.
//!
//! These speak HTTP/1.1 by hand, because a polite library refuses to misbehave; `origin_http2` has the
//! backends that speak HTTP/2.

pub mod exchange;

use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, wait_for, wait_until};

/// What an origin does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reads the request and answers at once with what it saw, as JSON. `/bytes/N`, `/pieces/N` and `/chunked/N`
    /// answer with N bytes, `/status/N` with that status, `/hop` with hop-by-hop headers.
    WellBehaved,
    /// The same, after a while.
    Delay(Duration),
    /// Answers after a while, with this boot id; 0 is several servers behind one address, which take turns.
    Process(u32, Duration),
    AcceptsAndNeverAnswers,
    /// Sends a head that promises 1,000 bytes, ten of them, and nothing more.
    StallsAfterHeaders,
    /// Sends half of the promised body and resets the connection.
    ResetsMidBody,
    DripsOneByteASecond,
    /// Answers in full before it reads the request's body, and then reads it.
    AnswersTooEarly,
    /// Sends ten bytes more than declared.
    SendsMoreThanDeclared,
    /// Reads the head and nothing more, and waits for the end.
    NeverReadsTheBody,
    /// Promises 1,000,000 bytes, sends so many, and closes.
    BreaksOffAfter(usize),
    /// Closes ten bytes short of what it declared.
    SendsLessThanDeclared,
    ClosesAfterEachAnswer,
    /// Answers, keeps the connection, and closes it a moment later without a word; on HTTP/2 with a GOAWAY.
    ClosesIdleConnections,
    /// Two informational answers before the final one.
    SendsEarlyHints,
    /// Informational answers, as many as it can for so long, and no final one.
    FloodsHints(Duration),
    /// Reads the body only after it has sent `100 Continue`.
    ExpectsContinue,
    /// Refuses with 417 what expects `100 Continue`, without reading the body.
    RefusesExpectation,
    SendsGarbage,
    /// Well-behaved, but `/healthz` is 404, or over gRPC not serving.
    FailsChecks,
    /// Well-behaved, but `/healthz` is never answered.
    NeverAnswersChecks,
    /// Switches to any protocol that is asked for and echoes bytes.
    UpgradesAndEchoes,
    /// Closes each connection as soon as it has read a head.
    ClosesWithoutAnswer,
    /// Says who may pass: `Authorization: Bearer NAME` may, `Basic …` may not (403), nobody else either (401). `NAME`
    /// and what it was told come back as `x-user` and `x-told`; `/private` as a path must not be kept, `/brief` for a
    /// second only.
    Judges,
    /// The same, after a while.
    JudgesAfter(Duration),
    /// Reads the request and sends these bytes, whatever they are.
    Says(&'static str),
    /// The same, and keeps the connection whatever becomes of the other side.
    SaysAndStays(&'static str),
}

/// What an origin has seen.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicU64,
    peak: AtomicU64,
}

/// A running backend; it ends when dropped.
pub struct Origin {
    address: SocketAddr,
    counters: Arc<Counters>,
    behaviour: Arc<Mutex<Behaviour>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A connection's bytes.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {
    /// What they run over.
    fn socket(&self) -> &TcpStream;
}

impl Io for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Io for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What each connection of an origin is served with.
#[derive(Clone)]
pub struct Service {
    pub counters: Arc<Counters>,
    pub behaviour: Arc<Mutex<Behaviour>>,
    /// For HTTP/2: how many streams a connection may have.
    pub max_streams: u32,
}

/// Which protocol an origin speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

impl Origin {
    /// A cleartext HTTP/1.1 origin.
    pub fn start(behaviour: Behaviour) -> Origin {
        Origin::spawn(behaviour, Speaks::Http1, None, 0)
    }

    /// The same over TLS.
    pub fn tls(behaviour: Behaviour, server: Arc<rustls::ServerConfig>) -> Origin {
        Origin::spawn(behaviour, Speaks::Http1, Some(TlsAcceptor::from(server)), 0)
    }

    /// A cleartext HTTP/2 origin: gRPC requests are echoed message by message, others answered with JSON.
    pub fn http2(max_streams: u32) -> Origin {
        Origin::spawn(Behaviour::WellBehaved, Speaks::Http2, None, max_streams)
    }

    /// The same over TLS.
    pub fn tls_http2(max_streams: u32, server: Arc<rustls::ServerConfig>) -> Origin {
        let mut server = Arc::unwrap_or_clone(server);
        server.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(server));
        Origin::spawn(Behaviour::WellBehaved, Speaks::Http2, Some(tls), max_streams)
    }

    /// A cleartext HTTP/1.1 origin where another one was before.
    pub fn at(address: SocketAddr, behaviour: Behaviour) -> Origin {
        Origin::listening(address, behaviour, Speaks::Http1, None, 0)
    }

    /// The process ends, with its connections and its port; returns where it was.
    pub fn die(self) -> SocketAddr {
        self.address
    }

    /// A well-behaved one.
    pub fn well_behaved() -> Origin {
        Origin::start(Behaviour::WellBehaved)
    }

    /// Well-behaved ones on as many loopback addresses with one port: what one name can stand for.
    pub fn with_one_port(n: u8) -> Vec<Origin> {
        let all = || -> std::io::Result<Vec<std::net::TcpListener>> {
            let first = std::net::TcpListener::bind("127.0.1.1:0")?;
            let port = first.local_addr()?.port();
            let others =
                (2..=n).map(|last| std::net::TcpListener::bind(SocketAddr::from(([127, 0, 1, last], port))));
            std::iter::once(Ok(first)).chain(others).collect()
        };
        let listeners = wait_for(PATIENCE, "a port that is free on all of them", || all().ok());
        let start = |listener| Origin::on(listener, Behaviour::WellBehaved, Speaks::Http1, None, 0);
        listeners.into_iter().map(start).collect()
    }

    fn spawn(behaviour: Behaviour, speaks: Speaks, tls: Option<TlsAcceptor>, max_streams: u32) -> Origin {
        Origin::listening(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour, speaks, tls, max_streams)
    }

    fn listening(
        address: SocketAddr,
        behaviour: Behaviour,
        speaks: Speaks,
        tls: Option<TlsAcceptor>,
        max_streams: u32,
    ) -> Origin {
        let listener = std::net::TcpListener::bind(address).expect("a port");
        Origin::on(listener, behaviour, speaks, tls, max_streams)
    }

    fn on(
        listener: std::net::TcpListener,
        behaviour: Behaviour,
        speaks: Speaks,
        tls: Option<TlsAcceptor>,
        max_streams: u32,
    ) -> Origin {
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let counters = Arc::new(Counters::default());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let service = Service { counters: counters.clone(), behaviour: behaviour.clone(), max_streams };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! { _ = stopped => {}, () = accept(listener, service, speaks, tls) => {} }
            });
        });
        Origin { address, counters, behaviour, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves differently from the next request on.
    pub fn switch(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("nobody panicked") = behaviour;
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counters.accepted.load(SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.counters.open.load(SeqCst)
    }

    /// Requests whose head was read.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(SeqCst)
    }

    /// Requests in its hands now.
    pub fn in_flight(&self) -> u64 {
        self.counters.in_flight.load(SeqCst)
    }

    /// The most requests that were ever in its hands at once.
    pub fn peak(&self) -> u64 {
        self.counters.peak.load(SeqCst)
    }

    /// Waits until it holds `n` requests.
    pub fn holds(&self, n: u64) {
        wait_until(PATIENCE, &format!("the origin holds {n} requests"), || self.in_flight() == n);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Counters {
    /// One more request in hand, until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Guard {
        self.requests.fetch_add(1, SeqCst);
        let now = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(now, SeqCst);
        Guard { counters: self.clone(), gauge: |counters| &counters.in_flight }
    }

    fn connection(self: &Arc<Self>) -> Guard {
        self.accepted.fetch_add(1, SeqCst);
        self.open.fetch_add(1, SeqCst);
        Guard { counters: self.clone(), gauge: |counters| &counters.open }
    }
}

/// One of what a gauge counts.
pub struct Guard {
    counters: Arc<Counters>,
    gauge: fn(&Counters) -> &AtomicU64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        (self.gauge)(&self.counters).fetch_sub(1, SeqCst);
    }
}

async fn accept(listener: TcpListener, service: Service, speaks: Speaks, tls: Option<TlsAcceptor>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, tls, open) = (service.clone(), tls.clone(), service.counters.connection());
        let _ = socket.set_nodelay(true);
        tokio::spawn(async move {
            let _open = open;
            let io: Box<dyn Io> = match tls {
                None => Box::new(socket),
                Some(tls) => match tls.accept(socket).await {
                    Ok(io) => Box::new(io),
                    Err(_) => return,
                },
            };
            match speaks {
                Speaks::Http1 => exchange::serve(io, service).await,
                Speaks::Http2 => super::origin_http2::serve(io, service).await,
            }
        });
    }
}

/// A port that answers no SYN: it listens, accepts nothing, and its backlog is full.
pub struct SynBlackHole {
    socket: Socket,
    _fillers: Vec<Socket>,
}

impl SynBlackHole {
    /// Fills the backlog until a further connection stays unanswered.
    pub fn start() -> SynBlackHole {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        socket.listen(0).expect("it listens");
        let mut hole = SynBlackHole { socket, _fillers: Vec::new() };
        for _ in 0..8 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("non-blocking");
            let _ = filler.connect(&hole.address().into());
            hole._fillers.push(filler);
        }
        wait_until(PATIENCE, "the backlog is full", || {
            StdStream::connect_timeout(&hole.address(), Duration::from_millis(100)).is_err()
        });
        hole
    }

    /// Where it does not answer.
    pub fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("an address");
        address.as_socket().expect("an internet address")
    }
}

/// A port on which nobody listens.
pub fn refused() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
