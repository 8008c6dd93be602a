//! `status`: the gateway on one screen of 80 columns.

use super::client::Client;
use super::table::{WIDTH, fit, plain, span, wrapped};
use super::{Failure, print};
use crate::control::view::{AuthView, BackendView, GatewayView, LeverView, ReferenceView, UpstreamView};
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
        print(&render(&client.get("/v1/status")?));
    }
    Ok(ExitCode::SUCCESS)
}

fn render(view: &GatewayView) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, view);
    let _ = upstreams(&mut out, &view.upstreams);
    let _ = sick(&mut out, &view.upstreams);
    let _ = limits(&mut out, &view.upstreams);
    let _ = levers(&mut out, &view.upstreams);
    let _ = auths(&mut out, &view.auths);
    out
}

fn head(out: &mut String, view: &GatewayView) -> std::fmt::Result {
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
            fit(&format!("listener {name} on {address}  connections {open} of {max}"), WIDTH)
        )?;
    }
    for worker in view.workers.iter().filter(|worker| worker.stuck) {
        writeln!(out, "! worker {} is stuck", worker.worker)?;
    }
    view.reasons.iter().try_for_each(|reason| told(out, reason))
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

fn upstreams(out: &mut String, upstreams: &[UpstreamView]) -> std::fmt::Result {
    if upstreams.is_empty() {
        return Ok(());
    }
    out.write_char('\n')?;
    row(out, "upstream / backend", ["in flight", "limit", "queue", "ramp", "latency"], "state")?;
    for upstream in upstreams {
        let queue = format!("{}/{}", upstream.queue_depth, upstream.max_waiting);
        let numbers = [&upstream.in_flight.to_string(), &upstream.limit.to_string(), &queue];
        let ramp = percent(upstream.ramp_percent);
        let [in_flight, limit, queue] = numbers;
        let zombies = match upstream.zombies {
            0 => String::new(),
            zombies => format!("{zombies} zombies"),
        };
        row(out, &upstream.name, [in_flight, limit, queue, &ramp, ""], &zombies)?;
        if let Some(cohort) = upstream.cohort.as_ref().filter(|cohort| cohort.manner == "cohort") {
            let (share, realised) = (percent(cohort.share_percent), percent(cohort.realised_percent));
            let line =
                format!("  serves {share} of its clients, always the same: {realised} of what is asked");
            writeln!(out, "{}", fit(&line, WIDTH))?;
        }
        for backend in &upstream.backends {
            backend_row(out, backend)?;
        }
    }
    Ok(())
}

fn backend_row(out: &mut String, backend: &BackendView) -> std::fmt::Result {
    let (in_flight, cap) = (backend.in_flight.to_string(), backend.cap.to_string());
    let (ramp, latency) =
        (percent(backend.ramp_percent), backend.ewma_ms.map_or("-".to_owned(), |ms| format!("{ms:.1}ms")));
    let name = format!("  {} {}", backend.name, backend.address);
    row(out, &name, [&in_flight, &cap, "", &ramp, &latency], &backend.state)?;
    if backend.streams == 0 {
        return Ok(());
    }
    row(out, "    streams", [&backend.streams.to_string(), &backend.max_streams.to_string(), "", "", ""], "")
}

