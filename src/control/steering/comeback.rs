//! Restarted backends on their way back: who restarted, what each may carry meanwhile, and what is told of it.
//!
//! Looks ten times a second at the signs of every backend and lives through a second at a time for those that are
//! ramped. A ramp belongs to where the backend is, as what was learned of it does, so it goes on over a reload and a
//! restart of the gateway. What it is a percentage of is frozen when it begins.

use crate::balancing::Backend;
use crate::control::ramp::addresses::Addresses;
use crate::control::ramp::fleet::{self, Fleet};
use crate::control::ramp::guard::judge::{Second, Sight};
use crate::control::ramp::guard::{Course, GuardedRamp, Setback, Turn, Usual};
use crate::control::ramp::incarnation::{Cause, Detector, Look, Notice};
use crate::control::ramp::lever::{Levers, Step, Target};
use crate::control::steering::unix_ms;
use crate::control::steering::watchman::{Found, Place, Watchman, effective, place};
use crate::routing::table::{Table, Upstream};
use crate::telemetry::events::Comeback;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At least; a thread that is late looks less often.
const SECOND: Duration = Duration::from_secs(1);
/// How long a ramp is kept whose backend the active version does not have: its name may not have resolved yet.
const KEPT: Duration = Duration::from_secs(600);
/// Of a new second against those before: what is usual is known after minutes, so that a bad one is not.
const NEWS: f64 = 1.0 / 300.0;
/// The word for a ramp that an operator's ends in.
const OPERATOR: &str = "operator";

/// All automatic ramps, and what notices that there must be one.
#[derive(Debug, Default)]
pub struct Comebacks {
    running: BTreeMap<Place, Running>,
    watched: HashMap<Place, Watched>,
    fleets: HashMap<Arc<str>, Fleet>,
    /// Upstreams all of which came back at once, as long as one of their backends is on its way.
    whole: BTreeSet<Arc<str>>,
    /// Upstreams whose low classes stay out.
    closed: BTreeSet<Arc<str>>,
    second_began: Option<Instant>,
}

/// One ramp.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// The backend's name, as the active version has it.
    pub name: String,
    /// Where it stands.
    pub ramp: GuardedRamp,
    /// What began it, in one word.
    pub cause: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// What its percentage is of, as it was when it began.
    pub reference: Found,
    /// It came back with its whole fleet.
    pub fleet: bool,
    /// For how long the active version has not had it.
    #[serde(skip)]
    unseen: Duration,
}

impl Running {
    /// What was read from a file, as far as it makes sense.
    pub fn read(self) -> Option<Self> {
        let reference = self.reference.in_flight;
        let sound = reference.is_finite() && reference > 0.0;
        let ramp = self.ramp.clone().read().filter(|_| sound)?;
        Some(Running { ramp, ..self })
    }
}

/// One backend that is watched.
#[derive(Debug, Default)]
struct Watched {
    detector: Detector,
    addresses: Addresses,
    /// Outcomes at the end of the second before: well, failed, nanoseconds.
    ended: Option<[u64; 3]>,
    usual: Usual,
}

/// What came of a look: what is to be told, and whether what backends may carry has changed.
#[derive(Debug, Default)]
pub struct Came {
    /// In order.
    pub events: Vec<Comeback>,
    /// Something is to be put into the tables.
    pub changed: bool,
}

impl Came {
    fn tell(&mut self, event: Comeback) {
        self.events.push(event);
        self.changed = true;
    }
}

/// What is known beside it.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The active table.
    pub table: &'a Table,
    /// The operators' levers.
    pub levers: &'a Levers,
    /// What was learned.
    pub watchman: &'a Watchman,
}

impl Comebacks {
    /// Goes on with what an earlier process had begun.
    pub fn new(running: BTreeMap<Place, Running>) -> Self {
        let whole = running.iter().filter(|(_, it)| it.fleet).map(|((upstream, _), _)| upstream.clone());
        Comebacks { whole: whole.collect(), running, ..Comebacks::default() }
    }

    /// What runs, to be kept.
    pub fn running(&self) -> &BTreeMap<Place, Running> {
        &self.running
    }

