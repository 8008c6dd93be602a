//! How far a rollout is: what it has seen at its stage, and the view of it for operators.

use crate::control::rollout::counts::{Counts, Pair};
use crate::control::rollout::{Rollout, RouteSample, Sample, Step};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Routes in a view, the worst first.
const MAX_ROUTES: usize = 20;

/// Both sides on all routes together, and on each.
#[derive(Debug, Default)]
pub struct Progress {
    /// Since the rollout began.
    seen: Pair,
    /// Before this stage.
    before: Pair,
    /// Requests of the candidate in flight for too long at the last look.
    pub overdue: u64,
    /// As at the last look.
    routes: Vec<RouteView>,
}

impl Progress {
    /// Takes in what is to be seen.
    pub fn take(&mut self, sample: &Sample) {
        self.seen = Pair::default();
        for route in sample.routes.values() {
            let (candidate, stable) = (Counts::of(&route.candidate), Counts::of(&route.stable));
            self.seen.add(&Pair { candidate, stable });
        }
        self.overdue = sample.overdue_now;
        self.routes = worst(&sample.routes);
    }

    /// What comes now is of the next stage.
    pub fn begin_stage(&mut self) {
        self.before = self.seen;
    }

    /// The candidate's at this stage.
    pub fn at_stage(&self) -> Counts {
        self.seen.candidate.since(&self.before.candidate)
    }
}

/// A rollout as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// `baking`, `requests`, `doubt`, `worse`, `person`, `good` or `reverted`.
    pub state: &'static str,
    /// From 1.
    pub stage: usize,
    /// The last of them is everyone.
    pub stages: usize,
    /// Of the clients, served by the candidate; 0 to 100.
    pub share_percent: f64,
    /// Since it began.
    pub age_seconds: f64,
    /// How long this stage has been watched.
    pub watched_seconds: f64,
    /// How long each is watched at least.
    pub bake_seconds: f64,
    /// Of the candidate since it began.
    pub candidate: SideView,
    /// Of the stable version meanwhile.
    pub stable: SideView,
    /// Of the candidate at this stage.
    pub stage_requests: u64,
    /// In flight for too long, of the candidate.
    pub overdue: u64,
    /// Both by route, those first where the candidate fails more; at most 20.
    pub routes: Vec<RouteView>,
    /// What it waits for, or how it ended: a sentence.
    pub why: String,
    /// Until it is good, if nothing keeps it from going on.
    pub forecast_seconds: f64,
}

/// Both sides on one route, since the rollout began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteView {
    /// As in the file.
    pub route: String,
    /// The new version.
    pub candidate: SideView,
    /// The old one.
    pub stable: SideView,
    /// Nine of ten of the candidate's good answers began within so many seconds.
    pub candidate_p90_seconds: Option<f64>,
    /// And of the stable version's.
    pub stable_p90_seconds: Option<f64>,
}

impl RouteView {
    fn of(route: &Arc<str>, sample: &RouteSample) -> Self {
        RouteView {
            route: route.to_string(),
            candidate: Counts::of(&sample.candidate).into(),
            stable: Counts::of(&sample.stable).into(),
            candidate_p90_seconds: sample.candidate.quantile(0.9).map(|time| time.as_secs_f64()),
            stable_p90_seconds: sample.stable.quantile(0.9).map(|time| time.as_secs_f64()),
        }
    }
}

/// Routes that either side was asked for: where the candidate fails more than stable first, then where it is asked
/// most. Only what is shown is measured: times are read from many buckets.
fn worst(routes: &BTreeMap<Arc<str>, RouteSample>) -> Vec<RouteView> {
    let excess =
        |sample: &RouteSample| Counts::of(&sample.candidate).rate() - Counts::of(&sample.stable).rate();
    let asked = |sample: &RouteSample| sample.candidate.requests.saturating_add(sample.stable.requests);
    let mut known: Vec<_> = routes.iter().filter(|(_, sample)| asked(sample) > 0).collect();
    known.sort_by(|(_, a), (_, b)| excess(b).total_cmp(&excess(a)).then(asked(b).cmp(&asked(a))));
    known.into_iter().take(MAX_ROUTES).map(|(route, sample)| RouteView::of(route, sample)).collect()
}

/// One side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SideView {
    /// That are over, or overdue.
    pub requests: u64,
    /// Of them.
    pub failed: u64,
}

impl From<Counts> for SideView {
    fn from(counts: Counts) -> Self {
        SideView { requests: counts.requests, failed: counts.failures() }
    }
}

/// The view of a rollout.
pub fn view(rollout: &Rollout, now: Instant) -> View {
    let (state, why) = state(rollout);
    let bake = rollout.scope.bake;
    let after = (rollout.stages.len() - rollout.stage.min(rollout.stages.len())) as u32;
    let ahead = bake.saturating_sub(rollout.watched).saturating_add(bake.saturating_mul(after));
    View {
        state,
        stage: rollout.stage + 1,
        stages: rollout.stages.len() + 1,
        share_percent: rollout.share() * 100.0,
        age_seconds: now.saturating_duration_since(rollout.began).as_secs_f64(),
        watched_seconds: rollout.watched.as_secs_f64(),
        bake_seconds: bake.as_secs_f64(),
        candidate: rollout.progress.seen.candidate.into(),
        stable: rollout.progress.seen.stable.into(),
        stage_requests: rollout.progress.at_stage().requests,
        overdue: rollout.progress.overdue,
        routes: rollout.progress.routes.clone(),
        why,
        forecast_seconds: if rollout.end.is_some() { Duration::ZERO } else { ahead }.as_secs_f64(),
    }
}

fn state(rollout: &Rollout) -> (&'static str, String) {
    match (&rollout.end, &rollout.waiting) {
        (Some(Step::Revert(verdict)), _) => ("reverted", verdict.to_string()),
        (Some(_), _) => ("good", "everyone's for a whole bake without a finding".to_owned()),
        (None, Some(waiting)) => (waiting.as_str(), waiting.to_string()),
        (None, None) => ("baking", "this stage has just begun".to_owned()),
    }
}
