//! The thread that owns the database: takes changes in batches, writes each batch in one transaction, and keeps in
//! memory what the disk does not take.
//!
//! It alone knows where the chain ends. When the database is damaged or gone it is set aside, and the chain goes on
//! in a new segment whose first row names what was lost.

use super::board::Board;
use super::database::{Database, Trouble, set_aside};
use super::fingerprint::Meanwhile;
use super::ledger::ROWS_KEPT;
use super::transaction::{Due, Settled};
use super::{Command, Question, Write, Written};
use crate::control::audit::head::Head;
use crate::control::audit::lines::Lines;
use crate::control::audit::{Entry, Row};
use crate::telemetry::events::{AuditRecorded, AuditUnavailable};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Between looks at what is due.
const TICK: Duration = Duration::from_millis(500);

/// Between attempts at a database that did not take a change.
const RETRY: Duration = Duration::from_secs(2);

/// Changes in one transaction, and so in one wait for the disk.
const BATCH: usize = 64;

/// Changes that are kept in memory while the database does not take them.
const WAITING: usize = 1_000;

/// A change on its way.
struct Pending {
    write: Write,
    /// Who wants to know; nobody once they were told that it waits.
    answer: Option<oneshot::Sender<Written>>,
    late: bool,
}

/// The thread's own.
pub(super) struct Keeper {
    directory: PathBuf,
    commands: Receiver<Command>,
    board: Arc<Board>,
    database: Option<Database>,
    /// No attempt before this.
    retry_at: Option<Instant>,
    pending: VecDeque<Pending>,
    /// The end of the chain as far as it is known.
    head: Option<Head>,
    /// What the next row has to name, if rows were lost.
    loss: Option<String>,
    /// Drops that a row tells of already.
    dropped_told: u64,
    lines: Lines,
    max_rows: u64,
}

impl Keeper {
    pub(super) fn new(directory: &Path, commands: Receiver<Command>, board: Arc<Board>) -> Self {
        Keeper {
            directory: directory.to_owned(),
            commands,
            board,
            database: None,
            retry_at: None,
            pending: VecDeque::new(),
            head: None,
            loss: None,
            dropped_told: 0,
            lines: Lines::in_directory(directory),
            max_rows: ROWS_KEPT,
        }
    }

    /// With room for fewer rows of the audit.
    #[cfg(test)]
    pub(super) fn keeping(self, max_rows: u64) -> Self {
        Keeper { max_rows, ..self }
    }

    /// Until it is told to end, or everybody who could ask has gone.
    #[expect(clippy::disallowed_methods, reason = "the thread's own folder, before anything waits for it")]
    pub(super) fn run(mut self) {
        self.board.busy(true);
        // What is wrong with it, opening the database will say.
        let _ = fs::create_dir_all(&self.directory);
        self.look();
        loop {
            self.board.busy(false);
            let first = match self.commands.recv_timeout(TICK) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.board.busy(true);
            if self.attend(first) {
                break;
            }
        }
        self.last_words();
    }

    /// Does what waits in the queue, up to a batch. True when it is to end.
    fn attend(&mut self, first: Option<Command>) -> bool {
        let due = self.board.refusals.due(Instant::now());
        self.pending.extend(due.into_iter().map(gathered));
        let mut next = first;
        let mut is_over = false;
        while let Some(command) = next {
            match command {
                Command::Write(write, answer) => {
                    self.pending.push_back(Pending { write, answer: Some(answer), late: false });
                }
                Command::Read(read) => {
                    self.settle();
                    self.answer(read);
                }
                Command::End => is_over = true,
            }
            if is_over || self.pending.len() >= BATCH {
                break;
            }
            next = self.commands.try_recv().ok();
        }
        self.settle();
        self.look();
        is_over
    }

    /// What is still being counted is written before the end.
    fn last_words(&mut self) {
        let rest = self.board.refusals.all();
        self.pending.extend(rest.into_iter().map(gathered));
        self.retry_at = None;
        self.settle();
        self.ship();
    }

