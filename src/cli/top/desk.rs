//! Where the person is: which pane, what is chosen, what is filtered, which dialog is open, what was last said.
//!
//! Pure: keys go in (`keys`), wishes come out, answers are told here. What is chosen is a name, never a place in a
//! list: the worst comes first, so places change under the person's hand, and an act must hit what they saw.

mod dialog;
mod form;
mod keys;
mod questions;

pub(super) use dialog::{Dialog, Field, Incidents, NewIncident, Outlook, RampForm, SEVERITIES, Sure};
pub(super) use form::Typed;

use super::act::{Act, Way};
use super::picture::{Picture, Row};
use crate::cli::ramp::{self, Target};
use crate::control::steering::forecast::Forecast;
use std::cmp::Ordering;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// All upstreams, the worst first.
    #[default]
    Upstreams,
    /// One upstream and its backends.
    Upstream,
    /// What happened.
    Events,
    /// The change under way.
    Rollout,
    /// Who holds the slots.
    Permits,
    /// The cores.
    Cores,
}

impl Pane {
    /// Those that a digit opens, with their names.
    pub const TABS: [(Pane, &'static str); 5] = [
        (Pane::Upstreams, "upstreams"),
        (Pane::Events, "events"),
        (Pane::Rollout, "rollout"),
        (Pane::Permits, "permits"),
        (Pane::Cores, "cores"),
    ];
}

/// What the last act came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// In full.
    pub text: String,
    /// It was done.
    pub good: bool,
}

/// What the person wants of the rest of the program.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// To leave.
    Leave,
    /// That something is done, and why.
    Act(Act, String),
    /// What a ramp would shed.
    Forecast(Target, f64),
    /// What a rollback would bring back.
    WayBack,
    /// An upstream with its backends, now.
    Look(String),
}

/// An answer to a wish.
#[derive(Debug)]
pub(super) enum Answer {
    /// To an act: what came of it, or the refusal.
    Done(Result<String, String>),
    /// To a forecast, with its percentage.
    Forecast(f64, Result<Forecast, String>),
    /// To a way back.
    WayBack(Result<Way, String>),
}

/// Where the person is.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub pane: Pane,
    /// The upstream that is chosen, or looked at.
    upstream: Option<String>,
    /// The backend that is chosen; nothing for the upstream itself.
    backend: Option<String>,
    /// How many lines are scrolled past, in panes without something to choose.
    pub scrolled: usize,
    /// Only upstreams and events with this in them.
    pub filter: String,
    /// The filter is being typed.
    pub filtering: bool,
    pub dialog: Option<Dialog>,
    pub said: Option<Said>,
    /// What was asked for and not answered yet.
    pub busy: Option<String>,
}

impl Desk {
    /// The upstreams to show: filtered, the worst first.
    pub fn rows<'a>(&self, picture: &'a Picture) -> Vec<&'a Row> {
        let wanted = self.filter.to_lowercase();
        let rows = picture.snapshot.rows.iter();
        let mut rows: Vec<_> = rows.filter(|row| row.name.to_lowercase().contains(&wanted)).collect();
        rows.sort_by(|a, b| worse(a, b));
        rows
    }

    /// The place of the chosen upstream among these.
    pub fn place(&self, rows: &[&Row]) -> usize {
        let chosen = self.upstream.as_deref();
        rows.iter().position(|row| Some(row.name.as_str()) == chosen).unwrap_or(0)
    }

    /// The upstream that is chosen or looked at.
    pub fn upstream(&self, picture: &Picture) -> Option<String> {
        if self.pane == Pane::Upstream {
            return self.upstream.clone();
        }
        let rows = self.rows(picture);
        rows.get(self.place(&rows)).map(|row| row.name.clone())
    }

    /// The backend that is chosen, if it is still there.
    pub fn backend<'a>(&'a self, picture: &Picture) -> Option<&'a str> {
        let backends = self.backends(picture);
        self.backend.as_deref().filter(|name| backends.iter().any(|backend| backend == name))
    }

    /// The names of the backends of the upstream that is looked at.
    pub fn backends(&self, picture: &Picture) -> Vec<String> {
        let upstream = self.upstream.as_deref().and_then(|name| picture.snapshot.upstream(name));
        let backends = upstream.map(|upstream| upstream.backends.as_slice()).unwrap_or_default();
        backends.iter().map(|backend| backend.name.clone()).collect()
    }

    /// The upstream whose backends are looked at.
    pub fn looked_at(&self) -> Option<&str> {
        self.upstream.as_deref().filter(|_| self.pane == Pane::Upstream)
    }

    /// What levers act on.
    fn target(&self, picture: &Picture) -> Option<Target> {
        let upstream = self.upstream(picture)?;
        let backend = if self.pane == Pane::Upstream { self.backend(picture) } else { None };
        Some(Target::of(&upstream, backend))
    }

    /// Takes an answer; a wish may follow from it.
    pub fn hear(&mut self, answer: Answer) -> Option<Wish> {
        match answer {
            Answer::Done(done) => {
                self.busy = None;
                self.say(done);
                None
            }
            Answer::Forecast(percent, forecast) => {
                let Some(Dialog::Ramp(form)) = &mut self.dialog else { return None };
                form.hear(percent, forecast)
            }
            Answer::WayBack(way) => {
                let Some(Dialog::Sure(sure)) = &mut self.dialog else { return None };
                if let Act::Rollback { version } = &mut sure.act {
                    match way {
                        Ok(way) => (*version, sure.facts) = (way.version, way.told),
                        Err(why) => sure.facts = vec![format!("what comes back is not known: {why}")],
                    }
                }
                None
            }
        }
    }

    fn say(&mut self, done: Result<String, String>) {
        let good = done.is_ok();
        let (Ok(text) | Err(text)) = done;
        self.said = Some(Said { text: text.trim_end().to_owned(), good });
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.say(Err(why.into()));
    }
}

/// The worse comes first; then by name, so that equals stay where they are.
fn worse(a: &Row, b: &Row) -> Ordering {
    let sheds = |row: &Row| row.lately.shed_per_second.unwrap_or(0.0);
    let by = |a: f64, b: f64| b.total_cmp(&a);
    b.trouble()
        .cmp(&a.trouble())
        .then_with(|| by(sheds(a), sheds(b)))
        .then_with(|| by(a.fill(), b.fill()))
        .then_with(|| a.name.cmp(&b.name))
}

/// What a forecast says in words.
pub(super) fn outlook(target: &Target, forecast: &Forecast) -> String {
    ramp::outlook(&target.to_string(), forecast).replace(" now sheds ", " would shed ")
}

#[cfg(test)]
mod tests;
