//! What everybody who watches sees of one second: small at any size, because of backends it only has how many there
//! are and how the worst of them is. Whoever asked for one upstream gets the whole of that.
//!
//! It is written once, as the frame that is sent, and handed to all.

use crate::admin::series::meter::Rates;
use crate::control::change::view::RolloutView;
use crate::control::permits::{ClientShare, PermitGroup, PermitsView};
use crate::control::view::{BackendView, GatewayView, LatelyView, UpstreamView, WorkerView};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups of holders in a snapshot, the greatest first; all are at `/v1/permits`.
const MAX_GROUPS: usize = 50;

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
    #[serde(flatten)]
    lately: &'a LatelyView,
    ramp_percent: f64,
    backends_total: usize,
    backends_ready: usize,
    /// How the worst backend is, in a word of [`STATES`].
    worst_state: &'static str,
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
        rates.tell(&mut view);
        let upstreams = std::mem::take(&mut view.upstreams);
        let shape = Shape {
            at: format!("{:.3}", Timestamp::now()),
            status: &view,
            rollout: &view.rollout,
            upstreams: upstreams.iter().map(row).collect(),
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

fn row(upstream: &UpstreamView) -> Row<'_> {
    let backends = &upstream.backends;
    Row {
        name: &upstream.name,
        in_flight: upstream.in_flight,
        limit: upstream.limit,
        max_in_flight: upstream.max_in_flight,
        queue: upstream.queue_depth,
        max_waiting: upstream.max_waiting,
        zombies: upstream.zombies,
        lately: &upstream.lately,
        ramp_percent: upstream.ramp_percent,
        backends_total: backends.len(),
        backends_ready: backends.iter().filter(|backend| backend.state == "ready").count(),
        worst_state: backends.iter().map(worst).min_by_key(|word| rank(word)).unwrap_or(READY),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::series::lately::MAX_SHEDS;
    use crate::admin::series::meter::{Flow, UpstreamRates};
    use crate::admin::series::times::Quantile;
    use serde_json::Value;
    use std::collections::HashMap;

    fn backend(name: &str, state: &str) -> BackendView {
        BackendView { name: name.into(), state: state.into(), ramp_percent: 100.0, ..BackendView::default() }
    }

    fn upstream(backends: Vec<BackendView>) -> UpstreamView {
        UpstreamView { name: "u".into(), backends, ..UpstreamView::default() }
    }

    fn shown(view: GatewayView, rates: &Rates, permits: &PermitsView, wanted: Option<&str>) -> Value {
        let names: Vec<Arc<str>> = wanted.into_iter().map(Arc::from).collect();
        let frame = Snapshot::of(1, view, rates, permits, &names).frame(wanted).expect("it is there");
        let text = std::str::from_utf8(&frame).expect("UTF-8");
        let data = text.strip_prefix("event: snapshot\ndata: ").and_then(|text| text.strip_suffix("\n\n"));
        serde_json::from_str(data.expect("one event")).expect("JSON")
    }

    fn of(upstream: UpstreamView, rates: &Rates) -> Value {
        let view = GatewayView { upstreams: vec![upstream], ..GatewayView::default() };
        shown(view, rates, &PermitsView::default(), None)["upstreams"][0].clone()
    }

    #[test]
    fn a_row_says_how_the_worst_backend_is() {
        let ramped = BackendView { ramp_percent: 25.0, ..backend("a", "ready") };
        let one_address = BackendView {
            addresses: vec![backend("n", "ready"), backend("n", "down: 3 checks failed (503)")],
            ..backend("n", "1 of 2 ready; 10.0.0.2:80: down: 3 checks failed (503)")
        };
        for (worst, backend, ready) in [
            ("ready", backend("a", "ready"), 2),
            ("ramped", ramped, 2),
            ("drained", backend("a", "drained"), 1),
            ("draining", backend("a", "draining"), 1),
            ("probing", backend("a", "probing: 5 in a row"), 1),
            ("ejected", backend("a", "ejected for 12 s: 5 in a row failed"), 1),
            ("down", backend("a", "down: 3 checks failed (timeout)"), 1),
            ("unresolved", backend("a", "the name has not resolved yet"), 1),
            ("down", one_address, 1),
            ("ready", backend("a", "ready; old addresses, for 40 s: no answer"), 1),
        ] {
            let said = backend.state.clone();
            let row = of(upstream(vec![self::backend("well", "ready"), backend]), &Rates::default());
            assert_eq!(row["worst_state"], worst, "{said}");
            assert_eq!(
                (&row["backends_total"], &row["backends_ready"]),
                (&2.into(), &ready.into()),
                "{said}"
            );
        }
        assert_eq!(of(upstream(vec![]), &Rates::default())["worst_state"], "ready");
    }

    #[test]
    fn rates_are_there_once_they_are_known_and_kinds_of_sheds_are_bounded() {
        let row = of(upstream(vec![]), &Rates::default());
        assert_eq!((&row["requests_per_second"], &row["sheds"]), (&Value::Null, &Value::Array(vec![])));
        let sheds = vec![("default", "queue_full", 1.0 / 3.0); MAX_SHEDS + 5];
        let flow = Flow { requests: 10.0, sheds: 5.0 };
        let p50 = Some(Quantile { seconds: 0.012_345_6, at_least: false });
        let known = UpstreamRates { flow, p50, sheds, ..UpstreamRates::default() };
        let rates = Rates { upstreams: HashMap::from([("u".into(), known)]), ..Rates::default() };
        let row = of(upstream(vec![]), &rates);
        assert_eq!((&row["requests_per_second"], &row["shed_per_second"]), (&10.0.into(), &5.0.into()));
        assert_eq!(
            (&row["latency_p50_seconds"], &row["latency_p99_seconds"]),
            (&0.0123.into(), &Value::Null)
        );
        assert_eq!(
            (row["sheds"].as_array().map(Vec::len), &row["sheds"][0]["per_second"]),
            (Some(MAX_SHEDS), &0.3333.into())
        );
    }

    #[test]
    fn everybody_sees_the_gateway_without_its_backends_and_the_greatest_holders() {
        let view = || GatewayView {
            ready: true,
            workers: vec![WorkerView::default()],
            upstreams: vec![upstream(vec![backend("a\n\nb", "ready")])],
            ..GatewayView::default()
        };
        let group = |count| PermitGroup { count, ..PermitGroup::default() };
        let summary = (0..MAX_GROUPS + 1).rev().map(group).collect();
        let permits = PermitsView { total: 9, summary, unanswered: vec![1], ..PermitsView::default() };
        let all = shown(view(), &Rates::default(), &permits, None);
        assert_eq!(
            (&all["status"]["ready"], &all["status"]["upstreams"]),
            (&true.into(), &Value::Array(vec![]))
        );
        serde_json::from_value::<GatewayView>(all["status"].clone())
            .expect("it is read like any other status");
        let held = &all["permits"];
        assert_eq!(
            (&held["total"], &held["truncated"], &held["unanswered"][0]),
            (&9.into(), &true.into(), &1.into())
        );
        assert_eq!(
            (held["summary"].as_array().map(Vec::len), &held["summary"][0]["count"]),
            (Some(50), &50.into())
        );
        assert_eq!((all.get("upstream"), held.get("items")), (None, None));
        let one = shown(view(), &Rates::default(), &permits, Some("u"));
        assert_eq!(one["upstream"]["backends"][0]["name"], "a\n\nb", "no text breaks the frame");
        assert_eq!(shown(view(), &Rates::default(), &permits, Some("gone"))["upstream"], Value::Null);
    }

    #[test]
    fn a_snapshot_of_a_large_fleet_in_trouble_is_small() {
        let fleet = |n| UpstreamView {
            name: format!("an-upstream-with-a-name-of-its-own-{n:03}"),
            backends: (0..50).map(|n| backend(&format!("b{n}"), "ejected for 12 s: 5 in a row")).collect(),
            ..UpstreamView::default()
        };
        let upstreams: Vec<_> = (0..100).map(fleet).collect();
        let sheds = vec![("sheddable", "upstream_limit", 12_345.678_9); MAX_SHEDS + 5];
        let quantile = |seconds| Some(Quantile { seconds, at_least: true });
        let (p50, p99) = (quantile(1.234_5), quantile(12.345_6));
        let known = UpstreamRates { sheds, p50, p99, ..UpstreamRates::default() };
        let rates = upstreams.iter().map(|upstream| (upstream.name.as_str().into(), known.clone())).collect();
        let group = PermitGroup { upstream: upstreams[0].name.clone(), ..PermitGroup::default() };
        let permits = PermitsView { summary: vec![group; 5_000], ..PermitsView::default() };
        let view = GatewayView { upstreams, ..GatewayView::default() };
        let rates = Rates { upstreams: rates, ..Rates::default() };
        let frame = Snapshot::of(1, view, &rates, &permits, &[]).frame(None).expect("it is there");
        assert!(frame.len() < 128 << 10, "{} bytes", frame.len());
    }
}
