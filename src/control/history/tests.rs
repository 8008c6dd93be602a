//! The history as its callers see it: what is recorded is read again, and a disk that fails, or a database that is
//! lost, costs nobody anything but what was in it.

use super::*;
use crate::control::audit::chain::{CHECKPOINT, DROPPED, SEGMENT};
use crate::control::audit::verify::{Beginning, Expected, Verifier};
use crate::control::audit::{Audit, Verdict, entry};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A state directory, and a runtime to ask from.
struct Home {
    directory: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Home {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Home { directory: tempfile::tempdir().expect("a directory"), runtime: runtime.expect("a runtime") }
    }

    fn open(&self) -> History {
        History::open(self.directory.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn written(&self, receipt: Receipt) -> Written {
        self.runtime.block_on(receipt.within(PATIENCE))
    }

    /// Appends so many rows, and waits for each.
    fn append(&self, history: &History, count: u64) {
        for _ in 0..count {
            let receipt = Audit::of(history).append(Entry::new("ops", "drain").to("orders/a"));
            assert!(matches!(self.written(receipt), Written::Recorded(_)));
        }
    }

    fn verify(&self, history: &History) -> Verdict {
        let expected = Expected::default();
        self.until("it answers", || self.runtime.block_on(Audit::of(history).verify(expected.clone())).ok())
    }

    fn rows(&self, history: &History) -> Vec<crate::control::audit::Row> {
        let page =
            self.until("it answers", || self.runtime.block_on(Audit::of(history).rows(1_000, None)).ok());
        page.items.into_iter().rev().collect()
    }

    fn until<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = seen() {
                return value;
            }
            assert!(Instant::now() < end, "in vain until {what}");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn version(number: u64, text: &str) -> VersionRow {
    let summary = VersionSummary {
        number,
        hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        parent: number.checked_sub(1),
        cause: "api".into(),
        author: Some("ops".into()),
        reason: Some("the fleet is slow".into()),
        risk: Some("low".into()),
        at_ms: 1,
        outcome: VersionOutcome::RollingOut,
        outcome_why: None,
        outcome_at_ms: 1,
    };
    VersionRow {
        summary,
        text: text.into(),
        differences: json!([{ "route": "orders" }]),
        findings: Value::Null,
    }
}

#[test]
fn refusals_that_were_counted_for_a_while_are_no_clock_that_was_put_back() {
    let home = Home::new();
    let history = home.open();
    let audit = Audit::of(&history);
    let now = jiff::Timestamp::now().as_millisecond();
    let at = |ago: i64, entry: Entry| Entry { at_ms: now - ago, ..entry };
    let refused = || Entry::new("anonymous", "read").from("", "192.0.2.1").refused("unauthenticated");
    assert!(audit.refuse(at(90_000, refused()), true).is_some(), "the first is a row at once");
    assert!(audit.refuse(at(60_000, refused()), true).is_none(), "the second is counted");
    let receipt = audit.append(at(30_000, Entry::new("ops", "drain").to("orders/a")));
    assert!(matches!(home.written(receipt), Written::Recorded(2)));
    history.end(PATIENCE);
    let history = home.open();
    let (verdict, rows) = (home.verify(&history), home.rows(&history));
    assert_eq!((verdict.valid, verdict.rows, verdict.clock_went_back), (true, 3, 0), "{rows:?}");
    assert!(rows.is_sorted_by_key(|row| row.entry.at_ms), "{rows:?}");
    let why = rows[2].entry.why.clone().unwrap_or_default();
    assert!(why.contains("1 more like this") && why.contains(&entry::told(now - 60_000)), "{why}");
}

#[test]
fn versions_are_kept_with_what_became_of_them_and_the_oldest_go() {
    let home = Home::new();
    let history = home.open();
    for number in 1..=VERSIONS_KEPT + 3 {
        assert_eq!(home.written(history.record(version(number, "text"))), Written::Recorded(number));
    }
    assert_eq!(home.written(history.record(version(7, "text"))), Written::Recorded(7));
    assert!(matches!(home.written(history.record(version(7, "another"))), Written::Unrecorded(_)));
    let reverted = history.outcome(9, VersionOutcome::Reverted, Some("8 failures"));
    assert_eq!(home.written(reverted), Written::Recorded(9));
    assert!(matches!(home.written(history.outcome(1, VersionOutcome::Good, None)), Written::Unrecorded(_)));
    let list = home.runtime.block_on(history.versions(1_000)).expect("read");
    let numbers = (list.len() as u64, list[0].number, list[list.len() - 1].number);
    assert_eq!(numbers, (VERSIONS_KEPT, VERSIONS_KEPT + 3, 4));
    let kept = home.runtime.block_on(history.version(9)).expect("read").expect("kept");
    assert_eq!((kept.text.as_str(), kept.summary.outcome), ("text", VersionOutcome::Reverted));
    assert_eq!(kept.summary.outcome_why.as_deref(), Some("8 failures"));
    assert_eq!(home.runtime.block_on(history.version(2)), Ok(None));
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 5);
    history.end(PATIENCE);
    let again = home.open();
    home.append(&again, 5);
    let verdict = home.verify(&again);
    assert!(verdict.valid && verdict.notices.is_empty(), "{verdict:?}");
    assert_eq!((verdict.count, verdict.segment), (10, 1));
    assert_eq!(Audit::of(&again).view().head, verdict.head);
}

#[test]
fn what_waits_is_written_before_the_end() {
    let home = Home::new();
    let history = home.open();
    let audit = Audit::of(&history);
    let receipts: Vec<_> = (0..200).map(|_| audit.append(Entry::new("ops", "apply"))).collect();
    for _ in 0..3 {
        audit.refuse(Entry::new("anonymous", "apply").refused("unauthenticated"), true);
    }
    history.end(PATIENCE);
    assert!(receipts.into_iter().all(|receipt| matches!(home.written(receipt), Written::Recorded(_))));
    let rows = home.rows(&home.open());
    assert_eq!((rows.len(), rows[201].entry.times), (202, 2));
}

#[test]
fn a_database_that_was_deleted_begins_a_segment_that_names_the_loss() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 5);
    let head = Audit::of(&history).view().head;
    fs::remove_file(home.path("history.db")).expect("removed");
    home.append(&history, 1);
    let rows = home.rows(&history);
    assert_eq!((rows[0].entry.action.as_str(), rows[0].segment, rows[0].seq), (SEGMENT, 2, 6));
    assert_eq!((rows[0].prev.as_str(), rows[1].entry.action.as_str()), (head.as_str(), "drain"));
    let verdict = home.verify(&history);
    assert!(verdict.valid && verdict.notices[0].contains("known was 5"), "{verdict:?}");
}

