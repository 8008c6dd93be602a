//! Is waiting worth it? A pure core: it sees the time, how many permits were ever released anywhere, how many
//! were granted on this core, and whether the gate is full, and says how fast this core's line moves
//! (`design.md`, "Admission"; promise 3).
//!
//! Releases anywhere tell whether the upstream is alive. The rate is that of grants on this core, because a
//! release serves its own core first: the line of a core with few requests in flight moves more slowly than
//! the place in a common line would suggest.
//!
//! It never looks at the queue itself, and it keeps no history longer than a second.

use std::time::{Duration, Instant};

/// The rate is measured over windows of this length.
const WINDOW: Duration = Duration::from_millis(100);
/// How many windows the rate remembers.
const WINDOWS: usize = 8;

/// Why a request should not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hopeless {
    /// Nothing was released for as long as one may wait at all: the upstream hangs.
    NothingReleased,
    /// At the present rate its turn comes too late.
    TooFarBack,
}

/// What one core knows of the releases of one upstream.
#[derive(Debug)]
pub struct Patience {
    full_since: Option<Instant>,
    last_release: Instant,
    released: u64,
    granted: u64,
    windows: [(Duration, u64); WINDOWS],
    next: usize,
    window_start: Instant,
    window_granted: u64,
}

impl Patience {
    /// Starts at `now` with `released` permits already released anywhere and `granted` on this core.
    pub fn new(now: Instant, released: u64, granted: u64) -> Self {
        Patience {
            full_since: None,
            last_release: now,
            released,
            granted,
            windows: [(Duration::ZERO, 0); WINDOWS],
            next: 0,
            window_start: now,
            window_granted: granted,
        }
    }

    /// The gate had room when it was last looked at.
    pub fn is_calm(&self) -> bool {
        self.full_since.is_none()
    }

    /// The gate had room: whatever was slow before is over.
    pub fn had_room(&mut self) {
        self.full_since = None;
    }

    /// Looks at the counts while the gate is full.
    pub fn look(&mut self, now: Instant, released: u64, granted: u64) {
        if self.full_since.is_none() {
            // The rate of a quiet spell says nothing about a full gate.
            *self = Patience { full_since: Some(now), ..Patience::new(now, released, granted) };
            return;
        }
        if released != self.released {
            self.last_release = now;
            self.released = released;
        }
        self.granted = granted;
        let length = now.saturating_duration_since(self.window_start);
        if length >= WINDOW {
            self.windows[self.next] = (length, granted - self.window_granted);
            self.next = (self.next + 1) % WINDOWS;
            self.window_start = now;
            self.window_granted = granted;
        }
    }

    /// Grants per second on this core over the remembered windows and the one that runs; `None` in the first moments.
    fn rate(&self, now: Instant) -> Option<f64> {
        let running = now.saturating_duration_since(self.window_start);
        let length: Duration = self.windows.iter().map(|w| w.0).sum::<Duration>() + running;
        if length < WINDOW / 2 {
            return None;
        }
        let count: u64 = self.windows.iter().map(|w| w.1).sum::<u64>() + (self.granted - self.window_granted);
        Some(count as f64 / length.as_secs_f64())
    }

    /// May the one at `place` of this core's line (1 is its head) hope for its turn within `wait`? Call after
    /// [`Patience::look`]. `max_wait` is how long anyone may wait.
    ///
    /// # Errors
    /// Why it should be refused at once instead of after the wait.
    pub fn verdict(
        &self,
        now: Instant,
        place: u32,
        wait: Duration,
        max_wait: Duration,
    ) -> Result<(), Hopeless> {
        let Some(full_since) = self.full_since else { return Ok(()) };
        let full_for = now.saturating_duration_since(full_since);
        if full_for < max_wait {
            return Ok(());
        }
        if now.saturating_duration_since(self.last_release) >= max_wait {
            return Err(Hopeless::NothingReleased);
        }
        // Three quarters: without the margin the borderline waiters time out.
        match self.rate(now) {
            // The head may always wait while the upstream is alive: somebody must stand where the next permit is
            // passed to, or a core that has none in flight would never get one.
            Some(rate) if place > 1 && wanted(place) > rate * wait.as_secs_f64() * 0.75 => {
                Err(Hopeless::TooFarBack)
            }
            _ => Ok(()),
        }
    }
}

