//! Upstreams, as operators see them: what they hold and may, their limits, classes, second tries and clients.

use crate::control::view::{BackendView, LatelyView, LeverView, TlsView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One upstream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// In flight, zombies included.
    pub in_flight: u32,
    /// Allowed in flight now.
    pub limit: u32,
    /// Configured cap.
    pub max_in_flight: u32,
    /// Waiting.
    pub queue_depth: u32,
    /// May wait at most.
    pub max_waiting: u32,
    /// Given up by their client or deadline, maybe still running at the backend.
    pub zombies: u32,
    /// The same among its backends' streams.
    #[serde(default)]
    pub stream_zombies: u32,
    /// Second tries.
    #[serde(default)]
    pub retries: RetriesView,
    /// The limit that finds itself; nothing while that is off.
    #[serde(default)]
    pub adaptive: Option<AdaptiveView>,
    /// What each class may fill of the limit, for the classes that its routes use.
    pub classes: Vec<ClassView>,
    /// 100 when unset.
    pub ramp_percent: f64,
    /// Its ramp, if one is set.
    #[serde(default)]
    pub ramp: Option<LeverView>,
    /// Which of its clients it serves, while a ramp binds.
    #[serde(default)]
    pub cohort: Option<CohortView>,
    /// Its last seconds.
    #[serde(default)]
    pub lately: LatelyView,
    /// Whom it trusts and what it shows, if backends speak TLS.
    pub tls: Option<TlsView>,
    /// Its backends.
    pub backends: Vec<BackendView>,
}

/// Which clients a ramped upstream serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CohortView {
    /// `everyone`, `cohort` (always the same ones), or `request` (whoever finds room, because there are too few
    /// clients to choose among or one of them is most of the traffic).
    pub manner: String,
    /// The part of the clients that is in.
    pub share_percent: f64,
    /// The part of the last second's requests that they sent.
    pub realised_percent: f64,
    /// Clients in the last minute, about.
    pub clients: f64,
}

/// Second tries of an upstream's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetriesView {
    /// Those that the successes so far would pay for now; three a second are free beside them.
    pub tokens: f64,
    /// Waiting or on their way.
    pub in_flight: u32,
    /// How they ended, or why there was none, ever.
    pub outcomes: BTreeMap<String, u64>,
}

/// The limit that finds itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveView {
    /// `shadow` or `enforce`.
    pub mode: String,
    /// What it allows in flight.
    pub limit: u32,
    /// It goes no lower.
    pub floor: u32,
    /// Mean time to the answer's head that it aims at now.
    pub objective_seconds: f64,
    /// The same as configured; lower while fewer in flight did not make answers faster.
    pub configured_objective_seconds: f64,
    /// It has been at its floor for ten seconds, in somebody's way.
    pub at_floor: bool,
    /// Its last move, if it has moved.
    pub last_move: Option<MoveView>,
    /// How often it moved, ever, by reason.
    pub moves: BTreeMap<String, u64>,
    /// Requests let in, ever, that `enforce` would have stopped.
    pub shadow_sheds: u64,
}

/// A move of an adaptive limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// When (RFC 3339).
    pub at: String,
    /// `failing`, `slow`, `futile`, `wanted` or `bounds`.
    pub reason: String,
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// Why, with numbers.
    pub because: String,
}

/// One class of an upstream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClassView {
    /// Its name.
    pub class: String,
    /// Admitted while fewer than this are in flight.
    pub limit: u32,
}
