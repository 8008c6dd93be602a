//! When requests are due: constant or Poisson arrivals at a rate that changes in steps.
//!
//! Pure and by seed. A rate is integrated over its steps, so that a step in the middle of a gap shortens or
//! stretches only the rest of the gap.

use super::Plan;
use super::stream::Stream;
use fastrand::Rng;
use std::time::Duration;

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// Independently of each other, as many people behave.
    Poisson,
}

/// From here on it is so many a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub from: Duration,
    pub rate: f64,
}

/// The moments of one stream, counted from the start of the load.
pub struct Schedule {
    steps: Vec<Step>,
    arrivals: Arrivals,
    rng: Rng,
    at: f64,
    end: f64,
    /// How much of the first gap has passed before the start: streams of one rate must not fire together.
    phase: f64,
}

/// The schedules of a load's streams.
pub fn of(streams: &[Stream], plan: &Plan) -> Vec<Schedule> {
    let one = |(i, stream): (usize, &Stream)| {
        let rng = Rng::with_seed(plan.seed.wrapping_mul(0x9E37_79B9).wrapping_add(i as u64));
        let phase = i as f64 / streams.len() as f64;
        Schedule::new(&stream.steps, stream.arrivals, plan.duration, phase, rng)
    };
    streams.iter().enumerate().map(one).collect()
}

impl Schedule {
    /// Steps in ascending order, from the start to `end`; `phase` is 0 to 1 of a gap.
    pub fn new(steps: &[Step], arrivals: Arrivals, end: Duration, phase: f64, rng: Rng) -> Schedule {
        Schedule { steps: steps.to_vec(), arrivals, rng, at: 0.0, end: end.as_secs_f64(), phase }
    }

    /// The rate at a moment, and when that ends.
    fn rate(&self, at: f64) -> (f64, f64) {
        let begun = self.steps.iter().rev().find(|step| step.from.as_secs_f64() <= at);
        let next = self.steps.iter().map(|step| step.from.as_secs_f64()).find(|from| *from > at);
        (begun.map_or(0.0, |step| step.rate), next.unwrap_or(f64::INFINITY))
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut gap = match self.arrivals {
            Arrivals::Constant => 1.0 - std::mem::take(&mut self.phase),
            Arrivals::Poisson => -(1.0 - self.rng.f64()).ln(),
        };
        loop {
            let (rate, until) = self.rate(self.at);
            let at = if rate > 0.0 { self.at + gap / rate } else { f64::INFINITY };
            if at <= until {
                self.at = at;
                return (at < self.end).then(|| Duration::from_secs_f64(at));
            }
            if until >= self.end {
                return None;
            }
            gap -= rate * (until - self.at);
            self.at = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(steps: &[(u64, f64)], arrivals: Arrivals, end: u64, seed: u64) -> Vec<Duration> {
        let step = |(from, rate): &(u64, f64)| Step { from: Duration::from_secs(*from), rate: *rate };
        let steps: Vec<Step> = steps.iter().map(step).collect();
        Schedule::new(&steps, arrivals, Duration::from_secs(end), 0.0, Rng::with_seed(seed)).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spread_and_follow_the_steps() {
        let due = schedule(&[(0, 10.0), (1, 100.0), (2, 0.0), (3, 10.0)], Arrivals::Constant, 4, 1);
        let in_second = |s| due.iter().filter(|at| at.as_secs() == s).count();
        // What falls exactly on a step belongs to either side of it.
        let counts = [in_second(0), in_second(1), in_second(2), in_second(3)];
        let near = counts.iter().zip([10, 100, 0, 10]).all(|(n, wanted)| n.abs_diff(wanted) <= 1);
        assert!(near, "{counts:?}");
        assert!(due.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(due[0], Duration::from_millis(100));
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_their_spread_and_their_seed() {
        let due = schedule(&[(0, 1_000.0)], Arrivals::Poisson, 20, 7);
        assert!((19_400..20_600).contains(&due.len()), "{}", due.len());
        // Of an exponential distribution 63 % are below the mean.
        let short = due.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(1)).count();
        assert!((0.61..0.65).contains(&(short as f64 / due.len() as f64)), "{short}");
        assert_eq!(due, schedule(&[(0, 1_000.0)], Arrivals::Poisson, 20, 7));
        assert_ne!(due, schedule(&[(0, 1_000.0)], Arrivals::Poisson, 20, 8));
    }

    #[test]
    fn no_rate_is_no_request() {
        assert!(schedule(&[(0, 0.0)], Arrivals::Poisson, 1_000, 1).is_empty());
        assert!(schedule(&[], Arrivals::Constant, 1_000, 1).is_empty());
    }
}
