//! Is every core still turning? A thread of its own looks once a second, because a stuck core cannot tell
//! that it is stuck, and a runtime that it shares would be stuck with it.
//!
//! A core that did not turn once between two looks has a strike; two in a row and it is stuck, until it
//! turns again. A core that is busy turns late, but it turns: that is lag, and never a strike. The watchdog
//! deliberately does nothing about a stuck core but say so; `/readyz` and a person decide.

use crate::runtime::tied::Tied;
use crate::telemetry::events::CoreStuck;
use crossbeam_utils::CachePadded;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How often a core beats, in milliseconds.
pub const TICK_MS: u64 = 100;
/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without a turn that make a core stuck.
const STRIKES: u8 = 2;

/// What the cores say about themselves; written by each core for itself, read by anyone.
#[derive(Debug)]
pub struct Heartbeats(Box<[CachePadded<Heart>]>);

#[derive(Debug, Default)]
struct Heart {
    turns: AtomicU64,
    last_ms: AtomicU64,
    late_ms: AtomicU64,
    mean_late_ms: AtomicU64,
    closed: AtomicU8,
    /// Written by the watchdog.
    stuck: AtomicBool,
}

impl Heartbeats {
    /// For `cores` cores that have not beaten yet.
    pub fn new(cores: usize) -> Self {
        Heartbeats((0..cores).map(|_| CachePadded::default()).collect())
    }

    /// Core `core` has turned, at `now_ms` since the start of the process; to be called every [`TICK_MS`].
    pub fn beat(&self, core: usize, now_ms: u64) {
        let Some(heart) = self.0.get(core) else { return };
        let first = heart.turns.load(Relaxed) == 0;
        let due = if first { now_ms } else { heart.last_ms.load(Relaxed) + TICK_MS };
        heart.late_ms.store(now_ms.saturating_sub(due), Relaxed);
        heart.last_ms.store(now_ms, Relaxed);
        // One writer: no read-modify-write is needed.
        heart.turns.store(heart.turns.load(Relaxed) + 1, Relaxed);
    }

    /// How late the core's last turn was, or, if that is more, how late its next one already is; in seconds.
    pub fn lag_seconds(&self, core: usize, now_ms: u64) -> f64 {
        let Some(heart) = self.0.get(core) else { return 0.0 };
        let overdue = match heart.turns.load(Relaxed) {
            0 => 0,
            _ => now_ms.saturating_sub(heart.last_ms.load(Relaxed) + TICK_MS),
        };
        heart.late_ms.load(Relaxed).max(overdue) as f64 / 1000.0
    }

    /// Core `core` has closed so many classes, because its ticks were `mean_ms` late on average over a second, or
    /// does not close any more.
    pub fn strained(&self, core: usize, closed: u8, mean_ms: u64) {
        let Some(heart) = self.0.get(core) else { return };
        heart.closed.store(closed, Relaxed);
        heart.mean_late_ms.store(mean_ms, Relaxed);
    }

    /// How many steps of classes the core has closed, and how late its ticks were on average, in milliseconds.
    pub fn strain(&self, core: usize) -> (u8, u64) {
        self.0
            .get(core)
            .map_or((0, 0), |heart| (heart.closed.load(Relaxed), heart.mean_late_ms.load(Relaxed)))
    }

    /// The core has not turned for two looks.
    pub fn stuck(&self, core: usize) -> bool {
        self.0.get(core).is_some_and(|heart| heart.stuck.load(Relaxed))
    }

    /// Says of a core that it is stuck, as the watchdog would.
    #[cfg(test)]
    pub fn accuse(&self, core: usize) {
        self.0[core].stuck.store(true, Relaxed);
    }

    /// The cores that are stuck.
    pub fn all_stuck(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(|core| self.stuck(*core))
    }
}

/// A core became stuck, or turns again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not turned for two looks.
    Stuck {
        /// Which.
        core: usize,
    },
    /// It was stuck and turns again.
    Recovered {
        /// Which.
        core: usize,
    },
}

/// The thread that looks. Dropping it ends it.
#[derive(Debug)]
pub struct Watchdog {
    _thread: Tied<mpsc::SyncSender<Infallible>>,
}

impl Watchdog {
    /// Starts looking. Every verdict is logged and given to `tell`, once per change, on the watchdog's thread.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        hearts: Arc<Heartbeats>,
        mut tell: impl FnMut(Verdict) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel::<Infallible>(0);
        let watch = move || {
            let mut watch = Watch::new(&hearts);
            // Nothing is ever sent: a timeout means "look", a lost sender means "end".
            while stopped.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                for verdict in watch.look(&hearts) {
                    log(verdict);
                    tell(verdict);
                }
            }
        };
        Ok(Watchdog { _thread: Tied::spawn("watchdog", stop, watch)? })
    }
}

