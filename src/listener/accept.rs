//! The acceptor: one small thread that accepts for every listener and hands each connection to the least
//! loaded core. One thread, because a descriptor in every core's reactor wakes all of them for one client
//! (`hyper-notes.md` 21), and because SO_REUSEPORT hashes blindly.
//!
//! Accept errors never end it and never make it spin: an error of one connection is counted and passed
//! over, a lack of descriptors or memory pauses it, for up to a second. It deliberately reads no byte:
//! handshakes and heads are the core's business.

use crate::listener::Listener;
use crate::listener::limits::{ConnectionPermit, Refusal};
use crate::telemetry::events::AcceptFailed;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// The first pause after the system ran out of something; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long closing a street waits for the acceptor to let go of the socket.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A connection on its way to a core.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking, TCP_NODELAY.
    pub stream: TcpStream,
    /// Who; IPv4 addresses as such, also when they came over an IPv6 socket.
    pub peer: SocketAddr,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Held as long as the connection lives; declared last, because the descriptor is free only after it.
    pub permit: ConnectionPermit,
}

/// The cores that serve connections.
pub trait Cores: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// How busy a core is, in any unit that all cores share; what was delivered must count at once.
    fn load(&self, core: usize) -> u32;
    /// Hands a connection to a core, without waiting.
    ///
    /// # Errors
    /// Gives the connection back when the core cannot take it.
    fn deliver(&self, core: usize, accepted: Accepted) -> Result<(), Accepted>;
}

/// What accepting met with.
#[derive(Debug, Default)]
pub struct AcceptCounts {
    /// Connections handed to a core.
    pub accepted: AtomicU64,
    /// Connections that were gone before a core had them.
    pub failed: AtomicU64,
    /// Pauses because the system was out of descriptors or memory.
    pub paused: AtomicU64,
}

/// The thread and its runtime. Dropping it stops all accepting.
#[derive(Debug)]
pub struct Acceptor {
    handle: Handle,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its reactor cannot be made.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // Ends when the sender is dropped.
            let _ = runtime.block_on(stopped);
        };
        let thread = thread::Builder::new().name("acceptor".to_owned()).spawn(run)?;
        Ok(Acceptor { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// A copy of `socket` that the acceptor can wait on; nothing is accepted yet.
    ///
    /// # Errors
    /// When the copy or its registration fails, which is for want of descriptors.
    pub fn prepare(&self, socket: &TcpListener) -> io::Result<AsyncFd<TcpListener>> {
        let _context = self.handle.enter();
        // tokio's own listener would register every accepted socket here, only to take it out again for its
        // core: two system calls a connection.
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that close their descriptor early; this is std's"
        )]
        AsyncFd::with_interest(socket.try_clone()?, Interest::READABLE)
    }

    /// Starts accepting for `listener`.
    pub fn open(
        &self,
        socket: AsyncFd<TcpListener>,
        listener: Arc<Listener>,
        cores: Arc<dyn Cores>,
    ) -> OpenStreet {
        let (ended_sender, ended) = mpsc::sync_channel(0);
        let street = Street { socket, listener, cores, next: 0, _ended: ended_sender };
        OpenStreet { task: self.handle.spawn(street.accept_for_ever()).abort_handle(), ended }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which the panic hook has told.
            let _ = thread.join();
        }
    }
}

/// A socket being accepted from.
#[derive(Debug)]
pub struct OpenStreet {
    task: AbortHandle,
    ended: mpsc::Receiver<Infallible>,
}

impl OpenStreet {
    /// Stops accepting; the acceptor has closed its copy of the socket when this returns.
    pub fn close(self) {
        self.task.abort();
        // An error either way: the sender was dropped (closed), or the patience is over.
        let _ = self.ended.recv_timeout(CLOSE_PATIENCE);
    }
}

