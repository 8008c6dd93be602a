//! What was ever accepted here, and what became of it: versions, and the audit, in SQLite on a thread of their own.
//!
//! Opening never fails and nothing here blocks whoever calls: a change goes into a bounded queue and a [`Receipt`] says
//! later what became of it, a question has a deadline. A disk that hangs, a database that is corrupt or was deleted, a
//! queue that is full: each is told, counted and mended, and holds nobody up. Neither boot nor rollback needs any of
//! this (`design.md`, promises 6 and 7); what they need lies beside it as plain files.

pub(super) mod board;
mod database;
mod fingerprint;
mod keeper;
mod ledger;
mod transaction;
mod versions;

use crate::control::audit::Entry;
use board::Board;
pub(super) use database::Database;
use keeper::Keeper;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
pub use versions::{VersionOutcome, VersionRow, VersionSummary};

/// Versions that are kept.
pub const VERSIONS_KEPT: u64 = 200;

/// Changes and questions on their way to the thread.
const COMMANDS_WAITING: usize = 1024;

/// Texts of versions in memory because they are not written yet; a text has at most 4 MiB.
const TEXTS_WAITING: usize = 16;

/// Questions under way; whoever only reads must not keep changes from being recorded.
const QUESTIONS: usize = 4;

/// How long a question about versions waits for its answer.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// The history of a state directory. Cheap to clone.
#[derive(Clone)]
pub struct History {
    commands: SyncSender<Command>,
    texts: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    pub(super) board: Arc<Board>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on disk: the number of the version, or of the row of the audit.
    Recorded(u64),
    /// It is not, and why; what can wait is written later.
    Unrecorded(String),
}

/// Says what became of a change. May be dropped.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Written>);

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Too much waits for the disk.
    #[error("too many ask, or too much waits for the history's disk")]
    Busy,
    /// It takes too long.
    #[error("the history's disk did not answer in time")]
    Late,
    /// The database cannot be read.
    #[error("the history cannot be read: {0}")]
    Unavailable(String),
}

/// What the thread is asked.
enum Command {
    Write(Write, oneshot::Sender<Written>),
    Read(Question),
    End,
}

/// What somebody wants to know: of the database, or why it is not there. Tells back what is wrong with it.
type Question = Box<dyn FnOnce(Result<&Database, String>) -> Result<(), database::Trouble> + Send>;

/// A change.
enum Write {
    Version {
        row: Box<VersionRow>,
        _place: OwnedSemaphorePermit,
    },
    Outcome {
        number: u64,
        outcome: VersionOutcome,
        why: Option<String>,
        at_ms: i64,
    },
    Settle {
        active: u64,
        at_ms: i64,
    },
    Findings {
        number: u64,
        findings: Vec<Value>,
    },
    Entry(Box<Entry>),
    /// Of what was counted for a while: rows were written since the last of it.
    Gathered(Box<Entry>),
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("board", &self.board).finish_non_exhaustive()
    }
}

impl History {
    /// Opens the history in a state directory, making what is not there. Never fails and never waits: what is wrong
    /// with the disk, the thread finds and tells.
    pub fn open(directory: &Path) -> Self {
        let (history, heard) = History::unattended();
        let keeper = Keeper::new(directory, heard, history.board.clone());
        match thread::Builder::new().name("history".into()).spawn(move || keeper.run()) {
            Ok(thread) => history.board.attended_by(thread),
            Err(error) => {
                history.board.unavailable(Some(format!("the system gives no thread: {error}")));
            }
        }
        history
    }

    /// A history whose commands nobody takes yet.
    fn unattended() -> (Self, Receiver<Command>) {
        let (commands, heard) = sync_channel(COMMANDS_WAITING);
        let (texts, questions) = (Semaphore::new(TEXTS_WAITING).into(), Semaphore::new(QUESTIONS).into());
        (History { commands, texts, questions, board: Arc::default() }, heard)
    }

    /// Records a version that was accepted. One that is recorded with this number and hash already is left as it is.
    pub fn record(&self, row: VersionRow) -> Receipt {
        match self.texts.clone().try_acquire_owned() {
            Ok(_place) => self.write(Write::Version { row: Box::new(row), _place }),
            Err(_) => self.drop_one("too many texts wait for the disk"),
        }
    }

