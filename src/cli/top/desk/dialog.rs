//! What is asked before something is done. Nothing happens on a single key: each dialog says what it will do, takes a
//! reason, and waits for Enter; Esc leaves everything as it is.

use super::form::Typed;
use super::{Wish, outlook};
use crate::cli::ramp::{self, Target};
use crate::cli::top::act::Act;
use crate::control::steering::forecast::Forecast;

/// What an incident may be, the least first.
pub(in crate::cli::top) const SEVERITIES: [&str; 3] = ["minor", "major", "critical"];

/// An open question.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) enum Dialog {
    /// What the keys do.
    Help,
    /// How much should be carried?
    Ramp(RampForm),
    /// Is that what is wanted?
    Sure(Sure),
    /// Which incident?
    Incidents(Incidents),
    /// What is wrong?
    NewIncident(NewIncident),
}

/// Which line is being typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) enum Field {
    /// None: keys are answers.
    #[default]
    Keys,
    /// The percentage, or the title.
    First,
    /// Why, or the text.
    Reason,
}

/// A ramp in the making.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct RampForm {
    pub target: Target,
    pub percent: Typed,
    pub reason: Typed,
    pub field: Field,
    pub outlook: Outlook,
    /// What is wrong with what was typed.
    pub wrong: Option<String>,
}

/// What is known of what a ramp would shed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) enum Outlook {
    /// Nothing, and nothing was asked.
    Nothing,
    /// It was asked for this percentage.
    Asked(f64),
    /// For this percentage, in words.
    Known(f64, String),
}

/// An act that waits for a yes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct Sure {
    pub act: Act,
    /// What will be done.
    pub title: String,
    /// What to know before.
    pub facts: Vec<String>,
    pub reason: Typed,
    pub field: Field,
    /// `y` is a yes too.
    pub by_letter: bool,
}

/// Open incidents and drafts, one of them chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) struct Incidents {
    pub chosen: Option<u64>,
}

/// An incident in the making.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::top) struct NewIncident {
    pub title: Typed,
    pub text: Typed,
    /// A place in [`SEVERITIES`].
    pub severity: usize,
    pub upstream: Option<String>,
    pub public: bool,
    pub freeze: bool,
    pub field: Field,
    pub wrong: Option<String>,
}

impl RampForm {
    pub fn new(target: Target) -> RampForm {
        RampForm {
            target,
            percent: Typed::default(),
            reason: Typed::default(),
            field: Field::First,
            outlook: Outlook::Nothing,
            wrong: None,
        }
    }

    /// What was typed, if it is a percentage.
    pub fn value(&self) -> Result<f64, String> {
        ramp::percent(self.percent.text())
    }

    /// After the percentage changed: a forecast, unless one is under way.
    pub fn changed(&mut self) -> Option<Wish> {
        self.wrong = None;
        let percent = self.value().ok()?;
        match self.outlook {
            Outlook::Asked(_) => None,
            Outlook::Known(known, _) if known == percent => None,
            _ => {
                self.outlook = Outlook::Asked(percent);
                Some(Wish::Forecast(self.target.clone(), percent))
            }
        }
    }

    /// Takes a forecast; if something else was typed meanwhile, that is asked for.
    pub fn hear(&mut self, percent: f64, forecast: Result<Forecast, String>) -> Option<Wish> {
        let told = match forecast {
            Ok(forecast) => outlook(&self.target, &forecast),
            Err(why) => format!("no forecast: {why}"),
        };
        self.outlook = Outlook::Known(percent, told);
        self.changed()
    }
}

impl Sure {
    pub fn new(act: Act, title: impl Into<String>, facts: &[&str]) -> Sure {
        Sure {
            act,
            title: title.into(),
            facts: facts.iter().map(|fact| (*fact).to_owned()).collect(),
            reason: Typed::default(),
            field: Field::Reason,
            by_letter: false,
        }
    }

    /// The way back is short: `y` and Enter both say yes, and a reason is typed after Tab.
    pub fn rollback() -> Sure {
        let act = Act::Rollback { version: None };
        let asking = "asking what comes back; without waiting for that, the gateway goes back to the newest good version";
        Sure { field: Field::Keys, by_letter: true, ..Sure::new(act, "Roll back", &[asking]) }
    }
}

impl NewIncident {
    pub fn new(upstream: Option<String>) -> NewIncident {
        NewIncident {
            title: Typed::default(),
            text: Typed::default(),
            severity: 1,
            upstream,
            public: false,
            freeze: false,
            field: Field::First,
            wrong: None,
        }
    }

    /// What will be opened.
    pub fn act(&self) -> Result<Act, String> {
        if self.title.text().trim().is_empty() {
            return Err("an incident needs a title".to_owned());
        }
        Ok(Act::OpenIncident {
            title: self.title.text().trim().to_owned(),
            severity: SEVERITIES[self.severity.min(SEVERITIES.len() - 1)],
            upstreams: self.upstream.iter().cloned().collect(),
            public: self.public,
            freeze: self.freeze,
        })
    }
}
