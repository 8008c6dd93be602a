//! The guard of a rollout: every route that both versions serve beside the stable version, those that only the
//! candidate has by absolute bars, all together, and everything against the five minutes before (`design.md`, "Guard").
//!
//! A fault reverts. A doubt keeps it from going on to more clients. What is worse on both sides than before is no
//! difference between the versions: it keeps the rollout where it is, and reverts it only where it began as a stage
//! did and lasts as long as one bakes. When the candidate is everyone's there is no other side, and it reverts when
//! it is worse than before, and than stable was during the rollout, for a bake (10 s at most).
//!
//! Chance: one rollout in a hundred of an identical version, shared out among routes and looks (each route its part
//! of a half, all routes together of the other half).

use crate::control::rollout::before::{self, Before, Worse};
use crate::control::rollout::beside::{Answered, Bars, Beside, Judgement};
use crate::control::rollout::counts::{Counts, Pair};
use crate::control::rollout::latency::{Slower, Windows};
use crate::control::rollout::verdict::{Finding, Verdict};
use crate::control::rollout::{RouteSample, Sample, Scope};
use crate::telemetry::tally::Tally;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The odds of one in a hundred.
const ODDS: f64 = 100.0;
/// What is worse than before is told from a burst by lasting as long as a bake, and at most so long where the
/// candidate is everyone's.
const LASTING: Duration = Duration::from_secs(10);

/// When and where a look happens; times are those in which the rollout was watched.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Since the rollout began.
    pub at: Duration,
    /// When this stage began.
    pub stage_at: Duration,
    /// The part of the clients that the candidate serves; 1 when there is no stable version beside it.
    pub share: f64,
    /// Into a stage, so long, slow successes of its first requests may be missing.
    pub lag: Duration,
}

impl Sight {
    /// There is no stable version beside the candidate.
    pub fn is_full(&self) -> bool {
        self.share >= 1.0
    }

    /// How long this stage has been watched.
    pub fn stage_age(&self) -> Duration {
        self.at.saturating_sub(self.stage_at)
    }

    /// What is over is no fair sample yet of what began.
    pub fn is_early(&self) -> bool {
        self.stage_age() <= self.lag
    }

    /// Requests of the candidate for one of the stable version, as the share says.
    pub fn ratio(&self) -> f64 {
        self.share / (1.0 - self.share).max(1e-3)
    }
}

/// What it remembers.
#[derive(Debug)]
pub struct Guard {
    routes: BTreeMap<Arc<str>, RouteGuard>,
    /// All routes that both versions have, and all that only the candidate has.
    shared: Beside,
    new: Beside,
    before: Before,
    /// When bets last began afresh.
    started: Duration,
    full: bool,
    findings: Findings,
}

#[derive(Debug, Default)]
struct RouteGuard {
    beside: Beside,
    before: Before,
    windows: Windows,
    windows_before: Windows,
}

/// Of one look.
#[derive(Debug, Default)]
struct Findings {
    fault: Option<Verdict>,
    doubt: Option<Verdict>,
    worse: Option<Verdict>,
}

impl Findings {
    /// The gravest is what is told.
    fn fault(&mut self, verdict: Verdict) {
        let graver = self.fault.as_ref().is_none_or(|kept| kept.finding.weight() < verdict.finding.weight());
        if graver {
            self.fault = Some(verdict);
        }
    }

    fn doubt(&mut self, verdict: Verdict) {
        self.doubt.get_or_insert(verdict);
    }

    fn judged(&mut self, judgement: Judgement) {
        match judgement {
            Judgement::Fine => {}
            Judgement::Doubt(verdict) => self.doubt(verdict),
            Judgement::Fault(verdict) => self.fault(verdict),
        }
    }

    /// Worse than before: a fault where it is not only a burst or an outage.
    fn worse(&mut self, verdict: Verdict, is_fault: bool) {
        if is_fault {
            self.fault(verdict);
        } else {
            self.worse.get_or_insert(verdict);
        }
    }
}

impl Guard {
    /// For a rollout.
    pub fn new(scope: &Scope) -> Self {
        let route = |new: bool| RouteGuard { beside: Beside::new(new), ..RouteGuard::default() };
        Guard {
            routes: scope.routes.iter().map(|it| (Arc::clone(&it.name), route(it.new))).collect(),
            shared: Beside::new(false),
            new: Beside::new(true),
            before: Before::default(),
            started: Duration::ZERO,
            full: false,
            findings: Findings::default(),
        }
    }

