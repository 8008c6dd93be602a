//! Who did what to which version, why, and what came of it: append-only rows, each bound to the one before it by a
//! hash (promise 10).
//!
//! Whoever appends never waits: the row goes to the thread of [`crate::control::history`], and a receipt says later
//! what became of it. What cannot be written is kept in memory within a bound and written late, marked as such; what
//! the bound drops is counted, and the count is a row. It deliberately does not decide what is worth a row, and it
//! cannot keep somebody who may write the files from writing all of them anew: for that its head is exported.

pub mod chain;
pub mod entry;
pub(super) mod head;
pub(super) mod lines;
pub(super) mod refusals;
pub mod verify;

use crate::control::history::{Database, History, Receipt, Unread};
pub use chain::Row;
pub use entry::{Entry, Outcome};
use serde::Serialize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use verify::{Beginning, Verifier};
pub use verify::{Expected, Verdict};

/// Rows of one answer at most.
pub const MAX_LISTED: usize = 1_000;

/// How long a question about the audit waits for its answer.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// The same for reading and hashing all of it.
const VERIFY_PATIENCE: Duration = Duration::from_secs(4);

/// Rows that are read and hashed between two changes.
const PART: u64 = 1_000;

/// The audit, for whoever appends or asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    history: History,
}

/// How the audit stands now; read without waiting for a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// The hash of the newest row, hex; zeros when there is none.
    pub head: String,
    /// The number of the newest row: rows so far, those included that were pruned or lost.
    pub count: u64,
    /// Begins anew when rows were lost, so above 1 something was.
    pub segment: u64,
    /// Changes that wait in memory because the database does not take them.
    pub waiting: u64,
    /// Changes that were dropped because too many waited.
    pub dropped: u64,
    /// Rows that are not in the shipped lines yet.
    pub lines_behind: u64,
    /// Times that the shipped lines could not be written.
    pub lines_failures: u64,
    /// The database is open. False for the first moments of a process.
    pub open: bool,
    /// Why nothing can be recorded, if so.
    pub unavailable: Option<String>,
}

/// Of a chain without rows, or one that was not looked at yet.
impl Default for AuditView {
    fn default() -> Self {
        AuditView {
            head: chain::NOTHING.to_owned(),
            count: 0,
            segment: 1,
            waiting: 0,
            dropped: 0,
            lines_behind: 0,
            lines_failures: 0,
            open: false,
            unavailable: None,
        }
    }
}

impl AuditView {
    /// A sentence for operators when something is wrong.
    pub fn complaint(&self) -> Option<String> {
        let why = self.unavailable.as_deref()?;
        let (waiting, dropped) = (self.waiting, self.dropped);
        Some(format!(
            "history and audit are not being recorded: {why}; changes that wait in memory: {waiting}, dropped: {dropped}. \
             hint: make room for the state directory, or mend it; what waits is then recorded by itself"
        ))
    }
}

/// A part of the audit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The newest first.
    pub items: Vec<Row>,
    /// The hash of the newest row of all.
    pub head: String,
    /// The number of the newest row of all.
    pub count: u64,
}

impl Audit {
    /// The audit that is kept in this history.
    pub fn of(history: &History) -> Self {
        Audit { history: history.clone() }
    }

    /// Appends a row. Never blocks; the receipt may be dropped.
    pub fn append(&self, entry: Entry) -> Receipt {
        self.history.append(entry.bounded())
    }

    /// Appends something refused. The like of it from the same place is counted for a while and becomes one row, so
    /// that a flood neither fills the disk nor pushes out what matters; nothing is returned then. `anonymous` is
    /// whoever gave no token that is known: of these only the address tells.
    pub fn refuse(&self, entry: Entry, anonymous: bool) -> Option<Receipt> {
        let first = self.history.board.refusals.take(entry.bounded(), anonymous, Instant::now())?;
        Some(self.history.append(first))
    }

    /// The thread that writes has been at one thing for long: waiting for a receipt would hold up an operator.
    pub fn is_held_up(&self) -> bool {
        self.history.board.is_held_up()
    }

    /// How it stands.
    pub fn view(&self) -> AuditView {
        let board = &self.history.board;
        let mut view = board.audit();
        view.dropped = board.dropped.load(Relaxed);
        let stuck = board.stuck().map(|stuck| format!("its disk has not answered for {} s", stuck.as_secs()));
        let gone = board.is_deserted().then(|| "its thread has ended, which is a defect".to_owned());
        if let Some(why) = gone.or(stuck) {
            (view.open, view.unavailable) = (false, Some(why));
        }
        view
    }

    /// At most `limit` rows before the row `before` (all without), the newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub async fn rows(&self, limit: usize, before: Option<u64>) -> Result<Page, Unread> {
        let limit = limit.min(MAX_LISTED);
        let page = self.history.ask(READ_PATIENCE, move |database| database.audit_rows(limit, before));
        let items = page.await?;
        let AuditView { head, count, .. } = self.view();
        Ok(Page { items, head, count })
    }

    /// Reads and hashes every row that is kept, a part at a time, so that changes are recorded in between.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub async fn verify(&self, expected: Expected) -> Result<Verdict, Unread> {
        let until = tokio::time::Instant::now() + VERIFY_PATIENCE;
        let first = self.verify_once(&expected, until).await?;
        match first {
            (verdict, true) => Ok(verdict),
            // The oldest rows were removed while they were read.
            (_, false) => Ok(self.verify_once(&expected, until).await?.0),
        }
    }

    /// The verdict, and whether the rows that it was reached on are still those that are kept.
    async fn verify_once(
        &self,
        expected: &Expected,
        until: tokio::time::Instant,
    ) -> Result<(Verdict, bool), Unread> {
        let AuditView { head, count, .. } = self.view();
        let known = Expected { head: (count > 0).then_some(head), count: Some(count) };
        let mut verifier = Verifier::new(Beginning::Whole, &[expected, &known]);
        let mut after = 0;
        loop {
            let part = move |database: &Database| {
                let last = database.verify_some(&mut verifier, after, PART)?;
                let oldest = database.oldest()?.unwrap_or(0);
                Ok((verifier, last, oldest))
            };
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let (read, last, oldest) = self.history.ask(left, part).await?;
            match last {
                Some(last) => (verifier, after) = (read, last),
                None => {
                    let verdict = read.finish();
                    let is_still_so = verdict.rows == 0 || verdict.first == oldest;
                    return Ok((verdict, is_still_so));
                }
            }
        }
    }
}
