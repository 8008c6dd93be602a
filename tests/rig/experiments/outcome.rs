//! What came of an experiment: figures, and whether they reached the bar.

use super::super::load::report::{Row, Seen};
use super::Contender;
use super::arena::{Arena, Run};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One experiment with one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `E1` and so on.
    pub experiment: String,
    pub title: String,
    pub contender: String,
    pub setting: String,
    pub seed: u64,
    /// What the fleet could do a second while it was well, measured in this run.
    pub capacity: f64,
    /// Clients a second in the part that is judged.
    pub offered: f64,
    /// Good answers that were possible in the part that is judged.
    pub possible: f64,
    /// Good answers.
    pub good: u64,
    /// Good of possible.
    pub goodput: f64,
    pub admitted: Times,
    pub refused: Times,
    pub control: Times,
    /// Control traffic without any other.
    pub control_alone: Times,
    /// Control traffic past the contender, at the same time.
    pub control_direct: Times,
    /// The share of control requests that were served, during the trouble.
    pub control_served: f64,
    /// From the end of the trouble until 95 % of those who ask are served; none if that never came.
    pub recovery_s: Option<f64>,
    /// The most requests that the contender held for the upstream.
    pub slots_held: Option<f64>,
    pub slots_limit: Option<f64>,
    /// The sum of the most that each backend ever had in its hands.
    pub origin_peak: u64,
    /// Clients that left unserved in the part that is judged.
    pub timeouts: u64,
    /// Connections that broke in it, and answers that are neither good nor a refusal.
    pub errors: u64,
    /// Requests that the generator itself could not send: more than a few, and the run says nothing.
    pub skipped: u64,
    /// Reasons of refusals in the whole run.
    pub reasons: BTreeMap<String, u64>,
    /// Statuses of answers in the whole run.
    pub statuses: BTreeMap<u16, u64>,
    pub checks: Vec<Check>,
    /// All checks were reached.
    pub passed: bool,
    /// The curve, in slices of time.
    pub curve: Vec<Point>,
}

/// Latencies in milliseconds, counted from when the request was due.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    pub n: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// One figure against its bar.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    pub what: String,
    pub seen: f64,
    pub bar: f64,
    pub reached: bool,
}

/// One slice of the curve; rates a second.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Point {
    pub at_s: f64,
    pub offered: f64,
    pub good: f64,
    pub refused: f64,
    pub failed: f64,
    pub admitted_p99_ms: f64,
}

/// The part of a run that is judged, and what was possible in it.
pub struct Part {
    pub from: Duration,
    pub to: Duration,
    /// Good answers a second.
    pub possible: f64,
}

impl Times {
    /// Of the good answers.
    pub fn ok(row: &Row) -> Times {
        Times { n: row.ok, p50_ms: row.ok_ms(0.5), p99_ms: row.ok_ms(0.99) }
    }

    /// Of the refusals.
    pub fn shed(row: &Row) -> Times {
        Times { n: row.shed, p50_ms: row.shed_ms(0.5), p99_ms: row.shed_ms(0.99) }
    }
}

impl Outcome {
    /// The figures of a run; what is judged comes after.
    pub fn of(
        name: (&str, &str),
        contender: &dyn Contender,
        arena: &Arena,
        run: &Run,
        part: Part,
    ) -> Outcome {
        let (main, scale) = (run.report.stream("main"), &arena.scale);
        let row = main.between(part.from, part.to);
        let trouble = |stream: &str| run.report.stream(stream).between(scale.before, scale.healed());
        let (control, direct) = (trouble("control"), trouble("direct"));
        let seconds = (part.to - part.from).as_secs_f64();
        let possible = part.possible * seconds;
        Outcome {
            experiment: name.0.to_owned(),
            title: name.1.to_owned(),
            contender: contender.name().to_owned(),
            setting: contender.setting().to_owned(),
            seed: scale.seed,
            capacity: arena.capacity,
            offered: row.clients as f64 / seconds,
            possible,
            good: row.ok,
            goodput: row.ok as f64 / possible.max(1.0),
            admitted: Times::ok(&row),
            refused: Times::shed(&row),
            control: Times::ok(&control),
            control_alone: Times::ok(&arena.alone),
            control_direct: Times::ok(&direct),
            control_served: control.ok as f64 / control.tries().max(1) as f64,
            recovery_s: recovery(main, scale.healed(), run.report.slice),
            slots_held: run.slots.map(|slots| slots.held),
            slots_limit: run.slots.map(|slots| slots.limit),
            origin_peak: run.origin.peak,
            timeouts: row.timeout,
            errors: row.error + row.other,
            skipped: run.report.streams.iter().map(|stream| stream.skipped).sum(),
            reasons: main.reasons.clone(),
            statuses: main.statuses.clone(),
            checks: Vec::new(),
            passed: true,
            curve: curve(main, run.report.slice),
        }
    }

