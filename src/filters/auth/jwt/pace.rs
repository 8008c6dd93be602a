//! When keys are fetched: ahead of their end, slower while that fails, and at once for a token that names an unknown
//! key, but not more often than whoever makes up names should be able to cause. Pure: time and chance come from
//! outside.

use hashbrown::HashMap;
use std::time::{Duration, Instant};

/// Between fetches at least, whatever a service says of how long its keys live.
const SOONEST: Duration = Duration::from_secs(10);
/// After the first failure; doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// While it fails, at most.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Between two fetches that unknown keys cause.
pub const COOLDOWN: Duration = Duration::from_secs(10);
/// How long a name that was unknown after a fetch causes no other: some publish a key after they sign with it.
const FORGET: Duration = Duration::from_secs(30);
/// Unknown names that are remembered at most; when there are more, none causes a fetch until some are forgotten.
const MAX_UNKNOWN: usize = 1024;

/// How often keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between fetches while they succeed.
    pub refresh: Duration,
}

impl Pace {
    /// Until the next fetch, after `failures` in a row. `life` is how long the service says that its keys are good:
    /// they are fetched at half of it. `chance` in 0..1 spreads gateways that started together by ± 10 %.
    pub fn wait(&self, failures: u32, life: Option<Duration>, chance: f64) -> Duration {
        let base = match failures {
            0 => {
                let half = life.map_or(self.refresh, |life| (life / 2).max(SOONEST));
                half.min(self.refresh)
            }
            n => RETRY_MIN.saturating_mul(1 << (n - 1).min(16)).min(RETRY_MAX).min(self.refresh),
        };
        base.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
    }
}

/// Names of keys that nobody knows.
#[derive(Debug, Default)]
pub struct Unknown {
    /// Hashes of the names, and until when each is remembered.
    names: HashMap<u64, Instant, foldhash::quality::RandomState>,
    /// Before this no unknown name causes a fetch.
    not_before: Option<Instant>,
}

impl Unknown {
    /// Whether the unknown name with this hash is a reason to fetch now. It is none for a while afterwards.
    pub fn may_ask(&mut self, name: u64, now: Instant) -> bool {
        if self.names.get(&name).is_some_and(|until| now < *until) {
            return false;
        }
        if self.not_before.is_some_and(|before| now < before) {
            return false;
        }
        if self.names.len() >= MAX_UNKNOWN {
            self.names.retain(|_, until| now < *until);
            if self.names.len() >= MAX_UNKNOWN {
                return false;
            }
        }
        self.names.insert(name, now + FORGET);
        self.not_before = Some(now + COOLDOWN);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { refresh: Duration::from_secs(300) };

    #[test]
    fn keys_are_fetched_at_half_of_their_life_and_never_later_than_said() {
        let wait = |life: Option<u64>| PACE.wait(0, life.map(Duration::from_secs), 0.5).as_secs();
        assert_eq!([wait(None), wait(Some(100)), wait(Some(86_400)), wait(Some(0))], [300, 50, 300, 10]);
        let spread = [0.0, 1.0].map(|chance| PACE.wait(0, None, chance).as_secs());
        assert_eq!(spread, [270, 330]);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits_up_to_a_bound() {
        let waits = [1, 2, 3, 7, 100].map(|failures| PACE.wait(failures, None, 0.5).as_secs());
        assert_eq!(waits, [1, 2, 4, 60, 60]);
    }

    #[test]
    fn a_flood_of_unknown_names_causes_one_fetch_in_every_cooldown() {
        let (mut unknown, start) = (Unknown::default(), Instant::now());
        let mut fetches = 0;
        for name in 0..60_000u64 {
            fetches += u32::from(unknown.may_ask(name, start + Duration::from_millis(name)));
        }
        assert_eq!(fetches, 6, "a minute, a thousand names a second");
    }

    #[test]
    fn a_name_that_stays_unknown_is_not_asked_for_again_for_a_while() {
        let (mut unknown, start) = (Unknown::default(), Instant::now());
        let asks = (0..FORGET.as_secs()).filter(|s| unknown.may_ask(7, start + Duration::from_secs(*s)));
        assert_eq!(asks.count(), 1);
        assert!(unknown.may_ask(7, start + FORGET), "but not for ever");
    }

    #[test]
    fn unknown_names_are_remembered_up_to_a_bound() {
        let (mut unknown, start) = (Unknown::default(), Instant::now());
        for name in 0..10_000 {
            unknown.not_before = None;
            unknown.may_ask(name, start);
        }
        assert_eq!(unknown.names.len(), MAX_UNKNOWN);
        assert!(unknown.may_ask(20_000, start + FORGET + COOLDOWN));
    }
}
