//! What everybody who watches sees of one second: small at any size, because of backends it only has how many there
//! are and how the worst of them is. Whoever asked for one upstream gets the whole of that.
//!
//! It is written once, as the frame that is sent, and handed to all.

use crate::admin::series::meter::Rates;
use crate::control::change::view::RolloutView;
use crate::control::permits::{ClientShare, PermitGroup, PermitsView};
use crate::control::view::{BackendView, GatewayView, UpstreamView, WorkerView};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups of holders in a snapshot, the greatest first; all are at `/v1/permits`.
const MAX_GROUPS: usize = 50;
/// Kinds of sheds of an upstream in a snapshot, the most frequent first.
const MAX_SHEDS: usize = 10;

/// One second, as it is sent.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up.
    pub number: u64,
    plain: Bytes,
    /// With the whole of an upstream.
    with: BTreeMap<Arc<str>, Bytes>,
}

/// What everybody sees.
#[derive(Serialize)]
struct Shape<'a> {
    at: String,
    /// As `/v1/status`, but its list of upstreams is empty: that has every backend.
    status: &'a GatewayView,
    rollout: &'a RolloutView,
    upstreams: Vec<Row<'a>>,
    workers: &'a [WorkerView],
    permits: Counted<'a>,
}

/// One upstream in a line.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    in_flight: u32,
    limit: u32,
    max_in_flight: u32,
    queue: u32,
    max_waiting: u32,
    zombies: u32,
    requests_per_second: Option<f64>,
    shed_per_second: Option<f64>,
    latency_p50_seconds: Option<f64>,
    latency_p99_seconds: Option<f64>,
    ramp_percent: f64,
    backends_total: usize,
    backends_ready: usize,
    /// How the worst backend is, in a word of [`STATES`].
    worst_state: &'static str,
    sheds: Vec<Shed>,
}

#[derive(Serialize)]
struct Shed {
    class: &'static str,
    reason: &'static str,
    per_second: f64,
}

/// Who holds the slots, without the list of them.
#[derive(Serialize)]
struct Counted<'a> {
    total: usize,
    /// Some groups are left out.
    truncated: bool,
    summary: &'a [PermitGroup],
    clients: &'a [ClientShare],
    unanswered: &'a [usize],
}

impl Snapshot {
    /// Of a view and what belongs to it, with the whole of those upstreams that are wanted.
    pub fn of(
        number: u64,
        mut view: GatewayView,
        rates: &Rates,
        permits: &PermitsView,
        wanted: &[Arc<str>],
    ) -> Self {
        let upstreams = std::mem::take(&mut view.upstreams);
        let shape = Shape {
            at: format!("{:.3}", Timestamp::now()),
            status: &view,
            rollout: &view.rollout,
            upstreams: upstreams.iter().map(|upstream| row(upstream, rates)).collect(),
            workers: &view.workers,
            permits: counted(permits),
        };
        // Texts and numbers under texts: nothing in it can fail.
        let mut common = serde_json::to_string(&shape).unwrap_or_default();
        let plain = frame(&common);
        // Its last brace: one member more follows.
        common.pop();
        let with = wanted.iter().map(|name| {
            let whole = upstreams.iter().find(|upstream| *upstream.name == **name);
            let whole = serde_json::to_string(&whole).unwrap_or_default();
            (name.clone(), frame(&format!("{common},\"upstream\":{whole}}}")))
        });
        Snapshot { number, with: with.collect(), plain }
    }

    /// What is sent to somebody who wants this upstream, or none. Nothing if it was not known that they want it.
    pub fn frame(&self, upstream: Option<&str>) -> Option<Bytes> {
        match upstream {
            None => Some(self.plain.clone()),
            Some(name) => self.with.get(name).cloned(),
        }
    }
}

/// A server-sent event; JSON has no line breaks of its own.
fn frame(json: &str) -> Bytes {
    format!("event: snapshot\ndata: {json}\n\n").into()
}

fn row<'a>(upstream: &'a UpstreamView, rates: &Rates) -> Row<'a> {
    let rates = rates.upstreams.get(&*upstream.name);
    let shed = |(class, reason, per_second): &(&'static str, &'static str, f64)| Shed {
        class,
        reason,
        per_second: short(*per_second),
    };
    let backends = &upstream.backends;
    Row {
        name: &upstream.name,
        in_flight: upstream.in_flight,
        limit: upstream.limit,
        max_in_flight: upstream.max_in_flight,
        queue: upstream.queue_depth,
        max_waiting: upstream.max_waiting,
        zombies: upstream.zombies,
        requests_per_second: rates.map(|rates| short(rates.flow.requests)),
        shed_per_second: rates.map(|rates| short(rates.flow.sheds)),
        latency_p50_seconds: rates.and_then(|rates| rates.p50).map(short),
        latency_p99_seconds: rates.and_then(|rates| rates.p99).map(short),
        ramp_percent: upstream.ramp_percent,
        backends_total: backends.len(),
        backends_ready: backends.iter().filter(|backend| backend.state == "ready").count(),
        worst_state: backends.iter().map(worst).min_by_key(|word| rank(word)).unwrap_or(READY),
        sheds: rates.iter().flat_map(|rates| &rates.sheds).take(MAX_SHEDS).map(shed).collect(),
    }
}

/// The word of a backend that is picked as always.
const READY: &str = "ready";
/// What a backend that is picked but carries less than all of its share is called.
const RAMPED: &str = "ramped";
/// States of backends in a word, the worst first.
const STATES: [&str; 8] = ["down", "ejected", "unresolved", "probing", "draining", "drained", RAMPED, READY];

fn rank(word: &str) -> usize {
    STATES.iter().position(|known| *known == word).unwrap_or(STATES.len())
}

/// The word for a backend, or for the worst of its addresses.
fn worst(backend: &BackendView) -> &'static str {
    let own = || match backend.state.as_str() {
        READY if backend.ramp_percent < 100.0 => RAMPED,
        state if state.starts_with("the name has not resolved") => "unresolved",
        state => STATES.into_iter().find(|word| state.starts_with(word)).unwrap_or(READY),
    };
    match backend.addresses.iter().map(worst).min_by_key(|word| rank(word)) {
        Some(word) => word,
        None => own(),
    }
}

fn counted(permits: &PermitsView) -> Counted<'_> {
    let groups = permits.summary.len().min(MAX_GROUPS);
    Counted {
        total: permits.total,
        truncated: permits.summary.len() > groups,
        summary: &permits.summary[..groups],
        clients: &permits.clients,
        unanswered: &permits.unanswered,
    }
}

fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
