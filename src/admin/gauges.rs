//! The gateway's view as gauges: names, labels and help texts of what comes and goes.

pub(super) mod audit;
mod auths;
mod incidents;
mod keys;
mod names;
mod sinks;

use crate::control::view::{AdaptiveView, BackendView, GatewayView, UpstreamView};
use crate::telemetry::family::{Family, Labels};
use std::collections::BTreeMap;

/// Every gauge of the gateway at the moment of the view.
pub(super) fn families(view: &GatewayView) -> Vec<Family> {
    let mut families = gateway(view);
    families.extend(workers(view));
    families.extend(listeners(view));
    families.extend(upstreams(view));
    families.extend(limits(view));
    families.extend(backends(view));
    families.extend(names::families(view));
    families.extend(certificates(view));
    families.extend(incidents::families(view));
    families.extend(auths::families(view));
    families.extend(keys::families(view));
    families.extend(sinks::families(&view.notify));
    families
}

/// A family with one sample for each item.
fn each<'a, T: 'a>(
    name: &str,
    help: &str,
    items: impl IntoIterator<Item = &'a T>,
    mut sample: impl FnMut(&mut Family, &'a T),
) -> Family {
    let mut family = Family::gauge(name, help);
    items.into_iter().for_each(|item| sample(&mut family, item));
    family
}

fn one(name: &str, help: &str, labels: Labels<'_>, value: f64) -> Family {
    let mut family = Family::gauge(name, help);
    family.set(labels, value);
    family
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn gateway(view: &GatewayView) -> Vec<Family> {
    let version = [("hash", view.version.hash.as_str())];
    vec![
        one("tidegate_build_info", "The program.", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        one("tidegate_config_version", "The active version; always 1.", &version, 1.0),
        one(
            "tidegate_config_last_apply_successful",
            "1 if the last configuration that was read took effect.",
            &[],
            flag(view.last_apply_successful),
        ),
        one(
            "tidegate_config_degraded",
            "1 while running on something other than what it was told to run.",
            &[],
            flag(view.degraded),
        ),
        one("tidegate_ready", "1 while /readyz is 200.", &[], flag(view.ready)),
        one("tidegate_inflight", "Requests in the process.", &[], f64::from(view.in_flight)),
        one(
            "tidegate_inflight_limit",
            "Requests allowed in the process.",
            &[],
            f64::from(view.max_in_flight),
        ),
        one(
            "tidegate_streams",
            "Tunnels, and requests of streaming routes, in the process.",
            &[],
            f64::from(view.streams),
        ),
        one("tidegate_streams_limit", "Streams allowed in the process.", &[], f64::from(view.max_streams)),
        one(
            "tidegate_buffered_bytes",
            "Bytes buffered: beginnings of bodies, answers read ahead, what clients have not taken.",
            &[],
            view.buffered_bytes as f64,
        ),
        one(
            "tidegate_buffered_bytes_limit",
            "Bytes that may be buffered; at the limit new requests are refused as memory.",
            &[],
            view.max_buffered_bytes as f64,
        ),
        one("tidegate_uptime_seconds", "Since the start.", &[], view.uptime_seconds),
        one(
            "tidegate_rollout_stage_percent",
            "Share of clients that a running rollout serves; 0 while none runs.",
            &[],
            view.rollout.share_percent,
        ),
        one(
            "tidegate_break_glass",
            "1 while a change that went around the stages was not acknowledged.",
            &[],
            flag(view.rollout.break_glass.is_some()),
        ),
        one(
            "tidegate_rollout_waiting",
            "1 while a change waits for a person: an approval, a promotion, a confirmation.",
            &[],
            flag(view.rollout.waits_for_person()),
        ),
    ]
}

fn workers(view: &GatewayView) -> [Family; 3] {
    [
        each(
            "tidegate_worker_lag_seconds",
            "How late a core's event loop last was.",
            &view.workers,
            |family, worker| family.set(&[("worker", &worker.worker.to_string())], worker.lag_seconds),
        ),
        each(
            "tidegate_worker_closed_classes",
            "Classes that a core refuses because it does not keep up; 0 while it does.",
            &view.workers,
            |family, worker| {
                family.set(&[("worker", &worker.worker.to_string())], worker.closed_classes.len() as f64);
            },
        ),
        each(
            "tidegate_worker_connections",
            "Client connections that live on a core.",
            &view.workers,
            |family, worker| {
                family.set(&[("worker", &worker.worker.to_string())], f64::from(worker.connections));
            },
        ),
    ]
}

fn listeners(view: &GatewayView) -> Vec<Family> {
    let mut open = Family::gauge("tidegate_connections", "Open client connections, by listener.");
    let mut parked = Family::gauge(
        "tidegate_connections_parked",
        "Open client connections that only wait for their client's next word, by listener.",
    );
    let mut most = Family::gauge("tidegate_connections_limit", "Client connections allowed, by listener.");
    let mut accepted =
        Family::counter("tidegate_connections_accepted_total", "Connections accepted, by listener.");
    let mut errors = Family::counter("tidegate_accept_errors_total", "Accepts that failed, by listener.");
    let mut pauses = Family::counter(
        "tidegate_accept_pauses_total",
        "Pauses of accepting because the system was out of descriptors or memory, by listener.",
    );
    let mut refused = Family::counter(
        "tidegate_connections_refused_total",
        "Connections closed before they could carry a request, by listener and reason.",
    );
    for listener in &view.listeners {
        let name = ("listener", listener.name.as_str());
        open.set(&[name], f64::from(listener.connections));
        parked.set(&[name], f64::from(listener.parked));
        most.set(&[name], f64::from(listener.max_connections));
        accepted.count(&[name], listener.accepted);
        errors.count(&[name], listener.accept_errors);
        pauses.count(&[name], listener.accept_pauses);
        for (why, count) in &listener.refused {
            refused.count(&[name, ("reason", why)], *count);
        }
    }
    vec![open, parked, most, accepted, errors, pauses, refused]
}

fn upstreams(view: &GatewayView) -> Vec<Family> {
    let gauge = |name: &str, help: &str, value: fn(&UpstreamView) -> f64| {
        each(name, help, &view.upstreams, |family, upstream| {
            family.set(&[("upstream", &upstream.name)], value(upstream));
        })
    };
    let mut classes = Family::gauge(
        "tidegate_upstream_class_limit",
        "A class is admitted while fewer than this are in flight.",
    );
    for upstream in &view.upstreams {
        for class in &upstream.classes {
            let labels = [("upstream", upstream.name.as_str()), ("class", class.class.as_str())];
            classes.set(&labels, f64::from(class.limit));
        }
    }
    vec![
        gauge("tidegate_upstream_inflight", "In flight at an upstream, zombies included.", |upstream| {
            f64::from(upstream.in_flight)
        }),
        gauge("tidegate_upstream_limit", "In flight allowed at an upstream now.", |upstream| {
            f64::from(upstream.limit)
        }),
        gauge("tidegate_upstream_max_inflight", "Configured cap of an upstream.", |upstream| {
            f64::from(upstream.max_in_flight)
        }),
        gauge("tidegate_upstream_queue_depth", "Waiting for an upstream.", |upstream| {
            f64::from(upstream.queue_depth)
        }),
        gauge(
            "tidegate_retry_budget",
            "Second tries that an upstream's successes pay for now.",
            |upstream| upstream.retries.tokens,
        ),
        gauge("tidegate_upstream_queue_limit", "Allowed to wait for an upstream.", |upstream| {
            f64::from(upstream.max_waiting)
        }),
        gauge(
            "tidegate_zombies",
            "Given up by client or deadline, maybe still running at the backend.",
            |upstream| f64::from(upstream.zombies),
        ),
        gauge(
            "tidegate_stream_zombies",
            "Streams given up by client or deadline, maybe still open at the backend.",
            |upstream| f64::from(upstream.stream_zombies),
        ),
        gauge("tidegate_upstream_ramp_percent", "Ramp of an upstream; 100 when unset.", |upstream| {
            upstream.ramp_percent
        }),
        gauge(
            "tidegate_upstream_ramps_held",
            "Backends on their way back that do not get on: they fail, are slow or away, or nothing succeeds.",
            |upstream| {
                let ways = upstream.backends.iter().filter_map(|backend| backend.automatic.as_ref());
                ways.filter(|way| way.is_stuck()).count() as f64
            },
        ),
        gauge(
            "tidegate_upstream_cohort_percent",
            "Part of the clients that a ramped upstream serves; 100 when it serves whoever finds room.",
            |upstream| upstream.cohort.as_ref().map_or(100.0, |cohort| cohort.share_percent),
        ),
        classes,
    ]
}

/// Of the limits that find themselves; an upstream where that is off has none of them.
fn limits(view: &GatewayView) -> Vec<Family> {
    let of = || {
        let named = |upstream: &'_ UpstreamView| Some((upstream.name.clone(), upstream.adaptive.clone()?));
        view.upstreams.iter().filter_map(named)
    };
    let gauge = |name: &str, help: &str, value: fn(&AdaptiveView) -> f64| {
        let mut family = Family::gauge(name, help);
        of().for_each(|(upstream, limit)| family.set(&[("upstream", &upstream)], value(&limit)));
        family
    };
    let mut moves =
        Family::counter("tidegate_upstream_adaptive_moves_total", "Moves of the adaptive limit, by reason.");
    let mut sheds = Family::counter(
        "tidegate_upstream_shadow_shed_total",
        "Requests let in above an adaptive limit that does not act: at most so many it would have refused.",
    );
    for (upstream, limit) in of() {
        let name = ("upstream", upstream.as_str());
        limit.moves.iter().for_each(|(why, count)| moves.count(&[name, ("reason", why)], *count));
        sheds.count(&[name], limit.shadow_sheds);
    }
    vec![
        gauge(
            "tidegate_upstream_adaptive_limit",
            "In flight that the adaptive limit allows, whether it acts or not.",
            |limit| f64::from(limit.limit),
        ),
        gauge(
            "tidegate_upstream_adaptive_enforced",
            "1 if the adaptive limit refuses, 0 in shadow.",
            |limit| flag(limit.mode == "enforce"),
        ),
        gauge(
            "tidegate_upstream_adaptive_at_floor",
            "1 while the adaptive limit has been as low as it goes for ten seconds, in somebody's way.",
            |limit| flag(limit.at_floor),
        ),
        gauge(
            "tidegate_upstream_latency_objective_seconds",
            "Mean time to the answer's head that is aimed at now; raised while fewer in flight do not help.",
            |limit| limit.objective_seconds,
        ),
        moves,
        sheds,
    ]
}

fn backends(view: &GatewayView) -> Vec<Family> {
    let gauge = |name: &str, help: &str, value: fn(&BackendView) -> f64| {
        let mut family = Family::gauge(name, help);
        for upstream in &view.upstreams {
            for backend in &upstream.backends {
                let labels = [("upstream", upstream.name.as_str()), ("backend", backend.name.as_str())];
                family.set(&labels, value(backend));
            }
        }
        family
    };
    vec![
        gauge("tidegate_backend_up", "1 if a backend may be picked.", |backend| flag(backend.up)),
        gauge("tidegate_backend_inflight", "In flight at a backend, zombies included.", |backend| {
            f64::from(backend.in_flight)
        }),
        gauge("tidegate_backend_cap", "In flight allowed at a backend.", |backend| f64::from(backend.cap)),
        gauge("tidegate_backend_streams", "Streams at a backend, zombies included.", |backend| {
            f64::from(backend.streams)
        }),
        gauge("tidegate_backend_streams_limit", "Streams allowed at a backend.", |backend| {
            f64::from(backend.max_streams)
        }),
        gauge("tidegate_backend_connecting", "Connections being established.", |backend| {
            f64::from(backend.connecting)
        }),
        gauge("tidegate_backend_weight", "Weight of a backend.", |backend| f64::from(backend.weight)),
        gauge("tidegate_backend_latency_seconds", "Peak-EWMA of the time to response headers.", |backend| {
            backend.ewma_ms.unwrap_or_default() / 1000.0
        }),
        gauge(
            "tidegate_backend_ramp_percent",
            "Ramp of a backend, its upstream's and drains included; 100 when unset.",
            |backend| backend.ramp_percent,
        ),
        gauge(
            "tidegate_backend_reference_inflight",
            "In flight at a backend when it is well: what ramps are percentages of.",
            |backend| backend.reference.in_flight,
        ),
    ]
}

fn certificates(view: &GatewayView) -> [Family; 3] {
    let mut ends = Family::gauge(
        "tidegate_certificate_expiry_timestamp_seconds",
        "End of a certificate in use, by its listener or upstream and its file; seconds since 1970.",
    );
    let mut failures = Family::counter(
        "tidegate_certificate_reload_failures_total",
        "Times that changed certificate files could not be used, by listener or upstream.",
    );
    let mut refused = Family::gauge(
        "tidegate_certificate_refused",
        "1 while certificate files cannot be used as they are and the last good ones stay.",
    );
    let listeners = view.listeners.iter().map(|it| ("listener", &it.name, &it.tls));
    let upstreams = view.upstreams.iter().map(|it| ("upstream", &it.name, &it.tls));
    for (kind, name, tls) in listeners.chain(upstreams) {
        let Some(tls) = tls else { continue };
        let owner = (kind, name.as_str());
        failures.count(&[owner], tls.reload_failures);
        refused.set(&[owner], flag(tls.refused.is_some()));
        // A listener may name a file twice, and a sample must not come twice.
        let files: BTreeMap<_, _> =
            tls.certificates.iter().map(|it| (it.certificate.as_str(), it.not_after_seconds)).collect();
        for (file, end) in files {
            ends.set(&[owner, ("certificate", file)], end as f64);
        }
    }
    [ends, failures, refused]
}
