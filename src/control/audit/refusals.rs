//! Refusals that come again and again: the first of its kind is a row at once, the like of it is counted for a minute
//! and becomes one row, then for two minutes, at last for an hour. So a flood, or a script that asks without end,
//! neither fills the disk nor pushes out the rows of people.

use super::Entry;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Kinds of refusals that are counted apart.
const KINDS: usize = 256;

/// How long the like of the first is counted together, and after that at most.
const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

/// Rows at once for strangers and for those who are known, and how often there is one more.
const STRANGERS: Purse = Purse { full: 100, one_more: Duration::from_secs(60) };
const KNOWN: Purse = Purse { full: 500, one_more: Duration::from_secs(12) };

/// What makes refusals alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Of somebody without a token that is known, by address.
    Stranger(String),
    /// Of somebody known: actor, address, action, target, why.
    Known(String, String, String, Option<String>, Option<String>),
    /// What came when there was no room to count it apart.
    Rest,
}

/// What is being counted.
#[derive(Debug)]
struct Count {
    last: Entry,
    times: u64,
    until: Instant,
    window: Duration,
}

/// The refusals of the last while.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    kinds: HashMap<Kind, Count>,
    strangers: Spent,
    known: Spent,
}

impl Refusals {
    /// One more. The entry comes back if it is to be a row at once.
    pub fn take(&self, entry: Entry, is_stranger: bool, now: Instant) -> Option<Entry> {
        let mut counts = self.counts();
        let own = match is_stranger {
            true => Kind::Stranger(entry.address.clone()),
            false => {
                let Entry { actor, address, action, target, why, .. } = entry.clone();
                Kind::Known(actor, address, action, target, why)
            }
        };
        if let Some(count) = counts.kinds.get_mut(&own) {
            count.times += 1;
            count.last = entry;
            return None;
        }
        let (spent, purse) = match is_stranger {
            true => (&mut counts.strangers, STRANGERS),
            false => (&mut counts.known, KNOWN),
        };
        let may_be_told = spent.spend(purse, now);
        let has_room = may_be_told && counts.kinds.len() < KINDS;
        if has_room {
            let count = Count { last: entry.clone(), times: 0, until: now + SHORT, window: SHORT };
            counts.kinds.insert(own, count);
            return Some(entry);
        }
        let begin = || Count { last: entry.clone(), times: 0, until: now + SHORT, window: SHORT };
        let rest = counts.kinds.entry(Kind::Rest).or_insert_with(begin);
        rest.times += 1;
        rest.last = entry;
        None
    }

    /// Rows for what was counted long enough.
    pub fn due(&self, now: Instant) -> Vec<Entry> {
        let mut counts = self.counts();
        let mut rows = Vec::new();
        counts.kinds.retain(|kind, count| {
            if now < count.until {
                return true;
            }
            let goes_on = count.times > 0;
            rows.extend(told(kind, count));
            count.window = (count.window * 2).min(LONG);
            (count.times, count.until) = (0, now + count.window);
            goes_on
        });
        rows
    }

    /// Rows for everything that was counted, before the end.
    pub fn all(&self) -> Vec<Entry> {
        let counts = std::mem::take(&mut self.counts().kinds);
        counts.iter().filter_map(|(kind, count)| told(kind, count)).collect()
    }

    /// Nothing panics while it holds the lock.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many rows there may be at once, and how soon there may be one more. Addresses and names cost nothing, and rows
/// push out older ones.
#[derive(Clone, Copy, Debug)]
struct Purse {
    full: u32,
    one_more: Duration,
}

/// What was taken from a purse, and since when that is so.
#[derive(Debug, Default)]
struct Spent {
    rows: u32,
    since: Option<Instant>,
}

impl Spent {
    /// Takes one, if there is one.
    fn spend(&mut self, purse: Purse, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let back = now.saturating_duration_since(since).as_secs() / purse.one_more.as_secs();
        if back > 0 {
            self.rows = self.rows.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
            self.since = Some(now);
        }
        let is_left = self.rows < purse.full;
        self.rows += u32::from(is_left);
        is_left
    }
}

/// The row for what was counted; nothing if there was nothing.
fn told(kind: &Kind, count: &Count) -> Option<Entry> {
    if count.times == 0 {
        return None;
    }
    let mut entry = Entry { times: count.times, ..count.last.clone() };
    match kind {
        Kind::Known(..) => {}
        // Of many, only what they have in common.
        Kind::Stranger(_) | Kind::Rest => (entry.target, entry.asked, entry.reason) = (None, None, None),
    }
    if *kind == Kind::Rest {
        (entry.actor, entry.address, entry.role) = ("several".into(), "several".into(), String::new());
    }
    let why = entry.why.take().unwrap_or_default();
    Some(entry.refused(format!("{} more like this were refused; the last one: {why}", count.times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(address: &str) -> Entry {
        Entry::new("anonymous", "apply").from("", address).refused("unauthenticated")
    }

    #[test]
    fn the_first_is_told_at_once_and_the_flood_after_it_as_a_number() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert!(refusals.take(stranger("192.0.2.1"), true, start).is_some());
        for _ in 0..10_000 {
            assert!(refusals.take(stranger("192.0.2.1"), true, start).is_none());
        }
        assert!(refusals.take(stranger("192.0.2.2"), true, start).is_some(), "another address is told apart");
        assert!(refusals.due(start + SHORT / 2).is_empty());
        let rows = refusals.due(start + SHORT);
        assert_eq!(
            rows.iter().map(|row| (row.times, row.address.as_str())).collect::<Vec<_>>(),
            [(10_000, "192.0.2.1")]
        );
    }

    #[test]
    fn whatever_goes_on_is_told_more_and_more_rarely() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let mut rows = 0;
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            rows += usize::from(refusals.take(stranger("192.0.2.1"), true, now).is_some());
            rows += refusals.due(now).len();
        }
        assert!((20..=40).contains(&rows), "{rows} rows in a day");
    }

    #[test]
    fn addresses_without_number_are_few_rows() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let mut rows = Vec::new();
        for second in 0..86_400_u64 {
            let now = start + Duration::from_secs(second);
            for n in 0..2 {
                rows.extend(refusals.take(stranger(&format!("192.0.2.{second}.{n}")), true, now));
            }
            rows.extend(refusals.due(now));
        }
        assert!(rows.len() < 2_000, "{} rows in a day", rows.len());
        let counted: u64 = rows.iter().chain(&refusals.all()).map(|row| row.times).sum();
        assert_eq!(counted, 2 * 86_400, "and every one is counted");
    }

    #[test]
    fn a_script_that_is_refused_ever_other_things_does_not_fill_the_audit() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let mut rows = 0;
        for n in 0..86_400_u32 {
            let now = start + Duration::from_secs(u64::from(n));
            let entry = Entry::new("ops", "drain").to(format!("orders/{n}")).refused("unknown");
            rows += usize::from(refusals.take(entry, false, now).is_some()) + refusals.due(now).len();
        }
        assert!(rows < 10_000, "{rows} rows in a day");
    }

    #[test]
    fn other_things_of_somebody_known_are_rows_of_their_own() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let refused = |target: &str| Entry::new("ops", "drain").to(target).refused("unknown");
        assert!(refusals.take(refused("a"), false, now).is_some());
        assert!(refusals.take(refused("b"), false, now).is_some());
        assert!(refusals.take(refused("a"), false, now).is_none());
        assert_eq!(refusals.all().iter().map(|row| row.times).collect::<Vec<_>>(), [1]);
    }
}
