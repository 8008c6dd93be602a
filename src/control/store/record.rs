//! The whole of what is kept of versions, in memory: the ledger, what runs, and the last good versions. It is what the
//! disk should say; [`super::disk`] makes it so, [`super::books`] decides when.

use super::ledger::{Ledger, Ref};
use super::materials::Materials;
use crate::control::origin::{Kept, Origin};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Good versions that are kept at most (`design.md`, "Rollback").
pub const MAX_GOOD: usize = 20;
/// Bytes of their texts and materials at most: they are in memory too, so that a rollback needs no disk.
const MAX_BYTES: usize = 64 << 20;

/// What is known of a good version beside its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its number.
    pub number: u64,
    /// The blake3 of its text, hex.
    pub hash: String,
    /// The version that ran before it.
    #[serde(default)]
    pub parent: Option<u64>,
    /// Where it came from.
    pub origin: Origin,
    /// How dangerous the change was, if that is known: `low`, `medium` or `high`.
    #[serde(default)]
    pub risk: Option<String>,
    /// It was reverted, or rolled back from: a rollback without a number passes it over.
    #[serde(default)]
    pub reverted: bool,
    /// The program that accepted it.
    #[serde(default)]
    pub release: String,
}

/// A version that was fully active here.
#[derive(Clone, Debug)]
pub struct Good {
    /// About it.
    pub facts: Facts,
    /// Its text, before filling.
    pub text: Arc<str>,
    /// What filled it, and the files that it names.
    pub materials: Arc<Materials>,
}

/// What runs, good or not yet.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its text.
    pub text: Arc<str>,
    /// Where it came from, and over which text of the file it stands.
    pub kept: Kept,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Numbers and the rest.
    pub ledger: Ledger,
    /// The last good versions, by rising number.
    pub goods: Vec<Good>,
    /// What runs; nothing before the first version.
    pub active: Option<Standing>,
    /// The text whose `[admin]` holds, where that is not the active one's: it is never rolled back.
    pub admin: Option<Arc<str>>,
}

impl Good {
    /// By number and hash.
    pub fn name(&self) -> Ref {
        Ref { number: self.facts.number, hash: self.facts.hash.clone() }
    }

    /// It is the same one, nothing of it replaced.
    pub(super) fn is_same(&self, other: &Good) -> bool {
        let shared = Arc::ptr_eq(&self.text, &other.text) && Arc::ptr_eq(&self.materials, &other.materials);
        shared && self.facts == other.facts
    }

    fn size(&self) -> usize {
        self.text.len() + self.materials.size()
    }
}

impl Record {
    /// The good version of this number.
    pub fn good(&self, number: u64) -> Option<&Good> {
        self.goods.iter().find(|good| good.facts.number == number)
    }

    /// The good version that is named so, by both.
    pub fn named(&self, name: &Ref) -> Option<&Good> {
        self.good(name.number).filter(|good| good.facts.hash == name.hash)
    }

    /// The newest version that was good.
    pub fn last_good(&self) -> Option<&Good> {
        self.ledger.last_good.as_ref().and_then(|name| self.named(name))
    }

    /// Where a rollback without a number leads from `active`: the newest good version that is older and was not itself
    /// taken back, then the next, and so on.
    pub fn candidates(&self, active: u64) -> impl Iterator<Item = &Good> {
        self.goods.iter().rev().filter(move |good| good.facts.number < active && !good.facts.reverted)
    }

    /// A version is good. Older ones go when there are too many, but never one that may be needed.
    pub fn keep_good(&mut self, good: Good) {
        self.ledger.know_number(good.facts.number);
        self.ledger.last_good = Some(good.name());
        self.goods.retain(|known| known.facts.number != good.facts.number);
        let place = self.goods.partition_point(|known| known.facts.number < good.facts.number);
        self.goods.insert(place, good);
        self.prune();
    }

    /// What a good version is made of is newer.
    pub fn restock(&mut self, number: u64, materials: Arc<Materials>) {
        if let Some(good) = self.goods.iter_mut().find(|good| good.facts.number == number) {
            good.materials = materials;
        }
        self.prune();
    }

    /// A version was taken back.
    pub fn mark_reverted(&mut self, number: u64) {
        let mine = |good: &&mut Good| good.facts.number == number;
        if let Some(good) = self.goods.iter_mut().find(mine) {
            good.facts.reverted = true;
        }
    }

    /// Somebody went back to a version that was taken back before.
    pub fn wanted_again(&mut self, number: u64) {
        let mine = |good: &&mut Good| good.facts.number == number;
        if let Some(good) = self.goods.iter_mut().find(mine) {
            good.facts.reverted = false;
        }
    }

    fn prune(&mut self) {
        let mut size: usize = self.goods.iter().map(Good::size).sum();
        while self.goods.len() > MAX_GOOD || size > MAX_BYTES {
            let needed = [&self.ledger.active, &self.ledger.last_good, &self.ledger.confirmed];
            let needed: Vec<u64> = needed.into_iter().flatten().map(|name| name.number).collect();
            let free = |good: &Good| !needed.contains(&good.facts.number);
            // Among the kept ones there are at most three that must stay.
            let Some(oldest) = self.goods.iter().position(free) else { return };
            size = size.saturating_sub(self.goods.remove(oldest).size());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::Cause;

    pub(in crate::control::store) fn good(number: u64) -> Good {
        good_of(number, &format!("text {number}"))
    }

    pub(in crate::control::store) fn good_of(number: u64, text: &str) -> Good {
        let facts = Facts {
            number,
            hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
            parent: number.checked_sub(1),
            origin: Origin::now(Cause::Api, Some("ops".into()), None),
            risk: None,
            reverted: false,
            release: "0".into(),
        };
        Good { facts, text: text.into(), materials: Arc::default() }
    }

    #[test]
    fn the_last_twenty_stay_and_whatever_may_be_needed() {
        let mut record = Record::default();
        record.keep_good(good(1));
        record.ledger.active = Some(good(1).name());
        (2..=50).for_each(|number| record.keep_good(good(number)));
        assert_eq!(record.goods.len(), MAX_GOOD);
        assert!(record.good(1).is_some() && record.good(50).is_some() && record.good(2).is_none());
        assert!(record.goods.is_sorted_by_key(|good| good.facts.number));
        assert_eq!(record.ledger.take_number(), 51);
    }

    #[test]
    fn a_rollback_leads_to_the_newest_older_one_that_was_not_taken_back_itself() {
        let mut record = Record::default();
        (1..=4).for_each(|number| record.keep_good(good(number)));
        let lead = |record: &Record, from| record.candidates(from).next().map(|good| good.facts.number);
        assert_eq!(lead(&record, 4), Some(3));
        record.mark_reverted(3);
        assert_eq!(lead(&record, 4), Some(2));
        assert_eq!(lead(&record, 1), None);
    }

    #[test]
    fn large_versions_are_bounded_by_their_size() {
        let mut record = Record::default();
        (1..=20).for_each(|number| {
            record.keep_good(good_of(number, &format!("{number}{}", "x".repeat(8 << 20))))
        });
        assert!(record.goods.len() < 9, "{}", record.goods.len());
        assert_eq!(record.last_good().map(|good| good.facts.number), Some(20));
    }
}
