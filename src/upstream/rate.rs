//! The least rate at which a party must move while it is waited for: 1 KiB a second, averaged over 10 s
//! (`design.md`, "Long and slow exchanges"). Pure: bytes, time and whether it was waited for come from outside.
//!
//! A party has credit for 10 s. Time in which it is waited for costs credit, bytes that it moves earn it;
//! whoever has none left was below the rate for at least 10 s of being waited for. Time in which it is not
//! waited for is free. Bytes earn up to 32 s, because a window of TCP opens in steps: a reader that fills half
//! of its window before it says so is as fast as one that reports every byte.

use std::time::Duration;

/// Bytes a second.
pub const LEAST: u64 = 1024;
/// How long a party may be waited for without moving anything.
pub const SPAN: Duration = Duration::from_secs(10);
/// What bytes may earn.
const MOST: Duration = Duration::from_secs(32);

/// One party's credit.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In millionths of a byte.
    credit: u64,
    /// It was waited for at the last look.
    waited: bool,
    /// Bytes that it had moved at the last look.
    seen: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { credit: worth(SPAN), waited: false, seen: 0 }
    }
}

impl Rate {
    /// A look: how long ago the last one was, whether the party is waited for now, and the bytes that it has
    /// moved since the beginning. False when it is too slow.
    pub fn keeps_up(&mut self, elapsed: Duration, waited_for: bool, moved: u64) -> bool {
        let whole = waited_for && self.waited;
        let earned = moved.saturating_sub(self.seen).saturating_mul(1_000_000);
        (self.waited, self.seen) = (waited_for, moved);
        // What moves before anybody waits goes into buffers on the way: it shows nothing yet.
        let most = if whole { worth(MOST) } else { worth(SPAN) };
        self.credit = self.credit.max(self.credit.saturating_add(earned).min(most));
        if !whole {
            return true;
        }
        let due = worth(elapsed);
        let keeps_up = self.credit > due;
        self.credit = self.credit.saturating_sub(due);
        keeps_up
    }
}

/// What must move in this time.
fn worth(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).saturating_mul(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);

    /// After how many ticks a party is too slow that moves `bytes` in each, if ever within ten minutes.
    fn ends(bytes: impl Fn(u64) -> u64) -> Option<u64> {
        let (mut rate, mut moved) = (Rate::default(), 0);
        (0..6_000).find(|tick| {
            moved += bytes(*tick);
            !rate.keeps_up(TICK, true, moved)
        })
    }

    #[test]
    fn silence_and_drips_end_after_ten_seconds() {
        assert_eq!(ends(|_| 0), Some(100), "the first look only begins");
        assert_eq!(ends(|tick| u64::from(tick % 10 == 0)), Some(101));
    }

    #[test]
    fn half_the_rate_ends_after_twenty_seconds_and_the_rate_never() {
        assert!(ends(|_| 51).is_some_and(|tick| (195..=201).contains(&tick)));
        assert_eq!(ends(|_| 103), None);
        assert_eq!(ends(|tick| if tick % 90 == 80 { 16 * 1024 } else { 0 }), None, "in steps of a window");
    }

    #[test]
    fn what_fills_buffers_before_anybody_waits_is_no_merit() {
        let mut rate = Rate::default();
        assert!(rate.keeps_up(TICK, false, 10 << 20));
        assert!(rate.keeps_up(TICK, true, 20 << 20));
        let looks = (0..200).take_while(|_| rate.keeps_up(TICK, true, 20 << 20)).count();
        assert_eq!(looks, 99);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whoever_is_never_waited_for_is_never_too_slow(moves in prop::collection::vec(0..5_000u64, 1..300)) {
            let (mut rate, mut moved) = (Rate::default(), 0);
            for bytes in moves {
                moved += bytes;
                prop_assert!(rate.keeps_up(Duration::from_secs(5), false, moved));
            }
        }

        #[test]
        fn whoever_moves_enough_in_every_ten_seconds_is_never_too_slow(
            at in prop::collection::vec(0..100usize, 1..20),
            waited in prop::collection::vec(any::<bool>(), 2_000),
        ) {
            // All that is due in ten seconds in some of its ticks, always the same.
            let (mut rate, mut moved) = (Rate::default(), 0);
            for (tick, waited) in waited.into_iter().enumerate() {
                let due = at.iter().filter(|at| **at == tick % 100).count() as u64;
                moved += due * (LEAST * SPAN.as_secs()).div_ceil(at.len() as u64);
                prop_assert!(rate.keeps_up(TICK, waited, moved));
            }
        }

        #[test]
        fn whoever_is_too_slow_was_below_the_rate_for_ten_seconds_of_being_waited_for(
            looks in prop::collection::vec((any::<bool>(), 0..400u64), 1..2_000),
        ) {
            let (mut rate, mut moved) = (Rate::default(), 0);
            let mut history = Vec::new();
            let mut before = false;
            for (waited, bytes) in looks {
                moved += bytes;
                history.push((waited && before, bytes));
                before = waited;
                if !rate.keeps_up(TICK, waited, moved) {
                    let (mut ticks, mut sum) = (0u64, 0u64);
                    let below = history.iter().rev().any(|(whole, bytes)| {
                        ticks += u64::from(*whole);
                        sum += bytes;
                        ticks >= 100 && sum * 10 < ticks * LEAST
                    });
                    prop_assert!(below);
                    return Ok(());
                }
            }
        }
    }
}
