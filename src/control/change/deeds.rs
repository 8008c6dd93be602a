//! What a course wants, done: candidates offered, widened, taken away, made active, and what became of them written
//! down. Nothing here decides.

use super::Conductor;
use super::course::{Act, Ended, Outcome};
use super::proposal::Whole;
use crate::config::units::as_percent;
use crate::control::audit::Entry;
use crate::control::history::VersionOutcome;
use crate::control::probe;
use crate::control::receipt::{self, Signer};
use crate::control::rollback::{Order, within};
use crate::control::trial::Candidate;
use crate::request::cohort::Share;
use crate::runtime::offload::Declined;
use crate::telemetry::events::{RolloutEnded, RolloutStep};
use crate::telemetry::metrics::{ApplyOutcome, RollbackCause};
use serde_json::json;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Names of a candidate that nobody asked for yet are waited for this long before it serves anybody.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long a receipt waits for the disk.
const RECEIPT: Duration = Duration::from_secs(1);
/// A step that reads files is given up after so long.
const FILES: Duration = Duration::from_secs(30);
/// How often that is looked at.
const WARM_LOOK: Duration = Duration::from_millis(20);

impl Conductor {
    /// What an act takes. What waits for the network or for files takes its time beside the looks; the rest is done when
    /// this returns.
    pub(super) fn begin(self: &Arc<Self>, act: Act) {
        match act {
            Act::Probe(number) => drop(tokio::task::spawn_local(self.clone().probe(number))),
            Act::Offer(number, share) => drop(tokio::task::spawn_local(self.clone().offer(number, share))),
            Act::Activate(number) => drop(tokio::task::spawn_local(self.clone().promoted(number))),
            act => self.carry_out(act),
        }
    }

    /// Does it; on any thread.
    pub(super) fn carry_out(&self, act: Act) {
        match act {
            Act::Probe(_) | Act::Offer(..) | Act::Activate(_) => self.send(act),
            Act::Widen(number, share) => {
                self.control.widen(Share::of(share));
                self.step(
                    number,
                    "widened",
                    share,
                    &format!("it serves {} of the clients", as_percent(share)),
                );
            }
            Act::Withdraw(ended) => {
                // It may be on its way to everyone.
                self.control.give_up_changes();
                self.control.withdraw_version(ended.number);
                if ended.outcome == Outcome::Reverted {
                    self.control.metrics().process().rolled_back(RollbackCause::Guard);
                }
                self.finish(&ended);
            }
            Act::Restore(ended) => {
                let ended = self.restore(ended);
                self.finish(&ended);
            }
            Act::Good(ended) => {
                self.control.became_good(ended.number);
                self.control.stop_watching();
                if self.control.number() == ended.number {
                    self.issue(&ended);
                }
                self.finish(&ended);
            }
            Act::Tell(ended) => {
                if ended.outcome != Outcome::Unconfirmed {
                    self.control.give_up_changes();
                }
                self.finish(&ended);
            }
        }
    }

    /// Dials what the version names, beside everything else.
    async fn probe(self: Arc<Self>, number: u64) {
        let Some(whole) = self.whole(number) else { return };
        let active = self.control.active_plan();
        let findings = self.means.prober.probe(Arc::new(whole.active.plan.clone()), active).await;
        let unfill = |text: &str| self.control.unfilled(text, &whole.active.text);
        let findings: Vec<_> = findings.into_iter().map(|it| it.unfilled(unfill)).collect();
        self.means.history.findings(number, findings.iter().map(|finding| json!(finding)).collect());
        let gates: Vec<_> = findings.iter().filter(|it| it.gates()).map(sentence).collect();
        let clean = probe::is_clean(&findings);
        let said: Vec<_> = findings.iter().map(sentence).collect();
        let said = if clean { "the probe found nothing wrong".to_owned() } else { said.join("; ") };
        self.step(number, "probed", 0.0, &said);
        let act = self.state().course.probed(number, &gates, clean, Instant::now());
        act.into_iter().for_each(|act| self.begin(act));
    }