    /// The ramp of a backend.
    pub fn of(&self, place: &Place) -> Option<&Running> {
        self.running.get(place)
    }

    /// What a backend may carry as far as it is on its way; 100 if it is not.
    pub fn percent(&self, place: &Place) -> f64 {
        self.running.get(place).map_or(100.0, |running| running.ramp.percent())
    }

    /// The low classes of an upstream stay out.
    pub fn closes_low_classes(&self, upstream: &str) -> bool {
        self.closed.contains(upstream)
    }

    /// When something of an upstream takes its next step, at the earliest.
    pub fn eases_at(&self, upstream: &Upstream, now: Instant) -> Option<Instant> {
        let course = course(upstream);
        let own = upstream.cluster.backends.iter().filter_map(|it| self.running.get(&place(upstream, it)));
        let moving = own.filter(|it| !it.ramp.is_paused() && it.ramp.percent() < 100.0);
        moving.map(|it| now + it.ramp.next(&course).1).min()
    }

    /// Backends of the table whose address several servers share, as far as boot ids tell.
    pub fn shared(&self, table: &Table) -> Vec<Target> {
        let shared = |place: &Place| self.watched.get(place).is_some_and(|it| it.detector.is_shared());
        let all = table.upstreams.iter().flat_map(|it| it.cluster.backends.iter().map(move |b| (it, b)));
        all.filter(|(it, backend)| shared(&place(it, backend)))
            .map(|(it, backend)| target(it, &backend.settings.name))
            .collect()
    }

    /// Looks once; ten times a second.
    pub fn look(&mut self, beside: Beside<'_>, now: Instant) -> Came {
        let mut came = Came::default();
        for upstream in &beside.table.upstreams {
            for backend in &upstream.cluster.backends {
                if let Some(notice) = self.notice(upstream, backend, now) {
                    self.take_in(beside, (upstream, backend), notice, now, &mut came);
                }
            }
        }
        let began = *self.second_began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= SECOND {
            self.second_began = Some(now);
            for upstream in &beside.table.upstreams {
                self.live(upstream, beside.levers, elapsed, &mut came);
            }
            self.forget(beside.table, elapsed);
        }
        came
    }

    fn notice(&mut self, upstream: &Upstream, backend: &Backend, now: Instant) -> Option<Notice> {
        let watched = self.watched.entry(place(upstream, backend)).or_default();
        let whereabouts = watched.addresses.look(now, &backend.endpoint.addresses.load().list);
        let look = Look {
            signs: backend.endpoint.vitals.signs(),
            health: None,
            several: whereabouts.several,
            moved: whereabouts.new,
        };
        watched.detector.look(now, &look)
    }

    fn take_in(
        &mut self,
        beside: Beside<'_>,
        (upstream, backend): (&Upstream, &Backend),
        notice: Notice,
        now: Instant,
        came: &mut Came,
    ) {
        let target = target(upstream, &backend.settings.name);
        let key = place(upstream, backend);
        match notice {
            Notice::Restarted { cause, ramps } => {
                backend.metrics.incarnations.add(1);
                // How fast the process before it answered, or how it failed, says nothing of this one.
                backend.latency.forget();
                let course = course(upstream);
                let ramps = ramps && !is_off(&course);
                came.tell(incarnation(&target, cause, ramps || self.running.contains_key(&key)));
                if let Some(running) = self.running.get_mut(&key) {
                    let turn = running.ramp.back_off(&course, Setback::Restarted);
                    came.events.extend(told(&target, turn, &course));
                } else if ramps {
                    let ramp = GuardedRamp::begin(&course, 1.0, self.usual(&key));
                    self.begin(beside, (upstream, backend), cause.as_str(), ramp);
                    self.count_in(upstream, backend, now, came);
                }
            }
            Notice::Withdrawn => {
                self.end_if(&key, Cause::Refused);
                let why = "it was no restart: its boot id is the same";
                came.tell(Comeback::new("withdrawn", &target, why));
            }
            Notice::Shared => {
                self.end_if(&key, Cause::BootId);
                let why = "boot ids take turns there, so several servers share its address; they are ignored";
                came.tell(Comeback::new("shared", &target, why));
            }
        }
    }