    /// Says what became of a version.
    pub fn outcome(&self, number: u64, outcome: VersionOutcome, why: Option<&str>) -> Receipt {
        let at_ms = jiff::Timestamp::now().as_millisecond();
        self.write(Write::Outcome { number, outcome, why: why.map(str::to_owned), at_ms })
    }

    /// Says what became of versions of which an earlier process could not: what a start serves is good, and whatever
    /// else was under way was interrupted.
    pub fn settle(&self, active: u64) -> Receipt {
        self.write(Write::Settle { active, at_ms: jiff::Timestamp::now().as_millisecond() })
    }

    /// Adds what was found of a version after it was accepted.
    pub fn findings(&self, number: u64, findings: Vec<Value>) -> Receipt {
        self.write(Write::Findings { number, findings })
    }

    /// At most so many versions, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub async fn versions(&self, limit: u64) -> Result<Vec<VersionSummary>, Unread> {
        self.ask(READ_PATIENCE, move |database| database.versions(limit)).await
    }

    /// A version with all of it, if it is kept.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub async fn version(&self, number: u64) -> Result<Option<VersionRow>, Unread> {
        self.ask(READ_PATIENCE, move |database| database.version(number)).await
    }

    /// Writes what waits and ends the thread, for at most so long: a disk that hangs does not hold up the end.
    pub fn end(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut is_told = false;
        while self.board.is_attended() && Instant::now() < until {
            is_told = is_told || self.commands.try_send(Command::End).is_ok();
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(super) fn append(&self, entry: Entry) -> Receipt {
        self.write(Write::Entry(Box::new(entry)))
    }

    fn write(&self, write: Write) -> Receipt {
        let (answer, receipt) = oneshot::channel();
        match self.commands.try_send(Command::Write(write, answer)) {
            Ok(()) => Receipt(receipt),
            Err(TrySendError::Full(_)) => self.drop_one("too much waits for the disk"),
            Err(TrySendError::Disconnected(_)) => self.drop_one("the thread of the history has ended"),
        }
    }

    fn drop_one(&self, why: &str) -> Receipt {
        self.board.dropped.fetch_add(1, Relaxed);
        Receipt::unrecorded(why)
    }

    /// Asks the database something, on its thread.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&Database) -> Result<T, database::Trouble> + Send + 'static,
    ) -> Result<T, Unread> {
        let turn = self.questions.clone().try_acquire_owned().map_err(|_| Unread::Busy)?;
        let (answer, answered) = oneshot::channel();
        let read = move |database: Result<&Database, String>| {
            // Given back when it is answered, and not when nobody waits any more.
            let _turn = turn;
            let database = match database {
                Ok(database) => database,
                Err(why) => {
                    // Nobody may be waiting any more; so below.
                    let _ = answer.send(Err(why));
                    return Ok(());
                }
            };
            // Whoever has left needs no answer.
            if answer.is_closed() {
                return Ok(());
            }
            let (told, kept) = match question(database) {
                Ok(value) => (Ok(value), Ok(())),
                Err(trouble) => (Err(trouble.to_string()), Err(trouble)),
            };
            let _ = answer.send(told);
            kept
        };
        self.commands.try_send(Command::Read(Box::new(read))).map_err(|_| Unread::Busy)?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(why))) => Err(Unread::Unavailable(why)),
            Ok(Err(_)) => Err(Unread::Unavailable("the thread of the history has ended".to_owned())),
            Err(_) => Err(Unread::Late),
        }
    }
}

impl Receipt {
    fn unrecorded(why: &str) -> Self {
        let (answer, receipt) = oneshot::channel();
        // It is received in the next line at the earliest.
        let _ = answer.send(Written::Unrecorded(why.to_owned()));
        Receipt(receipt)
    }

    /// Waits at most so long.
    pub async fn within(self, patience: Duration) -> Written {
        match tokio::time::timeout(patience, self.0).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Written::Unrecorded("the thread of the history has ended".to_owned()),
            Err(_) => Written::Unrecorded("the disk takes longer than anyone waits".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
