//! How many second tries an upstream can afford (`overload.md` 2(v)): successes pay for them, so that an upstream
//! that fails is asked less and not more.
//!
//! A token bucket: each success adds a part of a token (`retry.budget`), a retry takes one, a hundred are kept at
//! most, and it begins empty. A quiet upstream, whose successes pay for nothing, gets three retries a second all the
//! same. Besides, of what is in flight only a part may be retries. It is shared by all cores and lives as long as
//! the upstream's name. A success costs a core one store into a cell of its own; only a failure looks at the other
//! cores' cells, and nothing here is a lock.

use crate::permit::{Counter as InFlight, Permit};
use crate::runtime::clock::TICK;
use crate::telemetry::cells::{CoreId, Counter, PerCore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A token, in the thousandths that the bucket counts in.
const TOKEN: u64 = 1_000;
/// The most that are kept: a burst of failures after a long good time.
const MOST: u64 = 100 * TOKEN;
/// Retries a second that need no token.
const FREE: u64 = 3;
/// Retries in flight that are never too many.
const FEW: u32 = 3;
/// An upstream counts as limited for this long after its limit has refused somebody or made somebody wait: the last
/// tick and, because cores tick at different moments, the one before.
const LIMITED_FOR: u64 = 2 * TICK.as_nanos() as u64;

/// The retries of one upstream.
#[derive(Debug)]
pub struct Budget {
    successes: PerCore<Counter>,
    /// What is in the bucket, and the successes that it was last filled for.
    bucket: AtomicU64,
    /// Upper half: the second; lower half: the retries without a token in it.
    free: AtomicU64,
    in_flight: Arc<InFlight>,
    /// When its limit last refused somebody, in nanoseconds of the cores' common clock; 0 is never.
    limited_at: AtomicU64,
}

impl Budget {
    /// An empty one, for so many cores.
    pub fn new(cores: usize) -> Self {
        Budget {
            successes: PerCore::new(cores),
            bucket: AtomicU64::new(0),
            free: AtomicU64::new(0),
            in_flight: Arc::default(),
            limited_at: AtomicU64::new(0),
        }
    }

    /// A backend answered well.
    #[inline]
    pub fn succeeded(&self, core: CoreId) {
        if let Some(cell) = self.successes.of(core) {
            cell.add(1);
        }
    }

    /// A place among the retries in flight: of `in_flight` requests the part `share`, or three.
    pub fn enter(&self, in_flight: u32, share: f64) -> Option<Permit<Arc<InFlight>>> {
        // Truncation is meant: whole requests.
        let most = (f64::from(in_flight) * share) as u32;
        Permit::try_new(self.in_flight.clone(), most.max(FEW)).filter(|_| share > 0.0)
    }

    /// Takes a token, or one of the few of this second that need none; `share` is the part of a token that each
    /// success since the last look has paid. Without a share there is no retry at all.
    pub fn take(&self, second: u64, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        let successes = self.successes.sum(Counter::get);
        let taken = self.bucket.fetch_update(Relaxed, Relaxed, |before| {
            let filled = fill(before, successes, share);
            filled.level.checked_sub(TOKEN).map(|level| Bucket { level, ..filled }.packed())
        });
        taken.is_ok() || self.take_free(second)
    }

    fn take_free(&self, second: u64) -> bool {
        let next = |before: u64| {
            let (last, count) = halves(before);
            // A core may read its clock just before another and come here after it.
            let count = if second > last { 0 } else { count };
            (count < FREE).then(|| (second.max(last) << 32) | (count + 1))
        };
        self.free.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Tokens there are now, as they would be taken.
    pub fn tokens(&self, share: f64) -> f64 {
        let filled = fill(self.bucket.load(Relaxed), self.successes.sum(Counter::get), share);
        filled.level as f64 / TOKEN as f64
    }

    /// Retries that wait or are on their way.
    pub fn retrying(&self) -> u32 {
        self.in_flight.get()
    }

    /// The upstream's limit has refused somebody, or made somebody wait, at `now` (nanoseconds of the cores' clock).
    pub fn limited(&self, now: u64) {
        if self.limited_at.load(Relaxed) < now {
            self.limited_at.store(now, Relaxed);
        }
    }

    /// It did so in the last tick.
    pub fn is_limited(&self, now: u64) -> bool {
        let at = self.limited_at.load(Relaxed);
        at != 0 && now.saturating_sub(at) <= LIMITED_FOR
    }
}

/// What is in the bucket, and for which successes, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    level: u64,
    paid: u64,
}

/// Bits for successes: the rest holds [`MOST`]. It may be long before anybody fails and looks; 32 bits would be full
/// after half a day of many requests, and new successes be taken for old ones.
const PAID_BITS: u32 = 46;
const PAID: u64 = (1 << PAID_BITS) - 1;
const _: () = assert!(MOST >> (u64::BITS - PAID_BITS) == 0);

impl Bucket {
    fn packed(self) -> u64 {
        (self.level << PAID_BITS) | (self.paid & PAID)
    }

    fn of(packed: u64) -> Self {
        Bucket { level: packed >> PAID_BITS, paid: packed & PAID }
    }
}

fn halves(packed: u64) -> (u64, u64) {
    (packed >> 32, packed & u64::from(u32::MAX))
}

/// The bucket when the successes since its last filling have paid. A core may have summed before another and come
/// here after it: then there is nothing new.
fn fill(before: u64, successes: u64, share: f64) -> Bucket {
    let Bucket { level, paid } = Bucket::of(before);
    // Both are counts modulo 2^46: only their distance means something.
    let more = successes.wrapping_sub(paid) & PAID;
    if more > PAID / 2 {
        return Bucket { level, paid };
    }
    let credit = (share.min(1.0) * TOKEN as f64).round() as u64;
    Bucket { level: level.saturating_add(more.saturating_mul(credit)).min(MOST), paid: successes & PAID }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CORE: CoreId = CoreId(0);

    fn after(successes: u64) -> Budget {
        let budget = Budget::new(2);
        (0..successes).for_each(|n| budget.succeeded(CoreId((n % 2) as u32)));
        budget
    }

    /// Retries that can be had within one second.
    fn drained(budget: &Budget, second: u64) -> u64 {
        (0..1_000).map(|_| u64::from(budget.take(second, 0.1))).sum()
    }

    #[test]
    fn ten_successes_pay_for_a_retry_and_a_hundred_retries_are_kept() {
        assert_eq!(drained(&after(0), 7), FREE);
        assert_eq!(drained(&after(99), 7), 9 + FREE);
        assert_eq!(drained(&after(100_000), 7), 100 + FREE);
        assert_eq!(after(40).tokens(0.1), 4.0);
    }

    #[test]
    fn a_quiet_upstream_gets_three_a_second_and_no_more() {
        let budget = after(0);
        for second in 1..20 {
            assert_eq!(drained(&budget, second), FREE);
        }
        assert_eq!(drained(&budget, 5), 0, "a clock that is behind gives nothing twice");
    }

    #[test]
    fn without_a_budget_there_is_no_retry() {
        let budget = after(1_000);
        assert!(!budget.take(1, 0.0) && budget.enter(1_000, 0.0).is_none());
        assert_eq!(budget.retrying(), 0);
    }

    #[test]
    fn of_what_is_in_flight_a_tenth_may_be_retries_or_three() {
        let budget = after(0);
        for (in_flight, retries) in [(0, 3), (29, 3), (70, 7)] {
            let entered: Vec<_> = (0..100).filter_map(|_| budget.enter(in_flight, 0.1)).collect();
            assert_eq!(entered.len(), retries, "of {in_flight}");
        }
        assert_eq!(budget.retrying(), 0, "whoever is through gives its place back");
    }

    #[test]
    fn an_upstream_is_limited_for_a_tick_or_two_after_it_was() {
        let (budget, tick) = (after(0), TICK.as_nanos() as u64);
        assert!(!budget.is_limited(tick));
        budget.limited(10 * tick);
        budget.limited(9 * tick);
        assert!(budget.is_limited(9 * tick) && budget.is_limited(12 * tick) && !budget.is_limited(13 * tick));
    }

    #[test]
    fn successes_of_a_day_without_a_look_pay_too() {
        for successes in [1 << 31, 3_000_000_000, 1 << 32, 1 << 40] {
            assert_eq!(fill(0, successes, 0.1), Bucket { level: MOST, paid: successes }, "{successes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever order things happen in, over so many seconds: at most the successes' part, and three a second.
        #[test]
        fn retries_are_never_more_than_successes_pay_for(
            steps in prop::collection::vec((0_u64..40, 0_u64..60, 0_u64..3), 1..60),
        ) {
            let budget = after(0);
            let (mut successes, mut retries, mut second) = (0, 0, 0);
            for (well, failed, seconds) in steps {
                (0..well).for_each(|_| budget.succeeded(CORE));
                successes += well;
                second += seconds;
                retries += (0..failed).filter(|_| budget.take(second, 0.1)).count() as u64;
                prop_assert!(retries <= successes / 10 + FREE * (second + 1), "{retries} of {successes}");
            }
        }

        #[test]
        fn a_sum_that_is_older_than_the_last_pays_for_nothing(paid in 0..=PAID, older in 1_u64..1_000_000) {
            let before = Bucket { level: 5, paid }.packed();
            prop_assert_eq!(fill(before, paid.wrapping_sub(older) & PAID, 0.1), Bucket { level: 5, paid });
            let more = fill(before, paid.wrapping_add(older), 0.1);
            prop_assert_eq!(more.level, (5 + older * 100).min(MOST));
        }
    }
}
