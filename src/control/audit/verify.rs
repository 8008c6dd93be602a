//! Reading the chain again: which row was changed, removed, put in or moved, and whether its end is still there.
//!
//! Pure: rows come in one by one, from the database or from shipped lines, and one verdict goes out. It goes on after
//! a fault, so that each is named. What was lost and said so by the chain itself is a notice and no fault.

use super::chain::{CHECKPOINT, NOTHING, Row, SEGMENT, said};
use serde::{Deserialize, Serialize};

/// Faults and notices that are named; all are counted.
const MAX_NAMED: usize = 20;

/// What somebody knows of the chain from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The hash of a row that was once its newest.
    pub head: Option<String>,
    /// How many rows there were then, or fewer.
    pub count: Option<u64>,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its content is not what was written.
    Changed,
    /// It is not there.
    Removed,
    /// It was not written there.
    Inserted,
    /// It stands in another place.
    Reordered,
    /// It, and perhaps others before it, are missing at the end.
    Truncated,
}

impl What {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            What::Changed => "changed",
            What::Removed => "removed",
            What::Inserted => "inserted",
            What::Reordered => "reordered",
            What::Truncated => "truncated",
        }
    }
}

/// A row and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The row's number.
    pub seq: u64,
    /// What is wrong.
    pub what: What,
    /// A sentence about it.
    pub detail: String,
}

/// What became of reading it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// There is no fault.
    pub valid: bool,
    /// Rows that were read.
    pub rows: u64,
    /// The number of the oldest row that is there; 0 without any.
    pub first: u64,
    /// The number of the newest row.
    pub count: u64,
    /// The hash of the newest row.
    pub head: String,
    /// The segment of the newest row.
    pub segment: u64,
    /// How many rows came after the head that was asked for, if it is there.
    pub rows_after_head: Option<u64>,
    /// Rows that were written late.
    pub late: u64,
    /// Rows at which the clock had been put back.
    pub clock_went_back: u64,
    /// The first of the faults.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub faults_total: u64,
    /// What is no fault and should be known: losses that the chain names itself.
    pub notices: Vec<String>,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// At the first row that is kept; what was before it must be accounted for by a row.
    Whole,
    /// Anywhere: shipped lines that were rotated away are no fault.
    Anywhere,
}

/// Reads a chain.
#[derive(Debug)]
pub struct Verifier {
    beginning: Beginning,
    expected: Vec<Expected>,
    /// For each that is expected, the number of the row that has its hash.
    found: Vec<Option<u64>>,
    last: Option<Row>,
    /// What the first row follows, until a row accounts for it.
    before: Option<(u64, String)>,
    /// Heads that the chain itself calls lost.
    lost: Vec<String>,
    verdict: Verdict,
}

impl Verifier {
    /// For a chain of which this is known from elsewhere; the first is what was asked for.
    pub fn new(beginning: Beginning, expected: &[&Expected]) -> Self {
        let verdict = Verdict {
            valid: true,
            rows: 0,
            first: 0,
            count: 0,
            head: NOTHING.to_owned(),
            segment: 1,
            rows_after_head: None,
            late: 0,
            clock_went_back: 0,
            faults: Vec::new(),
            faults_total: 0,
            notices: Vec::new(),
        };
        let expected: Vec<Expected> = expected.iter().map(|known| (*known).clone()).collect();
        let found = vec![None; expected.len()];
        Verifier { beginning, expected, found, last: None, before: None, lost: Vec::new(), verdict }
    }

    /// The next row, as it stands there.
    pub fn take(&mut self, row: Row) {
        let is_whole = row.computed() == row.hash;
        if !is_whole {
            self.fault(row.seq, What::Changed, "its content does not give its hash".to_owned());
        }
        match self.last.take() {
            None => self.first(&row),
            Some(last) => self.next(&last, &row),
        }
        if is_whole {
            self.account(&row);
        }
        for (known, found) in self.expected.iter().zip(&mut self.found) {
            if known.head.as_deref().is_some_and(|head| row.hash.eq_ignore_ascii_case(head)) {
                *found = Some(row.seq);
            }
        }
        let verdict = &mut self.verdict;
        verdict.rows += 1;
        verdict.late += u64::from(row.late);
        verdict.clock_went_back += u64::from(row.clock_went_back);
        self.last = Some(row);
    }

    /// The first row follows nothing, or what a row accounts for.
    fn first(&mut self, row: &Row) {
        self.verdict.first = row.seq;
        match (row.seq, row.prev == NOTHING) {
            _ if row.entry.action == SEGMENT => self.named_loss(row),
            (1, true) => {}
            (1, false) => self.fault(1, What::Changed, "it follows another row, and is the first".to_owned()),
            _ => self.before = Some((row.seq.saturating_sub(1), row.prev.clone())),
        }
    }

