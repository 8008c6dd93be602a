//! Two versions of a configuration beside each other, on a hundred routes with clients of their own: what a rollout's
//! guard gets to see, look by look.
//!
//! Requests are counted, not followed: how many come, how many of them are the candidate's, how many fail. What
//! succeeds is over a look later than what fails, so that a stage begins with nothing but failures. Routes are asked
//! by Zipf's law, fail by nothing to five percent, and take times whose logarithm is normal, with p99 up to sixteen
//! times the median. Bursts of failures hit both sides of some routes at once.

use crate::chance::Chance;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::config::fields::Risk;
use tidegate::config::policy;
use tidegate::control::rollout::{Rollout, RouteScope, Sample, Scope, Step};
use tidegate::telemetry::tally::{Failure, Tally};

/// Of a side's answers at a look, so many have a time that is counted.
const MOST: u64 = 60;
/// Different times of answers that a route has.
const TIMES: usize = 500;
/// Seconds that are counted before a rollout.
const BEFORE: f64 = 300.0;

/// What is simulated.
#[derive(Clone)]
pub struct Setting {
    /// Routes, and all of their requests a second.
    pub routes: usize,
    pub rate: f64,
    /// Exponent of Zipf's law; 0: all alike.
    pub zipf: f64,
    /// Clients of a route, all alike.
    pub clients: (f64, f64),
    /// Up to so much fails on either side.
    pub base: f64,
    /// Bursts a second, and how long one lasts.
    pub bursts: f64,
    pub burst_seconds: (f64, f64),
    /// A client of each of so many routes fails always, before the rollout as well.
    pub sick_clients: usize,
    pub look: Duration,
    pub stages: Vec<f64>,
    pub bake: Duration,
    pub risk: Risk,
    pub probe_clean: bool,
    /// What is wrong with the candidate.
    pub fault: Fault,
}

/// What is wrong with a candidate.
#[derive(Clone, Copy, Default)]
pub struct Fault {
    /// On so many routes from this one on.
    pub first: usize,
    pub routes: usize,
    /// Fails in addition, of its requests.
    pub failing: f64,
    /// Times as slow; 0 and 1: as fast.
    pub slower: f64,
    /// Fails in addition, of both sides' requests, and from which share of the candidate on.
    pub both: f64,
    pub from_share: f64,
}

impl Fault {
    fn is_on(&self, route: usize) -> bool {
        (self.first..self.first + self.routes).contains(&route)
    }
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            routes: 100,
            rate: 1_000.0,
            zipf: 1.0,
            clients: (10.0, 2_000.0),
            base: 0.05,
            bursts: 0.1,
            burst_seconds: (0.3, 3.0),
            sick_clients: 0,
            look: Duration::from_millis(500),
            stages: vec![0.05, 1.0],
            bake: Duration::from_secs(10),
            risk: Risk::Medium,
            probe_clean: true,
            fault: Fault::default(),
        }
    }
}

/// How one rollout went.
pub struct Course {
    pub end: Option<Step>,
    /// Until the end.
    pub elapsed: Duration,
    /// Since its last stage began.
    pub at_stage: Duration,
    /// The candidate's on the routes with a fault.
    pub faulty_requests: u64,
    /// The largest share that it served.
    pub share: f64,
    /// The last sentence.
    pub told: String,
}

impl Course {
    pub fn reverted(&self) -> bool {
        matches!(self.end, Some(Step::Revert(_)))
    }
}

struct Route {
    name: Arc<str>,
    rate: f64,
    failing: f64,
    /// Times of its answers, in microseconds, to draw from.
    times: Vec<f64>,
    /// Where its clients stand: those below the share are the candidate's.
    clients: Vec<f64>,
    /// The first of them always fails.
    sick: bool,
    /// The part of them that is the candidate's, and the share of which it is.
    part: (f64, f64),
    /// Successes on their way.
    late: [u64; 2],
}

struct Burst {
    from: f64,
    to: f64,
    routes: (usize, usize),
    failing: f64,
}

