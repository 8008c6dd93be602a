//! The chain: a row's place in it, and the hash that binds it to the row before.
//!
//! The hash is blake3 over a fixed sequence of fields, each with its length before it, so that no two rows have the
//! same encoding. Anybody with the shipped lines can compute it again. Pure.

use super::entry::Entry;
use super::head::Head;
use serde::{Deserialize, Serialize};

/// What two threads that write down at the same time may be out of order, in milliseconds.
const TOLERANCE_MS: i64 = 1_000;

/// What the first row of all follows.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The action of a row that begins a segment after rows were lost.
pub const SEGMENT: &str = "audit.segment";

/// The action of a row that tells which rows were removed because there is room for so many only.
pub const CHECKPOINT: &str = "audit.checkpoint";

/// The action of a row that tells how many changes were never recorded.
pub const DROPPED: &str = "audit.dropped";

/// Says what is hashed, so that the hash of a row is never that of something else.
const PURPOSE: &[u8] = b"tidegate audit row 1\0";

/// An entry in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its number, from 1; goes on over lost rows.
    pub seq: u64,
    /// Begins anew after a loss.
    pub segment: u64,
    /// It was written some time after it happened, because the database did not take it then.
    pub late: bool,
    /// By the wall clock it happened more than a second before the row before it: somebody or something has put the
    /// clock back.
    pub clock_went_back: bool,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash of the row before it, hex.
    pub prev: String,
    /// Its own hash, hex.
    pub hash: String,
}

impl Row {
    /// The row that follows `head`.
    pub fn after(head: &Head, entry: Entry, late: bool) -> Self {
        let mut row = Row {
            seq: head.count.saturating_add(1),
            segment: head.segment,
            late,
            clock_went_back: !late && entry.at_ms < head.at_ms.saturating_sub(TOLERANCE_MS),
            entry,
            prev: head.hash.clone(),
            hash: String::new(),
        };
        row.hash = row.computed();
        row
    }

    /// The hash that its content gives.
    pub fn computed(&self) -> String {
        let Row { seq, segment, late, clock_went_back, entry, prev, hash: _ } = self;
        let mut said = Said(blake3::Hasher::new());
        said.0.update(PURPOSE);
        said.number(*seq);
        said.number(*segment);
        said.number(u64::from(*late));
        said.number(u64::from(*clock_went_back));
        said.entry(entry);
        said.text(prev);
        said.0.finalize().to_hex().to_string()
    }

    /// The head after it.
    pub fn head(&self) -> Head {
        Head { segment: self.segment, count: self.seq, hash: self.hash.clone(), at_ms: self.entry.at_ms }
    }
}

/// What goes into a hash, each piece with its length before it.
struct Said(blake3::Hasher);

impl Said {
    fn entry(&mut self, entry: &Entry) {
        // Every field, by name: one that is added later has to be said here to compile.
        let Entry { at_ms, actor, role, address, action, target, asked, version, .. } = entry;
        let Entry { reason, risk, acknowledgements, outcome, why, times, .. } = entry;
        self.0.update(&at_ms.to_le_bytes());
        [actor, role, address, action].into_iter().for_each(|text| self.text(text));
        self.perhaps(target.as_deref());
        self.perhaps(asked.as_deref());
        self.perhaps(version.map(|number| number.to_string()).as_deref());
        self.perhaps(reason.as_deref());
        self.perhaps(risk.as_deref());
        self.number(acknowledgements.len() as u64);
        acknowledgements.iter().for_each(|text| self.text(text));
        self.text(outcome.as_str());
        self.perhaps(why.as_deref());
        self.number(*times);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn perhaps(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }
}

/// The first row of a new segment: what was lost, as far as it is known.
pub fn loss(lost: &Head, why: &str) -> Entry {
    let known = if lost.count > 0 { "" } else { "; how many rows there were is not known" };
    let mut entry = Entry::by_gateway(SEGMENT)
        .saying(format!("rows were lost: {why}. The last row that is known was {}{known}", lost.count));
    entry.asked =
        Some(format!("lost_segment={} lost_count={} lost_head={}", lost.segment, lost.count, lost.hash));
    entry
}

/// The row that stands for the removed rows up to `through`, whose hash is `hash`.
pub fn checkpoint(through: u64, hash: &str) -> Entry {
    let mut entry = Entry::by_gateway(CHECKPOINT)
        .saying(format!("rows up to {through} were removed, because there is room for so many only"));
    entry.asked = Some(format!("through={through} head={hash}"));
    entry
}

/// What a `key=value` in a row's `asked` says.
pub fn said<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    let pairs = entry.asked.as_deref()?.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find_map(|(name, value)| (name == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_tomorrow() {
        let mut entry = Entry::new("ops", "apply").from("operator", "192.0.2.1").version(7);
        entry.at_ms = 1_795_000_000_000;
        let row = Row::after(&Head::default(), entry, false);
        assert_eq!((row.seq, row.segment, row.prev.as_str()), (1, 1, NOTHING));
        assert_eq!(row.hash, row.computed());
        assert_eq!(row.hash, "1f379c2da6af850e7b3afa095099b6dcc30667dfe6530129879439d88df7090e");
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_changes_the_hash() {
        let hash = |actor: &str, role: &str| {
            let mut entry = Entry::new(actor, "apply").from(role, "");
            entry.at_ms = 0;
            Row::after(&Head::default(), entry, false).hash
        };
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }

    #[test]
    fn a_clock_that_was_put_back_is_marked_and_a_late_row_is_late() {
        let head = Head { at_ms: 5_000, ..Head::default() };
        let entry = |at_ms| Entry { at_ms, ..Entry::new("ops", "apply") };
        assert!(Row::after(&head, entry(3_999), false).clock_went_back);
        assert!(!Row::after(&head, entry(4_000), false).clock_went_back, "two threads at the same time");
        let late = Row::after(&head, entry(3_999), true);
        assert!(late.late && !late.clock_went_back);
    }
}
