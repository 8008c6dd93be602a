//! The panes without levers of their own: events, the change under way, who holds the slots, the cores.

use super::View;
use crate::cli::follow;
use crate::cli::table::span;
use crate::cli::top::grid::{self, Line, numbers, words};
use crate::cli::top::ink::{below, first, percent, short, time, wrap};
use crate::control::change::view::RolloutView;
use crate::control::view::WorkerView;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use serde_json::Value;

impl View<'_> {
    /// The newest first, each in full.
    pub(super) fn events(&self, buffer: &mut Buffer, area: Rect) {
        const INDENT: usize = 22;
        let wanted = self.desk.filter.to_lowercase();
        let is_wanted = |text: &str| text.to_lowercase().contains(&wanted);
        let mut lines = Vec::new();
        let room = usize::from(area.width);
        // No more than may be scrolled to.
        let most = self.desk.scrolled.saturating_add(usize::from(area.height));
        for event in self.picture.events.iter().rev().filter(|it| is_wanted(&it.told) || is_wanted(&it.kind))
        {
            let style = match event.kind.as_str() {
                "shed" | "ejection" | "audit" => self.ink.warning(),
                "incident" => self.ink.bad(),
                _ => Style::new(),
            };
            // A narrow terminal has no room to indent what follows.
            let indent = if room >= 3 * INDENT { INDENT } else { 0 };
            let first = format!("{} {:<12}", event.clock(), event.kind);
            let told = event.told.replace('\n', " ");
            let pieces = match indent {
                0 => wrap(&format!("{first} {told}"), room),
                indent => wrap(&told, room - indent),
            };
            lines.extend(pieces.into_iter().enumerate().map(|(nth, piece)| {
                let before = if nth == 0 && indent > 0 { first.as_str() } else { "" };
                (format!("{before:<indent$}{piece}"), style)
            }));
            if lines.len() > most {
                break;
            }
        }
        if lines.is_empty() {
            lines.push(("no events yet".to_owned(), self.ink.faint()));
        }
        self.scrolled(buffer, area, &lines);
    }

    /// The change under way with the numbers of its guard, or how the last one ended.
    pub(super) fn rollout(&self, buffer: &mut Buffer, area: Rect) {
        let rollout = self.picture.snapshot.rollout();
        let mut lines: Vec<(String, Style)> = Vec::new();
        let room = usize::from(area.width);
        let mut say = |text: String, style: Style| {
            lines.extend(wrap(&text, room).into_iter().map(|line| (line, style)));
        };
        match &rollout.version {
            None => say("no rollout is under way".to_owned(), self.ink.faint()),
            Some(version) => {
                let by = version.by.as_ref().unwrap_or(&version.cause);
                let why = version.reason.as_deref().unwrap_or("no reason given");
                let hash: String = version.hash.chars().take(16).collect();
                say(
                    format!("version {} ({hash}) by {by}, risk {}: {why}", version.number, version.risk),
                    self.ink.strong(),
                );
                if let Some(second) = &version.approved_by {
                    say(format!("approved by {second}"), Style::new());
                }
                say(follow::line(rollout), self.ink.warning());
                say(stages(rollout), Style::new());
                guard(&rollout.guard).into_iter().for_each(|line| say(line, Style::new()));
                if rollout.needs_person {
                    say("time alone will not decide it: m promotes, a aborts".to_owned(), self.ink.bad());
                }
            }
        }
        if let Some(waits) = &rollout.unconfirmed {
            let left = span(waits.seconds_left);
            say(
                format!("version {} goes back in {left} unless `tidegate confirm`", waits.number),
                self.ink.bad(),
            );
        }
        match rollout.pending_file.as_ref().map(|file| file.held_by) {
            None => {}
            Some(None) => {
                say("the file has changed again and waits for its turn".to_owned(), self.ink.warning());
            }
            Some(Some(incident)) => {
                let text = format!(
                    "the file has changed and waits for the end of the freeze of incident {incident}"
                );
                say(text, self.ink.warning());
            }
        }
        if let Some(glass) = &rollout.break_glass {
            let text = format!(
                "{} broke the glass at {}: version {} went around the stages ({}); `tidegate acknowledge` when seen",
                glass.by, glass.at, glass.number, glass.reason
            );
            say(text, self.ink.bad());
        }
        if let Some(last) = &rollout.last {
            say(String::new(), Style::new());
            let word = last.outcome.replace('_', " ");
            say(format!("before: version {} is {word}: {}", last.number, last.why), Style::new());
        }
        self.scrolled(buffer, area, &lines);
    }

    /// Who holds the slots, counted.
    pub(super) fn permits(&self, buffer: &mut Buffer, area: Rect) {
        let permits = &self.picture.snapshot.permits;
        let lost = permits.unanswered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let lost = if lost.is_empty() { lost } else { format!("  (cores {lost} did not answer)") };
        let total = format!("{} hold a slot{lost}", permits.total);
        self.ink.put(buffer, first(area, 1), &total, self.ink.strong());
        let most = permits.clients.iter().take(3).map(|share| format!("{} {}", share.client, share.count));
        let most = format!("most by {}", most.collect::<Vec<_>>().join("  "));
        let rest = below(area, 1);
        if !permits.clients.is_empty() {
            self.ink.put(buffer, first(rest, 1), &most, Style::new());
        }
        let wide = area.width >= 64;
        let mut columns = vec![words("upstream", 8)];
        if wide {
            columns.extend([words("route", 14), words("class", 9)]);
        }
        columns.extend([words("phase", 14), numbers("count", 6), numbers("oldest", 6)]);
        let wanted = self.desk.filter.to_lowercase();
        let groups = permits.summary.iter().filter(|group| group.upstream.to_lowercase().contains(&wanted));
        let lines: Vec<Line> = groups
            .map(|group| {
                let mut cells = vec![group.upstream.clone()];
                if wide {
                    cells.extend([group.route.clone(), group.class.clone()]);
                }
                cells.extend([
                    group.phase.replace('_', " "),
                    short(group.count as f64),
                    time(group.oldest_seconds),
                ]);
                Line { cells: cells.into_iter().map(|text| (text, Style::new())).collect(), marked: false }
            })
            .collect();
        let lines = self.unscrolled(&lines, area);
        grid::draw(self.ink, buffer, below(rest, 1), &columns, lines, None);
    }

    /// How late each core is.
    pub(super) fn cores(&self, buffer: &mut Buffer, area: Rect) {
        let columns = [
            words("core", 8),
            numbers("lag", 7),
            numbers("mean", 7),
            numbers("connections", 11),
            words("refuses", 12),
        ];
        let line = |worker: &WorkerView| {
            let refuses = match (worker.stuck, worker.closed_classes.is_empty()) {
                (true, _) => "stuck".to_owned(),
                (_, true) => String::new(),
                _ => worker.closed_classes.join(", "),
            };
            let cells = [
                worker.worker.to_string(),
                time(worker.lag_seconds),
                format!("{}ms", worker.mean_late_ms),
                worker.connections.to_string(),
                refuses.clone(),
            ];
            let style = if refuses.is_empty() { Style::new() } else { self.ink.bad() };
            Line { cells: cells.into_iter().map(|text| (text, style)).collect(), marked: !refuses.is_empty() }
        };
        let lines: Vec<Line> = self.picture.snapshot.status.workers.iter().map(line).collect();
        self.history(buffer, first(area, 1), "worst lag", "worker.lag_seconds", "", time);
        grid::draw(self.ink, buffer, below(area, 1), &columns, self.unscrolled(&lines, area), None);
    }

    fn unscrolled<'a>(&self, lines: &'a [Line], area: Rect) -> &'a [Line] {
        let most = lines.len().saturating_sub(usize::from(area.height / 2));
        &lines[self.desk.scrolled.min(most)..]
    }
}

