//! Dialogs, drawn over the pane: what will be done, what to know before, what is being typed.

use super::View;
use crate::cli::top::desk::{Dialog, Field, Incidents, NewIncident, Outlook, RampForm, SEVERITIES, Sure};
use crate::cli::top::ink::{percent, wrap};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Widget};

/// Columns of a dialog at most.
const WIDEST: u16 = 76;
/// Columns of the pane beside it, both sides together, that are worth to be seen.
const MARGINS: u16 = 16;

/// What the keys do.
const HELP: [&str; 17] = [
    "1-5, Tab     upstreams, events, rollout, permits, cores",
    "Up Down j k  choose; PgUp PgDn Home End",
    "Enter, Esc   open an upstream: its backends and levers; back",
    "/            show only what has this in its name",
    "r            ramp: how much may be carried, with a forecast",
    "p  P         stop the clock of a ramp's next step, let it go on",
    "c            clear a ramp",
    "d            drain a backend, or bring it back",
    "m  a         promote or abort the rollout",
    "R            roll back: R, then y or Enter",
    "i            open or close an incident",
    "q, Ctrl-C    leave",
    "The worst comes first: nobody serves it, it sheds, it is full.",
    "! stands before what needs somebody. shed/s was refused for want",
    "of room; ramp is what may be carried; ready are backends that are",
    "picked. Every act asks first, and is in the audit with its reason;",
    "`tidegate --help` has the verbs for scripts.",
];

type Lines = Vec<(String, Style)>;

