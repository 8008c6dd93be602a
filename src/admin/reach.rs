//! What operators reach beyond numbers: the cores, the control plane, and a place for work that would hold up the
//! admin thread. Each way has a bound of its own; who comes beyond it is told to come again.

use crate::config::plan::Plan;
use crate::control::Control;
use crate::control::apply::Desk;
use crate::control::rollback::Counter;
use crate::runtime::offload::{Declined, Offload};
use crate::worker::Workers;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions to the cores at a time.
const MAX_QUESTIONS: usize = 2;

/// Texts being checked at a time; each takes a thread of the blocking pool.
const MAX_CHECKS: usize = 2;

/// Bytes of texts being received at a time. Bytes and not texts, so that uploads that hang leave room for others.
const MAX_UPLOADED: usize = 32 << 20;

/// The ways in.
pub struct Reach {
    pub(super) workers: Arc<Workers>,
    pub(super) control: Arc<Control>,
    pub(super) desk: Desk,
    pub(super) rollbacks: Counter,
    pub(super) questions: Semaphore,
    /// A permit is a byte.
    pub(super) uploads: Semaphore,
    checks: Offload,
}

/// What a check came to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) text: String,
    /// Nothing if it is invalid.
    pub(super) plan: Option<Plan>,
    /// All of them, as `tidegate check --json` has them.
    pub(super) findings: Value,
    /// Those because of which it is invalid, in a line each.
    pub(super) errors: Vec<String>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

impl Reach {
    /// To these cores, this control plane, the desk of its background thread, and the counter of its rollbacks.
    pub fn new(workers: Arc<Workers>, control: Arc<Control>, desk: Desk, rollbacks: Counter) -> Self {
        Reach {
            workers,
            control,
            desk,
            rollbacks,
            questions: Semaphore::new(MAX_QUESTIONS),
            uploads: Semaphore::new(MAX_UPLOADED),
            checks: Offload::new(MAX_CHECKS),
        }
    }

    /// Checks a text as if it stood in the active file, and puts down what was found, away from this thread.
    ///
    /// # Errors
    /// When too many are being checked, or it takes too long.
    pub(super) async fn check(&self, text: String, patience: Duration) -> Result<Verdict, Declined> {
        let control = self.control.clone();
        let check = move || {
            let checked = control.check(&text);
            let (findings, errors) = (checked.json(), checked.errors());
            Verdict { text, plan: checked.plan, findings, errors }
        };
        self.checks.run(patience, check).await
    }
}
