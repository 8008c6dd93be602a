//! What people outside of the gateway's own numbers are told, as the file describes it: when the gateway drafts an
//! incident, what a freeze holds, and the status page.
//!
//! These settings stand here and not with what they set, because that is above this room.

use crate::config::fields::Risk;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// `[incidents]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Incidents {
    /// The gateway drafts.
    pub drafts: bool,
    /// An upstream refuses more than this part of its requests, 0 to 1.
    pub shed: f64,
    /// For this long.
    pub shed_for: Duration,
    /// This part of an upstream's backends is out, 0 to 1.
    pub backends_out: f64,
    /// For this long.
    pub backends_for: Duration,
    /// The guard took a change back.
    pub reverts: bool,
    /// Somebody broke the glass.
    pub break_glass: bool,
    /// After one was closed, none is drafted for the same for this long.
    pub redraft_after: Duration,
    /// From which risk on a freeze holds a change.
    pub freeze_from: Risk,
}

/// `[status_page]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is called.
    pub title: String,
    /// Upstreams that may be shown, in their order.
    pub shown: Vec<Shown>,
}

/// An upstream as everyone may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name inside.
    pub upstream: Arc<str>,
    /// Its name outside.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
}

impl Default for Incidents {
    /// As a file that says nothing.
    fn default() -> Self {
        Incidents {
            drafts: true,
            shed: 0.1,
            shed_for: Duration::from_secs(30),
            backends_out: 0.5,
            backends_for: Duration::from_secs(15),
            reverts: true,
            break_glass: true,
            redraft_after: Duration::from_secs(1800),
            freeze_from: Risk::Medium,
        }
    }
}
