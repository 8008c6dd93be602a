//! Reads the running gateway into plain values, at one moment, without stopping anything.

mod auths;
mod keys;
mod names;
pub mod pulse;

use crate::admission::{class_limit, stays_out};
use crate::balancing::{Backend, Cluster, Group};
use crate::control::Control;
use crate::control::certificates::Owner;
use crate::control::change::Conductor;
use crate::control::condition::{About, Condition};
use crate::control::notify::SinkView;
use crate::control::steering::sight::{BackendSight, UpstreamSight};
use crate::control::trial::TrialSight;
use crate::control::view::{
    AuthView, BackendView, ClassView, GatewayView, LatelyView, ListenerView, RetriesView, UpstreamView,
    VersionView, WorkerView,
};
use crate::listener::Listener;
use crate::listener::limits::Refusal;
use crate::request::Class;
use crate::routing::table::Upstream;
use crate::routing::trial::Tables;
use crate::runtime::watchdog::Heartbeats;
use crate::server::process::Process;
use crate::telemetry::metrics::RetryOutcome;
use crate::upstream::certificate::epoch_seconds;
use crate::worker::Workers;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

/// What there is to see beside the control plane.
pub struct Observatory {
    /// Configuration and tables.
    pub control: Arc<Control>,
    /// Whoever conducts changes.
    pub conductor: Arc<Conductor>,
    /// The process's own bounds.
    pub process: Arc<Process>,
    /// The cores.
    pub workers: Arc<Workers>,
    /// Are they turning?
    pub hearts: Arc<Heartbeats>,
    /// How many cores there are.
    pub cores: usize,
    /// The process's start.
    pub started: Instant,
    /// Everything is up.
    pub ready: AtomicBool,
}

impl Observatory {
    /// The whole gateway.
    pub fn view(&self) -> GatewayView {
        let tables = self.control.live.tables();
        let table = &tables.stable;
        let workers = self.workers(table.highest_class());
        let stuck = workers.iter().any(|worker| worker.stuck);
        let draining = self.process.is_draining();
        let started = self.ready.load(Relaxed);
        let (mut conditions, degraded, successful) = self.conditions(started, draining, &workers);
        conditions.extend(self.conductor.conditions());
        let levers = self.control.steering().reasons(table);
        conditions.extend(levers.into_iter().map(|why| About::Levers.says(why)));
        let thresholds = self.control.thresholds();
        conditions.extend(self.control.incidents().conditions(&thresholds));
        let trial = self.control.trial();
        conditions.extend(trial.as_ref().filter(|trial| trial.per_request).map(chosen_at_random));
        let auths = auths::auths(&tables);
        conditions.extend(auths.iter().filter_map(AuthView::condition));
        let notify = self.control.notifier().view();
        conditions.extend(notify.sinks.iter().filter_map(SinkView::condition));
        let version = self.version();
        let now = self.epoch_nanos();
        let mut view = GatewayView {
            version,
            degraded,
            reasons: Vec::new(),
            conditions: Vec::new(),
            ready: started && !draining && !stuck,
            draining,
            last_apply_successful: successful,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            in_flight: self.process.in_flight.get(),
            max_in_flight: table.max_in_flight,
            streams: self.process.streams.get(),
            max_streams: table.max_streams,
            buffered_bytes: self.process.memory.used(),
            max_buffered_bytes: table.max_buffered,
            workers,
            listeners: self.listeners(),
            upstreams: upstreams(&tables, self.control.steering().sight(tables.upstreams()), now),
            lookups: names::lookups(self.control.lookups()),
            auths,
            rollout: self.conductor.view(None),
            notify,
            incidents: self.control.incidents().view(&thresholds),
            status_page: None,
            lately: LatelyView::default(),
        };
        self.add_certificates(&mut view);
        conditions.into_iter().for_each(|condition| view.say(condition));
        view
    }

    fn add_certificates(&self, view: &mut GatewayView) {
        let state = self.control.state();
        for listener in &mut view.listeners {
            listener.tls = state.certificates.view(&Owner::Listener(listener.name.as_str().into()));
        }
        for upstream in &mut view.upstreams {
            upstream.tls = state.certificates.view(&Owner::Upstream(upstream.name.as_str().into()));
        }
    }

