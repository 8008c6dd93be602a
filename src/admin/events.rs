//! Who listens to what happens: the last events, and at most `MAX_SUBSCRIBERS` streams of them.
//!
//! A stream has a place in the ring and no buffer of its own. Whoever is so slow that something they want was pushed
//! out after that place is told of the gap and let go, to come again with the id they saw last. Only the admin thread
//! takes its lock, for a moment, and never across a wait.

pub mod ring;

use super::AdminState;
use crate::telemetry::events::stream::{self, Kind, Record};
use crate::telemetry::family::Family;
use ring::{Batch, Event, Ring};
use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Streams at a time, on all listeners together; with those of snapshots, two thirds of the connections that one
/// listener may have.
pub const MAX_SUBSCRIBERS: usize = 32;

/// After this a stream ends in order, and its listener comes again where it was.
pub(super) const MAX_STREAM_AGE: Duration = Duration::from_secs(3600);

/// What happened lately, and who listens.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    /// The newest id, for those who wait.
    newest: watch::Sender<u64>,
    seats: Arc<Semaphore>,
    /// Counts the changes of tokens, which end all streams.
    reign: AtomicU64,
    refused: AtomicU64,
    slow: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        let ring = Ring::new(now());
        Events {
            newest: watch::Sender::new(ring.newest()),
            ring: Mutex::new(ring),
            seats: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
            reign: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }
}

impl Events {
    /// Keeps a record and tells whoever listens.
    pub fn keep(&self, record: Record) {
        let id = self.ring().keep(record, now());
        self.newest.send_replace(id);
    }

    /// What follows an id of these kinds.
    pub fn after(&self, id: u64, kinds: &Kinds) -> Batch {
        self.ring().after(id, kinds)
    }

    /// Under whose tokens a request is looked at; read before they are.
    pub fn reign(&self) -> Reign {
        Reign(self.reign.load(Acquire))
    }

    /// A stream of what follows an id, or of what happens from now on; nothing when there are too many.
    pub fn subscribe(
        self: &Arc<Self>,
        after: Option<u64>,
        kinds: Kinds,
        reign: Reign,
    ) -> Option<Subscription> {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            self.refused.fetch_add(1, Relaxed);
            return None;
        };
        let newest = self.newest.subscribe();
        let seen = after.unwrap_or_else(|| self.ring().newest());
        Some(Subscription {
            events: self.clone(),
            kinds,
            seen,
            next: VecDeque::new(),
            past: None,
            is_over: false,
            reign,
            end: Instant::now() + MAX_STREAM_AGE,
            newest,
            _seat: seat,
        })
    }

    /// Ends every stream in order, and those that were let in and have not begun.
    pub(super) fn end_streams(&self) {
        self.reign.fetch_add(1, Release);
        self.newest.send_modify(|_| {});
    }

    /// The metrics of the streams.
    pub(super) fn families(&self) -> Vec<Family> {
        let counter = |name, help, value| {
            let mut family = Family::counter(name, help);
            family.count(&[], value);
            family
        };
        let mut now = Family::gauge("tidegate_event_subscribers", "Open streams of events.");
        now.set(&[], MAX_SUBSCRIBERS.saturating_sub(self.seats.available_permits()) as f64);
        vec![
            now,
            counter(
                "tidegate_events_dropped_total",
                "Events lost because they came faster than the admin thread took them.",
                stream::dropped(),
            ),
            counter(
                "tidegate_event_subscribers_refused_total",
                "Streams of events refused because there were too many.",
                self.refused.load(Relaxed),
            ),
            counter(
                "tidegate_event_subscribers_dropped_total",
                "Streams of events that ended with events still to take, because the listener was slow.",
                self.slow.load(Relaxed),
            ),
        ]
    }

    /// Nothing that holds it panics half way through a change.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time between two changes of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign(u64);

/// Which kinds a listener wants; gaps are always told.
#[derive(Clone, Debug, Default)]
pub struct Kinds(Option<Vec<Kind>>);

impl Kinds {
    /// Only these.
    pub fn only(kinds: Vec<Kind>) -> Self {
        Kinds(Some(kinds))
    }

