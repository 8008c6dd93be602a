//! Which version a rollback leads to. Pure.

use crate::control::store::record::{Good, Record};

/// Why nothing came back; what ran goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrollable {
    /// There is nothing older that was good.
    #[error("there is no good version older than {active}; known good versions: {}", listed(.known))]
    NoneGood {
        /// What runs.
        active: u64,
        /// Good versions that a number can name.
        known: Vec<u64>,
    },
    /// This one was never fully active here, or it was so long ago that it is not kept any more.
    #[error("version {number} was never good here, or is not kept any more; known good versions: {}", listed(.known))]
    NotGood {
        /// What was asked for.
        number: u64,
        /// Good versions that a number can name.
        known: Vec<u64>,
    },
    /// It cannot be read or built by this program.
    #[error("version {number} cannot come back: {why}")]
    Unusable {
        /// What was asked for.
        number: u64,
        /// What is wrong.
        why: String,
    },
    /// No older good version can be read or built by this program.
    #[error("no older version can come back. {}", .0.join(" "))]
    NoneUsable(Vec<String>),
    /// Other rollbacks are waiting.
    #[error("other rollbacks are under way")]
    Busy,
    /// The process ends.
    #[error("the gateway is leaving")]
    Gone,
}

/// The versions to try, the best first; nothing if the active one is wanted.
///
/// # Errors
/// If there is none.
pub(super) fn choose(
    record: &Record,
    active: u64,
    target: Option<u64>,
) -> Result<Option<Vec<Good>>, Unrollable> {
    let known = || record.goods.iter().map(|good| good.facts.number).collect();
    let Some(number) = target else {
        // Where the active one is not good, the one that it took the place of comes first: it need not be the newest.
        let before = record.ledger.confirmed.as_ref().filter(|name| name.number < active);
        let before: Vec<_> = before.and_then(|name| record.named(name)).into_iter().collect();
        let others = record
            .candidates(active)
            .filter(|good| before.iter().all(|it| it.facts.number != good.facts.number));
        let older: Vec<_> = before.iter().copied().chain(others).cloned().collect();
        return match older.is_empty() {
            true => Err(Unrollable::NoneGood { active, known: known() }),
            false => Ok(Some(older)),
        };
    };
    match record.good(number) {
        // One that is active and not good yet is nothing to go back to.
        Some(_) if number == active => Ok(None),
        Some(good) => Ok(Some(vec![good.clone()])),
        None => Err(Unrollable::NotGood { number, known: known() }),
    }
}

fn listed(numbers: &[u64]) -> String {
    match numbers {
        [] => "none".to_owned(),
        numbers => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Cause;
    use crate::control::origin::Origin;
    use crate::control::store::record::Facts;
    use std::sync::Arc;

    fn record(numbers: &[u64]) -> Record {
        let mut record = Record::default();
        for number in numbers {
            let facts = Facts {
                number: *number,
                hash: number.to_string(),
                parent: None,
                origin: Origin::now(Cause::Api, None, None),
                risk: None,
                reverted: false,
                release: String::new(),
            };
            record.keep_good(Good { facts, text: "".into(), materials: Arc::default() });
        }
        record
    }

    fn chosen(record: &Record, active: u64, target: Option<u64>) -> Result<Option<Vec<u64>>, Unrollable> {
        let numbers = |goods: Vec<Good>| goods.iter().map(|good| good.facts.number).collect();
        choose(record, active, target).map(|goods| goods.map(numbers))
    }

    #[test]
    fn without_a_number_it_is_the_newest_older_one_that_was_not_taken_back() {
        let mut known = record(&[1, 2, 3, 5]);
        assert_eq!(chosen(&known, 5, None), Ok(Some(vec![3, 2, 1])));
        assert_eq!(chosen(&known, 4, None), Ok(Some(vec![3, 2, 1])), "4 was active and never good");
        known.mark_reverted(3);
        assert_eq!(chosen(&known, 5, None), Ok(Some(vec![2, 1])));
        let none = chosen(&known, 1, None).expect_err("nothing is older").to_string();
        assert!(none.contains("older than 1") && none.contains("1, 2, 3, 5"), "{none}");
    }

    #[test]
    fn a_version_that_is_not_good_gives_way_to_the_one_whose_place_it_took() {
        let mut known = record(&[1, 2, 3]);
        // Somebody went back from 3 to 1, and 4 is active and bakes.
        known.mark_reverted(3);
        known.ledger.confirmed = known.good(1).map(Good::name);
        assert_eq!(chosen(&known, 4, None), Ok(Some(vec![1, 2])));
        assert!(matches!(chosen(&known, 4, Some(4)), Err(Unrollable::NotGood { number: 4, .. })));
        // What somebody went back to is where the next one leads back to, though it had been taken back once.
        known.wanted_again(3);
        known.ledger.confirmed = known.good(3).map(Good::name);
        known.mark_reverted(1);
        assert_eq!(chosen(&known, 4, None), Ok(Some(vec![3, 2])));
    }

    #[test]
    fn a_number_names_any_version_that_was_good() {
        let mut known = record(&[1, 2, 3]);
        known.mark_reverted(3);
        assert_eq!(chosen(&known, 2, Some(3)), Ok(Some(vec![3])), "newer, or taken back itself");
        assert_eq!(chosen(&known, 2, Some(2)), Ok(None));
        assert!(matches!(chosen(&known, 2, Some(9)), Err(Unrollable::NotGood { number: 9, .. })));
        assert!(chosen(&record(&[]), 2, Some(9)).expect_err("none").to_string().ends_with("none"));
    }
}
