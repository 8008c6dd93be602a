//! Steering by hand: who sets which lever, what it means for every table that still serves, and what is kept.
//!
//! One lock, held for arithmetic only, never over a file or a socket: the admin thread takes it to set, show and
//! tick, the background thread to swap tables, the keeper to copy what it then writes. No core takes it; a core reads
//! [`Shares`](crate::balancing::shares::Shares) that are put into its cluster.
//!
//! A lever acts before the answer to whoever set it: on the next request of every core, on the active table and
//! on those that were replaced and still have requests (promise 8). Those who wait are asked again at once.

pub mod comeback;
pub mod conflict;
pub mod contradiction;
mod crowd;
pub mod forecast;
pub mod keep;
mod order;
pub mod people;
pub mod sight;
pub mod ward;
pub mod watchman;

pub use order::{RampOrder, Refusal};

use crate::control::limits::Limits;
use crate::control::ramp::lever::{Levers, Stuck, Target};
use crate::routing::table::{Live, Table, Upstream};
use crate::routing::trial::Tables;
use crate::runtime::bells::Bells;
use crate::runtime::clock::unix_ms;
use crate::telemetry::events::{Comeback, RampChanged};
use comeback::{Beside, Came, Comebacks};
use crowd::Crowd;
use forecast::Forecast;
use order::{known_in, lever, sign, stuck};
use people::People;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use watchman::Watchman;

/// Levers at most; a table has no more backends than fit into a file, but names may come and go.
const MAX_LEVERS: usize = 10_000;
/// What came of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// What it will shed now.
    pub forecast: Forecast,
    /// The change's number, for [`Steering::persisted`].
    pub change: u64,
}

/// The levers, the tables that they act on, and what was learned.
pub struct Steering {
    live: Arc<Live>,
    bells: Arc<Bells>,
    state: Mutex<State>,
    /// Changes so far; what is kept follows them.
    changes: AtomicU64,
    changed: Notify,
    kept: watch::Sender<u64>,
}

struct State {
    levers: Levers,
    watchman: Watchman,
    crowd: Crowd,
    people: People,
    comebacks: Comebacks,
    limits: Limits,
    /// Tables that serve or may still serve.
    tables: Vec<Weak<Table>>,
    /// What an earlier process left and could not be read.
    trouble: Option<String>,
    /// Why what is on disk is not what is here, if it is not.
    unkept: Option<String>,
}

impl Steering {
    /// Takes over the levers and references of an earlier process. The active table follows them from now on;
    /// the bells are of the cores that serve it.
    pub fn new(live: Arc<Live>, bells: Arc<Bells>, kept: keep::Kept) -> Arc<Self> {
        let state = State {
            levers: kept.levers,
            watchman: Watchman::new(kept.learners),
            crowd: Crowd::default(),
            people: People::default(),
            comebacks: Comebacks::new(kept.running),
            limits: Limits::new(kept.limits),
            tables: vec![Arc::downgrade(&live.load())],
            trouble: kept.trouble,
            unkept: None,
        };
        let steering = Steering {
            live,
            bells,
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
            kept: watch::Sender::new(0),
        };
        steering.state().level();
        Arc::new(steering)
    }

    /// Sets a ramp.
    ///
    /// # Errors
    /// When the target is unknown or a number is out of range; nothing is changed then.
    pub fn set_ramp(&self, target: &Target, order: RampOrder, by: &str) -> Result<Receipt, Refusal> {
        let lever = lever(order, by)?;
        let (percent, reason) = (lever.percent, lever.signature.reason.clone());
        self.change(target, |state| {
            state.levers.set(target.clone(), lever);
            RampChanged {
                what: "set",
                target: &target.to_string(),
                percent: Some(percent),
                by,
                reason: &reason,
            }
            .emit();
            Ok(())
        })
    }

