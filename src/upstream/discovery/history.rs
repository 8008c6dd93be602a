//! What the answers for one name mean, one after the other: which addresses it has, and which of them are new.
//!
//! Pure: it takes the time and holds no socket. One thing it does not decide: what a new address means for ramps.

use crate::upstream::discovery::keeper::Pace;
use crate::upstream::discovery::{Answer, Fact, Looked, MAX_ADDRESSES, OnMissing};
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An address that was seen within this time is not new when it comes back (`design.md`, "Restart detection").
const REMEMBERED: Duration = Duration::from_secs(600);
/// Addresses that are gone and remembered at most.
const MAX_GONE: usize = 1024;
/// The share of an address that SRV records do not weigh.
const PLAIN: f64 = Fact::PLAIN.share as f64;
/// The share that one address may have at most, in hundredths of its configured weight.
const MAX_SHARE: f64 = 100.0 * MAX_ADDRESSES as f64;

/// Everything that was learned of one name.
#[derive(Debug)]
pub(super) struct History {
    policy: OnMissing,
    now: Vec<(SocketAddr, Fact)>,
    seen: HashMap<SocketAddr, Seen, foldhash::quality::RandomState>,
    /// There was a good answer.
    resolved: bool,
    /// Since when answers say that there is no address, with no other good answer between.
    missing_since: Option<Instant>,
    looked: Looked,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last: Instant,
    came: Option<Instant>,
}

impl History {
    /// Begins with what was good last, if anything.
    pub(super) fn new(policy: OnMissing, last_good: &[SocketAddr]) -> Self {
        History {
            policy,
            now: last_good.iter().map(|address| (*address, Fact::PLAIN)).collect(),
            seen: HashMap::default(),
            resolved: false,
            missing_since: None,
            looked: Looked::default(),
            failures: 0,
        }
    }

    /// The addresses, sorted.
    pub(super) fn addresses(&self) -> &[(SocketAddr, Fact)] {
        &self.now
    }

    /// How the last lookups went.
    pub(super) fn looked(&self) -> &Looked {
        &self.looked
    }

    /// Learns from an answer that came at `now`.
    pub(super) fn take_in(&mut self, answer: Answer, now: Instant) {
        for (address, fact) in &self.now {
            self.seen.insert(*address, Seen { last: now, came: fact.came });
        }
        self.forget(now);
        match answer {
            Answer::Found(found, unused) => {
                self.now = self.known(found, now);
                self.resolved = true;
                self.missing_since = None;
                self.failures = 0;
                self.looked = Looked { unused, ..Looked::default() };
            }
            // What is there is there; what is not may be what could not be asked for.
            Answer::Partly(found, why) => {
                let mut all = self.known(found, now);
                let more: Vec<_> = self.now.iter().filter(|old| !holds(&all, old.0)).copied().collect();
                all.extend(more);
                all.truncate(MAX_ADDRESSES);
                all.sort_unstable_by_key(|(address, _)| *address);
                self.now = all;
                self.missing_since = None;
                self.fail(why, now);
            }
            Answer::Missing(why) => {
                let since = *self.missing_since.get_or_insert(now);
                self.fail(why, now);
                let gives_up_at = match self.policy {
                    OnMissing::Keep => None,
                    OnMissing::Drop => Some(since),
                    OnMissing::KeepFor(time) => since.checked_add(time),
                };
                if gives_up_at.is_some_and(|at| at <= now) {
                    self.now.clear();
                }
                self.looked.gives_up_at = gives_up_at.filter(|_| !self.now.is_empty());
                if !self.now.is_empty() {
                    // It was answered: there is no reason to ask less often.
                    self.failures = 0;
                }
            }
            Answer::Failed(why) => {
                self.fail(why, now);
                self.looked.gives_up_at = None;
            }
        }
    }

    /// Until the next lookup; `chance` in 0..1 spreads the names.
    pub(super) fn wait(&self, pace: &Pace, chance: f64, now: Instant) -> Duration {
        let wait = pace.wait(self.failures, chance);
        // What is to be given up is given up in time.
        self.looked.gives_up_at.map_or(wait, |at| wait.min(at.saturating_duration_since(now)))
    }

