//! What everyone may know: how the shown upstreams do, in words, and the public incidents. Nothing else is in here, so
//! nothing else can be shown: no names of the inside, no numbers, no drafts, no people.

use super::Incidents;
use super::incident::{Incident, Severity, State};
use super::pulse::Health;
use crate::config::public::{Shown, StatusPage};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Open incidents that are shown.
const MAX_OPEN: usize = 20;
/// Closed ones.
const MAX_CLOSED: usize = 10;
/// For so long after they were closed.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// Updates of one that are shown, the newest.
const MAX_UPDATES: usize = 20;

/// The page as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// What it is called.
    pub title: String,
    /// As of when: UTC, RFC 3339.
    pub at: String,
    /// All in a word.
    pub state: Health,
    /// What is shown, in the order of the file.
    pub components: Vec<Component>,
    /// The public incidents: open ones, the worst first, then closed ones, the newest first.
    pub incidents: Vec<Public>,
}

/// Something that is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component {
    /// Its name outside.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// How it does.
    pub state: Health,
}

/// An incident as everyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Public {
    /// Its number.
    pub id: u64,
    /// `open` or `closed`.
    pub state: State,
    /// What it is.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// Whom it is about, by their names outside.
    pub components: Vec<String>,
    /// Since when: UTC, RFC 3339.
    pub opened_at: String,
    /// Until when.
    pub closed_at: Option<String>,
    /// What was said of it, the newest first.
    pub updates: Vec<Said>,
}

/// An operator's words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// When: UTC, RFC 3339.
    pub at: String,
    /// What.
    pub text: String,
}

impl Incidents {
    /// The page as it is now.
    pub fn overview(&self, page: &StatusPage, now: Instant, at: Timestamp) -> Overview {
        let (each, overall) = self.health(page.shown.iter().map(|shown| &shown.upstream), now);
        overview(page, (&each, overall), &self.all(), at)
    }
}

/// What everyone may know of `all`, in their order.
fn overview(
    page: &StatusPage,
    (each, overall): (&[Health], Health),
    all: &[Arc<Incident>],
    at: Timestamp,
) -> Overview {
    let open: Vec<&Incident> =
        all.iter().map(|it| &**it).filter(|it| it.is_open() && it.is_shown()).collect();
    let recent = |incident: &&Incident| {
        let closed: Option<Timestamp> = incident.closed_at.as_deref().and_then(|at| at.parse().ok());
        closed.is_some_and(|closed| at.duration_since(closed).unsigned_abs() < REMEMBERED)
    };
    let closed =
        all.iter().map(|it| &**it).filter(|it| it.state == State::Closed && it.is_shown()).filter(recent);
    let shown = open.iter().take(MAX_OPEN).copied().chain(closed.take(MAX_CLOSED));
    let component = |(shown, health): (&Shown, &Health)| Component {
        name: shown.name.clone(),
        description: shown.description.clone(),
        // A person may know worse than the numbers do; what the numbers say nobody talks away.
        state: said_of(&open, &shown.upstream).max(*health),
    };
    let mut components: Vec<Component> = page.shown.iter().zip(each).map(component).collect();
    let state = match components.iter().map(|it| it.state).max() {
        // What is not shown is nobody's business.
        Some(worst) => worst,
        None => open.iter().map(|incident| health_of(incident.severity)).fold(overall, Health::max),
    };
    if components.is_empty() {
        components.push(Component { name: page.title.clone(), description: None, state });
    }
    Overview {
        title: page.title.clone(),
        at: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        state,
        components,
        incidents: shown.map(|incident| public(incident, page)).collect(),
    }
}

/// What open incidents say of an upstream; one that names none is about all.
fn said_of(open: &[&Incident], upstream: &str) -> Health {
    let about = |it: &&&Incident| it.upstreams.is_empty() || it.upstreams.iter().any(|name| name == upstream);
    open.iter().filter(about).map(|incident| health_of(incident.severity)).max().unwrap_or_default()
}

const fn health_of(severity: Severity) -> Health {
    match severity {
        Severity::Minor => Health::Degraded,
        Severity::Major => Health::PartialOutage,
        Severity::Critical => Health::MajorOutage,
    }
}

fn public(incident: &Incident, page: &StatusPage) -> Public {
    let named = |shown: &&Shown| incident.upstreams.iter().any(|name| **name == *shown.upstream);
    let said = incident.updates.iter().rev().filter(|update| update.public).take(MAX_UPDATES);
    Public {
        id: incident.id,
        state: incident.state,
        title: incident.title.clone(),
        severity: incident.severity,
        components: page.shown.iter().filter(named).map(|shown| shown.name.clone()).collect(),
        opened_at: incident.opened_at.clone(),
        closed_at: incident.closed_at.clone(),
        updates: said.map(|update| Said { at: update.at.clone(), text: update.text.clone() }).collect(),
    }
}

#[cfg(test)]
mod tests;
