//! The acceptor: one small thread that accepts for every listener and hands each connection to the least
//! loaded core. One thread, because a descriptor in every core's reactor wakes all of them for one client
//! (`hyper-notes.md` 21), and because SO_REUSEPORT hashes blindly.
//!
//! What happens at one socket is `street`'s. It deliberately reads no byte: handshakes and
//! heads are the core's business.

use crate::listener::Listener;
use crate::listener::entrance::{Entrance, Terms};
use crate::listener::limits::ConnectionPermit;
use crate::listener::street::{OpenStreet, Street};
use crate::runtime::tied::Tied;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

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
    _thread: Tied<oneshot::Sender<Infallible>>,
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
        Ok(Acceptor { handle, _thread: Tied::spawn("acceptor", stop, run)? })
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
        Street::open(&self.handle, socket, (listener, entrance), cores)
    }
}