#[test]
fn a_loss_while_nobody_looked_is_named_at_the_start() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 5);
    history.end(PATIENCE);
    fs::write(home.path("history.db"), "garbage ".repeat(4096)).expect("written");
    let again = home.open();
    home.append(&again, 1);
    let rows = home.rows(&again);
    assert_eq!((rows[0].entry.action.as_str(), rows[0].seq), (SEGMENT, 6));
    assert!(rows[0].entry.why.as_deref().is_some_and(|why| why.contains("history.db.lost-1")), "{rows:?}");
    assert!(home.path("history.db.lost-1").exists());
}

#[test]
fn a_head_beside_the_database_that_is_a_little_old_is_no_loss() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 2);
    let old = fs::read(home.path("audit-head.json")).expect("kept");
    home.append(&history, 3);
    history.end(PATIENCE);
    for content in [&old[..], b"{", b""] {
        fs::write(home.path("audit-head.json"), content).expect("written");
        let history = home.open();
        home.append(&history, 1);
        let verdict = home.verify(&history);
        assert!(verdict.valid && verdict.segment == 1 && verdict.notices.is_empty(), "{verdict:?}");
        history.end(PATIENCE);
    }
}

#[test]
fn without_its_tables_it_is_as_good_as_damaged() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 2);
    history.end(PATIENCE);
    let database = rusqlite::Connection::open(home.path("history.db")).expect("opens");
    database.execute_batch("DROP TABLE audit").expect("dropped");
    drop(database);
    let history = home.open();
    home.append(&history, 1);
    assert_eq!(home.verify(&history).segment, 2);
}

