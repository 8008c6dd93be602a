//! `status`: the gateway on one screen; what is wrong right now stands on top.

mod grid;
mod trouble;

use super::client::Client;
use super::table::{columns, fit, plain, span, wrapped};
use super::{Failure, follow, incident, print};
use crate::control::change::view::{PendingView, RolloutView};
use crate::control::notify::SinkView;
use crate::control::permits::PermitsView;
use crate::control::view::{AuthView, BackendView, GatewayView, LeverView, ReferenceView, UpstreamView};
use jiff::Timestamp;
use std::fmt::Write;
use std::process::ExitCode;

/// Lines of one reason that are shown.
const MOST_LINES: usize = 5;

/// Asks the gateway and prints what it is doing.
pub(super) fn status(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let view: serde_json::Value = client.get("/v1/status")?;
        print(&format!("{view:#}\n"));
    } else {
        let view: GatewayView = client.get("/v1/status")?;
        // Who holds the slots is asked for only where that says more; without an answer the rest stands.
        let asked = trouble::is_there(&view).then(|| client.get("/v1/permits?limit=0").ok()).flatten();
        print(&render(&view, &asked.unwrap_or_default(), columns()));
    }
    Ok(ExitCode::SUCCESS)
}

/// In lines of at most `width` columns.
fn render(view: &GatewayView, permits: &PermitsView, width: usize) -> String {
    let mut out: String =
        trouble::lines(view, permits, Timestamp::now()).iter().map(|line| format!("{line}\n")).collect();
    // Writing to a String cannot fail.
    let _ = head(&mut out, view, width);
    let _ = grid::upstreams(&mut out, &view.upstreams, width);
    let _ = sick(&mut out, &view.upstreams);
    let _ = limits(&mut out, &view.upstreams, width);
    let _ = levers(&mut out, &view.upstreams, width);
    let _ = auths(&mut out, &view.auths, width);
    let _ = sinks(&mut out, &view.notify.sinks);
    out
}

