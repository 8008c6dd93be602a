//! Where rollbacks are asked for, and the thread that does them: no other work is ever in front of one.

use super::{Order, RolledBack, Unrollable};
use crate::control::Control;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Those who may wait for the one before. More than there are people on call: nobody is to be sent away.
const WAITING: usize = 16;
/// After so long without an end of the process a start went well (`design.md`, "Guard").
const WELL: Duration = Duration::from_secs(60);

/// A rollback on its way to its thread.
#[derive(Debug)]
pub struct Job {
    order: Order,
    /// When it was asked for: what somebody else has taken back since is not taken back twice.
    asked: Instant,
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
        self.0.try_send(Job { order, asked: Instant::now(), answer }).map_err(|error| match error {
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
    let (mut begun, mut last) = (true, None::<Last>);
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(Job { order, asked, answer }) = job else { return };
                let done = match last.as_ref().and_then(|last| last.serves(&order, asked)) {
                    Some(same) => Ok(same),
                    None => {
                        let done = control.roll_back(&order);
                        last = done.as_ref().ok().and_then(|done| Last::of(&order, done)).or(last);
                        done
                    }
                };
                // Nobody may be waiting any more; the log and the status have it.
                let _ = answer.send(done);
            }
            () = &mut well, if begun => {
                begun = false;
                control.books().change(|record| record.ledger.went_well());
            }
        }
    }
}

/// The last rollback that took something back.
#[derive(Debug)]
struct Last {
    ended: Instant,
    by: String,
    done: RolledBack,
}

impl Last {
    fn of(order: &Order, done: &RolledBack) -> Option<Self> {
        let last = || Last { ended: Instant::now(), by: order.by.clone(), done: done.clone() };
        (done.from != done.to).then(last)
    }

    /// Two people who say at the same time that what runs is to go mean one step back, and not two.
    fn serves(&self, order: &Order, asked: Instant) -> Option<RolledBack> {
        let is_same = order.target.is_none() && asked < self.ended;
        is_same.then(|| {
            let notice = format!(
                "{} rolled back at the same moment; that was one step back for both of you.",
                self.by
            );
            let notices = self.done.notices.iter().cloned().chain([notice]).collect();
            RolledBack { notices, ..self.done.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::RollbackCause;

    fn order(target: Option<u64>, by: &str) -> Order {
        Order { target, by: by.to_owned(), reason: None, cause: RollbackCause::Operator, from: None }
    }

    #[test]
    fn two_people_who_roll_back_at_once_go_one_step_back() {
        let done = |from| RolledBack {
            from,
            to: 6,
            hash: "ab".into(),
            persisted: true,
            unrecorded: Vec::new(),
            notices: Vec::new(),
        };
        let before = Instant::now();
        let last = Last::of(&order(None, "ops"), &done(7)).expect("it took something back");
        let after = Instant::now() + Duration::from_millis(1);
        let same = last.serves(&order(None, "dev"), before).expect("asked before it was done");
        assert_eq!((same.from, same.to), (7, 6));
        assert!(same.notices.concat().contains("ops rolled back at the same moment"), "{same:?}");
        assert_eq!(last.serves(&order(None, "dev"), after), None, "asked later, of what ran then");
        assert_eq!(last.serves(&order(Some(5), "dev"), before), None, "who names a version gets it");
        assert!(Last::of(&order(Some(6), "ops"), &done(6)).is_none(), "nothing was taken back");
    }
}
