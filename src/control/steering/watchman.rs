//! Looks at what is in flight ten times a second and learns from it: each backend's reference, and how much is
//! asked of each upstream.
//!
//! It reads counters that cores write anyway, and holds nothing that a core waits for.

use crate::balancing::Backend;
use crate::balancing::shares::{Presence, Shares, Standing};
use crate::control::limits::Limits;
use crate::control::ramp::lever::{Levers, Target};
use crate::control::ramp::reference::{Learner, Load, Reference, Second, median};
use crate::control::steering::comeback::Comebacks;
use crate::control::steering::forecast::{Demand, Forecast, Lived, forecast};
use crate::control::steering::ward::Ward;
use crate::reject::Reason;
use crate::request::Class;
use crate::routing::table::{Table, Upstream};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a reference belongs to: an upstream's name, and where the backend is.
pub type Place = (Arc<str>, Arc<str>);

/// At least; a thread that is late looks less often.
const SECOND: Duration = Duration::from_secs(1);
/// References of addresses that the active version does not use are kept up to this many.
const MAX_SPARE: usize = 4_096;
/// A backend without any history is taken to have held this part of its cap.
const UNKNOWN: f64 = 0.25;

/// Everything that is watched.
#[derive(Debug)]
pub struct Watchman {
    /// Who is sick.
    pub ward: Ward,
    learners: HashMap<Place, Learner>,
    looks: HashMap<Place, Looks>,
    demands: HashMap<Arc<str>, Counted>,
    second_began: Option<Instant>,
}

/// One backend in the second that is running.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    sum: u64,
    count: u32,
    full: bool,
    /// Outcomes at the end of the second before.
    ended: Option<(u64, u64)>,
}

/// One upstream's demand, and the counts at the end of the second before.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    demand: Demand,
    sheds: Option<u64>,
    by_ramp: Option<u64>,
}

/// A backend's reference, and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// In flight.
    pub in_flight: f64,
    /// A second, if known.
    pub rate: Option<f64>,
    /// Where it is from.
    pub source: Source,
    /// When it was learned, in seconds since 1970; 0 if it was not.
    pub learned_at: i64,
}

/// Where a reference is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An operator said so.
    Operator,
    /// Whole windows of well time.
    Learned,
    /// The largest second of the first minutes.
    FirstSeconds,
    /// The median of the peers.
    Peers,
    /// A quarter of the cap.
    Cap,
}

impl Source {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Operator => "operator",
            Source::Learned => "learned",
            Source::FirstSeconds => "first_seconds",
            Source::Peers => "peers",
            Source::Cap => "cap",
        }
    }
}

impl Watchman {
    /// Knows what was learned before.
    pub fn new(learners: HashMap<Place, Learner>) -> Self {
        Watchman {
            ward: Ward::default(),
            learners,
            looks: HashMap::new(),
            demands: HashMap::new(),
            second_began: None,
        }
    }

    /// What was learned, to be kept.
    pub fn learners(&self) -> &HashMap<Place, Learner> {
        &self.learners
    }

    /// Looks once; `unix` is the second since 1970.
    pub fn look(&mut self, table: &Table, (levers, limits): (&Levers, &Limits), now: Instant, unix: i64) {
        for upstream in &table.upstreams {
            for backend in &upstream.cluster.backends {
                let in_flight = backend.in_flight.get();
                let looks = self.looks.entry(place(upstream, backend)).or_default();
                looks.sum += u64::from(in_flight);
                looks.count += 1;
                looks.full |= in_flight >= backend.cap;
            }
        }
        let began = *self.second_began.get_or_insert(now);
        if now.saturating_duration_since(began) >= SECOND {
            self.second_began = Some(now);
            let seconds = now.saturating_duration_since(began).as_secs_f64();
            self.end_second(table, (levers, limits), seconds, unix);
        }
    }