    /// Takes in what is to be seen; what reverts the rollout, if anything does.
    pub fn look(&mut self, scope: &Scope, sight: Sight, sample: &Sample) -> Option<Verdict> {
        self.findings = Findings::default();
        self.begin_afresh(scope, sight);
        let mut sums = Sums::default();
        for name in sample.routes.keys() {
            if !self.routes.contains_key(name) {
                self.routes.insert(Arc::clone(name), RouteGuard::default());
            }
        }
        for (name, route) in &sample.routes {
            let baseline = sample.baseline.get(name);
            self.look_at_route(scope, sight, name, route, baseline, &mut sums);
        }
        self.look_at_all(scope, sight, &sums);
        self.findings.fault.clone()
    }

    /// What looks wrong and is not beyond chance.
    pub fn doubt(&self) -> Option<&Verdict> {
        self.findings.doubt.as_ref()
    }

    /// What is worse than before on both sides.
    pub fn worse(&self) -> Option<&Verdict> {
        self.findings.worse.as_ref()
    }

    /// What comes now is of the next stage.
    pub fn begin_stage(&mut self) {
        let sides = self.routes.values_mut().map(|route| &mut route.beside);
        for beside in sides.chain([&mut self.shared, &mut self.new]) {
            beside.begin_stage();
            beside.start();
        }
    }

    /// Twice in a bake: what was good for long excuses nothing.
    fn begin_afresh(&mut self, scope: &Scope, sight: Sight) {
        if sight.is_full() && !std::mem::replace(&mut self.full, sight.is_full()) {
            // The other side is another one from here on.
            self.before = Before::default();
            for route in self.routes.values_mut() {
                (route.before, route.windows_before) = Default::default();
            }
        }
        if sight.at.saturating_sub(self.started) < scope.bake / 2 {
            return;
        }
        self.started = sight.at;
        let sides = self.routes.values_mut().map(|route| &mut route.beside);
        sides.chain([&mut self.shared, &mut self.new]).for_each(Beside::start);
    }

    fn look_at_route(
        &mut self,
        scope: &Scope,
        sight: Sight,
        name: &str,
        sample: &RouteSample,
        baseline: Option<&Tally>,
        sums: &mut Sums,
    ) {
        let families = 2.0 * self.routes.len() as f64;
        let Some(route) = self.routes.get_mut(name) else { return };
        let now = Pair { candidate: Counts::of(&sample.candidate), stable: Counts::of(&sample.stable) };
        let answered = || -> Answered { (sample.candidate.samples(), sample.stable.samples()) };
        let is_new = route.beside.is_new();
        if let Some(slice) = route.beside.take(sight, now, answered) {
            if is_new { &mut self.new } else { &mut self.shared }.bet(&slice);
        }
        let before = baseline.map(Counts::of);
        let bars = Bars { route: Some(name), policy: scope.guard, odds: families * ODDS, before };
        sums.add(is_new, &now, before);
        if is_new {
            self.findings.judged(route.beside.judge(&bars, answered));
            return;
        }
        if sight.is_full() {
            self.findings.judged(route.beside.judge_alone(&bars, sight, scope.bake.min(LASTING), answered));
        } else {
            self.findings.judged(route.beside.judge(&bars, answered));
            route.beside_by_time(&bars, sight, sample, &mut self.findings);
        }
        route.after_before(scope, &bars, sight, sample, baseline, &mut self.findings);
        sums.expect(route.beside.at_stage(sight.is_full()), sight, &now, before);
    }

    fn look_at_all(&mut self, scope: &Scope, sight: Sight, sums: &Sums) {
        self.shared.take_together(sight, sums.shared);
        self.new.take_together(sight, sums.new);
        let before = Some(sums.before);
        let bars = Bars { route: None, policy: scope.guard, odds: 4.0 * ODDS, before };
        let answered = |sides: &Pair| (sides.candidate.successes(), sides.stable.successes());
        self.findings.judged(self.new.judge(&Bars { before: None, ..bars }, || answered(&sums.new)));
        if !sight.is_full() {
            self.findings.judged(self.shared.judge(&bars, || answered(&sums.shared)));
        }
        let Some(bar) = sums.bar(sight, scope.guard.max_error_increase) else { return };
        let own = if sight.is_full() { sums.shared.candidate } else { sums.shared.stable };
        if let Some(worse) = self.before.take(sight, own, bar, bars.odds) {
            let nothing_works = sight.is_full() && worse.is_whole() && bar < 0.5;
            let lasts = !worse.is_burst && lasts(scope, sight, worse.lasted, worse.into_stage);
            let is_fault = nothing_works || lasts;
            self.findings.worse(worse_verdict(&bars, &worse), is_fault);
        }
    }
}