    /// A figure that must not be above its bar.
    pub fn at_most(self, what: &str, seen: f64, bar: f64) -> Outcome {
        self.check(what, seen, bar, seen <= bar)
    }

    /// A figure that must not be below its bar.
    pub fn at_least(self, what: &str, seen: f64, bar: f64) -> Outcome {
        self.check(what, seen, bar, seen >= bar)
    }

    /// What every experiment asks: the neighbour is whole and as fast as alone, and the generator kept up.
    pub fn neighbour_is_well(self) -> Outcome {
        let alone = self.control_alone.p99_ms.max(self.control_direct.p99_ms);
        let (served, p99, skipped) = (self.control_served, self.control.p99_ms, self.skipped as f64);
        self.at_least("share of control requests served", served, 1.0)
            .at_most("control p99, ms, against 1.1 x alone", p99, 1.1 * alone)
            .at_most("requests that the generator skipped", skipped, 0.0)
    }

    /// Recovery within so many seconds.
    pub fn recovers_within(self, seconds: f64) -> Outcome {
        let seen = self.recovery_s.unwrap_or(f64::MAX);
        self.at_most("time to recover, s", seen, seconds)
    }

    fn check(mut self, what: &str, seen: f64, bar: f64, reached: bool) -> Outcome {
        self.passed &= reached;
        self.checks.push(Check { what: what.to_owned(), seen, bar, reached });
        self
    }
}

/// The first slice from `healed` on in which, and in the next, 95 % of the clients are served at once.
fn recovery(seen: &Seen, healed: Duration, slice: Duration) -> Option<f64> {
    let first = (healed.as_secs_f64() / slice.as_secs_f64()).round() as usize;
    let well = |row: &Row| row.clients > 0 && row.ok as f64 >= 0.95 * row.clients as f64;
    let rows = seen.rows.get(first..)?;
    let at = rows.windows(2).position(|pair| pair.iter().all(well))?;
    Some(at as f64 * slice.as_secs_f64())
}

fn curve(seen: &Seen, slice: Duration) -> Vec<Point> {
    let seconds = slice.as_secs_f64();
    let point = |(i, row): (usize, &Row)| Point {
        at_s: i as f64 * seconds,
        offered: row.clients as f64 / seconds,
        good: row.ok as f64 / seconds,
        refused: row.shed as f64 / seconds,
        failed: (row.other + row.error + row.timeout) as f64 / seconds,
        admitted_p99_ms: row.ok_ms(0.99),
    };
    seen.rows.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::load::Plan;
    use super::super::super::load::report::Ended;
    use super::*;

    #[test]
    fn recovery_is_when_those_who_ask_are_served_and_stay_served() {
        let slice = Duration::from_secs(1);
        let mut seen = Seen::new("main", &Plan::new(slice * 8, 1));
        // Trouble until 3; a good second at 4 that does not last; well from 6 on.
        for (second, good) in [true, false, false, false, true, false, true, true].into_iter().enumerate() {
            let at = slice * second as u32;
            seen.client(at);
            let ended = if good { Ended::Answer { status: 200, reason: None } } else { Ended::Timeout };
            seen.record(at, Duration::from_millis(1), ended);
        }
        assert_eq!(recovery(&seen, slice * 3, slice), Some(3.0));
        assert_eq!(recovery(&seen, slice * 7, slice), None, "one slice is not enough to tell");
    }
}