impl View<'_> {
    pub(super) fn overlay(&self, buffer: &mut Buffer, area: Rect) {
        let Some(dialog) = &self.desk.dialog else { return };
        let room = usize::from(area.width.min(WIDEST).saturating_sub(4));
        let (title, lines) = match dialog {
            Dialog::Help => {
                let lines = HELP.iter().flat_map(|line| self.help(line, room)).collect();
                (" keys ", lines)
            }
            Dialog::Ramp(form) => (" ramp ", self.ramp_form(form, room)),
            Dialog::Sure(sure) => (" are you sure? ", self.sure(sure, room)),
            Dialog::Incidents(chosen) => (" incidents ", self.incidents(chosen, room)),
            Dialog::NewIncident(form) => (" a new incident ", self.new_incident(form, room)),
        };
        // A small terminal has no room for a frame.
        let framed = usize::from(area.height) >= lines.len() + 2;
        let frame = if framed { 2 } else { 0 };
        // Scraps of the pane beside it would be taken for a part of it.
        let is_island = framed && area.width >= WIDEST + MARGINS;
        let width = if is_island { WIDEST } else { area.width };
        let height = area.height.min(lines.len() as u16 + frame);
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        Clear.render(place, buffer);
        let mut inner = place;
        if framed {
            let mut block = Block::bordered().title(title);
            if !self.ink.unicode {
                block = block.border_set(ASCII);
            }
            inner = block.inner(place);
            block.render(place, buffer);
            inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        }
        // What is asked stands at the end, and is seen however small the terminal is.
        let skip = lines.len().saturating_sub(usize::from(inner.height));
        let skip = if matches!(dialog, Dialog::Help) { 0 } else { skip };
        for (row, (line, style)) in inner.rows().zip(lines.iter().skip(skip)) {
            self.ink.put(buffer, row, line, *style);
        }
    }

    fn help(&self, line: &str, room: usize) -> Lines {
        let lines = if line.chars().count() <= room { vec![line.to_owned()] } else { wrap(line, room) };
        lines.into_iter().map(|line| (line, Style::new())).collect()
    }

    fn ramp_form(&self, form: &RampForm, room: usize) -> Lines {
        let mut lines = Vec::new();
        self.say(
            &mut lines,
            &format!("{} may carry how much of what it holds when it is well?", form.target),
            self.ink.strong(),
            room,
        );
        self.line(&mut lines, "percent", form.percent.text(), form.field == Field::First);
        let (told, style) = match &form.outlook {
            Outlook::Nothing => ("0 to 100; a forecast follows".to_owned(), self.ink.faint()),
            Outlook::Asked(value) => {
                (format!("asking what {} would shed", percent(*value)), self.ink.faint())
            }
            Outlook::Known(value, told) => (format!("at {}: {told}", percent(*value)), self.ink.warning()),
        };
        self.say(&mut lines, &told, style, room);
        self.line(&mut lines, "reason", form.reason.text(), form.field == Field::Reason);
        self.wrong(&mut lines, form.wrong.as_deref(), room);
        let keys = match form.field {
            Field::First => "Enter goes on to the reason, Esc leaves everything as it is",
            _ => "Enter sets the ramp, Tab goes back, Esc leaves everything as it is",
        };
        self.say(&mut lines, keys, self.ink.faint(), room);
        lines
    }

    fn sure(&self, sure: &Sure, room: usize) -> Lines {
        let mut lines = Vec::new();
        self.say(&mut lines, &sure.title, self.ink.strong(), room);
        sure.facts.iter().for_each(|fact| self.say(&mut lines, fact, self.ink.warning(), room));
        self.line(&mut lines, "reason", sure.reason.text(), sure.field == Field::Reason);
        let keys = match (sure.by_letter, sure.field) {
            (true, Field::Keys) => "y or Enter does it, Tab to give a reason, Esc leaves everything as it is",
            _ => "Enter does it, Esc leaves everything as it is",
        };
        self.say(&mut lines, keys, self.ink.faint(), room);
        lines
    }

    fn incidents(&self, chosen: &Incidents, room: usize) -> Lines {
        let mut lines: Lines = Vec::new();
        for incident in self.picture.incidents() {
            let is_chosen = Some(incident.id) == chosen.chosen;
            let freeze = if incident.freeze { ", frozen" } else { "" };
            let mark = if is_chosen { '>' } else { ' ' };
            let text = format!(
                "{mark} #{} {} {}{freeze}: {}",
                incident.id, incident.state, incident.severity, incident.title
            );
            lines.push((text, if is_chosen { self.ink.chosen() } else { Style::new() }));
            if let Some(why) = incident.drafted_because.as_deref().filter(|_| is_chosen) {
                self.say(&mut lines, why, self.ink.faint(), room);
            }
        }
        let keys = "Enter opens a draft or closes what is open, c closes, n opens a new one, Esc leaves";
        self.say(&mut lines, keys, self.ink.faint(), room);
        lines
    }

    fn new_incident(&self, form: &NewIncident, room: usize) -> Lines {
        let mut lines = Vec::new();
        self.line(&mut lines, "title", form.title.text(), form.field == Field::First);
        self.line(&mut lines, "text", form.text.text(), form.field == Field::Reason);
        let yes = |is: bool| if is { "yes" } else { "no" };
        let upstream = form.upstream.as_deref().unwrap_or("none");
        let switches = format!(
            "s severity: {}   p public: {}   f freeze: {}   upstream: {upstream}",
            SEVERITIES[form.severity.min(SEVERITIES.len() - 1)],
            yes(form.public),
            yes(form.freeze)
        );
        let style = if form.field == Field::Keys { self.ink.strong() } else { Style::new() };
        self.say(&mut lines, &switches, style, room);
        self.wrong(&mut lines, form.wrong.as_deref(), room);
        let keys = match form.field {
            Field::Keys => "s, p and f switch, Enter opens it, Tab goes on, Esc leaves",
            _ => "Enter goes on, Esc leaves",
        };
        self.say(&mut lines, keys, self.ink.faint(), room);
        lines
    }

    fn say(&self, lines: &mut Lines, text: &str, style: Style, room: usize) {
        lines.extend(wrap(text, room).into_iter().map(|line| (line, style)));
    }

    fn wrong(&self, lines: &mut Lines, wrong: Option<&str>, room: usize) {
        if let Some(wrong) = wrong {
            self.say(lines, &format!("! {wrong}"), self.ink.bad(), room);
        }
    }

    /// A line to type in; its end is seen.
    fn line(&self, lines: &mut Lines, title: &str, text: &str, is_here: bool) {
        let cursor = if is_here { "_" } else { "" };
        let style = if is_here { self.ink.strong() } else { Style::new() };
        lines.push((format!("{title:<8} {text}{cursor}"), style));
    }
}

/// A frame of plain characters.
const ASCII: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
