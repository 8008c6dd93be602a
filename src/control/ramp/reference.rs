//! What a backend holds when it is well: the hundred that a ramp's percentage is of (`design.md`, "Ramps";
//! `overload.md` 2(vii)).
//!
//! Learned only from seconds in which the backend was well and had work: at 100 %, reachable, not at a limit,
//! failing under 1 %. Its clock stands still otherwise, so that an incident, a ramp or a quiet night does not
//! teach it that little is normal; for the same reason nothing is ever forgotten by age alone.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Well seconds in a window.
const WINDOW_SECONDS: u32 = 10;
/// Windows that are remembered: ten minutes of well time.
const WINDOWS: usize = 60;
/// Windows before the percentile means anything; until then the largest second stands in.
const ENOUGH_WINDOWS: usize = 10;
/// Well seconds before the largest of them means anything.
const ENOUGH_SECONDS: u32 = 5;
/// Above the 95th percentile of the windows, because a window's mean hides its peaks.
const HEADROOM: f64 = 1.25;

/// One second of a backend's life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// In flight, on average.
    pub in_flight: f64,
    /// Requests that ended.
    pub requests: u64,
    /// Of them, failures: 5xx, no answer in time, broken connections.
    pub failures: u64,
    /// It was at 100 %, reachable and nowhere near a limit, and nothing of its upstream was shed.
    pub unbound: bool,
}

impl Second {
    /// It can be learned from.
    fn is_well(&self) -> bool {
        let busy = self.requests > 0 || self.in_flight > 0.0;
        let failing = self.failures > 0 && self.failures.saturating_mul(100) >= self.requests;
        self.unbound && busy && !failing
    }
}

/// Requests in flight and a second, at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// In flight.
    pub in_flight: f64,
    /// Requests a second.
    pub rate: f64,
}

/// What is known of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learner {
    /// Means of whole windows, oldest first.
    windows: VecDeque<Load>,
    /// The sums of the window that is being filled, and its seconds.
    open: (Load, u32),
    /// The largest second, field by field.
    largest: Load,
    /// Well seconds ever.
    seconds: u64,
    /// When it last learned, in seconds since 1970.
    learned_at: i64,
}

/// A reference and how it came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// What the backend holds when it is well.
    pub load: Load,
    /// Whole windows were there; else it is the largest second so far.
    pub settled: bool,
    /// When it last learned, in seconds since 1970.
    pub learned_at: i64,
}

impl Learner {
    /// Lives through one second that ended at `now` (seconds since 1970).
    pub fn live(&mut self, second: Second, now: i64) {
        if !second.is_well() {
            return;
        }
        let load = Load { in_flight: second.in_flight, rate: second.requests as f64 };
        self.learned_at = now;
        self.seconds += 1;
        self.largest.in_flight = self.largest.in_flight.max(load.in_flight);
        self.largest.rate = self.largest.rate.max(load.rate);
        let (sums, count) = &mut self.open;
        sums.in_flight += load.in_flight;
        sums.rate += load.rate;
        *count += 1;
        if *count >= WINDOW_SECONDS {
            let mean = |sum: f64| sum / f64::from(WINDOW_SECONDS);
            self.windows.push_back(Load { in_flight: mean(sums.in_flight), rate: mean(sums.rate) });
            self.open = Default::default();
        }
        while self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
    }

    /// What it holds when it is well; nothing before the fifth well second.
    pub fn reference(&self) -> Option<Reference> {
        let learned_at = self.learned_at;
        if self.windows.len() >= ENOUGH_WINDOWS {
            let p95 = |field: fn(&Load) -> f64| HEADROOM * percentile_95(self.windows.iter().map(field));
            let load = Load { in_flight: p95(|load| load.in_flight), rate: p95(|load| load.rate) };
            return Some(Reference { load, settled: true, learned_at });
        }
        // The largest second holds its peak of what was in flight; of what began it is a count like any other, and
        // a ramped backend is drawn for a part of what its peers take over, which is more than they had.
        let Load { in_flight, rate } = self.largest;
        let load = Load { in_flight, rate: HEADROOM * rate };
        let enough = self.seconds >= u64::from(ENOUGH_SECONDS);
        enough.then_some(Reference { load, settled: false, learned_at })
    }