    fn version(&self) -> VersionView {
        let state = self.control.state();
        let origin = state.active.origin.clone();
        VersionView {
            number: state.number,
            hash: state.active.plan.hash.clone(),
            cause: origin.cause,
            by: origin.by,
            reason: origin.reason,
            since: origin.since,
            overrules_file: state.active.overruled.is_some(),
        }
    }

    fn epoch_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn conditions(
        &self,
        started: bool,
        draining: bool,
        workers: &[WorkerView],
    ) -> (Vec<Condition>, bool, bool) {
        let state = self.control.state();
        let mut told = Vec::new();
        if !started {
            told.push(About::Starting.says("starting"));
        }
        if draining {
            told.push(About::Draining.says("draining"));
        }
        let stuck = workers.iter().filter(|worker| worker.stuck);
        told.extend(stuck.map(|worker| About::CoreStuck.says(format!("core {} is stuck", worker.worker))));
        told.extend(workers.iter().filter_map(strain));
        let unkept = self.control.books().trouble().map(|why| {
            let directory = self.control.store().directory().display();
            format!("the state directory {directory} does not have the active version, so a restart may not: {why}")
        });
        let degraded = state.degraded.as_ref().or(unkept.as_ref());
        told.extend(degraded.map(|why| About::Degraded.says(format!("degraded: {why}"))));
        let refused = state.refused.iter().filter(|why| state.degraded.as_ref() != Some(why));
        let refused = refused.map(|why| format!("the last change was refused: {why}"));
        told.extend(refused.map(|why| About::ChangeRefused.says(why)));
        if state.active.overruled.is_some() {
            let origin = state.active.origin.told();
            let why = format!("the file is not what runs: the active version was {origin}");
            told.push(About::FileOverruled.says(why));
        }
        told.extend(state.certificates.conditions(epoch_seconds(SystemTime::now())));
        (told, degraded.is_some(), state.refused.is_none())
    }

    fn workers(&self, highest: Class) -> Vec<WorkerView> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let worker = |core: usize| {
            let (closed, mean_late_ms) = self.hearts.strain(core);
            WorkerView {
                worker: core,
                connections: self.workers.connections(core),
                lag_seconds: self.hearts.lag_seconds(core, now),
                mean_late_ms,
                closed_classes: Class::closed(closed, highest).iter().map(ToString::to_string).collect(),
                stuck: self.hearts.stuck(core),
            }
        };
        (0..self.cores).map(worker).collect()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let all = self.control.listeners.all();
        let view = |listener: &Arc<Listener>| ListenerView {
            name: listener.name().to_string(),
            address: listener.bound().to_string(),
            connections: listener.limits().connections(),
            parked: listener.limits().parked(),
            max_connections: listener.settings().max_connections,
            accepted: listener.counts().accepted.load(Relaxed),
            accept_errors: listener.counts().failed.load(Relaxed),
            accept_pauses: listener.counts().paused.load(Relaxed),
            refused: Refusal::ALL
                .iter()
                .map(|why| (why.as_str().to_owned(), listener.limits().refused(*why)))
                .collect(),
            tls: None,
        };
        all.iter().map(view).collect()
    }
}

/// Those of the stable version, and those that only a candidate has.
fn upstreams(tables: &Tables, sights: Vec<UpstreamSight>, now: u64) -> Vec<UpstreamView> {
    tables.upstreams().zip(sights).map(|(upstream, sight)| upstream_view(upstream, sight, now)).collect()
}

/// That clients meet both versions in turn, and why.
fn chosen_at_random(trial: &TrialSight) -> Condition {
    About::ChosenAtRandom.says(format!(
        "version {} is tried with {:.1} % of the requests, each chosen for itself: there were fewer than 100 clients in \
         the last minute, or one of them is more than that share",
        trial.number,
        100.0 * trial.share.part()
    ))
}

/// That a core refuses classes, and why.
fn strain(worker: &WorkerView) -> Option<Condition> {
    let closed = worker.closed_classes.join(", ");
    let late = worker.mean_late_ms;
    let text = || format!("core {} does not keep up ({late} ms late): it refuses {closed}", worker.worker);
    (!closed.is_empty()).then(|| About::CoreLate.says(text()))
}

