//! What somebody wants of an incident, in bounds; and what they are told when it cannot be.

use super::incident::{Severity, State};
use crate::control::words::is_unfit;
use std::fmt;

/// The longest title, in characters.
pub const MAX_TITLE: usize = 120;
/// The longest update, in characters.
pub const MAX_TEXT: usize = 1000;
/// Upstreams of one incident.
pub const MAX_UPSTREAMS: usize = 100;

/// A new incident.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// What it is, in a line.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// Whom it is about.
    pub upstreams: Vec<String>,
    /// The first words.
    pub text: Option<String>,
    /// The status page shows it.
    pub public: bool,
    /// It holds risky changes.
    pub freeze: bool,
    /// Why, for the freeze and the audit.
    pub reason: Option<String>,
}

/// A change of an incident: what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct Amendment {
    /// `Open` publishes a draft, `Closed` closes.
    pub state: Option<State>,
    /// Another title.
    pub title: Option<String>,
    /// Another severity.
    pub severity: Option<Severity>,
    /// Other upstreams.
    pub upstreams: Option<Vec<String>>,
    /// Whether it holds risky changes.
    pub freeze: Option<bool>,
    /// Whether the status page shows it.
    pub public: Option<bool>,
    /// What is said of it.
    pub text: Option<String>,
    /// Why, for the freeze and the audit.
    pub reason: Option<String>,
    /// Only if it was not changed since this revision.
    pub revision: Option<u64>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none with this number.
    #[error("There is no incident {0}. hint: `tidegate incident list`")]
    Unknown(u64),
    /// It was changed since whoever asks looked at it.
    #[error(
        "Incident {id} was changed since you looked at it: it is at revision {revision}. hint: look again"
    )]
    Stale {
        /// Which.
        id: u64,
        /// Where it is now.
        revision: u64,
    },
    /// It does not go from where it is.
    #[error("{0}")]
    Conflict(String),
    /// A text or a list outside its bounds.
    #[error("{0}")]
    Invalid(String),
}

impl Opening {
    /// The same with its texts trimmed and within their bounds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self, known: &dyn Known) -> Result<Self, Refusal> {
        let text = self.text.map(|text| words(&text)).transpose()?.flatten();
        upstreams(&self.upstreams, known)?;
        Ok(Opening { title: title(&self.title)?, text, ..self })
    }
}

impl Amendment {
    /// The same with its texts trimmed and within their bounds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self, known: &dyn Known) -> Result<Self, Refusal> {
        let text = self.text.map(|text| words(&text)).transpose()?.flatten();
        if let Some(names) = &self.upstreams {
            upstreams(names, known)?;
        }
        let title = self.title.as_deref().map(title).transpose()?;
        if self.state == Some(State::Draft) {
            return Err(Refusal::Invalid("Only the gateway drafts; say open or closed.".to_owned()));
        }
        Ok(Amendment { title, text, ..self })
    }

    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        let Amendment { state, title, severity, upstreams, freeze, public, text, .. } = self;
        state.is_none()
            && title.is_none()
            && severity.is_none()
            && upstreams.is_none()
            && freeze.is_none()
            && public.is_none()
            && text.is_none()
    }
}

/// Which upstreams there are.
pub trait Known {
    /// Is there one of this name?
    fn has(&self, name: &str) -> bool;
    /// All, for a sentence.
    fn listed(&self) -> String;
}

impl fmt::Debug for dyn Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listed())
    }
}

fn title(text: &str) -> Result<String, Refusal> {
    let title = text.trim();
    if title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(is_unfit) {
        return Err(Refusal::Invalid(format!("The title is a line of 1 to {MAX_TITLE} characters.")));
    }
    Ok(title.to_owned())
}

/// Lines are allowed; nothing is said by nothing.
fn words(text: &str) -> Result<Option<String>, Refusal> {
    let text = text.replace("\r\n", "\n");
    let text = text.trim();
    if text.chars().count() > MAX_TEXT || text.chars().any(|char| is_unfit(char) && char != '\n') {
        let told =
            format!("The text is at most {MAX_TEXT} characters, without control characters but line breaks.");
        return Err(Refusal::Invalid(told));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn upstreams(names: &[String], known: &dyn Known) -> Result<(), Refusal> {
    if names.len() > MAX_UPSTREAMS {
        return Err(Refusal::Invalid(format!("An incident is about at most {MAX_UPSTREAMS} upstreams.")));
    }
    match names.iter().find(|name| !known.has(name)) {
        Some(name) => Err(Refusal::Invalid(format!(
            "The active version has no upstream named {:?}. hint: it has {}",
            name.chars().take(64).collect::<String>(),
            known.listed()
        ))),
        None => Ok(()),
    }
}
