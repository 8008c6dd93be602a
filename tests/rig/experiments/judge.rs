//! Makes the figures of an outcome from what a run saw.

use super::super::load::report::{Row, Seen};
use super::Contender;
use super::arena::{Arena, Run};
use super::outcome::{Outcome, Point, Times};
use std::time::Duration;

/// The part of a run that is judged, and what was possible in it.
pub struct Part {
    pub from: Duration,
    pub to: Duration,
    /// Good answers a second.
    pub possible: f64,
}

impl Part {
    /// A part in which everybody who asked could have been served; those who left of themselves did not ask.
    pub fn asked(run: &Run, from: Duration, to: Duration) -> Part {
        let row = run.report.stream("main").between(from, to);
        Part { from, to, possible: (row.clients - row.left) as f64 / (to - from).as_secs_f64() }
    }
}

/// The figures of a run; what is judged comes after.
pub fn judge(name: (&str, &str), contender: &dyn Contender, arena: &Arena, run: &Run, part: Part) -> Outcome {
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
        admitted: ok(&row),
        refused: shed(&row),
        refused_at_once: at_once(&row),
        control: ok(&control),
        control_alone: ok(&arena.alone),
        control_direct: ok(&direct),
        control_served: control.ok as f64 / control.tries().max(1) as f64,
        recovery_s: recovery(main, scale.healed(), run.report.slice),
        stood_still_ms: run.stood_still.as_secs_f64() * 1e3,
        slots_held: run.slots.map(|slots| slots.held),
        slots_limit: run.slots.map(|slots| slots.limit),
        origin_peak: run.origin.peak,
        timeouts: row.timeout,
        errors: row.error + row.other,
        skipped: run.report.streams.iter().map(|stream| stream.skipped).sum(),
        reasons: main.reasons.clone(),
        statuses: main.statuses.clone(),
        broken: main.errors.iter().map(|(error, n)| ((*error).to_owned(), *n)).collect(),
        checks: Vec::new(),
        passed: true,
        curve: curve(main, run.report.slice),
    }
}

/// Of the good answers.
fn ok(row: &Row) -> Times {
    Times { n: row.ok, p50_ms: row.ok_ms(0.5), p99_ms: row.ok_ms(0.99) }
}

/// Of those refusals that did not wait.
pub fn at_once(row: &Row) -> Times {
    let (n, p50_ms) = row.at_once(0.5);
    Times { n, p50_ms, p99_ms: row.at_once(0.99).1 }
}

/// Of the refusals.
pub fn shed(row: &Row) -> Times {
    Times { n: row.shed, p50_ms: row.shed_ms(0.5), p99_ms: row.shed_ms(0.99) }
}

/// The first slice from `healed` on in which, and in the next, 95 % of the clients are served at once.
fn recovery(seen: &Seen, healed: Duration, slice: Duration) -> Option<f64> {
    let first = (healed.as_secs_f64() / slice.as_secs_f64()).round() as usize;
    // Who changed its mind was not to be served.
    let well = |row: &Row| row.clients > row.left && row.ok as f64 >= 0.95 * (row.clients - row.left) as f64;
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
