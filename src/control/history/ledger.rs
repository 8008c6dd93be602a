//! The audit's rows in the database: added at the end, read back, and the oldest removed where there are too many.

use super::database::{Database, Trouble, int, uint};
use crate::control::audit::chain::{self, Row};
use crate::control::audit::head::Head;
use crate::control::audit::verify::Verifier;
use crate::control::audit::{Entry, Outcome};
use rusqlite::{Connection, OptionalExtension, named_params};

/// Rows that are kept; far more than anybody reads, and at most a few hundred megabytes.
pub const ROWS_KEPT: u64 = 100_000;

/// The part of them that goes at a time.
const PRUNED: u64 = 10;

const COLUMNS: &str = "seq, segment, late, clock_went_back, at_ms, actor, role, address, action, target, asked, \
                       version, reason, risk, acknowledgements, outcome, why, times, prev, hash";

impl Database {
    /// At most so many rows before one, the newest first.
    pub fn audit_rows(&self, limit: usize, before: Option<u64>) -> Result<Vec<Row>, Trouble> {
        let query = format!("SELECT {COLUMNS} FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
        self.rows(&query, [before.map_or(i64::MAX, int), int(limit as u64)])
    }

    /// At most so many rows after one, in their order.
    pub fn rows_after(&self, seq: u64, limit: u64) -> Result<Vec<Row>, Trouble> {
        let query = format!("SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        self.rows(&query, [int(seq), int(limit)])
    }

    fn rows(&self, query: &str, parameters: [i64; 2]) -> Result<Vec<Row>, Trouble> {
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map(parameters, row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The hash of a row, if it is kept.
    pub fn hash_of(&self, seq: u64) -> Result<Option<String>, Trouble> {
        hash_of(&self.connection, seq)
    }

    /// The number of the oldest row that is kept.
    pub fn oldest(&self) -> Result<Option<u64>, Trouble> {
        oldest(&self.connection)
    }

    /// Gives the rows after one to a verifier, so many of them at most; the number of the last, or nothing when there
    /// are no more.
    pub fn verify_some(
        &self,
        verifier: &mut Verifier,
        after: u64,
        limit: u64,
    ) -> Result<Option<u64>, Trouble> {
        let query = format!("SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        let mut statement = self.connection.prepare(&query)?;
        let mut last = None;
        for row in statement.query_map([int(after), int(limit)], row)? {
            let row = row?;
            last = Some(row.seq);
            verifier.take(row);
        }
        Ok(last)
    }
}

/// Inside a transaction: adds a row at the end.
pub(super) fn append(connection: &Connection, row: &Row) -> Result<(), Trouble> {
    let it = &row.entry;
    let acknowledgements = serde_json::Value::from(it.acknowledgements.clone()).to_string();
    connection.execute(
        "INSERT INTO audit VALUES (:seq, :segment, :late, :back, :at_ms, :actor, :role, :address, :action, :target, \
         :asked, :version, :reason, :risk, :acknowledgements, :outcome, :why, :times, :prev, :hash)",
        named_params! {
            ":seq": int(row.seq), ":segment": int(row.segment), ":late": row.late, ":back": row.clock_went_back,
            ":at_ms": it.at_ms, ":actor": it.actor, ":role": it.role, ":address": it.address, ":action": it.action,
            ":target": it.target, ":asked": it.asked, ":version": it.version.map(int), ":reason": it.reason,
            ":risk": it.risk, ":acknowledgements": acknowledgements, ":outcome": it.outcome.as_str(),
            ":why": it.why, ":times": int(it.times), ":prev": row.prev, ":hash": row.hash,
        },
    )?;
    Ok(())
}

/// Inside a transaction: removes the oldest rows if there are more than `max`. The row that stands for them, to be
/// appended in the same transaction; without it they would be missing.
pub(super) fn prune(connection: &Connection, head: &Head, max: u64) -> Result<Option<Entry>, Trouble> {
    let Some(first) = oldest(connection)? else { return Ok(None) };
    if head.count.saturating_sub(first) < max {
        return Ok(None);
    }
    let through = first + max / PRUNED;
    // Numbers that a lost database took with it are not there.
    let Some(hash) = hash_of(connection, through)? else { return Ok(None) };
    connection.execute("DELETE FROM audit WHERE seq <= ?1", [int(through)])?;
    Ok(Some(chain::checkpoint(through, &hash)))
}

fn oldest(connection: &Connection) -> Result<Option<u64>, Trouble> {
    let oldest: Option<i64> = connection.query_row("SELECT min(seq) FROM audit", [], |row| row.get(0))?;
    Ok(oldest.map(uint))
}

fn hash_of(connection: &Connection, seq: u64) -> Result<Option<String>, Trouble> {
    let query = "SELECT hash FROM audit WHERE seq = ?1";
    Ok(connection.query_row(query, [int(seq)], |row| row.get(0)).optional()?)
}

/// A row as it stands there. What is none of our words, or no text at all, becomes something else, which the hash then
/// tells: one row that somebody spoilt must not hide the others.
fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    // In the order of `COLUMNS`: looking for their names would take most of the time that reading it all takes.
    let version: Option<i64> = row.get(11)?;
    Ok(Row {
        seq: uint(row.get(0)?),
        segment: uint(row.get(1)?),
        late: row.get(2)?,
        clock_went_back: row.get(3)?,
        entry: Entry {
            at_ms: row.get(4)?,
            actor: text(row, 5)?,
            role: text(row, 6)?,
            address: text(row, 7)?,
            action: text(row, 8)?,
            target: perhaps(row, 9)?,
            asked: perhaps(row, 10)?,
            version: version.map(uint),
            reason: perhaps(row, 12)?,
            risk: perhaps(row, 13)?,
            acknowledgements: serde_json::from_str(&text(row, 14)?).unwrap_or_default(),
            outcome: Outcome::named(&text(row, 15)?).unwrap_or(Outcome::Failed),
            why: perhaps(row, 16)?,
            times: uint(row.get(17)?),
        },
        prev: text(row, 18)?,
        hash: text(row, 19)?,
    })
}

fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    perhaps(row, column).map(Option::unwrap_or_default)
}

fn perhaps(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null();
    Ok(bytes.ok().flatten().map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}
