//! The lines above every pane: which gateway, whether it is heard, its totals, and what a person has to know.

use super::View;
use crate::cli::follow;
use crate::cli::table::span;
use crate::cli::top::ink::{Side, below, first, short, time, width, wrap};
use crate::cli::top::picture::{Incident, Link};
use crate::control::condition::About;
use crate::control::view::LatelyView;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Lines of one warning at most; all of it is in its pane, or in `status`.
const LINES: usize = 2;

impl View<'_> {
    /// Draws them, and answers with what is left.
    pub(super) fn head(&self, buffer: &mut Buffer, area: Rect) -> Rect {
        let title = first(area, 1);
        buffer.set_style(title, self.ink.chosen());
        self.ink.put(buffer, title, &format!(" tidegate top  {}", self.admin), self.ink.chosen());
        let link = match self.picture.link(self.now) {
            Link::Lost(..) => " LOST ".to_owned(),
            Link::Live if self.picture.older => " asked each second ".to_owned(),
            Link::Live => " live ".to_owned(),
        };
        let who = self.picture.who.as_ref().map(|who| format!("{}, {} ", who.name, who.role));
        let link = who.unwrap_or_default() + &link;
        let wide = (width(&link) as u16).min(title.width);
        let right = Rect { x: title.right() - wide, width: wide, ..title };
        self.ink.put_to(buffer, right, &link, self.ink.chosen(), Side::Right);
        let rest = below(area, 1);
        self.ink.put(buffer, first(rest, 1), &self.totals(usize::from(area.width)), Style::new());
        self.warnings(buffer, below(rest, 1), area.height)
    }

    /// As many totals as there is room for, the most important first.
    fn totals(&self, room: usize) -> String {
        let (snapshot, status) = (&self.picture.snapshot, &self.picture.snapshot.status);
        // Of the process, which sheds for no upstream too; of an older gateway, all upstreams together.
        let sum = |of: fn(&LatelyView) -> Option<f64>| {
            let known: Vec<f64> = snapshot.rows.iter().filter_map(|row| of(&row.lately)).collect();
            let all = of(&status.lately).or_else(|| (!known.is_empty()).then(|| known.iter().sum()));
            all.map_or("-".to_owned(), short)
        };
        let hash: String = status.version.hash.chars().take(8).collect();
        let lag = snapshot.lag().map_or("-".to_owned(), |(_, lag)| time(lag));
        // What nobody waits for any more holds a place of its upstream, and none of the process.
        let zombies: f64 = snapshot.rows.iter().map(|row| row.zombies).sum();
        let zombies = if zombies > 0.0 { format!("  and zombies {zombies:.0}") } else { String::new() };
        let parts = [
            format!("in flight {}/{}{zombies}", status.in_flight, status.max_in_flight),
            format!("shed/s {}", sum(|lately| lately.shed_per_second)),
            format!("req/s {}", sum(|lately| lately.requests_per_second)),
            format!("version {} {hash}", status.version.number),
            format!("lag {lag}"),
            format!("up {}", span(status.uptime_seconds)),
            format!("streams {}/{}", status.streams, status.max_streams),
        ];
        let mut line = String::new();
        for part in parts {
            let space = if line.is_empty() { "" } else { "  " };
            if width(&line) + width(space) + width(&part) > room {
                break;
            }
            line = line + space + &part;
        }
        line
    }

    fn warnings(&self, buffer: &mut Buffer, area: Rect, height: u16) -> Rect {
        let room = usize::from(area.width);
        let most = usize::from(height / 4).clamp(1, 8);
        let told = self.told();
        let mut lines: Vec<(String, Style)> = Vec::new();
        let mut untold = told.len();
        for (warning, style) in &told {
            let mut wrapped = wrap(warning, room);
            let room_left = most.saturating_sub(lines.len());
            if room_left == 0 {
                break;
            }
            wrapped.truncate(LINES.min(room_left));
            lines.extend(wrapped.into_iter().map(|line| (line, *style)));
            untold -= 1;
        }
        if untold > 0
            && let Some((last, _)) = lines.last_mut()
        {
            let more = format!(" (+{untold} more)");
            let keep: String = last.chars().take(room.saturating_sub(more.len())).collect();
            *last = keep + &more;
        }
        for (row, (line, style)) in area.rows().zip(&lines) {
            self.ink.put(buffer, row, line, *style);
        }
        below(area, lines.len() as u16)
    }

    /// What a person has to know, the worst first.
    fn told(&self) -> Vec<(String, Style)> {
        let (bad, warning) = (self.ink.bad(), self.ink.warning());
        let (snapshot, status) = (&self.picture.snapshot, &self.picture.snapshot.status);
        let mut told = Vec::new();
        if let Link::Lost(since, why) = self.picture.link(self.now) {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            told.push((
                format!("! LOST for {}; what stands here is old{why}", span(since.as_secs_f64())),
                bad,
            ));
        }
        if status.draining {
            told.push(("! DRAINING: the gateway is on its way out".to_owned(), bad));
        }
        for worker in status.workers.iter().filter(|worker| worker.stuck) {
            told.push((format!("! core {} is STUCK", worker.worker), bad));
        }
        for worker in status.workers.iter().filter(|worker| !worker.closed_classes.is_empty()) {
            let classes = worker.closed_classes.join(", ");
            told.push((format!("! core {} does not keep up and refuses {classes}", worker.worker), bad));
        }
        let rollout = snapshot.rollout();
        if let Some(glass) = &rollout.break_glass {
            let (by, number, why) = (&glass.by, glass.number, &glass.reason);
            told.push((format!("! BROKEN GLASS: {by} put version {number} around the stages: {why}"), bad));
        }
        for incident in self.picture.freezes() {
            told.push((format!("! FROZEN: incident #{} holds back risky changes", incident.id), bad));
        }
        told.extend(self.picture.incidents().filter_map(|incident| self.incident(incident)));
        if let Some(waits) = &rollout.unconfirmed {
            let left = span(waits.seconds_left);
            told.push((format!("! version {} goes back in {left} unless confirmed", waits.number), warning));
        }
        if let Some(version) = &rollout.version {
            let (by, step) = (version.by.as_ref().unwrap_or(&version.cause), follow::line(rollout));
            let style = if rollout.needs_person { bad } else { warning };
            told.push((format!("> rollout of version {} by {by}: {step}", version.number), style));
        }
        let mark = if status.degraded { "! DEGRADED: " } else { "! " };
        let style = if status.degraded { bad } else { warning };
        let is_told = |about| match about {
            About::GlassBroken => rollout.break_glass.is_some(),
            About::ConfirmationWaits => rollout.unconfirmed.is_some(),
            _ => false,
        };
        let conditions = status.conditions.iter().filter(|condition| !is_told(condition.kind));
        told.extend(
            conditions.map(|condition| (format!("{mark}{}", condition.text.replace('\n', " ")), style)),
        );
        if status.degraded && status.conditions.is_empty() {
            told.push(("! DEGRADED".to_owned(), bad));
        }
        told
    }

    fn incident(&self, incident: &Incident) -> Option<(String, Style)> {
        let (id, title) = (incident.id, &incident.title);
        match incident.state.as_str() {
            "open" => {
                let whom = if incident.upstreams.is_empty() { "" } else { " on " };
                let whom = format!("{whom}{}", incident.upstreams.join(", "));
                Some((format!("! incident #{id} {}{whom}: {title}", incident.severity), self.ink.bad()))
            }
            "draft" => {
                Some((format!("? draft of an incident #{id}: {title} (i opens it)"), self.ink.warning()))
            }
            _ => None,
        }
    }
}
