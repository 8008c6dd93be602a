//! One snapshot, as the gateway sends it each second, or as it is made from `/v1/status` of an older one.

use crate::cli::top::ink::cleaned;
use crate::control::change::view::RolloutView;
use crate::control::permits::PermitsView;
use crate::control::view::{BackendView, GatewayView, LatelyView, UpstreamView, WorkerView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The gateway at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::top) struct Snapshot {
    /// The whole view.
    pub status: GatewayView,
    /// The upstreams in numbers.
    pub rows: Vec<Row>,
    /// Who holds slots, counted.
    pub permits: PermitsView,
    /// Incidents that are open, and drafts; nothing where they have to be asked for.
    pub incidents: Option<Vec<Incident>>,
    /// One upstream with its backends, where the view leaves backends out.
    pub upstream: Option<UpstreamView>,
}

/// An upstream in numbers; nothing where they are not known.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub(in crate::cli::top) struct Row {
    /// Its name.
    pub name: String,
    /// In flight.
    pub in_flight: f64,
    /// Allowed in flight now.
    pub limit: f64,
    /// Waiting.
    pub queue: f64,
    /// May wait at most.
    pub max_waiting: f64,
    /// Its last seconds.
    #[serde(flatten)]
    pub lately: LatelyView,
    /// Of those in flight: given up, maybe still running at the backend.
    pub zombies: f64,
    /// 100 when unset.
    pub ramp_percent: f64,
    /// Its backends.
    pub backends_total: f64,
    /// Those of them that take requests.
    pub backends_ready: f64,
    /// The worst state of a backend, in a word.
    #[serde(alias = "worst_state", alias = "state")]
    pub worst: Option<String>,
}

/// An incident.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub(in crate::cli::top) struct Incident {
    /// Its number.
    pub id: u64,
    /// `draft`, `open` or `closed`.
    pub state: String,
    /// What people call it.
    pub title: String,
    /// `minor`, `major` or `critical`.
    pub severity: String,
    /// Whom it hits.
    pub upstreams: Vec<String>,
    /// Risky changes are held back.
    pub freeze: bool,
    /// Why the gateway drafted it.
    pub drafted_because: Option<String>,
    /// UTC, RFC 3339.
    pub opened_at: Option<String>,
    /// Who.
    pub opened_by: Option<String>,
}

impl Default for Row {
    fn default() -> Self {
        Row {
            name: String::new(),
            in_flight: 0.0,
            limit: 0.0,
            queue: 0.0,
            max_waiting: 0.0,
            lately: LatelyView::default(),
            zombies: 0.0,
            ramp_percent: 100.0,
            backends_total: 0.0,
            backends_ready: 0.0,
            worst: None,
        }
    }
}

impl Snapshot {
    /// Reads what `/v1/live` sends; nothing if it is no snapshot.
    pub fn read(live: &Value) -> Option<Snapshot> {
        let mut live = cleaned(live.clone());
        let mut status = live.get_mut("status")?.take();
        status.as_object()?;
        let nothing = json!({"upstreams": [], "listeners": [], "workers": [], "reasons": []});
        complete(&mut status, nothing);
        if let Some(permits) = live.get_mut("permits") {
            let nothing = PermitsView::default();
            complete(permits, json!(nothing));
        }
        let status: GatewayView = serde_json::from_value(status).ok()?;
        let mut snapshot = Snapshot {
            rows: list(&mut live, "upstreams"),
            permits: part(&mut live, "permits").unwrap_or_default(),
            incidents: live.get("incidents").is_some().then(|| list(&mut live, "incidents")),
            upstream: part(&mut live, "upstream"),
            status,
        };
        if let Some(rollout) = part(&mut live, "rollout") {
            snapshot.status.rollout = rollout;
        }
        if snapshot.status.workers.is_empty() {
            snapshot.status.workers = list(&mut live, "workers");
        }
        Some(snapshot)
    }

    /// Made of `/v1/status` and `/v1/permits`, where there is no `/v1/live`: with rates as far as that has them.
    pub fn of_status(status: &Value, permits: &Value) -> Option<Snapshot> {
        let mut snapshot = Snapshot::read(&json!({ "status": status, "permits": permits }))?;
        snapshot.rows = snapshot.status.upstreams.iter().map(Row::of).collect();
        Some(snapshot)
    }

    /// An upstream with its backends.
    pub fn upstream(&self, name: &str) -> Option<&UpstreamView> {
        self.upstream.iter().chain(&self.status.upstreams).find(|upstream| upstream.name == name)
    }

    /// The numbers of an upstream.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The change under way.
    pub fn rollout(&self) -> &RolloutView {
        &self.status.rollout
    }