    /// Puts the version beside the stable one, first for nobody, until its names are known.
    async fn offer(self: Arc<Self>, number: u64, share: f64) {
        let Some(whole) = self.whole(number) else { return };
        let (conductor, offered) = (self.clone(), whole.clone());
        let offered = self.files.run(FILES, move || conductor.put_beside(&offered)).await;
        if let Err(why) = offered.unwrap_or_else(|declined| Err(hung(declined))) {
            let why = self.control.unfilled(&why, &whole.active.text);
            return self.fail(number, format!("it cannot be served: {why}"));
        }
        let end = tokio::time::Instant::now() + WARM_UP;
        while self.control.trial().is_some_and(|trial| trial.number == number && !trial.unresolved.is_empty())
            && tokio::time::Instant::now() < end
        {
            tokio::time::sleep(WARM_LOOK).await;
        }
        // Somebody may have ended it meanwhile.
        if !self.state().course.offered(number, Instant::now()) {
            return;
        }
        self.control.widen(Share::of(share));
        self.step(number, "offered", share, &format!("it serves {} of the clients", as_percent(share)));
    }

    /// For nobody yet. Blocks on files.
    fn put_beside(&self, whole: &Whole) -> Result<(), String> {
        let fact = self.control.policy().cohort;
        self.control.offer(candidate(whole), Share::of(0.0), fact)?;
        // Somebody may have ended it meanwhile, when there was nothing to take away yet.
        if !self.state().course.is_offering(whole.number) {
            self.control.withdraw_version(whole.number);
        }
        Ok(())
    }

    /// Makes the version fully active, beside the looks.
    async fn promoted(self: Arc<Self>, number: u64) {
        let conductor = self.clone();
        if let Err(declined) = self.files.run(FILES, move || conductor.activate(number)).await {
            self.fail(number, format!("it cannot be made active: {}", hung(declined)));
        } else if self.control.number() == number {
            self.control.metrics().process().apply(ApplyOutcome::Applied);
        }
    }

    /// It cannot go on.
    pub(super) fn fail(&self, number: u64, why: String) {
        let mut state = self.state();
        let act = state.course.current().is_some_and(|it| it.change.number == number);
        let act = act.then(|| state.course.abort(Outcome::Refused, why));
        drop(state);
        act.into_iter().flatten().for_each(|act| self.carry_out(act));
    }

    /// Makes the version under way fully active. Somebody may have ended it meanwhile: then it goes back at once. Blocks
    /// on files.
    pub(super) fn activate(&self, number: u64) {
        let Some(whole) = self.whole(number) else { return };
        let tried = self.control.trial().is_some_and(|trial| trial.number == number);
        let result = match tried {
            true => self.control.promote(),
            false => self.control.activate(whole.active.clone(), whole.step),
        };
        let result = result.map_err(|why: String| self.control.unfilled(&why, &whole.active.text));
        let active = result.is_ok();
        *whole.came_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
        let mut state = self.state();
        let wanted = state.course.is_activating(number);
        let act = state.course.activated(number, result.map(|_| ()), Instant::now());
        let unconfirmed = state.course.unconfirmed().filter(|it| it.number == number).copied();
        drop(state);
        match (active, wanted) {
            (true, true) => {
                self.control.keep_confirm(
                    number,
                    unconfirmed.map(|it| it.until.saturating_duration_since(Instant::now())),
                );
                self.means.history.outcome(number, VersionOutcome::Active, None);
                self.step(number, "active", 1.0, "it serves everyone");
                self.control.nudge();
            }
            (true, false) => {
                let why = "it was ended while it was being made active";
                if let Err(why) = self.take_back(number, why, RollbackCause::Operator) {
                    self.serves_on(number, &why);
                }
            }
            _ => {}
        }
        act.into_iter().for_each(|act| self.carry_out(act));
    }

    /// Takes it back, and says so if it cannot be.
    fn restore(&self, ended: Ended) -> Ended {
        let cause = match ended.outcome {
            Outcome::Reverted => RollbackCause::Guard,
            Outcome::Lapsed => RollbackCause::Unconfirmed,
            _ => RollbackCause::Operator,
        };
        let taken_back = self.take_back(ended.number, &ended.why, cause);
        // What the file wants is another change beside another version.
        self.control.forget_read();
        match taken_back {
            Ok(()) => ended,
            Err(why) => {
                Ended { why: format!("{}; {}", ended.why, self.serves_on(ended.number, &why)), ..ended }
            }
        }
    }

