//! Who is sick: looks at what cores count and checks find, ten times a second, and says how each backend of each
//! upstream takes part (`balancing::presence` decides).
//!
//! What is known of a backend belongs to its identity, so it survives every version that has the same one, whatever
//! its name; a new identity begins well. It ends with the process.

use crate::balancing::outlier::{Outlier, Stay};
use crate::balancing::presence::{Change, Fact, Member, judge, presences};
use crate::balancing::shares::Presence;
use crate::balancing::{Backend, Cluster};
use crate::routing::table::{Table, Upstream};
use crate::routing::trial::Tables;
use crate::telemetry::events::{BackendJudged, ChecksDoubted};
use crate::upstream::Endpoint;
use crate::upstream::checkup::Down;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Every upstream's backends.
#[derive(Debug, Default)]
pub struct Ward {
    rooms: HashMap<Arc<str>, Room>,
    /// Those of a candidate's upstreams that reach what the stable version does not.
    guests: HashMap<Arc<str>, Room>,
    /// The tables that the rooms were last arranged for.
    arranged: (Weak<Table>, Option<Weak<Table>>),
}

/// One upstream's.
#[derive(Debug, Default)]
struct Room {
    /// Its checks take all for dead.
    doubted: bool,
    patients: Vec<Patient>,
}

#[derive(Debug)]
struct Patient {
    endpoint: Weak<Endpoint>,
    outlier: Outlier,
    /// As it was last told.
    down: Option<Down>,
    /// Since when it has not been in.
    out_since: Option<Instant>,
    presence: Presence,
    /// It lies in a room of the stable version too, which tells of it.
    silent: bool,
}

impl Patient {
    fn new(backend: &Backend, now: Instant) -> Self {
        let outlier = Outlier::new(now, &backend.endpoint.vitals.signs());
        let endpoint = Arc::downgrade(&backend.endpoint);
        Patient { endpoint, outlier, down: None, out_since: None, presence: Presence::In, silent: false }
    }

    fn is(&self, backend: &Backend) -> bool {
        Weak::as_ptr(&self.endpoint) == Arc::as_ptr(&backend.endpoint)
    }
}

impl Ward {
    /// Looks at the backends of what serves; true when the presence of one changed.
    pub fn look(&mut self, tables: &Tables, now: Instant) -> bool {
        let same = Weak::as_ptr(&self.arranged.0) == Arc::as_ptr(&tables.stable)
            && self.arranged.1.as_ref().map(Weak::as_ptr) == tables.candidate().map(Arc::as_ptr);
        if !same {
            self.arrange(tables, now);
        }
        let mut changed = false;
        let all = |table: &Table, rooms: &mut HashMap<Arc<str>, Room>| {
            for upstream in &table.upstreams {
                if let Some(room) = rooms.get_mut(&upstream.name) {
                    changed |= room.look(upstream, now);
                }
            }
        };
        let mut all = all;
        all(&tables.stable, &mut self.rooms);
        tables.candidate().into_iter().for_each(|table| all(table, &mut self.guests));
        changed
    }

    /// Beds for the backends of the tables, in their order; whoever was here before is the same, also when its version
    /// has become the stable one.
    fn arrange(&mut self, tables: &Tables, now: Instant) {
        let mut before = std::mem::take(&mut self.rooms);
        let mut guests = std::mem::take(&mut self.guests);
        for upstream in &tables.stable.upstreams {
            let mut room = before.remove(&upstream.name).unwrap_or_default();
            room.arrange(guests.get_mut(&upstream.name), upstream, now);
            self.rooms.insert(upstream.name.clone(), room);
        }
        for upstream in tables.candidate().into_iter().flat_map(|table| &table.upstreams) {
            let stable = self.rooms.get(&upstream.name);
            let known = |backend: &Backend| stable.is_some_and(|room| room.find(0, backend).is_some());
            if upstream.cluster.backends.iter().all(known) {
                continue;
            }
            let mut room = guests.remove(&upstream.name).unwrap_or_default();
            room.arrange(None, upstream, now);
            let both = room.patients.iter_mut().zip(&upstream.cluster.backends);
            both.for_each(|(patient, backend)| patient.silent = known(backend));
            self.guests.insert(upstream.name.clone(), room);
        }
        self.arranged = (Arc::downgrade(&tables.stable), tables.candidate().map(Arc::downgrade));
    }

    /// How each backend of an upstream takes part, of whatever table: what both versions reach is the stable one's to
    /// judge, what only the candidate reaches is in or out for the candidate only.
    pub fn presences(&self, upstream: &Upstream) -> Vec<Presence> {
        let presence = |(index, backend)| Some(self.patient(upstream, index, backend)?.presence);
        let backends = upstream.cluster.backends.iter().enumerate();
        backends.map(|backend| presence(backend).unwrap_or_default()).collect()
    }

    fn patient(&self, upstream: &Upstream, index: usize, backend: &Backend) -> Option<&Patient> {
        let own = self.rooms.get(&upstream.name).and_then(|room| room.find(index, backend));
        own.or_else(|| self.guests.get(&upstream.name)?.find(index, backend))
    }

    /// Why the backend of this index is not simply ready, in words.
    pub fn state_of(&self, upstream: &Upstream, index: usize, now: Instant) -> Option<String> {
        self.patient(upstream, index, upstream.cluster.backends.get(index)?)?.state(now)
    }
}

