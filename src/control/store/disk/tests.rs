//! A process that dies between any two writes leaves a state that is whole: old or new, never a mixture.

use super::super::ledger::{Barred, Confirm, Pending, Ref, Why};
use super::super::record::tests::{good, good_of};
use super::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

/// A disk that stops taking anything after so many writes.
#[derive(Default)]
struct Fake {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    left: Cell<Option<usize>>,
}

impl Fake {
    fn spend(&self) -> io::Result<()> {
        match self.left.get() {
            Some(0) => Err(io::Error::other("the process is dead")),
            Some(left) => {
                self.left.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk for Fake {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files.borrow().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn list(&self, folder: &str) -> Vec<String> {
        let files = self.files.borrow();
        files
            .keys()
            .filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/'))
            .map(str::to_owned)
            .collect()
    }
    fn write(&self, name: &str, content: &[u8], private: bool) -> io::Result<()> {
        self.spend()?;
        assert_eq!(private, name.starts_with(SECRETS), "{name}");
        self.files.borrow_mut().insert(name.to_owned(), content.to_vec());
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        if self.files.borrow().contains_key(name) {
            self.spend()?;
            self.files.borrow_mut().remove(name);
        }
        Ok(())
    }
    fn set_aside(&self, name: &str) {
        self.files.borrow_mut().remove(name);
    }
}

/// A version becomes active and good.
fn advance(record: &mut Record, text: &str) {
    let number = record.ledger.take_number();
    let mut next = good_of(number, text);
    let secret = BTreeMap::from([("S".to_owned(), format!("secret of {number}"))]);
    next.materials = Arc::new(Materials { variables: secret, ..Materials::default() });
    record.ledger.active = Some(next.name());
    record.active = Some(Standing { text: text.into(), kept: Kept::of(text, &next.facts.origin, None) });
    record.keep_good(next);
}

/// Back to the version before.
fn back(record: &mut Record) {
    let from = record.ledger.active.clone().expect("something runs");
    let Some(to) = record.candidates(from.number).next().cloned() else { return };
    record.mark_reverted(from.number);
    record.ledger.bar(Barred {
        hash: from.hash,
        number: from.number,
        why: Why::RolledBack,
        at: "now".into(),
    });
    record.ledger.active = Some(to.name());
    record.active =
        Some(Standing { text: to.text.clone(), kept: Kept::of(&to.text, &to.facts.origin, None) });
}

/// What a start would run.
fn runs(record: &Record) -> Option<(u64, String)> {
    let active = record.ledger.active.as_ref()?;
    let standing = record.active.as_ref()?;
    assert_eq!(hash(&standing.text), active.hash, "number and text belong together");
    assert_eq!(standing.kept.hash, active.hash, "and so does what is said of it");
    Some((active.number, active.hash.clone()))
}

#[test]
fn what_was_written_is_read_again() {
    let (disk, mut record) = (Fake::default(), Record::default());
    advance(&mut record, "one");
    advance(&mut record, "two");
    back(&mut record);
    record.admin = Some("two".into());
    let mut written = Written::default();
    written.bring(&disk, &record).expect("written");
    let (again, trouble) = read(&disk);
    assert!(trouble.is_empty(), "{trouble:?}");
    assert_eq!((again.ledger, again.admin), (record.ledger, record.admin));
    assert_eq!(again.active.map(|active| active.text), Some("one".into()));
    assert_eq!(again.goods.len(), 2);
    assert!(again.goods[1].facts.reverted);
    assert_eq!(again.goods[0].materials.variables["S"], "secret of 1");
}

#[test]
fn what_an_older_program_left_is_the_first_version() {
    let disk = Fake::default();
    let origin = Origin::now(Cause::Api, Some("ops".into()), None);
    disk.write(LAST_GOOD, b"old", false).expect("written");
    disk.write(ORIGIN, json!(Kept::of("old", &origin, None)).to_string().as_bytes(), false).expect("written");
    let (mut record, _) = read(&disk);
    assert_eq!(runs(&record).map(|(number, _)| number), Some(1));
    assert_eq!(record.goods[0].facts.origin, origin);
    assert_eq!(record.ledger.take_number(), 2);
}

#[test]
fn a_damaged_ledger_is_made_again_and_numbers_go_on() {
    let (disk, mut record) = (Fake::default(), Record::default());
    ["one", "two", "three"].iter().for_each(|text| advance(&mut record, text));
    Written::default().bring(&disk, &record).expect("written");
    for broken in [&b"{\"next\":"[..], b"", b"\0\0\0\0"] {
        disk.write(STATE, broken, false).expect("written");
        let (mut again, trouble) = read(&disk);
        assert_eq!(trouble.len(), 1, "{trouble:?}");
        assert_eq!(runs(&again), runs(&record));
        assert_eq!(again.ledger.take_number(), 4);
    }
}

#[test]
fn a_damaged_good_version_is_not_used() {
    let (disk, mut record) = (Fake::default(), Record::default());
    ["one", "two"].iter().for_each(|text| advance(&mut record, text));
    Written::default().bring(&disk, &record).expect("written");
    disk.write("good/0000001.toml", b"on", false).expect("written");
    disk.write("good/x.json", b"", false).expect("written");
    let (again, trouble) = read(&disk);
    assert_eq!((again.goods.len(), trouble.len()), (1, 1), "{trouble:?}");
}

#[test]
fn versions_that_go_take_their_secrets_with_them() {
    let (disk, mut record, mut written) = (Fake::default(), Record::default(), Written::default());
    for n in 0..30 {
        advance(&mut record, &format!("text {n}"));
        written.bring(&disk, &record).expect("written");
    }
    assert_eq!((disk.list(GOOD).len(), disk.list(SECRETS).len()), (40, 20));
    assert_eq!(record.good(11).map(|good| good.text.clone()), Some("text 10".into()));
    assert!(good(1).materials.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_death_between_any_two_writes_leaves_the_old_state_or_the_new(
        steps in prop::collection::vec((any::<bool>(), 0usize..12), 1..30),
    ) {
        let (disk, mut record, mut written) = (Fake::default(), Record::default(), Written::default());
        advance(&mut record, "first");
        written.bring(&disk, &record).expect("written");
        for (n, (forward, left)) in steps.into_iter().enumerate() {
            let (before, highest) = (runs(&record), record.ledger.next);
            if forward { advance(&mut record, &format!("text {n}")) } else { back(&mut record) }
            disk.left.set(Some(left));
            let whole = written.bring(&disk, &record).is_ok();
            disk.left.set(None);
            let (again, trouble) = read(&disk);
            prop_assert!(trouble.is_empty(), "{:?}", trouble);
            let now = runs(&again);
            prop_assert!(now == before || now == runs(&record), "{:?} then {:?}", now, before);
            prop_assert!(!whole || now == runs(&record), "what was said to be written is");
            prop_assert!(again.last_good().is_some() && again.ledger.next >= highest);
            for good in &again.goods {
                prop_assert!(!good.materials.is_empty(), "no good version without its secrets");
            }
            // A new process goes on from what is there.
            written = Written::after(&again);
            record = again;
        }
    }
}

/// One write of what a change, a rollback or a word of somebody leaves in the books, as the control plane makes them.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Begun,
    Standing,
    Unconfirmed,
    Good,
    Back,
    Ended,
}

const MARKS: [Mark; 6] =
    [Mark::Begun, Mark::Standing, Mark::Unconfirmed, Mark::Good, Mark::Back, Mark::Ended];

fn mark(record: &mut Record, mark: Mark, text: &str) {
    let pending = |record: &Record| record.ledger.pending.clone();
    match mark {
        Mark::Begun => {
            let (number, hash) = (record.ledger.take_number(), hash(text));
            record.ledger.lift(&hash);
            record.ledger.pending =
                Some(Pending { number, hash, cause: "api".into(), by: None, reason: None });
            TEXT.with_borrow_mut(|known| text.clone_into(known));
        }
        Mark::Standing => {
            let Some(Pending { number, hash, .. }) = pending(record) else { return };
            let text = TEXT.with_borrow(|text| text.clone());
            let file = Some(blake3::hash(b"file"));
            let origin = Origin::now(Cause::Api, None, None);
            record.ledger.active = Some(Ref { number, hash });
            record.active = Some(Standing { kept: Kept::of(&text, &origin, file), text: text.into() });
        }
        Mark::Unconfirmed => {
            let (Some(active), Some(return_to)) = (&record.ledger.active, &record.ledger.last_good) else {
                return;
            };
            let (number, return_to) = (active.number, return_to.clone());
            record.ledger.confirm = Some(Confirm { number, until_ms: 0, return_to });
        }
        Mark::Good => {
            let (Some(active), Some(standing)) = (&record.ledger.active, &record.active) else { return };
            let mut next = good_of(active.number, &standing.text);
            let secret = BTreeMap::from([("S".to_owned(), "secret".to_owned())]);
            next.materials = Arc::new(Materials { variables: secret, ..Materials::default() });
            record.ledger.confirm = None;
            record.keep_good(next);
        }
        Mark::Back => {
            back(record);
            record.ledger.pending = None;
            record.ledger.confirm = None;
        }
        Mark::Ended => {
            let Some(Pending { number, hash, .. }) = record.ledger.pending.take() else { return };
            if record.ledger.active.as_ref().is_none_or(|active| active.number != number) {
                record.ledger.bar(Barred { hash, number, why: Why::Reverted, at: "now".into() });
            }
        }
    }
}

thread_local! {
    /// The text of the change under way: it is in memory only until it stands.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The version that a start would serve: what ran if that was good, else the last good one.
fn starts(record: &Record) -> Option<Ref> {
    let ran = record.ledger.active.as_ref().filter(|_| record.ledger.confirm.is_none());
    ran.and_then(|ran| record.named(ran)).or(record.last_good()).map(Good::name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// The same for every step of a change, a rollback and the words of people, at every one of their writes.
    #[test]
    fn a_death_at_any_write_of_any_step_starts_a_good_version_and_forgets_no_bar(
        steps in prop::collection::vec((0usize..6, 0usize..14), 1..40),
    ) {
        let (disk, mut record, mut written) = (Fake::default(), Record::default(), Written::default());
        advance(&mut record, "first");
        written.bring(&disk, &record).expect("written");
        for (n, (step, left)) in steps.into_iter().enumerate() {
            let (before, next) = (record.clone(), record.ledger.next);
            mark(&mut record, MARKS[step], &format!("text {n}"));
            disk.left.set(Some(left));
            let whole = written.bring(&disk, &record).is_ok();
            disk.left.set(None);
            let (again, trouble) = read(&disk);
            prop_assert!(trouble.is_empty(), "{:?}", trouble);
            let now = starts(&again);
            prop_assert!(now.is_some() && (now == starts(&before) || now == starts(&record)), "{:?}", now);
            prop_assert!(!whole || now == starts(&record), "what was said to be written is");
            let bars = &again.ledger.barred;
            prop_assert!(*bars == before.ledger.barred || *bars == record.ledger.barred);
            let least = if whole { record.ledger.next } else { next };
            prop_assert!(again.ledger.next >= least);
            let over = |record: &Record| record.active.as_ref().and_then(|active| active.kept.overruled.clone());
            let stands = over(&again);
            prop_assert!(stands == over(&before) || stands == over(&record), "{:?} stands", stands);
            if !whole {
                written = Written::after(&again);
                record = again;
            }
        }
    }
}
