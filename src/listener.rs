//! The street door: addresses that accept clients, and who may come in.
//!
//! [`Listeners::prepare`] and [`Change::commit`] change all of them in one step or none: what is new is bound
//! before anything else happens, a listener that stays keeps its socket, one that goes or moves lets in whoever
//! is at its old address already, and then its connections finish. Counts belong to a listener's name and
//! survive every change.
//!
//! It deliberately knows no HTTP and performs no handshake: a core does.

pub mod settings;
pub mod accept;
pub mod entrance;
pub mod limits;
pub mod renew;
pub mod tls;
mod bind;
mod change;
mod rehearsal;
mod source;
mod street;
#[cfg(test)]
mod tests;

use crate::runtime::descriptors::Descriptors;
use crate::upstream::pem::{Files, OnDisk, TlsError};
use accept::{AcceptCounts, Acceptor, Cores};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use change::{Fresh, Prepared};
use entrance::{Entrance, Terms};
use limits::{Caps, ConnectionPermit, Limits, Refusal};
use renew::DoorFor;
use settings::Settings;
use source::{Source, overlap, v4_is_taken};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use street::OpenStreet;
use tls::TlsDoor;

pub use change::Change;

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

    fn terms(&self) -> Terms {
        Terms { settings: self.settings.load_full(), tls: self.tls.load_full() }
    }

    fn admit(&self, peer: IpAddr) -> Result<ConnectionPermit, Refusal> {
        let settings = self.settings.load();
        let caps = Caps {
            connections: settings.max_connections,
            per_source: settings.max_connections_per_source,
            handshakes: settings.tls.as_ref().map(|_| settings.max_handshakes),
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
    /// Part of the address is another listener's until the change is active.
    #[error(
        "listener {name}: {address} overlaps the address of listener {holder}, which is given up only when the \
         change is active; hint: move it in two changes, through another port"
    )]
    Overlaps {
        /// The listener.
        name: Arc<str>,
        /// What was asked for.
        address: SocketAddr,
        /// Who has part of it.
        holder: Arc<str>,
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
    /// All of them, for whoever looks: a change keeps the lock for as long as a door takes to be handed over.
    seen: ArcSwap<Vec<Weak<Listener>>>,
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
    entrance: Arc<Entrance>,
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
        Ok(Listeners {
            acceptor: Acceptor::start()?,
            cores,
            descriptors,
            state: Mutex::default(),
            seen: ArcSwap::default(),
        })
    }

    /// Makes `wanted` the listeners that there are: [`Listeners::prepare`] and [`Change::commit`] in one.
    ///
    /// A listener that goes on with the same files goes on with what it shows. To read them again is for
    /// [`Listeners::renew`]: what is wrong with them is no reason to refuse a change of something else.
    ///
    /// # Errors
    /// Every address that cannot be bound and every new certificate that cannot be used.
    pub fn apply(&self, wanted: &[Settings]) -> Result<Vec<String>, Vec<BindError>> {
        self.prepare(wanted).map(Change::commit)
    }

    /// The same at the start of a version that was active before: a listener whose certificates cannot be used
    /// now refuses handshakes until they can, instead of keeping the others from their start.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub fn start_again(&self, files: &dyn Files, wanted: &[Settings]) -> Result<Vec<String>, Vec<BindError>> {
        self.prepare_with(files, wanted, renew::door_or_closed).map(Change::commit)
    }

    /// Does everything that can fail on the way to `wanted`, and nothing that shows: on any error, and when the
    /// change is dropped, everything is as before. Reads certificate files, so it belongs on a thread that may
    /// block.
    ///
    /// # Errors
    /// Every address that cannot be bound and every new certificate that cannot be used.
    pub fn prepare(&self, wanted: &[Settings]) -> Result<Change<'_>, Vec<BindError>> {
        self.prepare_from(&OnDisk, wanted)
    }

    /// The same with the content of certificate files from elsewhere.
    ///
    /// # Errors
    /// See [`Listeners::prepare`].
    pub fn prepare_from(&self, files: &dyn Files, wanted: &[Settings]) -> Result<Change<'_>, Vec<BindError>> {
        self.prepare_with(files, wanted, renew::door_for)
    }

    /// The same for a version that must come back whatever is wrong with its doors: one whose certificates cannot be
    /// used refuses handshakes until they can, one whose address cannot be had stays away, and the others open. Also
    /// says what is wrong.
    ///
    /// # Errors
    /// When nobody is accepted any more.
    pub fn prepare_what_can_be(
        &self,
        files: &dyn Files,
        wanted: &[Settings],
    ) -> Result<(Change<'_>, Vec<BindError>), BindError> {
        self.prepare_each(files, wanted, renew::door_or_closed)
    }

    fn prepare_with(
        &self,
        files: &dyn Files,
        wanted: &[Settings],
        door: DoorFor,
    ) -> Result<Change<'_>, Vec<BindError>> {
        let (change, errors) = self.prepare_each(files, wanted, door).map_err(|error| vec![error])?;
        if errors.is_empty() { Ok(change) } else { Err(errors) }
    }

    fn prepare_each(
        &self,
        files: &dyn Files,
        wanted: &[Settings],
        door: DoorFor,
    ) -> Result<(Change<'_>, Vec<BindError>), BindError> {
        // Before the lock is kept: a disk that hangs must not keep a drain waiting.
        let shown = self.shown();
        let doors: Vec<_> = wanted.iter().map(|settings| door(files, settings, &shown)).collect();
        let state = self.lock();
        if state.draining {
            return Err(BindError::Draining);
        }
        let mut errors = Vec::new();
        let mut next = Vec::with_capacity(wanted.len());
        let sources = Source::choose(wanted, &state.open);
        for ((settings, tls), source) in wanted.iter().zip(doors).zip(sources) {
            let socket = self.socket_from(settings, source, wanted, &state);
            match (tls, socket) {
                (Ok(tls), Ok(socket)) => {
                    next.push(Prepared { settings: settings.clone(), tls, source, socket });
                }
                (tls, socket) => errors.extend(tls.err().into_iter().chain(socket.err())),
            }
        }
        Ok((Change { listeners: self, state, next }, errors))
    }

    /// Stops all accepting, for good; whoever is at a door already comes in, open connections go on. For the
    /// start of a drain's end.
    pub fn stop_accepting(&self) {
        let mut state = self.lock();
        state.draining = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        change::close(open);
    }

    /// Names and addresses in the order of the configuration; empty after [`Listeners::stop_accepting`].
    pub fn bound(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let state = self.lock();
        state.open.iter().map(|open| (Arc::clone(&open.listener.name), open.listener.bound())).collect()
    }

    /// Every listener that accepts or still has connections, ordered by name; for metrics. Waits for nobody.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        let mut all: Vec<_> = self.seen.load().iter().filter_map(Weak::upgrade).collect();
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
    ) -> Result<Option<Fresh>, BindError> {
        let make = || -> io::Result<Option<Fresh>> {
            let socket = match source {
                Source::Keep(_) => return Ok(None),
                Source::TakeOver(index) => state.open[index].socket.try_clone()?,
                Source::Bind => bind::listen(settings.address, v4_is_taken(settings.address, wanted))?,
            };
            let bound = socket.local_addr()?;
            Ok(Some(Fresh { ready: self.acceptor.prepare(&socket)?, socket, bound }))
        };
        make().map_err(|source| {
            let (name, address) = (Arc::clone(&settings.name), settings.address);
            let holder = state.open.iter().find(|open| overlap(address, open.entrance.bound()));
            match holder.filter(|_| source.kind() == io::ErrorKind::AddrInUse) {
                Some(open) => BindError::Overlaps { name, address, holder: Arc::clone(&open.listener.name) },
                None => BindError::Address { name, address, source },
            }
        })
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
