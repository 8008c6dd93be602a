//! Refusals that come again and again: the first of its kind is a row at once, the like of it is counted for a minute
//! and becomes one row, then for two minutes, at last for an hour. So a flood, or a script that asks without end,
//! neither fills the disk nor pushes out the rows of people.
//!
//! Strangers may cause so many rows in a day and no more, whatever they do: each row of theirs, at once or counted, is
//! paid from a purse, and what cannot be paid is counted on. Those who only read have a purse of their own, a small
//! one: a page that is open without a token comes again and again, and means nothing by it.

use super::Entry;
use super::entry;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Kinds of refusals that are counted apart.
const KINDS: usize = 256;

/// How long the like of the first is counted together, and after that at most.
const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

/// Kinds of strangers' refusals that are counted apart; the others are for those who are known. Those who only read
/// have few, so that they hide nobody who wants more.
const KINDS_OF_STRANGERS: usize = 128;
const KINDS_OF_READERS: usize = 32;

/// What only reads, in the words of the audit.
const READ: &str = "read";

/// Rows at once for strangers who read, for other strangers and for those who are known, and how often there is one
/// more.
const READERS: Purse = Purse { full: 20, one_more: Duration::from_secs(600) };
const STRANGERS: Purse = Purse { full: 100, one_more: Duration::from_secs(60) };
const KNOWN: Purse = Purse { full: 500, one_more: Duration::from_secs(12) };

/// What makes refusals alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Of somebody without a token that is known who only wanted to read, by address.
    Reader(String),
    /// Of somebody without one who wanted more, by address.
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
    /// When the last of them came.
    seen: Instant,
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
    spent: Purses,
}

/// What was taken from each purse.
#[derive(Debug, Default)]
struct Purses {
    readers: Spent,
    strangers: Spent,
    known: Spent,
}

impl Refusals {
    /// One more. The entry comes back if it is to be a row at once.
    pub fn take(&self, entry: Entry, is_stranger: bool, now: Instant) -> Option<Entry> {
        let mut counts = self.counts();
        let own = Kind::of(&entry, is_stranger);
        if let Some(count) = counts.kinds.get_mut(&own) {
            count.add(entry, now);
            return None;
        }
        let may_be_told = counts.spent.spend(&own, now);
        if may_be_told && counts.has_room_for(&own) {
            counts.kinds.insert(own, Count::begins(entry.clone(), now));
            return Some(entry);
        }
        let begins = || Count::begins(entry.clone(), now);
        counts.kinds.entry(Kind::Rest).or_insert_with(begins).add(entry, now);
        None
    }

    /// Rows for what was counted long enough.
    pub fn due(&self, now: Instant) -> Vec<Entry> {
        let mut counts = self.counts();
        let Counts { kinds, spent } = &mut *counts;
        let mut rows = Vec::new();
        kinds.retain(|kind, count| {
            if now < count.until {
                return true;
            }
            if count.times == 0 {
                // A stranger who comes again within the hour is the same one.
                count.until = now + count.window;
                return kind.is_strange() && now.saturating_duration_since(count.seen) < LONG;
            }
            if kind.is_strange() && !spent.spend(kind, now) {
                count.until = now + SHORT;
                return true;
            }
            rows.extend(told(kind, count));
            count.window = (count.window * 2).min(LONG);
            (count.times, count.until) = (0, now + count.window);
            true
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

impl Kind {
    fn of(entry: &Entry, is_stranger: bool) -> Self {
        let Entry { actor, address, action, target, why, .. } = entry;
        match is_stranger {
            true if action == READ => Kind::Reader(address.clone()),
            true => Kind::Stranger(address.clone()),
            false => Kind::Known(actor.clone(), address.clone(), action.clone(), target.clone(), why.clone()),
        }
    }

    /// Of somebody without a token that is known.
    fn is_strange(&self) -> bool {
        matches!(self, Kind::Reader(_) | Kind::Stranger(_))
    }
}

impl Count {
    fn begins(first: Entry, now: Instant) -> Self {
        Count { last: first, times: 0, seen: now, until: now + SHORT, window: SHORT }
    }

    fn add(&mut self, entry: Entry, now: Instant) {
        self.times += 1;
        (self.last, self.seen) = (entry, now);
    }
}

impl Counts {
    fn has_room_for(&self, kind: &Kind) -> bool {
        let of = |counted: fn(&Kind) -> bool| self.kinds.keys().filter(|kind| counted(kind)).count();
        let has_a_seat = match kind {
            Kind::Reader(_) => of(|kind| matches!(kind, Kind::Reader(_))) < KINDS_OF_READERS,
            Kind::Stranger(_) => of(|kind| matches!(kind, Kind::Stranger(_))) < KINDS_OF_STRANGERS,
            Kind::Known(..) | Kind::Rest => true,
        };
        has_a_seat && self.kinds.len() < KINDS
    }
}

impl Purses {
    /// Pays one row of a kind, if that can be paid.
    fn spend(&mut self, kind: &Kind, now: Instant) -> bool {
        match kind {
            Kind::Reader(_) => self.readers.spend(READERS, now),
            Kind::Stranger(_) => self.strangers.spend(STRANGERS, now),
            Kind::Known(..) | Kind::Rest => self.known.spend(KNOWN, now),
        }
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
        Kind::Reader(_) | Kind::Stranger(_) | Kind::Rest => {
            (entry.target, entry.asked, entry.reason) = (None, None, None)
        }
    }
    if *kind == Kind::Rest {
        (entry.actor, entry.address, entry.role) = ("several".into(), "several".into(), String::new());
    }
    let why = entry.why.take().unwrap_or_default();
    let (times, at) = (count.times, entry::told(count.last.at_ms));
    Some(entry.refused(format!("{times} more like this were refused; the last one at {at}: {why}")))
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
    fn a_page_without_a_token_that_comes_again_every_two_minutes_is_few_rows() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let read = || Entry::new("anonymous", "read").to("GET /v1/live").from("", "192.0.2.1").refused("401");
        let (mut rows, mut asked) = (Vec::new(), 0);
        for second in 0..86_400_u64 {
            let now = start + Duration::from_secs(second);
            if second % 120 == 0 {
                asked += 1;
                rows.extend(refusals.take(read(), true, now));
            }
            rows.extend(refusals.due(now));
        }
        assert!((20..=40).contains(&rows.len()), "{} rows in a day", rows.len());
        let counted: u64 = rows.iter().chain(&refusals.all()).map(|row| row.times).sum();
        assert_eq!(counted, asked, "and every one is counted");
    }

    #[test]
    fn whoever_only_reads_hides_no_attempt_to_change_and_leaves_a_row_in_ten_minutes_at_most() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let read =
            |n: u64| Entry::new("anonymous", "read").from("", format!("2001:db8::{n:x}")).refused("401");
        let mut rows = 0;
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            for n in [second, second % 100] {
                rows += usize::from(refusals.take(read(n), true, now).is_some());
            }
            rows += refusals.due(now).len();
        }
        assert!(rows <= 20 + 144 + 30, "{rows} rows in a day");
        let end = start + Duration::from_secs(86_400);
        let come_back = (0..200).filter(|n| refusals.take(read(*n), true, end + LONG).is_some()).count();
        assert!(come_back <= KINDS_OF_READERS, "{come_back} are remembered");
        assert!(refusals.take(stranger("2001:db8::1"), true, end).is_some(), "another thing, told at once");
        let refused = Entry::new("ops", "drain").to("orders/a").refused("unknown");
        assert!(refusals.take(refused, false, end).is_some(), "and there is room for those who are known");
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
