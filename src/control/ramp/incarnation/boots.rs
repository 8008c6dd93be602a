//! The boot ids that answers of one address carried: a new one is a new process, one that comes back is not.
//!
//! Behind one address may stand several servers; then ids take turns, and say nothing. An id that comes back within
//! ten minutes gives that away. A process that leaves while its successor serves already looks the same for a
//! moment: its last answers come between the first ones of the new. So for ten seconds after a new id the old one
//! may come back, as long as they do not keep taking turns. And an address is not trusted before it has shown
//! one id alone for a while: the first two ids of a shared address are no restart either.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an id is remembered (`design.md`, "Restart detection"), and how long a shared address must show one
/// id alone to be trusted again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long an address must show one id before another one is news.
const SETTLED: Duration = Duration::from_secs(2);
/// How long the last answers of a leaving process may take.
const HANDOVER: Duration = Duration::from_secs(10);
/// Turns within a handover that are last answers; more of them are servers that share the address.
const TURNS: u64 = 64;
/// Ids that are remembered; a process that restarts more often is no shared address for it.
const MOST: usize = 16;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An id that is new, where there was one before.
    New,
    /// Ids that take turns. Told once, until the address has shown one id alone for ten minutes.
    Shared,
}

/// What is known of one address.
#[derive(Clone, Debug, Default)]
pub struct BootIds {
    current: Option<Current>,
    /// Earlier ones, and when each was last heard.
    earlier: VecDeque<(u64, Instant)>,
    handover: Option<Handover>,
    /// When ids last took turns, while the address counts as shared.
    shared: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    id: u64,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Handover {
    began: Instant,
    turns: u64,
}

impl BootIds {
    /// Looks at the last id heard (0 is none) and how often it has changed since the look before.
    pub fn look(&mut self, now: Instant, id: u64, turns: u64) -> Option<Heard> {
        if id == 0 {
            return None;
        }
        let Some(current) = self.current else {
            self.current = Some(Current { id, since: now });
            return (turns > 1).then(|| self.share(now));
        };
        if let Some(last) = self.shared {
            self.stay_shared(now, id, turns, last);
            return None;
        }
        if turns == 0 {
            return None;
        }
        self.earlier.retain(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED);
        let returned = id != current.id && self.earlier.iter().any(|(earlier, _)| *earlier == id);
        let settled = now.saturating_duration_since(current.since) >= SETTLED;
        if self.is_handing_over(now, turns) {
            // A third one is a process that did not live long.
            return if id == current.id || returned { None } else { self.succeed(now, id, current, turns) };
        }
        match (settled, id == current.id) {
            _ if returned => Some(self.share(now)),
            // Somebody else was heard in between; who that is will be heard again.
            (true, true) => {
                self.handover = (turns > 1).then_some(Handover { began: now, turns });
                None
            }
            (true, false) => self.succeed(now, id, current, turns),
            (false, _) if turns > 1 => Some(self.share(now)),
            (false, _) => {
                self.remember(current.id, now);
                self.current = Some(Current { id, since: now });
                None
            }
        }
    }

    /// The address counts as shared.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// These turns are last answers of a process that leaves.
    fn is_handing_over(&mut self, now: Instant, turns: u64) -> bool {
        let Some(handover) = &mut self.handover else { return false };
        handover.turns = handover.turns.saturating_add(turns);
        let is_one = now.saturating_duration_since(handover.began) < HANDOVER && handover.turns <= TURNS;
        if !is_one {
            self.handover = None;
        }
        is_one
    }

    fn succeed(&mut self, now: Instant, id: u64, before: Current, turns: u64) -> Option<Heard> {
        self.remember(before.id, now);
        self.current = Some(Current { id, since: now });
        let turns = self.handover.map_or(turns, |handover| handover.turns);
        self.handover = Some(Handover { began: now, turns });
        Some(Heard::New)
    }

    fn share(&mut self, now: Instant) -> Heard {
        (self.shared, self.handover) = (Some(now), None);
        Heard::Shared
    }

