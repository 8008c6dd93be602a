//! What a load saw: counts by class of outcome, latencies, and a row for each slice of time.
//!
//! Rows go by the moment when a request was due, and so do latencies.

use super::Plan;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Latencies are kept to two digits up to a minute.
const LONGEST: u64 = 60_000_000;
/// The reason of those who were refused because they had waited long enough.
const WAITED: &str = "queue_timeout";

/// All streams, in the order in which they were given.
#[derive(Debug)]
pub struct Report {
    /// The width of a row.
    pub slice: Duration,
    pub streams: Vec<Seen>,
}

/// How one try ended.
#[derive(Debug)]
pub enum Ended {
    Answer {
        status: u16,
        reason: Option<String>,
    },
    Error(&'static str),
    /// The client's patience ended.
    Timeout,
    /// The client changed its mind.
    Left,
    /// The generator had no connection left.
    Skipped,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    /// Clients that were due.
    pub scheduled: u64,
    /// Clients that got a good answer, with their first try or a later one.
    pub answered: u64,
    /// Requests that the generator itself could not send.
    pub skipped: u64,
    pub statuses: BTreeMap<u16, u64>,
    pub reasons: BTreeMap<String, u64>,
    pub errors: BTreeMap<&'static str, u64>,
    pub rows: Vec<Row>,
    slice: Duration,
}

/// A slice of time, or several: tries by how they ended.
#[derive(Clone, Debug)]
pub struct Row {
    /// Clients that were due, retries aside.
    pub clients: u64,
    /// 2xx.
    pub ok: u64,
    /// Refused for want of room: 503 and 429; and 502 of those who do not say why they refuse.
    pub shed: u64,
    /// Any other answer.
    pub other: u64,
    /// No answer: not connected, reset, closed, nonsense.
    pub error: u64,
    /// No answer within the client's patience.
    pub timeout: u64,
    /// The client left before it could know.
    pub left: u64,
    ok_times: Histogram<u64>,
    shed_times: Histogram<u64>,
    at_once_times: Histogram<u64>,
}

impl Ended {
    /// Whether the client has what it wanted, or no longer wants it.
    pub fn satisfies(&self) -> bool {
        match self {
            Ended::Answer { status, .. } => (200..300).contains(status),
            Ended::Left => true,
            Ended::Error(_) | Ended::Timeout | Ended::Skipped => false,
        }
    }
}

impl Report {
    /// A stream by its name.
    pub fn stream(&self, name: &str) -> &Seen {
        self.streams.iter().find(|stream| stream.name == name).expect("a stream of this load")
    }
}

impl Seen {
    /// Nothing yet.
    pub fn new(name: &str, plan: &Plan) -> Seen {
        let rows = plan.duration.as_nanos().div_ceil(plan.slice.as_nanos().max(1));
        Seen {
            name: name.to_owned(),
            scheduled: 0,
            answered: 0,
            skipped: 0,
            statuses: BTreeMap::new(),
            reasons: BTreeMap::new(),
            errors: BTreeMap::new(),
            rows: vec![Row::new(); rows as usize],
            slice: plan.slice,
        }
    }

    /// Takes another stream of the same plan in.
    pub fn add(&mut self, more: &Seen) {
        self.scheduled += more.scheduled;
        self.answered += more.answered;
        self.skipped += more.skipped;
        more.statuses.iter().for_each(|(status, n)| *self.statuses.entry(*status).or_default() += n);
        more.reasons.iter().for_each(|(reason, n)| *self.reasons.entry(reason.clone()).or_default() += n);
        more.errors.iter().for_each(|(error, n)| *self.errors.entry(error).or_default() += n);
        self.rows.iter_mut().zip(&more.rows).for_each(|(row, more)| row.add(more));
    }

    /// A client was due at `at`.
    pub fn client(&mut self, at: Duration) {
        self.scheduled += 1;
        if let Some(row) = self.row(at) {
            row.clients += 1;
        }
    }

    /// What comes after the end counts in the last row.
    fn row(&mut self, at: Duration) -> Option<&mut Row> {
        let row = (at.as_nanos() / self.slice.as_nanos().max(1)) as usize;
        let last = self.rows.len().saturating_sub(1);
        self.rows.get_mut(row.min(last))
    }