/// One rollout, to its end or for so long.
pub fn roll(setting: &Setting, seed: u64, longest: Duration) -> Course {
    let mut chance = Chance::new(seed);
    let mut routes = routes(setting, &mut chance);
    let bursts = bursts(setting, longest.as_secs_f64(), &mut chance);
    let mut sample = Sample::default();
    for (at, route) in routes.iter_mut().enumerate() {
        sample.baseline.insert(Arc::clone(&route.name), before(route, at, &bursts, &mut chance));
        sample.routes.insert(Arc::clone(&route.name), Default::default());
        route.late[0] = (route.rate * setting.look.as_secs_f64() * (1.0 - route.failing)) as u64;
    }
    let began = Instant::now();
    let mut rollout = Rollout::begin(scope(setting, &routes), began);
    let mut course = Course {
        end: None,
        elapsed: Duration::ZERO,
        at_stage: Duration::ZERO,
        faulty_requests: 0,
        share: 0.0,
        told: String::new(),
    };
    while course.elapsed < longest {
        course.elapsed += setting.look;
        course.at_stage += setting.look;
        course.share = rollout.share();
        let (at, share) = (course.elapsed.as_secs_f64(), course.share);
        let going_on: Vec<&Burst> = bursts.iter().filter(|it| (it.from..it.to).contains(&at)).collect();
        // Both are in the order of the names.
        for ((number, route), tallies) in routes.iter_mut().enumerate().zip(sample.routes.values_mut()) {
            let covering = going_on.iter().filter(|it| it.covers(number));
            let burst = covering.map(|it| it.failing).fold(0.0, f64::max);
            let faulty = setting.fault.is_on(number);
            let fault = if faulty { setting.fault } else { Fault::default() };
            route.live(
                setting,
                share,
                burst,
                fault,
                [&mut tallies.stable, &mut tallies.candidate],
                &mut chance,
            );
        }
        match rollout.look(began + course.elapsed, &sample) {
            Step::Hold(waiting) => course.told = waiting.to_string(),
            end @ (Step::Good | Step::Revert(_)) => {
                course.told = rollout.view(began + course.elapsed).why;
                course.end = Some(end);
                break;
            }
            Step::Widen { .. } | Step::Activate => course.at_stage = Duration::ZERO,
        }
    }
    let faulty = routes.iter().skip(setting.fault.first).take(setting.fault.routes);
    course.faulty_requests = faulty.map(|route| sample.routes[&route.name].candidate.requests).sum();
    course
}

fn scope(setting: &Setting, routes: &[Route]) -> Scope {
    Scope {
        stages: setting.stages.clone(),
        bake: setting.bake,
        guard: policy::Guard { max_error_increase: 0.01, max_latency_ratio: 2.0, min_requests: 50 },
        risk: setting.risk,
        probe_clean: setting.probe_clean,
        longest_timeout: Duration::from_secs(1),
        routes: routes.iter().map(|route| RouteScope { name: Arc::clone(&route.name), new: false }).collect(),
    }
}

fn routes(setting: &Setting, chance: &mut Chance) -> Vec<Route> {
    let weight = |at: usize| 1.0 / ((at + 1) as f64).powf(setting.zipf);
    let all: f64 = (0..setting.routes).map(weight).sum();
    let logarithmic =
        |(low, high): (f64, f64), chance: &mut Chance| low * (high / low).powf(chance.between((0.0, 1.0)));
    let route = |at: usize, chance: &mut Chance| {
        let clients = logarithmic(setting.clients, chance) as usize;
        let failing = if chance.happens(0.4) { 0.0 } else { chance.between((0.0, setting.base)) };
        let (median_ms, spread) = (logarithmic((3.0, 300.0), chance), chance.between((0.4, 1.2)));
        Route {
            name: format!("route-{at:03}").into(),
            rate: setting.rate * weight(at) / all,
            failing,
            times: (0..TIMES).map(|_| 1e3 * median_ms * (spread * chance.normal()).exp()).collect(),
            clients: (0..clients).map(|_| chance.between((0.0, 1.0))).collect(),
            sick: false,
            part: (0.0, 0.0),
            late: [0, 0],
        }
    };
    let mut routes: Vec<_> = (0..setting.routes).map(|at| route(at, chance)).collect();
    for _ in 0..setting.sick_clients {
        let at = chance.below(setting.routes);
        routes[at].sick = true;
    }
    routes
}

