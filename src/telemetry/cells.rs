//! Numbers that one core writes and a scrape reads.
//!
//! A cell has exactly one writer, so counting is a plain load and store: no read-modify-write, no cache line
//! that travels between cores on a request's way. Every core's block is padded to its own lines; a scrape
//! sums the blocks and may see one request's cells half counted, never a number that goes backwards.
//! It does not guard against a second writer: whoever passes a `CoreId` must be that core.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of a core of the data plane, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u32);

/// One block of cells for each core.
#[derive(Debug)]
pub struct PerCore<T>(Box<[CachePadded<T>]>);

impl<T: Default> PerCore<T> {
    /// Blocks of zeros for this many cores.
    pub fn new(cores: usize) -> Self {
        PerCore((0..cores).map(|_| CachePadded::new(T::default())).collect())
    }
}

/// For no core: it counts nothing.
impl<T> Default for PerCore<T> {
    fn default() -> Self {
        PerCore(Box::default())
    }
}

impl<T> PerCore<T> {
    /// The block of a core; none for a core that the table was not made for, which then counts nothing.
    #[inline]
    pub fn of(&self, core: CoreId) -> Option<&T> {
        self.0.get(core.0 as usize).map(|block| &**block)
    }

    /// The sum of one number over all cores.
    pub fn sum(&self, cell: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|block| cell(block)).fold(0, u64::wrapping_add)
    }

    /// All blocks, in the order of the cores.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|block| &**block)
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only from the core that owns the cell.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Its value now; from anywhere.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Bucket bounds of a histogram.
pub const BOUNDS: usize = 14;

/// Upper bounds of buckets in nanoseconds, ascending.
pub type Bounds = [u64; BOUNDS];

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// For whole requests: 1 ms to 30 s.
pub const REQUEST_BOUNDS: Bounds = [
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    2_500 * MS,
    5 * S,
    10 * S,
    30 * S,
];

/// For waits in a queue: 0.1 ms to 1 s, finest below the default `max_wait` of 50 ms.
pub const WAIT_BOUNDS: Bounds = [
    100 * US,
    200 * US,
    500 * US,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    35 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    S,
];

/// Times counted into buckets; the last bucket has no upper bound.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one time; only from the core that owns the cell. `bounds` must always be the same ones.
    #[inline]
    pub fn record(&self, bounds: &Bounds, ns: u64) {
        let bucket = bounds.partition_point(|&upper| upper < ns);
        // The bucket is at most BOUNDS, the last one of the array.
        self.buckets[bucket].add(1);
        self.sum_ns.add(ns);
    }
}

/// A histogram summed over cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSum {
    /// How many times fell into each bucket, not cumulative.
    pub buckets: [u64; BOUNDS + 1],
    /// Nanoseconds altogether.
    pub sum_ns: u64,
}

impl HistogramSum {
    /// Adds one core's histogram.
    pub fn add(&mut self, cell: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&cell.buckets) {
            *total = total.wrapping_add(bucket.get());
        }
        self.sum_ns = self.sum_ns.wrapping_add(cell.sum_ns.get());
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn what_cores_count_at_the_same_time_is_summed_without_loss() {
        let cells = Arc::new(PerCore::<Counter>::new(4));
        let cores: Vec<_> = (0..4)
            .map(|core| {
                let cells = Arc::clone(&cells);
                std::thread::spawn(move || {
                    for _ in 0..10_000 {
                        cells.of(CoreId(core)).expect("made for four").add(1);
                    }
                })
            })
            .collect();
        for core in cores {
            core.join().expect("does not panic");
        }
        assert_eq!(cells.sum(Counter::get), 40_000);
    }

    #[test]
    fn an_unknown_core_counts_nothing() {
        assert!(PerCore::<Counter>::new(2).of(CoreId(2)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_time_falls_into_the_first_bucket_that_holds_it(ns in 0u64..60 * S) {
            let cell = Histogram::default();
            cell.record(&REQUEST_BOUNDS, ns);
            let mut sum = HistogramSum::default();
            sum.add(&cell);
            let bucket = sum.buckets.iter().position(|&n| n == 1).expect("counted once");
            prop_assert_eq!(sum.count(), 1);
            prop_assert_eq!(sum.sum_ns, ns);
            prop_assert!(REQUEST_BOUNDS.get(bucket).is_none_or(|&upper| ns <= upper));
            prop_assert!(bucket == 0 || ns > REQUEST_BOUNDS[bucket - 1]);
        }
    }
}
