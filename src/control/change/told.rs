//! The view of a change, made of its course and of what the data plane says.

use super::course::{Course, Current, Ended, Phase};
use super::rules::Way;
use super::view::{ChangeView, EndedView, PendingView, RolloutView, UnconfirmedView};
use super::{Conductor, State};
use crate::control::condition::{About, Condition};
use crate::control::rollout::Waiting;
use serde_json::json;
use std::time::Instant;

impl Conductor {
    /// The change under way; `asked` is the version whose end is wanted in place of the last one's.
    pub fn view(&self, asked: Option<u64>) -> RolloutView {
        let trial = self.control.trial();
        let state = self.state();
        let mut view = view(&state, asked, Instant::now());
        drop(state);
        if let Some(trial) = trial {
            view.realised_share_percent = trial.realised.map(|share| share * 100.0);
            view.per_request = trial.per_request;
        }
        view
    }

    /// Why somebody should look, for `/readyz`: glass that was broken, a version that waits.
    pub fn conditions(&self) -> Vec<Condition> {
        let state = self.state();
        let glass = state.glass.as_ref().map(|glass| {
            About::GlassBroken.says(format!(
                "{} broke the glass at {}: version {} went around the stages ({}); `tidegate acknowledge` when seen",
                glass.by, glass.at, glass.number, glass.reason
            ))
        });
        let waits = state.course.current().filter(|it| matches!(it.phase, Phase::Approval)).map(|current| {
            let number = current.change.number;
            About::ApprovalWaits
                .says(format!("version {number} waits for a second person: `tidegate approve {number}`"))
        });
        let seconds = |waits: UnconfirmedView| {
            let UnconfirmedView { number, seconds_left } = waits;
            About::ConfirmationWaits.says(format!(
                "version {number} goes back in {seconds_left:.0} s unless somebody confirms it: `tidegate confirm`"
            ))
        };
        let unconfirmed = unconfirmed(&state.course, Instant::now()).map(seconds);
        let current = state.course.current();
        let person = current.and_then(|it| Some((it.change.number, it.waiting.as_ref()?)));
        let person = person.filter(|(_, waiting)| matches!(waiting, Waiting::Person { .. }));
        let person = person.map(|(number, why)| format!("version {number} waits for somebody: {why}"));
        let person = person.map(|why| About::PersonWaits.says(why));
        let held = state.file.as_ref().and_then(held);
        glass.into_iter().chain(waits).chain(unconfirmed).chain(person).chain(held).collect()
    }
}

/// That the file waits for the end of a freeze, and who may end that.
fn held(file: &PendingView) -> Option<Condition> {
    let incident = file.held_by?;
    Some(About::FileFrozen.says(format!(
        "the file has changed and waits for the end of the freeze of incident {incident}: `tidegate apply FILE \
         --incident {incident}` (and each other that freezes it) if it is for that, else `tidegate incident update {incident} --thaw`"
    )))
}

fn view(state: &State, asked: Option<u64>, now: Instant) -> RolloutView {
    let course = &state.course;
    let current = course.current();
    RolloutView {
        state: current.map_or("none", Current::state).to_owned(),
        version: current.map(change),
        stages_percent: current.map(stages).unwrap_or_default(),
        share_percent: current.map_or(0.0, |current| current.share() * 100.0),
        waiting: current.and_then(|current| current.waiting.as_ref()).map(ToString::to_string),
        needs_person: current.is_some_and(|it| matches!(it.waiting, Some(Waiting::Person { .. }))),
        guard: current.and_then(|it| it.rollout()).map_or(json!(null), |rollout| json!(rollout.view(now))),
        unconfirmed: unconfirmed(course, now),
        pending_file: state.file.clone(),
        last: course.ended(asked).map(ended),
        break_glass: state.glass.clone(),
        ..RolloutView::default()
    }
}

fn change(current: &Current) -> ChangeView {
    let change = &current.change;
    ChangeView {
        number: change.number,
        hash: change.hash.clone(),
        cause: change.cause.as_str().to_owned(),
        by: change.by.clone(),
        reason: change.reason.clone(),
        risk: change.risk.as_str().to_owned(),
        approved_by: current.approved_by.clone(),
    }
}

fn stages(current: &Current) -> Vec<f64> {
    match &current.way {
        Way::Staged(staging) => staging.stages.iter().map(|share| share * 100.0).collect(),
        Way::AtOnce | Way::BrokenGlass { .. } => vec![100.0],
    }
}

fn unconfirmed(course: &Course, now: Instant) -> Option<UnconfirmedView> {
    let waits = course.unconfirmed()?;
    let seconds_left = waits.until.saturating_duration_since(now).as_secs_f64();
    Some(UnconfirmedView { number: waits.number, seconds_left })
}

fn ended(ended: &Ended) -> EndedView {
    EndedView {
        number: ended.number,
        hash: ended.hash.clone(),
        outcome: ended.outcome.as_str().to_owned(),
        why: ended.why.clone(),
    }
}