    fn end_second(&mut self, table: &Table, (levers, limits): (&Levers, &Limits), seconds: f64, unix: i64) {
        for upstream in &table.upstreams {
            let sheds = upstream.metrics.all_sheds();
            let counted = self.demands.entry(upstream.name.clone()).or_default();
            let shed = since(&mut counted.sheds, sheds);
            let by_ramp = since(&mut counted.by_ramp, ramp_sheds(upstream));
            let shares = upstream.cluster.shares.load();
            let bound = shares.are_bound() || limits.refuses(upstream);
            let (mut in_flight, mut ended) = (0.0, 0);
            for backend in &upstream.cluster.backends {
                let Some(looks) = self.looks.get_mut(&place(upstream, backend)) else { continue };
                let mut second = looks.end(backend);
                second.unbound &= !bound && shed == 0 && backend.is_present();
                in_flight += second.in_flight;
                ended += second.requests;
                // A second may be late: rates are per second, whatever the clock did.
                second.requests = (second.requests as f64 / seconds).round() as u64;
                second.failures = (second.failures as f64 / seconds).round() as u64;
                self.learners.entry(place(upstream, backend)).or_default().live(second, unix);
            }
            let rate = |count: u64| count as f64 / seconds;
            let lived = Lived { in_flight, ended: rate(ended), shed: rate(shed), by_ramp: rate(by_ramp) };
            counted.demand.live(lived, &shares);
        }
        self.forget(table, levers);
    }

    /// What no table uses any more goes, the references when there are too many of them.
    fn forget(&mut self, table: &Table, levers: &Levers) {
        let total: usize = table.upstreams.iter().map(|upstream| upstream.cluster.backends.len()).sum();
        if self.looks.len() > total {
            self.looks.retain(|(name, at), _| {
                let upstream = table.upstreams.iter().find(|upstream| upstream.name == *name);
                upstream.is_some_and(|it| it.cluster.backends.iter().any(|it| it.at == *at))
            });
            self.demands.retain(|name, _| table.upstreams.iter().any(|upstream| upstream.name == *name));
        }
        if self.learners.len() > total + MAX_SPARE {
            self.forget_references(table, levers);
        }
    }

    /// The older half of the references that the active version does not use goes; those of a ramped upstream
    /// last, for its ramp may be of them. (But go they do: a ramp may be left for months while addresses change.)
    fn forget_references(&mut self, table: &Table, levers: &Levers) {
        let of = |upstream: &Upstream| -> Vec<Place> {
            upstream.cluster.backends.iter().map(|backend| place(upstream, backend)).collect()
        };
        let used: HashSet<Place> = table.upstreams.iter().flat_map(of).collect();
        let ramped: HashSet<&Arc<str>> = levers.ramps().map(|(target, _)| target.upstream()).collect();
        let spare = self.learners.iter().filter(|(key, _)| !used.contains(*key));
        let mut spare: Vec<_> = spare
            .map(|(key, learner)| (ramped.contains(&key.0), learner.learned_at(), key.clone()))
            .collect();
        spare.sort_unstable();
        // To a half, so that this is not done again every second.
        let many = spare.len().saturating_sub(MAX_SPARE / 2);
        spare.drain(..many).for_each(|(_, _, key)| drop(self.learners.remove(&key)));
    }

    /// The shares of an upstream's backends under `levers`, and under what brings them back by itself.
    pub fn shares(&self, upstream: &Upstream, levers: &Levers, comebacks: &Comebacks) -> Shares {
        let found = self.references(upstream, levers, comebacks);
        let present = self.ward.presences(upstream);
        let standing = |((backend, found), presence): ((&Backend, &Found), &Presence)| Standing {
            percent: effective(upstream, backend, levers, comebacks)
                .min(comebacks.bound(&place(upstream, backend))),
            reference: found.in_flight,
            settled: matches!(found.source, Source::Operator | Source::Learned),
            rate: found.rate,
            cap: backend.cap,
            weight: backend.settings.weight.get(),
            presence: *presence,
            away: comebacks.begins_with(upstream, &place(upstream, backend)),
        };
        let backends = upstream.cluster.backends.iter().zip(&found).zip(&present);
        let standings: Vec<_> = backends.map(standing).collect();
        let next = [levers.eases_at(&upstream.name), comebacks.eases_at(upstream, Instant::now())];
        let shares = Shares::of(&standings, next.into_iter().flatten().min());
        Shares { low_classes_out: comebacks.closes_low_classes(&upstream.name), ..shares }
    }

    /// What each backend of an upstream holds when it is well, in their order, from the best source there is.
    /// Together, because each may need to know all: one at a time, a thousand backends would take a million looks.
    /// What a backend on its way back is a percentage of stays as it was when it began.
    pub fn references(&self, upstream: &Upstream, levers: &Levers, comebacks: &Comebacks) -> Vec<Found> {
        let backends = &upstream.cluster.backends;
        let learned: Vec<_> = backends.iter().map(|backend| self.learned(upstream, backend)).collect();
        let peers = median(learned.iter().flatten().map(|reference| reference.load));
        let weight = backends.iter().map(weight).sum();
        let found = |(backend, learned): (&Backend, &Option<Reference>)| {
            let ordered = ordered(upstream, backend, weight, levers);
            let frozen = comebacks.of(&place(upstream, backend)).map(|running| running.reference);
            match frozen.filter(|_| ordered.is_none()) {
                Some(frozen) => frozen,
                None => found(backend, ordered, learned.as_ref(), peers),
            }
        };
        backends.iter().zip(&learned).map(found).collect()
    }