impl RouteGuard {
    /// Answers' times beside the stable version.
    fn beside_by_time(
        &mut self,
        bars: &Bars<'_>,
        sight: Sight,
        sample: &RouteSample,
        findings: &mut Findings,
    ) {
        let RouteSample { candidate, stable } = sample;
        let ratio = bars.policy.max_latency_ratio;
        let Some(slower) = self.windows.beside(sight.at, candidate, stable, ratio) else { return };
        let (candidate, stable) = (Counts::of(candidate), Counts::of(stable));
        let verdict = slow_verdict(bars, &slower, candidate, false).beside(stable);
        if slower.convinces() {
            findings.fault(verdict);
        } else {
            findings.doubt(verdict);
        }
    }

    /// Failures and answers' times against the five minutes before: of stable, which a change may hurt as well, and
    /// of the candidate once it is alone.
    fn after_before(
        &mut self,
        scope: &Scope,
        bars: &Bars<'_>,
        sight: Sight,
        sample: &RouteSample,
        baseline: Option<&Tally>,
        findings: &mut Findings,
    ) {
        let full = sight.is_full();
        let own = if full { &sample.candidate } else { &sample.stable };
        // What stable did during the rollout is as good to compare with, once it is over.
        let earlier: Vec<&Tally> = baseline.into_iter().chain(full.then_some(&sample.stable)).collect();
        let counts: Vec<Counts> = earlier.iter().map(|tally| Counts::of(tally)).collect();
        if let Some(bar) = before::bar(&counts, bars.policy.max_error_increase)
            && let Some(worse) = self.before.take(sight, Counts::of(own), bar, bars.odds)
        {
            let is_fault = !worse.is_burst && lasts(scope, sight, worse.lasted, worse.into_stage);
            findings.worse(worse_verdict(bars, &worse), is_fault);
        }
        let ratio = bars.policy.max_latency_ratio;
        if let Some(slower) = self.windows_before.after(sight.at, own, &earlier, ratio)
            && slower.convinces()
        {
            let lasted = sight.at.saturating_sub(slower.since);
            let is_fault = lasts(scope, sight, lasted, slower.since.saturating_sub(sight.stage_at));
            findings.worse(slow_verdict(bars, &slower, Counts::of(own), true), is_fault);
        }
    }
}

/// What is worse than before is the change's fault, as far as can be told: it lasts, and where there is a stable
/// version that fares no better, it began as the stage did.
fn lasts(scope: &Scope, sight: Sight, lasted: Duration, into_stage: Duration) -> bool {
    if sight.is_full() {
        lasted >= scope.bake.min(LASTING)
    } else {
        into_stage <= scope.bake / 2 && lasted >= scope.bake
    }
}

fn worse_verdict(bars: &Bars<'_>, worse: &Worse) -> Verdict {
    let kind = Pair { candidate: worse.counts, stable: Counts::default() }.kind();
    Verdict::new(bars.route, worse.finding(), kind, worse.counts).after(bars.before)
}

fn slow_verdict(bars: &Bars<'_>, slower: &Slower, own: Counts, before: bool) -> Verdict {
    let max_ratio = bars.policy.max_latency_ratio;
    let finding =
        Finding::Slow { own_p90_ms: ms(slower.own), other_p90_ms: ms(slower.other), max_ratio, before };
    Verdict::new(bars.route, finding, None, own)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// All routes together.
#[derive(Debug, Default)]
struct Sums {
    shared: Pair,
    new: Pair,
    before: Counts,
    /// Failures that earlier times let expect of the requests of this stage, and those requests.
    expected: f64,
    requests: f64,
}

impl Sums {
    fn add(&mut self, is_new: bool, now: &Pair, before: Option<Counts>) {
        if is_new { &mut self.new } else { &mut self.shared }.add(now);
        self.before.add(&before.unwrap_or_default());
    }

    /// Which routes are asked changes from minute to minute: each is held against its own earlier times.
    fn expect(&mut self, at_stage: Counts, sight: Sight, now: &Pair, before: Option<Counts>) {
        let stable = if sight.is_full() { now.stable } else { Counts::default() };
        let rate = before.unwrap_or_default().rate().max(stable.rate());
        self.expected += rate * at_stage.requests as f64;
        self.requests += at_stage.requests as f64;
    }

    fn bar(&self, sight: Sight, max_increase: f64) -> Option<f64> {
        let during = if sight.is_full() { self.shared.stable } else { Counts::default() };
        let earlier = if self.before.requests > 0 { self.before } else { during };
        // What the earlier rate could be beyond what was counted.
        let usual = before::bar(&[earlier], max_increase)? - earlier.rate();
        (self.requests > 0.0).then(|| usual + self.expected / self.requests)
    }
}