    /// Takes a ramp away.
    ///
    /// # Errors
    /// When there is none.
    pub fn clear_ramp(&self, target: &Target, by: &str) -> Result<Receipt, Refusal> {
        self.change_even_gone(target, |state| {
            let cleared = state.clear(target).ok_or_else(|| stuck(target, Stuck::None))?;
            let reason = &cleared;
            RampChanged { what: "cleared", target: &target.to_string(), percent: None, by, reason }.emit();
            Ok(())
        })
    }

    /// Stops the clock of a ramp's next step.
    ///
    /// # Errors
    /// When none runs.
    pub fn pause_ramp(&self, target: &Target, by: &str) -> Result<Receipt, Refusal> {
        self.change(target, |state| {
            state.pause(target).map_err(|why| stuck(target, why))?;
            RampChanged { what: "paused", target: &target.to_string(), percent: None, by, reason: "" }.emit();
            Ok(())
        })
    }

    /// Lets the clock of a ramp's next step go on.
    ///
    /// # Errors
    /// When none stands still.
    pub fn resume_ramp(&self, target: &Target, by: &str) -> Result<Receipt, Refusal> {
        self.change(target, |state| {
            state.resume(target).map_err(|why| stuck(target, why))?;
            RampChanged { what: "resumed", target: &target.to_string(), percent: None, by, reason: "" }
                .emit();
            Ok(())
        })
    }

    /// Drains a backend, or brings it back.
    ///
    /// # Errors
    /// When there is no such backend, or it is to be brought back and was not drained.
    pub fn set_drain(
        &self,
        upstream: &str,
        backend: &str,
        drain: bool,
        reason: &str,
        by: &str,
    ) -> Result<Receipt, Refusal> {
        let (upstream, backend): (Arc<str>, Arc<str>) = (upstream.into(), backend.into());
        let target = Target::Backend(upstream.clone(), backend.clone());
        let signature = sign(reason, by)?;
        let drained = |state: &mut State| {
            let what = if drain {
                state.levers.drain(upstream.clone(), backend.clone(), signature);
                "drained"
            } else if state.levers.ready(&upstream, &backend) {
                "ready"
            } else {
                return Err(Refusal::Conflict(format!("{target} is not drained")));
            };
            RampChanged { what, target: &target.to_string(), percent: None, by, reason }.emit();
            Ok(())
        };
        if drain { self.change(&target, drained) } else { self.change_even_gone(&target, drained) }
    }

    /// Makes `table` the active one, for everyone; its ramps hold from its first request on.
    pub fn swap(&self, table: Arc<Table>) -> Arc<Tables> {
        self.replace(Tables::only(table))
    }

    /// Makes these the tables that serve, in one step.
    pub fn replace(&self, tables: Tables) -> Arc<Tables> {
        let mut state = self.state();
        state.tables.retain(|table| table.strong_count() > 0);
        for table in tables.all() {
            if !state.tables.iter().any(|known| Weak::as_ptr(known) == Arc::as_ptr(table)) {
                state.tables.push(Arc::downgrade(table));
            }
        }
        state.level();
        if let Some(trial) = &tables.trial {
            state.people.begin(trial);
        }
        self.live.replace(tables)
    }

    /// Ten times a second: looks at what is in flight, learns, and takes the steps that are due.
    pub fn tick(&self, now: Instant) {
        let tables = self.live.tables();
        let table = &tables.stable;
        let mut state = self.state();
        let State { levers, watchman, limits, crowd, people, comebacks, .. } = &mut *state;
        limits.tick(&tables, now);
        watchman.look(table, (levers, limits), now, unix_ms() / 1_000);
        crowd.look(table, now, unix_ms() / 86_400_000);
        people.look(&self.live.keys, tables.trial.as_ref(), now);
        let judged = watchman.ward.look(&tables, now);
        let steps = levers.advance(now);
        let beside = Beside { table, levers, watchman };
        let Came { events, changed } = comebacks.look(beside, now);
        let guarded: Vec<bool> = steps.iter().map(|step| comebacks.take_over(beside, step)).collect();
        if steps.is_empty() && !changed && !judged {
            return;
        }
        state.level();
        drop(state);
        events.into_iter().for_each(Comeback::emit);
        if steps.is_empty() && !changed {
            // Whoever waits may find a backend that came back; nothing of it is kept.
            return self.bells.ring_all();
        }
        for (step, guarded) in steps.iter().zip(guarded) {
            let guarded = if guarded { ", by guarded steps" } else { "" };
            let reason = format!("from {} %, as ordered{guarded}", step.from);
            let target = step.target.to_string();
            RampChanged {
                what: "step",
                target: &target,
                percent: Some(step.to),
                by: "tidegate",
                reason: &reason,
            }
            .emit();
        }
        self.note_change();
    }

