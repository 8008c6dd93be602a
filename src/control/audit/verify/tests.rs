//! Chains that somebody laid hands on: whatever is done to one row is found, and the row is named.

use super::*;
use crate::control::audit::chain::{checkpoint, loss};
use crate::control::audit::head::Head;
use crate::control::audit::{Entry, Outcome};
use proptest::prelude::*;

fn chain_after(head: &mut Head, entries: impl IntoIterator<Item = Entry>) -> Vec<Row> {
    let follow = |entry| {
        let row = Row::after(head, entry, false);
        *head = row.head();
        row
    };
    entries.into_iter().map(follow).collect()
}

fn chain(count: usize) -> Vec<Row> {
    let entries = (0..count).map(|n| Entry::new("ops", "apply").version(n as u64));
    chain_after(&mut Head::default(), entries)
}

fn verdict_of(rows: &[Row], expected: &Expected) -> Verdict {
    let mut verifier = Verifier::new(Beginning::Whole, &[expected]);
    rows.iter().cloned().for_each(|row| verifier.take(row));
    verifier.finish()
}

fn verdict(rows: &[Row]) -> Verdict {
    verdict_of(rows, &Expected::default())
}

fn faults(verdict: &Verdict) -> Vec<(u64, What)> {
    verdict.faults.iter().map(|fault| (fault.seq, fault.what)).collect()
}

fn head(hash: &str) -> Expected {
    Expected { head: Some(hash.to_owned()), count: None }
}

/// Something else in each field, by number.
fn changed(row: &Row, field: usize) -> Row {
    let mut row = row.clone();
    let it = &mut row.entry;
    match field {
        0 => it.at_ms += 1,
        1 => it.actor.push('x'),
        2 => it.role.push('x'),
        3 => it.address.push('x'),
        4 => it.action.push('x'),
        5 => it.target = Some("x".into()),
        6 => it.asked = Some("x".into()),
        7 => it.version = Some(1 << 40),
        8 => it.reason = Some("x".into()),
        9 => it.risk = Some("x".into()),
        10 => it.acknowledgements.push("x".into()),
        11 => it.outcome = Outcome::Failed,
        12 => it.why = Some("x".into()),
        13 => it.times += 1,
        14 => row.late = !row.late,
        15 => row.clock_went_back = !row.clock_went_back,
        16 => row.segment += 1,
        17 => row.prev = "f".repeat(64),
        _ => row.hash = "f".repeat(64),
    }
    row
}

#[test]
fn a_chain_that_nobody_touched_is_valid_and_tells_how_much_came_after_a_head() {
    let rows = chain(5);
    let verdict = verdict_of(&rows, &head(&rows[1].hash.to_uppercase()));
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!((verdict.rows, verdict.first, verdict.count, verdict.rows_after_head), (5, 1, 5, Some(3)));
    assert_eq!(verdict.head, rows[4].hash);
    assert!(self::verdict(&[]).valid);
}

#[test]
fn a_row_that_was_written_anew_with_a_hash_of_its_own_is_named() {
    let mut rows = chain(5);
    rows[2].entry.reason = Some("it was somebody else".into());
    rows[2].hash = rows[2].computed();
    assert_eq!(faults(&verdict(&rows)), [(3, What::Changed)]);
}

#[test]
fn what_was_cut_off_at_the_end_needs_a_head_or_a_count_to_be_found() {
    let rows = chain(5);
    assert!(verdict(&rows[..3]).valid);
    assert_eq!(faults(&verdict_of(&rows[..3], &head(&rows[4].hash))), [(4, What::Truncated)]);
    let count = Expected { head: None, count: Some(5) };
    assert_eq!(faults(&verdict_of(&rows[..3], &count)), [(5, What::Truncated)]);
    assert!(verdict_of(&rows, &count).valid);
}

#[test]
fn a_row_that_is_there_twice_or_elsewhere_is_named() {
    let mut rows = chain(5);
    rows.insert(3, rows[2].clone());
    assert_eq!(faults(&verdict(&rows)), [(3, What::Inserted)]);
    let mut rows = chain(5);
    rows.swap(1, 3);
    assert!(faults(&verdict(&rows)).contains(&(2, What::Reordered)), "{:?}", verdict(&rows));
}

