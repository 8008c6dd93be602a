//! Work that takes long without waiting, off a thread that must keep turning: a few at a time, each with a
//! deadline for whoever asked.
//!
//! Such work cannot be stopped. One that hangs keeps its turn, so that what hangs can never become more than the
//! turns there are; the others are told that there is none.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// A bounded place for work.
#[derive(Debug)]
pub struct Offload {
    turns: Arc<Semaphore>,
    /// Those who may wait for a turn; a permit is one place.
    queue: Semaphore,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// Every turn is taken.
    Busy,
    /// It was not done in time; it goes on, and keeps its turn, until it is.
    Late,
    /// It panicked.
    Failed,
}

impl Offload {
    /// With so many turns.
    pub fn new(turns: usize) -> Self {
        Offload::with_queue(turns, 0)
    }

    /// With so many turns, for which so many may wait.
    pub fn with_queue(turns: usize, waiting: usize) -> Self {
        Offload { turns: Arc::new(Semaphore::new(turns)), queue: Semaphore::new(waiting) }
    }

    /// Does the work on the blocking pool of the runtime that asks.
    ///
    /// # Errors
    /// See [`Declined`]; nothing waits for a turn but those for whom there is a place in the queue, within their
    /// patience.
    #[expect(clippy::disallowed_methods, reason = "this is the bounded place: no turn, no thread")]
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Declined> {
        let until = Instant::now() + patience;
        let turn = self.turn(until).await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match timeout_at(until, done).await {
            Ok(result) => result.map_err(|_| Declined::Failed),
            Err(_) => Err(Declined::Late),
        }
    }

    async fn turn(&self, until: Instant) -> Result<OwnedSemaphorePermit, Declined> {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let _place = self.queue.try_acquire().map_err(|_| Declined::Busy)?;
        let turn = timeout_at(until, self.turns.clone().acquire_owned()).await;
        // Never closed; and whoever is late was never begun.
        turn.ok().and_then(Result::ok).ok_or(Declined::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[tokio::test]
    async fn what_hangs_keeps_its_turn_and_the_next_is_told_at_once() {
        let offload = Offload::new(1);
        let (release, hung) = sync_channel::<()>(0);
        let late = offload.run(Duration::ZERO, move || hung.recv().is_ok()).await;
        assert_eq!(late, Err(Declined::Late));
        assert_eq!(offload.run(Duration::from_secs(5), || 1).await, Err(Declined::Busy));
        drop(release);
        let mut result = Err(Declined::Busy);
        for _ in 0..1_000_000 {
            result = offload.run(Duration::from_secs(5), || 1).await;
            if result != Err(Declined::Busy) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(result, Ok(1), "and the turn comes back with its end");
    }

    #[tokio::test]
    async fn those_with_a_place_in_the_queue_wait_for_their_turn_and_no_others() {
        let offload = Offload::with_queue(1, 1);
        let (release, hung) = sync_channel::<()>(0);
        let first = offload.run(Duration::from_secs(5), move || hung.recv().is_ok());
        let second = offload.run(Duration::from_secs(5), || true);
        let third = async {
            let refused = offload.run(Duration::from_secs(5), || true).await;
            drop(release);
            refused
        };
        let outcomes = tokio::join!(first, second, third);
        assert_eq!(outcomes, (Ok(false), Ok(true), Err(Declined::Busy)));
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_work_only() {
        let offload = Offload::new(1);
        let panicked: Result<(), _> = offload.run(Duration::from_secs(5), || panic!("a bug")).await;
        assert_eq!(panicked, Err(Declined::Failed));
        assert_eq!(offload.run(Duration::from_secs(5), || 2).await, Ok(2));
    }
}
