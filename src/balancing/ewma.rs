//! How long a backend takes to answer: a peak EWMA that all cores share.
//!
//! A slower answer counts at once and in full; faster ones bring the estimate down over ten seconds (Finagle's
//! and tower's formula, linkerd's decay). Without answers it decays to nothing, so that a backend which was
//! avoided is tried again. One word holds both the estimate and its time: cores that write at once may lose a
//! sample, but nobody reads one half of a pair. It does not know the time: its caller does.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// `overload.md` 2(vi).
const DECAY_NS: f32 = 10e9;
/// What a row of failures counts as: failing fast must not look like answering fast (linkerd's biaser).
const FAILURE_NS: u64 = 5_000_000_000;
/// How many times as long as usual a failure counts: clearly slower, as the picker sees it.
const BAD_FACTOR: u64 = 4;
/// What is usual, at least: below it the picker sees no difference.
const BAD_LEAST_NS: u64 = 1_000_000;
/// 65 µs a tick: fine enough for a decay of 10 s. The tick counter wraps after 78 hours; a backend that was
/// silent so long may look recently used, which the next sample puts right.
const TICK_SHIFT: u32 = 16;

/// The estimate. Response time is from sending a request to the head of its response.
///
/// High half: tick of the last sample. Low half: nanoseconds as `f32`; zero before the first sample.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes in a response time. `now_ns` is on any monotonic clock that all callers share.
    pub fn record(&self, now_ns: u64, rtt_ns: u64) {
        // At least a nanosecond: zero means that there is no sample.
        let rtt = rtt_ns.max(1) as f32;
        let (estimate, age) = self.read(now_ns);
        if rtt >= estimate {
            self.write(now_ns, rtt);
        } else if age > 0.0 {
            let keep = (-age / DECAY_NS).exp();
            self.write(now_ns, estimate * keep + rtt * (1.0 - keep));
        }
        // A faster answer within the tick of the last sample weighs nothing, and moving the tick would stop
        // the decay on a busy backend.
    }

    /// Takes in a failure or a refusal, as an answer that took four times as long as it did and as was usual, at most
    /// 5 s. One of them among many costs a backend a part of its share for some seconds, where 5 s at once would
    /// starve it for most of a minute; a row of them comes to 5 s, however fast they are.
    pub fn failure(&self, now_ns: u64, rtt_ns: u64) {
        let usual = rtt_ns.max(self.get(now_ns)).max(BAD_LEAST_NS);
        self.record(now_ns, usual.saturating_mul(BAD_FACTOR).min(FAILURE_NS).max(usual));
    }

    /// Nobody was there: there is nothing to wait for, and no accident that passes by itself.
    pub fn absent(&self, now_ns: u64) {
        self.record(now_ns, FAILURE_NS);
    }

    /// Begins anew: what was known is of another process, of another time, or is to be found out again.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// The estimate in nanoseconds, or 0 before the first sample.
    ///
    /// There is no assumed response time: whatever it were, fleets that answer much faster would starve a
    /// newcomer, and fleets that answer much slower would flood it. The picker judges a newcomer by its
    /// requests in flight alone.
    pub fn get(&self, now_ns: u64) -> u64 {
        let (estimate, age) = self.read(now_ns);
        if estimate == 0.0 { 0 } else { ((estimate * (-age / DECAY_NS).exp()) as u64).max(1) }
    }

    /// Estimate at the last sample, and nanoseconds since.
    fn read(&self, now_ns: u64) -> (f32, f32) {
        let word = self.0.load(Relaxed);
        let age = tick(now_ns).wrapping_sub((word >> 32) as u32);
        // Another core may have written with a slightly later clock: that is no age, not a wrapped one.
        let age = if age > u32::MAX - 1_000_000 { 0 } else { age };
        (f32::from_bits(word as u32), (u64::from(age) << TICK_SHIFT) as f32)
    }

    fn write(&self, now_ns: u64, estimate: f32) {
        self.0.store(u64::from(tick(now_ns)) << 32 | u64::from(estimate.to_bits()), Relaxed);
    }
}

fn tick(now_ns: u64) -> u32 {
    (now_ns >> TICK_SHIFT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1_000 * MS;

    fn near(actual: u64, expected: u64) -> bool {
        actual.abs_diff(expected) * 1_000 <= expected
    }

    #[test]
    fn knows_nothing_before_the_first_sample() {
        assert_eq!(PeakEwma::default().get(7 * S), 0);
    }

    #[test]
    fn a_slower_answer_counts_at_once_and_a_faster_one_over_ten_seconds() {
        let ewma = PeakEwma::default();
        ewma.record(S, 10 * MS);
        ewma.record(S, 200 * MS);
        assert!(near(ewma.get(S), 200 * MS));
        ewma.record(11 * S, 10 * MS);
        let expected = 10.0 + 190.0 * (-1.0_f64).exp();
        assert!(near(ewma.get(11 * S), (expected * 1e6) as u64), "{}", ewma.get(11 * S));
    }

    #[test]
    fn fades_without_answers() {
        let ewma = PeakEwma::default();
        ewma.record(0, 100 * MS);
        assert!(near(ewma.get(10 * S), (100e6 * (-1.0_f64).exp()) as u64));
        assert_eq!(ewma.get(1_000 * S), 1);
    }

    #[test]
    fn comes_down_however_many_answers_there_are() {
        let ewma = PeakEwma::default();
        ewma.record(0, 500 * MS);
        for n in 0..600_000 {
            ewma.record(n * 100_000, MS);
        }
        assert!(ewma.get(60 * S) < 5 * MS, "{}", ewma.get(60 * S));
        // Ten answers a tick.
        ewma.record(60 * S, 500 * MS);
        for n in 0..6_000_000 {
            ewma.record(60 * S + n * 6_500, MS);
        }
        assert!(ewma.get(99 * S) < 20 * MS, "{}", ewma.get(99 * S));
    }

    #[test]
    fn one_failure_costs_a_little_and_a_row_of_them_nearly_everything() {
        let ewma = PeakEwma::default();
        ewma.record(0, 20 * MS);
        ewma.failure(0, MS / 2);
        assert!(near(ewma.get(0), 80 * MS), "{}", ewma.get(0));
        (0..5).for_each(|_| ewma.failure(0, MS / 2));
        assert!(near(ewma.get(0), 5 * S), "{}", ewma.get(0));
        ewma.record(0, 9 * S);
        ewma.failure(0, MS);
        assert!(near(ewma.get(0), 9 * S));
        ewma.forget();
        assert_eq!(ewma.get(0), 0);
    }

    #[test]
    fn what_is_forgotten_is_as_if_it_had_never_been() {
        let ewma = PeakEwma::default();
        ewma.failure(S, MS);
        ewma.forget();
        assert_eq!(ewma.get(S), 0);
        ewma.record(S, MS);
        assert!(near(ewma.get(S), MS));
    }

    #[test]
    fn a_clock_that_is_a_little_behind_is_no_age() {
        let ewma = PeakEwma::default();
        ewma.record(10 * S, 100 * MS);
        assert!(near(ewma.get(9 * S), 100 * MS));
    }
}
