//! The budget of bytes that the process buffers for others: beginnings of requests, answers read ahead, what
//! slow clients have not taken yet.
//!
//! Cores share one count and borrow from it in lumps, so that a chunk usually costs no shared write; what a
//! core has borrowed and does not need goes back with its tick. Every byte is held by a guard ([`Held`]). The
//! limit comes from the version in force; the count outlives versions.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// The largest lump that a core borrows beyond what it needs.
const LUMP: u64 = 256 * 1024;

/// Bytes buffered by the process, lumps that cores have borrowed included.
#[derive(Debug, Default)]
pub struct Memory {
    used: CachePadded<AtomicU64>,
    /// The budget was used up, and has not recovered.
    short: AtomicBool,
}

/// One core's share in it.
#[derive(Debug)]
pub struct CoreMemory {
    shared: Arc<Memory>,
    limit: Cell<u64>,
    /// Borrowed and not held by anybody.
    credit: Cell<u64>,
}

/// Some bytes of the budget, given back when dropped.
#[derive(Debug)]
pub struct Held {
    core: Rc<CoreMemory>,
    bytes: u64,
}

impl Memory {
    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: u64, limit: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes, "gave back more than was taken");
    }
}

impl CoreMemory {
    /// A core that has borrowed nothing.
    pub fn new(shared: Arc<Memory>, limit: u64) -> Rc<Self> {
        Rc::new(CoreMemory { shared, limit: Cell::new(limit), credit: Cell::new(0) })
    }

    /// The limit of the version in force.
    pub fn set_limit(&self, limit: u64) {
        self.limit.set(limit);
    }

    /// True from when the budget is used up until an eighth of it is free again: then nothing new is let in.
    pub fn is_short(&self) -> bool {
        let (used, limit) = (self.shared.used(), self.limit.get());
        let was_short = self.shared.short.load(Relaxed);
        let short = used >= limit || (was_short && used > limit - limit / 8);
        if short != was_short {
            self.shared.short.store(short, Relaxed);
        }
        short
    }

    /// True while less than half of the budget is used: what only spares others leaves the rest alone.
    pub fn has_to_spare(&self) -> bool {
        self.shared.used() < self.limit.get() / 2
    }

    /// Gives back what is borrowed and not needed; called by the core's tick.
    pub fn settle(&self) {
        let credit = self.credit.take();
        if credit > 0 {
            self.shared.give(credit);
        }
    }

    fn lump(&self) -> u64 {
        LUMP.min(self.limit.get() / 256)
    }

    fn take(&self, bytes: u64, limit: u64) -> bool {
        if let Some(left) = self.credit.get().checked_sub(bytes) {
            self.credit.set(left);
            return true;
        }
        let (missing, lump) = (bytes - self.credit.get(), self.lump());
        if self.shared.take(missing + lump, limit) {
            self.credit.set(lump);
            return true;
        }
        let taken = self.shared.take(missing, limit);
        if taken {
            self.credit.set(0);
        } else {
            self.shared.short.store(true, Relaxed);
        }
        taken
    }

    fn give(&self, bytes: u64) {
        let (credit, lump) = (self.credit.get() + bytes, self.lump());
        if credit > 2 * lump {
            self.shared.give(credit - lump);
            self.credit.set(lump);
        } else {
            self.credit.set(credit);
        }
    }
}

impl Held {
    /// Nothing yet.
    pub fn new(core: &Rc<CoreMemory>) -> Self {
        Held { core: core.clone(), bytes: 0 }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more, if the budget has room. False when it has not.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let taken = self.core.take(bytes, self.core.limit.get());
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Holds exactly so much, whatever the budget says: these bytes exist already.
    pub fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before && !self.core.take(bytes - before, u64::MAX) {
            self.bytes = before;
        } else if bytes < before {
            self.core.give(before - bytes);
        }
    }

    /// Gives some back.
    pub fn shrink(&mut self, bytes: u64) {
        self.set(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u64 = 1 << 20;

    #[test]
    fn the_budget_refuses_beyond_its_limit_and_recovers_with_an_eighth_free() {
        let shared = Arc::new(Memory::default());
        let core = CoreMemory::new(shared.clone(), LIMIT);
        let mut held = Held::new(&core);
        assert!(held.grow(LIMIT) && !core.is_short() || shared.used() == LIMIT);
        assert!(!held.grow(1));
        assert!(core.is_short());
        held.shrink(LIMIT / 16);
        core.settle();
        assert!(core.is_short(), "a sixteenth is not enough");
        held.shrink(LIMIT / 8);
        core.settle();
        assert!(!core.is_short());
    }

    #[test]
    fn half_of_it_is_to_spare() {
        let core = CoreMemory::new(Arc::default(), LIMIT);
        let mut held = Held::new(&core);
        held.set(LIMIT / 2 - 100 * 1024);
        assert!(core.has_to_spare());
        held.set(LIMIT / 2);
        assert!(!core.has_to_spare() && !core.is_short());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_byte_is_given_back(steps in prop::collection::vec((0..4usize, 0..5u8, 0..200_000u64), 1..200)) {
            let shared = Arc::new(Memory::default());
            let cores = [CoreMemory::new(shared.clone(), LIMIT), CoreMemory::new(shared.clone(), LIMIT)];
            let mut held: Vec<_> = (0..4).map(|n| Held::new(&cores[n % 2])).collect();
            for (which, what, bytes) in steps {
                let one = &mut held[which];
                let before = one.bytes();
                match what {
                    0 => prop_assert_eq!(one.grow(bytes), one.bytes() == before + bytes && (one.bytes() > before || bytes == 0)),
                    1 => one.shrink(bytes),
                    2 => one.set(bytes),
                    3 => *one = Held::new(&cores[which % 2]),
                    _ => cores[which % 2].settle(),
                }
                let sum: u64 = held.iter().map(Held::bytes).sum();
                let credit: u64 = cores.iter().map(|core| core.credit.get()).sum();
                prop_assert_eq!(shared.used(), sum + credit);
            }
            drop(held);
            cores.iter().for_each(|core| core.settle());
            prop_assert_eq!(shared.used(), 0);
        }
    }
}
