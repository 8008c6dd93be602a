//! The last events, with ids that grow, and what is missing before them. A pure core.
//!
//! What is pushed out of the last [`EVENTS_KEPT`] is kept for longer as one of the last [`KEPT_OF_KIND`] of its kind: a
//! storm of one kind pushes out none of the others. A listener is told of a gap where one of the kinds that it wants
//! is missing.
//!
//! An id is the microsecond since 1970 in which the event was kept, or one more than the id before. So ids
//! grow from start to start too, unless the clock is set back; then a listener with an id from before is
//! told of a gap.

use super::Kinds;
use crate::telemetry::events::stream::{Kind, Record};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Events that are kept, whatever their kind.
pub const EVENTS_KEPT: usize = 1024;

/// Events of each kind that are kept beyond those.
pub const KEPT_OF_KIND: usize = 64;

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
    /// What is wanted after this id is all here.
    pub border: u64,
    /// The newest id of all; where there is neither a gap nor an event, nothing up to it is wanted.
    pub newest: u64,
}

/// The last events.
#[derive(Debug)]
pub struct Ring {
    kept: VecDeque<Arc<Event>>,
    /// What was pushed out of those, by kind.
    older: [Older; Kind::ALL.len()],
    /// The newest id; before the first event, where this process begins.
    newest: u64,
    /// What follows this id is all here.
    floor: u64,
}

/// The last of one kind that are not among the last of all.
#[derive(Debug)]
struct Older {
    kept: VecDeque<Arc<Event>>,
    /// What follows this id of this kind is all here.
    floor: u64,
}

impl Ring {
    /// Nothing happened yet; `now` in microseconds since 1970.
    pub fn new(now: u64) -> Self {
        let older = std::array::from_fn(|_| Older { kept: VecDeque::new(), floor: now });
        Ring { kept: VecDeque::with_capacity(EVENTS_KEPT), older, newest: now, floor: now }
    }

    /// Keeps a record, at the cost of the oldest of a kind; returns its id.
    pub fn keep(&mut self, record: Record, now: u64) -> u64 {
        self.newest = now.max(self.newest + 1);
        let event = Event::new(self.newest, record);
        if self.kept.len() >= EVENTS_KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.floor = oldest.id;
            self.older[oldest.kind as usize].keep(oldest);
        }
        self.kept.push_back(Arc::new(event));
        self.newest
    }

    /// The newest id, or where this process began.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What follows `id` of these kinds; 0 is the beginning of what is kept. First what is left of a time of which
    /// some are missing, then that they are, then everything since.
    pub fn after(&self, id: u64, kinds: &Kinds) -> Batch {
        let wanted = Kind::ALL.into_iter().filter(|kind| kinds.has(*kind));
        let border = wanted.map(|kind| self.older[kind as usize].floor).max().unwrap_or(self.floor);
        let batch = |gap, events| Batch { gap, events, border, newest: self.newest };
        let (is_known, is_of_the_future) = (id >= border, id > self.newest);
        if is_known && !is_of_the_future {
            return batch(None, self.next(id, u64::MAX, kinds));
        }
        let left = if is_of_the_future { Vec::new() } else { self.next(id, border, kinds) };
        if !left.is_empty() {
            return batch(None, left);
        }
        let gap = (id != 0).then(|| self.gap(id, border));
        batch(gap, self.next(border, u64::MAX, kinds))
    }

    /// The next ones of these kinds after `id`, up to `last`.
    fn next(&self, id: u64, last: u64, kinds: &Kinds) -> Vec<Arc<Event>> {
        let is_wanted = |event: &&Arc<Event>| event.id > id && event.id <= last && kinds.has(event.kind);
        let mut events: Vec<&Arc<Event>> = Vec::new();
        // All of these are older than all of the others.
        if id < self.floor {
            events.extend(self.older.iter().flat_map(|older| &older.kept).filter(is_wanted));
            events.sort_by_key(|event| event.id);
        }
        let first = self.kept.partition_point(|event| event.id <= id);
        let rest = self.kept.range(first..).filter(is_wanted);
        events.into_iter().chain(rest).take(BATCH).cloned().collect()
    }

    /// Says that what follows `id` is not all here. Its own id is the border, so whoever continues after it is
    /// told once.
    fn gap(&self, id: u64, border: u64) -> Event {
        let message = match id < border {
            true => "events between these are no longer kept here",
            false => "this id is newer than every event here (another gateway, or a clock set back)",
        };
        let record = Record::new(Kind::Gap, message).with("after", id).with("until", border);
        Event::new(border, record)
    }
}

