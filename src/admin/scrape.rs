//! `/metrics`: counters from the cells, gauges from the view, the process, as Prometheus text.
//!
//! All are read at the scrape through one collector in a registry. At most `MAX_SCRAPES` at a time; the next
//! is told to come again, so that a herd of scrapers cannot keep the thread from its operators.

use super::problem::Problem;
use super::{AdminState, gauges, process};
use crate::telemetry::family::Family;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// Scrapes at a time.
pub const MAX_SCRAPES: usize = 16;

/// What answers a scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    registry: Registry,
    turns: Semaphore,
}

impl Scrape {
    pub(super) fn new(sources: super::Sources) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        // The registry wants to know a collector by a family of its own.
        let name = Desc::new("tidegate_build_info".into(), "The program.".into(), vec![], HashMap::new())?;
        registry.register(Box::new(Gateway { name, sources, start: SystemTime::now() }))?;
        Ok(Scrape { registry, turns: Semaphore::new(MAX_SCRAPES) })
    }

    fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(state): State<Arc<AdminState>>) -> Result<Response, Problem> {
    let Ok(_turn) = state.scrape.turns.try_acquire() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many scrapes at a time."));
    };
    // Lets the others that wait be counted, and answered, before the work starts.
    tokio::task::yield_now().await;
    let text = state.scrape.text().map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("The metrics cannot be encoded: {error}"))
    })?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT))], text).into_response())
}

/// Everything, as one collector.
struct Gateway {
    name: Desc,
    sources: super::Sources,
    start: SystemTime,
}

impl Collector for Gateway {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.name]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        families(&self.sources, self.start)
    }
}

/// Every family as it is now; `start` is when the process began.
pub(super) fn families(sources: &super::Sources, start: SystemTime) -> Vec<MetricFamily> {
    let view = (sources.view)();
    let mut families = sources.metrics.families();
    families.extend(gauges::families(&view).into_iter().map(Family::finish));
    families.extend(sources.events.families().into_iter().map(Family::finish));
    families.extend(sources.live.families().into_iter().map(Family::finish));
    if let Some(audit) = sources.audit.get() {
        families.extend(gauges::audit::families(&audit.view()).into_iter().map(Family::finish));
    }
    families.extend(process::families(start).into_iter().map(Family::finish));
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::settings::Settings;
    use crate::admin::{Sources, ViewSource};
    use crate::control::view::{BackendView, ClassView, GatewayView, ListenerView, UpstreamView, WorkerView};
    use crate::reject::Reason;
    use crate::request::Class;
    use crate::telemetry::cells::CoreId;
    use crate::telemetry::metrics::{Metrics, Source};
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn scrape() -> Scrape {
        let metrics = Arc::new(Metrics::new(2));
        metrics.route("orders").finished(CoreId(0), 200, Source::Backend, 3_000_000);
        metrics.route("orders").finished(CoreId(1), 503, Source::Gateway, 100_000);
        let orders = metrics.upstream("orders");
        orders.use_classes([Class::Default]);
        orders.shed(CoreId(1), Class::Default, Reason::QueueFull);
        metrics.backend("orders", "a");
        let view = GatewayView {
            workers: vec![WorkerView::default()],
            listeners: vec![ListenerView { name: "edge".into(), connections: 3, ..Default::default() }],
            upstreams: vec![UpstreamView {
                name: "orders".into(),
                limit: 8,
                classes: vec![ClassView { class: "default".into(), limit: 8 }],
                backends: vec![BackendView { name: "a".into(), up: true, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let view: ViewSource = Arc::new(move || view.clone());
        Scrape::new(Sources {
            metrics,
            view,
            events: Arc::default(),
            live: Arc::default(),
            audit: Arc::default(),
        })
        .expect("builds")
    }

    #[test]
    fn the_contract_is_exposed_with_zeros_for_what_never_counted() {
        let text = scrape().text().expect("encodes");
        for line in [
            r#"tidegate_requests_total{route="orders",code_class="2xx",source="backend"} 1"#,
            r#"tidegate_requests_total{route="orders",code_class="5xx",source="gateway"} 1"#,
            r#"tidegate_requests_total{route="-",code_class="4xx",source="gateway"} 0"#,
            r#"tidegate_request_duration_seconds_bucket{route="orders",le="0.001"} 1"#,
            r#"tidegate_request_duration_seconds_bucket{route="orders",le="+Inf"} 2"#,
            r#"tidegate_shed_total{upstream="orders",class="default",reason="queue_full"} 1"#,
            r#"tidegate_shed_total{upstream="orders",class="default",reason="upstream_limit"} 0"#,
            r#"tidegate_shed_total{upstream="-",class="default",reason="process_limit"} 0"#,
            r#"tidegate_upstream_queue_wait_seconds_count{upstream="orders"} 0"#,
            r#"tidegate_upstream_limit{upstream="orders"} 8"#,
            r#"tidegate_backend_up{upstream="orders",backend="a"} 1"#,
            r#"tidegate_backend_ejections_total{upstream="orders",backend="a"} 0"#,
            r#"tidegate_backend_incarnations_total{upstream="orders",backend="a"} 0"#,
            r#"tidegate_retries_total{upstream="orders",outcome="succeeded"} 0"#,
            r#"tidegate_rollbacks_total{cause="operator"} 0"#,
            r#"tidegate_connections{listener="edge"} 3"#,
            r#"tidegate_worker_lag_seconds{worker="0"} 0"#,
            r#"tidegate_config_version{hash=""} 1"#,
            "tidegate_access_log_dropped_total 0",
            "tidegate_config_degraded 0",
            "tidegate_rollout_stage_percent 0",
        ] {
            assert!(text.lines().any(|exposed| exposed == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains(r#"class="batch""#), "classes that no route uses are left out");
        assert!(text.contains("\nprocess_open_fds "), "{text}");
    }

    #[test]
    fn promtool_finds_nothing_to_say() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            assert!(std::env::var_os("TIDEGATE_REQUIRE_EXTERNAL").is_none(), "promtool is required");
            println!("skipped: promtool is not installed");
            return;
        };
        let text = scrape().text().expect("encodes");
        promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("reads it");
        let output = promtool.wait_with_output().expect("ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test]
    async fn a_herd_of_scrapers_is_told_to_come_again() {
        let settings = Settings::of(vec![]);
        let view: ViewSource = Arc::new(GatewayView::default);
        let state = AdminState::new(Arc::new(Metrics::new(1)), view, &settings).expect("builds");
        let scrapes = (0..MAX_SCRAPES + 4).map(|_| metrics(State(Arc::clone(&state))));
        let answers = futures_util::future::join_all(scrapes).await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(answered, MAX_SCRAPES);
        let refused = answers.into_iter().find_map(Result::err).expect("one too many").into_response();
        assert!(refused.status() == 503 && refused.headers().contains_key("retry-after"));
        // The turns came back.
        assert!(metrics(State(state)).await.is_ok());
    }
}
