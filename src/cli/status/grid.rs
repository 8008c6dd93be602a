//! The table of upstreams and their backends: as wide as the widest name where nobody's terminal has an end; on one,
//! names that do not fit are cut in their middle, because both of their ends tell them from others.

use super::percent;
use crate::cli::table::{WIDEST, fit, fit_middle, latency, plain};
use crate::control::view::{BackendView, UpstreamView};
use std::fmt::Write;

/// Columns of everything between the name and the state, with the spaces around.
const NUMBERS: usize = 47;
/// Columns that a state may take from the names.
const STATE: usize = 10;
/// Columns that a name has however narrow the terminal is.
const LEAST_NAME: usize = 12;

enum Line {
    Row { name: String, numbers: [String; 5], state: String },
    Text(String),
}

/// Writes it, in lines of at most `width` columns.
pub(super) fn upstreams(out: &mut String, upstreams: &[UpstreamView], width: usize) -> std::fmt::Result {
    if upstreams.is_empty() {
        return Ok(());
    }
    let titles = ["in flight", "limit", "queue", "ramp", "p50/p99"].map(str::to_owned);
    let mut lines = vec![Line::row("upstream / backend", titles, "state")];
    upstreams.iter().for_each(|upstream| add(&mut lines, upstream));
    let widest = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
    let state = widest(|line| if let Line::Row { state, .. } = line { state.chars().count() } else { 0 });
    let room = width.saturating_sub(NUMBERS + state.min(STATE)).clamp(LEAST_NAME, WIDEST);
    let names = widest(|line| if let Line::Row { name, .. } = line { name.chars().count() } else { 0 });
    out.write_char('\n')?;
    lines.iter().try_for_each(|line| writeln!(out, "{}", fit(&line.told(names.min(room)), width)))
}

impl Line {
    fn row(name: &str, numbers: [String; 5], state: &str) -> Line {
        Line::Row { name: plain(name), numbers, state: plain(state) }
    }

    fn told(&self, names: usize) -> String {
        match self {
            Line::Text(text) => text.clone(),
            Line::Row { name, numbers: [in_flight, limit, queue, ramp, latency], state } => {
                let name = fit_middle(name, names);
                let line = format!(
                    "{name:<names$} {in_flight:>9} {limit:>6} {queue:>9} {ramp:>5} {latency:>11}  {state}"
                );
                line.trim_end().to_owned()
            }
        }
    }
}

fn add(lines: &mut Vec<Line>, upstream: &UpstreamView) {
    let zombies = match upstream.zombies {
        0 => String::new(),
        1 => "1 zombie".to_owned(),
        zombies => format!("{zombies} zombies"),
    };
    let lately = &upstream.lately;
    let half = latency(lately.latency_p50_seconds, lately.latency_p50_at_least);
    let most = latency(lately.latency_p99_seconds, lately.latency_p99_at_least);
    let numbers = [
        upstream.in_flight.to_string(),
        upstream.limit.to_string(),
        format!("{}/{}", upstream.queue_depth, upstream.max_waiting),
        percent(upstream.ramp_percent),
        format!("{half}/{most}"),
    ];
    lines.push(Line::row(&upstream.name, numbers, &zombies));
    if let Some(cohort) = upstream.cohort.as_ref().filter(|cohort| cohort.manner == "cohort") {
        let (share, realised) = (percent(cohort.share_percent), percent(cohort.realised_percent));
        lines.push(Line::Text(format!(
            "  serves {share} of its clients, always the same: {realised} of what is asked"
        )));
    }
    upstream.backends.iter().for_each(|backend| add_backend(lines, backend));
}

/// What the picker goes by is one backend's mean, and not what users see: it bears another name.
fn add_backend(lines: &mut Vec<Line>, backend: &BackendView) {
    let mean =
        backend.ewma_ms.map_or("-".to_owned(), |ms| format!("ewma {}", latency(Some(ms / 1e3), false)));
    let numbers = [
        backend.in_flight.to_string(),
        backend.cap.to_string(),
        String::new(),
        percent(backend.ramp_percent),
        mean,
    ];
    lines.push(Line::row(&format!("  {} {}", backend.name, backend.address), numbers, &backend.state));
    if backend.streams > 0 {
        let (streams, most) = (backend.streams.to_string(), backend.max_streams.to_string());
        let numbers = [streams, most, String::new(), String::new(), String::new()];
        lines.push(Line::row("    streams", numbers, ""));
    }
}
