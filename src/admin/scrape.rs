//! `/metrics`: counters from the cells, gauges from the view, the process, as Prometheus text.
//!
//! All are read at the scrape through one collector in a registry, and put down away from the admin thread, one
//! scrape after the other: with thousands of backends that is megabytes, and operators must not wait for them. At
//! most `MAX_SCRAPES` are at it or wait; the next is told to come again.

use super::problem::Problem;
use super::{AdminState, gauges, process};
use crate::runtime::offload::{Declined, Offload};
use crate::telemetry::family::Family;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Registry, TEXT_FORMAT, TextEncoder};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Scrapes at a time, those that wait included.
pub const MAX_SCRAPES: usize = 16;

/// How long a scraper is let wait, its turn included: less than a request may take, so that it is told why.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// What is given to the compression at a time. The encoder writes word by word.
const PIECE: usize = 32 << 10;

/// What answers a scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    registry: Registry,
    turns: Offload,
}

impl Scrape {
    pub(super) fn new(sources: super::Sources) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        // The registry wants to know a collector by a family of its own.
        let name = Desc::new("tidegate_build_info".into(), "The program.".into(), vec![], HashMap::new())?;
        registry.register(Box::new(Gateway { name, sources, start: SystemTime::now() }))?;
        Ok(Scrape { registry, turns: Offload::with_queue(1, MAX_SCRAPES - 1) })
    }

    /// Everything as it is now, for whoever takes it packed or not.
    async fn text(&self, packed: bool) -> Result<Vec<u8>, Problem> {
        let registry = self.registry.clone();
        let write = move || if packed { pack(&registry) } else { put_down(&registry, Vec::new()) };
        match self.turns.run(PATIENCE, write).await {
            Ok(text) => text.map_err(|error| {
                let detail = format!("The metrics cannot be encoded: {error}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }),
            Err(Declined::Busy) => {
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many scrapes at a time."))
            }
            Err(Declined::Late) => {
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The metrics were not put down in time."))
            }
            Err(Declined::Failed) => {
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be read."))
            }
        }
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let packed = takes_gzip(&headers);
    let text = state.scrape.text(packed).await?;
    let mut answer = ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response();
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

/// Writes all families into `out`, which is given back.
fn put_down<W: Write>(registry: &Registry, out: W) -> Result<W, prometheus::Error> {
    let mut out = BufWriter::with_capacity(PIECE, out);
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    out.into_inner().map_err(|error| prometheus::Error::Io(error.into_error()))
}

/// The same as gzip, as fast as that goes: it is a fifteenth of the text already.
fn pack(registry: &Registry) -> Result<Vec<u8>, prometheus::Error> {
    let packed = put_down(registry, GzEncoder::new(Vec::new(), Compression::fast()))?;
    packed.finish().map_err(prometheus::Error::Io)
}

/// Says `Accept-Encoding` that gzip may be sent?
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
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
    let mut view = (sources.view)();
    sources.page_into(&mut view);
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
    use std::io::Read;
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
        let (events, live, audit, page) = Default::default();
        Scrape::new(Sources { metrics, view, events, live, audit, page }).expect("builds")
    }

    fn text_of(scrape: &Scrape) -> String {
        String::from_utf8(put_down(&scrape.registry, Vec::new()).expect("encodes")).expect("UTF-8")
    }

    #[test]
    fn the_contract_is_exposed_with_zeros_for_what_never_counted() {
        let text = text_of(&scrape());
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
        let text = text_of(&scrape());
        promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("reads it");
        let output = promtool.wait_with_output().expect("ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test]
    async fn a_herd_of_scrapers_is_told_to_come_again() {
        let settings = Settings::of(vec![]);
        let view: ViewSource = Arc::new(GatewayView::default);
        let state = AdminState::new(Arc::new(Metrics::new(1)), view, &settings).expect("builds");
        let scrapes = (0..MAX_SCRAPES + 4).map(|_| metrics(State(Arc::clone(&state)), HeaderMap::new()));
        let answers = futures_util::future::join_all(scrapes).await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(answered, MAX_SCRAPES);
        let refused = answers.into_iter().find_map(Result::err).expect("one too many").into_response();
        assert!(refused.status() == 503 && refused.headers().contains_key("retry-after"));
        // The turns came back.
        assert!(metrics(State(state), HeaderMap::new()).await.is_ok());
    }

    #[test]
    fn what_is_packed_is_the_same_text_and_much_less() {
        let scrape = scrape();
        let packed = pack(&scrape.registry).expect("packs");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut text).expect("unpacks");
        let names = |text: &str| text.lines().map(|line| line.split(' ').next().map(str::to_owned)).collect();
        let (unpacked, plain): (Vec<_>, Vec<_>) = (names(&text), names(&text_of(&scrape)));
        assert_eq!(unpacked, plain);
        assert!(packed.len() * 3 < text.len(), "{} of {} bytes", packed.len(), text.len());
    }

    #[test]
    fn only_who_says_so_gets_it_packed() {
        let takes = |value: &str| {
            let value = HeaderValue::try_from(value).expect("a value");
            takes_gzip(&[(ACCEPT_ENCODING, value)].into_iter().collect())
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("deflate ,gzip"));
        assert!(!takes("gzip;q=0") && !takes("gzip; q=0.0") && !takes("identity") && !takes("*"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
