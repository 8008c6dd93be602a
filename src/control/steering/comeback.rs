//! Restarted backends on their way back: who restarted, what each may carry meanwhile, and what is told of it.
//!
//! Looks ten times a second at the signs of every backend and lives through a second at a time for those that are
//! ramped. A ramp belongs to where the backend is, as what was learned of it does, so it goes on over a reload and a
//! restart of the gateway. What it is a percentage of is frozen when it begins.

mod hand;
mod second;
mod told;

use crate::balancing::Backend;
use crate::control::ramp::fleet::{self, Fleet};
use crate::control::ramp::guard::{Course, GuardedRamp, Setback, Usual};
use crate::control::ramp::incarnation::{Cause, Detector, Health, Look, Notice};
use crate::control::ramp::lever::{Levers, Target};
use crate::control::steering::watchman::{Found, Place, Watchman, place};
use crate::routing::table::{Table, Upstream};
use crate::runtime::clock::unix_ms;
use crate::telemetry::events::Comeback;
use crate::upstream::checkup::Checkup;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use told::{incarnation, told};

/// At least; a thread that is late looks less often.
const SECOND: Duration = Duration::from_secs(1);
/// How long a ramp is kept whose backend the active version does not have: its name may not have resolved yet.
const KEPT: Duration = Duration::from_secs(600);

/// Requests in flight and a second, while it had any, below both of which a backend comes back without a ramp.
const QUIET: (f64, f64) = (1.0, 10.0);

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
    /// Backends that refuse, or have just lost all of their connections.
    away: BTreeSet<Place>,
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
    /// Connects that were refused, as of the second before.
    refused: Option<u64>,
    /// Times that it was ejected, as of the second before.
    ejections: Option<u64>,
    /// When the address came to its name that this is the backend of.
    came: Option<Instant>,
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
                came.changed |= self.note_away(upstream, backend);
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
        let look = Look {
            signs: backend.endpoint.vitals.signs(),
            health: health(&backend.endpoint.vitals.checkup),
            // A name whose addresses are not told apart yet.
            several: backend.endpoint.addresses.load().list.len() > 1,
            moved: false,
        };
        let notice = watched.detector.look(now, &look);
        if backend.came.is_none() || std::mem::replace(&mut watched.came, backend.came) == backend.came {
            return notice;
        }
        // The first look at it is what others are held to, also where it is the new address that is news.
        notice.or_else(|| watched.detector.look(now, &Look { moved: true, ..look }))
    }

    /// Notes whether a backend is away; true when that is new.
    fn note_away(&mut self, upstream: &Upstream, backend: &Backend) -> bool {
        let key = place(upstream, backend);
        let away = self.watched.get(&key).is_some_and(|watched| watched.detector.is_away());
        if away { self.away.insert(key) } else { self.away.remove(&key) }
    }

    /// What a backend that is away will begin with when it is back, in percent: until that is noticed it must not get all
    /// that its cap allows.
    pub fn begins_with(&self, upstream: &Upstream, place: &Place) -> Option<f64> {
        let course = course(upstream);
        let begins = self.away.contains(place) && !self.running.contains_key(place) && !is_off(&course);
        course.steps.first().copied().filter(|_| begins)
    }

    /// What binds a backend as far as it is on its way, in percent; on watch all of its reference, and no more.
    pub fn bound(&self, place: &Place) -> f64 {
        self.running.get(place).map_or(100.0, |running| running.ramp.bound())
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
                let ramps = ramps && !is_off(&course) && !self.is_quiet(beside, upstream, backend);
                came.tell(incarnation(&target, cause, ramps || self.running.contains_key(&key)));
                if let Some(running) = self.running.get_mut(&key) {
                    let turn = running.ramp.back_off(&course, Setback::Restarted);
                    came.events.extend(told(&target, turn, &course));
                } else if ramps {
                    let ramp = GuardedRamp::begin(&course, 1.0, self.usual(&key));
                    self.begin(beside, (upstream, backend), cause.as_str(), ramp);
                    self.count_in((upstream, backend), beside.levers, now, came);
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

    /// So little is asked of it that nothing can overwhelm it, and that its guard would see fifty outcomes after
    /// minutes: a quarter of one request at a time would only refuse two of three that come together.
    fn is_quiet(&self, beside: Beside<'_>, upstream: &Upstream, backend: &Backend) -> bool {
        let found = beside.watchman.references(upstream, beside.levers, self);
        let mut all = upstream.cluster.backends.iter().zip(&found);
        let own = all.find(|(it, _)| it.at == backend.at).map(|(_, found)| (found.in_flight, found.rate));
        // A guess is no proof of quiet.
        own.is_some_and(|(in_flight, rate)| in_flight < QUIET.0 && rate.is_some_and(|rate| rate < QUIET.1))
    }

    pub(super) fn begin(
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
    fn count_in(
        &mut self,
        (upstream, backend): (&Upstream, &Backend),
        levers: &Levers,
        now: Instant,
        came: &mut Came,
    ) {
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
            let why = "half of its weight or more restarted within 30 s; low classes stay out below 50 %";
            came.tell(Comeback::new("fleet_ramp", Target::Upstream(upstream.name.clone()), why));
        }
        self.open_low_classes(upstream, levers, came);
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

    /// What no table has any more goes, ramps after a while.
    fn forget(&mut self, table: &Table, elapsed: Duration) {
        let total: usize = table.upstreams.iter().map(|upstream| upstream.cluster.backends.len()).sum();
        let has = |(name, at): &Place| {
            let upstream = table.upstreams.iter().find(|upstream| upstream.name == *name);
            upstream.is_some_and(|it| it.cluster.backends.iter().any(|it| it.at == *at))
        };
        if self.watched.len() > total {
            self.watched.retain(|place, _| has(place));
            self.away.retain(has);
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
}

/// The way that an upstream's configuration gives.
pub fn course(upstream: &Upstream) -> Course<'_> {
    let ramp = &upstream.cluster.settings.ramp;
    Course { steps: &ramp.steps, dwell: ramp.dwell, guarded: ramp.guard }
}

/// What active checks say; nothing before one of them was well, so that whoever starts after the gateway does not look
/// as if it had come back.
fn health(checkup: &Checkup) -> Option<Health> {
    match checkup.down() {
        // A process that hangs accepts connections, for its kernel does; one that ended refuses them.
        Some(down) if down.slow || down.silent => Some(Health::Late),
        Some(_) => Some(Health::Down),
        None => checkup.ever_well().then_some(Health::Up),
    }
}

/// A first step of everything is no ramp.
fn is_off(course: &Course<'_>) -> bool {
    course.steps.first().is_none_or(|step| *step >= 100.0)
}

fn target(upstream: &Upstream, backend: &Arc<str>) -> Target {
    Target::Backend(upstream.name.clone(), backend.clone())
}
