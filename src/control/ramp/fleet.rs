//! Whether all of an upstream came back at once (`overload.md` 2(vii)): half of its weight or more, by number of the
//! configured weights, within thirty seconds.
//!
//! The arithmetic of each backend is the same then; what is added is told to whoever asks here: low classes stay
//! out below half, first steps wait until somebody is up, and steps do not come in lock-step.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Backends that came back within this time came back together.
const TOGETHER: Duration = Duration::from_secs(30);
/// Of the weight, the part that makes it the whole fleet.
const WHOLE: f64 = 0.5;
/// Below this, in percent of what the fleet holds when it is well, the low classes stay out.
pub const LOW_CLASSES_FROM: f64 = 50.0;
/// How much earlier or later than its peers a backend takes a step, so that they do not all take it at once.
const JITTER: f64 = 0.2;

/// The restarts of one upstream's backends, lately.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Who, with what weight, and when.
    restarted: Vec<(Arc<str>, u32, Instant)>,
}

impl Fleet {
    /// A backend restarted; `all` is the weight of all of them. True if that makes it the whole fleet.
    pub fn restarted(&mut self, now: Instant, at: &Arc<str>, weight: u32, all: u64) -> bool {
        // One entry for each backend, so it is never longer than the fleet.
        self.restarted
            .retain(|(other, _, since)| other != at && now.saturating_duration_since(*since) < TOGETHER);
        self.restarted.push((at.clone(), weight, now));
        self.is_whole(now, all)
    }

    /// What was noticed of it was no restart.
    pub fn withdrawn(&mut self, at: &Arc<str>) {
        self.restarted.retain(|(other, ..)| other != at);
    }

    /// Half of it or more restarted within the last thirty seconds.
    pub fn is_whole(&self, now: Instant, all: u64) -> bool {
        let lately = self.restarted.iter().filter(|(_, _, at)| now.saturating_duration_since(*at) < TOGETHER);
        let weight: u64 = lately.map(|(_, weight, _)| u64::from(*weight)).sum();
        all > 0 && weight as f64 >= WHOLE * all as f64
    }
}

/// By how much a backend's steps last longer or shorter than its peers' in a fleet's event: 0.8 to 1.2, the same for
/// the same backend.
pub fn pace(at: &str) -> f64 {
    let drawn = f64::from(xxhash_rust::xxh3::xxh3_64(at.as_bytes()) as u32) / f64::from(u32::MAX);
    1.0 - JITTER + 2.0 * JITTER * drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn half_of_the_weight_within_half_a_minute_is_the_whole_fleet() {
        let (mut fleet, began) = (Fleet::default(), Instant::now());
        let mut restart = |seconds, name: &str, weight| {
            fleet.restarted(began + Duration::from_secs(seconds), &at(name), weight, 400)
        };
        assert!(!restart(0, "a", 100) && !restart(10, "a", 100), "one of four, however often");
        assert!(restart(39, "b", 100));
        assert!(!restart(80, "c", 100), "those of before are long back");
        assert!(restart(81, "d", 150));
    }

    #[test]
    fn what_was_no_restart_does_not_count() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        fleet.restarted(now, &at("a"), 1, 4);
        fleet.withdrawn(&at("a"));
        assert!(!fleet.restarted(now, &at("b"), 1, 4) && fleet.restarted(now, &at("c"), 1, 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_pace_is_within_a_fifth(name in ".{0,20}") {
            prop_assert!((0.8..=1.2).contains(&pace(&name)));
        }
    }
}