/// Who is told what happens: a word for each, and why not.
fn sinks(out: &mut String, sinks: &[SinkView]) -> std::fmt::Result {
    if sinks.is_empty() {
        return Ok(());
    }
    let word = |sink: &SinkView| {
        let word = if sink.failing_since.is_some() { "FAILING" } else { "ok" };
        format!("{} {word}", sink.name)
    };
    let line = format!("notify: {}", sinks.iter().map(word).collect::<Vec<_>>().join(", "));
    writeln!(out)?;
    wrapped(&line, "").iter().try_for_each(|line| writeln!(out, "{line}"))?;
    for sink in sinks.iter().filter(|sink| sink.failing_since.is_some()) {
        let why = sink.last_error.as_deref().unwrap_or_default();
        let since = span(sink.failing_seconds.unwrap_or_default());
        let line = format!("{} fails for {since}: {why}; waiting: {}", sink.name, sink.queue_depth);
        wrapped(&line, "! ").iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

fn head(out: &mut String, view: &GatewayView, width: usize) -> std::fmt::Result {
    let hash: String = view.version.hash.chars().take(16).collect();
    let number = view.version.number;
    writeln!(out, "version {number} ({})  {}  up {}", plain(&hash), state(view), span(view.uptime_seconds))?;
    let connections: u64 = view.workers.iter().map(|worker| u64::from(worker.connections)).sum();
    writeln!(
        out,
        "in flight {} of {}  streams {} of {}  connections {connections}  workers {}",
        view.in_flight,
        view.max_in_flight,
        view.streams,
        view.max_streams,
        view.workers.len()
    )?;
    for listener in &view.listeners {
        let (open, max) = (listener.connections, listener.max_connections);
        let (name, address) = (plain(&listener.name), plain(&listener.address));
        writeln!(
            out,
            "{}",
            fit(&format!("listener {name} on {address}  connections {open} of {max}"), width)
        )?;
    }
    for worker in view.workers.iter().filter(|worker| worker.stuck) {
        writeln!(out, "! worker {} is stuck", worker.worker)?;
    }
    rollout(out, &view.rollout)?;
    incident::lines(&view.incidents).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    view.reasons.iter().try_for_each(|reason| told(out, reason))
}

/// The change under way.
fn rollout(out: &mut String, view: &RolloutView) -> std::fmt::Result {
    if let Some(version) = &view.version {
        let by = plain(version.by.as_deref().unwrap_or(&version.cause));
        let step = plain(&follow::line(view));
        let line =
            format!("rollout of version {} by {by}, risk {}: {step}", version.number, plain(&version.risk));
        wrapped(&line, "").iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    if let Some(waits) = &view.unconfirmed {
        let (number, left) = (waits.number, span(waits.seconds_left));
        writeln!(out, "! version {number} goes back in {left} unless you `tidegate confirm`")?;
    }
    match &view.pending_file {
        // What is held by a freeze is among the reasons, with what to do.
        Some(PendingView { held_by: None, .. }) => {
            writeln!(out, "the file has changed again and waits for its turn")
        }
        _ => Ok(()),
    }
}

/// One reason, as far as one screen has room for it; a file may have two hundred mistakes.
fn told(out: &mut String, reason: &str) -> std::fmt::Result {
    let shown: Vec<&str> = reason.lines().take(MOST_LINES).collect();
    wrapped(&shown.join("\n"), "! ").iter().try_for_each(|line| writeln!(out, "{line}"))?;
    match reason.lines().count() - shown.len() {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more; --json shows all, and so does `tidegate check`"),
    }
}

fn state(view: &GatewayView) -> &'static str {
    match (view.draining, view.ready, view.degraded) {
        (true, ..) => "draining",
        (_, false, _) => "not ready",
        (.., true) => "ready, degraded",
        _ => "ready",
    }
}

/// Who is asked about requests, and whether they answer.
fn auths(out: &mut String, auths: &[AuthView], width: usize) -> std::fmt::Result {
    for (n, auth) in auths.iter().enumerate() {
        if n == 0 {
            out.write_char('\n')?;
        }
        let asks = auth.upstream.as_ref().map(|name| format!(" asks {name}")).unwrap_or_default();
        let kept = auth.kept.as_ref().map(|kept| format!("  kept {}", kept.passed)).unwrap_or_default();
        let silent = if auth.silent { "  silent" } else { "" };
        let (name, in_flight, limit) = (&auth.name, auth.in_flight, auth.max_in_flight);
        let own = match &auth.keys {
            Some(held) if held.failures > 0 => format!("keys {}, fetching fails", held.keys),
            Some(held) => format!("keys {}", held.keys),
            None if auth.kind == "api_key" => "keys of its own".to_owned(),
            None => format!("in flight {in_flight} of {limit}"),
        };
        let line = format!("auth {name}{asks}  {own}{kept}{silent}");
        writeln!(out, "{}", fit(&plain(&line), width))?;
    }
    Ok(())
}

/// Why backends are not ready, in full: the table has no room for that.
fn sick(out: &mut String, upstreams: &[UpstreamView]) -> std::fmt::Result {
    let well = |state: &str| matches!(state, "ready" | "draining" | "drained");
    for upstream in upstreams {
        for backend in upstream.backends.iter().filter(|backend| !well(&backend.state)) {
            let line = format!("{}/{} {}", upstream.name, backend.name, backend.state);
            wrapped(&plain(&line), "! ").iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    Ok(())
}

/// Limits that find themselves, where they hold somebody back or would, or gave up their objective; and why.
fn limits(out: &mut String, upstreams: &[UpstreamView], width: usize) -> std::fmt::Result {
    let mut first = true;
    for upstream in upstreams {
        let Some(adaptive) = &upstream.adaptive else { continue };
        let raised = adaptive.objective_seconds > adaptive.configured_objective_seconds;
        let binds = match adaptive.mode.as_str() {
            "enforce" => adaptive.limit < upstream.max_in_flight,
            _ => adaptive.limit < upstream.in_flight,
        };
        if !(binds || raised || adaptive.at_floor) {
            continue;
        }
        if std::mem::take(&mut first) {
            out.write_char('\n')?;
        }
        let verb = if adaptive.mode == "enforce" { "limits itself to" } else { "would limit itself to" };
        let floor = if adaptive.at_floor { ", its floor" } else { "" };
        let aim = adaptive.objective_seconds * 1e3;
        let raise = if raised { "raised to " } else { "" };
        let line = format!("{} {verb} {}{floor}  objective {raise}{aim:.0}ms", upstream.name, adaptive.limit);
        writeln!(out, "{}", fit(&plain(&line), width))?;
        if let Some(moved) = &adaptive.last_move {
            let line = format!("from {} to {}: {}", moved.from, moved.to, moved.because);
            wrapped(&plain(&line), "    ").iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    Ok(())
}

/// Who holds which lever, what it costs now, and what its percentages are of.
fn levers(out: &mut String, upstreams: &[UpstreamView], width: usize) -> std::fmt::Result {
    let own = |backend: &BackendView| {
        let levers = [&backend.ramp, &backend.automatic, &backend.drain];
        levers.into_iter().flatten().cloned().collect::<Vec<_>>()
    };
    let mut first = true;
    for upstream in upstreams {
        let levers = upstream.ramp.clone().into_iter().chain(upstream.backends.iter().flat_map(own));
        for lever in levers {
            if std::mem::take(&mut first) {
                out.write_char('\n')?;
            }
            writeln!(out, "{}", fit(&plain(&lever_line(&lever)), width))?;
            let why = if lever.reason.is_empty() { "" } else { ": " };
            let signed = format!("    by {} since {}{why}{}", lever.by, lever.since, lever.reason);
            writeln!(out, "{}", fit(&plain(&signed), width))?;
        }
        for backend in
            upstream.backends.iter().filter(|backend| (0.01..100.0).contains(&backend.ramp_percent))
        {
            let (name, share) =
                (format!("{}/{}", upstream.name, backend.name), percent(backend.ramp_percent));
            let line = format!("    {name} holds {share} of {}", reference(&backend.reference));
            writeln!(out, "{}", fit(&plain(&line), width))?;
        }
    }
    Ok(())
}

/// What a percentage is of, and how far that can be trusted.
fn reference(reference: &ReferenceView) -> String {
    let age = reference.age_seconds.map(|age| format!(", {} old", span(age))).unwrap_or_default();
    let source = match reference.source.as_str() {
        "operator" => "as ordered",
        "learned" => "learned",
        "first_seconds" => "a guess from its first seconds",
        "peers" => "its peers' median",
        "cap" => "a guess: a quarter of its cap",
        other => other,
    };
    format!("{} in flight ({source}{age})", (reference.in_flight * 10.0).round() / 10.0)
}

/// What a lever says, and what its upstream sheds for it.
pub(super) fn lever_line(lever: &LeverView) -> String {
    let mut line = format!("{} {}", lever.kind, lever.upstream);
    if let Some(backend) = &lever.backend {
        line += &format!("/{backend}");
    }
    if lever.kind != "drain" {
        line += &format!(" {}", percent(lever.percent));
    }
    if let Some(then) = lever.then {
        let clock = if then.paused { "paused with" } else { "in" };
        line += &format!(", then {} {clock} {}", percent(then.percent), span(then.in_seconds));
    }
    if let Some(forecast) = &lever.forecast {
        line += &format!("  sheds {}% now", forecast.shed_percent);
    }
    line
}

fn percent(percent: f64) -> String {
    // Without a fraction unless there is one.
    format!("{}%", (percent * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests;