    /// When it last learned, in seconds since 1970; 0 is never.
    pub fn learned_at(&self) -> i64 {
        self.learned_at
    }
}

/// The nearest-rank 95th percentile; 0 of nothing.
fn percentile_95(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * 95).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The median, for a backend that has no history among peers that have one; nothing of nothing.
pub fn median(loads: impl Iterator<Item = Load>) -> Option<Load> {
    let loads: Vec<Load> = loads.collect();
    let middle = |field: fn(&Load) -> f64| {
        let mut values: Vec<f64> = loads.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        // Of an even number the lower one: a newcomer is not to be given more than a peer had.
        values.get(values.len().saturating_sub(1) / 2).copied()
    };
    Some(Load { in_flight: middle(|load| load.in_flight)?, rate: middle(|load| load.rate)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn well(in_flight: f64) -> Second {
        Second { in_flight, requests: (in_flight * 50.0) as u64, failures: 0, unbound: true }
    }

    fn after(seconds: impl IntoIterator<Item = Second>) -> Option<Load> {
        let mut learner = Learner::default();
        seconds.into_iter().zip(1..).for_each(|(second, now)| learner.live(second, now));
        learner.reference().map(|reference| reference.load)
    }

    #[test]
    fn ten_minutes_at_8_in_flight_are_a_reference_of_10() {
        let load = after(std::iter::repeat_n(well(8.0), 600)).expect("learned");
        assert_eq!(load, Load { in_flight: 10.0, rate: 500.0 });
    }

    #[test]
    fn before_ten_windows_it_is_the_largest_second_and_before_five_seconds_nothing() {
        let seconds = [2.0, 4.0, 6.0, 3.0];
        assert_eq!(after(seconds.map(well)), None);
        let load = after(seconds.map(well).into_iter().chain([well(1.0)]));
        assert_eq!(load.map(|load| load.in_flight), Some(6.0));
    }

    #[test]
    fn an_incident_teaches_nothing() {
        let calm = || std::iter::repeat_n(well(8.0), 600);
        let bound = Second { unbound: false, ..well(1.0) };
        let failing = Second { failures: 2, requests: 100, ..well(60.0) };
        let idle = Second { in_flight: 0.0, requests: 0, failures: 0, unbound: true };
        for sick in [bound, failing, idle] {
            assert_eq!(after(calm().chain(std::iter::repeat_n(sick, 3_600))), after(calm()), "{sick:?}");
        }
    }

    #[test]
    fn only_the_last_ten_minutes_of_well_time_count() {
        let load = after((0..600).map(|_| well(50.0)).chain((0..600).map(|_| well(4.0))));
        assert_eq!(load.map(|load| load.in_flight), Some(5.0));
    }

    #[test]
    fn a_newcomer_takes_the_lower_median() {
        let of = |values: &[f64]| {
            median(values.iter().map(|&in_flight| Load { in_flight, rate: 1.0 })).map(|load| load.in_flight)
        };
        assert_eq!(
            (of(&[]), of(&[3.0]), of(&[9.0, 1.0, 4.0]), of(&[8.0, 2.0])),
            (None, Some(3.0), Some(4.0), Some(2.0))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_lies_within_what_was_seen_and_its_headroom(loads in prop::collection::vec(0.1_f64..500.0, 5..900)) {
            let most = loads.iter().copied().fold(0.0, f64::max);
            let least = loads.iter().copied().fold(f64::MAX, f64::min);
            let load = after(loads.into_iter().map(well)).expect("learned");
            prop_assert!(load.in_flight >= least && load.in_flight <= HEADROOM * most);
        }
    }
}
