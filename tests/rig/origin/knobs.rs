//! What can be set at an origin, and changed while it runs.
//!
//! Plain values: `model` gives them their meaning in time, `door` and `exchange` on the wire.

use std::time::Duration;

/// How long a worker is busy with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    /// Always so long.
    Constant(Duration),
    /// Lognormal: half of the requests take less than `median`; `sigma` 0.5 makes the slowest percent take
    /// about three times as long.
    Lognormal { median: Duration, sigma: f64 },
}

/// A cache that has to be filled: until so many requests were begun, each takes `factor` times as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    pub requests: u64,
    pub factor: f64,
}

/// What an origin does with those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Serves as fast as it can.
    Serves,
    /// Accepts and reads. What waits then or comes meanwhile is never answered, also not afterwards.
    Hangs,
    /// Like a host that is off the network: no SYN is answered, and whoever is connected hears nothing.
    NoSyn,
}

/// How a request may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    ResetsBeforeHead,
    ResetsMidBody,
    /// Answers with this status.
    Status(u16),
}

/// All of it, for one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    /// Requests that are worked on at once; the others wait, first in first out.
    pub workers: usize,
    pub service: Service,
    /// Everything takes so many times as long, from the next request that a worker begins.
    pub slowdown: f64,
    pub cold: Option<Cold>,
    /// Time on the way that holds no worker.
    pub latency: Duration,
    pub manner: Manner,
    /// Which share (0 to 1) of the requests fails, and how.
    pub fault: Option<(f64, Fault)>,
    /// With more than so many in its hands it answers those that come with 500: what it leaks shows under load.
    pub leaks_above: Option<u64>,
    /// `x-boot-id` of every answer.
    pub boot: String,
}

impl Knobs {
    /// A healthy origin.
    pub fn new(workers: usize, service: Service) -> Knobs {
        Knobs {
            workers,
            service,
            slowdown: 1.0,
            cold: None,
            latency: Duration::ZERO,
            manner: Manner::Serves,
            fault: None,
            leaks_above: None,
            boot: "1".to_owned(),
        }
    }
}

/// What several origins share: each request, when its own worker is done with it and still holds it, needs a
/// query here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Database {
    /// Queries that run at once.
    pub workers: usize,
    /// How long one takes while it is quiet.
    pub query: Duration,
    /// With more queries than this, running and waiting, each takes longer in proportion: it thrashes.
    pub thrashes_above: usize,
}

/// What a backend has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests in its hands, those of clients that have left included until their work is done.
    pub in_flight: u64,
    /// The most that ever were.
    pub peak: u64,
    /// Requests that came.
    pub total: u64,
    /// Requests that were worked on to their end.
    pub served: u64,
    /// Requests whose client left before the answer.
    pub aborted: u64,
}
