//! A change from the moment somebody wants it: which way it may take ([`rules`]), how far it is ([`course`]), and what
//! is done for it, here.
//!
//! The course decides under a lock that is never held while anything is done. What takes files or sockets is done on
//! the thread of rollouts; what only moves pointers, taking a candidate away above all, at once by whoever says so.

pub mod course;
mod deeds;
mod file;
pub mod held;
mod kept;
mod proposal;
pub mod rules;
mod start;
mod told;
pub mod view;
pub mod words;

use crate::control::Control;
use crate::control::apply::Turns;
use crate::control::audit::Audit;
use crate::control::change::view::{GlassView, PendingView};
use crate::control::history::History;
use crate::control::probe::Prober;
use crate::control::rollback::Order;
use crate::control::rollout::{RouteSample, Sample};
use crate::control::store::ledger::Ref;
use crate::runtime::offload::Offload;
use crate::telemetry::tally::Tally;
use course::{Act, Course, Outcome, Phase};
use proposal::Whole;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

/// How often the guard looks: a deciding sample is acted on well within a second.
const LOOK: Duration = Duration::from_millis(100);

/// Acts that may wait. A course gives one at a time, and words of people one each.
const ACTS_WAITING: usize = 64;
/// Steps that may hang in files at a time; with more, the next change is told so and ends.
const IN_FILES: usize = 2;

/// Whoever conducts changes. One in the process.
pub struct Conductor {
    control: Arc<Control>,
    means: Means,
    turns: Turns,
    acts: mpsc::Sender<Act>,
    /// Nothing is under way any more: the file may have waited.
    freed: Notify,
    /// What may hang in files, beside the looks.
    files: Offload,
    state: Mutex<State>,
}

/// What a conductor works with beside the control plane.
#[derive(Debug)]
pub struct Means {
    /// Dials what a candidate names.
    pub prober: Arc<Prober>,
    /// What versions came to.
    pub history: History,
    /// Who did what.
    pub audit: Audit,
}

#[derive(Debug, Default)]
struct State {
    course: Course,
    /// The version under way, with all that it takes to serve it.
    whole: Option<Arc<Whole>>,
    /// The file's text waits for its turn.
    file: Option<PendingView>,
    /// Somebody went around the stages, and nobody said that they have seen it.
    glass: Option<GlassView>,
    /// What routes did in the five minutes before the change under way.
    baseline: BTreeMap<Arc<str>, Tally>,
}

/// Acts on their way to the thread of rollouts.
pub type Acts = mpsc::Receiver<Act>;

impl fmt::Debug for Conductor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conductor").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Conductor {
    /// A conductor, and the line to the thread that [`Conductor::conduct`]s.
    pub fn new(control: Arc<Control>, means: Means) -> (Arc<Self>, Acts) {
        let (acts, heard) = mpsc::channel(ACTS_WAITING);
        let (turns, freed) = (Turns::default(), Notify::new());
        let state = Mutex::new(State { glass: control.glass(), ..State::default() });
        let files = Offload::new(IN_FILES);
        let conductor = Arc::new(Conductor { control, means, turns, acts, freed, files, state });
        let for_rollbacks = Arc::downgrade(&conductor);
        conductor.control.let_rollouts_end(Box::new(move |order| for_rollbacks.upgrade()?.give_way(order)));
        (conductor, heard)
    }

    /// Carries out what the course wants, and looks ten times a second. For the thread of rollouts; ends with it.
    pub async fn conduct(self: Arc<Self>, mut acts: Acts) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(act) = acts.recv() => self.begin(act),
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn look(self: &Arc<Self>) {
        let (under_way, tried) = {
            let state = self.state();
            let current = state.course.current();
            let tried = current.filter(|it| matches!(it.phase, Phase::Rolling(_)));
            (current.is_some() || state.course.unconfirmed().is_some(), tried.map(|it| it.change.number))
        };
        if !under_way {
            return;
        }
        if let Some(number) = tried.filter(|number| self.control.tried_number() != Some(*number)) {
            // A rollback that took place just when it began; nobody is served by it.
            return self.fail(number, "another version was made active meanwhile".to_owned());
        }
        // Summed without the lock: others may say a word meanwhile.
        let sample = self.sample();
        let act = self.state().course.look(Instant::now(), &sample);
        act.into_iter().for_each(|act| self.begin(act));
    }

    /// What both sides did until now.
    fn sample(&self) -> Sample {
        let baseline = self.state().baseline.clone();
        let Some(tallies) = self.control.tallies() else {
            return Sample { baseline, ..Sample::default() };
        };
        let routes = tallies.sum().into_iter();
        let side = |(name, (stable, candidate))| (name, RouteSample { stable, candidate });
        Sample { routes: routes.map(side).collect(), baseline, overdue_now: tallies.overdue_now() }
    }

    /// A rollback takes place: whatever is under way gives way to it. Says which version somebody ended by it that
    /// served a part of the clients, or was about to; one that serves everyone is what is rolled back from.
    fn give_way(&self, order: &Order) -> Option<Ref> {
        // The gateway's own is about the version before, and nobody's word on this one.
        let (outcome, why) = match order.from {
            None => (Outcome::RolledBack, format!("{} rolled back", order.by)),
            Some(from) => (Outcome::Superseded, format!("version {from}, which it was to follow, went back")),
        };
        let mut state = self.state();
        let everyone = state.course.current().is_some_and(|it| matches!(it.phase, Phase::Settling(_)));
        let ended = state.course.rolled_back(outcome, why)?;
        drop(state);
        self.control.withdraw_version(ended.number);
        self.finish(&ended);
        (order.from.is_none() && !everyone).then_some(Ref { number: ended.number, hash: ended.hash })
    }

    /// Waits until a file that had to wait may come in.
    pub async fn freed(&self) {
        tokio::select! {
            () = self.freed.notified() => {}
            () = self.control.incidents().thawed() => {}
        }
    }

    /// Who changes something now.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The control plane.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// What versions came to.
    pub fn history(&self) -> &History {
        &self.means.history
    }

    /// Who did what.
    pub fn audit(&self) -> &Audit {
        &self.means.audit
    }

    /// For the thread of rollouts. There is room: a course gives one act at a time.
    fn send(&self, act: Act) {
        if let Err(error) = self.acts.try_send(act) {
            tracing::error!(%error, "a step of a rollout was lost; abort it and apply the version again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
