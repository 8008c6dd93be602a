//! The street door: addresses that accept clients, and who may come in.
//!
//! [`Listeners::apply`] changes all of them in one step or none: what is new is bound before anything else
//! happens, a listener that stays keeps its socket, a removed one stops accepting while its connections
//! finish. Counts belong to a listener's name and survive every change.
//!
//! It deliberately knows no HTTP and performs no handshake: a core does.

pub mod settings;
pub mod accept;
pub mod limits;
pub mod renew;
pub mod tls;
mod bind;
#[cfg(test)]
mod tests;

use crate::runtime::descriptors::Descriptors;
use crate::upstream::pem::TlsError;
use accept::{AcceptCounts, Acceptor, Cores, OpenStreet};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use limits::{Caps, ConnectionPermit, Limits, Refusal};
use renew::DoorFor;
use settings::Settings;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tls::TlsDoor;
use tokio::io::unix::AsyncFd;

/// One listener, by name. Lives as long as it is configured or has connections.
#[derive(Debug)]
pub struct Listener {
    name: Arc<str>,
    settings: ArcSwap<Settings>,
    tls: ArcSwapOption<TlsDoor>,
    bound: ArcSwap<SocketAddr>,
    limits: Limits,
    counts: AcceptCounts,
}

impl Listener {
    /// Its name in metrics and logs.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The settings of the moment, caps clamped to the descriptors there are. A connection that must not
    /// change in the middle takes them once.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Certificates of the moment, if clients speak TLS here.
    pub fn tls(&self) -> Option<Arc<TlsDoor>> {
        self.tls.load_full()
    }

    /// The address that it is bound to, with the port that the system chose for port 0.
    pub fn bound(&self) -> SocketAddr {
        **self.bound.load()
    }

    /// Open connections, handshakes and refusals.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What accepting met with.
    pub fn counts(&self) -> &AcceptCounts {
        &self.counts
    }

    fn admit(&self, peer: IpAddr) -> Result<ConnectionPermit, Refusal> {
        let settings = self.settings.load();
        let caps = Caps {
            connections: settings.max_connections,
            per_source: settings.max_connections_per_source,
            handshakes: settings.max_handshakes,
        };
        self.limits.admit(peer, caps)
    }
}

/// Why a set of listeners cannot take effect.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("listener {name}: cannot listen on {address}: {source}")]
    Address {
        /// The listener.
        name: Arc<str>,
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Its certificates cannot be used.
    #[error("listener {name}: {source}")]
    Tls {
        /// The listener.
        name: Arc<str>,
        /// Which file, and why.
        source: TlsError,
    },
    /// The gateway no longer accepts.
    #[error("the gateway is draining and opens no listeners")]
    Draining,
}

/// All listeners, and the thread that accepts for them.
pub struct Listeners {
    acceptor: Acceptor,
    cores: Arc<dyn Cores>,
    descriptors: Arc<Descriptors>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// Every listener that is configured or still has connections.
    by_name: HashMap<Arc<str>, Weak<Listener>>,
    draining: bool,
}

/// A listener that accepts.
struct Open {
    listener: Arc<Listener>,
    /// As configured; port 0 stays 0.
    address: SocketAddr,
    /// Kept beside the acceptor's copy, so that another name can take the address over without a gap.
    socket: TcpListener,
    street: OpenStreet,
}

impl Listeners {
    /// Starts the acceptor, with no listener yet.
    ///
    /// # Errors
    /// When its thread cannot be made.
    pub fn start(cores: Arc<dyn Cores>, descriptors: Arc<Descriptors>) -> io::Result<Self> {
        Ok(Listeners { acceptor: Acceptor::start()?, cores, descriptors, state: Mutex::default() })
    }