    fn stay_shared(&mut self, now: Instant, id: u64, turns: u64, last: Instant) {
        if turns > 0 {
            self.shared = Some(now);
        } else if now.saturating_duration_since(last) >= REMEMBERED {
            self.shared = None;
            self.earlier.clear();
            self.current = Some(Current { id, since: now });
        }
    }

    fn remember(&mut self, id: u64, now: Instant) {
        self.earlier.retain(|(earlier, _)| *earlier != id);
        self.earlier.push_back((id, now));
        if self.earlier.len() > MOST {
            self.earlier.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at `(milliseconds, id, turns)`; what was heard at which of them.
    fn heard(looks: &[(u64, u64, u64)]) -> Vec<(u64, Heard)> {
        let (mut ids, began) = (BootIds::default(), Instant::now());
        let look = |(at, id, turns): &(u64, u64, u64)| {
            Some((*at, ids.look(began + Duration::from_millis(*at), *id, *turns)?))
        };
        looks.iter().filter_map(look).collect()
    }

    #[test]
    fn a_new_id_is_news_and_the_first_one_is_not() {
        assert_eq!(heard(&[(0, 0, 0), (100, 1, 0), (9_000, 1, 0), (9_100, 2, 1)]), [(9_100, Heard::New)]);
    }

    #[test]
    fn an_address_whose_ids_take_turns_from_the_start_is_shared_and_told_once() {
        let turns: Vec<_> = (1..100).map(|n| (100 * n, 1 + n % 2, 1)).collect();
        let told = heard(&turns);
        assert!(matches!(told[..], [(at, Heard::Shared)] if at < 500), "{told:?}");
        assert_eq!(heard(&[(0, 1, 7)]), [(0, Heard::Shared)]);
    }

    #[test]
    fn the_last_answers_of_a_leaving_process_are_no_return() {
        let looks = [(0, 1, 0), (5_000, 2, 3), (5_100, 1, 5), (5_200, 2, 1), (8_000, 1, 1), (8_100, 2, 1)];
        assert_eq!(heard(&looks), [(5_000, Heard::New)]);
        // Also when only the last of several in one look was the old one's.
        assert_eq!(heard(&[(0, 1, 0), (5_000, 1, 2), (5_100, 2, 1)]), [(5_100, Heard::New)]);
    }

    #[test]
    fn an_id_that_comes_back_later_or_goes_on_taking_turns_is_a_shared_address() {
        let later = [(0, 1, 0), (5_000, 2, 1), (16_000, 1, 1)];
        assert_eq!(heard(&later), [(5_000, Heard::New), (16_000, Heard::Shared)]);
        let often = [(0, 1, 0), (5_000, 2, 1), (5_100, 1, 40), (5_200, 1, 40)];
        assert_eq!(heard(&often), [(5_000, Heard::New), (5_200, Heard::Shared)]);
    }

    #[test]
    fn an_id_that_comes_back_after_ten_minutes_is_new() {
        let looks = [(0, 1, 0), (5_000, 2, 1), (606_000, 1, 1)];
        assert_eq!(heard(&looks), [(5_000, Heard::New), (606_000, Heard::New)]);
    }

    #[test]
    fn a_shared_address_is_trusted_again_after_ten_minutes_of_one_id() {
        let quiet = [(0, 1, 7), (1_000, 2, 1), (600_900, 2, 0), (601_000, 2, 0), (605_000, 3, 1)];
        assert_eq!(heard(&quiet), [(0, Heard::Shared), (605_000, Heard::New)]);
        let busy = [(0, 1, 7), (500_000, 2, 1), (601_000, 2, 0), (605_000, 3, 1)];
        assert_eq!(heard(&busy), [(0, Heard::Shared)]);
    }

    #[test]
    fn a_process_that_does_not_live_long_is_new_every_time() {
        let looks = [(0, 1, 0), (5_000, 2, 1), (8_000, 3, 1), (30_000, 4, 1)];
        assert_eq!(heard(&looks).len(), 3);
        assert!(
            (1..100)
                .fold(BootIds::default(), |mut ids, n| {
                    ids.look(Instant::now() + Duration::from_secs(20 * n), n, 1);
                    ids
                })
                .earlier
                .len()
                <= MOST
        );
    }
}
