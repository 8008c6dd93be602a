//! All upstreams, the worst first, and more of the chosen one.

use super::View;
use crate::cli::table::seconds;
use crate::cli::top::grid::{self, Column, Line, numbers, words};
use crate::cli::top::ink::{below, first, percent, short};
use crate::cli::top::picture::Row;
use crate::control::view::ShedView;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Lines about the chosen one.
const MORE: u16 = 3;

/// What a column shows, and from which width of the terminal on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Load,
    Queue,
    Requests,
    Sheds,
    Half,
    Most,
    Ramp,
    Ready,
    Past,
    Why,
}

/// In their order, with the width from which on they are there.
const COLUMNS: [(Kind, u16, Column); 11] = [
    (Kind::Name, 0, words("upstream", 8)),
    (Kind::Load, 0, words("in flight", 10)),
    (Kind::Queue, 62, numbers("queue", 8)),
    (Kind::Requests, 54, numbers("req/s", 5)),
    (Kind::Sheds, 0, numbers("shed/s", 6)),
    (Kind::Half, 92, numbers("p50", 6)),
    (Kind::Most, 70, numbers("p99", 6)),
    (Kind::Ramp, 46, numbers("ramp", 5)),
    (Kind::Ready, 0, numbers("ready", 6)),
    (Kind::Past, 116, words("req/s before", 20)),
    (Kind::Why, 146, words("sheds", 40)),
];

