//! How long answers took, of what histograms know: counts by bucket, and all times together. A pure core.
//!
//! Within a bucket times are taken to be spread evenly, but not in the last one that holds any: deadlines pile up there at
//! its lower edge, and spread evenly they would be slower than any timeout. There the sum says how slow it is on
//! average. Where it cannot, the edge stands with the word that it was at least that: nothing is made up.

use crate::telemetry::cells::{BOUNDS, REQUEST_BOUNDS};
use crate::telemetry::metrics::RouteCounted;

/// From here on, in seconds, an edge is said to be one instead of being guessed away from.
const COARSE: f64 = 1.0;
/// How far, in parts of a bucket, its mean may be off.
const UNSURE: f64 = 0.125;

/// Times of answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// By bucket of `tidegate_request_duration_seconds`, the last without an upper bound.
    pub buckets: [u64; BOUNDS + 1],
    /// All together, in nanoseconds.
    pub sum_ns: u64,
}

/// A time within which some part of the answers were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantile {
    /// Seconds.
    pub seconds: f64,
    /// It was that at least, and nobody knows how much more.
    pub at_least: bool,
}

impl Times {
    /// Adds what came between two states of a route's counts.
    pub fn add(&mut self, now: &RouteCounted, before: &RouteCounted) {
        for (sum, (now, before)) in self.buckets.iter_mut().zip(now.times.iter().zip(before.times)) {
            *sum += now.saturating_sub(before);
        }
        self.sum_ns += now.times_sum_ns.saturating_sub(before.times_sum_ns);
    }

    /// The time within which these parts of them were, without so many of the fastest; nothing if none are left.
    pub fn quantiles<const N: usize>(&self, without: u64, parts: [f64; N]) -> [Option<Quantile>; N] {
        let (mut buckets, mut fast) = (self.buckets, without);
        for bucket in &mut buckets {
            let taken = fast.min(*bucket);
            (*bucket, fast) = (*bucket - taken, fast - taken);
        }
        let last = buckets.iter().rposition(|count| *count > 0);
        parts.map(|part| {
            let last = last?;
            let rank = buckets.iter().sum::<u64>() as f64 * part;
            let mut below = 0;
            for (bucket, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
                if (below + count) as f64 >= rank {
                    let reached = (rank - below as f64) / *count as f64;
                    return Some(self.within(bucket, bucket == last, reached));
                }
                below += count;
            }
            None
        })
    }

    /// What so much of a bucket did not exceed.
    fn within(&self, bucket: usize, is_last: bool, part: f64) -> Quantile {
        let (lower, upper) = edges(bucket);
        let spread = |upper: f64| Quantile { seconds: lower + (upper - lower) * part, at_least: false };
        match (is_last, upper) {
            (false, Some(upper)) => spread(upper),
            (true, Some(upper)) => match self.mean_of(bucket, upper - lower) {
                Some(mean) => spread((2.0 * mean - lower).min(upper)),
                None if lower >= COARSE => Quantile { seconds: lower, at_least: true },
                None => spread(upper),
            },
            (_, None) => Quantile { seconds: lower, at_least: true },
        }
    }

    /// How slow those in the slowest bucket were on average, if the others leave that to be told.
    fn mean_of(&self, slowest: usize, width: f64) -> Option<f64> {
        let count = self.buckets[slowest] as f64;
        let (mut rest, mut unsure) = (self.sum_ns as f64 / 1e9, 0.0);
        for (bucket, count) in self.buckets[..slowest].iter().enumerate() {
            let (lower, upper) = edges(bucket);
            let half = (upper? - lower) / 2.0;
            rest -= *count as f64 * (lower + half);
            unsure += *count as f64 * half;
        }
        let (lower, _) = edges(slowest);
        (unsure <= count * width * UNSURE).then(|| (rest / count).clamp(lower, lower + width))
    }
}

/// Seconds; the last has no upper one.
fn edges(bucket: usize) -> (f64, Option<f64>) {
    let bound = |bucket: usize| REQUEST_BOUNDS.get(bucket).map(|ns| *ns as f64 / 1e9);
    (bucket.checked_sub(1).and_then(bound).unwrap_or(0.0), bound(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// So many that took this many nanoseconds, each.
    fn times(of: &[(u64, u64)]) -> Times {
        let mut times = Times::default();
        for (count, ns) in of {
            let bucket = REQUEST_BOUNDS.iter().position(|bound| ns <= bound).unwrap_or(BOUNDS);
            times.buckets[bucket] += count;
            times.sum_ns += count * ns;
        }
        times
    }

    fn p99(of: &[(u64, u64)]) -> Quantile {
        times(of).quantiles(0, [0.99])[0].expect("there are some")
    }

    #[test]
    fn what_ended_at_its_deadline_is_as_slow_as_the_deadline_and_no_slower() {
        // The bucket goes from 10 to 30 s; evenly spread, that would be 29.8 s.
        let ended = p99(&[(1_000, 2_000_000), (500, 10 * S + 3_000_000)]);
        assert!((10.0..10.1).contains(&ended.seconds) && !ended.at_least, "{ended:?}");
        // The others are so slow that the sum says nothing: the edge is what is known.
        let many = p99(&[(1_000, 6 * S), (20, 10 * S + 3_000_000)]);
        assert_eq!(many, Quantile { seconds: 10.0, at_least: true });
    }

    #[test]
    fn what_is_spread_over_a_bucket_is_told_as_before() {
        let spread: Vec<_> = (0..100).map(|n| (1, 250_000_001 + n * 2_500_000)).collect();
        let [half, most] = times(&spread).quantiles(0, [0.5, 0.99]);
        let near = |quantile: Option<Quantile>, seconds: f64| {
            quantile.is_some_and(|it| (it.seconds - seconds).abs() < 0.01 && !it.at_least)
        };
        assert!(near(half, 0.375) && near(most, 0.4975), "{half:?} {most:?}");
    }

    #[test]
    fn what_is_slower_than_every_bucket_is_at_least_that_slow() {
        assert_eq!(p99(&[(200, 45 * S)]), Quantile { seconds: 30.0, at_least: true });
    }

    #[test]
    fn the_fastest_are_left_out_and_without_the_rest_there_is_nothing_to_tell() {
        let mixed = times(&[(10_000, 500_000), (100, 400_000_000)]);
        let [half] = mixed.quantiles(10_000, [0.5]);
        assert!(half.is_some_and(|it| (0.25..0.5).contains(&it.seconds)), "{half:?}");
        assert_eq!(mixed.quantiles(10_100, [0.5]), [None]);
    }
}
