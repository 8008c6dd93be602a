//! Who sheds or hangs right now, in sentences that stand above everything else: what, since when, and one command.

use crate::cli::table::{number, seconds, span, wrapped};
use crate::control::permits::{PermitGroup, PermitsView};
use crate::control::view::{GatewayView, LatelyView, LeverView, UpstreamView};
use jiff::{SignedDuration, Timestamp};

/// Upstreams that are told at most, the worst first.
const MOST: usize = 5;
/// What became active so long before a trouble at most may be its cause.
const SUSPECT: f64 = 600.0;
/// What began so much later than a trouble may be its cause all the same: rates are of seconds.
const SLACK: f64 = 5.0;

/// Somebody sheds or hangs.
pub(super) fn is_there(view: &GatewayView) -> bool {
    is_bad(&view.lately) || view.upstreams.iter().any(|upstream| is_bad(&upstream.lately))
}

fn is_bad(lately: &LatelyView) -> bool {
    lately.shedding_seconds.is_some() || lately.silent_seconds.is_some()
}

/// A paragraph for each, the worst first.
pub(super) fn lines(view: &GatewayView, permits: &PermitsView, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if view.lately.shedding_seconds.is_some() {
        let Facts { what, since, to_do } = of_process(view, now);
        lines.extend(wrapped(&format!("the gateway itself {what}; {since}: {to_do}"), "! "));
    }
    let mut all: Vec<&UpstreamView> = view.upstreams.iter().filter(|it| is_bad(&it.lately)).collect();
    let badness = |it: &UpstreamView| (it.lately.silent_seconds.is_some(), it.lately.shed_per_second);
    all.sort_by(|a, b| badness(b).partial_cmp(&badness(a)).unwrap_or(std::cmp::Ordering::Equal));
    for upstream in all.iter().take(MOST) {
        let Facts { what, since, to_do } = of_upstream(view, upstream, permits, now);
        lines.extend(wrapped(&format!("{} {what}; {since}: {to_do}", upstream.name), "! "));
    }
    match all.len().saturating_sub(MOST) {
        0 => {}
        more => lines.push(format!("! and {more} more upstreams shed or hang: `tidegate top` has all")),
    }
    lines
}

struct Facts {
    what: String,
    since: String,
    to_do: String,
}

fn of_process(view: &GatewayView, now: Timestamp) -> Facts {
    let lately = &view.lately;
    let rate: f64 = lately.sheds.iter().map(|shed| shed.per_second).sum();
    let (in_flight, most) = (view.in_flight, view.max_in_flight);
    Facts {
        what: format!(
            "sheds {}/s ({}): {in_flight} of {most} in flight",
            number(rate),
            reason(lately).unwrap_or("no upstream's")
        ),
        since: since(lately.shedding_seconds.unwrap_or_default(), now),
        to_do: "`tidegate permits` says who holds them".to_owned(),
    }
}

fn of_upstream(view: &GatewayView, upstream: &UpstreamView, permits: &PermitsView, now: Timestamp) -> Facts {
    let lately = &upstream.lately;
    let sheds = lately.shedding_seconds.map(|_| {
        let rate = number(lately.shed_per_second.unwrap_or_default());
        format!("sheds {rate}/s ({})", reason(lately).unwrap_or("of late"))
    });
    let hangs =
        lately.silent_seconds.map(|silent| format!("hangs: nothing came back for {}", seconds(silent)));
    let held = match upstream.limit {
        0 => "nothing may be in flight".to_owned(),
        limit => format!("{} of {limit} held", upstream.in_flight),
    };
    // Younger ones say nothing but that it goes on.
    let oldest = oldest(&upstream.name, permits).filter(|age| *age >= 0.1);
    let oldest = oldest.map(|age| format!(", oldest {}", seconds(age))).unwrap_or_default();
    let what: Vec<String> = [hangs, sheds].into_iter().flatten().collect();
    let longest = [lately.silent_seconds, lately.shedding_seconds].into_iter().flatten().fold(0.0, f64::max);
    Facts {
        what: format!("{}: {held}{oldest}", what.join(", ")),
        since: since(longest, now),
        to_do: to_do(view, upstream, longest, now),
    }
}

/// The reason of most sheds.
fn reason(lately: &LatelyView) -> Option<&str> {
    lately.sheds.first().map(|shed| shed.reason.as_str())
}

