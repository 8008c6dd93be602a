//! Every metric with its type, labels and help text, as a gateway that has one of everything exposes them: for the
//! reference. It needs no gateway and no network. Numbers are not looked at.

use super::{Sources, scrape};
use crate::control::audit::AuditView;
use crate::control::notify::{NotifyView, SinkView};
use crate::control::view::{
    AdaptiveView, AuthView, BackendView, CertificateView, ClassView, GatewayView, IncidentsView, KeptView,
    KeysView, ListenerView, LookupView, StatusPageView, TlsView, UpstreamView, WorkerView,
};
use crate::request::Class;
use crate::telemetry::metrics::Metrics;
use prometheus::proto::{MetricFamily, MetricType};
use std::sync::Arc;
use std::time::SystemTime;

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it is.
    pub help: String,
}

/// All of them, by name.
pub fn metrics() -> Vec<Described> {
    let metrics = Arc::new(Metrics::new(1));
    metrics.route("route");
    metrics.upstream("upstream").use_classes([Class::Default]);
    metrics.backend("upstream", "backend").expect_checks();
    metrics.auth("auth");
    let (events, live, audit, page) = Default::default();
    let sources = Sources { metrics, view: Arc::new(one_of_everything), events, live, audit, page };
    let mut families = scrape::families(&sources, SystemTime::now());
    let audit = super::gauges::audit::families(&AuditView::default());
    families.extend(audit.into_iter().map(crate::telemetry::family::Family::finish));
    let mut described: Vec<_> = families.iter().map(describe).collect();
    described.sort();
    described
}

fn describe(family: &MetricFamily) -> Described {
    let mut labels: Vec<String> = Vec::new();
    for label in family.get_metric().iter().flat_map(|sample| sample.get_label()) {
        if !labels.iter().any(|known| known == label.name()) {
            labels.push(label.name().to_owned());
        }
    }
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    };
    Described { name: family.name().to_owned(), kind, labels, help: family.help().to_owned() }
}

/// A gateway with one of everything that has numbers of its own.
fn one_of_everything() -> GatewayView {
    let tls = || Some(TlsView { certificates: vec![CertificateView::default()], ..TlsView::default() });
    let once = || [(String::new(), 0)].into();
    let backend = BackendView { lookup: Some(LookupView::default()), ..BackendView::default() };
    let upstream = UpstreamView {
        adaptive: Some(AdaptiveView { moves: once(), ..AdaptiveView::default() }),
        backends: vec![backend],
        classes: vec![ClassView::default()],
        tls: tls(),
        ..UpstreamView::default()
    };
    GatewayView {
        workers: vec![WorkerView::default()],
        listeners: vec![ListenerView { refused: once(), tls: tls(), ..ListenerView::default() }],
        upstreams: vec![upstream],
        auths: vec![AuthView {
            kept: Some(KeptView::default()),
            keys: Some(KeysView { age_seconds: Some(0.0), ..KeysView::default() }),
            ..AuthView::default()
        }],
        notify: NotifyView {
            sinks: vec![SinkView { last_success_seconds: Some(0.0), ..SinkView::default() }],
            ..NotifyView::default()
        },
        incidents: IncidentsView { drafted: once(), ..IncidentsView::default() },
        status_page: Some(StatusPageView { refused: once(), ..StatusPageView::default() }),
        ..GatewayView::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_once_with_its_labels_and_a_sentence() {
        let metrics = metrics();
        for pair in metrics.windows(2) {
            assert_ne!(pair[0].name, pair[1].name);
        }
        for metric in &metrics {
            assert!(metric.help.ends_with('.'), "{metric:?}");
        }
        let of =
            |name: &str| metrics.iter().find(|metric| metric.name == name).expect("is there").labels.clone();
        assert_eq!(of("tidegate_shed_total"), ["upstream", "class", "reason"]);
        assert_eq!(of("tidegate_backend_up"), ["upstream", "backend"]);
        assert_eq!(of("tidegate_certificate_refused"), ["listener", "upstream"]);
        assert_eq!(of("tidegate_ready"), Vec::<String>::new());
    }
}