#[test]
fn a_row_that_is_no_text_any_more_is_named_and_hides_no_other() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 3);
    history.end(PATIENCE);
    let database = rusqlite::Connection::open(home.path("history.db")).expect("opens");
    database.execute_batch("UPDATE audit SET actor = CAST(x'ff' AS TEXT) WHERE seq = 2").expect("spoilt");
    drop(database);
    let verdict = home.verify(&home.open());
    assert_eq!((verdict.valid, verdict.faults[0].seq, verdict.rows), (false, 2, 3), "{verdict:?}");
}

#[test]
fn whoever_only_reads_keeps_no_change_from_being_recorded() {
    let home = Home::new();
    let (history, heard) = History::unattended();
    let audit = Audit::of(&history);
    let asked = home.runtime.block_on(async {
        let ask = || tokio::time::timeout(Duration::ZERO, audit.verify(Expected::default()));
        futures_util::future::join_all((0..2 * COMMANDS_WAITING).map(|_| ask())).await
    });
    let busy = asked.iter().filter(|answer| matches!(answer, Ok(Err(Unread::Busy)))).count();
    assert_eq!(busy, 2 * COMMANDS_WAITING - QUESTIONS);
    let receipt = audit.append(Entry::new("ops", "apply"));
    let keeper = Keeper::new(home.directory.path(), heard, history.board.clone());
    history.board.attended_by(thread::spawn(move || keeper.run()));
    assert_eq!(home.written(receipt), Written::Recorded(1));
}

#[test]
fn garbage_in_the_running_database_is_noticed() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 5);
    for name in ["history.db-wal", "history.db"] {
        fs::write(home.path(name), "garbage ".repeat(4096)).expect("written");
    }
    home.append(&history, 1);
    let rows = home.rows(&history);
    assert_eq!((rows[0].entry.action.as_str(), rows[0].seq), (SEGMENT, 6));
    assert!(home.verify(&history).valid);
}

#[test]
fn what_the_log_beside_the_database_still_has_is_not_lost() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 5);
    fs::write(home.path("history.db"), "garbage ".repeat(4096)).expect("written");
    home.append(&history, 1);
    let verdict = home.verify(&history);
    assert!(verdict.valid && verdict.rows == 6 && verdict.segment == 1, "{verdict:?}");
}

#[test]
fn an_older_database_put_in_its_place_does_not_hide_what_came_after_it() {
    let home = Home::new();
    let history = home.open();
    home.append(&history, 3);
    history.end(PATIENCE);
    fs::copy(home.path("history.db"), home.path("older")).expect("copied");
    let history = home.open();
    home.append(&history, 3);
    history.end(PATIENCE);
    fs::rename(home.path("older"), home.path("history.db")).expect("put there");
    let again = home.open();
    home.append(&again, 1);
    let verdict = home.verify(&again);
    assert!(verdict.valid && verdict.notices[0].contains("known was 6"), "{verdict:?}");
    assert_eq!((verdict.rows, verdict.count, verdict.segment), (5, 8, 2));
}

#[test]
fn what_the_disk_does_not_take_is_written_late_and_marked() {
    let home = Home::new();
    fs::create_dir(home.path("history.db")).expect("in its way");
    let history = home.open();
    let audit = Audit::of(&history);
    let waiting = audit.append(Entry::new("ops", "apply"));
    assert!(matches!(home.written(waiting), Written::Unrecorded(why) if why.contains("kept in memory")));
    assert!(audit.is_held_up() && audit.view().complaint().is_some());
    let asked = home.runtime.block_on(history.versions(1));
    assert!(matches!(asked, Err(Unread::Unavailable(_))), "{asked:?}");
    fs::remove_dir(home.path("history.db")).expect("out of its way");
    home.until("it is recorded", || (audit.view().count == 1).then_some(()));
    home.append(&history, 1);
    let rows = home.rows(&history);
    assert_eq!(rows.iter().map(|row| row.late).collect::<Vec<_>>(), [true, false]);
    assert_eq!((audit.view().complaint(), home.verify(&history).valid), (None, true));
}