    /// The core that is latest, and how late.
    pub fn lag(&self) -> Option<(&WorkerView, f64)> {
        let late = self.status.workers.iter().map(|worker| (worker, worker.lag_seconds));
        late.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

impl Row {
    fn of(upstream: &UpstreamView) -> Row {
        let ready = upstream.backends.iter().filter(|backend| is_ready(backend)).count();
        let worst = upstream.backends.iter().find(|backend| !is_ready(backend));
        Row {
            name: upstream.name.clone(),
            in_flight: upstream.in_flight.into(),
            limit: upstream.limit.into(),
            queue: upstream.queue_depth.into(),
            max_waiting: upstream.max_waiting.into(),
            lately: upstream.lately.clone(),
            zombies: upstream.zombies.into(),
            ramp_percent: upstream.ramp_percent,
            backends_total: upstream.backends.len() as f64,
            backends_ready: ready as f64,
            worst: worst.map(|backend| backend.state.clone()),
        }
    }

    /// How full it is: 0 to 1, more where a limit fell below what is in flight.
    pub fn fill(&self) -> f64 {
        if self.limit > 0.0 { self.in_flight / self.limit } else { 0.0 }
    }

    /// How much it needs to be looked at: 3 nobody serves it, or it hangs, 2 it sheds, 1 something is not as it should be.
    pub fn trouble(&self) -> u8 {
        let lame = self.backends_ready < self.backends_total;
        match () {
            () if self.backends_total > 0.0 && self.backends_ready == 0.0 => 3,
            () if self.lately.silent_seconds.is_some() => 3,
            () if self.lately.shed_per_second.is_some_and(|rate| rate > 0.0) => 2,
            () if lame || self.queue > 0.0 || self.ramp_percent < 100.0 || self.fill() >= 0.9 => 1,
            () => 0,
        }
    }
}

impl Incident {
    /// Those of `GET /v1/incidents` that can be read.
    pub fn listed(answer: &Value) -> Vec<Incident> {
        list(&mut json!({ "incidents": cleaned(answer.clone()) }), "incidents")
    }
}

/// Takes requests.
pub(in crate::cli::top) fn is_ready(backend: &BackendView) -> bool {
    backend.state == "ready"
}

/// Adds the members that a part leaves out.
fn complete(part: &mut Value, nothing: Value) {
    let (Value::Object(members), Value::Object(nothing)) = (part, nothing) else { return };
    for (name, value) in nothing {
        members.entry(name).or_insert(value);
    }
}

fn part<T: DeserializeOwned>(live: &mut Value, name: &str) -> Option<T> {
    let part = live.get_mut(name)?.take();
    if part.is_null() { None } else { serde_json::from_value(part).ok() }
}

/// The items of a list that can be read.
fn list<T: DeserializeOwned>(live: &mut Value, name: &str) -> Vec<T> {
    let mut part = live.get_mut(name).map(Value::take).unwrap_or_default();
    let items = match part.get_mut("items") {
        Some(items) => items.take(),
        None => part,
    };
    let Value::Array(items) = items else { return Vec::new() };
    items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_far_as_it_is_understood() {
        let status = json!(GatewayView { in_flight: 7, ..GatewayView::default() });
        let mut slim = status.clone();
        slim.as_object_mut().expect("an object").remove("upstreams");
        let live = json!({
            "at": "2026-11-22T19:35:00Z", "status": slim, "rollout": null, "new": {"x": 1},
            "upstreams": [
                {"name": "orders", "in_flight": 3, "limit": 4, "shed_per_second": 1.5, "worst": "ejected",
                 "sheds": [{"class": "batch", "reason": "class_limit", "per_second": 1.5}], "new": true},
                "what?",
            ],
            "permits": {"total": 3, "summary": [{"upstream": "orders", "route": "r", "class": "default",
                "phase": "waiting_for_backend", "count": 3, "oldest_seconds": 1.5}]},
            "incidents": [{"id": 3, "state": "open", "title": "slow\u{1b}", "freeze": true}],
        });
        let snapshot = Snapshot::read(&live).expect("a snapshot");
        assert_eq!((snapshot.status.in_flight, snapshot.rows.len()), (7, 1));
        let row = snapshot.row("orders").expect("orders");
        assert_eq!((row.fill(), row.trouble(), row.ramp_percent), (0.75, 2, 100.0));
        assert_eq!((snapshot.permits.total, snapshot.permits.summary[0].count), (3, 3));
        let incidents = snapshot.incidents.unwrap_or_default();
        assert_eq!(incidents.iter().map(|incident| &*incident.title).collect::<Vec<_>>(), ["slow?"]);
        assert_eq!(Incident::listed(&json!({"items": live["incidents"]})), incidents);
        for nothing in [json!({}), json!({"status": 7}), json!([]), json!({"status": {"in_flight": "x"}})] {
            assert!(Snapshot::read(&nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn an_older_gateway_is_shown_without_rates() {
        let backend = |name: &str, state: &str| BackendView {
            name: name.into(),
            state: state.into(),
            ..BackendView::default()
        };
        let upstream = UpstreamView {
            name: "orders".into(),
            in_flight: 9,
            limit: 10,
            ramp_percent: 100.0,
            backends: vec![backend("a", "ready"), backend("b", "ejected for 12 s")],
            ..UpstreamView::default()
        };
        let status = json!(GatewayView { upstreams: vec![upstream], ..GatewayView::default() });
        let snapshot = Snapshot::of_status(&status, &json!(PermitsView::default())).expect("a snapshot");
        let row = &snapshot.rows[0];
        assert_eq!((row.backends_ready, row.backends_total, row.trouble()), (1.0, 2.0, 1));
        assert_eq!((row.lately.requests_per_second, row.worst.as_deref()), (None, Some("ejected for 12 s")));
        assert_eq!(snapshot.upstream("orders").map(|upstream| upstream.backends.len()), Some(2));
    }
}