    fn begin(
        &mut self,
        beside: Beside<'_>,
        (upstream, backend): (&Upstream, &Backend),
        cause: &str,
        ramp: GuardedRamp,
    ) {
        let found = beside.watchman.references(upstream, beside.levers, self);
        let own = |(it, _): &(&Backend, &Found)| it.at == backend.at;
        let Some((_, reference)) = upstream.cluster.backends.iter().zip(&found).find(own) else { return };
        let running = Running {
            name: backend.settings.name.to_string(),
            ramp,
            cause: cause.to_owned(),
            since_ms: unix_ms(),
            reference: *reference,
            fleet: false,
            unseen: Duration::ZERO,
        };
        self.running.insert(place(upstream, backend), running);
    }

    /// A ramp began; it may be the one that makes it the whole fleet.
    fn count_in(&mut self, upstream: &Upstream, backend: &Backend, now: Instant, came: &mut Came) {
        let weight = |backend: &Backend| backend.settings.weight.get();
        let all = upstream.cluster.backends.iter().map(weight).map(u64::from).sum();
        let fleet = self.fleets.entry(upstream.name.clone()).or_default();
        let is_whole = fleet.restarted(now, &backend.at, weight(backend), all);
        if !is_whole && !self.whole.contains(&upstream.name) {
            return;
        }
        let own = self.running.iter_mut().filter(|((name, _), _)| *name == upstream.name);
        for ((_, at), running) in own {
            running.fleet = true;
            running.ramp.keep_pace(fleet::pace(at));
        }
        if self.whole.insert(upstream.name.clone()) {
            self.closed.insert(upstream.name.clone());
            let why = "half of its weight or more restarted within 30 s; low classes stay out below 50 %";
            came.tell(Comeback::new("fleet_ramp", &Target::Upstream(upstream.name.clone()), why));
        }
    }

    /// An operator's ramp went up a step; where there are guarded steps on that way, it takes them. True if so.
    pub fn take_over(&mut self, beside: Beside<'_>, step: &Step) -> bool {
        let named = |it: &&Upstream| it.name == *step.target.upstream();
        let Some(upstream) = beside.table.upstreams.iter().find(named) else { return false };
        let course = course(upstream);
        let ramp = GuardedRamp::after(&course, step.from, 1.0, Usual::default());
        if !course.guarded || ramp.percent() >= step.to {
            return false;
        }
        for backend in &upstream.cluster.backends {
            let key = place(upstream, backend);
            let meant = step.target.backend().is_none_or(|name| *name == backend.settings.name);
            if meant && !self.running.contains_key(&key) {
                let ramp = GuardedRamp::after(&course, step.from, 1.0, self.usual(&key));
                self.begin(beside, (upstream, backend), OPERATOR, ramp);
            }
        }
        true
    }

    fn usual(&self, place: &Place) -> Usual {
        self.watched.get(place).map(|watched| watched.usual).unwrap_or_default()
    }

    fn end_if(&mut self, place: &Place, cause: Cause) {
        if self.running.get(place).is_some_and(|running| running.cause == cause.as_str()) {
            self.running.remove(place);
            self.tidy(&place.0);
        }
        if let Some(fleet) = self.fleets.get_mut(&place.0) {
            fleet.withdrawn(&place.1);
        }
    }

    /// The last of a fleet is back.
    fn tidy(&mut self, upstream: &Arc<str>) {
        if !self.running.keys().any(|(name, _)| name == upstream) {
            self.whole.remove(upstream);
            self.closed.remove(upstream);
        }
    }

