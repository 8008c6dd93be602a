//! Who probes: a thread of its own, two probes at a time, a few waiting; and a deadline for whoever asks that holds
//! whatever becomes of that thread.
//!
//! Reading files of TLS and the system's name servers blocks there, and nowhere else. A probe that hangs in them keeps
//! its turn, so that what hangs never becomes more than two; whoever asked is told in time what was seen until then.

use super::dial::{MOST, Means, Seen};
use super::judge::judge;
use super::survey::{Scope, Survey};
use super::{Finding, gates, is_clean};
use crate::config::plan::Plan;
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::metrics::{Metrics, ProbeOutcome};
use futures_util::StreamExt;
use futures_util::stream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// For a probe, the wait for its turn included (`design.md`, promise 5).
pub const DEADLINE: Duration = Duration::from_secs(3);

/// The end of dialling comes so long before the deadline, so that what was seen is judged in time.
const MARGIN: Duration = Duration::from_millis(150);

/// Before a second look at whoever was not there.
const PAUSE: Duration = Duration::from_millis(300);

/// Probes at a time.
const TURNS: usize = 2;

/// Those who wait for their turn; beyond that it is said at once that there is none.
const WAITING: usize = 8;

/// Where probes are asked for. Shared by everybody who asks.
#[derive(Debug)]
pub struct Prober {
    jobs: mpsc::Sender<Job>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    metrics: Arc<Metrics>,
}

/// What is to be probed, for whom.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The candidate, whose name servers are asked.
    pub candidate: Arc<Plan>,
    /// What runs; its policy says what a finding is worth. The candidate's own does where nothing runs.
    pub active: Option<Arc<Plan>>,
    /// How much of it.
    pub scope: Scope,
    /// How far it has come, for whoever wants to see it.
    pub progress: Arc<Progress>,
}

/// How far a probe has come.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    of: AtomicUsize,
}

impl Progress {
    /// Places that were looked at, and how many there are; zero of zero before it begins.
    pub fn now(&self) -> (usize, usize) {
        (self.done.load(Relaxed), self.of.load(Relaxed))
    }
}

/// A probe on its way to the thread.
#[derive(Debug)]
struct Job {
    wanted: Wanted,
    until: Instant,
    board: Arc<OnceLock<Board>>,
    answer: oneshot::Sender<Vec<Finding>>,
    _turn: OwnedSemaphorePermit,
}

/// What is seen so far.
#[derive(Debug)]
struct Board {
    survey: Survey,
    seen: Mutex<Vec<Seen>>,
}

impl Board {
    fn judge(&self) -> Vec<Finding> {
        judge(&self.survey, &self.seen())
    }

    /// What was seen last counts, unless that is nothing.
    fn saw(&self, at: usize, seen: Seen) {
        if let Some(known) = self.seen().get_mut(at).filter(|_| seen != Seen::NotYet) {
            *known = seen;
        }
    }

    /// Where nobody was seen.
    fn missing(&self) -> Vec<usize> {
        let seen = self.seen();
        let missing = |at: &usize| !matches!(seen.get(*at), Some(Seen::Reached { .. }));
        (0..seen.len()).filter(missing).collect()
    }

    /// It is whole after every step.
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end: probes to be done.
#[derive(Debug)]
pub struct Jobs {
    heard: mpsc::Receiver<Job>,
    descriptors: Arc<Descriptors>,
}

impl Prober {
    /// A prober, and the line to its thread. Connections are taken from `descriptors`, probes counted in `metrics`.
    pub fn open(descriptors: Arc<Descriptors>, metrics: Arc<Metrics>) -> (Prober, Jobs) {
        // Who has a turn finds room.
        let (jobs, heard) = mpsc::channel(TURNS);
        let (turns, waiting) = (Arc::new(Semaphore::new(TURNS)), Semaphore::new(WAITING));
        (Prober { jobs, turns, waiting, metrics }, Jobs { heard, descriptors })
    }

    /// Probes what `candidate` changes or adds, under the policy of `active`. Returns within [`DEADLINE`], never fails:
    /// what could not be probed is a finding that gates nothing. Dropping it ends the probe.
    pub async fn probe(&self, candidate: Arc<Plan>, active: Arc<Plan>) -> Vec<Finding> {
        let progress = Arc::default();
        let wanted = Wanted { candidate, active: Some(active), scope: Scope::Changes, progress };
        self.ask(wanted, DEADLINE).await
    }

    /// The same of whatever is wanted, within `patience` if that is less.
    pub async fn ask(&self, wanted: Wanted, patience: Duration) -> Vec<Finding> {
        let asked = self.begun(wanted, patience.min(DEADLINE)).await;
        let outcome = match &asked {
            Err(_) => ProbeOutcome::NotBegun,
            Ok(findings) if gates(findings) => ProbeOutcome::Gated,
            Ok(findings) if is_clean(findings) => ProbeOutcome::Clean,
            Ok(_) => ProbeOutcome::Warned,
        };
        self.metrics.process().probed(outcome);
        asked.unwrap_or_else(|why| vec![Finding::of_probe(format!("nothing was probed: {why}"))])
    }