impl Older {
    fn keep(&mut self, event: Arc<Event>) {
        if self.kept.len() >= KEPT_OF_KIND
            && let Some(oldest) = self.kept.pop_front()
        {
            self.floor = oldest.id;
        }
        self.kept.push_back(event);
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
        let (mut gaps, mut ids, mut last) = (0, Vec::new(), id);
        loop {
            let more = ring.after(last, &Kinds::default());
            gaps += usize::from(more.gap.is_some());
            assert!(gaps <= 1, "told once");
            let Some(newest) = more.events.last() else { break };
            last = newest.id;
            ids.extend(more.events.iter().map(|event| event.id));
        }
        assert!(ids.is_sorted());
        (gaps > 0, ids)
    }

    /// What is kept of one kind when there is nothing else.
    const ALL_KEPT: usize = EVENTS_KEPT + KEPT_OF_KIND;

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
        let (ring, ids) = filled(ALL_KEPT + 10);
        assert_eq!(all_after(&ring, ids[8]), (true, ids[10..].to_vec()), "one is missing");
        assert_eq!(all_after(&ring, ids[9]), (false, ids[10..].to_vec()), "nothing is missing");
        assert_eq!(all_after(&ring, 0), (false, ids[10..].to_vec()), "the beginning of what is kept");
        let gap = ring.after(ids[0], &Kinds::default()).gap.expect("told");
        assert_eq!(gap.id, ids[9]);
        assert!(ring.after(gap.id, &Kinds::default()).gap.is_none(), "told once");
        let (gap, replayed) = all_after(&ring, 7);
        assert!(gap && replayed.len() == ALL_KEPT, "an earlier process's id");
        let (gap, replayed) = all_after(&ring, u64::MAX);
        assert!(gap && replayed.len() == ALL_KEPT, "an id from the future");
    }

    #[test]
    fn a_storm_of_one_kind_pushes_out_none_of_the_others() {
        let mut ring = Ring::new(1_000);
        let keep = |ring: &mut Ring, kind| ring.keep(Record::new(kind, "it happened"), 1_000);
        let rare = [Kind::Rollback, Kind::Ramp, Kind::Ramp].map(|kind| keep(&mut ring, kind));
        for _ in 0..100_000 {
            keep(&mut ring, Kind::Ejection);
        }
        let rarely = Kinds::only(vec![Kind::Ramp, Kind::Rollback]);
        let told = ring.after(0, &rarely);
        assert_eq!(told.events.iter().map(|event| event.id).collect::<Vec<_>>(), rare);
        let since = ring.after(rare[0], &rarely);
        assert!(since.gap.is_none() && since.events.len() == 2, "nothing of what is wanted is missing");
        let (gap, all) = all_after(&ring, 0);
        assert!(gap && all.starts_with(&rare), "somebody who wants everything is told what is not here");
        assert_eq!(all.len(), rare.len() + ALL_KEPT);
        let (gap, all) = all_after(&ring, rare[1]);
        assert!(gap && all[0] == rare[2] && all.len() == 1 + ALL_KEPT);
        assert!(
            ring.kept.len() + ring.older.iter().map(|older| older.kept.len()).sum::<usize>()
                <= 2 * EVENTS_KEPT
        );
    }

    #[test]
    fn an_event_looks_like_this() {
        let mut ring = Ring::new(1_000);
        let at = "2026-11-01T12:00:00.0456Z".parse().expect("a time");
        ring.keep(Record { at, ..record(7) }, 1_000);
        let event = &ring.after(0, &Kinds::default()).events[0];
        let expected =
            r#"{"id":1001,"at":"2026-11-01T12:00:00.045Z","kind":"shed","message":"shedding","n":7}"#;
        assert_eq!(event.json, expected);
    }
}
