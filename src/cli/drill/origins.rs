//! The fleet that the drill's gateway stands before: origins on loopback that are slow while they are cold, and die
//! if too many wait then. A warm one has its cache, and outlives any queue that the gateway lets through.
//!
//! A request holds its worker for its whole time, whoever has left. What comes without the mark of the drill's
//! clients (health checks) is answered at once. An origin that died, or was told to restart, is away for a second
//! and comes back cold, as another process, at its old port.

use super::server;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// What the drill's clients carry; the gateway hands it on.
pub(super) const MARK: &str = "x-drill-client";
/// What the gateway sets from a file, so that it shows when that file is gone.
pub(super) const FROM_FILE: &str = "x-drill-secret";
/// How long an origin is away when it restarts.
const AWAY: Duration = Duration::from_secs(1);
/// Between two tries to have its port again.
const RETRY: Duration = Duration::from_millis(20);
/// While it is cold everything takes so many times as long.
const FACTOR: u32 = 4;
/// Requests until it is warm.
const COLD: u64 = 12;

/// How one origin is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    /// For one request, when it is warm.
    pub service: Duration,
    /// Requests that are worked on at once.
    pub workers: usize,
    /// With more that wait while it is cold it dies.
    pub most_waiting: u64,
}

/// Every origin of the drill, on one thread.
pub(super) struct Fleet {
    origins: Vec<Arc<Origin>>,
    over: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What an origin has seen.
#[derive(Debug, Default)]
struct Origin {
    setting: Mutex<Option<Setting>>,
    /// It takes requests, and answers none.
    hangs: watch::Sender<bool>,
    /// Requests of the drill's clients that were answered.
    served: AtomicU64,
    /// Those of them that carried what the gateway sets from a file.
    with_secret: AtomicU64,
    /// Deaths that nobody ordered.
    crashes: AtomicU64,
    /// Processes that it has been.
    boots: AtomicU64,
    /// The process that it is now.
    life: Mutex<CancellationToken>,
}

/// All of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests of the drill's clients that were answered.
    pub served: u64,
    /// Those of them that carried what the gateway sets from a file.
    pub with_secret: u64,
    /// Deaths that nobody ordered.
    pub crashes: u64,
    /// Processes that were started.
    pub boots: u64,
}