    /// One second of an upstream.
    fn live(&mut self, upstream: &Upstream, levers: &Levers, elapsed: Duration, came: &mut Came) {
        let shares = upstream.cluster.shares.load();
        let course = course(upstream);
        let bar = upstream.gate.adaptive.objective.max(upstream.gate.adaptive.ceiling / 2);
        let seconds: Vec<_> =
            upstream.cluster.backends.iter().map(|it| (it, self.second(upstream, it))).collect();
        let open = |index: usize| shares.of.get(index).is_some_and(|share| !share.out && share.cap > 0);
        let percents: Vec<f64> =
            seconds.iter().map(|(it, _)| effective(upstream, it, levers, self)).collect();
        let mut peers = Second::default();
        for (index, (backend, second)) in seconds.iter().enumerate() {
            if percents[index] >= 100.0 && open(index) && backend.is_present() {
                peers += *second;
            }
        }
        for (index, (backend, own)) in seconds.iter().enumerate() {
            let key = place(upstream, backend);
            let present = open(index) && backend.is_present();
            let Some(running) = self.running.get_mut(&key) else { continue };
            running.unseen = Duration::ZERO;
            if *running.name != *backend.settings.name {
                running.name = backend.settings.name.to_string();
            }
            // Whoever is on watch is warm, and no peer of its own.
            let own_part = if percents[index] >= 100.0 { *own } else { Second::default() };
            let sight = Sight { own: *own, peers: peers.without(&own_part), bar, present };
            if let Some(turn) = running.ramp.live(&course, elapsed, &sight) {
                let target = target(upstream, &backend.settings.name);
                came.changed = true;
                came.events.extend(told(&target, turn, &course));
                if turn == Turn::Done {
                    self.running.remove(&key);
                    self.tidy(&upstream.name);
                }
            }
        }
        self.open_low_classes(upstream, &percents, came);
    }

    /// Low classes of a fleet that came back stay out below half; not where nobody else asks for anything, or
    /// nothing would ever succeed.
    fn open_low_classes(&mut self, upstream: &Upstream, percents: &[f64], came: &mut Came) {
        let weights = upstream.cluster.backends.iter().map(|it| f64::from(it.settings.weight.get()));
        let (sum, all) = weights
            .zip(percents)
            .fold((0.0, 0.0), |(sum, all), (weight, percent)| (sum + weight * percent, all + weight));
        let course = course(upstream);
        let mut own = self.running.iter().filter(|((name, _), _)| *name == upstream.name);
        let closed = self.whole.contains(&upstream.name)
            && sum < fleet::LOW_CLASSES_FROM * all
            && !own.all(|(_, running)| running.ramp.is_idle(&course));
        came.changed |= closed != self.closed.contains(&upstream.name);
        if closed {
            self.closed.insert(upstream.name.clone());
        } else {
            self.closed.remove(&upstream.name);
        }
    }

    /// The second of a backend that has just ended; what is usual of it is learned while it is not ramped.
    fn second(&mut self, upstream: &Upstream, backend: &Backend) -> Second {
        let key = place(upstream, backend);
        let is_ramped = self.running.contains_key(&key);
        let watched = self.watched.entry(key).or_default();
        let now = backend.endpoint.vitals.outcomes();
        let before = watched.ended.replace(now).unwrap_or(now);
        let [well, failed, latency_ns] =
            [0, 1, 2].map(|index: usize| now[index].saturating_sub(before[index]));
        let second = Second { well, failed, latency_ns, in_flight: u64::from(backend.in_flight.get()) };
        if watched.detector.is_away() {
            // Failures count as slow answers, and its peers would be preferred for a minute. Somebody has to find out
            // whether it is back; who is refused goes elsewhere.
            backend.latency.forget();
        }
        if !is_ramped {
            learn(&mut watched.usual, &second);
        }
        second
    }

    /// What no table has any more goes, ramps after a while.
    fn forget(&mut self, table: &Table, elapsed: Duration) {
        let total: usize = table.upstreams.iter().map(|upstream| upstream.cluster.backends.len()).sum();
        let has = |(name, at): &Place| {
            let upstream = table.upstreams.iter().find(|upstream| upstream.name == *name);
            upstream.is_some_and(|it| it.cluster.backends.iter().any(|it| it.at == *at))
        };
        if self.watched.len() > total {
            self.watched.retain(|place, _| has(place));
            self.fleets.retain(|name, _| table.upstreams.iter().any(|upstream| upstream.name == *name));
        }
        for (_, running) in self.running.iter_mut().filter(|(place, _)| !has(place)) {
            running.unseen = running.unseen.saturating_add(elapsed);
        }
        self.running.retain(|_, running| running.unseen < KEPT);
        let gone: Vec<_> = self.whole.iter().filter(|name| !self.is_on_its_way(name)).cloned().collect();
        gone.iter().for_each(|upstream| self.tidy(upstream));
    }

