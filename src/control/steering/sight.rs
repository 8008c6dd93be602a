//! What operators see of levers and references, as plain values.

use crate::balancing::Backend;
use crate::control::ramp::choice::Standing;
use crate::control::ramp::lever::{Due, Lever, Signature, Target};
use crate::control::steering::conflict::{conflicts, dormant};
use crate::control::steering::forecast::Forecast;
use crate::control::steering::watchman::Found;
use crate::control::steering::{Refusal, State, Steering, known, unix_ms};
use crate::control::view::{CohortView, LeverView, ReferenceView, ThenView};
use crate::routing::table::{Table, Upstream};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// What is to be seen of one upstream.
#[derive(Debug)]
pub struct UpstreamSight {
    /// Its own lever.
    pub ramp: Option<LeverView>,
    /// What ramps leave of its cap, if one binds.
    pub total: Option<u32>,
    /// Which of its clients it serves, while a ramp binds.
    pub cohort: Option<CohortView>,
    /// Its backends, in their order.
    pub backends: Vec<BackendSight>,
}

/// What is to be seen of one backend.
#[derive(Debug)]
pub struct BackendSight {
    /// Its own lever.
    pub ramp: Option<LeverView>,
    /// Who drained it.
    pub drain: Option<LeverView>,
    /// The effective percentage.
    pub percent: f64,
    /// In flight at most now.
    pub cap: u32,
    /// What a percentage is of.
    pub reference: ReferenceView,
}

impl Steering {
    /// What is to be seen of every upstream of a table, in their order.
    pub fn sight(&self, table: &Table) -> Vec<UpstreamSight> {
        let state = self.state();
        table.upstreams.iter().map(|upstream| state.upstream(upstream)).collect()
    }

    /// All levers, also those whose name is gone.
    pub fn levers(&self) -> Vec<LeverView> {
        let table = self.live.load();
        let state = self.state();
        // Once for each upstream, however many levers it has.
        let ramped: BTreeSet<_> = state.levers.ramps().map(|(target, _)| target.upstream().clone()).collect();
        let forecasts: BTreeMap<_, _> = table
            .upstreams
            .iter()
            .filter(|upstream| ramped.contains(&upstream.name))
            .map(|upstream| (&upstream.name, state.watchman.forecast(upstream, &state.levers)))
            .collect();
        let ramps = state
            .levers
            .ramps()
            .map(|(target, lever)| seen(target, lever, forecasts.get(target.upstream()).copied()));
        let drained = state.levers.drained().map(|((upstream, backend), signature)| {
            drained(&Target::Backend(upstream.clone(), backend.clone()), signature)
        });
        ramps.chain(drained).collect()
    }

    /// One ramp, if it is set.
    pub fn ramp_of(&self, target: &Target) -> Option<LeverView> {
        let table = self.live.load();
        let state = self.state();
        let lever = state.levers.get(target)?;
        let upstream = table.upstreams.iter().find(|upstream| upstream.name == *target.upstream());
        let forecast = upstream.map(|upstream| state.watchman.forecast(upstream, &state.levers));
        Some(seen(target, lever, forecast))
    }

    /// One drain, if it is set.
    pub fn drain_of(&self, upstream: &str, backend: &str) -> Option<LeverView> {
        let target = Target::Backend(upstream.into(), backend.into());
        let state = self.state();
        state.levers.drained_by(&upstream.into(), &backend.into()).map(|it| drained(&target, it))
    }

    /// What the levers as they are shed of a target's upstream.
    ///
    /// # Errors
    /// When the target is unknown.
    pub fn forecast_now(&self, target: &Target) -> Result<Forecast, Refusal> {
        let table = self.live.load();
        let upstream = known(&table, target)?;
        let state = self.state();
        Ok(state.watchman.forecast(upstream, &state.levers))
    }

    /// What a person should know: levers that wait for their name, and what is not on disk.
    pub fn reasons(&self, table: &Table) -> Vec<String> {
        let state = self.state();
        let mut reasons = dormant(&state.levers, table);
        reasons.extend(state.trouble.iter().chain(&state.unkept).cloned());
        reasons
    }

    /// What `after` changes under levers that hold since `before`; a sentence each.
    pub fn conflicts(&self, before: &Table, after: &Table) -> Vec<String> {
        conflicts(&self.state().levers, before, after)
    }
}

impl State {
    fn upstream(&self, upstream: &Upstream) -> UpstreamSight {
        let shares = upstream.cluster.shares.load();
        let forecast = self.watchman.forecast(upstream, &self.levers);
        let target = Target::Upstream(upstream.name.clone());
        let found = self.watchman.references(upstream, &self.levers);
        let backends = upstream.cluster.backends.iter().zip(&shares.of).zip(&found);
        UpstreamSight {
            ramp: self.levers.get(&target).map(|lever| seen(&target, lever, Some(forecast))),
            total: shares.total,
            cohort: self.crowd.standing(&upstream.name).map(|standing| cohort(&standing)),
            backends: backends
                .map(|((backend, share), found)| {
                    self.backend(upstream, backend, (share.cap, found, forecast))
                })
                .collect(),
        }
    }

    fn backend(
        &self,
        upstream: &Upstream,
        backend: &Backend,
        (cap, found, forecast): (u32, &Found, Forecast),
    ) -> BackendSight {
        let name = &backend.settings.name;
        let target = Target::Backend(upstream.name.clone(), name.clone());
        BackendSight {
            ramp: self.levers.get(&target).map(|lever| seen(&target, lever, Some(forecast))),
            drain: self.levers.drained_by(&upstream.name, name).map(|it| drained(&target, it)),
            percent: self.levers.effective(&upstream.name, name),
            cap,
            reference: reference(found),
        }
    }
}

fn cohort(standing: &Standing) -> CohortView {
    CohortView {
        manner: standing.manner.as_str().to_owned(),
        share_percent: hundredths(100.0 * standing.share),
        realised_percent: hundredths(100.0 * standing.realised),
        clients: standing.clients.round(),
    }
}

fn reference(found: &Found) -> ReferenceView {
    let age = (found.learned_at > 0).then(|| (unix_ms() / 1_000 - found.learned_at).max(0) as f64);
    ReferenceView {
        in_flight: hundredths(found.in_flight),
        requests_per_second: found.rate.map(hundredths),
        source: found.source.as_str().to_owned(),
        age_seconds: age,
    }
}

fn seen(target: &Target, lever: &Lever, forecast: Option<Forecast>) -> LeverView {
    let then = lever.then.map(|then| ThenView {
        percent: then.percent,
        in_seconds: then.due.left(Instant::now()).as_secs_f64().round(),
        paused: matches!(then.due, Due::Paused(_)),
    });
    LeverView {
        percent: lever.percent,
        then,
        reference: lever.reference,
        forecast,
        ..signed("ramp", target, &lever.signature)
    }
}

fn drained(target: &Target, signature: &Signature) -> LeverView {
    signed("drain", target, signature)
}

fn signed(kind: &str, target: &Target, signature: &Signature) -> LeverView {
    LeverView {
        kind: kind.to_owned(),
        upstream: target.upstream().to_string(),
        backend: target.backend().map(|name: &Arc<str>| name.to_string()),
        by: signature.by.clone(),
        reason: signature.reason.clone(),
        since: Timestamp::from_millisecond(signature.since_ms).unwrap_or_default().to_string(),
        ..LeverView::default()
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