    /// What an order would shed from now on, without giving it: what [`Steering::set_ramp`] answers.
    ///
    /// # Errors
    /// As there.
    pub fn forecast(&self, target: &Target, order: RampOrder) -> Result<Forecast, Refusal> {
        let lever = lever(order, "")?;
        let tables = self.live.tables();
        let upstream = known_in(&tables, target)?;
        let state = self.state();
        let mut levers = state.levers.clone();
        levers.set(target.clone(), lever);
        Ok(state.forecast(upstream, &levers))
    }

    /// Waits until a change is on disk. False when it is not after `patience`: it acts all the same, but a restart
    /// may not know it.
    pub async fn persisted(&self, change: u64, patience: Duration) -> bool {
        let mut kept = self.kept.subscribe();
        let waited = tokio::time::timeout(patience, kept.wait_for(|kept| *kept >= change)).await;
        waited.is_ok_and(|kept| kept.is_ok())
    }

    fn change(
        &self,
        target: &Target,
        act: impl FnOnce(&mut State) -> Result<(), Refusal>,
    ) -> Result<Receipt, Refusal> {
        let tables = self.live.tables();
        let upstream = known_in(&tables, target)?;
        let mut state = self.state();
        if state.levers.len() >= MAX_LEVERS && !state.levers.has(target) {
            return Err(Refusal::Conflict(format!("{MAX_LEVERS} levers are set; clear some first")));
        }
        act(&mut state)?;
        state.level();
        let forecast = state.forecast(upstream, &state.levers);
        drop(state);
        Ok(Receipt { forecast, change: self.note_change() })
    }

    /// What takes a lever away works also when the active version no longer knows the name.
    fn change_even_gone(
        &self,
        target: &Target,
        act: impl FnOnce(&mut State) -> Result<(), Refusal>,
    ) -> Result<Receipt, Refusal> {
        let tables = self.live.tables();
        let upstream = known_in(&tables, target);
        let mut state = self.state();
        if act(&mut state).is_err() {
            // Somebody who misspelt a name should hear that, not that it has no ramp.
            return Err(upstream.err().unwrap_or_else(|| stuck(target, Stuck::None)));
        }
        state.level();
        let forecast =
            upstream.map_or_else(|_| Forecast::default(), |upstream| state.forecast(upstream, &state.levers));
        drop(state);
        Ok(Receipt { forecast, change: self.note_change() })
    }

    /// After what the levers mean was put into the tables: those who wait look again, and it is kept.
    fn note_change(&self) -> u64 {
        self.bells.ring_all();
        let change = self.changes.fetch_add(1, Relaxed) + 1;
        self.changed.notify_one();
        change
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What an upstream would shed under `levers`.
    fn forecast(&self, upstream: &Upstream, levers: &Levers) -> Forecast {
        self.watchman.forecast(upstream, (levers, &self.comebacks), self.limits.acting(upstream))
    }

    /// Puts what the levers mean into every table that serves.
    fn level(&mut self) {
        // Tables that differ in some names have the clusters of the others in common.
        let mut levelled = HashSet::new();
        for table in self.tables.iter().filter_map(Weak::upgrade) {
            for upstream in &table.upstreams {
                if !levelled.insert(Arc::as_ptr(&upstream.cluster)) {
                    continue;
                }
                upstream.cluster.shares.set(self.watchman.shares(upstream, &self.levers, &self.comebacks));
            }
        }
    }
}

#[cfg(test)]
mod tests;
