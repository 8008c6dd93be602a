//! What operators reach beyond numbers: the cores, the control plane, and a place for work that would hold up the
//! admin thread. Each way has a bound of its own; who comes beyond it is told to come again.

use crate::config::Fillings;
use crate::config::compare::{Comparison, Side, compare};
use crate::config::plan::Plan;
use crate::control::Control;
use crate::control::apply::Desk;
use crate::control::change::Conductor;
use crate::control::observe::Observatory;
use crate::control::plan::Outlook;
use crate::control::probe::Prober;
use crate::control::rollback::Counter;
use crate::control::store::Store;
use crate::runtime::offload::{Declined, Offload};
use crate::worker::Workers;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions to the cores at a time.
const MAX_QUESTIONS: usize = 2;

/// Sinks being tried at a time.
const MAX_TRIES: usize = 2;

/// Texts being checked at a time; each takes a thread of the blocking pool.
const MAX_CHECKS: usize = 2;

/// Texts being compared at a time. A place of their own, because whoever may only read may ask for it: they must not
/// hold up those who check a text to apply it.
const MAX_PLANS: usize = 1;
/// Pieces of work on the disk at a time, and those that may wait for it. One that hangs takes no place of the checks.
const MAX_ON_DISK: (usize, usize) = (1, 8);

/// How long one may take.
const DISK: Duration = Duration::from_secs(2);

/// Bytes of texts being received at a time. Bytes and not texts, so that uploads that hang leave room for others.
const MAX_UPLOADED: usize = 32 << 20;

/// The ways in.
pub struct Reach {
    pub(super) workers: Arc<Workers>,
    pub(super) observatory: Arc<Observatory>,
    pub(super) control: Arc<Control>,
    pub(super) desk: Desk,
    pub(super) prober: Arc<Prober>,
    pub(super) rollbacks: Counter,
    pub(super) conductor: Arc<Conductor>,
    pub(super) questions: Semaphore,
    /// Sinks being tried.
    pub(super) tries: Semaphore,
    /// A permit is a byte.
    pub(super) uploads: Semaphore,
    checks: Offload,
    plans: Offload,
    disk: Offload,
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
    /// What fills it, to be taken out of what is said later.
    pub(super) fillings: Fillings,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

impl Reach {
    /// To what there is to see, the desk of whoever conducts changes, who probes, and the counter of rollbacks.
    pub fn new(observatory: Arc<Observatory>, desk: Desk, prober: Arc<Prober>, rollbacks: Counter) -> Self {
        Reach {
            workers: observatory.workers.clone(),
            control: observatory.control.clone(),
            conductor: observatory.conductor.clone(),
            observatory,
            desk,
            prober,
            rollbacks,
            questions: Semaphore::new(MAX_QUESTIONS),
            tries: Semaphore::new(MAX_TRIES),
            uploads: Semaphore::new(MAX_UPLOADED),
            checks: Offload::new(MAX_CHECKS),
            plans: Offload::new(MAX_PLANS),
            disk: Offload::with_queue(MAX_ON_DISK.0, MAX_ON_DISK.1),
        }
    }

    /// Does something with the state directory, away from this thread.
    ///
    /// # Errors
    /// When others are at it, or it takes too long.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Declined> {
        let store = self.control.store().clone();
        self.disk.run(DISK, move || work(&store)).await
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
            let fillings = control.fillings(&text);
            Verdict { text, plan: checked.plan, findings, errors, fillings }
        };
        self.checks.run(patience, check).await
    }

    /// What would come of a text, away from this thread.
    ///
    /// # Errors
    /// As [`Reach::check`].
    pub(super) async fn plan(
        &self,
        text: String,
        patience: Duration,
    ) -> Result<(Verdict, Option<Outlook>), Declined> {
        let control = self.control.clone();
        let plan = move || {
            let checked = control.check(&text);
            let (findings, errors) = (checked.json(), checked.errors());
            let outlook = checked.plan.as_ref().map(|plan| control.outlook(&text, plan));
            let fillings = control.fillings(&text);
            (Verdict { text, plan: checked.plan, findings, errors, fillings }, outlook)
        };
        self.plans.run(patience, plan).await
    }

    /// What differs between two texts of long ago, away from this thread: what filled them then is not known.
    ///
    /// # Errors
    /// As [`Reach::check`].
    pub(super) async fn compare(
        &self,
        before: String,
        after: String,
        patience: Duration,
    ) -> Result<Comparison, Declined> {
        let compare = move || {
            let [before, after] = [&before, &after].map(|text| Side { text, plan: None });
            compare(before, after)
        };
        self.plans.run(patience, compare).await
    }
}