    /// Looks after the database although nothing is to be written: what is wrong is known before somebody needs it.
    fn look(&mut self) {
        if self.pending.is_empty() && self.is_time() {
            match self.ready() {
                Ok(()) if self.loss.is_some() => self.settle(),
                Ok(()) => self.available(),
                Err(Trouble::Damaged(why)) => {
                    self.lose(&why);
                    self.settle();
                }
                Err(Trouble::Failing(why)) => self.fail(&why),
            }
        }
        self.ship();
    }

    fn is_time(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    fn answer(&mut self, read: Question) {
        if self.is_time() {
            match self.ready() {
                Ok(()) if self.loss.is_none() => {}
                // What was lost is in the chain before anybody reads it.
                Ok(()) => self.settle(),
                Err(Trouble::Damaged(why)) => {
                    self.lose(&why);
                    self.settle();
                }
                Err(Trouble::Failing(why)) => self.fail(&why),
            }
        }
        let answered = match &self.database {
            Some(database) => read(Ok(database)),
            None => read(Err(self.why())),
        };
        if let Err(Trouble::Damaged(why)) = answered {
            self.lose(&why);
            self.settle();
        }
    }

    fn why(&self) -> String {
        self.board.audit().unavailable.unwrap_or_default()
    }

    /// Writes what is pending, or keeps it for later.
    fn settle(&mut self) {
        let mut lost = 0;
        while self.has_work() {
            if !self.is_time() {
                return self.postpone(&self.why());
            }
            match self.ready().and_then(|()| self.transact()) {
                Ok(settled) => self.settled(settled),
                Err(Trouble::Damaged(why)) => {
                    self.lose(&why);
                    lost += 1;
                    if lost > 1 {
                        // A new one that is damaged at once will be no better at the next attempt.
                        self.fail(&why);
                    }
                }
                Err(Trouble::Failing(why)) => {
                    self.fail(&why);
                    return self.postpone(&why);
                }
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || self.loss.is_some()
            || self.board.dropped.load(Relaxed) > self.dropped_told
    }

    /// Opens the database if it is not open, and makes sure that it is the one that we know.
    fn ready(&mut self) -> Result<(), Trouble> {
        match self.database.as_ref().map(Database::meanwhile) {
            Some(Meanwhile::Nothing) => return Ok(()),
            Some(Meanwhile::Gone) => {
                // Closed before another is made: closing removes its log by name.
                self.database = None;
                self.remove("the database was deleted or replaced while the gateway ran")?;
            }
            // Looked at anew, from the first page on.
            Some(Meanwhile::Touched) => self.database = None,
            None => {}
        }
        let database = Database::open(&self.directory, self.max_rows)?;
        self.recognise(&database)?;
        self.database = Some(database);
        Ok(())
    }

    /// Compares the end of the chain with what is known of it.
    fn recognise(&mut self, database: &Database) -> Result<(), Trouble> {
        let there = database.head()?;
        let known =
            self.head.clone().or_else(|| Head::read(&self.directory)).into_iter().chain(self.lines.tail());
        let known = known.max_by_key(|head| head.count).filter(|head| head.count > 0);
        let (there, known) = match (there, known) {
            (None, None) => (Head::default(), None),
            (None, Some(known)) => (Head::default(), Some(known)),
            (Some(there), known) => (there, known),
        };
        let Some(known) = known else {
            self.head = Some(there);
            return Ok(());
        };
        let is_pruned = database.oldest()?.is_some_and(|oldest| oldest > known.count);
        let has_it = is_pruned || database.hash_of(known.count)?.as_ref() == Some(&known.hash);
        if !has_it && self.loss.is_none() {
            let why = match there.count {
                0 => "the database is new or empty".to_owned(),
                count => format!(
                    "the database ends with row {count}, and row {} is not in it as it was",
                    known.count
                ),
            };
            self.loss = Some(why);
        }
        self.head = Some(if has_it || there.count > known.count { there } else { known });
        Ok(())
    }

    /// The database cannot be used any more: out of the way with it. The next row says so.
    fn lose(&mut self, why: &str) {
        self.database = None;
        match self.remove(why) {
            Ok(()) => self.retry_at = None,
            Err(trouble) => self.fail(&trouble.to_string()),
        }
    }

    fn remove(&mut self, why: &str) -> Result<(), Trouble> {
        let moved = set_aside(&self.directory)?;
        let kept = moved.map(|name| format!("; what is left of it is {name}")).unwrap_or_default();
        self.loss = Some(format!("{why}{kept}"));
        Ok(())
    }

    /// One transaction: the loss, if there was one, then what is pending.
    fn transact(&mut self) -> Result<Settled, Trouble> {
        let dropped = self.board.dropped.load(Relaxed);
        let Some(database) = &mut self.database else {
            return Err(Trouble::Failing("it is closed".to_owned()));
        };
        let due = Due {
            head: self.head.clone().unwrap_or_default(),
            loss: self.loss.as_deref(),
            dropped: dropped.saturating_sub(self.dropped_told),
            max_rows: database.max_rows,
        };
        let writes = self.pending.iter().take(BATCH).map(|pending| (&pending.write, pending.late));
        let settled = database.write(|connection| due.settle(connection, writes))?;
        self.dropped_told = dropped;
        Ok(settled)
    }

    /// It is on disk: everybody is told.
    fn settled(&mut self, settled: Settled) {
        let Settled { rows, head, answers } = settled;
        self.loss = None;
        self.board.head(&head);
        if let Err(error) = head.keep(&self.directory) {
            tracing::debug!(%error, "audit-head.json is not written; the chain and the shipped lines have the head");
        }
        self.head = Some(head);
        for (pending, written) in self.pending.drain(..answers.len()).zip(answers) {
            // Nobody may be waiting any more.
            let _ = pending.answer.map(|answer| answer.send(written));
        }
        rows.iter().for_each(|row| tell(&row.entry, Some(row)));
        self.available();
    }

    fn available(&mut self) {
        self.retry_at = None;
        if let Some(head) = &self.head {
            self.board.head(head);
        }
        self.board.waiting(self.pending.len());
        if self.board.unavailable(None) {
            AuditUnavailable { why: None }.emit();
        }
    }

    /// It may work another time.
    fn fail(&mut self, why: &str) {
        // Opened anew then, and looked at.
        self.database = None;
        self.retry_at = Some(Instant::now() + RETRY);
        if self.board.unavailable(Some(why.to_owned())) {
            AuditUnavailable { why: Some(why) }.emit();
        }
    }

    /// Keeps what is pending in memory, as much as there is room for, and tells who waits.
    fn postpone(&mut self, why: &str) {
        for pending in self.pending.iter_mut().filter(|pending| !pending.late) {
            pending.late = true;
            if let Some(answer) = pending.answer.take() {
                let _ = answer
                    .send(Written::Unrecorded(format!("{why}; it is kept in memory and recorded later")));
            }
            if let Write::Entry(entry) | Write::Gathered(entry) = &pending.write {
                tell(entry, None);
            }
        }
        while self.pending.len() > WAITING {
            // The first that happened are the ones that tell what began it.
            self.pending.pop_back();
            self.board.dropped.fetch_add(1, Relaxed);
        }
        self.board.waiting(self.pending.len());
    }

    /// Appends to the shipped lines what is not in them yet.
    fn ship(&mut self) {
        if let (Some(database), Some(head)) = (&self.database, &self.head) {
            let shipped = self.lines.ship(head.count, |seq, limit| database.rows_after(seq, limit));
            if let Err(Trouble::Damaged(why)) = shipped {
                self.lose(&why);
            }
        }
        self.board.lines(self.lines.behind(), self.lines.failures());
    }
}

fn gathered(entry: Entry) -> Pending {
    Pending { write: Write::Gathered(Box::new(entry)), answer: None, late: false }
}

/// Tells of an entry, and of its row if it has one already.
fn tell(entry: &Entry, row: Option<&Row>) {
    AuditRecorded {
        row: row.map(|row| (row.seq, row.hash.as_str())),
        late: row.is_some_and(|row| row.late),
        actor: &entry.actor,
        address: &entry.address,
        action: &entry.action,
        target: entry.target.as_deref(),
        version: entry.version,
        reason: entry.reason.as_deref(),
        outcome: entry.outcome.as_str(),
        why: entry.why.as_deref(),
        times: entry.times,
    }
    .emit();
}
