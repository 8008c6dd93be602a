//! What the gateway notices, and what becomes of that in the book: a draft, or words on one that there is.

use super::{Book, Deed, Done, MAX_INCIDENTS, MAX_UPDATES};
use crate::control::incidents::incident::{Cause, GATEWAY, Incident, Severity, State, Update, written};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

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
}

/// What became of a notice.
#[derive(Clone, Debug)]
pub enum Noticed {
    /// A draft.
    Drafted(Done),
    /// An update of the draft that there is already.
    Added(Done),
    /// Somebody is at it already.
    Known,
    /// One like it was closed a moment ago.
    TooSoon,
    /// There is no room for it.
    Full,
}

impl Book {
    /// The gateway noticed something: one draft for each upstream and cause, and none where somebody is at it, or closed
    /// one like it less than `quiet` ago.
    pub fn notice(&mut self, notice: &Notice, quiet: Duration, now: Timestamp) -> Noticed {
        let alike = self.items.iter().rev().filter(|item| is_of(item, notice));
        let mut closed = None;
        for item in alike {
            match item.state {
                State::Open => return Noticed::Known,
                State::Draft => {
                    let id = item.id;
                    return self.add_to(id, &notice.because, now).map_or(Noticed::Known, Noticed::Added);
                }
                State::Closed => closed = closed.or(item.closed_at.as_deref().and_then(|at| at.parse().ok())),
            }
        }
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
        Noticed::Drafted(Done { incident: self.add(incident), deeds: vec![Deed::Drafted] })
    }

    /// What a draft was for is over: whoever reads it should know. Incidents of people are theirs to close.
    pub fn over(&mut self, notice: &Notice, now: Timestamp) -> Option<Done> {
        let id = self.items.iter().rev().find(|it| it.state == State::Draft && is_of(it, notice))?.id;
        self.add_to(id, &notice.because, now)
    }

    /// The gateway's own words on a draft; never shown. Nothing when it said enough.
    fn add_to(&mut self, id: u64, text: &str, now: Timestamp) -> Option<Done> {
        let item = self.items.iter_mut().find(|item| item.id == id)?;
        // Half of the room is left to people.
        if item.updates.len() >= MAX_UPDATES / 2 {
            return None;
        }
        let incident = Arc::make_mut(item);
        let (at, by) = (written(now), GATEWAY.to_owned());
        incident.updates.push(Update { at, by, text: text.to_owned(), public: false });
        incident.revision += 1;
        Some(Done { incident: item.clone(), deeds: vec![Deed::Updated] })
    }
}

/// Drafted, or opened from a draft, for the same; an event of no upstream is one for its cause.
fn is_of(incident: &Incident, notice: &Notice) -> bool {
    incident.cause == Some(notice.cause)
        && incident.upstreams.first().map(String::as_str) == notice.upstream.as_deref()
}
