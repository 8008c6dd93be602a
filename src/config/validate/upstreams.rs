//! Upstreams: their bounds, their backends, and how these are spoken to.

use super::{Check, auth, owned, shared};
use crate::admission::settings::{Adaptive, Mode, Settings as GateSettings};
use crate::balancing::settings::{
    BackendSettings, Ejection, Health, Kind, Ramp, Retry, Settings as BalancingSettings,
};
use crate::config::diagnostics::Finding;
use crate::config::plan::{GatewaySettings, Growth, UpstreamPlan};
use crate::config::value::{Data, Table};
use crate::upstream::settings::{
    HostPolicy, OnMissing, Protocol, Settings as TransportSettings, TlsSettings,
};
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery};
use rustls_pki_types::ServerName;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long a request waits at most where nothing else is said.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// Every upstream of the file; `None` for those that are wrong.
pub fn all(
    root: &Table,
    gateway: Option<&GatewaySettings>,
    check: &mut Check<'_>,
) -> Vec<Option<UpstreamPlan>> {
    check.distinct("upstreams", root.tables("upstreams").map(|upstream| upstream.get("name")));
    let count = root.list("upstreams").len();
    let process = gateway.map(|gateway| Process { cap: gateway.max_in_flight, upstreams: count });
    root.tables("upstreams").map(|table| upstream(table, root, process, check)).collect()
}

/// What an upstream's cap is measured against.
#[derive(Clone, Copy)]
struct Process {
    cap: u32,
    upstreams: usize,
}

impl Process {
    /// Process cap × max(25 %, 90 % ÷ upstreams): one alone cannot take everything, many do not starve.
    fn fair_share(self) -> u32 {
        let upstreams = u32::try_from(self.upstreams.max(1)).unwrap_or(u32::MAX);
        (self.cap / 4).max(self.most() / upstreams).max(1)
    }

    /// 90 % of the process: what an upstream may have if the file says so.
    fn most(self) -> u32 {
        u32::try_from(u64::from(self.cap) * 9 / 10).unwrap_or(u32::MAX).max(1)
    }
}

fn upstream(
    table: &Table,
    root: &Table,
    process: Option<Process>,
    check: &mut Check<'_>,
) -> Option<UpstreamPlan> {
    let backends = backends(table, check);
    let bounds = process.and_then(|process| bounds(table, process, check));
    let transport = transport(table, check);
    steps(table, check);
    let health = match table.table("health") {
        Some(written) => Some(health(written, table, check)?),
        None => None,
    };
    let (cap, per_backend) = bounds?;
    let gate = gate(table, root, cap, check)?;
    let growth = growth(table, process?, per_backend);
    Some(UpstreamPlan {
        name: shared(table, "name")?,
        gate,
        balancing: BalancingSettings {
            backends: backends?,
            max_in_flight_per_backend: per_backend,
            retry: retry(table.table("retry")?)?,
            max_streams: table.count("max_streams")?,
            health,
            ejection: ejection(table.table("ejection")?)?,
            ramp: ramp(table.table("ramp")?, check)?,
        },
        transport: transport?,
        on_missing: on_missing(table, check)?,
        growth,
    })
}

/// The upstream's cap and each backend's.
fn bounds(table: &Table, process: Process, check: &mut Check<'_>) -> Option<(u32, u32)> {
    let per_backend = table.count("max_in_flight_per_backend")?;
    let together = per_backend.saturating_mul(u32::try_from(table.list("backends").len()).ok()?);
    let Some(written) = table.written("max_in_flight") else {
        let cap = together.min(process.fair_share()).max(1);
        return Some((cap, per_backend.min(cap)));
    };
    let (cap, span) = (table.count("max_in_flight")?, written.span.clone());
    if cap > process.most() {
        let message =
            format!("{} is more than 90 % of the process, which has {}", check.quote(&span), process.cap);
        let hint = format!("at most {}, or raise [gateway] max_in_flight", process.most());
        check.error(span, message, hint);
    } else if cap > process.cap / 4 && process.upstreams > 1 {
        let message =
            format!("{} is more than 25 % of the process, which has {}", check.quote(&span), process.cap);
        check.warning(span, message, "when this upstream hangs, the others have only what is left");
    } else if cap > together && together > 0 {
        let message =
            format!("{} cannot be reached: the backends together hold {together}", check.quote(&span));
        check.report(Finding::note(span, message).hint("max_in_flight_per_backend bounds each of them"));
    }
    Some((cap, per_backend.min(cap)))
}

