//! The thread that keeps the schedule: it hands over each request when it is due, and never waits for anybody.

use super::schedule::Schedule;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// How many requests of each stream could not be handed over.
pub type Missed = Vec<u64>;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub stream: usize,
    /// After the start of the load.
    pub at: Duration,
}

/// Runs all schedules to their ends.
pub fn run(mut schedules: Vec<Schedule>, started: Instant, due: Sender<Due>) -> Missed {
    // The kernel may let a sleeper oversleep by its slack: 50 µs unless told.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut missed = vec![0; schedules.len()];
    let mut next: Vec<Option<Duration>> = schedules.iter_mut().map(Schedule::next).collect();
    loop {
        let earliest = next.iter().enumerate().filter_map(|(i, at)| at.map(|at| (at, i))).min();
        let Some((at, stream)) = earliest else { return missed };
        let early = at.saturating_sub(started.elapsed());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
        if due.try_send(Due { stream, at }).is_err() {
            missed[stream] += 1;
        }
        next[stream] = schedules[stream].next();
    }
}
