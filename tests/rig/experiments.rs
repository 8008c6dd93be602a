//! The overload experiments: each takes a contender and a scale, and says what came of it against a bar.
//!
//! A contender is started before a fleet of backends (`/main`) and one healthy backend (`/control`), both on
//! this rig. What the fleet can do is measured in every run, past the contender; control traffic is measured
//! alone, during the trouble, and past the contender at the same time, which tells the machine's noise from the
//! contender's doing. Bars are those for a machine of its own: a test on a shared one looks at the figures.

mod aborts;
mod arena;
mod auth;
mod crowd;
mod hung;
mod judge;
pub mod outcome;
mod scale_out;
mod shift;
mod sink;
mod slow;
mod steady;
mod storm;

pub use self::aborts::aborts;
pub use self::auth::silent_auth;
pub use self::crowd::flash_crowd;
pub use self::hung::hung_upstream;
pub use self::scale_out::scale_out;
pub use self::shift::latency_shift;
pub use self::sink::hung_log_sink;
pub use self::slow::slow_upstream;
pub use self::steady::steady;
pub use self::storm::retry_storm;

use std::net::SocketAddr;
use std::time::Duration;

/// Somebody whose behaviour under overload is looked at.
pub trait Contender {
    /// Who it is.
    fn name(&self) -> &str;

    /// How it is set: `untuned`, `as it comes`, `set by hand`.
    fn setting(&self) -> &str;

    /// Starts it and waits until it answers.
    fn start(&self, street: &Street) -> Box<dyn Proxy>;
}

/// What a contender stands before.
#[derive(Clone, Debug)]
pub struct Street {
    /// Behind `/main`.
    pub main: Vec<SocketAddr>,
    /// Behind `/control`.
    pub control: SocketAddr,
    /// Its access log goes where nobody reads.
    pub log_hangs: bool,
    /// The fleet says who may pass to `/main`, which the healthy backend serves.
    pub judged: bool,
    /// What the fleet serves in a quarter of the clients' patience: what a careful operator lets it hold.
    pub in_flight: usize,
}

/// A contender that runs; it ends when dropped. What it cannot tell, it does not.
pub trait Proxy {
    /// Where clients connect.
    fn edge(&self) -> SocketAddr;

    /// Requests that it holds for `/main` now, and how many it may.
    fn slots(&self) -> Option<Slots> {
        None
    }

    /// Puts other backends behind `/main` while it runs; false if it cannot.
    fn stands_before(&mut self, _main: &[SocketAddr]) -> bool {
        false
    }

    /// Whether nothing is in flight and nothing waits, by its own account.
    fn is_quiet(&self) -> Option<bool> {
        None
    }

    /// Its resident memory.
    fn memory_kib(&self) -> Option<u64> {
        None
    }

    /// Lines of its access log that it dropped.
    fn log_dropped(&self) -> Option<f64> {
        None
    }
}

/// Requests in flight at an upstream, those whose clients have left included.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    pub held: f64,
    pub limit: f64,
}

/// How large an experiment is, and how long its parts are.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub backends: usize,
    /// Of each backend.
    pub workers: usize,
    pub service: Duration,
    /// Of every client.
    pub patience: Duration,
    /// For measuring what the fleet can do, and the control traffic alone.
    pub calm: Duration,
    /// Before the trouble begins.
    pub before: Duration,
    /// The trouble.
    pub during: Duration,
    /// After it.
    pub after: Duration,
    /// A row of the report.
    pub slice: Duration,
    pub seed: u64,
}

impl Scale {
    /// A few seconds on a busy machine: two backends that can do 400 a second together.
    pub fn short(seed: u64) -> Scale {
        Scale {
            backends: 2,
            workers: 4,
            service: Duration::from_millis(20),
            patience: Duration::from_secs(1),
            calm: Duration::from_millis(500),
            before: Duration::from_millis(500),
            during: Duration::from_millis(1_500),
            after: Duration::from_millis(1_500),
            slice: Duration::from_millis(250),
            seed,
        }
    }

    /// Eight backends that can do 800 a second together, in trouble for so long. Ten times as much is still within
    /// what a core of the slower proxies can refuse, so that it is not their processor that is measured.
    pub fn full(during: Duration, seed: u64) -> Scale {
        Scale {
            backends: 8,
            service: Duration::from_millis(40),
            calm: Duration::from_secs(3),
            before: Duration::from_secs(4),
            during,
            after: Duration::from_secs(10),
            slice: Duration::from_millis(500),
            ..Scale::short(seed)
        }
    }

    /// The moment when the trouble is over.
    fn healed(&self) -> Duration {
        self.before + self.during
    }

    /// The end of the load.
    fn end(&self) -> Duration {
        self.healed() + self.after
    }

    /// So much of `part` as has settled: without its first two seconds, or its first half.
    fn settled(&self, from: Duration, to: Duration) -> (Duration, Duration) {
        (from + Duration::from_secs(2).min((to - from) / 2), to)
    }
}