/// How the cap follows the addresses that names turn out to have, where the file does not say it.
fn growth(table: &Table, process: Process, per_backend: u32) -> Option<Growth> {
    if table.written("max_in_flight").is_some() {
        return None;
    }
    let waiting = table.table("queue").is_some_and(|queue| queue.written("max_waiting").is_none());
    Some(Growth { each: per_backend, most: process.fair_share(), waiting })
}

fn on_missing(table: &Table, check: &mut Check<'_>) -> Option<OnMissing> {
    let policy = match table.text("on_nxdomain")? {
        "keep" => OnMissing::Keep,
        "drop" => OnMissing::Drop,
        _ => OnMissing::KeepFor(table.duration("keep_for")?),
    };
    if let Some(written) = table.written("keep_for").filter(|_| !matches!(policy, OnMissing::KeepFor(_))) {
        let hint = "on_nxdomain = \"keep_for\" is what it belongs to";
        check.warning(written.span.clone(), "keep_for has no effect here", hint);
    }
    Some(policy)
}

fn gate(table: &Table, root: &Table, cap: u32, check: &mut Check<'_>) -> Option<GateSettings> {
    let queue = table.table("queue")?;
    let shortest = shortest_timeout(table, root);
    let max_wait = match queue.duration("max_wait") {
        Some(wait) => wait,
        None => shortest.map_or(MAX_WAIT, |timeout| MAX_WAIT.min(timeout / 20)),
    };
    if shortest.is_some_and(|timeout| max_wait >= timeout) {
        check.warning(
            queue.span_of("max_wait"),
            "a request may wait here for longer than the shortest timeout of its routes",
            "a wait should be a small part of the timeout",
        );
    }
    let max_waiting = queue.count("max_waiting").unwrap_or(GateSettings::waiting_for(cap));
    Some(GateSettings { max_in_flight: cap, max_waiting, max_wait, adaptive: adaptive(table, shortest)? })
}

/// What the adaptive limit aims at where nothing else is said, at most.
const OBJECTIVE: Duration = Duration::from_millis(250);

/// How long an answer may take where no route says so.
const NO_TIMEOUT: Duration = Duration::from_secs(10);

fn adaptive(table: &Table, shortest: Option<Duration>) -> Option<Adaptive> {
    let shortest = shortest.unwrap_or(NO_TIMEOUT);
    let objective = table.duration("latency_objective").unwrap_or(OBJECTIVE.min(shortest / 4));
    let mode = match table.text("adaptive_limit")? {
        "off" => Mode::Off,
        "enforce" => Mode::Enforce,
        _ => Mode::Shadow,
    };
    Some(Adaptive { mode, objective, ceiling: (shortest / 2).max(objective) })
}

fn retry(table: &Table) -> Option<Retry> {
    Some(Retry { max_retries: table.count("max_retries")?, budget: table.number("budget")? / 100.0 })
}

fn health(table: &Table, upstream: &Table, check: &mut Check<'_>) -> Option<Health> {
    Some(Health {
        kind: kind(table, upstream, check)?,
        interval: table.duration("interval")?,
        timeout: table.duration("timeout")?,
        healthy: table.count("healthy")?,
        unhealthy: table.count("unhealthy")?,
    })
}

fn kind(table: &Table, upstream: &Table, check: &mut Check<'_>) -> Option<Kind> {
    let path = table.text("path");
    match table.text("kind")? {
        "tcp" => Some(Kind::Tcp),
        "grpc" => {
            if upstream.text("protocol")? == "http1" {
                let message = "gRPC is spoken over HTTP/2, and this upstream speaks HTTP/1.1";
                check.error(table.span_of("kind"), message, "add protocol = \"http2\" to the upstream");
            }
            Some(Kind::Grpc(path.unwrap_or_default().into()))
        }
        _ => {
            let path = path.unwrap_or("/healthz");
            if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() {
                let span = table.span_of("path");
                let message = format!("{} is not a path", check.quote(&span));
                check.error(span, message, "it begins with a slash, such as \"/healthz\"");
            }
            Some(Kind::Http(path.into()))
        }
    }
}

fn ejection(table: &Table) -> Option<Ejection> {
    Some(Ejection {
        consecutive_failures: table.count("consecutive_failures")?,
        base: table.duration("base")?,
        max: table.duration("max")?,
        max_ejected: table.number("max_ejected")? / 100.0,
    })
}

