//! From one set of listeners to the next, once nothing can fail any more: who is at a door that goes comes in
//! first, new doors open before old ones close, and a socket that another listener takes over is never without
//! one.

use super::{Listeners, Open, State};
use crate::listener::entrance::Entrance;
use crate::listener::settings::Settings;
use crate::listener::source::Source;
use crate::listener::street::Closing;
use crate::listener::tls::TlsDoor;
use crate::telemetry::events::ListenerChanged;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, MutexGuard};
use tokio::io::unix::AsyncFd;

/// The next set of listeners, with everything that can fail done. Dropping it changes nothing.
pub struct Change<'a> {
    pub(super) listeners: &'a Listeners,
    pub(super) state: MutexGuard<'a, State>,
    pub(super) next: Vec<Prepared>,
}

impl Change<'_> {
    /// Makes it so; cannot fail. Who is at a door that goes is let in first, so it may take a moment. Returns
    /// warnings.
    pub fn commit(mut self) -> Vec<String> {
        let mut before: Vec<Option<Open>> = self.state.open.drain(..).map(Some).collect();
        self.retire(&mut before);
        let mut warnings = Vec::new();
        for prepared in std::mem::take(&mut self.next) {
            let open = self.open(prepared, &mut before, &mut warnings);
            self.state.open.extend(open);
        }
        self.state.by_name.retain(|_, listener| listener.strong_count() > 0);
        self.listeners.seen.store(Arc::new(self.state.by_name.values().cloned().collect()));
        // What closes takes its time; who only wants to look at the listeners must not wait for it.
        drop(self.state);
        close(before.into_iter().flatten().collect());
        warnings
    }

    /// Everything that is not kept is served as it was until now. A socket that is taken over is emptied by
    /// its old listener before the new one accepts from it.
    fn retire(&self, before: &mut [Option<Open>]) {
        let sources: Vec<Source> = self.next.iter().map(|prepared| prepared.source).collect();
        for (index, place) in before.iter_mut().enumerate() {
            if sources.contains(&Source::Keep(index)) {
                continue;
            }
            place.iter().for_each(Open::retire);
            if sources.contains(&Source::TakeOver(index))
                && let Some(open) = place.take()
            {
                open.street.close(Closing::HandOver).wait();
            }
        }
    }

    fn open(
        &mut self,
        prepared: Prepared,
        before: &mut [Option<Open>],
        warnings: &mut Vec<String>,
    ) -> Option<Open> {
        let Prepared { mut settings, tls, source, socket } = prepared;
        let Listeners { descriptors, acceptor, cores, .. } = self.listeners;
        let what = format!("listener {}", settings.name);
        let (clamped, warning) = descriptors.clamp(settings.max_connections, &what);
        settings.max_connections = clamped;
        warnings.extend(warning);
        let address = settings.address;
        let listener = self.listeners.listener(&mut self.state, settings, tls);
        if let Source::Keep(index) = source {
            return before[index].take();
        }
        let Fresh { ready, socket, bound } = socket?;
        listener.bound.store(Arc::new(bound));
        ListenerChanged::Opened { listener: &listener.name, address: bound }.emit();
        let entrance = Entrance::new(bound);
        let street = acceptor.open(ready, (Arc::clone(&listener), Arc::clone(&entrance)), Arc::clone(cores));
        Some(Open { listener, address, entrance, socket, street })
    }
}

/// A listener of the next set.
pub(super) struct Prepared {
    pub(super) settings: Settings,
    pub(super) tls: Option<Arc<TlsDoor>>,
    pub(super) source: Source,
    /// None where the listener goes on as it is.
    pub(super) socket: Option<Fresh>,
}

/// A socket with nobody accepting from it yet.
pub(super) struct Fresh {
    pub(super) ready: AsyncFd<TcpListener>,
    pub(super) socket: TcpListener,
    pub(super) bound: SocketAddr,
}

impl Open {
    /// Whoever comes in from now on, or is at the door already, is served as it was until now, and leaves soon.
    fn retire(&self) {
        self.entrance.close(self.listener.terms());
    }
}

/// Lets in whoever is at these doors already; their addresses are free when this returns.
pub(super) fn close(open: Vec<Open>) {
    open.iter().for_each(Open::retire);
    // All at once: each takes a moment.
    let close = |open: Open| (open.street.close(Closing::Address), open.socket, open.listener, open.entrance);
    for (street, socket, listener, entrance) in open.into_iter().map(close).collect::<Vec<_>>() {
        street.wait();
        // Last, so that the address is held until nobody is left at it.
        drop(socket);
        ListenerChanged::Closed { listener: &listener.name, address: entrance.bound() }.emit();
    }
}