#[test]
fn a_loss_that_the_chain_names_is_a_notice_but_a_head_of_it_is_gone() {
    let mut end = Head::default();
    let mut rows = chain_after(&mut end, chain(5).into_iter().map(|row| row.entry));
    let lost = rows.split_off(3);
    let named = loss(&end, "the database was deleted");
    end.segment += 1;
    rows.extend(chain_after(&mut end, [named, Entry::new("ops", "apply")]));
    let verdict = verdict_of(&rows, &Expected::default());
    assert!(verdict.valid && verdict.notices[0].contains("known was 5"), "{verdict:?}");
    assert_eq!((verdict.segment, verdict.count), (2, 7));
    assert!(self::verdict(&rows[3..]).valid, "also when nothing is left of what was before");
    let gone = verdict_of(&rows, &head(&lost[1].hash));
    assert!(gone.faults[0].detail.contains("was lost with its segment"), "{gone:?}");
}

#[test]
fn removed_rows_are_accounted_for_by_a_checkpoint_and_by_nothing_else() {
    let mut end = Head::default();
    let mut rows = chain_after(&mut end, chain(6).into_iter().map(|row| row.entry));
    rows.extend(chain_after(&mut end, [checkpoint(2, &rows[1].hash.clone())]));
    assert!(verdict(&rows[2..]).valid, "{:?}", verdict(&rows[2..]));
    assert_eq!(faults(&verdict(&rows[3..])), [(3, What::Removed)]);
    let old = verdict_of(&rows[2..], &head(&rows[0].hash));
    assert!(old.faults[0].detail.contains("of a row before 3"), "{old:?}");
    let mut anywhere = Verifier::new(Beginning::Anywhere, &[]);
    rows[4..].iter().cloned().for_each(|row| anywhere.take(row));
    let verdict = anywhere.finish();
    assert!(verdict.valid && verdict.notices[0].contains("begins with row 5"), "{verdict:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_row_that_was_changed_is_named(count in 2_usize..20, at: prop::sample::Index, field in 0_usize..19) {
        let mut rows = chain(count);
        let at = at.index(count);
        rows[at] = changed(&rows[at], field);
        let verdict = verdict(&rows);
        prop_assert!(!verdict.valid);
        prop_assert!(faults(&verdict).contains(&(at as u64 + 1, What::Changed)), "{verdict:?}");
    }

    #[test]
    fn any_row_that_was_removed_is_named(count in 2_usize..20, at: prop::sample::Index) {
        let mut rows = chain(count);
        let end = rows[count - 1].hash.clone();
        let gone = rows.remove(at.index(count)).seq;
        let verdict = verdict_of(&rows, &head(&end));
        let what = if gone == count as u64 { What::Truncated } else { What::Removed };
        prop_assert_eq!(faults(&verdict), [(gone, what)]);
    }

    #[test]
    fn any_two_rows_that_changed_places_are_named(count in 2_usize..20, a: prop::sample::Index, b: prop::sample::Index) {
        let (a, b) = (a.index(count), b.index(count));
        prop_assume!(a != b);
        let mut rows = chain(count);
        rows.swap(a, b);
        let moved = verdict(&rows);
        prop_assert!(!moved.valid);
        let (first, last) = (a.min(b) as u64 + 1, a.max(b) as u64 + 1);
        prop_assert!(moved.faults.iter().all(|it| (first..=last).contains(&it.seq)), "{moved:?}");
        // With their numbers changed too, as a database has them.
        let (ours, theirs) = (rows[a].seq, rows[b].seq);
        (rows[a].seq, rows[b].seq) = (theirs, ours);
        let exchanged = verdict(&rows);
        for row in [first, last] {
            prop_assert!(faults(&exchanged).contains(&(row, What::Changed)), "{exchanged:?}");
        }
    }

    #[test]
    fn any_end_that_was_cut_off_is_found_with_the_head(count in 2_usize..20, kept: prop::sample::Index) {
        let rows = chain(count);
        let kept = kept.index(count);
        let verdict = verdict_of(&rows[..kept], &head(&rows[count - 1].hash));
        prop_assert_eq!(faults(&verdict), [(kept as u64 + 1, What::Truncated)]);
    }
}
