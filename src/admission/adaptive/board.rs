//! Where the limit meets the cores: they read it with one load, and write down what it is worked out from.
//!
//! One board for each upstream name, shared by all cores and versions. What cores count is in cells of their own;
//! the admin thread sums them every window and puts up the next limit. A board never refuses: a gate does, if its
//! version says so.

use crate::admission::adaptive::Window;
use crate::telemetry::cells::{CoreId, Counter, PerCore};
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The limit of one upstream, and what its cores noticed.
#[derive(Debug)]
pub struct Board {
    /// The number of the window in the upper half, the limit in the lower: one load tells both.
    said: CachePadded<AtomicU64>,
    cells: PerCore<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    answered: Counter,
    answered_ns: Counter,
    failed: Counter,
    left: Counter,
    /// Refused, or had to wait.
    limited: Counter,
    /// Would have been, in `shadow`.
    let_through: Counter,
    /// The number of a window, and the most in flight that was seen in it. Only its core writes.
    most: AtomicU64,
}

/// What is on the board now.
#[derive(Clone, Copy, Debug)]
pub struct Said(u64);

impl Said {
    /// Requests in flight that it allows; `u32::MAX` while nothing was worked out.
    pub fn limit(self) -> u32 {
        self.0 as u32
    }

    fn window(self) -> u64 {
        self.0 >> 32
    }
}

/// Sums over all cores at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    answered: u64,
    answered_ns: u64,
    failed: u64,
    left: u64,
    limited: u64,
    let_through: u64,
}

impl Board {
    /// Nothing is known: it allows whatever the caps allow.
    pub fn new(cores: usize) -> Self {
        let said = CachePadded::new(AtomicU64::new(u64::from(u32::MAX)));
        Board { said, cells: PerCore::new(cores) }
    }

    /// What is allowed now.
    #[inline]
    pub fn said(&self) -> Said {
        Said(self.said.load(Relaxed))
    }

    /// A request came in as one of so many in flight.
    #[inline]
    pub fn entered(&self, core: CoreId, said: Said, in_flight: u32) {
        let Some(cells) = self.cells.of(core) else { return };
        let entry = said.window() << 32 | u64::from(in_flight);
        // A later window is larger whatever was in flight.
        if entry > cells.most.load(Relaxed) {
            cells.most.store(entry, Relaxed);
        }
    }

    /// A request was refused or has to wait because of the limit.
    pub fn limited(&self, core: CoreId) {
        self.cells.of(core).into_iter().for_each(|cells| cells.limited.add(1));
    }

    /// A request was let in that the limit would have stopped.
    pub fn let_through(&self, core: CoreId) {
        self.cells.of(core).into_iter().for_each(|cells| cells.let_through.add(1));
    }

    /// The head of an answer came after this long.
    #[inline]
    pub fn answered(&self, core: CoreId, after: Duration) {
        let Some(cells) = self.cells.of(core) else { return };
        cells.answered.add(1);
        cells.answered_ns.add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A request failed as it does under overload.
    pub fn failed(&self, core: CoreId) {
        self.cells.of(core).into_iter().for_each(|cells| cells.failed.add(1));
    }

    /// A client left that had waited for longer than the objective.
    pub fn left(&self, core: CoreId) {
        self.cells.of(core).into_iter().for_each(|cells| cells.left.add(1));
    }

    /// Requests that the limit would have stopped, ever.
    pub fn all_let_through(&self) -> u64 {
        self.cells.sum(|cells| cells.let_through.get())
    }

    /// Puts up a limit.
    pub fn put(&self, limit: u32) {
        let window = self.said().window();
        self.said.store(window << 32 | u64::from(limit), Relaxed);
    }

    /// What happened since `last`, which becomes now; a new window begins. For one reader.
    pub fn turn(&self, last: &mut Sums) -> Window {
        let now = self.sums();
        let was = std::mem::replace(last, now);
        let said = self.said();
        let of_window = |cells: &Cells| {
            let most = cells.most.load(Relaxed);
            if most >> 32 == said.window() { most as u32 } else { 0 }
        };
        let max_in_flight = self.cells.iter().map(of_window).max().unwrap_or(0);
        let next = (said.window() + 1) & u64::from(u32::MAX);
        self.said.store(next << 32 | u64::from(said.limit()), Relaxed);
        let since = |field: fn(&Sums) -> u64| field(&now).wrapping_sub(field(&was));
        Window {
            ok: since(|sums| sums.answered),
            time: Duration::from_nanos(since(|sums| sums.answered_ns)),
            failed: since(|sums| sums.failed),
            left: since(|sums| sums.left),
            limited: since(|sums| sums.limited) > 0 || since(|sums| sums.let_through) > 0,
            max_in_flight,
        }
    }

    fn sums(&self) -> Sums {
        let sum = |cell: fn(&Cells) -> &Counter| self.cells.sum(|cells| cell(cells).get());
        Sums {
            answered: sum(|cells| &cells.answered),
            answered_ns: sum(|cells| &cells.answered_ns),
            failed: sum(|cells| &cells.failed),
            left: sum(|cells| &cells.left),
            limited: sum(|cells| &cells.limited),
            let_through: sum(|cells| &cells.let_through),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_all_cores_noticed_since_the_last_one() {
        let board = Board::new(2);
        let mut last = Sums::default();
        assert_eq!(board.said().limit(), u32::MAX);
        board.put(7);
        for core in [CoreId(0), CoreId(1)] {
            board.entered(core, board.said(), 3 + core.0);
            board.entered(core, board.said(), 1);
            board.answered(core, Duration::from_millis(20));
        }
        board.failed(CoreId(1));
        board.let_through(CoreId(0));
        let seen = board.turn(&mut last);
        let time = Duration::from_millis(40);
        assert_eq!(seen, Window { ok: 2, time, failed: 1, left: 0, limited: true, max_in_flight: 4 });
        assert_eq!((board.said().limit(), board.all_let_through()), (7, 1));
        assert_eq!(board.turn(&mut last), Window::default());
    }

    #[test]
    fn a_core_that_slept_through_a_window_does_not_tell_of_an_old_one() {
        let board = Board::new(1);
        let mut last = Sums::default();
        board.entered(CoreId(0), board.said(), 90);
        board.turn(&mut last);
        board.entered(CoreId(0), board.said(), 5);
        assert_eq!(board.turn(&mut last).max_in_flight, 5);
    }
}
