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
    /// The table that the rooms were last arranged for.
    arranged: Weak<Table>,
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
}

impl Patient {
    fn new(backend: &Backend, now: Instant) -> Self {
        let outlier = Outlier::new(now, &backend.endpoint.vitals.signs());
        let endpoint = Arc::downgrade(&backend.endpoint);
        Patient { endpoint, outlier, down: None, out_since: None, presence: Presence::In }
    }

    fn is(&self, backend: &Backend) -> bool {
        Weak::as_ptr(&self.endpoint) == Arc::as_ptr(&backend.endpoint)
    }
}

impl Ward {
    /// Looks at the backends of the active table; true when the presence of one changed.
    pub fn look(&mut self, table: &Arc<Table>, now: Instant) -> bool {
        if Weak::as_ptr(&self.arranged) != Arc::as_ptr(table) {
            self.arrange(table, now);
        }
        let mut changed = false;
        for upstream in &table.upstreams {
            if let Some(room) = self.rooms.get_mut(&upstream.name) {
                changed |= room.look(upstream, now);
            }
        }
        changed
    }

    /// Beds for the backends of a table, in their order; whoever was here before is the same.
    fn arrange(&mut self, table: &Arc<Table>, now: Instant) {
        let mut before = std::mem::take(&mut self.rooms);
        for upstream in &table.upstreams {
            let mut room = before.remove(&upstream.name).unwrap_or_default();
            let mut known: HashMap<_, _> =
                room.patients.drain(..).map(|patient| (Weak::as_ptr(&patient.endpoint), patient)).collect();
            let patient = |backend: &Backend| {
                known.remove(&Arc::as_ptr(&backend.endpoint)).unwrap_or_else(|| Patient::new(backend, now))
            };
            room.patients = upstream.cluster.backends.iter().map(patient).collect();
            self.rooms.insert(upstream.name.clone(), room);
        }
        self.arranged = Arc::downgrade(table);
    }

    /// How each backend of an upstream takes part, of whatever table.
    pub fn presences(&self, upstream: &Upstream) -> Vec<Presence> {
        let room = self.rooms.get(&upstream.name);
        let presence = |(index, backend)| Some(room?.find(index, backend)?.presence);
        let backends = upstream.cluster.backends.iter().enumerate();
        backends.map(|backend| presence(backend).unwrap_or_default()).collect()
    }

    /// Why the backend of this index is not simply ready, in words.
    pub fn state_of(&self, upstream: &Upstream, index: usize, now: Instant) -> Option<String> {
        let room = self.rooms.get(&upstream.name)?;
        room.find(index, upstream.cluster.backends.get(index)?)?.state(now)
    }
}

impl Room {
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
            self.patients[*index].tell(*index, upstream, change, now);
        }
        let mut changed = false;
        for (index, presence) in now_present.into_iter().enumerate() {
            let (patient, backend) = (&mut self.patients[index], &backends[index]);
            patient.tell_health(backend, facts[index].down.as_ref(), now);
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
