//! Incidents and the status page, as operators see them beside everything else; `GET /v1/incidents` has all of it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is open, what waits to be read, and what is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentsView {
    /// Those that are open, the worst first, then the newest.
    pub open: Vec<OpenView>,
    /// Drafts of the gateway that nobody has read, in the same order.
    pub drafts: Vec<OpenView>,
    /// What holds risky changes.
    pub freezes: Vec<FreezeView>,
    /// Drafts since the start, by cause.
    pub drafted: BTreeMap<String, u64>,
}

/// An incident in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenView {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub title: String,
    /// `minor`, `major` or `critical`.
    pub severity: String,
    /// Whom it is about; none: the whole gateway.
    pub upstreams: Vec<String>,
    /// The status page shows it.
    pub public: bool,
    /// It holds risky changes.
    pub freeze: bool,
    /// Why the gateway drafted it.
    pub drafted_because: Option<String>,
    /// Since when: UTC, RFC 3339.
    pub opened_at: String,
    /// Who opened it.
    pub opened_by: String,
}

/// A freeze of risky changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeView {
    /// The incident that it is for.
    pub incident: u64,
    /// What that is.
    pub title: String,
    /// Who set it.
    pub by: String,
    /// Since when: UTC, RFC 3339.
    pub at: String,
    /// Why, in their words.
    pub reason: String,
    /// From which risk on changes are held: `medium` or `high`.
    pub from_risk: String,
}

/// The page for everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPageView {
    /// Where it listens; nothing while it does not.
    pub address: Option<String>,
    /// Why it does not listen where it should.
    pub trouble: Option<String>,
    /// Open connections.
    pub connections: u32,
    /// Open connections at most.
    pub max_connections: u32,
    /// Answers, ever.
    pub answers: u64,
    /// Connections and requests that were refused, ever, by reason.
    pub refused: BTreeMap<String, u64>,
}

impl FreezeView {
    /// The risk of the changes that it holds.
    pub fn holds(&self) -> &'static str {
        if self.from_risk == "high" { "high" } else { "medium and high" }
    }

    /// What it holds, and what it does not, in a sentence; `all` are those that hold now: what goes on names each.
    pub fn told(&self, all: &[FreezeView]) -> String {
        let held = self.holds();
        let FreezeView { incident, title, by, at, reason, .. } = self;
        let why = if reason.is_empty() || reason == title { String::new() } else { format!(" ({reason})") };
        let flags = by_name(all.iter().map(|freeze| freeze.incident));
        format!(
            "{by} froze changes of {held} risk at {at} for incident {incident}, {title}{why}; rollback, abort, ramp, \
             drain, low risk and `apply {flags}` go on; `tidegate incident update {incident} --thaw` ends it"
        )
    }
}

/// The flags of a change that is for these incidents.
pub fn by_name(incidents: impl Iterator<Item = u64>) -> String {
    let all: BTreeSet<u64> = incidents.collect();
    all.into_iter().map(|incident| format!("--incident {incident}")).collect::<Vec<_>>().join(" ")
}
