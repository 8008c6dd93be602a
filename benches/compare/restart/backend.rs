//! A backend that is a process: cold when it starts, dead when its queue grows too long.

use crate::rig::origin::Fleet;
use crate::rig::origin::knobs::{Cold, Knobs, Service};
use crate::roles::{ROLE, report};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// What it is called on a command line.
pub const NAME: &str = "backend";
/// Between two looks at itself.
const LOOK: Duration = Duration::from_millis(20);
/// What the system says of a process that was killed for want of memory.
const OUT_OF_MEMORY: i32 = 137;

/// How it is set.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Orders {
    pub address: SocketAddr,
    pub workers: usize,
    pub service: Duration,
    /// Until it has begun so many requests, each takes `factor` times as long.
    pub cold: u64,
    pub factor: f64,
    /// With more that wait it dies.
    pub most_waiting: u64,
    pub seed: u64,
}

/// What it holds, told with every look.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Look {
    pub in_flight: u64,
}

/// Takes the role if the arguments name it.
pub fn take(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [role, name, orders] if role == ROLE && name == NAME => Some(run(orders)),
        _ => None,
    }
}

#[expect(clippy::exit, reason = "it dies as a process without memory does: at once, whoever is connected")]
fn run(orders: &str) -> Result<()> {
    let orders: Orders = serde_json::from_str(orders)?;
    let knobs = Knobs {
        cold: Some(Cold { requests: orders.cold, factor: orders.factor }),
        boot: format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()),
        ..Knobs::new(orders.workers, Service::Lognormal { median: orders.service, sigma: 0.5 })
    };
    let fleet = Fleet::at(orders.seed, orders.address, knobs)?;
    loop {
        let in_flight = fleet.seen(0).in_flight;
        report(&Look { in_flight })?;
        if in_flight > orders.most_waiting + orders.workers as u64 {
            std::process::exit(OUT_OF_MEMORY);
        }
        std::thread::park_timeout(LOOK);
    }
}
