//! Where rollbacks are asked for, and the thread that does them: no other work is ever in front of one.

use super::{Order, RolledBack, Unrollable};
use crate::control::Control;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Those who may wait for the one before.
const WAITING: usize = 4;
/// After so long without an end of the process a start went well (`design.md`, "Guard").
const WELL: Duration = Duration::from_secs(60);

/// A rollback on its way to its thread.
#[derive(Debug)]
pub struct Job {
    order: Order,
    answer: oneshot::Sender<Result<RolledBack, Unrollable>>,
}

/// Where they are asked for.
#[derive(Clone, Debug)]
pub struct Counter(mpsc::Sender<Job>);

impl Counter {
    /// A counter, and the line to whoever does the work.
    pub fn open() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, heard) = mpsc::channel(WAITING);
        (Counter(jobs), heard)
    }

    /// Asks, and waits for what comes of it: less than a second, and that again for each who was earlier.
    ///
    /// # Errors
    /// See [`Unrollable`].
    pub async fn roll_back(&self, order: Order) -> Result<RolledBack, Unrollable> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Job { order, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unrollable::Busy,
            mpsc::error::TrySendError::Closed(_) => Unrollable::Gone,
        })?;
        answered.await.unwrap_or(Err(Unrollable::Gone))
    }
}

/// Does them one after the other, for as long as it is polled. Belongs on a thread of its own.
pub async fn serve(control: Arc<Control>, mut jobs: mpsc::Receiver<Job>) {
    let well = tokio::time::sleep(WELL);
    tokio::pin!(well);
    let mut begun = true;
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(Job { order, answer }) = job else { return };
                // Nobody may be waiting any more; the log and the status have it.
                let _ = answer.send(control.roll_back(&order));
            }
            () = &mut well, if begun => {
                begun = false;
                control.books().change(|record| record.ledger.went_well());
            }
        }
    }
}
