//! Versions as the history keeps them: the text before filling, where it came from, and what became of it.

use super::database::{Database, Trouble, int, uint};
use super::{VERSIONS_KEPT, Written};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionOutcome {
    /// It serves a cohort.
    RollingOut,
    /// It serves everybody, and bakes.
    Active,
    /// It served everybody and baked.
    Good,
    /// The guard ended its rollout.
    Reverted,
    /// Somebody ended its rollout.
    Aborted,
    /// Somebody went back from it.
    RolledBack,
    /// A newer one took its place.
    Superseded,
    /// The process ended in the middle of its rollout.
    Interrupted,
    /// It was never served.
    Refused,
}

impl VersionOutcome {
    /// All.
    pub const ALL: [VersionOutcome; 9] = [
        VersionOutcome::RollingOut,
        VersionOutcome::Active,
        VersionOutcome::Good,
        VersionOutcome::Reverted,
        VersionOutcome::Aborted,
        VersionOutcome::RolledBack,
        VersionOutcome::Superseded,
        VersionOutcome::Interrupted,
        VersionOutcome::Refused,
    ];

    /// The word in the history.
    pub const fn as_str(self) -> &'static str {
        match self {
            VersionOutcome::RollingOut => "rolling_out",
            VersionOutcome::Active => "active",
            VersionOutcome::Good => "good",
            VersionOutcome::Reverted => "reverted",
            VersionOutcome::Aborted => "aborted",
            VersionOutcome::RolledBack => "rolled_back",
            VersionOutcome::Superseded => "superseded",
            VersionOutcome::Interrupted => "interrupted",
            VersionOutcome::Refused => "refused",
        }
    }

    /// By its word.
    pub fn named(word: &str) -> Option<VersionOutcome> {
        VersionOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// A version in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSummary {
    /// Its number, never used twice.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// The version that was active when it was accepted.
    pub parent: Option<u64>,
    /// Where it came from: `boot`, `watch`, `signal`, `api`, `rollback`.
    pub cause: String,
    /// Who applied it, if somebody did.
    pub author: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// `low`, `medium` or `high`.
    pub risk: Option<String>,
    /// When it was accepted: milliseconds since 1970.
    pub at_ms: i64,
    /// What became of it.
    pub outcome: VersionOutcome,
    /// Why.
    pub outcome_why: Option<String>,
    /// When: milliseconds since 1970.
    pub outcome_at_ms: i64,
}

/// All of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// As in a list.
    #[serde(flatten)]
    pub summary: VersionSummary,
    /// The text before its placeholders were filled.
    pub text: String,
    /// What differs from its parent.
    pub differences: Value,
    /// What check and probe found.
    pub findings: Value,
}

const SUMMARY: &str =
    "number, hash, parent, cause, author, reason, risk, at_ms, outcome, outcome_why, outcome_at_ms";

