//! One transaction of the history: the row that names a loss, what is pending, what was dropped, and the removal of
//! what is too old. All of it is on disk, or nothing.

use super::database::Trouble;
use super::{Write, Written, ledger, versions};
use crate::control::audit::Entry;
use crate::control::audit::chain::{self, DROPPED, Row};
use crate::control::audit::head::Head;
use rusqlite::Connection;

/// What is to be written beside the changes.
pub(super) struct Due<'a> {
    /// Where the chain ends.
    pub head: Head,
    /// Why rows were lost, if some were.
    pub loss: Option<&'a str>,
    /// Changes that were dropped and that no row tells of yet.
    pub dropped: u64,
    /// Rows that are kept.
    pub max_rows: u64,
}

/// What was written.
pub(super) struct Settled {
    /// New rows of the audit, in their order.
    pub rows: Vec<Row>,
    /// Where the chain ends now.
    pub head: Head,
    /// What became of each change.
    pub answers: Vec<Written>,
}

impl Due<'_> {
    /// Writes it, with these changes and whether they are late.
    pub(super) fn settle<'a>(
        self,
        connection: &Connection,
        writes: impl Iterator<Item = (&'a Write, bool)>,
    ) -> Result<Settled, Trouble> {
        let mut work = Work { connection, rows: Vec::new(), head: self.head };
        if let Some(why) = self.loss {
            work.begin_segment(why)?;
        }
        let mut answers = Vec::new();
        for (write, late) in writes {
            answers.push(work.write(write, late)?);
        }
        if self.dropped > 0 {
            work.append(dropped(self.dropped), false)?;
        }
        if let Some(checkpoint) = ledger::prune(connection, &work.head, self.max_rows)? {
            work.append(checkpoint, false)?;
        }
        Ok(Settled { rows: work.rows, head: work.head, answers })
    }
}

fn dropped(count: u64) -> Entry {
    let why = format!("{count} changes were never recorded: the disk did not take them, and too many waited");
    Entry { times: count, ..Entry::by_gateway(DROPPED).failed(why) }
}

/// A transaction under way.
struct Work<'a> {
    connection: &'a Connection,
    rows: Vec<Row>,
    head: Head,
}

impl Work<'_> {
    fn begin_segment(&mut self, why: &str) -> Result<(), Trouble> {
        let loss = chain::loss(&self.head, why);
        self.head.segment = self.head.segment.saturating_add(1);
        self.append(loss, false)
    }

    fn append(&mut self, entry: Entry, late: bool) -> Result<(), Trouble> {
        let row = Row::after(&self.head, entry, late);
        ledger::append(self.connection, &row)?;
        self.head = row.head();
        self.rows.push(row);
        Ok(())
    }

    fn write(&mut self, write: &Write, late: bool) -> Result<Written, Trouble> {
        match write {
            Write::Version { row, .. } => versions::insert(self.connection, row),
            Write::Outcome { number, outcome, why, at_ms } => {
                versions::set_outcome(self.connection, *number, (*outcome, why.as_deref(), *at_ms))
            }
            Write::Settle { active, at_ms } => versions::settle(self.connection, *active, *at_ms),
            Write::Findings { number, findings } => {
                versions::add_findings(self.connection, *number, findings)
            }
            Write::Entry(entry) => {
                self.append((**entry).clone(), late)?;
                Ok(Written::Recorded(self.head.count))
            }
            Write::Gathered(entry) => {
                // A row stands at the time at which it became one, unless the row before it is of the future.
                let before = self.head.at_ms.min(jiff::Timestamp::now().as_millisecond());
                self.append(Entry { at_ms: entry.at_ms.max(before), ..(**entry).clone() }, late)?;
                Ok(Written::Recorded(self.head.count))
            }
        }
    }
}
