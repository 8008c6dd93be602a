//! One open socket of a listener, as those who came through it know it: where it is, and whether it still is.
//!
//! A listener that moves, goes, or asks more of its clients (TLS, their certificate) gets a new entrance; the
//! old one is closed with the terms of its last moment, and who came through it is asked to leave with the next
//! answer. What only changes a number keeps the entrance and everyone inside.

use crate::listener::settings::Settings;
use crate::listener::tls::TlsDoor;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// A socket that accepts, or did.
#[derive(Debug)]
pub struct Entrance {
    bound: SocketAddr,
    closed: OnceLock<Terms>,
}

/// What a connection is served by from its first byte to its last.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The listener's settings when it was accepted.
    pub settings: Arc<Settings>,
    /// The certificates of that moment, if clients speak TLS.
    pub tls: Option<Arc<TlsDoor>>,
}

impl Entrance {
    /// Open, at this address.
    pub fn new(bound: SocketAddr) -> Arc<Self> {
        Arc::new(Entrance { bound, closed: OnceLock::new() })
    }

    /// The address, with the port that the system chose for port 0.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Nobody comes in here any more; who is in should leave.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// From now on, with `last` for those whom the system has let in already.
    pub(super) fn close(&self, last: Terms) {
        // A second close would have nothing to add.
        let _ = self.closed.set(last);
    }

    /// What those who come in now are served by.
    pub(super) fn terms(&self, now: impl FnOnce() -> Terms) -> Terms {
        self.closed.get().cloned().unwrap_or_else(now)
    }
}