    /// A row and the one before it.
    fn next(&mut self, last: &Row, row: &Row) {
        let (before, seq) = (last.seq, row.seq);
        let follows = seq == before.saturating_add(1) && row.prev == last.hash;
        if follows {
            if row.entry.action == SEGMENT {
                self.named_loss(row);
            }
        } else if seq == before {
            self.fault(seq, What::Inserted, "it is there twice".to_owned());
        } else if seq < before {
            self.fault(seq, What::Reordered, format!("it stands after row {before}"));
        } else if row.entry.action == SEGMENT && row.segment > last.segment {
            self.named_loss(row);
        } else if seq > before.saturating_add(1) {
            let (first, missing) = (before + 1, seq - before - 1);
            let more =
                if missing > 1 { format!(", and {} more after it", missing - 1) } else { String::new() };
            self.fault(first, What::Removed, format!("it is missing before row {seq}{more}"));
        } else {
            self.fault(before, What::Changed, format!("row {seq} was written after another row than this"));
        }
    }

    /// The chain says itself that rows are missing before this one.
    fn named_loss(&mut self, row: &Row) {
        let said = row.entry.why.as_deref().unwrap_or("rows were lost");
        self.notice(format!("segment {} begins with row {}: {said}", row.segment, row.seq));
        self.lost.extend(said_head(row, "lost_head"));
    }

    /// A row that stands for removed ones.
    fn account(&mut self, row: &Row) {
        let (Some((through, hash)), CHECKPOINT) = (&self.before, row.entry.action.as_str()) else { return };
        let told = said(&row.entry, "through").and_then(|number| number.parse().ok());
        if told == Some(*through) && said_head(row, "head").as_ref() == Some(hash) {
            self.notice(format!(
                "rows up to {through} were removed for want of room; row {} says so",
                row.seq
            ));
            self.before = None;
        }
    }

    /// Every row was there.
    pub fn finish(mut self) -> Verdict {
        if let Some((through, _)) = self.before.take() {
            match self.beginning {
                Beginning::Anywhere => {
                    self.notice(format!(
                        "it begins with row {}; what was before it is not here",
                        through + 1
                    ));
                }
                Beginning::Whole => {
                    let detail = format!("rows 1 to {through} are missing, and no row accounts for them");
                    self.fault(through, What::Removed, detail);
                }
            }
        }
        if let Some(last) = &self.last {
            let verdict = &mut self.verdict;
            (verdict.count, verdict.head, verdict.segment) = (last.seq, last.hash.clone(), last.segment);
        }
        let count = self.verdict.count;
        for (known, found) in self.expected.clone().into_iter().zip(self.found.clone()) {
            self.end(&known, found, count);
        }
        let asked_for = self.found.first().copied().flatten();
        self.verdict.rows_after_head = asked_for.map(|seq| count.saturating_sub(seq));
        self.verdict.valid = self.verdict.faults_total == 0;
        self.verdict
    }

    /// Is the end there that somebody knows of?
    fn end(&mut self, known: &Expected, found: Option<u64>, count: u64) {
        if let Some(expected) = known.count
            && expected > count
        {
            let detail = format!("there were {expected} rows, and the last one here is row {count}");
            self.fault(expected, What::Truncated, detail);
        } else if let (Some(head), None) = (&known.head, found) {
            let lost = self.lost.iter().any(|lost| lost.eq_ignore_ascii_case(head));
            let detail = match lost {
                true => {
                    format!("the row with the hash {head} was lost with its segment, as the next one says")
                }
                false => {
                    let older = match self.verdict.first {
                        0 | 1 => String::new(),
                        first => format!(", or it is of a row before {first}, which are not here any more"),
                    };
                    format!(
                        "no row has the hash {head}: rows are missing after row {count}, or it is of another \
                         chain{older}"
                    )
                }
            };
            self.fault(count.saturating_add(1), What::Truncated, detail);
        }
    }

    fn fault(&mut self, seq: u64, what: What, detail: String) {
        self.verdict.faults_total += 1;
        if self.verdict.faults.len() < MAX_NAMED {
            self.verdict.faults.push(Fault { seq, what, detail });
        }
    }

    fn notice(&mut self, notice: String) {
        if self.verdict.notices.len() < MAX_NAMED {
            self.verdict.notices.push(notice);
        }
    }
}

fn said_head(row: &Row, key: &str) -> Option<String> {
    said(&row.entry, key).map(str::to_owned)
}

#[cfg(test)]
mod tests;