impl View<'_> {
    pub(super) fn overview(&self, buffer: &mut Buffer, area: Rect) {
        let rows = self.desk.rows(self.picture);
        if rows.is_empty() {
            let why = match (self.picture.snapshot.rows.is_empty(), self.desk.filter.as_str()) {
                (true, _) => "no upstreams".to_owned(),
                (false, filter) => format!("no upstream has {filter:?} in its name (Esc shows all)"),
            };
            self.ink.put(buffer, first(area, 1), &why, self.ink.faint());
            return;
        }
        let place = self.desk.place(&rows);
        let more = if area.height >= 10 { MORE } else { 0 };
        let shown: Vec<_> = COLUMNS.iter().filter(|(_, from, _)| area.width >= *from).copied().collect();
        let bar = if area.width >= 76 { 7 } else { 0 };
        let widen = |(kind, _, column): &(Kind, u16, Column)| match kind {
            Kind::Load => Column { width: column.width + bar, ..*column },
            _ => *column,
        };
        let columns: Vec<Column> = shown.iter().map(widen).collect();
        let lines: Vec<Line> = rows
            .iter()
            .map(|row| Line {
                cells: shown.iter().map(|(kind, ..)| self.cell(*kind, row, bar)).collect(),
                marked: row.trouble() >= 2,
            })
            .collect();
        let table = Rect { height: area.height - more, ..area };
        grid::draw(self.ink, buffer, table, &columns, &lines, Some(place));
        if more > 0 {
            self.chosen(buffer, below(area, area.height - more), rows[place]);
        }
    }

    fn cell(&self, kind: Kind, row: &Row, bar: u16) -> (String, Style) {
        let ink = self.ink;
        let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".to_owned(), show);
        let when = |is: bool, style: Style| if is { style } else { Style::new() };
        match kind {
            Kind::Name => (row.name.clone(), when(row.trouble() >= 2, ink.bad())),
            Kind::Load => {
                let numbers = format!("{:.0}/{:.0}", row.in_flight, row.limit);
                let text = match bar {
                    0 => numbers,
                    bar => format!("{} {numbers}", ink.bar(row.fill(), bar - 1)),
                };
                let style = match row.fill() {
                    full if full >= 1.0 => ink.bad(),
                    nearly if nearly >= 0.8 => ink.warning(),
                    _ => Style::new(),
                };
                (text, style)
            }
            Kind::Queue => {
                (format!("{:.0}/{:.0}", row.queue, row.max_waiting), when(row.queue > 0.0, ink.warning()))
            }
            Kind::Requests => (known(row.lately.requests_per_second, short), Style::new()),
            Kind::Sheds => (
                known(row.lately.shed_per_second, short),
                when(row.lately.shed_per_second > Some(0.0), ink.bad()),
            ),
            Kind::Half => {
                (ink.latency(row.lately.latency_p50_seconds, row.lately.latency_p50_at_least), Style::new())
            }
            Kind::Most => {
                (ink.latency(row.lately.latency_p99_seconds, row.lately.latency_p99_at_least), Style::new())
            }
            Kind::Ramp => (percent(row.ramp_percent), when(row.ramp_percent < 100.0, ink.warning())),
            Kind::Ready => {
                let style = match (row.backends_ready, row.backends_total) {
                    (ready, all) if ready >= all => ink.good(),
                    (0.0, _) => ink.bad(),
                    _ => ink.warning(),
                };
                (format!("{:.0}/{:.0}", row.backends_ready, row.backends_total), style)
            }
            Kind::Past => {
                let past = self.picture.past.of("upstream.requests_per_second", &row.name, 20);
                (ink.spark(&past, 20, None), Style::new())
            }
            Kind::Why => (sheds(row), Style::new()),
        }
    }

    fn chosen(&self, buffer: &mut Buffer, area: Rect, row: &Row) {
        let state = match row.worst.as_deref() {
            Some(worst) if worst != "ready" => format!("  worst backend: {worst}"),
            _ => String::new(),
        };
        let sheds = match sheds(row) {
            none if none.is_empty() => String::new(),
            sheds => format!("  sheds {sheds}"),
        };
        let silent =
            row.lately.silent_seconds.map(|silent| format!("  nothing came back for {}", seconds(silent)));
        let silent = silent.unwrap_or_default();
        let zombies = match row.zombies {
            1.0 => "  1 of those in flight is a zombie".to_owned(),
            zombies if zombies > 0.0 => format!("  {zombies:.0} of those in flight are zombies"),
            _ => String::new(),
        };
        let line = format!("{}{silent}{sheds}{zombies}{state}", row.name);
        self.ink.put(buffer, first(area, 1), &line, self.ink.strong());
        let lines = [("in flight", "upstream.in_flight"), ("shed/s", "upstream.shed_per_second")];
        for (at, (title, series)) in below(area, 1).rows().zip(lines) {
            self.history(buffer, at, title, series, &row.name, short);
        }
    }

    /// One series over the whole width, with its largest value.
    pub(super) fn history(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        title: &str,
        series: &str,
        upstream: &str,
        show: fn(f64) -> String,
    ) {
        const TITLE: u16 = 10;
        const MOST: u16 = 22;
        let room = usize::from(area.width.saturating_sub(TITLE + MOST));
        let past = self.picture.past.of(series, upstream, room);
        let most = past.iter().flatten().copied().fold(0.0, f64::max);
        let known = past.iter().skip_while(|value| value.is_none()).count();
        let minutes = (self.picture.past.reach(known).as_secs_f64() / 60.0).ceil();
        self.ink.put(buffer, Rect { width: TITLE.min(area.width), ..area }, title, self.ink.faint());
        let chart = Rect { x: area.x + TITLE.min(area.width), width: room as u16, ..area };
        self.ink.put(buffer, chart, &self.ink.spark(&past, room, None), Style::new());
        let note = format!("  most {} in {minutes:.0} min", show(most));
        let x = chart.right();
        let right = Rect { x, width: area.right().saturating_sub(x), ..area };
        self.ink.put(buffer, right, &note, self.ink.faint());
    }
}

/// Who is refused and why, in words.
pub(super) fn sheds(row: &Row) -> String {
    let one = |shed: &ShedView| format!("{} {}/s ({})", shed.reason, short(shed.per_second), shed.class);
    row.lately.sheds.iter().filter(|shed| shed.per_second > 0.0).map(one).collect::<Vec<_>>().join(", ")
}