fn retries(upstream: &Upstream) -> RetriesView {
    let budget = &upstream.cluster.budget;
    let outcome = |outcome: RetryOutcome| (outcome.as_str().to_owned(), upstream.metrics.retries(outcome));
    RetriesView {
        tokens: budget.tokens(upstream.cluster.settings.retry.budget),
        in_flight: budget.retrying(),
        outcomes: RetryOutcome::ALL.into_iter().map(outcome).collect(),
    }
}

fn upstream_view(upstream: &Upstream, sight: UpstreamSight, now: u64) -> UpstreamView {
    let cap = upstream.gate.max_in_flight;
    let limit = sight.limit(cap);
    let class = |class: &Class| ClassView {
        class: class.as_str().to_owned(),
        limit: if sight.low_classes_out && stays_out(*class, upstream.highest) {
            0
        } else {
            class_limit(limit, *class, upstream.highest)
        },
    };
    UpstreamView {
        name: upstream.name.to_string(),
        in_flight: upstream.shared.line.in_flight.get(),
        limit,
        max_in_flight: cap,
        queue_depth: upstream.shared.line.waiting.get(),
        max_waiting: upstream.gate.max_waiting,
        zombies: upstream.shared.zombies.get(),
        stream_zombies: upstream.shared.stream_zombies.get(),
        retries: retries(upstream),
        classes: upstream.classes.iter().map(class).collect(),
        ramp_percent: sight.ramp.as_ref().map_or(100.0, |ramp| ramp.percent),
        ramp: sight.ramp,
        cohort: sight.cohort,
        adaptive: sight.adaptive,
        lately: LatelyView::default(),
        tls: None,
        backends: backends(&upstream.cluster, sight.backends, now),
    }
}

/// Each backend as it is configured, with its addresses where its name has some.
fn backends(cluster: &Cluster, sights: Vec<BackendSight>, now: u64) -> Vec<BackendView> {
    let all = cluster.backends.iter().zip(sights);
    let mut all = all.map(|(backend, sight)| backend_view(backend, sight, now));
    let group = |group: &Group| names::together(group, all.by_ref().take(group.members.len()).collect());
    cluster.groups.iter().map(group).collect()
}

fn backend_view(backend: &Backend, sight: BackendSight, now: u64) -> BackendView {
    let endpoint = &backend.endpoint;
    let up = backend.is_present();
    let allowed = endpoint.connects_allowed.load(Relaxed) as usize;
    BackendView {
        name: backend.settings.name.to_string(),
        address: backend.at.to_string(),
        resolved: endpoint.addresses.load().list.iter().map(ToString::to_string).collect(),
        addresses: Vec::new(),
        came_seconds: backend.came.map(|came| came.elapsed().as_secs_f64().round()),
        lookup: None,
        up: up && !sight.out,
        state: state(backend, &sight, up),
        weight: backend.settings.weight.get(),
        in_flight: backend.in_flight.get(),
        cap: sight.cap,
        max_in_flight: backend.cap,
        streams: backend.streams.get(),
        max_streams: backend.max_streams,
        connecting: u32::try_from(allowed.saturating_sub(endpoint.connects.load().available_permits()))
            .unwrap_or(0),
        ewma_ms: Some(backend.latency.get(now)).filter(|ns| *ns > 0).map(|ns| ns as f64 / 1e6),
        ramp_percent: sight.percent,
        ramp: sight.ramp,
        automatic: sight.automatic,
        incarnations: backend.metrics.incarnations.get(),
        drain: sight.drain,
        reference: sight.reference,
    }
}

/// `ready`, or why it is not picked: what the name service said is what the person on call needs.
fn state(backend: &Backend, sight: &BackendSight, up: bool) -> String {
    match backend.endpoint.addresses.failure() {
        // Whoever reads this is about to switch it off: a tunnel that is open counts.
        _ if sight.drain.is_some() || sight.percent <= 0.0 => {
            match (backend.in_flight.get(), backend.streams.get()) {
                (0, 0) => "drained".to_owned(),
                _ => "draining".to_owned(),
            }
        }
        _ if up => sight.sick.clone().unwrap_or_else(|| "ready".to_owned()),
        Some(why) => format!("the name has not resolved: {why}"),
        None => "the name has not resolved yet".to_owned(),
    }
}
