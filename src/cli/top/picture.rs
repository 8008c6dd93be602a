//! What is known of the gateway: its last snapshot, the past hour, what happened lately, and whether it still
//! answers. Pure: it is told what was heard and when.
//!
//! A snapshot of a newer or older gateway is read as far as it is understood; what it leaves out is not shown.

mod past;
mod snapshot;

pub(super) use past::Past;
pub(super) use snapshot::{Incident, Row, Snapshot, is_ready};

use super::ink::cleaned;
use crate::cli::events;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Events that are kept.
const MOST_EVENTS: usize = 500;

/// Snapshots come once a second; what is older than this is old.
const FRESH: Duration = Duration::from_millis(3_500);

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// The last snapshot.
    pub snapshot: Snapshot,
    /// The last hour.
    pub past: Past,
    /// What happened lately, the oldest first.
    pub events: VecDeque<Happened>,
    /// When the last snapshot came.
    heard: Option<Instant>,
    /// Since when the gateway cannot be heard, and why.
    lost: Option<(Instant, String)>,
    /// It has no stream of snapshots, and is asked instead.
    pub older: bool,
    /// Incidents as they were asked for.
    incidents: Vec<Incident>,
    /// Whom the gateway takes this program for.
    pub who: Option<Who>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// Counts up; again from somewhere else after a restart.
    pub id: u64,
    /// UTC, RFC 3339.
    pub at: String,
    /// Which kind.
    pub kind: String,
    /// In a sentence, with what it names.
    pub told: String,
}

/// Who acts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// As the audit names them.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// May do more than look.
    pub may_act: bool,
}

/// How the gateway is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Now.
    Live,
    /// Not any more: since when, and why if that is known.
    Lost(Duration, Option<String>),
}

/// Something that was heard, or was not.
#[derive(Debug)]
pub(super) enum News {
    /// The gateway now; `older` if it had to be asked for it.
    Snapshot { snapshot: Box<Snapshot>, older: bool },
    /// `GET /v1/upstreams/NAME`.
    Upstream(Value),
    /// `GET /v1/series`.
    Past(Value),
    /// Events, the oldest first.
    Events(Vec<Value>),
    /// `GET /v1/incidents`.
    Incidents(Value),
    /// `GET /v1/whoami`.
    Who(Value),
    /// The stream ended, or there is none.
    Lost(String),
}

impl Picture {
    /// Takes in what was heard at `now`.
    pub fn hear(&mut self, news: News, now: Instant) {
        match news {
            News::Snapshot { mut snapshot, older } => {
                self.past.live(&snapshot, now);
                if snapshot.upstream.is_none() && !older {
                    // The stream has not turned to it yet.
                    let known = self.snapshot.upstream.take();
                    snapshot.upstream = known.filter(|known| snapshot.row(&known.name).is_some());
                }
                (self.snapshot, self.older) = (*snapshot, older);
                (self.heard, self.lost) = (Some(now), None);
            }
            News::Upstream(upstream) => {
                if !self.older {
                    self.snapshot.upstream = serde_json::from_value(cleaned(upstream)).ok();
                }
            }
            News::Past(series) => self.past.learn(&series, now),
            News::Events(events) => {
                self.events.extend(events.into_iter().map(Happened::of));
                self.events.drain(..self.events.len().saturating_sub(MOST_EVENTS));
            }
            News::Incidents(incidents) => self.incidents = Incident::listed(&incidents),
            News::Who(who) => self.who = Who::of(who),
            News::Lost(why) => {
                let since = self.lost.take().map_or(self.heard.unwrap_or(now), |(since, _)| since);
                self.lost = Some((since, why));
            }
        }
    }

    /// Open incidents and drafts.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        let all = self.snapshot.incidents.as_ref().unwrap_or(&self.incidents);
        all.iter().filter(|incident| incident.state != "closed")
    }

    /// Incidents that hold back risky changes.
    pub fn freezes(&self) -> impl Iterator<Item = &Incident> {
        self.incidents().filter(|incident| incident.freeze && incident.state == "open")
    }

    /// Whether it is heard; silence says so before the stream breaks.
    pub fn link(&self, now: Instant) -> Link {
        let silent = |heard: Instant| now.saturating_duration_since(heard);
        match (&self.lost, self.heard) {
            (Some((since, why)), _) => Link::Lost(silent(*since), Some(why.clone())),
            (None, Some(heard)) if silent(heard) > FRESH => Link::Lost(silent(heard), None),
            (None, None) => Link::Lost(Duration::ZERO, None),
            (None, Some(_)) => Link::Live,
        }
    }
}

impl Who {
    fn of(answer: Value) -> Option<Who> {
        let answer = cleaned(answer);
        let (name, role) = (answer["name"].as_str()?.to_owned(), answer["role"].as_str()?.to_owned());
        Some(Who { name, role, may_act: answer["may"]["act"].as_bool()? })
    }
}

impl Happened {
    fn of(event: Value) -> Happened {
        let event = cleaned(event);
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        Happened {
            id: event["id"].as_u64().unwrap_or_default(),
            at: text("at"),
            kind: text("kind"),
            told: events::told(&event),
        }
    }

    /// Hours, minutes and seconds.
    pub fn clock(&self) -> &str {
        self.at.get(11..19).unwrap_or(&self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot() -> News {
        News::Snapshot { snapshot: Box::default(), older: false }
    }

    #[test]
    fn silence_is_told_before_the_stream_breaks_and_since_when_survives_every_attempt() {
        let (mut picture, start) = (Picture::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(picture.link(start), Link::Lost(Duration::ZERO, None), "nothing was ever heard");
        picture.hear(snapshot(), start);
        assert_eq!(picture.link(after(3)), Link::Live);
        assert_eq!(picture.link(after(5)), Link::Lost(Duration::from_secs(5), None));
        for _ in 0..3 {
            picture.hear(News::Lost("connection refused".into()), after(6));
        }
        let lost = Link::Lost(Duration::from_secs(60), Some("connection refused".into()));
        assert_eq!(picture.link(after(60)), lost, "since the last word that was heard");
        picture.hear(snapshot(), after(61));
        assert_eq!(picture.link(after(61)), Link::Live);
    }

    #[test]
    fn events_are_kept_up_to_a_number_and_hold_no_commands() {
        let mut picture = Picture::default();
        let event =
            |id| json!({"id": id, "at": "2026-11-22T19:35:01.5Z", "kind": "shed", "message": "\u{1b}[31mx"});
        picture.hear(News::Events((0..2_000).map(event).collect()), Instant::now());
        assert_eq!((picture.events.len(), picture.events[0].id), (MOST_EVENTS, 1_500));
        let last = &picture.events[0];
        assert_eq!((last.clock(), last.kind.as_str(), last.told.as_str()), ("19:35:01", "shed", "?[31mx"));
    }
}
