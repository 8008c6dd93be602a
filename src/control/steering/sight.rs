//! What operators see of levers and references, as plain values.

use crate::admission::settings::Mode;
use crate::balancing::Backend;
use crate::balancing::shares::Share;
use crate::control::ramp::choice::Standing;
use crate::control::ramp::lever::{Due, Lever, Signature, Target};
use crate::control::steering::comeback::{Running, course};
use crate::control::steering::conflict::{conflicts, dormant};
use crate::control::steering::forecast::Forecast;
use crate::control::steering::order::known_in;
use crate::control::steering::watchman::{Found, effective, place};
use crate::control::steering::{Refusal, State, Steering};
use crate::control::view::{AdaptiveView, CohortView, LeverView, ReferenceView, ThenView};
use crate::routing::table::{Table, Upstream};
use crate::runtime::clock::unix_ms;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// At once, in sentences.
const MOST_WARNINGS: usize = 20;

/// What is to be seen of one upstream.
#[derive(Debug)]
pub struct UpstreamSight {
    /// Its own lever.
    pub ramp: Option<LeverView>,
    /// What ramps leave of its cap, if one binds.
    pub total: Option<u32>,
    /// Which of its clients it serves, while a ramp binds.
    pub cohort: Option<CohortView>,
    /// Its low classes stay out, because all of it came back at once.
    pub low_classes_out: bool,
    /// The limit that finds itself, if that is not off.
    pub adaptive: Option<AdaptiveView>,
    /// Its backends, in their order.
    pub backends: Vec<BackendSight>,
}

impl UpstreamSight {
    /// What it may hold now: the least of its cap, what ramps leave of it, and a limit that acts.
    pub fn limit(&self, cap: u32) -> u32 {
        let acts = |adaptive: &&AdaptiveView| adaptive.mode == Mode::Enforce.as_str();
        let adaptive = self.adaptive.as_ref().filter(acts).map(|adaptive| adaptive.limit);
        [self.total, adaptive].into_iter().flatten().fold(cap, u32::min)
    }
}

/// What is to be seen of one backend.
#[derive(Debug)]
pub struct BackendSight {
    /// Its own lever.
    pub ramp: Option<LeverView>,
    /// What brings it back by itself.
    pub automatic: Option<LeverView>,
    /// Who drained it.
    pub drain: Option<LeverView>,
    /// The effective percentage.
    pub percent: f64,
    /// In flight at most now.
    pub cap: u32,
    /// What a percentage is of.
    pub reference: ReferenceView,
    /// Health or ejection leaves it out.
    pub out: bool,
    /// Why it is not simply ready, as far as health and ejection decide.
    pub sick: Option<String>,
}