    /// A version that serves everyone gives its place to the good one before it, unless it has lost it already.
    fn take_back(&self, number: u64, why: &str, cause: RollbackCause) -> Result<(), String> {
        let reason = Some(why.to_owned());
        let order = Order { target: None, by: "gateway".to_owned(), reason, cause, from: Some(number) };
        self.control.roll_back(&order).map(drop).map_err(|error| error.to_string())
    }

    /// Loudly: what must not stay does.
    fn serves_on(&self, number: u64, why: &str) -> String {
        let told =
            format!("version {number} must not stay and serves on, because it cannot be taken back: {why}");
        tracing::error!("{told}");
        self.control.refused(Some(told.clone()));
        told
    }

    /// This environment's word of it, for another one.
    fn issue(&self, ended: &Ended) {
        let Some(environment) = self.control.policy().environment else { return };
        let (store, number, hash) = (self.control.store().clone(), ended.number, ended.hash.clone());
        let issue = move || {
            let now = jiff::Timestamp::now();
            let receipt = Signer::open(&store)?.issue(&environment, (number, &hash), now, now);
            receipt::Shelf::of(store).keep(&receipt)
        };
        match within(Instant::now() + RECEIPT, issue) {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, version = number, "its receipt cannot be kept"),
            None => tracing::warn!(version = number, "its receipt is not kept yet: the disk does not answer"),
        }
    }

    /// Writes down how it ended, keeps its text out if it must, and lets the next one in.
    pub(super) fn finish(&self, ended: &Ended) {
        let outcome = ended.outcome.as_str();
        // Of what is active at once, or cannot be, the event and the row of whoever asked say all.
        if !self.whole(ended.number).is_some_and(|whole| whole.is_plain()) {
            RolloutEnded { version: ended.number, hash: &ended.hash, outcome, why: &ended.why }.emit();
            self.means.audit.append(entry(ended));
        }
        self.control.incidents().failed(ended, &self.control.thresholds());
        if let Some(word) = VersionOutcome::named(outcome) {
            self.means.history.outcome(ended.number, word, Some(&ended.why));
        }
        self.control.change_ended(ended);
        let mut state = self.state();
        if state.whole.as_ref().is_some_and(|whole| whole.number == ended.number) {
            state.whole = None;
        }
        drop(state);
        self.freed.notify_one();
    }

    /// A step that nobody asked for.
    pub(super) fn step(&self, number: u64, step: &str, share: f64, told: &str) {
        let whole = self.whole(number);
        if whole.as_ref().is_some_and(|whole| whole.is_plain()) {
            return;
        }
        let hash = whole.map(|whole| whole.active.plan.hash.clone()).unwrap_or_default();
        RolloutStep { version: number, hash: &hash, step, percent: share * 100.0, by: None, told }.emit();
    }
}

fn hung(declined: Declined) -> String {
    let seconds = FILES.as_secs();
    match declined {
        Declined::Late => format!("a file that it names does not answer within {seconds} s"),
        Declined::Busy => {
            "earlier changes hang in files that do not answer. hint: mend their disk".to_owned()
        }
        Declined::Failed => "making it active came to a defect; see the log".to_owned(),
    }
}

fn candidate(whole: &Whole) -> Candidate {
    let active = whole.active.clone();
    Candidate {
        plan: active.plan,
        text: active.text,
        number: whole.number,
        origin: active.origin,
        overruled: active.overruled,
    }
}

fn entry(ended: &Ended) -> Entry {
    let action = format!("rollout.{}", ended.outcome.as_str());
    Entry::by_gateway(action).version(ended.number).saying(ended.why.clone())
}

fn sentence(finding: &probe::Finding) -> String {
    let address = if finding.address.is_empty() { String::new() } else { format!(" ({})", finding.address) };
    format!("{}{address} {}", finding.target, finding.what)
}