    fn learned(&self, upstream: &Upstream, backend: &Backend) -> Option<Reference> {
        self.learners.get(&place(upstream, backend))?.reference()
    }

    /// What an upstream would shed under `levers`, under what brings its backends back, and under a limit that acts.
    pub fn forecast(
        &self,
        upstream: &Upstream,
        (levers, comebacks): (&Levers, &Comebacks),
        limit: Option<u32>,
    ) -> Forecast {
        let demand = self.demands.get(&upstream.name).map(|counted| counted.demand).unwrap_or_default();
        forecast(&demand, &self.shares(upstream, levers, comebacks), limit)
    }
}

impl Looks {
    fn end(&mut self, backend: &Backend) -> Second {
        let (ok, failed) = (backend.metrics.outcomes(true), backend.metrics.outcomes(false));
        let (ok_before, failed_before) = self.ended.replace((ok, failed)).unwrap_or((ok, failed));
        let failures = failed.saturating_sub(failed_before);
        let second = Second {
            in_flight: self.sum as f64 / f64::from(self.count.max(1)),
            requests: ok.saturating_sub(ok_before) + failures,
            failures,
            unbound: !self.full,
        };
        (self.sum, self.count, self.full) = (0, 0, false);
        second
    }
}

/// How much a count grew since it was last asked.
fn since(last: &mut Option<u64>, count: u64) -> u64 {
    count.saturating_sub(last.replace(count).unwrap_or(count))
}

fn ramp_sheds(upstream: &Upstream) -> u64 {
    Class::ALL.into_iter().map(|class| upstream.metrics.sheds(class, Reason::Ramp)).sum()
}

/// The best of what was ordered, learned, and learned of the peers.
fn found(backend: &Backend, ordered: Option<f64>, learned: Option<&Reference>, peers: Option<Load>) -> Found {
    match (ordered, learned, peers) {
        // Nobody said how many a second that is, so only what is in flight binds.
        (Some(in_flight), ..) => Found { in_flight, rate: None, source: Source::Operator, learned_at: 0 },
        (None, Some(reference), _) => {
            let source = if reference.settled { Source::Learned } else { Source::FirstSeconds };
            let Load { in_flight, rate } = reference.load;
            Found { in_flight, rate: Some(rate), source, learned_at: reference.learned_at }
        }
        (None, None, Some(Load { in_flight, rate })) => {
            Found { in_flight, rate: Some(rate), source: Source::Peers, learned_at: 0 }
        }
        (None, None, None) => {
            let in_flight = f64::from(backend.cap) * UNKNOWN;
            Found { in_flight, rate: None, source: Source::Cap, learned_at: 0 }
        }
    }
}

/// A reference that an operator gave; of an upstream's, the backend's part by weight.
fn ordered(upstream: &Upstream, backend: &Backend, all: f64, levers: &Levers) -> Option<f64> {
    let own = Target::Backend(upstream.name.clone(), backend.settings.name.clone());
    if let Some(reference) = levers.get(&own).and_then(|lever| lever.reference) {
        // Of a name: all its addresses together.
        let same = upstream.cluster.backends.iter().filter(|it| it.settings.name == backend.settings.name);
        return Some(reference * weight(backend) / same.map(weight).sum::<f64>());
    }
    let whole = levers.get(&Target::Upstream(upstream.name.clone()))?.reference?;
    Some(whole * weight(backend) / all)
}

fn weight(backend: &Backend) -> f64 {
    f64::from(backend.settings.weight.get())
}

/// What a backend may carry in percent: the least of the operators' and what brings it back by itself.
pub fn effective(upstream: &Upstream, backend: &Backend, levers: &Levers, comebacks: &Comebacks) -> f64 {
    let own = levers.effective(&upstream.name, &backend.settings.name);
    own.min(comebacks.percent(&place(upstream, backend)))
}

/// Where a backend of an upstream is.
pub fn place(upstream: &Upstream, backend: &Backend) -> Place {
    (upstream.name.clone(), backend.at.clone())
}