/// The age of the oldest that holds a place of the upstream.
fn oldest(upstream: &str, permits: &PermitsView) -> Option<f64> {
    let holds = |group: &&PermitGroup| {
        let phase = group.phase.as_str();
        let has_place = ["connecting", "sending", "waiting_for_backend", "receiving", "zombie"];
        group.upstream == upstream && has_place.contains(&phase)
    };
    let ages = permits.summary.iter().filter(holds).map(|group| group.oldest_seconds);
    ages.max_by(f64::total_cmp)
}

fn since(ago: f64, now: Timestamp) -> String {
    let at = SignedDuration::try_from_secs_f64(ago).ok().and_then(|ago| now.checked_sub(ago).ok());
    let clock = at.map(|at| at.strftime("%H:%M:%S UTC, ").to_string()).unwrap_or_default();
    // Rates are of some seconds, so is this.
    format!("since about {clock}{}", span(ago))
}

/// One command: what changed just before goes back first; then what holds it; then who.
fn to_do(view: &GatewayView, upstream: &UpstreamView, ago: f64, now: Timestamp) -> String {
    let name = &upstream.name;
    if let Some(version) = view.rollout.version.as_ref().filter(|_| rolled_out_before(view, ago)) {
        return format!("version {} is being rolled out: `tidegate abort` takes it back", version.number);
    }
    if let Some(before) = changed_before(view, ago, now) {
        let (number, before) = (view.version.number, span(before));
        return format!("version {number} became active {before} before that: `tidegate rollback`");
    }
    match reason(&upstream.lately) {
        Some("ramp") => by_lever(upstream),
        Some("no_backend") => {
            "no backend can be used; why stands below; `tidegate events --kind ejection` has the past"
                .to_owned()
        }
        _ => match culprit(upstream) {
            Some(backend) => format!("{backend} is the one that is full: `tidegate drain {name}/{backend}`"),
            None => format!("`tidegate permits --upstream {name}` says who holds them"),
        },
    }
}

/// What takes back the lever that holds an upstream: its own ramp, else a drain, else a backend's ramp.
fn by_lever(upstream: &UpstreamView) -> String {
    let name = &upstream.name;
    let drains = upstream.backends.iter().filter_map(|backend| backend.drain.as_ref());
    let ramps = upstream.backends.iter().filter_map(|backend| backend.ramp.as_ref());
    let Some(lever) = upstream.ramp.iter().chain(drains).chain(ramps).next() else {
        return "`tidegate ramp show` says what holds it and what comes next".to_owned();
    };
    let LeverView { kind, backend, by, percent, .. } = lever;
    let backend = backend.as_ref().map(|backend| format!("/{backend}")).unwrap_or_default();
    match kind.as_str() {
        "drain" => format!("{by} drained {name}{backend}: `tidegate ready {name}{backend}`"),
        _ => format!("{by} lets {name}{backend} carry {percent}%: `tidegate ramp clear {name}{backend}`"),
    }
}

/// Whether what is being rolled out reached its first client before the trouble, and that is near enough to be its cause.
fn rolled_out_before(view: &GatewayView, ago: f64) -> bool {
    let began = view.rollout.began_seconds();
    ago < SUSPECT && began.is_some_and(|began| began + SLACK >= ago)
}

/// How long before the trouble the active version became active, if that is near enough to be its cause.
fn changed_before(view: &GatewayView, ago: f64, now: Timestamp) -> Option<f64> {
    let since: Timestamp = view.version.since.parse().ok()?;
    let before = now.duration_since(since).as_secs_f64() - ago;
    // The first version has none before it; a start is no change.
    let is_change = view.version.number > 1 && view.version.cause != "boot";
    (is_change && (-SLACK..SUSPECT).contains(&before)).then_some(before.max(0.0))
}

/// The one backend that is full while others of its upstream have room.
fn culprit(upstream: &UpstreamView) -> Option<&str> {
    let ready = || upstream.backends.iter().filter(|backend| backend.state == "ready");
    let mut full = ready().filter(|backend| backend.in_flight >= backend.cap && backend.cap > 0);
    let only = full.next().filter(|_| full.next().is_none())?;
    let others_have_room =
        ready().any(|it| it.name != only.name && f64::from(it.in_flight) < f64::from(it.cap) / 2.0);
    others_have_room.then_some(&only.name)
}
