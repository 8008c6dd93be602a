//! Chance, from a seed: how long until the next request, how long a request takes.

use crate::events::nanos;
use fastrand::Rng;
use std::f64::consts::TAU;

/// A source of chance.
pub struct Chance {
    rng: Rng,
    /// The second of a pair of normal numbers.
    spare: Option<f64>,
}

impl Chance {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike.
        Chance { rng: Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed), spare: None }
    }

    /// A seed for somebody who draws for itself.
    pub fn seed(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.rng.usize(..n)
    }

    /// Between two numbers.
    pub fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.rng.f64()
    }

    /// True once in `1 / probability` times.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.rng.f64() < probability
    }

    /// Nanoseconds to the next of `rate` a second that come independently.
    pub fn gap(&mut self, rate: f64) -> u64 {
        nanos(-(1.0 - self.rng.f64()).ln() / rate)
    }

    /// A factor with mean 1 whose logarithm is normal with deviation 0.5: p99 is 2.8 times the mean.
    pub fn lognormal(&mut self) -> f64 {
        (0.5 * self.normal() - 0.125).exp()
    }

    /// How many of `n` happen, each by itself; by the normal distribution where that is as good.
    pub fn of(&mut self, n: u64, probability: f64) -> u64 {
        if n == 0 || probability <= 0.0 {
            return 0;
        }
        if probability > 0.5 {
            return n - self.of(n, 1.0 - probability);
        }
        let mean = n as f64 * probability;
        if mean > 40.0 {
            let deviation = (mean * (1.0 - probability)).sqrt();
            return (mean + deviation * self.normal()).round().clamp(0.0, n as f64) as u64;
        }
        // From one that happens to the next.
        let (mut happened, mut at, log) = (0, 0.0, (-probability).ln_1p());
        loop {
            at += ((1.0 - self.rng.f64()).ln() / log).floor() + 1.0;
            if at > n as f64 {
                return happened;
            }
            happened += 1;
        }
    }

    /// How many come in a time in which `mean` are to be expected.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        // Split so finely that it makes no difference.
        self.of((mean.ceil() as u64 + 1) * 1_000, mean / ((mean.ceil() + 1.0) * 1_000.0))
    }

    /// Mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.rng.f64()).ln()).sqrt();
        let (sin, cos) = (TAU * self.rng.f64()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}