/// The stages, with the one under way in brackets.
fn stages(rollout: &RolloutView) -> String {
    let under_way = |stage: f64| (stage - rollout.share_percent).abs() < 1e-6;
    let one =
        |stage: &f64| if under_way(*stage) { format!("[{}]", percent(*stage)) } else { percent(*stage) };
    let stages = rollout.stages_percent.iter().map(one).collect::<Vec<_>>().join(" ");
    let realised = rollout.realised_share_percent;
    let realised = realised.map(|share| format!("  it served {} of the requests", percent(share)));
    format!("stages {stages}{}", realised.unwrap_or_default())
}

/// What the guard sees, a line each.
fn guard(guard: &Value) -> Vec<String> {
    if !guard.is_object() {
        return Vec::new();
    }
    let number = |key: &str| guard[key].as_f64().unwrap_or_default();
    let side = |name: &str| {
        let (requests, failed) = (guard[name]["requests"].as_f64()?, guard[name]["failed"].as_f64()?);
        let part = if requests > 0.0 { percent(100.0 * failed / requests) } else { "-".to_owned() };
        Some(format!("{name:<9} {requests:>8.0} requests {failed:>7.0} failed {part:>6}"))
    };
    let mut lines: Vec<String> = ["candidate", "stable"].into_iter().filter_map(side).collect();
    lines.push(format!(
        "stage {:.0} of {:.0}: {:.0} requests, {:.0} overdue, watched {} of at least {}; good in {} if nothing is found",
        number("stage"),
        number("stages"),
        number("stage_requests"),
        number("overdue"),
        span(number("watched_seconds")),
        span(number("bake_seconds")),
        span(number("forecast_seconds")),
    ));
    lines
}
