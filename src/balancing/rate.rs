//! How many requests a second a ramped backend may begin: a leaky bucket in one number, exact over all cores
//! (the generic cell rate algorithm, ITU-T I.371).
//!
//! The number is the time that the last request would have had in an even stream. Rate and burst come from the
//! caller, because they belong to the ramp and the number to the backend: a ramp that changes neither forgets nor
//! repeats what went, and what is left to wait is always at the rate that holds now.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What may begin at once after a pause: this much time's worth of requests, and one at least
/// (`overload.md` 2(vii c)).
pub const BURST_NS: u64 = 50_000_000;

/// What one backend was sent lately.
#[derive(Debug, Default)]
pub struct Rate {
    /// Nanoseconds of the common clock at which the last one was due; 0 before the first.
    last: AtomicU64,
}

impl Rate {
    /// One more may begin at `now` (nanoseconds), with one in `interval_ns` allowed.
    pub fn has_room(&self, now: u64, interval_ns: u64) -> bool {
        due(self.last.load(Relaxed), now, interval_ns).is_some()
    }

    /// Begins one, if it may.
    pub fn take(&self, now: u64, interval_ns: u64) -> bool {
        self.last.fetch_update(Relaxed, Relaxed, |last| due(last, now, interval_ns)).is_ok()
    }
}

/// When one more is due, if it may begin now: after a pause whatever the interval, else up to the burst ahead.
fn due(last: u64, now: u64, interval_ns: u64) -> Option<u64> {
    let next = if last == 0 { now } else { last.saturating_add(interval_ns) };
    let ahead = next.saturating_sub(now);
    (ahead == 0 || ahead.saturating_add(interval_ns) <= BURST_NS).then_some(next.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_no_stretch_of_time_begin_more_than_rate_and_burst(
            per_second in 1_u64..2_000,
            gaps in prop::collection::vec(0_u64..20_000_000, 1..400),
        ) {
            let (rate, interval) = (Rate::default(), SECOND / per_second);
            let mut now = SECOND;
            let mut began = Vec::new();
            for gap in gaps {
                now += gap;
                if rate.take(now, interval) {
                    began.push(now);
                }
            }
            let burst = (BURST_NS / interval).max(1);
            for (first, start) in began.iter().enumerate() {
                for (count, end) in (1_u64..).zip(&began[first..]) {
                    prop_assert!(count <= burst + (end - start) / interval + 1);
                }
            }
        }
    }

    #[test]
    fn a_slow_rate_lets_one_begin_after_each_interval() {
        let rate = Rate::default();
        let minute = 60 * SECOND;
        assert!(rate.take(SECOND, minute));
        assert!(!rate.has_room(SECOND + minute - 1, minute));
        assert!(!rate.take(SECOND + minute - 1, minute));
        assert!(rate.take(SECOND + minute, minute));
    }

    #[test]
    fn a_higher_rate_holds_at_once_and_not_when_the_lower_one_would_be_paid_off() {
        let rate = Rate::default();
        // A hundredth of a percent of one a second, and then half of it.
        assert!(rate.take(SECOND, 10_000 * SECOND));
        assert!(!rate.has_room(3 * SECOND - 1, 2 * SECOND) && rate.has_room(3 * SECOND, 2 * SECOND));
        assert!(rate.take(3 * SECOND, 2 * SECOND));
        assert!(!rate.take(5 * SECOND - 1, 2 * SECOND) && rate.take(5 * SECOND, 2 * SECOND));
        // A rate of next to nothing, whose interval is larger than any number, is not for ever either.
        assert!(!rate.take(6 * SECOND, u64::MAX) && rate.take(8 * SECOND, 2 * SECOND));
    }

    #[test]
    fn a_steady_stream_at_the_rate_is_served_whole() {
        let rate = Rate::default();
        let interval = SECOND / 300;
        assert!((0..3_000).all(|k| rate.take(SECOND + k * interval, interval)));
    }
}
