//! The open-loop load: requests leave on schedule whatever happens, and their times count from when they were due
//! (`tests/rig/load`). A role like those in `roles`, for latency at a given rate; its cost is higher than that of the closed-loop load.

use crate::rig::load::stream::Stream;
use crate::rig::load::{Load, Plan};
use crate::roles::{ROLE, report};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Rows of the generator's report: measuring begins and ends with one.
const SLICE: Duration = Duration::from_millis(100);

/// Orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pace {
    pub to: SocketAddr,
    /// Requests a second; they know nothing of each other (Poisson), and are the same for all of one seed.
    pub rate: f64,
    pub seed: u64,
    /// Seconds before anything counts, and seconds that count.
    pub warm: f64,
    pub seconds: f64,
}

/// The only line of the report: milliseconds, and requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paced {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub answers: u64,
    /// Requests that were due and got no good answer.
    pub lost: u64,
    /// Requests that the generator itself did not get away, in all its time.
    pub skipped: u64,
}

/// Takes this role if the arguments name it: does what it is ordered, reports and ends.
pub fn take(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [role, name, orders] if role == ROLE && name == "pace" => Some(run(orders)),
        _ => None,
    }
}

fn run(orders: &str) -> Result<()> {
    let pace: Pace = serde_json::from_str(orders)?;
    let (warm, seconds) = (Duration::from_secs_f64(pace.warm), Duration::from_secs_f64(pace.seconds));
    let plan = Plan::new(warm + seconds, pace.seed).slice(SLICE);
    let seen = Load::of(plan, Stream::new("small", pace.to, "/", pace.rate).poisson());
    let row = seen.between(warm, warm + seconds);
    report(&Paced {
        p50: row.ok_ms(0.5),
        p99: row.ok_ms(0.99),
        p999: row.ok_ms(0.999),
        answers: row.ok,
        lost: row.tries() - row.ok,
        skipped: seen.skipped,
    })
}