impl Steering {
    /// What is to be seen of these upstreams, in their order.
    pub fn sight<'a>(&self, upstreams: impl Iterator<Item = &'a Upstream>) -> Vec<UpstreamSight> {
        // One after the other: in between, whoever moves a lever gets their turn.
        upstreams.map(|upstream| self.state().upstream(upstream)).collect()
    }

    /// What each of these upstreams may hold now, in their order: as [`UpstreamSight::limit`], for who looks often.
    pub fn limits<'a>(&self, upstreams: impl Iterator<Item = &'a Upstream>) -> Vec<u32> {
        let state = self.state();
        let limit = |upstream: &Upstream| {
            let bounds = [upstream.cluster.shares.load().total, state.limits.acting(upstream)];
            bounds.into_iter().flatten().fold(upstream.gate.max_in_flight, u32::min)
        };
        upstreams.map(limit).collect()
    }

    /// All levers, also those whose name is gone.
    pub fn levers(&self) -> Vec<LeverView> {
        let table = self.live.load();
        let state = self.state();
        // Once for each upstream, however many levers it has.
        let ramped = state.levers.ramps().map(|(target, _)| target.upstream());
        let coming = state.comebacks.running().keys().map(|(upstream, _)| upstream);
        let ramped: BTreeSet<_> = ramped.chain(coming).cloned().collect();
        let forecasts: BTreeMap<_, _> = table
            .upstreams
            .iter()
            .filter(|upstream| ramped.contains(&upstream.name))
            .map(|upstream| (&upstream.name, state.forecast(upstream, &state.levers)))
            .collect();
        let ramps = state
            .levers
            .ramps()
            .map(|(target, lever)| seen(target, lever, forecasts.get(target.upstream()).copied()));
        let drained = state.levers.drained().map(|((upstream, backend), signature)| {
            drained(&Target::Backend(upstream.clone(), backend.clone()), signature)
        });
        let coming = state.comebacks.running().iter().filter_map(|((name, at), running)| {
            let upstream = table.upstreams.iter().find(|upstream| upstream.name == *name)?;
            upstream.cluster.backends.iter().find(|backend| backend.at == *at)?;
            Some(automatic(upstream, running, forecasts.get(name).copied()))
        });
        ramps.chain(drained).chain(coming).collect()
    }

    /// One ramp, if it is set; where no operator set one, what brings a backend back by itself.
    pub fn ramp_of(&self, target: &Target) -> Option<LeverView> {
        let table = self.live.load();
        let state = self.state();
        let upstream = table.upstreams.iter().find(|upstream| upstream.name == *target.upstream());
        let forecast = upstream.map(|upstream| state.forecast(upstream, &state.levers));
        match state.levers.get(target) {
            Some(lever) => Some(seen(target, lever, forecast)),
            None => state
                .comebacks
                .at(target)
                .next()
                .zip(upstream)
                .map(|((_, running), upstream)| automatic(upstream, running, forecast)),
        }
    }

    /// One drain, if it is set.
    pub fn drain_of(&self, upstream: &str, backend: &str) -> Option<LeverView> {
        let target = Target::Backend(upstream.into(), backend.into());
        let state = self.state();
        state.levers.drained_by(&upstream.into(), &backend.into()).map(|it| drained(&target, it))
    }

    /// Looks whether a target is there.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn knows(&self, target: &Target) -> Result<(), Refusal> {
        known_in(&self.live.tables(), target).map(drop)
    }

    /// What the levers as they are shed of a target's upstream.
    ///
    /// # Errors
    /// When the target is unknown.
    pub fn forecast_now(&self, target: &Target) -> Result<Forecast, Refusal> {
        let tables = self.live.tables();
        let upstream = known_in(&tables, target)?;
        let state = self.state();
        Ok(state.forecast(upstream, &state.levers))
    }

    /// What a person should know: levers that wait for their name, and what is not on disk.
    pub fn reasons(&self, table: &Table) -> Vec<String> {
        let state = self.state();
        let mut reasons = dormant(&state.levers, table);
        reasons.extend(warnings(&state, table));
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
        let (shares, now) = (upstream.cluster.shares.load(), Instant::now());
        let forecast = self.forecast(upstream, &self.levers);
        let target = Target::Upstream(upstream.name.clone());
        let found = self.watchman.references(upstream, &self.levers, &self.comebacks);
        let backends = upstream.cluster.backends.iter().zip(&shares.of).zip(&found);
        UpstreamSight {
            ramp: self.levers.get(&target).map(|lever| seen(&target, lever, Some(forecast))),
            total: shares.total,
            cohort: self.crowd.standing(&upstream.name).map(|standing| cohort(&standing)),
            low_classes_out: shares.low_classes_out,
            adaptive: self.limits.view(upstream),
            backends: backends
                .enumerate()
                .map(|(index, ((backend, share), found))| BackendSight {
                    sick: self.watchman.ward.state_of(upstream, index, now),
                    ..self.backend(upstream, backend, (share, found, forecast))
                })
                .collect(),
        }
    }

    fn backend(
        &self,
        upstream: &Upstream,
        backend: &Backend,
        (share, found, forecast): (&Share, &Found, Forecast),
    ) -> BackendSight {
        let name = &backend.settings.name;
        let target = Target::Backend(upstream.name.clone(), name.clone());
        BackendSight {
            ramp: self.levers.get(&target).map(|lever| seen(&target, lever, Some(forecast))),
            automatic: self
                .comebacks
                .of(&place(upstream, backend))
                .map(|running| automatic(upstream, running, Some(forecast))),
            drain: self.levers.drained_by(&upstream.name, name).map(|it| drained(&target, it)),
            percent: effective(upstream, backend, &self.levers, &self.comebacks),
            cap: share.cap,
            reference: reference(found),
            out: share.out,
            sick: None,
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

/// What brings a backend back by itself, as a lever that nobody set.
fn automatic(upstream: &Upstream, running: &Running, forecast: Option<Forecast>) -> LeverView {
    let Running { ramp, name, cause, since_ms, fleet, .. } = running;
    let (percent, left) = ramp.next(&course(upstream));
    let then = (ramp.percent() < 100.0).then(|| ThenView {
        percent,
        in_seconds: left.as_secs_f64().round(),
        paused: ramp.is_paused(),
    });
    let fleet = if *fleet { ", with its whole fleet" } else { "" };
    let held = ramp.held().map(|held| format!("; {held}")).unwrap_or_default();
    let back = match ramp.back_offs() {
        0 => String::new(),
        times => format!("; it went back {times} times"),
    };
    let signature = Signature {
        by: "tidegate".to_owned(),
        reason: format!("{cause}{fleet}{back}{held}"),
        since_ms: *since_ms,
    };
    let target = Target::Backend(upstream.name.clone(), name.as_str().into());
    let held = ramp.held().map(|why| why.as_str().to_owned());
    LeverView { percent: ramp.percent(), then, held, forecast, ..signed("automatic", &target, &signature) }
}

/// What a person should look at: backends that keep failing on their way back, and addresses that are shared.
fn warnings(state: &State, table: &Table) -> Vec<String> {
    let alerts = state.comebacks.running().iter().filter(|(_, running)| running.ramp.alerts());
    let alerts = alerts.map(|((upstream, _), running)| {
        let (name, percent, times) = (&running.name, running.ramp.percent(), running.ramp.back_offs());
        format!(
            "{upstream}/{name} restarted and fails again above {percent} %: its ramp went back {times} times"
        )
    });
    let shared = state.comebacks.shared(table).into_iter().map(|target| {
        format!(
            "boot ids of {target} take turns, so several servers share its address: they are ignored there"
        )
    });
    alerts.chain(shared).take(MOST_WARNINGS).collect()
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