    /// Is one among them?
    pub fn has(&self, kind: Kind) -> bool {
        kind == Kind::Gap || self.0.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}

/// One listener's place.
#[derive(Debug)]
pub struct Subscription {
    events: Arc<Events>,
    kinds: Kinds,
    /// The id up to which it took or passed over everything.
    seen: u64,
    /// Fetched and not yet taken; at most a batch.
    next: VecDeque<Arc<Event>>,
    /// What it wants after this id was all there at its first look, if that is behind it.
    past: Option<u64>,
    is_over: bool,
    reign: Reign,
    end: Instant,
    newest: watch::Receiver<u64>,
    _seat: OwnedSemaphorePermit,
}

impl Subscription {
    /// The id up to which everything was taken.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next event; nothing when the stream ends.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if self.reign != self.events.reign() {
                return None;
            }
            if let Some(event) = self.next.pop_front() {
                self.seen = event.id;
                return Some(event);
            }
            if self.is_over || Instant::now() >= self.end {
                return None;
            }
            self.newest.borrow_and_update();
            self.fetch();
            if self.next.is_empty() {
                let changed = tokio::time::timeout_at(self.end, self.newest.changed());
                if !matches!(changed.await, Ok(Ok(()))) {
                    return None;
                }
            }
        }
    }

    /// Looks what follows. What was missing at the first look is of the past; what goes missing later was lost by
    /// this listener, and ends its stream.
    fn fetch(&mut self) {
        let Batch { gap, events, border, newest } = self.events.after(self.seen, &self.kinds);
        let past = *self.past.get_or_insert(border);
        if let Some(gap) = gap {
            self.is_over = border > past;
            self.next.push_back(Arc::new(gap));
        }
        if !self.is_over {
            self.next.extend(events);
        }
        if self.next.is_empty() {
            self.seen = newest;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let has_more = self.past.is_some() && self.seen < *self.newest.borrow();
        if self.is_over || has_more {
            self.events.slow.fetch_add(1, Relaxed);
        }
    }
}

/// Takes records for as long as there may be some. Runs on the admin thread.
pub async fn keep(state: Arc<AdminState>, mut records: mpsc::Receiver<Record>) {
    let mut lost = stream::dropped();
    while let Some(record) = records.recv().await {
        let events = &state.sources.events;
        let lost_now = stream::dropped();
        if lost_now > lost {
            let message = "events were lost here: they came faster than they were taken";
            events.keep(Record::new(Kind::Gap, message).with("lost", lost_now - lost));
            lost = lost_now;
        }
        events.keep(record);
    }
}

/// Microseconds since 1970; a clock before that counts as 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::ring::{EVENTS_KEPT, KEPT_OF_KIND};
    use super::*;

    fn happens(events: &Events, kind: Kind) -> u64 {
        events.keep(Record::new(kind, "it happened"));
        events.ring().newest()
    }

    fn listen(events: &Arc<Events>) -> Option<Subscription> {
        events.subscribe(None, Kinds::default(), events.reign())
    }

    #[tokio::test]
    async fn a_listener_hears_what_it_asked_for() {
        let events = Arc::new(Events::default());
        happens(&events, Kind::Ramp);
        let mut live = events.subscribe(None, Kinds::only(vec![Kind::Ramp]), events.reign()).expect("a seat");
        happens(&events, Kind::Shed);
        let id = happens(&events, Kind::Ramp);
        assert_eq!(live.next().await.map(|event| event.id), Some(id));
    }

    #[tokio::test]
    async fn one_too_many_is_refused_and_a_seat_comes_back() {
        let events = Arc::new(Events::default());
        let mut seated: Vec<_> = (0..MAX_SUBSCRIBERS).map(|_| listen(&events).expect("a seat")).collect();
        assert!(listen(&events).is_none());
        seated.pop();
        assert!(listen(&events).is_some());
    }

    #[tokio::test]
    async fn what_went_missing_before_somebody_listened_ends_no_stream() {
        let events = Arc::new(Events::default());
        let rare = happens(&events, Kind::Rollback);
        let storm = EVENTS_KEPT + KEPT_OF_KIND + 1;
        let last = (0..storm).fold(rare, |_, _| happens(&events, Kind::Ejection));
        let mut live = events.subscribe(Some(0), Kinds::default(), events.reign()).expect("a seat");
        assert_eq!(live.next().await.map(|event| event.id), Some(rare));
        assert_eq!(live.next().await.map(|event| event.kind), Some(Kind::Gap));
        let mut seen = 0;
        while seen < last {
            seen = live.next().await.expect("the stream goes on").id;
        }
        let id = happens(&events, Kind::Ramp);
        assert_eq!(live.next().await.map(|event| event.id), Some(id));
        drop(live);
        assert_eq!(events.slow.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told_and_let_go() {
        let events = Arc::new(Events::default());
        let mut slow = listen(&events).expect("a seat");
        let first = happens(&events, Kind::Shed);
        assert_eq!(slow.next().await.map(|event| event.id), Some(first));
        for _ in 0..EVENTS_KEPT + KEPT_OF_KIND + 1 {
            happens(&events, Kind::Shed);
        }
        assert_eq!(slow.next().await.map(|event| event.kind), Some(Kind::Gap));
        assert!(slow.next().await.is_none());
        drop(slow);
        assert_eq!(events.slow.load(Relaxed), 1);
        assert_eq!(events.seats.available_permits(), MAX_SUBSCRIBERS);
    }
}