/// One listener's accept loop.
struct Street {
    socket: AsyncFd<TcpListener>,
    listener: Arc<Listener>,
    cores: Arc<dyn Cores>,
    /// Where the search for a core begins, so that equally idle cores take turns.
    next: usize,
    /// Tells [`OpenStreet::close`] that the socket is gone, so it comes after it.
    _ended: mpsc::SyncSender<Infallible>,
}

impl Street {
    async fn accept_for_ever(mut self) {
        let mut pause = Pause::default();
        loop {
            // A busy listener must not keep the others waiting.
            tokio::task::consume_budget().await;
            // Fails only when the runtime is ending.
            let Ok(mut ready) = self.socket.readable().await else { return };
            let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) else { continue };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Pause::default();
                    // A panic about one connection must not end accepting; its socket is closed, unwinding.
                    if catch_unwind(AssertUnwindSafe(|| self.enter(stream, peer))).is_err() {
                        self.listener.counts().failed.fetch_add(1, Relaxed);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {
                    self.listener.counts().failed.fetch_add(1, Relaxed);
                }
                Err(error) => {
                    self.listener.counts().paused.fetch_add(1, Relaxed);
                    let first = pause.is_first();
                    let pause = pause.next();
                    if first {
                        AcceptFailed { listener: self.listener.name(), error: &error, pause }.emit();
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Lets a connection in and hands it on; a refused one is closed here.
    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(permit) = self.listener.admit(peer.ip()) else { return };
        if stream.set_nodelay(true).is_err() {
            self.listener.counts().failed.fetch_add(1, Relaxed);
            return;
        }
        let listener = Arc::clone(&self.listener);
        match self.deliver(Accepted { stream, peer, listener, permit }) {
            Ok(()) => {
                self.listener.counts().accepted.fetch_add(1, Relaxed);
            }
            Err(_) => self.listener.limits().count(Refusal::Cores),
        }
    }

    /// To the least loaded core, or, when that one refuses, to any that takes it.
    fn deliver(&mut self, mut accepted: Accepted) -> Result<(), Accepted> {
        let count = self.cores.count();
        self.next = self.next.wrapping_add(1);
        let from_next = |step: usize| self.next.wrapping_add(step) % count;
        let Some(best) = (0..count).map(from_next).min_by_key(|core| self.cores.load(*core)) else {
            return Err(accepted);
        };
        for step in 0..count {
            match self.cores.deliver((best + step) % count, accepted) {
                Ok(()) => return Ok(()),
                Err(back) => accepted = back,
            }
        }
        Err(accepted)
    }
}

fn accept(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, peer) = acceptfrom_with(socket.as_fd(), flags)?;
    let peer: SocketAddr = peer.ok_or(Errno::CONNABORTED)?.try_into().map_err(|_| Errno::CONNABORTED)?;
    Ok((stream.into(), SocketAddr::new(peer.ip().to_canonical(), peer.port())))
}

/// Errors that belong to the connection at the head of the backlog, not to the socket: accept(2) hands on
/// pending network errors, and says to treat them like EAGAIN.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::OPNOTSUPP
                | Errno::TIMEDOUT
        )
    )
}

/// How long to wait after an error that would come again at once.
#[derive(Debug, Default)]
struct Pause {
    times: u32,
}

impl Pause {
    fn is_first(&self) -> bool {
        self.times == 0
    }

    fn next(&mut self) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.times.min(7)).min(PAUSE_MAX);
        self.times = self.times.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_pauses_and_a_lost_connection_does_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::BADF] {
            assert!(!is_of_one_connection(&errno.into()), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::PERM, Errno::HOSTUNREACH, Errno::INTR] {
            assert!(is_of_one_connection(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn pauses_grow_to_a_second_and_stay_there() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..12).map(|_| pause.next()).collect();
        assert_eq!(pauses[0], PAUSE_MIN);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[11], PAUSE_MAX);
        pause.times = u32::MAX;
        assert_eq!(pause.next(), PAUSE_MAX);
    }
}