impl Database {
    /// At most so many, the newest first.
    pub fn versions(&self, limit: u64) -> Result<Vec<VersionSummary>, Trouble> {
        let query = format!("SELECT {SUMMARY} FROM versions ORDER BY number DESC LIMIT ?1");
        let mut statement = self.connection.prepare(&query)?;
        let rows = statement.query_map([int(limit.min(VERSIONS_KEPT))], summary)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One with all of it.
    pub fn version(&self, number: u64) -> Result<Option<VersionRow>, Trouble> {
        let query = format!("SELECT {SUMMARY}, text, differences, findings FROM versions WHERE number = ?1");
        let json = |row: &Row<'_>, column| {
            let text: String = row.get(column)?;
            Ok::<_, rusqlite::Error>(serde_json::from_str(&text).unwrap_or(Value::Null))
        };
        let whole = |row: &Row<'_>| {
            Ok(VersionRow {
                summary: summary(row)?,
                text: row.get("text")?,
                differences: json(row, "differences")?,
                findings: json(row, "findings")?,
            })
        };
        Ok(self.connection.query_row(&query, [int(number)], whole).optional()?)
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<VersionSummary> {
    let outcome: String = row.get("outcome")?;
    let parent: Option<i64> = row.get("parent")?;
    Ok(VersionSummary {
        number: uint(row.get("number")?),
        hash: row.get("hash")?,
        parent: parent.map(uint),
        cause: row.get("cause")?,
        author: row.get("author")?,
        reason: row.get("reason")?,
        risk: row.get("risk")?,
        at_ms: row.get("at_ms")?,
        // Only these words are written.
        outcome: VersionOutcome::named(&outcome).unwrap_or(VersionOutcome::Interrupted),
        outcome_why: row.get("outcome_why")?,
        outcome_at_ms: row.get("outcome_at_ms")?,
    })
}

/// Inside a transaction: adds a version, and removes the oldest beyond those that are kept.
pub(super) fn insert(connection: &Connection, row: &VersionRow) -> Result<Written, Trouble> {
    let VersionRow { summary: it, text, differences, findings } = row;
    let known = "SELECT hash FROM versions WHERE number = ?1";
    let known: Option<String> = connection.query_row(known, [int(it.number)], |row| row.get(0)).optional()?;
    match known {
        Some(hash) if hash == it.hash => return Ok(Written::Recorded(it.number)),
        Some(hash) => {
            let why = format!("version {} is recorded already, with another hash: {hash}", it.number);
            return Ok(Written::Unrecorded(why));
        }
        None => {}
    }
    connection.execute(
        "INSERT INTO versions VALUES (:number, :hash, :parent, :text, :cause, :author, :reason, :risk, :differences, \
         :findings, :at_ms, :outcome, :outcome_why, :outcome_at_ms)",
        named_params! {
            ":number": int(it.number), ":hash": it.hash, ":parent": it.parent.map(int), ":text": text,
            ":cause": it.cause, ":author": it.author, ":reason": it.reason, ":risk": it.risk,
            ":differences": differences.to_string(), ":findings": findings.to_string(), ":at_ms": it.at_ms,
            ":outcome": it.outcome.as_str(), ":outcome_why": it.outcome_why, ":outcome_at_ms": it.outcome_at_ms,
        },
    )?;
    let oldest = "SELECT number FROM versions ORDER BY number DESC LIMIT 1 OFFSET ?1";
    connection.execute(&format!("DELETE FROM versions WHERE number <= ({oldest})"), [int(VERSIONS_KEPT)])?;
    Ok(Written::Recorded(it.number))
}

/// Inside a transaction: what was found later, by the probe, behind what was found before.
pub(super) fn add_findings(
    connection: &Connection,
    number: u64,
    findings: &[Value],
) -> Result<Written, Trouble> {
    let known = "SELECT findings FROM versions WHERE number = ?1";
    let known: Option<String> = connection.query_row(known, [int(number)], |row| row.get(0)).optional()?;
    let Some(known) = known else {
        return Ok(Written::Unrecorded(format!("version {number} is not in the history")));
    };
    let mut all: Vec<Value> = serde_json::from_str(&known).unwrap_or_default();
    all.extend_from_slice(findings);
    connection.execute(
        "UPDATE versions SET findings = :findings WHERE number = :number",
        named_params! { ":findings": Value::from(all).to_string(), ":number": int(number) },
    )?;
    Ok(Written::Recorded(number))
}

/// Inside a transaction: what a start knows of versions that were under way when the process before it ended.
pub(super) fn settle(connection: &Connection, active: u64, at_ms: i64) -> Result<Written, Trouble> {
    connection.execute(
        "UPDATE versions SET outcome = CASE number WHEN :active THEN :good ELSE :interrupted END, \
         outcome_why = 'the process ended before it could say so', outcome_at_ms = :at \
         WHERE outcome IN (:rolling_out, :on)",
        named_params! {
            ":active": int(active), ":at": at_ms, ":good": VersionOutcome::Good.as_str(),
            ":interrupted": VersionOutcome::Interrupted.as_str(),
            ":rolling_out": VersionOutcome::RollingOut.as_str(), ":on": VersionOutcome::Active.as_str(),
        },
    )?;
    Ok(Written::Recorded(active))
}

/// Inside a transaction: what became of a version.
pub(super) fn set_outcome(
    connection: &Connection,
    number: u64,
    (outcome, why, at_ms): (VersionOutcome, Option<&str>, i64),
) -> Result<Written, Trouble> {
    let changed = connection.execute(
        "UPDATE versions SET outcome = :outcome, outcome_why = :why, outcome_at_ms = :at WHERE number = :number",
        named_params! { ":outcome": outcome.as_str(), ":why": why, ":at": at_ms, ":number": int(number) },
    )?;
    Ok(match changed {
        0 => Written::Unrecorded(format!("version {number} is not in the history")),
        _ => Written::Recorded(number),
    })
}