/// Who is asked about requests, and whether they answer.
fn auths(out: &mut String, auths: &[AuthView]) -> std::fmt::Result {
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
        writeln!(out, "{}", fit(&plain(&line), WIDTH))?;
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
fn limits(out: &mut String, upstreams: &[UpstreamView]) -> std::fmt::Result {
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
        writeln!(out, "{}", fit(&plain(&line), WIDTH))?;
        if let Some(moved) = &adaptive.last_move {
            let line = format!("from {} to {}: {}", moved.from, moved.to, moved.because);
            wrapped(&plain(&line), "    ").iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    Ok(())
}

/// Who holds which lever, what it costs now, and what its percentages are of.
fn levers(out: &mut String, upstreams: &[UpstreamView]) -> std::fmt::Result {
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
            writeln!(out, "{}", fit(&plain(&lever_line(&lever)), WIDTH))?;
            let why = if lever.reason.is_empty() { "" } else { ": " };
            let signed = format!("    by {} since {}{why}{}", lever.by, lever.since, lever.reason);
            writeln!(out, "{}", fit(&plain(&signed), WIDTH))?;
        }
        for backend in
            upstream.backends.iter().filter(|backend| (0.01..100.0).contains(&backend.ramp_percent))
        {
            let (name, share) =
                (format!("{}/{}", upstream.name, backend.name), percent(backend.ramp_percent));
            let line = format!("    {name} holds {share} of {}", reference(&backend.reference));
            writeln!(out, "{}", fit(&plain(&line), WIDTH))?;
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

/// One line of the table: a name, five numbers to the right, and a word.
fn row(out: &mut String, name: &str, numbers: [&str; 5], state: &str) -> std::fmt::Result {
    let [in_flight, limit, queue, ramp, latency] = numbers;
    let line = format!(
        "{:<26} {in_flight:>9} {limit:>6} {queue:>9} {ramp:>5} {latency:>8}  {}",
        fit(&plain(name), 26),
        plain(state)
    );
    writeln!(out, "{}", fit(line.trim_end(), WIDTH))
}

fn percent(percent: f64) -> String {
    // Without a fraction unless there is one.
    format!("{}%", (percent * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::steering::forecast::Forecast;
    use crate::control::view::{
        AdaptiveView, KeptView, ListenerView, MoveView, ThenView, VersionView, WorkerView,
    };

    fn view() -> GatewayView {
        let backend = |name: &str, state: &str, in_flight| BackendView {
            name: name.into(),
            address: format!("orders-{name}.internal:8080"),
            state: state.into(),
            in_flight,
            cap: 64,
            streams: in_flight - 12,
            max_streams: 1000,
            ewma_ms: Some(12.34),
            ramp_percent: 100.0,
            ..Default::default()
        };
        GatewayView {
            version: VersionView {
                number: 3,
                hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b".into(),
                ..Default::default()
            },
            degraded: true,
            reasons: vec!["line 4: unknown key `path_prefx`".into()],
            ready: true,
            uptime_seconds: 7_384.0,
            in_flight: 76,
            max_in_flight: 8192,
            streams: 40,
            max_streams: 8192,
            workers: vec![WorkerView { connections: 34, ..Default::default() }; 2],
            listeners: vec![ListenerView {
                name: "edge".into(),
                address: "0.0.0.0:8080".into(),
                connections: 68,
                max_connections: 10_000,
                ..Default::default()
            }],
            upstreams: vec![UpstreamView {
                name: "orders".into(),
                in_flight: 76,
                limit: 256,
                max_waiting: 512,
                queue_depth: 3,
                zombies: 2,
                ramp_percent: 100.0,
                backends: vec![backend("a", "ready", 64), backend("b", "connect_failed \x1b[31m", 12)],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn the_screen_looks_like_this() {
        let expected = "\
version 3 (9f86d081884c7d65)  ready, degraded  up 2h 3m
in flight 76 of 8192  streams 40 of 8192  connections 68  workers 2
listener edge on 0.0.0.0:8080  connections 68 of 10000
! line 4: unknown key `path_prefx`

upstream / backend         in flight  limit     queue  ramp  latency  state
orders                            76    256     3/512  100%           2 zombies
  a orders-a.internal:8080        64     64            100%   12.3ms  ready
    streams                       52   1000
  b orders-b.internal:8080        12     64            100%   12.3ms  connect_f…
! orders/b connect_failed ?[31m
";
        assert_eq!(render(&view()), expected);
    }

    #[test]
    fn an_auth_says_whom_it_asks_and_whether_they_answer() {
        let mut view = view();
        let kept = Some(KeptView { passed: 1204, ..Default::default() });
        let session = AuthView {
            name: "session".into(),
            upstream: Some("judge".into()),
            silent: true,
            in_flight: 64,
            max_in_flight: 64,
            kept,
            ..Default::default()
        };
        view.auths = vec![session, AuthView { name: "keys".into(), ..Default::default() }];
        let expected = "\nauth session asks judge  in flight 64 of 64  kept 1204  silent\n\
                        auth keys  in flight 0 of 0\n";
        assert!(render(&view).ends_with(expected), "{}", render(&view));
    }

    #[test]
    fn levers_say_who_why_what_next_and_what_it_costs() {
        let lever = LeverView {
            kind: "ramp".into(),
            upstream: "orders".into(),
            percent: 2.5,
            then: Some(ThenView { percent: 100.0, in_seconds: 598.0, paused: false }),
            by: "ops".into(),
            reason: "cold caches".into(),
            since: "2026-11-22T19:00:00Z".into(),
            forecast: Some(Forecast { shed_percent: 75.5, ..Forecast::default() }),
            ..LeverView::default()
        };
        let mut view = view();
        view.upstreams[0].ramp = Some(lever);
        view.upstreams[0].backends[0].ramp_percent = 2.5;
        view.upstreams[0].backends[0].reference = ReferenceView {
            in_flight: 40.04,
            source: "learned".into(),
            age_seconds: Some(63.0),
            ..Default::default()
        };
        let expected = "\nramp orders 2.5%, then 100% in 9m 58s  sheds 75.5% now\n    \
                        by ops since 2026-11-22T19:00:00Z: cold caches\n    \
                        orders/a holds 2.5% of 40 in flight (learned, 1m 3s old)\n";
        assert!(render(&view).ends_with(expected), "{}", render(&view));
    }

    #[test]
    fn a_limit_that_holds_somebody_back_says_so_and_why() {
        let mut view = view();
        let moved = MoveView {
            from: 120,
            to: 84,
            because: "61 answers took 412 ms on average, and 250 ms is the objective".into(),
            ..MoveView::default()
        };
        let adaptive = AdaptiveView {
            mode: "shadow".into(),
            limit: 84,
            objective_seconds: 0.25,
            configured_objective_seconds: 0.25,
            last_move: Some(moved),
            ..AdaptiveView::default()
        };
        view.upstreams[0].max_in_flight = 256;
        view.upstreams[0].adaptive = Some(adaptive.clone());
        assert!(!render(&view).contains("objective"), "76 are below it: {}", render(&view));
        view.upstreams[0].adaptive = Some(AdaptiveView { mode: "enforce".into(), ..adaptive });
        let expected = "\norders limits itself to 84  objective 250ms\n    \
                        from 120 to 84: 61 answers took 412 ms on average, and 250 ms is the\n    objective\n";
        assert!(render(&view).ends_with(expected), "{}", render(&view));
    }

    #[test]
    fn a_refused_file_is_told_in_full_lines_and_no_more_than_a_screen_holds() {
        let mut view = view();
        let mistakes: Vec<_> = (1..=30).map(|line| format!("line {line}: {}", "wrong ".repeat(12))).collect();
        view.reasons = vec![format!("the last change was refused: {}", mistakes.join("\n"))];
        let text = render(&view);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            text.contains("line 5:") && !text.contains("line 6:") && text.contains("and 25 more"),
            "{text}"
        );
    }

    #[test]
    fn the_table_fits_80_columns_whatever_the_names() {
        let mut view = view();
        view.upstreams[0].name = "u".repeat(200);
        view.upstreams[0].in_flight = u32::MAX;
        view.upstreams[0].backends[0].state = "s".repeat(200);
        view.listeners[0].name = "l".repeat(200);
        for line in render(&view).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn nothing_from_the_gateway_reaches_the_terminal_as_a_command() {
        assert!(!render(&view()).contains('\x1b'));
    }
}