    fn fail(&mut self, why: String, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.looked.since.get_or_insert(now);
        self.looked.failure = Some(Arc::new(why));
    }

    /// The addresses of an answer, sorted, with what is known of them.
    fn known(&self, found: Vec<(SocketAddr, u32)>, now: Instant) -> Vec<(SocketAddr, Fact)> {
        let shares = shares(&found);
        let came = |address: &SocketAddr| match self.seen.get(address) {
            Some(seen) => seen.came,
            None => self.resolved.then_some(now),
        };
        let fact = |((address, _), share)| (address, Fact { share, came: came(&address) });
        let mut known: Vec<_> = found.into_iter().zip(shares).map(fact).collect();
        known.sort_unstable_by_key(|(address, _)| *address);
        known.dedup_by_key(|(address, _)| *address);
        known
    }

    /// Who was not seen for long is new again; and of those who come and go, only so many are remembered.
    fn forget(&mut self, now: Instant) {
        self.seen.retain(|_, seen| now.saturating_duration_since(seen.last) < REMEMBERED);
        if self.seen.len() > MAX_GONE + MAX_ADDRESSES {
            let mut lasts: Vec<_> = self.seen.values().map(|seen| seen.last).collect();
            lasts.sort_unstable();
            let oldest = lasts[lasts.len() - MAX_GONE / 2];
            self.seen.retain(|_, seen| seen.last >= oldest);
        }
    }
}

fn holds(all: &[(SocketAddr, Fact)], address: SocketAddr) -> bool {
    all.iter().any(|(known, _)| *known == address)
}