fn ramp(table: &Table, check: &mut Check<'_>) -> Option<Ramp> {
    let steps = table.list("steps").iter().filter_map(|step| match step.data {
        Data::Number(percent) => Some(percent),
        _ => None,
    });
    let boot_header = match &table.get("boot_header")?.data {
        Data::HeaderName(name) => name.clone(),
        _ => return None,
    };
    Some(Ramp {
        steps: steps.collect(),
        dwell: table.duration("dwell")?,
        guard: table.bool("guard")?,
        boot_header,
        cohort: super::changes::cohort(table, check)?,
    })
}

/// The shortest timeout among the routes to an upstream and the auths that ask it.
fn shortest_timeout(upstream: &Table, root: &Table) -> Option<Duration> {
    let name = upstream.text("name")?;
    let users = root.tables("routes").chain(auth::asking(root));
    users.filter(|user| user.text("upstream") == Some(name)).filter_map(|user| user.duration("timeout")).min()
}

fn backends(table: &Table, check: &mut Check<'_>) -> Option<Vec<BackendSettings>> {
    check.distinct("backends of this upstream", table.tables("backends").map(|backend| backend.get("name")));
    let mut backends: Vec<BackendSettings> = Vec::new();
    for backend in table.tables("backends") {
        let Some(settings) = self::backend(backend) else { continue };
        if backends.iter().any(|other| other.address == settings.address) {
            let span = backend.span_of("address");
            let message = format!("two backends of this upstream have the address {}", check.quote(&span));
            check.warning(span, message, "its server may hold twice max_in_flight_per_backend");
        }
        backends.push(settings);
    }
    (!backends.is_empty() && backends.len() == table.list("backends").len()).then_some(backends)
}

fn backend(table: &Table) -> Option<BackendSettings> {
    let address = match &table.get("address")?.data {
        Data::Endpoint(address) => address.clone(),
        _ => return None,
    };
    let weight = NonZeroU32::new(table.count("weight")?)?;
    Some(BackendSettings { name: shared(table, "name")?, address, weight })
}

fn transport(table: &Table, check: &mut Check<'_>) -> Option<TransportSettings> {
    let host = host(table, check);
    let tls = match table.table("tls") {
        Some(tls) => Some(self::tls(tls, check)?),
        None => None,
    };
    let protocol = match table.text("protocol")? {
        "http2" => Protocol::Http2,
        "auto" => Protocol::Auto,
        _ => Protocol::Http1,
    };
    Some(TransportSettings {
        connect_timeout: table.duration("connect_timeout")?,
        host: host?,
        keepalive_idle: table.duration("keepalive_idle")?,
        protocol,
        tls,
        max_connects: table.count("max_connects")?,
    })
}

fn host(table: &Table, check: &mut Check<'_>) -> Option<HostPolicy> {
    match table.text("host")? {
        "preserve" => Some(HostPolicy::Preserve),
        "backend" => Some(HostPolicy::Backend),
        name => {
            // Userinfo would turn the rest into another host for whoever reads it differently.
            let plain = name.parse::<Authority>().is_ok() && !name.contains('@');
            let value = HeaderValue::from_str(name).ok().filter(|_| plain);
            if value.is_none() {
                let span = table.span_of("host");
                let message = format!("{} is not a host", check.quote(&span));
                check.error(span, message, "write preserve, backend, or a name such as \"orders.internal\"");
            }
            value.map(HostPolicy::Name)
        }
    }
}

fn tls(table: &Table, check: &mut Check<'_>) -> Option<TlsSettings> {
    for key in ["ca", "certificate", "key"] {
        check.file(table, key);
    }
    let pair = (table.written("certificate"), table.written("key"));
    if let (Some(alone), None) | (None, Some(alone)) = pair {
        let hint = "a client certificate takes both certificate and key";
        check.error(alone.span.clone(), "a certificate needs its key, and a key its certificate", hint);
    }
    let server_name = match table.text("server_name") {
        None => None,
        Some(name) => {
            let parsed = ServerName::try_from(name.to_owned()).ok();
            if parsed.is_none() {
                let span = table.span_of("server_name");
                let message = format!("{} is not a name that a certificate can have", check.quote(&span));
                check.error(span, message, "a host name or an address, without a port");
            }
            parsed
        }
    };
    let client = owned(table.path("certificate")).zip(owned(table.path("key")));
    Some(TlsSettings { server_name, ca: owned(table.path("ca")), client })
}

/// The steps of a ramp only go up, and end at everything.
fn steps(table: &Table, check: &mut Check<'_>) {
    if let Some(ramp) = table.table("ramp") {
        super::changes::ascending(ramp, "steps", check);
    }
}
