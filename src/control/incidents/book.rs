//! Every incident, and what may become of each. Pure: who, what and when come in; what was done goes out.
//!
//! Bounded: at most `MAX_INCIDENTS`, of which the oldest closed one gives way; open ones never do, so there are at most
//! `MAX_OPEN`. A draft is read and opened by a person, or closed; nothing else becomes of it, and it freezes nothing.

mod noticed;

pub use noticed::{Notice, Noticed};

use super::incident::{Frozen, Incident, State, Update, written};
use super::wish::{Amendment, Opening, Refusal};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// Incidents that are kept.
pub const MAX_INCIDENTS: usize = 200;
/// Incidents that may be open.
pub const MAX_OPEN: usize = 20;
/// Updates of one incident; its last word may be one more.
pub const MAX_UPDATES: usize = 50;
/// Bytes that all words of closed incidents and drafts may take, with those of open ones.
const MAX_WEIGHT: usize = 2 << 20;

/// Something that was done to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A person opened it.
    Opened,
    /// The gateway drafted it.
    Drafted,
    /// A person read a draft, and opened it.
    Published,
    /// It was changed, or something was said of it.
    Updated,
    /// It is over.
    Closed,
    /// A person dropped a draft: it never was an incident, and nobody outside had heard of one.
    Dismissed,
    /// It holds risky changes from now on.
    Frozen,
    /// It holds them no more.
    Thawed,
}

impl Deed {
    /// The word in events and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Deed::Opened => "opened",
            Deed::Drafted => "drafted",
            Deed::Published => "published",
            Deed::Updated => "updated",
            Deed::Closed => "closed",
            Deed::Dismissed => "dismissed",
            Deed::Frozen => "frozen",
            Deed::Thawed => "thawed",
        }
    }
}

/// What came of a wish.
#[derive(Clone, Debug)]
pub struct Done {
    /// The incident as it is now.
    pub incident: Arc<Incident>,
    /// What was done, in order.
    pub deeds: Vec<Deed>,
    /// What was said with it.
    pub said: Option<String>,
}

/// All incidents, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Book {
    next: u64,
    items: VecDeque<Arc<Incident>>,
}

impl Book {
    /// What an earlier process left.
    pub fn of(next: u64, items: Vec<Incident>) -> Self {
        let above = items.iter().map(|incident| incident.id.saturating_add(1)).max().unwrap_or(1);
        let skip = items.len().saturating_sub(MAX_INCIDENTS);
        let items = items.into_iter().skip(skip).map(Arc::new).collect();
        Book { next: next.max(above), items }
    }

    /// The number of the next one.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// All, the oldest first.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = &Arc<Incident>> {
        self.items.iter()
    }

    /// One.
    pub fn get(&self, id: u64) -> Option<&Arc<Incident>> {
        self.items.iter().find(|incident| incident.id == id)
    }

    /// Those that hold risky changes.
    pub fn freezes(&self) -> impl Iterator<Item = &Arc<Incident>> {
        self.items.iter().filter(|incident| incident.is_open() && incident.freeze)
    }

    /// Somebody opens one.
    ///
    /// # Errors
    /// When too many are open.
    pub fn open(&mut self, wish: Opening, by: &str, now: Timestamp) -> Result<Done, Refusal> {
        if self.open_ones() >= MAX_OPEN {
            return Err(full());
        }
        let at = written(now);
        let said = wish.text.clone().map(|text| Update {
            at: at.clone(),
            by: by.to_owned(),
            text,
            public: wish.public,
        });
        let reason = wish.reason.unwrap_or_else(|| wish.title.clone());
        let incident = Incident {
            title: wish.title,
            severity: wish.severity,
            upstreams: wish.upstreams,
            freeze: wish.freeze,
            frozen: wish.freeze.then(|| Frozen { by: by.to_owned(), at: at.clone(), reason }),
            public: wish.public,
            opened_at: at,
            opened_by: by.to_owned(),
            updates: said.into_iter().collect(),
            ..Incident::default()
        };
        let deeds = [Some(Deed::Opened), wish.freeze.then_some(Deed::Frozen)];
        Ok(Done {
            incident: self.add(incident),
            deeds: deeds.into_iter().flatten().collect(),
            said: wish.text,
        })
    }

    /// Somebody changes one, or says something of it.
    ///
    /// # Errors
    /// When it does not go from where it is; nothing is changed then.
    pub fn amend(&mut self, id: u64, wish: Amendment, by: &str, now: Timestamp) -> Result<Done, Refusal> {
        let before = self.get(id).ok_or(Refusal::Unknown(id))?.clone();
        if wish.revision.is_some_and(|revision| revision != before.revision) {
            return Err(Refusal::Stale { id, revision: before.revision });
        }
        if before.state == State::Draft && wish.state == Some(State::Open) && self.open_ones() >= MAX_OPEN {
            return Err(full());
        }
        let said = wish.text.clone();
        let (incident, deeds) = amended(&before, wish, by, now)?;
        let incident = Arc::new(Incident { revision: before.revision + 1, ..incident });
        if let Some(place) = self.items.iter_mut().find(|item| item.id == id) {
            *place = incident.clone();
        }
        self.give_way();
        Ok(Done { incident, deeds, said })
    }

    fn open_ones(&self) -> usize {
        self.items.iter().filter(|incident| incident.is_open()).count()
    }

    fn add(&mut self, incident: Incident) -> Arc<Incident> {
        let id = self.next.max(1);
        self.next = id.saturating_add(1);
        let incident = Arc::new(Incident { id, revision: 1, ..incident });
        self.items.push_back(incident.clone());
        self.give_way();
        incident
    }

    /// The oldest closed ones go first, then the oldest drafts; never an open one.
    fn give_way(&mut self) {
        let mut weight: usize = self.items.iter().map(|incident| incident.weight()).sum();
        while self.items.len() > MAX_INCIDENTS || weight > MAX_WEIGHT {
            let of = |state: State| self.items.iter().position(|incident| incident.state == state);
            // The newest is what this was called for.
            let last = self.items.len() - 1;
            let place = of(State::Closed).or_else(|| of(State::Draft)).filter(|place| *place < last);
            let Some(gone) = place.and_then(|place| self.items.remove(place)) else { return };
            weight -= gone.weight();
        }
    }
}