fn bursts(setting: &Setting, longest: f64, chance: &mut Chance) -> Vec<Burst> {
    let count = chance.poisson(setting.bursts * (BEFORE + longest));
    let burst = |chance: &mut Chance| {
        let from = chance.between((-BEFORE, longest));
        let first = chance.below(setting.routes);
        Burst {
            from,
            to: from + chance.between(setting.burst_seconds),
            routes: (first, first + 1 + chance.below(20)),
            failing: chance.between((0.05, 1.0)),
        }
    };
    (0..count).map(|_| burst(chance)).collect()
}

impl Burst {
    fn covers(&self, route: usize) -> bool {
        (self.routes.0..self.routes.1).contains(&route)
    }
}

/// What the five minutes before were.
fn before(route: &Route, number: usize, bursts: &[Burst], chance: &mut Chance) -> Tally {
    let mut tally = Tally::default();
    let requests = chance.poisson(route.rate * BEFORE);
    let mut failed = chance.of(requests, route.failing + route.sickness());
    for burst in bursts.iter().filter(|it| it.covers(number) && it.from < 0.0) {
        let hit = chance.poisson(route.rate * (burst.to.min(0.0) - burst.from));
        failed += chance.of(hit, burst.failing);
    }
    tally.requests = requests;
    tally.failed[Failure::Backend as usize] = failed.min(requests);
    // As good as all of them.
    (0..requests.saturating_sub(failed).min(400)).for_each(|_| answer(route, 1.0, &mut tally, chance));
    tally.requests = requests;
    tally
}

fn answer(route: &Route, slower: f64, tally: &mut Tally, chance: &mut Chance) {
    let micros = route.times[chance.below(TIMES)] * slower;
    tally.succeeded(Duration::from_micros(micros as u64));
}

impl Route {
    /// The part of its requests that fails by the sick client.
    fn sickness(&self) -> f64 {
        if self.sick { 1.0 / self.clients.len() as f64 } else { 0.0 }
    }

    /// The part of a side's requests that fails by it.
    fn sickness_of(&self, is_candidate: bool, share: f64, part: f64) -> f64 {
        let is_there = self.sick && (self.clients[0] < share) == is_candidate;
        if is_there { self.sickness() / part.max(1e-9) } else { 0.0 }
    }

    fn live(
        &mut self,
        setting: &Setting,
        share: f64,
        burst: f64,
        fault: Fault,
        tallies: [&mut Tally; 2],
        chance: &mut Chance,
    ) {
        let all = chance.poisson(self.rate * setting.look.as_secs_f64());
        if self.part.1 < share {
            let below = self.clients.iter().filter(|place| **place < share).count();
            self.part = (below as f64 / self.clients.len() as f64, share);
        }
        let part = self.part.0;
        let candidate = chance.of(all, part);
        for (is_candidate, tally) in [false, true].into_iter().zip(tallies) {
            let (requests, part) =
                if is_candidate { (candidate, part) } else { (all - candidate, 1.0 - part) };
            let both = if share >= fault.from_share { fault.both } else { 0.0 };
            let own = if is_candidate { fault.failing } else { 0.0 };
            let sick = self.sickness_of(is_candidate, share, part);
            let well: f64 =
                [self.failing, burst, both, own, sick].iter().map(|part| 1.0 - part.min(1.0)).product();
            let failed = chance.of(requests, 1.0 - well);
            (0..failed).for_each(|_| tally.failed(Failure::Backend));
            let slower = if is_candidate && fault.slower > 0.0 { fault.slower } else { 1.0 };
            let over = std::mem::replace(&mut self.late[usize::from(is_candidate)], requests - failed);
            (0..over.min(MOST)).for_each(|_| answer(self, slower, tally, chance));
            tally.requests += over.saturating_sub(MOST);
        }
    }
}