impl Fleet {
    /// Starts so many, warm, each ready to take connections.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(many: usize, secret: &str) -> anyhow::Result<(Fleet, Vec<SocketAddr>)> {
        Fleet::start_as(&vec![None; many], secret)
    }

    /// Starts one for each setting, set like that from its first request on.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start_as(settings: &[Option<Setting>], secret: &str) -> anyhow::Result<(Fleet, Vec<SocketAddr>)> {
        let sockets = settings.iter().map(|_| server::bind()).collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let origin = |setting: &Option<Setting>| {
            Arc::new(Origin { setting: Mutex::new(*setting), ..Origin::default() })
        };
        let origins: Vec<Arc<Origin>> = settings.iter().map(origin).collect();
        let over = CancellationToken::new();
        let secret = HeaderValue::try_from(secret)?;
        let lives: Vec<_> = origins.iter().cloned().zip(sockets).zip(addresses.clone()).collect();
        let ended = over.clone();
        let (_, thread) = crate::runtime::spawn("drill-origins", move || async move {
            for ((origin, socket), address) in lives {
                tokio::task::spawn_local(live(origin, socket, address, secret.clone(), ended.clone()));
            }
            ended.cancelled().await;
        })?;
        Ok((Fleet { origins, over, thread: Some(thread) }, addresses))
    }

    /// Sets one of them.
    pub fn set(&self, origin: usize, setting: Setting) {
        if let Some(origin) = self.origins.get(origin) {
            *origin.setting.lock().unwrap_or_else(PoisonError::into_inner) = Some(setting);
        }
    }

    /// Lets one of them take requests and answer none, or answer again.
    pub fn hang(&self, origin: usize, hangs: bool) {
        if let Some(origin) = self.origins.get(origin) {
            origin.hangs.send_replace(hangs);
        }
    }

    /// Restarts one of them.
    pub fn restart_one(&self, origin: usize) {
        self.origins.iter().skip(origin).take(1).for_each(|origin| origin.end());
    }

    /// Restarts them all at once: their connections break, and a second later they are back, cold.
    pub fn restart(&self) {
        self.origins.iter().for_each(|origin| origin.end());
    }

    /// Deaths of some of them that nobody ordered, so far.
    pub fn crashes(&self, some: Range<usize>) -> u64 {
        self.origins.get(some).into_iter().flatten().map(|origin| origin.crashes.load(Relaxed)).sum()
    }

    /// What they have seen so far.
    pub fn seen(&self) -> Seen {
        let sum = |of: fn(&Origin) -> &AtomicU64| self.origins.iter().map(|it| of(it).load(Relaxed)).sum();
        Seen {
            served: sum(|it| &it.served),
            with_secret: sum(|it| &it.with_secret),
            crashes: sum(|it| &it.crashes),
            boots: sum(|it| &it.boots),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Origin {
    fn setting(&self) -> Setting {
        let unset = Setting { service: Duration::from_millis(1), workers: 64, most_waiting: u64::MAX };
        self.setting.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(unset)
    }

    fn end(&self) {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }
}

/// One origin, through all its processes.
async fn live(
    origin: Arc<Origin>,
    socket: TcpListener,
    address: SocketAddr,
    secret: HeaderValue,
    over: CancellationToken,
) {
    let mut listener = tokio::net::TcpListener::from_std(socket).ok();
    while !over.is_cancelled() {
        let Some(open) = listener.take() else {
            tokio::time::sleep(RETRY).await;
            listener = server::again(address).ok();
            continue;
        };
        let life = over.child_token();
        *origin.life.lock().unwrap_or_else(PoisonError::into_inner) = life.clone();
        let process = Rc::new(Process::new(origin.clone(), life.clone(), secret.clone()));
        server::serve(open, life, move |request| process.clone().answer(request)).await;
        tokio::select! {
            () = over.cancelled() => {}
            () = tokio::time::sleep(AWAY) => {}
        }
    }
}

/// One process of an origin.
struct Process {
    origin: Arc<Origin>,
    life: CancellationToken,
    secret: HeaderValue,
    /// `x-boot-id` of every answer.
    boot: HeaderValue,
    /// It began with nothing in its cache.
    restarted: bool,
    /// Requests that were worked on to their end.
    done: AtomicU64,
    waiting: AtomicU64,
    workers: Semaphore,
}

impl Process {
    fn new(origin: Arc<Origin>, life: CancellationToken, secret: HeaderValue) -> Process {
        let boot = origin.boots.fetch_add(1, Relaxed);
        // As no two processes ever had.
        let id = format!("{}-{boot}-{:08x}", std::process::id(), fastrand::u32(..));
        Process {
            life,
            secret,
            boot: HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("boot")),
            restarted: boot > 0,
            done: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            workers: Semaphore::new(origin.setting().workers),
            origin,
        }
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Fails only without a sender, and the origin holds it.
        let _ = self.origin.hangs.subscribe().wait_for(|hangs| !hangs).await;
        if request.headers().contains_key(MARK) {
            let knows = self.knows(request.headers());
            let (done, answered) = oneshot::channel();
            // A task of its own: a client that leaves frees no worker.
            tokio::task::spawn_local(self.clone().work(done));
            if answered.await.is_err() {
                // The process died; so does the connection.
                std::future::pending::<()>().await;
            }
            self.origin.served.fetch_add(1, Relaxed);
            self.origin.with_secret.fetch_add(u64::from(knows), Relaxed);
        }
        let mut response = Response::new(Full::from("well\n"));
        response.headers_mut().insert("x-boot-id", self.boot.clone());
        response
    }

    fn is_cold(&self) -> bool {
        self.restarted && self.done.load(Relaxed) < COLD
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        headers.get(FROM_FILE) == Some(&self.secret)
    }

    async fn work(self: Rc<Self>, done: oneshot::Sender<()>) {
        let setting = self.origin.setting();
        let waiting = self.waiting.fetch_add(1, Relaxed);
        if self.is_cold() && waiting >= setting.most_waiting {
            if !self.life.is_cancelled() {
                self.origin.crashes.fetch_add(1, Relaxed);
                self.life.cancel();
            }
            return;
        }
        let worker = tokio::select! {
            worker = self.workers.acquire() => worker,
            () = self.life.cancelled() => return,
        };
        self.waiting.fetch_sub(1, Relaxed);
        let time = if self.is_cold() { setting.service * FACTOR } else { setting.service };
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.life.cancelled() => return,
        }
        drop(worker);
        self.done.fetch_add(1, Relaxed);
        let _ = done.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    const SETTING: Setting = Setting { service: Duration::from_millis(20), workers: 2, most_waiting: 6 };

    fn ask(address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-drill-client: 1\r\nx-drill-secret: s\r\n\r\n")?;
        Ok(stream)
    }

    fn answered(mut stream: TcpStream) -> bool {
        let mut read = [0; 512];
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a bound");
        stream.read(&mut read).is_ok_and(|n| read[..n].starts_with(b"HTTP/1.1 200"))
    }

    fn until(what: &str, mut so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !so() {
            assert!(started.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_cold_origin_that_gets_everything_at_once_dies_of_it_and_a_warm_one_does_not() {
        let (fleet, addresses) = Fleet::start(1, "s").expect("starts");
        fleet.set(0, SETTING);
        assert!(
            (0..8)
                .map(|_| ask(addresses[0]))
                .collect::<Vec<_>>()
                .into_iter()
                .all(|it| answered(it.expect("there")))
        );
        assert_eq!((fleet.seen().crashes, fleet.seen().with_secret), (0, 8));
        fleet.restart();
        until("it is away", || ask(addresses[0]).is_err());
        until("it is back", || ask(addresses[0]).is_ok_and(answered));
        // As many again every time a warm one would have served the last ones.
        let mut held = Vec::new();
        until("it died", || {
            held.extend(ask(addresses[0]));
            fleet.seen().crashes == 1
        });
        until("it is back again", || fleet.seen().boots == 3);
    }
}
