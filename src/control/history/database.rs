//! The database file: opened and checked, written in whole transactions, set aside when it is damaged.
//!
//! One process has it to itself (`locking_mode = EXCLUSIVE`), so that nothing is mapped into memory that somebody
//! else could cut short, and no second process continues the same chain. Others read the shipped lines and the API.
#![expect(clippy::disallowed_methods, reason = "on the thread of the history")]

use super::fingerprint::{Fingerprint, Meanwhile};
use crate::control::audit::head::Head;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in the state directory.
const NAME: &str = "history.db";

/// Which shape of tables this release writes.
const SCHEMA: i64 = 1;

/// Marks the file as ours, for `file` and for whoever finds it.
const APPLICATION: i64 = 0x7469_6465;

/// How long another process may hold the file.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// Files that were set aside and are kept.
const SET_ASIDE: u32 = 5;

const TABLES: &str = "
CREATE TABLE versions (number INTEGER PRIMARY KEY, hash TEXT NOT NULL, parent INTEGER, text TEXT NOT NULL,
  cause TEXT NOT NULL, author TEXT, reason TEXT, risk TEXT, differences TEXT NOT NULL, findings TEXT NOT NULL,
  at_ms INTEGER NOT NULL, outcome TEXT NOT NULL, outcome_why TEXT, outcome_at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE audit (seq INTEGER PRIMARY KEY, segment INTEGER NOT NULL, late INTEGER NOT NULL,
  clock_went_back INTEGER NOT NULL, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL,
  address TEXT NOT NULL, action TEXT NOT NULL, target TEXT, asked TEXT, version INTEGER, reason TEXT, risk TEXT,
  acknowledgements TEXT NOT NULL, outcome TEXT NOT NULL, why TEXT, times INTEGER NOT NULL, prev TEXT NOT NULL,
  hash TEXT NOT NULL) STRICT;
";

/// What is wrong with the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What is in it cannot be read any more.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// It may work another time: the disk is full, the file is somebody else's.
    #[error("{0}")]
    Failing(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Without our tables, or with rows in the way of ours, it is as good as damaged.
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch,
            ) => Trouble::Damaged(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Trouble::Failing("another process has the database".to_owned())
            }
            _ => Trouble::Failing(error.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Failing(error.to_string())
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    pub(super) connection: Connection,
    path: PathBuf,
    left: Fingerprint,
    /// Rows of the audit that are kept.
    pub(super) max_rows: u64,
}

impl Database {
    /// Opens the database in a state directory, or makes one.
    pub fn open(directory: &Path, max_rows: u64) -> Result<Self, Trouble> {
        let path = directory.join(NAME);
        make(&path).map_err(|error| Trouble::Failing(format!("{}: {error}", path.display())))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_PATIENCE)?;
        // Before the journal: then the index of the log is in our memory, and not in a file that others can cut.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Trouble::Failing(format!("the database keeps its journal as {mode}")));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        check(&connection)?;
        let left = Fingerprint::of(&path, &log_of(&path));
        let mut database = Database { connection, path, left, max_rows };
        database.make_tables()?;
        database.leave();
        Ok(database)
    }

    fn make_tables(&mut self) -> Result<(), Trouble> {
        let schema: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match schema {
            SCHEMA => Ok(()),
            0 => self.write(|connection| {
                connection.execute_batch(TABLES)?;
                connection.pragma_update(None, "application_id", APPLICATION)?;
                Ok(connection.pragma_update(None, "user_version", SCHEMA)?)
            }),
            other => {
                Err(Trouble::Damaged(format!("another release wrote it (schema {other}, ours is {SCHEMA})")))
            }
        }
    }

    /// What happened to the files since we last wrote.
    pub fn meanwhile(&self) -> Meanwhile {
        self.left.until(&Fingerprint::of(&self.path, &log_of(&self.path)))
    }

    /// Does all of it, or nothing.
    pub fn write<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        self.leave();
        Ok(done)
    }

    /// The files are as we leave them now.
    fn leave(&mut self) {
        self.left = Fingerprint::of(&self.path, &log_of(&self.path));
    }

    /// The end of the chain as it stands there.
    pub fn head(&self) -> Result<Option<Head>, Trouble> {
        let query = "SELECT segment, seq, hash, at_ms FROM audit ORDER BY seq DESC LIMIT 1";
        let head = |row: &rusqlite::Row<'_>| {
            let (segment, count) = (uint(row.get(0)?), uint(row.get(1)?));
            Ok(Head { segment, count, hash: row.get(2)?, at_ms: row.get(3)? })
        };
        Ok(self.connection.query_row(query, [], head).optional()?)
    }
}

/// Makes the file, for us alone, if it is not there. Texts of versions are nobody else's to read.
fn make(path: &Path) -> io::Result<()> {
    // A pipe in its place would keep us waiting.
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(without_waiting).open(path)?;
    if file.metadata()?.is_file() { Ok(()) } else { Err(io::Error::other("it is not a file")) }
}

/// Reads every page once.
fn check(connection: &Connection) -> Result<(), Trouble> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Trouble::Damaged(found)) }
}

/// Moves a damaged database out of the way; the oldest that were moved before go. Answers with its new name.
pub fn set_aside(directory: &Path) -> io::Result<Option<String>> {
    let path = directory.join(NAME);
    let log = log_of(&path);
    // Of no use without its process.
    let _ = fs::remove_file(beside(&path, "-shm"));
    if fs::symlink_metadata(&path).is_err() {
        // Its log alone would be taken for the new one's.
        let _ = fs::remove_file(log);
        return Ok(None);
    }
    let number = 1 + lost(directory).into_iter().max().unwrap_or(0);
    let name = format!("{NAME}.lost-{number}");
    fs::rename(&path, directory.join(&name))?;
    let _ = fs::rename(log, directory.join(format!("{name}-wal")));
    for old in lost(directory).into_iter().filter(|old| old + SET_ASIDE <= number) {
        let old = directory.join(format!("{NAME}.lost-{old}"));
        let _ = fs::remove_file(beside(&old, "-wal"));
        let _ = fs::remove_file(old);
    }
    Ok(Some(name))
}

/// The numbers of those that were set aside.
fn lost(directory: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let number = |name: &str| name.strip_prefix(NAME)?.strip_prefix(".lost-")?.parse().ok();
    entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect()
}

fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A number as the database has it; ours never reach the end of it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// And back; a negative one was not written by us.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