    fn is_on_its_way(&self, upstream: &Arc<str>) -> bool {
        self.running.keys().any(|(name, _)| name == upstream)
    }

    /// What runs at an upstream, or at one backend of it, by name.
    pub fn at(&self, target: &Target) -> impl Iterator<Item = (&Place, &Running)> {
        self.running.iter().filter(move |(place, running)| is_meant(target, place, running))
    }

    /// Stops the clocks of what runs there, or lets them go on. False when none changed.
    pub fn pause(&mut self, target: &Target, pause: bool) -> bool {
        let meant = self.running.iter_mut().filter(|(place, running)| is_meant(target, place, running));
        let moved = meant.map(|(_, it)| if pause { it.ramp.pause() } else { it.ramp.resume() });
        moved.fold(false, |any, moved| any | moved)
    }

    /// Ends what runs there. False when nothing did.
    pub fn clear(&mut self, target: &Target) -> bool {
        let before = self.running.len();
        self.running.retain(|place, running| !is_meant(target, place, running));
        self.tidy(target.upstream());
        self.running.len() < before
    }
}

fn is_meant(target: &Target, (upstream, _): &Place, running: &Running) -> bool {
    target.upstream() == upstream && target.backend().is_none_or(|name| **name == *running.name)
}

/// The way that an upstream's configuration gives.
pub fn course(upstream: &Upstream) -> Course<'_> {
    let ramp = &upstream.cluster.settings.ramp;
    Course { steps: &ramp.steps, dwell: ramp.dwell, guarded: ramp.guard }
}

/// A first step of everything is no ramp.
fn is_off(course: &Course<'_>) -> bool {
    course.steps.first().is_none_or(|step| *step >= 100.0)
}

fn target(upstream: &Upstream, backend: &Arc<str>) -> Target {
    Target::Backend(upstream.name.clone(), backend.clone())
}

fn learn(usual: &mut Usual, second: &Second) {
    let outcomes = second.well.saturating_add(second.failed);
    if outcomes == 0 {
        return;
    }
    let mix = |old: f64, new: f64| old + NEWS * (new - old);
    usual.failing = mix(usual.failing, second.failed as f64 / outcomes as f64);
    let latency = second.latency_ns as f64 / second.well.max(1) as f64;
    usual.latency_ns = mix(usual.latency_ns as f64, latency).round() as u64;
}

fn incarnation(target: &Target, cause: Cause, ramps: bool) -> Comeback {
    let event = Comeback::new("incarnation", target, cause.told()).because(cause.as_str());
    if ramps { event } else { event.and("it is not ramped for that") }
}

/// A turn as it is told.
fn told(target: &Target, turn: Turn, course: &Course<'_>) -> Vec<Comeback> {
    match turn {
        Turn::Step { from, to } => {
            let why = format!("from {from} %, after it was well for a dwell");
            vec![Comeback::new("step", target, why).at(to)]
        }
        Turn::Held(hold) => vec![Comeback::new("hold", target, hold).because(hold.as_str())],
        Turn::BackOff { from, to, why, times, alert } => {
            let back = Comeback::new("back_off", target, format!("from {from} %: {why}")).at(to);
            let alerted = alert.then(|| {
                let why = format!(
                    "it went back {times} times, so the next step is tried only after {} s that are well; \
                     `ramp clear` ends the ramp",
                    course.dwell.as_secs().max(60)
                );
                Comeback::new("alert", target, why).at(to)
            });
            [back].into_iter().chain(alerted).collect()
        }
        Turn::Done => vec![Comeback::new("done", target, "it was well at everything for a dwell").at(100.0)],
    }
}