    /// What was found, or why it was not begun.
    async fn begun(&self, wanted: Wanted, patience: Duration) -> Result<Vec<Finding>, &'static str> {
        let until = Instant::now() + patience;
        let turn = self.turn(until).await.ok_or("other probes are under way; ask again")?;
        let (board, (answer, answered)) = (Arc::<OnceLock<Board>>::default(), oneshot::channel());
        let job = Job { wanted, until, board: board.clone(), answer, _turn: turn };
        self.jobs.try_send(job).map_err(|_| "the process is leaving")?;
        match timeout_at(until, answered).await {
            Ok(Ok(findings)) => Ok(findings),
            // What was seen until now, whatever holds it up.
            _ => board.get().map(Board::judge).ok_or(
                "its thread did not come to it in time: a file of TLS, or the system's configuration of name servers, \
                 does not answer",
            ),
        }
    }

    async fn turn(&self, until: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Some(turn);
        }
        let _place = self.waiting.try_acquire().ok()?;
        // Never closed.
        timeout_at(until, self.turns.clone().acquire_owned()).await.ok()?.ok()
    }
}

impl Jobs {
    /// Does what is asked for, until nobody can ask any more. Belongs on a thread that may block, and needs a runtime of
    /// one thread.
    pub async fn run(mut self) {
        while let Some(job) = self.heard.recv().await {
            let descriptors = self.descriptors.clone();
            tokio::task::spawn_local(job.run(descriptors));
        }
    }
}

impl Job {
    async fn run(self, descriptors: Arc<Descriptors>) {
        let Job { wanted, until, board, mut answer, _turn } = self;
        // It waited behind something that hung, and nobody wants it any more.
        if answer.is_closed() {
            return;
        }
        let end = until.checked_sub(MARGIN).unwrap_or(until);
        let board = board.get_or_init(|| wanted.survey());
        let means = Means::new(&wanted.candidate.gateway.resolver, descriptors, end);
        tokio::select! {
            () = look_around(board, &means, &wanted.progress) => {}
            // What ended a moment after its own end is judged too.
            () = tokio::time::sleep_until(end + MARGIN / 3) => {}
            () = answer.closed() => return,
        }
        // Who gave up meanwhile has judged it already.
        let _ = answer.send(board.judge());
    }
}

impl Wanted {
    fn survey(&self) -> Board {
        let policy = self.active.as_ref().unwrap_or(&self.candidate).rollout.probe;
        let survey = Survey::of(&self.candidate, self.active.as_deref(), &policy, self.scope);
        self.progress.of.store(survey.spots.len(), Relaxed);
        let seen = Mutex::new(vec![Seen::NotYet; survey.spots.len()]);
        Board { survey, seen }
    }
}

/// Looks at every spot, in their order, and a second time where nobody was: a lost packet or a process that is just
/// starting refuses no change.
async fn look_around(board: &Board, means: &Means, progress: &Progress) {
    let first = async |at: usize| {
        let seen = means.look(&board.survey.spots[at]).await;
        progress.done.fetch_add(1, Relaxed);
        board.saw(at, seen);
    };
    each(board, (0..board.survey.spots.len()).collect(), first).await;
    let missing = board.missing();
    if missing.is_empty() {
        return;
    }
    tokio::time::sleep(PAUSE).await;
    each(board, missing, async |at| board.saw(at, means.look(&board.survey.spots[at]).await)).await;
}

/// Names have a line of their own, so that a name server that never answers holds up no address.
async fn each(board: &Board, spots: Vec<usize>, look: impl AsyncFn(usize)) {
    let is_literal = |at: &usize| board.survey.spots[*at].place.address.literal().is_some();
    let (literals, names): (Vec<_>, Vec<_>) = spots.into_iter().partition(is_literal);
    let look = &look;
    tokio::join!(
        stream::iter(literals).for_each_concurrent(MOST, |at| look(at)),
        stream::iter(names).for_each_concurrent(MOST, |at| look(at)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};
    use std::path::Path;

    const SHORT: Duration = Duration::from_millis(100);

    fn opened() -> (Prober, Jobs) {
        Prober::open(Arc::new(Descriptors::with_budget(64)), Arc::new(Metrics::new(1)))
    }

    fn wanted(address: &str) -> Wanted {
        let text = format!(
            "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n[[upstreams]]\nname = \"u\"\n\
             backends = [{{ name = \"b\", address = \"{address}\" }}]\n"
        );
        let plan = config::check(&text, Path::new("/tidegate.toml"), &ProcessEnvironment).plan;
        let candidate = Arc::new(plan.expect("a configuration"));
        Wanted { candidate, active: None, scope: Scope::Everything, progress: Arc::default() }
    }

    #[tokio::test]
    async fn a_thread_that_hangs_or_is_gone_is_told_in_time_and_gates_nothing() {
        let (prober, jobs) = opened();
        let began = Instant::now();
        let findings = prober.ask(wanted("127.0.0.1:1"), SHORT).await;
        assert!(began.elapsed() < DEADLINE, "nobody does the work");
        assert!(findings[0].what.contains("nothing was probed") && !gates(&findings), "{findings:?}");
        assert!(!is_clean(&findings));
        // Whoever hangs keeps the turn; the third waits in vain, and is told whom for.
        prober.ask(wanted("127.0.0.1:1"), SHORT).await;
        let third = prober.ask(wanted("127.0.0.1:1"), SHORT).await;
        assert!(third[0].what.contains("other probes"), "{third:?}");
        drop(jobs);
        let leaving = prober.ask(wanted("127.0.0.1:1"), SHORT).await;
        assert!(leaving[0].what.contains("leaving"), "{leaving:?}");
    }
}