/// Grants that must fall within the wait for `place` to be served: grants scatter, around a few of them by about
/// their root, and without that margin one in a hundred refusals is a waiter that was nearly served.
fn wanted(place: u32) -> f64 {
    f64::from(place) + f64::from(place).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(50);

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_hung_upstream_is_refused_at_once_after_one_wait() {
        let start = Instant::now();
        let mut patience = Patience::new(start, 7, 7);
        patience.look(at(start, 0), 7, 7);
        assert_eq!(patience.verdict(at(start, 0), 1, MAX, MAX), Ok(()));
        patience.look(at(start, 49), 7, 7);
        assert_eq!(patience.verdict(at(start, 49), 1, MAX, MAX), Ok(()));
        patience.look(at(start, 50), 7, 7);
        assert_eq!(patience.verdict(at(start, 50), 1, MAX, MAX), Err(Hopeless::NothingReleased));
        // Still hopeless when only one request a second asks.
        patience.look(at(start, 9_000), 7, 7);
        assert_eq!(patience.verdict(at(start, 9_000), 1, MAX, MAX), Err(Hopeless::NothingReleased));
        // The first release after the hang is hope again.
        patience.look(at(start, 9_001), 8, 8);
        assert_eq!(patience.verdict(at(start, 9_001), 1, MAX, MAX), Ok(()));
        assert_eq!(patience.verdict(at(start, 9_001), 2, MAX, MAX), Err(Hopeless::TooFarBack));
        for ms in 9_002..9_900 {
            patience.look(at(start, ms), ms, ms);
        }
        assert_eq!(patience.verdict(at(start, 9_900), 1, MAX, MAX), Ok(()));
    }

    #[test]
    fn a_place_that_is_served_too_late_is_refused_with_a_margin() {
        let start = Instant::now();
        let mut patience = Patience::new(start, 0, 0);
        // 400 a second: 20 are served within 50 ms, three quarters of that are 15, and 11 + √11 fit into them.
        for ms in 0..500 {
            patience.look(at(start, ms), ms * 400 / 1000, ms * 400 / 1000);
        }
        let now = at(start, 499);
        assert_eq!(patience.verdict(now, 11, MAX, MAX), Ok(()));
        assert_eq!(patience.verdict(now, 12, MAX, MAX), Err(Hopeless::TooFarBack));
    }

    #[test]
    fn the_line_of_a_core_moves_at_its_own_rate() {
        let start = Instant::now();
        let mut patience = Patience::new(start, 0, 0);
        // 400 a second are released, a quarter of them on this core.
        for ms in 0..500 {
            patience.look(at(start, ms), ms * 400 / 1000, ms * 100 / 1000);
        }
        let now = at(start, 499);
        assert_eq!(patience.verdict(now, 2, MAX, MAX), Ok(()));
        assert_eq!(patience.verdict(now, 3, MAX, MAX), Err(Hopeless::TooFarBack));
    }

    #[test]
    fn a_quiet_spell_does_not_refuse_the_first_of_a_burst() {
        let start = Instant::now();
        let mut patience = Patience::new(start, 0, 0);
        patience.look(at(start, 0), 0, 0);
        patience.had_room();
        patience.look(at(start, 60_000), 1, 1);
        assert_eq!(patience.verdict(at(start, 60_000), 40, MAX, MAX), Ok(()));
        assert_eq!(patience.verdict(at(start, 60_020), 40, MAX, MAX), Ok(()));
    }
}