fn log(verdict: Verdict) {
    match verdict {
        Verdict::Stuck { core } => CoreStuck { worker: core, recovered: false }.emit(),
        Verdict::Recovered { core } => CoreStuck { worker: core, recovered: true }.emit(),
    }
}

/// What the watchdog remembers between looks. Knows no clock: whoever calls `look` decides how far apart.
#[derive(Debug)]
struct Watch(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    turns: u64,
    strikes: u8,
}

impl Watch {
    fn new(hearts: &Heartbeats) -> Self {
        Watch(hearts.0.iter().map(|heart| Seen { turns: heart.turns.load(Relaxed), strikes: 0 }).collect())
    }

    /// What changed since the look before.
    fn look(&mut self, hearts: &Heartbeats) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (core, (seen, heart)) in self.0.iter_mut().zip(&hearts.0).enumerate() {
            let turns = heart.turns.load(Relaxed);
            let turned = turns != seen.turns;
            seen.turns = turns;
            seen.strikes = if turned { 0 } else { seen.strikes.saturating_add(1) };
            let stuck = seen.strikes >= STRIKES;
            if heart.stuck.swap(stuck, Relaxed) != stuck {
                verdicts.push(if stuck { Verdict::Stuck { core } } else { Verdict::Recovered { core } });
            }
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets one core beat at the given times while the watchdog looks every second, and returns when it
    /// said what, in milliseconds.
    fn simulate(beats: impl Iterator<Item = u64>, until_ms: u64) -> Vec<(u64, Verdict)> {
        let hearts = Heartbeats::new(1);
        let mut watch = Watch::new(&hearts);
        let mut beats = beats.peekable();
        let mut said = Vec::new();
        for look in (1000..=until_ms).step_by(1000) {
            while let Some(now) = beats.next_if(|beat| *beat < look) {
                hearts.beat(0, now);
            }
            said.extend(watch.look(&hearts).into_iter().map(|verdict| (look, verdict)));
        }
        said
    }

    #[test]
    fn a_core_that_turns_is_never_stuck_however_late_it_is() {
        for tick in [100, 400, 900, 1_500, 1_900] {
            assert_eq!(simulate((0..).map(|n| n * tick), 60_000), [], "a turn every {tick} ms");
        }
    }

    #[test]
    fn a_core_that_stops_is_stuck_after_two_looks_and_said_so_once() {
        let said = simulate((0..30).map(|n| n * 100), 20_000);
        assert_eq!(said, [(5_000, Verdict::Stuck { core: 0 })]);
    }

    #[test]
    fn a_core_that_turns_again_is_no_longer_stuck() {
        let beats = (0..10).map(|n| n * 100).chain((0..).map(|n| 6_050 + n * 100));
        let said = simulate(beats, 20_000);
        assert_eq!(said, [(3_000, Verdict::Stuck { core: 0 }), (7_000, Verdict::Recovered { core: 0 })]);
    }

    #[test]
    fn a_core_that_never_starts_is_stuck() {
        assert_eq!(simulate(std::iter::empty(), 9_000), [(2_000, Verdict::Stuck { core: 0 })]);
    }

    #[test]
    fn one_stuck_core_does_not_accuse_another() {
        let hearts = Heartbeats::new(2);
        let mut watch = Watch::new(&hearts);
        for now in [1000, 2000, 3000] {
            hearts.beat(1, now);
            watch.look(&hearts);
        }
        assert_eq!(hearts.all_stuck().collect::<Vec<_>>(), [0]);
        assert!(!hearts.stuck(1) && !hearts.stuck(7));
    }

    #[test]
    fn lag_is_how_late_the_last_turn_was_and_grows_while_the_next_is_overdue() {
        let hearts = Heartbeats::new(1);
        assert_eq!(hearts.lag_seconds(0, 5_000), 0.0);
        hearts.beat(0, 5_000);
        hearts.beat(0, 5_350);
        assert_eq!(hearts.lag_seconds(0, 5_350), 0.25);
        hearts.beat(0, 5_450);
        assert_eq!(hearts.lag_seconds(0, 5_500), 0.0);
        assert_eq!(hearts.lag_seconds(0, 8_550), 3.0);
    }

    #[test]
    fn the_thread_ends_when_it_is_dropped() {
        let hearts = Arc::new(Heartbeats::new(1));
        let watchdog = Watchdog::start(Arc::clone(&hearts), |_| {}).expect("a thread");
        drop(watchdog);
        assert_eq!(Arc::strong_count(&hearts), 1);
    }
}