impl Room {
    /// A bed for each backend, in their order. Whoever was here before is known by where it is, and so is whoever lay in
    /// a room beside it.
    fn arrange(&mut self, mut beside: Option<&mut Room>, upstream: &Upstream, now: Instant) {
        let own = self.patients.drain(..);
        let mut known: HashMap<_, _> =
            own.map(|patient| (Weak::as_ptr(&patient.endpoint), patient)).collect();
        let patient = |backend: &Backend| {
            let own = known.remove(&Arc::as_ptr(&backend.endpoint));
            let found = own.or_else(|| beside.as_mut()?.take(backend));
            Patient { silent: false, ..found.unwrap_or_else(|| Patient::new(backend, now)) }
        };
        self.patients = upstream.cluster.backends.iter().map(patient).collect();
    }

    fn take(&mut self, backend: &Backend) -> Option<Patient> {
        let place = self.patients.iter().position(|patient| patient.is(backend))?;
        Some(self.patients.swap_remove(place))
    }

    /// In the active table it is where it stands; in one that was replaced it may stand elsewhere.
    fn find(&self, index: usize, backend: &Backend) -> Option<&Patient> {
        let here = self.patients.get(index).filter(|patient| patient.is(backend));
        here.or_else(|| self.patients.iter().find(|patient| patient.is(backend)))
    }

    fn look(&mut self, upstream: &Upstream, now: Instant) -> bool {
        let Cluster { backends, settings, .. } = &*upstream.cluster;
        let facts: Vec<Fact> = backends.iter().map(fact).collect();
        let doubted = self.doubted;
        let changes = {
            let mut members: Vec<Member<'_>> = self
                .patients
                .iter_mut()
                .zip(backends)
                .map(|(patient, backend)| Member {
                    outlier: &mut patient.outlier,
                    signs: backend.endpoint.vitals.signs(),
                })
                .collect();
            judge(&mut members, &facts, &mut self.doubted, &settings.ejection, now)
        };
        let stays: Vec<Stay> = self.patients.iter().map(|patient| patient.outlier.stay()).collect();
        let now_present = presences(&stays, &facts);
        if doubted != self.doubted {
            ChecksDoubted { upstream: &upstream.name, doubted: self.doubted }.emit();
        }
        for (index, change) in &changes {
            if !self.patients[*index].silent {
                self.patients[*index].tell(*index, upstream, change, now);
            }
        }
        let mut changed = false;
        for (index, presence) in now_present.into_iter().enumerate() {
            let (patient, backend) = (&mut self.patients[index], &backends[index]);
            if !patient.silent {
                patient.tell_health(backend, facts[index].down.as_ref(), now);
            }
            changed |= patient.presence != presence;
            patient.presence = presence;
        }
        changed
    }
}

fn fact(backend: &Backend) -> Fact {
    Fact { known: backend.is_present(), down: backend.endpoint.vitals.checkup.down() }
}

impl Patient {
    /// Why it is not simply ready, in words.
    fn state(&self, now: Instant) -> Option<String> {
        let down = self.down.as_ref();
        let checks = |down: &Down| format!("{} checks failed ({})", down.failures, down.why);
        let cause = || self.outlier.cause().map(|cause| cause.to_string());
        Some(match (self.presence, self.outlier.stay()) {
            (Presence::Out, Stay::Ejected { until }) if down.is_none() => {
                let left = until.saturating_duration_since(now).as_secs_f64().ceil();
                format!("ejected for {left} s: {}", cause().unwrap_or_default())
            }
            (Presence::Out, _) => format!("down: {}", down.map(checks).unwrap_or_default()),
            (Presence::Probe, _) => {
                format!("probing: {}", cause().or_else(|| down.map(checks)).unwrap_or_default())
            }
            (Presence::In, _) => format!("ready, though {}", checks(down?)),
        })
    }

    /// Says and counts what outcomes changed.
    fn tell(&mut self, index: usize, upstream: &Upstream, change: &Change, now: Instant) {
        let backend = &upstream.cluster.backends[index];
        let cause = self.outlier.cause().map(|cause| cause.to_string()).unwrap_or_default();
        let (what, reason, lasts): (_, String, Option<Duration>) = match change {
            Change::Ejected(length, cause) => {
                backend.metrics.ejections.add(1);
                ("ejected", cause.to_string(), Some(*length))
            }
            Change::Held(cause) => ("probing", format!("{cause}; too many others are out to eject it"), None),
            Change::Tried => {
                // What was measured before is of another time, and would keep away the request that tells.
                backend.latency.forget();
                ("probing", cause, None)
            }
            Change::Returned => {
                let out = self.out_since.map(|since| now.saturating_duration_since(since));
                ("returned", String::new(), out)
            }
        };
        self.out_since = match change {
            Change::Returned => None,
            _ => self.out_since.or(Some(now)),
        };
        judged(backend, what, &reason, lasts);
    }

    /// Says what checks changed.
    fn tell_health(&mut self, backend: &Backend, down: Option<&Down>, now: Instant) {
        let before = std::mem::replace(&mut self.down, down.cloned());
        match (before, down) {
            (None, Some(down)) => {
                let slow = if down.slow { "; it is slow, and answers requests" } else { "" };
                let reason = format!("{} checks failed ({}){slow}", down.failures, down.why);
                judged(backend, "down", &reason, None);
            }
            (Some(before), None) => {
                let out = now.saturating_duration_since(before.since);
                judged(backend, "up", "", Some(out));
            }
            _ => {}
        }
    }
}

fn judged(backend: &Backend, what: &str, reason: &str, lasts: Option<Duration>) {
    let (upstream, name) = (&backend.metrics.upstream, &backend.settings.name);
    BackendJudged { what, upstream, backend: name, reason, lasts }.emit();
}