#[test]
fn what_nobody_takes_is_counted_and_the_count_is_a_row() {
    let home = Home::new();
    let (history, heard) = History::unattended();
    let audit = Audit::of(&history);
    let receipts: Vec<_> =
        (0..COMMANDS_WAITING + 7).map(|_| audit.append(Entry::new("ops", "apply"))).collect();
    assert_eq!(audit.view().dropped, 7);
    let last = receipts.into_iter().next_back().expect("many");
    assert!(matches!(home.written(last), Written::Unrecorded(_)));
    let keeper = Keeper::new(home.directory.path(), heard, history.board.clone());
    history.board.attended_by(thread::spawn(move || keeper.run()));
    history.end(PATIENCE);
    let rows = home.rows(&home.open());
    let told = rows.iter().find(|row| row.entry.action == DROPPED).expect("a row that tells");
    assert_eq!((told.entry.times, rows.len()), (7, 1_000));
}

#[test]
fn the_oldest_rows_go_and_one_that_stays_accounts_for_them() {
    let home = Home::new();
    let (history, heard) = History::unattended();
    let keeper = Keeper::new(home.directory.path(), heard, history.board.clone()).keeping(20);
    history.board.attended_by(thread::spawn(move || keeper.run()));
    home.append(&history, 100);
    let rows = home.rows(&history);
    assert!(rows.len() <= 22 && rows.iter().any(|row| row.entry.action == CHECKPOINT), "{} rows", rows.len());
    let verdict = home.verify(&history);
    assert!(verdict.valid && verdict.notices[0].contains("were removed"), "{verdict:?}");
    let lines = fs::read_to_string(home.path("audit.jsonl")).expect("readable");
    assert_eq!(lines.lines().count() as u64, verdict.count, "they were shipped before");
}

#[test]
fn a_disk_that_is_full_costs_no_row() {
    let home = Home::new();
    let mut database = Database::open(home.directory.path(), 1_000).expect("opens");
    database.connection.pragma_update(None, "max_page_count", 8).expect("it is small");
    let mut head = crate::control::audit::head::Head::default();
    let taken = (0..1_000_u64).find(|_| {
        let row = crate::control::audit::Row::after(&head, Entry::new("ops", "x".repeat(90)), false);
        match database.write(|connection| ledger::append(connection, &row)) {
            Ok(()) => head = row.head(),
            Err(database::Trouble::Failing(_)) => return true,
            Err(other) => panic!("{other}"),
        }
        false
    });
    let mut verifier = Verifier::new(Beginning::Whole, &[]);
    let last = database.verify_some(&mut verifier, 0, 1_000).expect("read");
    assert!(verifier.finish().valid && last == taken, "{last:?} of {taken:?}");
}

#[test]
fn the_lines_have_every_row_also_those_of_the_time_when_they_could_not_be_written() {
    let home = Home::new();
    fs::create_dir(home.path("audit.jsonl")).expect("in its way");
    let history = home.open();
    home.append(&history, 3);
    let audit = Audit::of(&history);
    home.until("it is told", || (audit.view().lines_behind == 3).then_some(()));
    fs::remove_dir(home.path("audit.jsonl")).expect("out of its way");
    home.until("they are made up for", || (audit.view().lines_behind == 0).then_some(()));
    let text = fs::read_to_string(home.path("audit.jsonl")).expect("readable");
    assert_eq!(text.lines().count(), 3);
    assert!(audit.view().lines_failures > 0);
}
