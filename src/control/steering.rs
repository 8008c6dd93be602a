//! Steering by hand: who sets which lever, what it means for every table that still serves, and what is kept.
//!
//! One lock, held for arithmetic only, never over a file or a socket: the admin thread takes it to set, show and
//! tick, the background thread to swap tables, the keeper to copy what it then writes. No core takes it; a core reads
//! [`Shares`](crate::balancing::shares::Shares) that are put into its cluster.
//!
//! A lever acts before the answer to whoever set it: on the next request of every core, on the active table and
//! on those that were replaced and still have requests (promise 8). Those who wait are asked again at once.

pub mod conflict;
mod crowd;
pub mod forecast;
pub mod keep;
pub mod sight;
mod watchman;

use crate::control::ramp::lever::{Due, Lever, Levers, Signature, Stuck, Target, Then};
use crate::routing::table::{Live, Table, Upstream};
use crate::runtime::bells::Bells;
use crate::telemetry::events::RampChanged;
use crowd::Crowd;
use forecast::Forecast;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use watchman::Watchman;

/// Levers at most; a table has no more backends than fit into a file, but names may come and go.
const MAX_LEVERS: usize = 10_000;
/// The longest time to a next step.
const MAX_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// What somebody wants of a ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct RampOrder {
    /// 0 to 100.
    pub percent: f64,
    /// The next step, and how long until then.
    pub then: Option<(f64, Duration)>,
    /// In flight that the percentage is of, in place of what was learned: of the whole upstream, or of the backend.
    pub reference: Option<f64>,
    /// Why.
    pub reason: String,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The active version has no such upstream or backend.
    #[error("the active version has no {what} named {name:?}; it has {known}")]
    Unknown {
        /// `upstream` or `backend`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A number or text outside its range.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing to move so.
    #[error("{0}")]
    Conflict(String),
}

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
            let cleared = state.levers.clear(target).ok_or_else(|| stuck(target, Stuck::None))?;
            let reason = &cleared.signature.reason;
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
            state.levers.pause(target, Instant::now()).map_err(|why| stuck(target, why))?;
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
            state.levers.resume(target, Instant::now()).map_err(|why| stuck(target, why))?;
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

    /// Makes `table` the active one; its ramps hold from its first request on.
    pub fn swap(&self, table: Arc<Table>) -> Arc<Table> {
        let mut state = self.state();
        state.tables.retain(|table| table.strong_count() > 0);
        state.tables.push(Arc::downgrade(&table));
        state.level();
        self.live.swap(table)
    }

    /// Ten times a second: looks at what is in flight, learns, and takes the steps that are due.
    pub fn tick(&self, now: Instant) {
        let table = self.live.load();
        let mut state = self.state();
        let State { levers, watchman, crowd, .. } = &mut *state;
        watchman.look(&table, levers, now, unix_ms() / 1_000);
        crowd.look(&table, now, unix_ms() / 86_400_000);
        let steps = levers.advance(now);
        if steps.is_empty() {
            return;
        }
        state.level();
        drop(state);
        for step in &steps {
            let reason = format!("from {} %, as ordered", step.from);
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

    /// What a percentage would shed now, without setting it.
    ///
    /// # Errors
    /// When the target is unknown.
    pub fn forecast(&self, target: &Target, percent: f64) -> Result<Forecast, Refusal> {
        let table = self.live.load();
        let upstream = known(&table, target)?;
        let state = self.state();
        let mut levers = state.levers.clone();
        let signature = Signature { by: String::new(), reason: String::new(), since_ms: 0 };
        levers.set(target.clone(), Lever { percent, then: None, reference: None, signature });
        Ok(state.watchman.forecast(upstream, &levers))
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
        let table = self.live.load();
        let upstream = known(&table, target)?;
        let mut state = self.state();
        if state.levers.len() >= MAX_LEVERS && !state.levers.has(target) {
            return Err(Refusal::Conflict(format!("{MAX_LEVERS} levers are set; clear some first")));
        }
        act(&mut state)?;
        state.level();
        let forecast = state.watchman.forecast(upstream, &state.levers);
        drop(state);
        Ok(Receipt { forecast, change: self.note_change() })
    }

    /// What takes a lever away works also when the active version no longer knows the name.
    fn change_even_gone(
        &self,
        target: &Target,
        act: impl FnOnce(&mut State) -> Result<(), Refusal>,
    ) -> Result<Receipt, Refusal> {
        let table = self.live.load();
        let upstream = known(&table, target);
        let mut state = self.state();
        if act(&mut state).is_err() {
            // Somebody who misspelt a name should hear that, not that it has no ramp.
            return Err(upstream.err().unwrap_or_else(|| stuck(target, Stuck::None)));
        }
        state.level();
        let forecast = upstream.map_or_else(
            |_| Forecast::default(),
            |upstream| state.watchman.forecast(upstream, &state.levers),
        );
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
    /// Puts what the levers mean into every table that serves.
    fn level(&mut self) {
        for table in self.tables.iter().filter_map(Weak::upgrade) {
            for upstream in &table.upstreams {
                upstream.cluster.shares.set(self.watchman.shares(upstream, &self.levers));
            }
        }
    }
}

/// The upstream of a target, if the target exists in a table.
fn known<'a>(table: &'a Table, target: &Target) -> Result<&'a Upstream, Refusal> {
    let upstream = table.upstreams.iter().find(|upstream| upstream.name == *target.upstream());
    let upstream = upstream.ok_or_else(|| Refusal::Unknown {
        what: "upstream",
        name: target.upstream().to_string(),
        known: list(table.upstreams.iter().map(|upstream| &*upstream.name)),
    })?;
    let backends = || upstream.cluster.backends.iter().map(|backend| &backend.settings.name);
    match target.backend() {
        Some(name) if !backends().any(|known| known == name) => Err(Refusal::Unknown {
            what: "backend",
            name: target.to_string(),
            known: list(backends().map(|name| &**name)),
        }),
        _ => Ok(upstream),
    }
}

