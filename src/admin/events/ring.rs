//! The last events, with ids that grow, and what is missing before them. A pure core.
//!
//! An id is the microsecond since 1970 in which the event was kept, or one more than the id before. So ids
//! grow from start to start too, unless the clock is set back; then a listener with an id from before is
//! told of a gap.

use crate::telemetry::events::stream::{Kind, Record};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Events that are kept.
pub const EVENTS_KEPT: usize = 1024;

/// Events that a listener takes at a time.
const BATCH: usize = 64;

/// One event as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Grows.
    pub id: u64,
    /// What it is about.
    pub kind: Kind,
    /// All of it as JSON.
    pub json: String,
}

/// What follows an id.
#[derive(Debug, Default)]
pub struct Batch {
    /// Stands before the events if some are missing there.
    pub gap: Option<Event>,
    /// The next ones, at most `BATCH`.
    pub events: Vec<Arc<Event>>,
}

/// The last events.
#[derive(Debug)]
pub struct Ring {
    kept: VecDeque<Arc<Event>>,
    /// The newest id; before the first event, where this process begins.
    newest: u64,
    /// What follows this id is all here.
    floor: u64,
}

impl Ring {
    /// Nothing happened yet; `now` in microseconds since 1970.
    pub fn new(now: u64) -> Self {
        Ring { kept: VecDeque::with_capacity(EVENTS_KEPT), newest: now, floor: now }
    }

    /// Keeps a record, at the cost of the oldest; returns its id.
    pub fn keep(&mut self, record: Record, now: u64) -> u64 {
        self.newest = now.max(self.newest + 1);
        let event = Event::new(self.newest, record);
        if self.kept.len() >= EVENTS_KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.floor = oldest.id;
        }
        self.kept.push_back(Arc::new(event));
        self.newest
    }

    /// The newest id, or where this process began.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What follows `id`; 0 is the beginning of what is kept.
    pub fn after(&self, id: u64) -> Batch {
        let is_known = id == 0 || (self.floor..=self.newest).contains(&id);
        let gap = (!is_known).then(|| self.gap(id));
        let id = if is_known { id } else { self.floor };
        let first = self.kept.partition_point(|event| event.id <= id);
        Batch { gap, events: self.kept.range(first..).take(BATCH).cloned().collect() }
    }

    /// Says that what follows `id` is not all here. Its own id is the floor, so whoever continues after it is
    /// told once.
    fn gap(&self, id: u64) -> Event {
        let message = match id < self.floor {
            true => "events between these are no longer kept here",
            false => "this id is newer than every event here (another gateway, or a clock set back)",
        };
        let record = Record::new(Kind::Gap, message).with("after", id).with("until", self.floor);
        Event::new(self.floor, record)
    }
}

impl Event {
    fn new(id: u64, record: Record) -> Self {
        #[derive(Serialize)]
        struct Shape<'a> {
            id: u64,
            at: String,
            kind: &'static str,
            message: &'a str,
            #[serde(flatten)]
            fields: &'a Map<String, Value>,
        }
        let Record { at, kind, message, fields } = &record;
        let shape = Shape { id, at: format!("{at:.3}"), kind: kind.as_str(), message, fields };
        // Texts and numbers under texts: nothing in it can fail.
        let json = serde_json::to_string(&shape).unwrap_or_default();
        Event { id, kind: *kind, json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: usize) -> Record {
        Record::new(Kind::Shed, "shedding").with("n", n)
    }

    fn filled(count: usize) -> (Ring, Vec<u64>) {
        let mut ring = Ring::new(1_000);
        let ids = (0..count).map(|n| ring.keep(record(n), 1_000)).collect();
        (ring, ids)
    }

    /// Whether a gap was told, and the ids of everything that follows.
    fn all_after(ring: &Ring, id: u64) -> (bool, Vec<u64>) {
        let first = ring.after(id);
        let mut ids: Vec<_> = first.events.iter().map(|event| event.id).collect();
        while let Some(last) = ids.last() {
            let more = ring.after(*last);
            assert!(more.gap.is_none(), "told once");
            if more.events.is_empty() {
                break;
            }
            ids.extend(more.events.iter().map(|event| event.id));
        }
        (first.gap.is_some(), ids)
    }

    #[test]
    fn ids_grow_within_a_microsecond_and_when_the_clock_is_set_back() {
        let mut ring = Ring::new(1_000);
        let ids: Vec<_> = [1_000, 1_000, 5_000, 4_000].iter().map(|now| ring.keep(record(0), *now)).collect();
        assert_eq!(ids, [1_001, 1_002, 5_000, 5_001]);
    }

    #[test]
    fn what_is_still_kept_is_replayed_without_a_gap() {
        let (ring, ids) = filled(200);
        assert_eq!(all_after(&ring, ids[9]), (false, ids[10..].to_vec()));
        assert_eq!(all_after(&ring, 0), (false, ids.clone()));
        assert_eq!(all_after(&ring, ring.newest()), (false, vec![]));
    }

    #[test]
    fn what_is_missing_is_told_once_and_the_rest_replayed() {
        let (ring, ids) = filled(EVENTS_KEPT + 10);
        assert_eq!(all_after(&ring, ids[8]), (true, ids[10..].to_vec()), "one is missing");
        assert_eq!(all_after(&ring, ids[9]), (false, ids[10..].to_vec()), "nothing is missing");
        let gap = ring.after(ids[0]).gap.expect("told");
        assert_eq!(gap.id, ids[9]);
        assert!(ring.after(gap.id).gap.is_none(), "told once");
        let (gap, replayed) = all_after(&ring, 7);
        assert!(gap && replayed.len() == EVENTS_KEPT, "an earlier process's id");
        let (gap, replayed) = all_after(&ring, u64::MAX);
        assert!(gap && replayed.len() == EVENTS_KEPT, "an id from the future");
    }

    #[test]
    fn an_event_looks_like_this() {
        let mut ring = Ring::new(1_000);
        let at = "2026-11-01T12:00:00.0456Z".parse().expect("a time");
        ring.keep(Record { at, ..record(7) }, 1_000);
        let event = &ring.after(0).events[0];
        let expected =
            r#"{"id":1001,"at":"2026-11-01T12:00:00.045Z","kind":"shed","message":"shedding","n":7}"#;
        assert_eq!(event.json, expected);
    }
}
