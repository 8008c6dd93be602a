//! One socket that clients come in by: accepting from it, and closing it without losing anybody.
//!
//! Accept errors never end it and never make it spin: an error of one connection is counted and passed
//! over, a lack of descriptors or memory pauses it, for up to a second.

use crate::listener::Listener;
use crate::listener::accept::{Accepted, Cores};
use crate::listener::bind;
use crate::listener::entrance::Entrance;
use crate::listener::limits::Refusal;
use crate::telemetry::events::AcceptFailed;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
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
pub struct Street {
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
    /// Starts accepting on the acceptor's runtime.
    pub fn open(
        acceptor: &Handle,
        socket: AsyncFd<TcpListener>,
        (listener, entrance): (Arc<Listener>, Arc<Entrance>),
        cores: Arc<dyn Cores>,
    ) -> OpenStreet {
        let (ended_sender, ended) = mpsc::sync_channel(0);
        let (closing, told) = oneshot::channel();
        let street = Street { socket, listener, entrance, cores, next: 0, _ended: ended_sender };
        let task = acceptor.spawn(street.accept_until(told)).abort_handle();
        OpenStreet { closing, task, ended }
    }

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
