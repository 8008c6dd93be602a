//! Load from outside: an open-loop generator, safe from coordinated omission.
//!
//! Requests leave on schedule whatever happens to those before them, and their latency counts from the moment
//! when they were due: a stall is felt by everybody who would have come meanwhile. The schedule is kept by a
//! thread of its own, because a runtime's timer is only good to a millisecond; another thread holds all
//! connections. What the generator itself could not do is counted as skipped, never passed over.

mod answer;
mod client;
mod pacer;
pub mod report;
pub mod schedule;
mod sender;
pub mod stream;

use self::report::Report;
use self::stream::Stream;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests that may be on their way from the schedule to the sender.
const ON_THE_WAY: usize = 1 << 14;

/// What holds for all streams of a load.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long requests are sent; what is under way then is waited for.
    pub duration: Duration,
    /// Decides arrivals, who gives up where, and back-offs.
    pub seed: u64,
    /// The width of a row of the report.
    pub slice: Duration,
    /// Open connections of all streams together; a request that would need one more is skipped.
    pub max_connections: usize,
}

impl Plan {
    /// So long, with rows of a second and 8,000 connections.
    pub fn new(duration: Duration, seed: u64) -> Plan {
        Plan { duration, seed, slice: Duration::from_secs(1), max_connections: 8_000 }
    }

    /// Rows of another width.
    pub fn slice(self, slice: Duration) -> Plan {
        Plan { slice, ..self }
    }
}

/// A load under way.
pub struct Load {
    started: Instant,
    pacer: JoinHandle<pacer::Missed>,
    sender: JoinHandle<Report>,
}

impl Load {
    /// Begins at once.
    pub fn start(plan: Plan, streams: Vec<Stream>) -> Load {
        let (due, dues) = tokio::sync::mpsc::channel(ON_THE_WAY);
        let started = Instant::now();
        let schedules = schedule::of(&streams, &plan);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let sender = thread("sender").spawn(move || sender::run(plan, streams, started, dues));
        let pacer = thread("pacer").spawn(move || pacer::run(schedules, started, due));
        Load { started, pacer: pacer.expect("a thread starts"), sender: sender.expect("a thread starts") }
    }

    /// When it began: the zero of the report.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits for its end and tells what it saw.
    pub fn finish(self) -> Report {
        let missed = self.pacer.join().expect("the pacer does not panic");
        let mut report = self.sender.join().expect("the sender does not panic");
        for (stream, missed) in report.streams.iter_mut().zip(missed) {
            stream.scheduled += missed;
            stream.skipped += missed;
        }
        report
    }

    /// One stream for a while, and what it saw.
    pub fn of(plan: Plan, stream: Stream) -> report::Seen {
        Load::start(plan, vec![stream]).finish().streams.remove(0)
    }
}

/// A GET of `path` at `address`, so often a second.
pub fn stream(name: &str, address: SocketAddr, path: &str, rate: f64) -> Stream {
    Stream::new(name, address, path, rate)
}

#[cfg(test)]
mod tests;
