//! The picture of the moment, for whoever watches: one snapshot a second, made once for all of them, and only while
//! there is somebody.
//!
//! It is made on a thread of its own, because looking at a large fleet takes milliseconds: the admin thread only hands
//! out what is there. At most [`MAX_WATCHERS`] streams; a stream has no buffer, and whoever is slow gets the newest
//! snapshot and not those between. One that takes nothing for five seconds is ended by its connection.

pub mod snapshot;

use super::AdminState;
use super::events::MAX_STREAM_AGE;
use crate::control::permits;
use crate::telemetry::family::Family;
use bytes::Bytes;
use snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Streams at a time, on all listeners together.
pub const MAX_WATCHERS: usize = 32;
/// Between two snapshots.
pub const PERIOD: Duration = Duration::from_secs(1);
/// After this without a snapshot a watcher is told that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who watches, and what they see.
#[derive(Debug)]
pub struct Live {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    /// Somebody came.
    came: Notify,
    watchers: Mutex<Watchers>,
    seats: Arc<Semaphore>,
    refused: AtomicU64,
    skipped: AtomicU64,
}

/// How many there are, and which upstreams they want to see the whole of.
#[derive(Debug, Default)]
struct Watchers {
    all: usize,
    wanted: BTreeMap<Arc<str>, usize>,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            newest: watch::Sender::new(None),
            came: Notify::new(),
            watchers: Mutex::default(),
            seats: Arc::new(Semaphore::new(MAX_WATCHERS)),
            refused: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }
}

impl Live {
    /// A stream of snapshots, perhaps with the whole of one upstream; nothing when there are too many.
    pub fn watch(self: &Arc<Self>, upstream: Option<Arc<str>>) -> Option<Watcher> {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            self.refused.fetch_add(1, Relaxed);
            return None;
        };
        let mut watchers = self.watchers();
        watchers.all += 1;
        upstream.iter().for_each(|name| *watchers.wanted.entry(name.clone()).or_default() += 1);
        drop(watchers);
        self.came.notify_one();
        let end = Instant::now() + MAX_STREAM_AGE;
        Some(Watcher {
            newest: self.newest.subscribe(),
            live: self.clone(),
            upstream,
            seen: 0,
            end,
            _seat: seat,
        })
    }

    /// Has every watcher look at once whether they may still watch.
    pub(super) fn look_up(&self) {
        self.newest.send_modify(|_| {});
    }

    /// The metrics of the streams.
    pub(super) fn families(&self) -> Vec<Family> {
        let counter = |name, help, value: &AtomicU64| {
            let mut family = Family::counter(name, help);
            family.count(&[], value.load(Relaxed));
            family
        };
        let mut now = Family::gauge("tidegate_live_watchers", "Open streams of snapshots.");
        now.set(&[], MAX_WATCHERS.saturating_sub(self.seats.available_permits()) as f64);
        vec![
            now,
            counter(
                "tidegate_live_watchers_refused_total",
                "Streams of snapshots refused because there were too many.",
                &self.refused,
            ),
            counter(
                "tidegate_live_snapshots_skipped_total",
                "Snapshots that a watcher did not get because it was slow.",
                &self.skipped,
            ),
        ]
    }

    /// Upstreams that somebody wants to see the whole of; nothing if nobody watches at all.
    fn wanted(&self) -> Option<Vec<Arc<str>>> {
        let watchers = self.watchers();
        (watchers.all > 0).then(|| watchers.wanted.keys().cloned().collect())
    }

    /// Nothing panics while it holds the lock.
    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place.
#[derive(Debug)]
pub struct Watcher {
    live: Arc<Live>,
    newest: watch::Receiver<Option<Arc<Snapshot>>>,
    upstream: Option<Arc<str>>,
    /// The number of the last snapshot that it took.
    seen: u64,
    end: Instant,
    _seat: OwnedSemaphorePermit,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A snapshot, ready to be sent.
    Snapshot(Bytes),
    /// There is none yet; the stream lives.
    Nothing,
}

impl Watcher {
    /// The next snapshot; nothing when the stream ends: it is old, or `may_watch` no more.
    pub async fn next(&mut self, may_watch: impl Fn() -> bool) -> Option<Told> {
        let patience = Instant::now() + KEEP_ALIVE;
        loop {
            if !may_watch() || Instant::now() >= self.end {
                return None;
            }
            if let Some(told) = self.look() {
                return Some(Told::Snapshot(told));
            }
            match tokio::time::timeout_at(patience.min(self.end), self.newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if Instant::now() >= self.end => return None,
                Err(_) => return Some(Told::Nothing),
            }
        }
    }

