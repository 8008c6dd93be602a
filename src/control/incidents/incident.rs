//! An incident, as it is kept, answered and shown: what happened to whom since when, in whose words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;

/// Whoever acts where no person does.
pub const GATEWAY: &str = "gateway";

/// One incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// Its number; never given twice in a state directory.
    pub id: u64,
    /// How far it is.
    pub state: State,
    /// What it is, in a line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The upstreams that it is about; none: the whole gateway.
    pub upstreams: Vec<String>,
    /// It holds risky changes.
    pub freeze: bool,
    /// Who set that, when, and why.
    pub frozen: Option<Frozen>,
    /// It is on the status page once it is open.
    pub public: bool,
    /// Why the gateway drafted it, with the numbers; nothing if a person opened it.
    pub drafted_because: Option<String>,
    /// What the gateway drafted it for.
    pub cause: Option<Cause>,
    /// When it was opened or drafted: UTC, RFC 3339.
    pub opened_at: String,
    /// Who opened it; `gateway` while nobody has opened what it drafted.
    pub opened_by: String,
    /// Who read a draft and opened it.
    pub published_by: Option<String>,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// What was said of it, the oldest first.
    pub updates: Vec<Update>,
    /// Counts its changes, for `If-Match`.
    pub revision: u64,
}

/// What was said of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// When: UTC, RFC 3339.
    pub at: String,
    /// Who.
    pub by: String,
    /// What.
    pub text: String,
    /// The status page shows it. What the gateway writes is never shown.
    pub public: bool,
}

/// Who holds risky changes, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frozen {
    /// Who.
    pub by: String,
    /// Since when: UTC, RFC 3339.
    pub at: String,
    /// Why, in their words.
    pub reason: String,
}

/// How far an incident is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The gateway noticed something; nobody has read it yet.
    Draft,
    /// Somebody is at it.
    #[default]
    Open,
    /// It is over.
    Closed,
}

/// How bad an incident is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Some notice it.
    #[default]
    Minor,
    /// Many notice it.
    Major,
    /// Nothing works for them.
    Critical,
}

/// What the gateway drafts an incident for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An upstream refuses too many of its requests.
    Shed,
    /// Too many of an upstream's backends are out.
    Backends,
    /// The guard took a change back.
    Revert,
    /// Somebody went around the stages, or a freeze.
    BreakGlass,
}

impl State {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Open => "open",
            State::Closed => "closed",
        }
    }
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Severity; 3] = [Severity::Minor, Severity::Major, Severity::Critical];

    /// The word in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Minor => "minor",
            Severity::Major => "major",
            Severity::Critical => "critical",
        }
    }
}

impl Cause {
    /// All.
    pub const ALL: [Cause; 4] = [Cause::Shed, Cause::Backends, Cause::Revert, Cause::BreakGlass];

    /// The word in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Shed => "shed",
            Cause::Backends => "backends",
            Cause::Revert => "revert",
            Cause::BreakGlass => "break_glass",
        }
    }

    /// Whether it goes on until it is over; the others happen.
    pub const fn lasts(self) -> bool {
        matches!(self, Cause::Shed | Cause::Backends)
    }

    /// What a draft is called. Without names: whoever opens it may show it to everyone.
    pub const fn title(self) -> &'static str {
        match self {
            Cause::Shed => "Some requests are refused",
            Cause::Backends => "Some servers are unavailable",
            Cause::Revert => "A change was taken back",
            Cause::BreakGlass => "A change was made in a hurry",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Incident {
    /// Somebody is at it.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Where it stands in every list, the least first: what is open, then drafts, then what is closed; of the first two
    /// the worst first. Among equals the newest is first.
    pub fn place(&self) -> (u8, Reverse<Severity>, Reverse<u64>) {
        match self.state {
            State::Open => (0, Reverse(self.severity), Reverse(self.id)),
            State::Draft => (1, Reverse(self.severity), Reverse(self.id)),
            State::Closed => (2, Reverse(Severity::Critical), Reverse(self.id)),
        }
    }

    /// A draft that somebody dropped: it never was an incident.
    pub fn is_dismissed(&self) -> bool {
        self.state == State::Closed && self.cause.is_some() && self.published_by.is_none()
    }

    /// The status page may show it.
    pub fn is_shown(&self) -> bool {
        self.public && self.state != State::Draft
    }

    /// Bytes that its words take, about.
    pub fn weight(&self) -> usize {
        let updates: usize = self.updates.iter().map(|update| update.text.len() + 96).sum();
        self.title.len() + self.upstreams.iter().map(String::len).sum::<usize>() + updates + 512
    }
}

/// A moment as everything here is written.
pub(super) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