    /// One try that was due at `at` ended after `took`.
    pub fn record(&mut self, at: Duration, took: Duration, ended: Ended) {
        let Some(row) = self.row(at) else { return };
        let micros = (took.as_micros() as u64).clamp(1, LONGEST);
        match ended {
            Ended::Answer { status, reason } => {
                let shed = matches!(status, 503 | 429) || status == 502 && reason.is_none();
                match status {
                    200..300 => row.ok += 1,
                    _ if shed => row.shed += 1,
                    _ => row.other += 1,
                }
                match status {
                    200..300 => row.ok_times.saturating_record(micros),
                    _ if shed => row.shed_times.saturating_record(micros),
                    _ => {}
                }
                if shed && reason.as_deref() != Some(WAITED) {
                    row.at_once_times.saturating_record(micros);
                }
                *self.statuses.entry(status).or_default() += 1;
                if let Some(reason) = reason {
                    *self.reasons.entry(reason).or_default() += 1;
                }
            }
            Ended::Error(error) => {
                row.error += 1;
                *self.errors.entry(error).or_default() += 1;
            }
            Ended::Timeout => row.timeout += 1,
            Ended::Left => row.left += 1,
            Ended::Skipped => self.skipped += 1,
        }
    }

    /// What was due in `[from, to)`, by whole rows.
    pub fn between(&self, from: Duration, to: Duration) -> Row {
        let row = |at: Duration| (at.as_secs_f64() / self.slice.as_secs_f64()).round() as usize;
        let (from, to) = (row(from).min(self.rows.len()), row(to).min(self.rows.len()));
        let mut sum = Row::new();
        self.rows[from.min(to)..to].iter().for_each(|row| sum.add(row));
        sum
    }

    /// All of it.
    pub fn whole(&self) -> Row {
        self.between(Duration::ZERO, Duration::MAX / 2)
    }
}

impl Row {
    /// Nothing yet.
    pub fn new() -> Row {
        let times = || Histogram::new_with_max(LONGEST, 2).expect("two digits up to a minute");
        Row {
            clients: 0,
            ok: 0,
            shed: 0,
            other: 0,
            error: 0,
            timeout: 0,
            left: 0,
            ok_times: times(),
            shed_times: times(),
            at_once_times: times(),
        }
    }

    /// Both together.
    pub fn add(&mut self, more: &Row) {
        self.clients += more.clients;
        self.ok += more.ok;
        self.shed += more.shed;
        self.other += more.other;
        self.error += more.error;
        self.timeout += more.timeout;
        self.left += more.left;
        self.ok_times.add(&more.ok_times).expect("of one size");
        self.shed_times.add(&more.shed_times).expect("of one size");
        self.at_once_times.add(&more.at_once_times).expect("of one size");
    }

    /// Tries that were sent.
    pub fn tries(&self) -> u64 {
        self.ok + self.shed + self.other + self.error + self.timeout + self.left
    }

    /// The latency in milliseconds that this share (0 to 1) of the good answers did not exceed.
    pub fn ok_ms(&self, share: f64) -> f64 {
        self.ok_times.value_at_quantile(share) as f64 / 1e3
    }

    /// The same of the refusals.
    pub fn shed_ms(&self, share: f64) -> f64 {
        self.shed_times.value_at_quantile(share) as f64 / 1e3
    }

    /// Refusals of which nobody says that they waited, and the latency that this share of them did not exceed.
    pub fn at_once(&self, share: f64) -> (u64, f64) {
        (self.at_once_times.len(), self.at_once_times.value_at_quantile(share) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn tries_are_counted_by_class_in_the_slice_when_they_were_due() {
        let mut seen = Seen::new("s", &Plan::new(Duration::from_secs(3), 1));
        let answer = |status, reason: &str| Ended::Answer {
            status,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
        };
        seen.record(MS * 100, MS * 950, answer(200, ""));
        seen.record(MS * 1_100, MS * 2, answer(503, "queue_full"));
        seen.record(MS * 1_200, MS * 2, answer(502, ""));
        seen.record(MS * 1_300, MS * 2, answer(502, "reset"));
        seen.record(MS * 2_100, MS * 2, Ended::Timeout);
        seen.record(MS * 9_000, MS * 2, Ended::Error("closed"));
        seen.record(MS * 2_100, MS * 2, Ended::Skipped);
        let classes = |row: &Row| (row.ok, row.shed, row.other, row.error, row.timeout);
        assert_eq!(classes(&seen.rows[0]), (1, 0, 0, 0, 0));
        assert_eq!(classes(&seen.rows[1]), (0, 2, 1, 0, 0));
        assert_eq!(classes(&seen.rows[2]), (0, 0, 0, 1, 1), "what comes late counts at the end");
        let whole = seen.whole();
        assert_eq!((whole.tries(), seen.skipped, seen.reasons["queue_full"]), (6, 1, 1));
        assert!((940.0..960.0).contains(&whole.ok_ms(0.5)), "{}", whole.ok_ms(0.5));
        assert_eq!(classes(&seen.between(MS * 1_000, MS * 2_000)), (0, 2, 1, 0, 0));
    }
}