    /// The newest snapshot, if it is new and has what is wanted.
    fn look(&mut self) -> Option<Bytes> {
        let snapshot = self.newest.borrow_and_update().clone()?;
        let before = self.seen;
        if snapshot.number <= before {
            return None;
        }
        let frame = snapshot.frame(self.upstream.as_deref())?;
        self.seen = snapshot.number;
        if before > 0 {
            self.live.skipped.fetch_add(snapshot.number - before - 1, Relaxed);
        }
        Some(frame)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.live.watchers();
        watchers.all -= 1;
        let Some(name) = &self.upstream else { return };
        if let Some(count) = watchers.wanted.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                watchers.wanted.remove(name);
            }
        }
    }
}

/// Makes snapshots for as long as somebody watches. Runs on a thread of its own.
pub async fn keep(state: Arc<AdminState>) {
    let mut number = 0;
    loop {
        while state.sources.live.wanted().is_none() {
            state.sources.live.came.notified().await;
        }
        // The first rates are those since the last point of the series.
        let mut meter = state.series.meter();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(wanted) = state.sources.live.wanted() {
            ticks.tick().await;
            let Ok(reach) = state.reach() else { continue };
            number += 1;
            let permits = permits::all_counted(&reach.workers).await;
            let rates = meter.take(&reach.observatory.pulse(), std::time::Instant::now());
            let snapshot = Snapshot::of(number, state.view(), &rates, &permits, &wanted);
            state.sources.live.newest.send_replace(Some(Arc::new(snapshot)));
        }
        // Whoever comes next is not shown what was.
        state.sources.live.newest.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::series::meter::Rates;
    use crate::control::permits::PermitsView;
    use crate::control::view::GatewayView;

    /// A snapshot as the thread would make it now.
    fn happens(live: &Live, number: u64) {
        let wanted = live.wanted().expect("somebody watches");
        let (rates, permits) = (Rates::default(), PermitsView::default());
        let snapshot = Snapshot::of(number, GatewayView::default(), &rates, &permits, &wanted);
        live.newest.send_replace(Some(Arc::new(snapshot)));
    }

    async fn next(watcher: &mut Watcher) -> Option<Told> {
        watcher.next(|| true).await
    }

    #[tokio::test]
    async fn who_is_slow_gets_the_newest_and_what_they_missed_is_counted() {
        let live = Arc::new(Live::default());
        let mut slow = live.watch(None).expect("a seat");
        happens(&live, 7);
        assert!(matches!(next(&mut slow).await, Some(Told::Snapshot(_))), "whatever its number is");
        (8..=11).for_each(|number| happens(&live, number));
        assert!(matches!(next(&mut slow).await, Some(Told::Snapshot(_))));
        assert_eq!((slow.seen, live.skipped.load(Relaxed)), (11, 3));
    }

    #[tokio::test]
    async fn whoever_wants_an_upstream_waits_for_the_snapshot_that_has_it() {
        let live = Arc::new(Live::default());
        let mut plain = live.watch(None).expect("a seat");
        happens(&live, 1);
        let mut whole = live.watch(Some("u".into())).expect("a seat");
        assert!(whole.look().is_none(), "it was made before they came");
        assert!(plain.look().is_some());
        happens(&live, 2);
        let Some(Told::Snapshot(frame)) = next(&mut whole).await else { panic!("it is there") };
        assert!(frame.ends_with(b",\"upstream\":null}\n\n"), "there is no such upstream");
        let (one, other) = (live.watch(Some("u".into())), live.watch(Some("v".into())));
        drop((whole, other));
        assert_eq!(live.wanted(), Some(vec!["u".into()]));
        drop(one);
        assert_eq!(live.wanted(), Some(vec![]));
        drop(plain);
        assert_eq!(live.wanted(), None);
        assert_eq!(live.seats.available_permits(), MAX_WATCHERS);
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_age_whether_or_not_there_is_something_to_see() {
        let live = Arc::new(Live::default());
        let mut watcher = live.watch(None).expect("a seat");
        let age = watcher.end - Instant::now();
        assert!(age <= MAX_STREAM_AGE && age > MAX_STREAM_AGE / 2, "{age:?}");
        watcher.end = Instant::now() + Duration::from_millis(5);
        assert_eq!(next(&mut watcher).await, None, "it waited in vain");
        happens(&live, 1);
        assert_eq!(next(&mut watcher).await, None);
    }

    #[tokio::test]
    async fn who_may_no_longer_watch_is_told_nothing_more() {
        let live = Arc::new(Live::default());
        let mut watcher = live.watch(None).expect("a seat");
        happens(&live, 1);
        assert_eq!(watcher.next(|| false).await, None);
        // Also while it waits.
        let (may, mut waiting) = (std::cell::Cell::new(true), live.watch(None).expect("a seat"));
        waiting.look();
        let ends = waiting.next(|| may.get());
        let change = async {
            tokio::task::yield_now().await;
            may.set(false);
            live.look_up();
        };
        assert_eq!(tokio::join!(ends, change).0, None);
    }
}
