//! The picture: what is known and where the person is, drawn into a buffer. Pure, so that tests look at it as text.
//!
//! What matters at once is above every pane: whether the gateway is heard, degraded, frozen, behind broken glass, in
//! a rollout or in an incident. What was last done, or refused, is below, in full. Small terminals lose columns and
//! lines, never those.

mod backends;
mod head;
mod overlay;
mod overview;
mod panes;

use super::desk::{Desk, Pane};
use super::ink::{Ink, Side, below, first, width, wrap};
use super::picture::{Link, Picture};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use std::time::Instant;

/// What is drawn.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub picture: &'a Picture,
    pub desk: &'a Desk,
    pub ink: Ink,
    /// The admin side, as the person wrote it.
    pub admin: &'a str,
    pub now: Instant,
}

impl View<'_> {
    /// Draws all of it.
    pub fn draw(&self, buffer: &mut Buffer) {
        let area = buffer.area;
        let rest = self.head(buffer, area);
        let rest = self.tabs(buffer, rest);
        let foot = self.foot(area);
        let rows = (foot.len() as u16).min(rest.height.saturating_sub(1)).max(1.min(rest.height));
        let body = Rect { height: rest.height - rows, ..rest };
        self.pane(buffer, body);
        if let Link::Lost(..) = self.picture.link(self.now) {
            // What stands there is old.
            let faint = Style::new().remove_modifier(Modifier::BOLD).patch(self.ink.faint());
            buffer.set_style(body, if self.ink.colours { faint.fg(Color::DarkGray) } else { faint });
        }
        let style = self.foot_style();
        for (row, line) in below(rest, rest.height - rows).rows().zip(&foot) {
            self.ink.put(buffer, row, line, style);
        }
        self.overlay(buffer, body);
    }

    fn tabs(&self, buffer: &mut Buffer, area: Rect) -> Rect {
        let row = first(area, 1);
        let mut x = row.x;
        for (nth, (pane, name)) in Pane::TABS.iter().enumerate() {
            let is_open =
                *pane == self.desk.pane || (*pane == Pane::Upstreams && self.desk.pane == Pane::Upstream);
            // A narrow terminal has room for the name of the open one only.
            let text = match row.width >= 64 || is_open {
                true => format!(" {} {name} ", nth + 1),
                false => format!(" {} ", nth + 1),
            };
            let wide = (width(&text) as u16).min(row.right().saturating_sub(x));
            let style = if is_open { self.ink.chosen() } else { self.ink.faint() };
            self.ink.put(buffer, Rect { x, width: wide, ..row }, &text, style);
            x = x.saturating_add(wide);
        }
        let filter = match (self.desk.filtering, self.desk.filter.as_str()) {
            (false, "") => String::new(),
            (true, typed) => format!("/{typed}_ "),
            (false, typed) => format!("/{typed} (Esc clears) "),
        };
        let rest = Rect { x, width: row.right().saturating_sub(x), ..row };
        self.ink.put_to(buffer, rest, &filter, self.ink.warning(), Side::Right);
        below(area, 1)
    }

    fn pane(&self, buffer: &mut Buffer, area: Rect) {
        match self.desk.pane {
            Pane::Upstreams => self.overview(buffer, area),
            Pane::Upstream => self.upstream(buffer, area),
            Pane::Events => self.events(buffer, area),
            Pane::Rollout => self.rollout(buffer, area),
            Pane::Permits => self.permits(buffer, area),
            Pane::Cores => self.cores(buffer, area),
        }
    }

    /// What was last said, in full; or what is waited for; or which keys there are.
    fn foot(&self, area: Rect) -> Vec<String> {
        let room = usize::from(area.width);
        if let Some(said) = &self.desk.said {
            let mark = if said.good { "" } else { "! " };
            return wrap(&format!("{mark}{}", said.text), room);
        }
        if let Some(busy) = &self.desk.busy {
            return vec![busy.clone()];
        }
        let keys = match self.desk.pane {
            Pane::Upstreams => "Enter open  r ramp  R rollback  i incident  / filter  ? help  q quit",
            Pane::Upstream => {
                "r ramp  p/P pause/resume  c clear  d drain/ready  R rollback  Esc back  ? help"
            }
            Pane::Rollout => "m promote  a abort  R rollback  ? help  q quit",
            _ => "R rollback  i incident  / filter  ? help  q quit",
        };
        vec![keys.to_owned()]
    }

    fn foot_style(&self) -> Style {
        match &self.desk.said {
            Some(said) if said.good => self.ink.good(),
            Some(_) => self.ink.bad(),
            None if self.desk.busy.is_some() => self.ink.warning(),
            None => self.ink.faint(),
        }
    }

    /// Lines that may be scrolled; the last ones stay in sight.
    fn scrolled(&self, buffer: &mut Buffer, area: Rect, lines: &[(String, Style)]) {
        let most = lines.len().saturating_sub(usize::from(area.height));
        let shown = lines.iter().skip(self.desk.scrolled.min(most));
        for (row, (line, style)) in area.rows().zip(shown) {
            self.ink.put(buffer, row, line, *style);
        }
    }
}

#[cfg(test)]
mod tests;
