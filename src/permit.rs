//! Counting what is in flight: a number that many cores share, and the right to be one of it.
//!
//! A [`Counter`] is compared with a limit that the caller brings, because the limit belongs to a version of
//! the configuration and the count does not: one counter lives as long as the name that it counts for, and
//! every version compares the same count with its own cap (`design.md`, "Identity across a swap").
//!
//! It deliberately knows no waiting and no classes; that is admission's business.

use crate::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// How many are in flight.
///
/// A full counter is only read, never written: refusing costs no cache line, and a refused attempt can never
/// make a concurrent one fail that would have fitted, which would strand it among the waiters. (Adding first
/// and taking back, `overload.md` 2(viii), has exactly that transient.)
#[derive(Debug, Default)]
pub struct Counter(CachePadded<AtomicU32>);

impl Counter {
    /// Takes one if fewer than `limit` are taken.
    pub fn try_acquire(&self, limit: u32) -> bool {
        // SeqCst: the queue's wake-up protocol orders this against the count of waiters.
        self.0.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then_some(taken + 1)).is_ok()
    }

    /// Takes one whatever the count; for things that exist already and must be counted.
    pub fn acquire(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    /// Gives one back. Callers pair it with an acquire through a guard, never by hand.
    pub fn release(&self) {
        let before = self.0.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "released more than was acquired");
    }

    /// The count now; it may be stale when the caller looks at it.
    pub fn get(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

/// Who owns a counter that a [`Permit`] holds one of.
pub trait Counted {
    /// The counter that this permit is one of.
    fn counter(&self) -> &Counter;
}

impl Counted for Arc<Counter> {
    fn counter(&self) -> &Counter {
        self
    }
}

/// One of what a counter counts; given back when dropped, also while unwinding.
#[derive(Debug)]
pub struct Permit<O: Counted>(O);

impl<O: Counted> Permit<O> {
    /// Takes one of `owner`'s counter if fewer than `limit` are taken.
    #[inline]
    pub fn try_new(owner: O, limit: u32) -> Option<Self> {
        owner.counter().try_acquire(limit).then(|| Permit(owner))
    }

    /// Takes one of `owner`'s counter whatever the count.
    pub fn always(owner: O) -> Self {
        owner.counter().acquire();
        Permit(owner)
    }

    /// What it is a permit of.
    pub fn owner(&self) -> &O {
        &self.0
    }
}

impl<O: Counted> Drop for Permit<O> {
    fn drop(&mut self) {
        self.0.counter().release();
    }
}

/// What one of two sides may hold of something that both are counted in: a count of its own, beside the common one.
#[derive(Clone, Debug)]
pub struct Part {
    held: Arc<Counter>,
    most: u32,
}

impl Part {
    /// At most so many of what `held` counts.
    pub fn new(held: Arc<Counter>, most: u32) -> Self {
        Part { held, most }
    }

    /// At most.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// Held now.
    pub fn held(&self) -> u32 {
        self.held.get()
    }

    /// Nothing of it is left now.
    pub fn is_full(&self) -> bool {
        self.held() >= self.most
    }

    /// Takes one of the part, if there is one left.
    pub fn enter(&self) -> Option<Permit<Arc<Counter>>> {
        Permit::try_new(self.held.clone(), self.most)
    }

    /// Takes one without a guard. Callers pair it with [`Part::leave`] through a guard of their own.
    pub fn try_acquire(&self) -> bool {
        self.held.try_acquire(self.most)
    }

    /// Gives one back that was taken without a guard.
    pub fn leave(&self) {
        self.held.release();
    }
}
