//! What the gateway notices, and what becomes of that in the book: a draft, or words on what there is already.
//!
//! Where a person is at it, a draft would only double what they opened: then the gateway notes on that incident what it
//! would have drafted, so that they have the numbers and everybody who follows the incident hears of them. Such words are
//! never public, and few: `MAX_NOTES` of an incident, of which the last says so.

use super::{Book, Deed, Done, MAX_INCIDENTS, MAX_UPDATES};
use crate::control::incidents::incident::{Cause, GATEWAY, Incident, Severity, State, Update, written};
use crate::control::incidents::wish::MAX_TEXT;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Words of the gateway on one incident or draft: the rest of its room is left to people.
pub const MAX_NOTES: usize = 10;
pub(super) const LAST: &str = " (The gateway notes nothing more here.)";

/// What the gateway noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Of which upstream, if of one.
    pub upstream: Option<Arc<str>>,
    /// What for.
    pub cause: Cause,
    /// With the numbers.
    pub because: String,
    /// How bad.
    pub severity: Severity,
    /// The incidents that it came of: a change may name some.
    pub named: Vec<u64>,
}

/// What became of a notice.
#[derive(Clone, Debug)]
pub enum Noticed {
    /// A draft.
    Drafted(Done),
    /// An update of the draft that there is already.
    Added(Done),
    /// Somebody is at it already: an update of their incidents, while these have room for it.
    Noted(Vec<Done>),
    /// The draft that there is says enough.
    Known,
    /// One like it was closed a moment ago.
    TooSoon,
    /// There is no room for it.
    Full,
}

impl Book {
    /// The gateway noticed something: a note where somebody is at it, else one draft for each upstream and cause; none if
    /// one like it was closed less than `quiet` ago.
    pub fn notice(&mut self, notice: &Notice, quiet: Duration, now: Timestamp) -> Noticed {
        let at_it = self.at_it(notice);
        if !at_it.is_empty() {
            let text = notice.as_note();
            let noted: Vec<Done> = at_it.iter().filter_map(|id| self.add_to(*id, &text, now)).collect();
            // One that only may be about it and has no room for more must not swallow what comes after.
            if !noted.is_empty() || self.is_surely_about(&at_it, notice) {
                return Noticed::Noted(noted);
            }
        }
        if let Some(id) = self.draft_of(notice) {
            return self.add_to(id, &notice.because, now).map_or(Noticed::Known, Noticed::Added);
        }
        let mut closed = self.items.iter().rev().filter(|item| is_of(item, notice));
        let closed = closed.find_map(|item| item.closed_at.as_deref()?.parse().ok());
        // A clock that was set back makes it no later than that.
        let recent = |closed: Timestamp| now >= closed && now.duration_since(closed).unsigned_abs() < quiet;
        if closed.is_some_and(recent) {
            return Noticed::TooSoon;
        }
        if self.items.len() >= MAX_INCIDENTS && !self.items.iter().any(|item| item.state == State::Closed) {
            return Noticed::Full;
        }
        let incident = Incident {
            state: State::Draft,
            title: notice.cause.title().to_owned(),
            severity: notice.severity,
            upstreams: notice.upstream.iter().map(ToString::to_string).collect(),
            drafted_because: Some(notice.because.clone()),
            cause: Some(notice.cause),
            opened_at: written(now),
            opened_by: GATEWAY.to_owned(),
            ..Incident::default()
        };
        Noticed::Drafted(Done { incident: self.add(incident), deeds: vec![Deed::Drafted], said: None })
    }

    /// What a draft or a note was for is over: whoever reads it should know. Incidents of people are theirs to close.
    pub fn over(&mut self, notice: &Notice, now: Timestamp) -> Option<Done> {
        if let Some(id) = self.draft_of(notice) {
            return self.add_to(id, &notice.because, now);
        }
        let id = *self.at_it(notice).first()?;
        self.add_to(id, &format!("{}: {}", notice.whom(), notice.because), now)
    }

    /// The draft that nobody has read yet.
    fn draft_of(&self, notice: &Notice) -> Option<u64> {
        self.items.iter().rev().find(|it| it.state == State::Draft && is_of(it, notice)).map(|it| it.id)
    }

    /// The open incidents at which somebody is busy with this: those that it came of; the one that was opened from a
    /// draft of it; of what lasts also the newest about its upstream, or else about the whole gateway.
    fn at_it(&self, notice: &Notice) -> Vec<u64> {
        let open = || self.items.iter().rev().filter(|item| item.is_open());
        let named: Vec<u64> = open().map(|item| item.id).filter(|id| notice.named.contains(id)).collect();
        if !named.is_empty() {
            return named;
        }
        // A freeze of everything lasts for days and says nothing of an outage.
        let about_all = |item: &&Arc<Incident>| item.upstreams.is_empty() && !item.freeze;
        let about_it = |item: &&Arc<Incident>| {
            let name = notice.upstream.as_deref();
            name.is_some_and(|name| item.upstreams.iter().any(|upstream| upstream == name))
        };
        let lasting = || notice.cause.lasts().then(open).into_iter().flatten();
        let one = open().find(|item| is_of(item, notice)).or_else(|| lasting().find(about_it));
        one.or_else(|| lasting().find(about_all)).map(|item| item.id).into_iter().collect()
    }

    /// Whether one of these was named by what was noticed, or opened from a draft of it.
    fn is_surely_about(&self, ids: &[u64], notice: &Notice) -> bool {
        let of_these = self.items.iter().filter(|item| ids.contains(&item.id));
        of_these.into_iter().any(|item| notice.named.contains(&item.id) || is_of(item, notice))
    }

    /// The gateway's own words on one; never shown. Nothing when it said enough.
    fn add_to(&mut self, id: u64, text: &str, now: Timestamp) -> Option<Done> {
        let item = self.items.iter_mut().find(|item| item.id == id)?;
        let notes = item.updates.iter().filter(|update| update.by == GATEWAY).count();
        if notes >= MAX_NOTES || item.updates.len() >= MAX_UPDATES {
            return None;
        }
        let incident = Arc::make_mut(item);
        let mut text: String = text.chars().take(MAX_TEXT - LAST.len()).collect();
        if notes + 1 == MAX_NOTES {
            text += LAST;
        }
        let said = Some(text.clone());
        incident.updates.push(Update { at: written(now), by: GATEWAY.to_owned(), text, public: false });
        incident.revision += 1;
        Some(Done { incident: item.clone(), deeds: vec![Deed::Updated], said })
    }
}

impl Notice {
    fn whom(&self) -> &str {
        self.upstream.as_deref().unwrap_or("the whole gateway")
    }

    /// On an incident of people.
    fn as_note(&self) -> String {
        let Notice { cause, because, severity, .. } = self;
        if !self.named.is_empty() {
            return because.clone();
        }
        let of = if cause.lasts() { format!(" of {}", self.whom()) } else { String::new() };
        format!("The gateway would have drafted a {severity} incident{of}, \"{}\": {because}", cause.title())
    }
}

/// Drafted, or opened from a draft, for the same; an event of no upstream is one for its cause.
fn is_of(incident: &Incident, notice: &Notice) -> bool {
    incident.cause == Some(notice.cause)
        && incident.upstreams.first().map(String::as_str) == notice.upstream.as_deref()
}