fn full() -> Refusal {
    Refusal::Conflict(format!(
        "{MAX_OPEN} incidents are open; that is as many as there may be. hint: close some"
    ))
}

fn amended(
    before: &Incident,
    wish: Amendment,
    by: &str,
    now: Timestamp,
) -> Result<(Incident, Vec<Deed>), Refusal> {
    let (mut after, mut deeds, at) = (before.clone(), Vec::new(), written(now));
    if before.state == State::Closed {
        let closed_by = before.closed_by.as_deref().unwrap_or("somebody");
        let at = before.closed_at.as_deref().unwrap_or_default();
        let told = format!("Incident {} was closed by {closed_by} at {at}. hint: open another", before.id);
        return Err(Refusal::Conflict(told));
    }
    if wish.is_empty() {
        return Err(Refusal::Invalid(
            "Nothing is asked for. hint: say a text, or what is to change".to_owned(),
        ));
    }
    if let Some(title) = wish.title {
        after.title = title;
    }
    if let Some(severity) = wish.severity {
        after.severity = severity;
    }
    if let Some(upstreams) = wish.upstreams {
        after.upstreams = upstreams;
    }
    match (before.state, wish.state) {
        (State::Draft, Some(State::Open)) => {
            after.state = State::Open;
            // The gateway drafts, and never opens.
            (after.opened_by, after.published_by) = (by.to_owned(), Some(by.to_owned()));
            after.public = wish.public.unwrap_or(true);
            deeds.push(Deed::Published);
        }
        (State::Draft, _) if wish.freeze == Some(true) || wish.public == Some(true) => {
            let told = format!(
                "Incident {} is a draft, which holds no change and is not shown. hint: read it, then \
                 `tidegate incident publish {}`",
                before.id, before.id
            );
            return Err(Refusal::Conflict(told));
        }
        _ => after.public = wish.public.unwrap_or(before.public),
    }
    let reason = wish.reason.or_else(|| wish.text.clone()).unwrap_or_else(|| after.title.clone());
    if let Some(text) = wish.text {
        if before.updates.len() >= MAX_UPDATES && wish.state != Some(State::Closed) {
            let told = format!(
                "Incident {} has {MAX_UPDATES} updates, which is as many as it may have. hint: close it and open another",
                before.id
            );
            return Err(Refusal::Conflict(told));
        }
        let public = after.public && after.state != State::Draft;
        after.updates.push(Update { at: at.clone(), by: by.to_owned(), text, public });
    }
    if wish.state == Some(State::Closed) {
        after.state = State::Closed;
        (after.closed_at, after.closed_by) = (Some(at.clone()), Some(by.to_owned()));
        deeds.push(if before.state == State::Draft { Deed::Dismissed } else { Deed::Closed });
    } else if deeds.is_empty() && after != *before {
        deeds.push(Deed::Updated);
    }
    let wants = wish.freeze.unwrap_or(before.freeze) && after.state == State::Open;
    match (before.freeze, wants) {
        (false, true) => {
            after.frozen = Some(Frozen {
                by: by.to_owned(),
                at,
                reason: reason.lines().next().unwrap_or("").to_owned(),
            });
            deeds.push(Deed::Frozen);
        }
        (true, false) => {
            after.frozen = None;
            deeds.push(Deed::Thawed);
        }
        _ => {}
    }
    after.freeze = wants;
    Ok((after, deeds))
}

#[cfg(test)]
mod tests;