    /// Makes `wanted` the listeners that there are, all of them or, on any error, none: then everything is
    /// as before. Reads certificate files, so it belongs on a thread that may block. Returns warnings.
    ///
    /// A listener that goes on with the same files goes on with what it shows. To read them again is for
    /// [`Listeners::renew`]: what is wrong with them is no reason to refuse a change of something else.
    ///
    /// # Errors
    /// Every address that cannot be bound and every new certificate that cannot be used.
    pub fn apply(&self, wanted: &[Settings]) -> Result<Vec<String>, Vec<BindError>> {
        self.change(wanted, renew::door_for)
    }

    /// The same at the start of a version that was active before: a listener whose certificates cannot be used
    /// now refuses handshakes until they can, instead of keeping the others from their start.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub fn start_again(&self, wanted: &[Settings]) -> Result<Vec<String>, Vec<BindError>> {
        self.change(wanted, renew::door_or_closed)
    }

    fn change(&self, wanted: &[Settings], door: DoorFor) -> Result<Vec<String>, Vec<BindError>> {
        // Before the lock is kept: a disk that hangs must not keep a drain waiting.
        let shown = self.shown();
        let doors: Vec<_> = wanted.iter().map(|settings| door(settings, &shown)).collect();
        let mut state = self.lock();
        if state.draining {
            return Err(vec![BindError::Draining]);
        }
        let mut errors = Vec::new();
        let mut next = Vec::with_capacity(wanted.len());
        let sources = Source::choose(wanted, &state.open);
        for ((settings, tls), source) in wanted.iter().zip(doors).zip(sources) {
            let socket = self.socket_from(settings, source, wanted, &state);
            match (tls, socket) {
                (Ok(tls), Ok(socket)) => next.push(Prepared { settings: settings.clone(), tls, socket }),
                (tls, socket) => errors.extend(tls.err().into_iter().chain(socket.err())),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(self.commit(&mut state, next))
    }

    /// Stops all accepting, for good; open connections go on. For the start of a drain's end.
    pub fn stop_accepting(&self) {
        let mut state = self.lock();
        state.draining = true;
        state.open.drain(..).for_each(Open::close);
    }

    /// Names and addresses in the order of the configuration; empty after [`Listeners::stop_accepting`].
    pub fn bound(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let state = self.lock();
        state.open.iter().map(|open| (Arc::clone(&open.listener.name), open.listener.bound())).collect()
    }

    /// Every listener that accepts or still has connections, ordered by name; for metrics.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        let mut all: Vec<_> = self.lock().by_name.values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Everything about a socket that can fail, and nothing that shows.
    fn socket_from(
        &self,
        settings: &Settings,
        source: Source,
        wanted: &[Settings],
        state: &State,
    ) -> Result<NextSocket, BindError> {
        let make = || -> io::Result<NextSocket> {
            let socket = match source {
                Source::Keep(index) => return Ok(NextSocket::Keep(index)),
                Source::TakeOver(index) => state.open[index].socket.try_clone()?,
                Source::Bind => bind::listen(settings.address, v4_is_taken(settings.address, wanted))?,
            };
            let bound = socket.local_addr()?;
            Ok(NextSocket::Fresh { ready: self.acceptor.prepare(&socket)?, socket, bound })
        };
        make().map_err(|source| BindError::Address {
            name: Arc::clone(&settings.name),
            address: settings.address,
            source,
        })
    }

    /// Cannot fail.
    fn commit(&self, state: &mut State, next: Vec<Prepared>) -> Vec<String> {
        let mut before: Vec<Option<Open>> = state.open.drain(..).map(Some).collect();
        let mut warnings = Vec::new();
        for Prepared { mut settings, tls, socket } in next {
            let what = format!("listener {}", settings.name);
            let (clamped, warning) = self.descriptors.clamp(settings.max_connections, &what);
            settings.max_connections = clamped;
            warnings.extend(warning);
            let address = settings.address;
            let listener = self.listener(state, settings, tls);
            match socket {
                NextSocket::Keep(index) => state.open.extend(before[index].take()),
                NextSocket::Fresh { ready, socket, bound } => {
                    listener.bound.store(Arc::new(bound));
                    let street = self.acceptor.open(ready, Arc::clone(&listener), Arc::clone(&self.cores));
                    state.open.push(Open { listener, address, socket, street });
                }
            }
        }
        before.into_iter().flatten().for_each(Open::close);
        state.by_name.retain(|_, listener| listener.strong_count() > 0);
        warnings
    }

    /// The listener of this name with new settings; a new one only if the name has no connections either.
    fn listener(&self, state: &mut State, settings: Settings, tls: Option<Arc<TlsDoor>>) -> Arc<Listener> {
        let known = state.by_name.get(&settings.name).and_then(Weak::upgrade);
        let listener = known.unwrap_or_else(|| {
            let listener = Arc::new(Listener {
                name: Arc::clone(&settings.name),
                bound: ArcSwap::from_pointee(settings.address),
                settings: ArcSwap::from_pointee(settings.clone()),
                tls: ArcSwapOption::empty(),
                limits: Limits::new(Arc::clone(&self.descriptors)),
                counts: AcceptCounts::default(),
            });
            state.by_name.insert(Arc::clone(&settings.name), Arc::downgrade(&listener));
            listener
        });
        listener.settings.store(Arc::new(settings));
        let shown = listener.tls.load_full().map(|door| door.identity());
        // The same content: keep the door, and with it the sessions that clients may resume.
        if shown != tls.as_ref().map(|door| door.identity()) {
            listener.tls.store(tls);
        }
        listener
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The acceptor's copy goes first, so that the address is free when this returns.
    fn close(self) {
        self.street.close();
        drop(self.socket);
    }
}

/// A listener of the next set, with everything that could have failed done.
struct Prepared {
    settings: Settings,
    tls: Option<Arc<TlsDoor>>,
    socket: NextSocket,
}

enum NextSocket {
    /// Goes on as it is: the index of an open listener.
    Keep(usize),
    Fresh {
        ready: AsyncFd<TcpListener>,
        socket: TcpListener,
        bound: SocketAddr,
    },
}

/// Where a listener's socket comes from.
#[derive(Clone, Copy)]
enum Source {
    /// The same name on the same address: index of the open listener.
    Keep(usize),
    /// The same address under another name.
    TakeOver(usize),
    /// Nobody has it.
    Bind,
}

impl Source {
    /// One for each of `wanted`, each open listener at most once.
    fn choose(wanted: &[Settings], open: &[Open]) -> Vec<Source> {
        let keeps = |settings: &Settings, open: &Open| {
            open.listener.name == settings.name && open.address == settings.address
        };
        // Those that some listener keeps cannot be taken over.
        let mut free: Vec<bool> =
            open.iter().map(|open| !wanted.iter().any(|settings| keeps(settings, open))).collect();
        let mut kept = vec![false; open.len()];
        let choose = |settings: &Settings| {
            if let Some(index) = (0..open.len()).find(|i| !kept[*i] && keeps(settings, &open[*i])) {
                kept[index] = true;
                return Source::Keep(index);
            }
            let same = |index: &usize| {
                free[*index] && settings.address.port() != 0 && open[*index].address == settings.address
            };
            let Some(index) = (0..open.len()).find(same) else { return Source::Bind };
            free[index] = false;
            Source::TakeOver(index)
        };
        wanted.iter().map(choose).collect()
    }
}

/// `[::]` takes IPv4 too, unless another listener wants it for itself.
fn v4_is_taken(address: SocketAddr, wanted: &[Settings]) -> bool {
    let is_v4_any = |other: &SocketAddr| other.is_ipv4() && other.ip().is_unspecified();
    let others = wanted.iter().map(|settings| settings.address);
    address.ip().is_unspecified() && others.filter(is_v4_any).any(|other| other.port() == address.port())
}
