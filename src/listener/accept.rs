//! The acceptor: one small thread that accepts for every listener and hands each connection to the least
//! loaded core. One thread, because a descriptor in every core's reactor wakes all of them for one client
//! (`hyper-notes.md` 21), and because SO_REUSEPORT hashes blindly.
//!
//! Accept errors never end it and never make it spin: an error of one connection is counted and passed
//! over, a lack of descriptors or memory pauses it, for up to a second. It deliberately reads no byte:
//! handshakes and heads are the core's business.

use crate::listener::Listener;
use crate::listener::bind;
use crate::listener::entrance::{Entrance, Terms};
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
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// The first pause after the system ran out of something; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a street that closes tries to let in who is at its door, against a lack of descriptors.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long handshakes of TCP that had begun get to arrive at a door that closes.
const HALF_OPEN: Duration = Duration::from_millis(20);
/// How long closing a street waits for the acceptor to let go of the socket.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A connection on its way to a core.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking, TCP_NODELAY.
    pub stream: TcpStream,
    /// Who; IPv4 addresses as such, also when they came over an IPv6 socket.
    pub peer: SocketAddr,
    /// Whose it is.
    pub listener: Arc<Listener>,
    /// Where it came in.
    pub entrance: Arc<Entrance>,
    /// What it is served by, whatever changes meanwhile.
    pub terms: Terms,
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

    /// Starts accepting for a listener, through an entrance.
    pub fn open(
        &self,
        socket: AsyncFd<TcpListener>,
        (listener, entrance): (Arc<Listener>, Arc<Entrance>),
        cores: Arc<dyn Cores>,
    ) -> OpenStreet {
        let (ended_sender, ended) = mpsc::sync_channel(0);
        let (closing, told) = oneshot::channel();
        let street = Street { socket, listener, entrance, cores, next: 0, _ended: ended_sender };
        let task = self.handle.spawn(street.accept_until(told)).abort_handle();
        OpenStreet { closing, task, ended }
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

/// Why a street closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Its address goes: nobody may arrive any more.
    Address,
    /// Another street accepts from the same socket next.
    HandOver,
}

/// A socket being accepted from.
#[derive(Debug)]
pub struct OpenStreet {
    closing: oneshot::Sender<Closing>,
    task: AbortHandle,
    ended: mpsc::Receiver<Infallible>,
}

/// A street that was told to close.
#[derive(Debug)]
pub struct ClosingStreet {
    task: AbortHandle,
    ended: mpsc::Receiver<Infallible>,
}

impl OpenStreet {
    /// Lets in who is at the door already, then stops accepting.
    pub fn close(self, why: Closing) -> ClosingStreet {
        // Nobody hears it when the street is gone already.
        let _ = self.closing.send(why);
        ClosingStreet { task: self.task, ended: self.ended }
    }
}

impl ClosingStreet {
    /// The acceptor has closed its copy of the socket when this returns.
    pub fn wait(self) {
        // An error either way: the sender was dropped (closed), or the patience is over.
        let _ = self.ended.recv_timeout(CLOSE_PATIENCE);
        self.task.abort();
    }
}

/// One listener's accept loop.
struct Street {
    socket: AsyncFd<TcpListener>,
    listener: Arc<Listener>,
    entrance: Arc<Entrance>,
    cores: Arc<dyn Cores>,
    /// Where the search for a core begins, so that equally idle cores take turns.
    next: usize,
    /// Tells [`ClosingStreet::wait`] that the socket is gone, so it comes after it.
    _ended: mpsc::SyncSender<Infallible>,
}

impl Street {
    async fn accept_until(mut self, told: oneshot::Receiver<Closing>) {
        let why = tokio::select! {
            biased;
            why = told => why.ok(),
            () = self.accept_for_ever() => None,
        };
        if let Some(why) = why {
            self.let_in_the_last(why).await;
        }
    }

    /// May be dropped wherever it waits: no connection is in its hands then.
    async fn accept_for_ever(&mut self) {
        let mut pause = Pause::default();
        loop {
            // A busy listener must not keep the others waiting.
            tokio::task::consume_budget().await;
            // Fails only when the runtime is ending.
            let Ok(mut ready) = self.socket.readable().await else { return };
            let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) else { continue };
            drop(ready);
            let Err(error) = self.take(accepted) else {
                pause = Pause::default();
                continue;
            };
            self.listener.counts().paused.fetch_add(1, Relaxed);
            let first = pause.is_first();
            let pause = pause.next();
            if first {
                AcceptFailed { listener: self.listener.name(), error: &error, pause }.emit();
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Those in the backlog have a connection already, as far as they know: closing the socket over them would
    /// reset it. Bounded by the backlog's length and by time.
    async fn let_in_the_last(&mut self, why: Closing) {
        if why == Closing::Address {
            // Without it somebody might arrive between the last look and the close; that it may fail only
            // brings that moment back.
            let _ = bind::refuse_newcomers(self.socket.get_ref());
        }
        let end = Instant::now() + LAST_CALL;
        let mut looks = if why == Closing::Address { 2 } else { 1 };
        for _ in 0..bind::BACKLOG {
            let pause = match self.accept_now() {
                Ok(true) => continue,
                Ok(false) => {
                    looks -= 1;
                    if looks == 0 {
                        return;
                    }
                    HALF_OPEN
                }
                Err(_) if Instant::now() < end => PAUSE_MIN,
                Err(_) => return,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Accepts without waiting; false when nobody is there.
    fn accept_now(&mut self) -> io::Result<bool> {
        match accept(self.socket.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            accepted => self.take(accepted).map(|()| true),
        }
    }

    /// Lets in whom the system accepted. What went wrong with one connection only is counted and passed over.
    ///
    /// # Errors
    /// What would come again at once.
    fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) -> io::Result<()> {
        match accepted {
            Ok((stream, peer)) => {
                // A panic about one connection must not end accepting; its socket is closed, unwinding.
                if catch_unwind(AssertUnwindSafe(|| self.enter(stream, peer))).is_err() {
                    self.listener.counts().failed.fetch_add(1, Relaxed);
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                self.listener.counts().failed.fetch_add(1, Relaxed);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets a connection in and hands it on; a refused one is closed here.
    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(permit) = self.listener.admit(peer.ip()) else { return };
        if stream.set_nodelay(true).is_err() {
            self.listener.counts().failed.fetch_add(1, Relaxed);
            return;
        }
        let (listener, entrance) = (Arc::clone(&self.listener), Arc::clone(&self.entrance));
        let terms = entrance.terms(|| listener.terms());
        match self.deliver(Accepted { stream, peer, listener, entrance, terms, permit }) {
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
