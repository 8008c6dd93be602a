//! How long a backend took to answer, by and large: it decides how long a zombie may keep its slot.

use std::time::Duration;

/// A coarse histogram of times to the answer's head, in powers of two from 1 ms.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [u32; 24],
    count: u32,
}

impl Latency {
    /// One answer's head came after this long.
    pub fn record(&mut self, after: Duration) {
        let ms = after.as_millis().min(u128::from(u32::MAX)) as u32;
        let bucket = (32 - ms.leading_zeros()) as usize;
        self.buckets[bucket.min(23)] += 1;
        self.count += 1;
    }

    /// An upper bound of the 99th percentile; `None` without a sample.
    pub fn p99(&self) -> Option<Duration> {
        let mut rest = self.count.div_ceil(100);
        for (bucket, count) in self.buckets.iter().enumerate().rev() {
            if *count >= rest && rest > 0 {
                return Some(Duration::from_millis(1 << bucket));
            }
            rest -= count;
        }
        None
    }

    /// Halves what is old.
    pub fn fade(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.count = self.buckets.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_bounded_from_above_within_a_factor_of_two() {
        let mut latency = Latency::default();
        assert_eq!(latency.p99(), None);
        (0..99).for_each(|_| latency.record(Duration::from_millis(5)));
        assert_eq!(latency.p99(), Some(Duration::from_millis(8)));
        latency.record(Duration::from_millis(300));
        latency.record(Duration::from_millis(300));
        assert_eq!(latency.p99(), Some(Duration::from_millis(512)));
        (0..9).for_each(|_| latency.fade());
        assert_eq!(latency.p99(), None);
    }
}
