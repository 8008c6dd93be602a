//! One upstream: what it holds and may, who moved its levers and why, the past minutes, and its backends.

use super::View;
use super::overview::sheds;
use crate::cli::status::lever_line;
use crate::cli::top::grid::{self, Column, Line, numbers, words};
use crate::cli::top::ink::{below, first, percent, short, time, wrap};
use crate::cli::top::picture::is_ready;
use crate::control::view::{BackendView, LeverView, UpstreamView};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// What a column shows, and from which width of the terminal on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Address,
    State,
    Load,
    Ramp,
    Average,
    Reference,
    Streams,
}

const COLUMNS: [(Kind, u16, Column); 8] = [
    (Kind::Name, 0, words("backend", 8)),
    (Kind::Address, 74, words("address", 22)),
    (Kind::State, 0, words("state", 9)),
    (Kind::Load, 0, numbers("in flight", 9)),
    (Kind::Ramp, 44, numbers("ramp", 5)),
    (Kind::Average, 56, numbers("ewma", 6)),
    (Kind::Reference, 90, numbers("reference", 9)),
    (Kind::Streams, 104, numbers("streams", 9)),
];

impl View<'_> {
    pub(super) fn upstream(&self, buffer: &mut Buffer, area: Rect) {
        let name = self.desk.looked_at().unwrap_or_default();
        let Some(upstream) = self.picture.snapshot.upstream(name) else {
            let gone = self.picture.snapshot.row(name).is_none();
            let why =
                if gone { "is not in the active version (Esc goes back)" } else { "is being asked for" };
            self.ink.put(buffer, first(area, 1), &format!("{name} {why}"), self.ink.faint());
            return;
        };
        let backend = self.desk.backend(self.picture);
        let backend = upstream.backends.iter().find(|view| Some(view.name.as_str()) == backend);
        let facts = self.facts(upstream, backend, usize::from(area.width));
        // The table comes first where there is little room.
        let table_height = (upstream.backends.len() as u16).saturating_add(2).min(area.height / 2 + 1);
        let charts = if area.height >= table_height + facts.len() as u16 + 4 { 4 } else { 0 };
        let most = area.height.saturating_sub(table_height + charts);
        let facts = &facts[..facts.len().min(usize::from(most))];
        for (row, (line, style)) in area.rows().zip(facts) {
            self.ink.put(buffer, row, line, *style);
        }
        let rest = below(area, facts.len() as u16);
        if charts > 0 {
            let lines = [
                ("in flight", "upstream.in_flight"),
                ("req/s", "upstream.requests_per_second"),
                ("shed/s", "upstream.shed_per_second"),
                ("p99", "upstream.latency_p99_seconds"),
            ];
            for (row, (title, series)) in rest.rows().zip(lines) {
                let show = if title == "p99" { time } else { short };
                self.history(buffer, row, title, series, name, show);
            }
        }
        self.backends(buffer, below(rest, charts), upstream, backend);
    }

    fn backends(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        upstream: &UpstreamView,
        chosen: Option<&BackendView>,
    ) {
        let shown: Vec<_> = COLUMNS.iter().filter(|(_, from, _)| area.width >= *from).copied().collect();
        let columns: Vec<Column> = shown.iter().map(|(.., column)| *column).collect();
        let all = Line {
            cells: shown
                .iter()
                .map(|(kind, ..)| match kind {
                    Kind::Name => "(all of it)".to_owned(),
                    Kind::Load => format!("{}/{}", upstream.in_flight, upstream.limit),
                    Kind::Ramp => percent(upstream.ramp_percent),
                    _ => String::new(),
                })
                .map(|text| (text, Style::new()))
                .collect(),
            marked: false,
        };
        let line = |backend: &BackendView| Line {
            cells: shown.iter().map(|(kind, ..)| self.backend_cell(*kind, backend)).collect(),
            marked: !is_ready(backend),
        };
        let lines: Vec<Line> = std::iter::once(all).chain(upstream.backends.iter().map(line)).collect();
        let place = chosen.and_then(|chosen| upstream.backends.iter().position(|it| it.name == chosen.name));
        grid::draw(self.ink, buffer, area, &columns, &lines, Some(place.map_or(0, |place| place + 1)));
    }

    fn backend_cell(&self, kind: Kind, backend: &BackendView) -> (String, Style) {
        let ink = self.ink;
        let text = match kind {
            Kind::Name => backend.name.clone(),
            Kind::Address => backend.address.clone(),
            Kind::State => {
                let style = match (is_ready(backend), backend.drain.is_some()) {
                    (true, _) => ink.good(),
                    (false, true) => ink.warning(),
                    (false, false) => ink.bad(),
                };
                return (backend.state.clone(), style);
            }
            Kind::Load => {
                let full = backend.in_flight >= backend.cap && backend.in_flight > 0;
                let style = if full { ink.warning() } else { Style::new() };
                return (format!("{}/{}", backend.in_flight, backend.cap), style);
            }
            Kind::Ramp => {
                let style = if backend.ramp_percent < 100.0 { ink.warning() } else { Style::new() };
                return (percent(backend.ramp_percent), style);
            }
            Kind::Average => backend.ewma_ms.map_or("-".to_owned(), |ms| time(ms / 1e3)),
            Kind::Reference => short(backend.reference.in_flight),
            Kind::Streams => format!("{}/{}", backend.streams, backend.max_streams),
        };
        (text, Style::new())
    }

    /// What is to be said of an upstream and of its chosen backend.
    fn facts(
        &self,
        upstream: &UpstreamView,
        chosen: Option<&BackendView>,
        room: usize,
    ) -> Vec<(String, Style)> {
        let ink = self.ink;
        let mut facts = Vec::new();
        let mut say = |text: String, style: Style| {
            facts.extend(wrap(&text, room).into_iter().map(|line| (line, style)));
        };
        let zombies =
            if upstream.zombies > 0 { format!("  zombies {}", upstream.zombies) } else { String::new() };
        say(
            format!(
                "{}  in flight {} of {} (cap {})  queue {}/{}{zombies}",
                upstream.name,
                upstream.in_flight,
                upstream.limit,
                upstream.max_in_flight,
                upstream.queue_depth,
                upstream.max_waiting
            ),
            ink.strong(),
        );
        if let Some(sheds) = self.picture.snapshot.row(&upstream.name).map(sheds).filter(|it| !it.is_empty())
        {
            say(format!("sheds {sheds}"), ink.bad());
        }
        if let Some(chosen) = chosen.filter(|chosen| !is_ready(chosen)) {
            say(format!("{}: {}", chosen.name, chosen.state), ink.bad());
        }
        if let Some(adaptive) = &upstream.adaptive {
            let word = if adaptive.mode == "enforce" { "limits itself to" } else { "would limit itself to" };
            let aim = time(adaptive.objective_seconds);
            let moved = adaptive.last_move.as_ref();
            let why = moved.map(|moved| format!(": from {} to {}, {}", moved.from, moved.to, moved.because));
            say(format!("{word} {} for {aim}{}", adaptive.limit, why.unwrap_or_default()), Style::new());
        }
        let own = |view: &BackendView| [&view.ramp, &view.automatic, &view.drain].map(Clone::clone);
        let levers = std::iter::once(upstream.ramp.clone()).chain(upstream.backends.iter().flat_map(own));
        for lever in levers.flatten() {
            say(lever_told(&lever), ink.warning());
        }
        if let Some(cohort) = upstream.cohort.as_ref().filter(|cohort| cohort.manner == "cohort") {
            let (share, realised) = (percent(cohort.share_percent), percent(cohort.realised_percent));
            say(
                format!("serves {share} of its clients, always the same: {realised} of what is asked"),
                Style::new(),
            );
        }
        facts
    }
}

fn lever_told(lever: &LeverView) -> String {
    let why = if lever.reason.is_empty() { "" } else { ": " };
    let by = if lever.by.is_empty() { "itself" } else { &lever.by };
    format!("{}, by {by} since {}{why}{}", lever_line(lever), lever.since, lever.reason)
}