/// Some names, for a sentence.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(20).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn lever(order: RampOrder, by: &str) -> Result<Lever, Refusal> {
    let RampOrder { percent, then, reference, reason } = order;
    let is_percent = |percent: f64| (0.0..=100.0).contains(&percent);
    if !is_percent(percent) || then.is_some_and(|(percent, _)| !is_percent(percent)) {
        return Err(Refusal::Invalid("a ramp is a percentage from 0 to 100".to_owned()));
    }
    if then.is_some_and(|(_, after)| after < Duration::from_secs(1) || after > MAX_AFTER) {
        return Err(Refusal::Invalid("the time to the next step is 1 s to 30 days".to_owned()));
    }
    if reference.is_some_and(|reference| !is_reference(reference)) {
        return Err(Refusal::Invalid(
            "a reference is a number of requests in flight, above 0 and at most 1,000,000".to_owned(),
        ));
    }
    let then = then.map(|(percent, after)| Then { percent, after, due: Due::At(Instant::now() + after) });
    Ok(Lever { percent, then, reference, signature: sign(&reason, by)? })
}

fn is_reference(reference: f64) -> bool {
    reference > 0.0 && reference <= 1e6
}

fn sign(reason: &str, by: &str) -> Result<Signature, Refusal> {
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Refusal::Invalid(format!("a reason is one line of at most {MAX_REASON} characters")));
    }
    Ok(Signature { by: by.to_owned(), reason: reason.to_owned(), since_ms: unix_ms() })
}

fn stuck(target: &Target, why: Stuck) -> Refusal {
    Refusal::Conflict(match why {
        Stuck::None => format!("{target} has no ramp"),
        Stuck::NoStep => {
            format!("the ramp of {target} has no next step whose clock could stand still or run")
        }
        Stuck::Paused => format!("the ramp of {target} is paused already"),
        Stuck::Running => format!("the ramp of {target} is not paused"),
    })
}

/// Milliseconds since 1970.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