/// What SRV weights make of the configured weight: the mean address keeps it, so that a name weighs as much as its
/// addresses together, however its records are numbered. At least a hundredth: a weight of 0 is little, not nothing.
fn shares(found: &[(SocketAddr, u32)]) -> Vec<u32> {
    let sum: f64 = found.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mean = sum / found.len().max(1) as f64;
    let share = |(_, weight): &(SocketAddr, u32)| match mean {
        0.0 => Fact::PLAIN.share,
        mean => (PLAIN * f64::from(*weight) / mean).round().clamp(1.0, MAX_SHARE) as u32,
    };
    found.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    fn found(lasts: &[u8]) -> Answer {
        Answer::Found(lasts.iter().map(|last| (at(*last), 1)).collect(), 0)
    }

    fn missing() -> Answer {
        Answer::Missing("no such name".to_owned())
    }

    fn lasts(history: &History) -> Vec<SocketAddr> {
        history.addresses().iter().map(|(address, _)| *address).collect()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_policy_decides_when_an_answer_without_addresses_is_believed() {
        let start = Instant::now();
        for (policy, gone_after) in
            [(OnMissing::Keep, None), (OnMissing::Drop, Some(0)), (OnMissing::KeepFor(seconds(60)), Some(60))]
        {
            let mut history = History::new(policy, &[]);
            history.take_in(found(&[1]), start);
            for second in (0..86_400).step_by(5) {
                history.take_in(missing(), start + seconds(second));
                let gone = gone_after.is_some_and(|after| second >= after);
                assert_eq!(history.addresses().is_empty(), gone, "{policy:?} after {second} s");
            }
            history.take_in(found(&[2]), start + seconds(90_000));
            assert_eq!(lasts(&history), [at(2)]);
        }
    }

    #[test]
    fn a_name_server_that_fails_takes_nothing_away_and_a_good_answer_begins_anew() {
        let start = Instant::now();
        let mut history = History::new(OnMissing::Drop, &[at(1)]);
        history.take_in(Answer::Failed("no answer".to_owned()), start + seconds(86_400));
        assert_eq!(lasts(&history), [at(1)]);
        assert_eq!(history.looked().since, Some(start + seconds(86_400)));

        let mut history = History::new(OnMissing::KeepFor(seconds(60)), &[]);
        for round in 0..10 {
            history.take_in(found(&[1]), start + seconds(round * 50));
            history.take_in(missing(), start + seconds(round * 50 + 40));
            assert_eq!(history.looked().gives_up_at, Some(start + seconds(round * 50 + 100)));
        }
        assert_eq!(lasts(&history), [at(1)]);
    }

    #[test]
    fn what_is_to_be_given_up_is_given_up_in_time_and_answers_are_asked_for_at_the_usual_pace() {
        let (start, pace) = (Instant::now(), Pace::default());
        let mut history = History::new(OnMissing::KeepFor(seconds(12)), &[at(1)]);
        history.take_in(missing(), start);
        assert_eq!(history.wait(&pace, 0.5, start), seconds(5));
        assert_eq!(history.wait(&pace, 0.5, start + seconds(10)), seconds(2));
        history.take_in(missing(), start + seconds(12));
        assert!(history.addresses().is_empty() && history.looked().gives_up_at.is_none());
    }

    #[test]
    fn an_address_is_new_if_it_was_not_seen_for_ten_minutes_and_nothing_is_new_at_first() {
        let start = Instant::now();
        let came = |history: &History, last| {
            history
                .addresses()
                .iter()
                .find(|(address, _)| *address == at(last))
                .and_then(|(_, fact)| fact.came)
        };
        let mut history = History::new(OnMissing::Keep, &[]);
        history.take_in(missing(), start);
        history.take_in(found(&[1]), start + seconds(5));
        assert_eq!(came(&history, 1), None);
        history.take_in(found(&[1, 2]), start + seconds(10));
        assert_eq!((came(&history, 1), came(&history, 2)), (None, Some(start + seconds(10))));
        // Both go; one is back within ten minutes.
        history.take_in(found(&[3]), start + seconds(20));
        history.take_in(found(&[2, 3]), start + seconds(600));
        assert_eq!(came(&history, 2), Some(start + seconds(10)));
        history.take_in(found(&[1, 2]), start + seconds(700));
        assert_eq!(came(&history, 1), Some(start + seconds(700)));
    }

    #[test]
    fn part_of_an_answer_adds_and_takes_nothing_away() {
        let start = Instant::now();
        let mut history = History::new(OnMissing::Keep, &[]);
        history.take_in(found(&[1, 2]), start);
        history.take_in(Answer::Partly(vec![(at(2), 1), (at(3), 1)], "one did not answer".to_owned()), start);
        assert_eq!(lasts(&history), [at(1), at(2), at(3)]);
        assert!(history.looked().failure.is_some());
    }

    #[test]
    fn srv_weights_share_what_is_configured() {
        let weigh =
            |weights: &[u32]| shares(&weights.iter().map(|weight| (at(1), *weight)).collect::<Vec<_>>());
        assert_eq!(weigh(&[10, 30]), [50, 150]);
        assert_eq!(weigh(&[0, 0]), [100, 100]);
        assert_eq!(weigh(&[0, 100, 100]), [1, 150, 150]);
        assert_eq!(weigh(&[]), Vec::<u32>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_answered_memory_is_bounded_and_failures_take_nothing_away(
            answers in prop::collection::vec((0_u8..4, prop::collection::vec(any::<u8>(), 1..8), 0_u64..400), 1..200),
        ) {
            let mut history = History::new(OnMissing::KeepFor(seconds(60)), &[]);
            let mut now = Instant::now();
            for (kind, lasts_found, pause) in answers {
                now += seconds(pause);
                let before = lasts(&history);
                let answer = match kind {
                    0 => found(&lasts_found),
                    1 => Answer::Partly(lasts_found.iter().map(|last| (at(*last), 0)).collect(), String::new()),
                    2 => missing(),
                    _ => Answer::Failed(String::new()),
                };
                let takes_away = matches!(answer, Answer::Found(..) | Answer::Missing(_));
                history.take_in(answer, now);
                let after = lasts(&history);
                prop_assert!(takes_away || before.iter().all(|address| after.contains(address)));
                prop_assert!(after.is_sorted() && after.len() <= MAX_ADDRESSES);
                prop_assert!(history.seen.len() <= MAX_GONE + 2 * MAX_ADDRESSES);
            }
        }
    }
}
