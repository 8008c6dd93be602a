//! Outcomes of the overload experiments as a table, and as curves: all contenders on one picture for each
//! experiment that more than one took part in. Only what was measured in the run appears.

use crate::outcome::{Outcome, Point, Times};
use crate::panels;
use crate::pictures::Picture;
use anyhow::Result;
use std::fmt::Write;

const SIZE: (u32, u32) = (900, 900);

/// What the three curves of a picture show.
type Panel = (&'static str, fn(&Point) -> f64);

const PANELS: [Panel; 3] = [
    ("good answers a second", |point| point.good),
    ("p99 of the admitted, ms", |point| point.admitted_p99_ms),
    ("refused a second", |point| point.refused),
];

/// The section of the page; empty if there are no outcomes.
pub fn section(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Overload\n\nThe proxy on one core; backends and an open-loop generator on the other. What the backends can do \
         is measured before each experiment. Goodput is good answers of those that were possible, and what is in flight \
         when the trouble ends comes on top; latencies count from \
         when a request was due, in ms, p50 / p99; a refusal is a 503 or 429, or a 502 without a reason; control is \
         another upstream beside the one in trouble: served, and its p99 alone, during the trouble, and past the proxy \
         at the same time. `as it comes` and `set by hand` are in `benches/compare/peers/overload/`.\n",
    );
    for experiment in experiments(outcomes) {
        let first = outcomes.iter().find(|outcome| outcome.is(&experiment));
        let Some(first) = first else { continue };
        let _ = write!(
            text,
            "\n### {}: {}\n\nThe backends can do {:.0} a second while they are well.\n\n\
             | | goodput | admitted | refused | control served | control p99: alone, during, past it | recovery, s | held | left unserved | bars |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
            first.experiment, first.title, first.capacity
        );
        let all: Vec<_> = outcomes.iter().filter(|outcome| outcome.is(&experiment)).collect();
        for outcome in &all {
            let seeds = all.iter().filter(|other| other.entrant() == outcome.entrant()).count();
            let seed = if seeds > 1 { format!(", seed {}", outcome.seed) } else { String::new() };
            text += &line(outcome, &seed);
        }
    }
    text + &missed(outcomes)
}

fn line(outcome: &Outcome, seed: &str) -> String {
    let recovery = outcome.recovery_s.map_or("not seen".to_owned(), |seconds| format!("{seconds:.1}"));
    let held = outcome.slots_held.map_or("–".to_owned(), |held| format!("{held:.0}"));
    let reached = outcome.checks.iter().filter(|check| check.reached).count();
    format!(
        "| {}{seed} | {:.1} % | {} | {} ({}) | {:.1} % | {:.1}, {:.1}, {:.1} | {recovery} | {held} | {} | {reached} of {} |\n",
        outcome.entrant(),
        outcome.goodput * 100.0,
        times(&outcome.admitted),
        times(&outcome.refused),
        outcome.refused.n,
        outcome.control_served * 100.0,
        outcome.control_alone.p99_ms,
        outcome.control.p99_ms,
        outcome.control_direct.p99_ms,
        outcome.timeouts + outcome.errors,
        outcome.checks.len(),
    )
}

fn times(times: &Times) -> String {
    if times.n == 0 { "none".to_owned() } else { format!("{:.1} / {:.1}", times.p50_ms, times.p99_ms) }
}

/// Our own bars that were not reached, each with its figures.
fn missed(outcomes: &[Outcome]) -> String {
    let ours = outcomes.iter().filter(|outcome| outcome.contender == "tidegate");
    let missed = ours.flat_map(|outcome| {
        let checks = outcome.checks.iter().filter(|check| !check.reached);
        checks.map(move |check| (outcome, check))
    });
    let mut text = String::new();
    for (outcome, check) in missed {
        if text.is_empty() {
            text += "\nBars that Tidegate did not reach:\n\n";
        }
        let seen = if check.seen == f64::MAX { "never".to_owned() } else { format!("{:.3}", check.seen) };
        let (experiment, title) = (&outcome.experiment, &outcome.title);
        let _ = writeln!(text, "- {experiment}, {title}: {}: {seen}, wanted {:.3}", check.what, check.bar);
    }
    text
}

/// One picture for each experiment with more than one contender.
pub fn pictures(outcomes: &[Outcome]) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for experiment in experiments(outcomes) {
        let all: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.is(&experiment)).collect();
        if all.iter().all(|outcome| outcome.entrant() == all[0].entrant()) {
            continue;
        }
        let (name, title) = &experiment;
        let file =
            format!("overload-{name}-{title}.svg").to_lowercase().replace([' ', ','], "-").replace("--", "-");
        let title = format!("{name}: {title}");
        pictures.push(Picture { file, svg: draw(&title, &all)?, title });
    }
    Ok(pictures)
}

/// Name and title, in the order in which they were made.
fn experiments(outcomes: &[Outcome]) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    for outcome in outcomes {
        let name = (outcome.experiment.clone(), outcome.title.clone());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn draw(title: &str, outcomes: &[&Outcome]) -> Result<String> {
    let panel = |(label, value): &Panel| panels::Panel {
        label,
        lines: outcomes.iter().map(|outcome| line_of(outcome, *value)).collect(),
    };
    panels::draw(title, SIZE, &PANELS.iter().map(panel).collect::<Vec<_>>())
}

fn line_of(outcome: &Outcome, value: fn(&Point) -> f64) -> panels::Line {
    let by_hand = outcome.setting == "set by hand";
    let ours = outcome.contender == "tidegate";
    panels::Line {
        name: outcome.entrant(),
        peer: outcome.contender.clone(),
        // Ours on top is thick; a peer that nobody tuned is thin, and tuned it is a little thicker.
        width: if ours { 3 } else { 1 + u32::from(by_hand) },
        shade: if by_hand || ours { 1.0 } else { 0.5 },
        points: outcome.curve.iter().map(|point| (point.at_s, value(point))).collect(),
    }
}

impl Outcome {
    fn entrant(&self) -> String {
        format!("{}, {}", self.contender, self.setting)
    }

    fn is(&self, (name, title): &(String, String)) -> bool {
        self.experiment == *name && self.title == *title
    }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn outcome(contender: &str, setting: &str) -> Outcome {
        let figures = r#"{"experiment":"E3","title":"flash crowd, 5 times","contender":"","setting":"","seed":1,
            "capacity":1600.0,"offered":8000.0,"possible":1600.0,"good":1590,"goodput":0.99375,
            "admitted":{"n":1590,"p50_ms":248.0,"p99_ms":262.0},"refused":{"n":6000,"p50_ms":0.3,"p99_ms":2.5},
            "refused_at_once":{"n":6000,"p50_ms":0.3,"p99_ms":2.5},
            "control":{"n":100,"p50_ms":5.0,"p99_ms":9.0},"control_alone":{"n":100,"p50_ms":5.0,"p99_ms":8.5},
            "control_direct":{"n":100,"p50_ms":5.0,"p99_ms":8.0},"control_served":1.0,"recovery_s":0.5,
            "slots_held":null,"slots_limit":null,"origin_peak":400,"timeouts":3,"errors":2,"skipped":0,
            "reasons":{},"statuses":{},"broken":{},"passed":false,
            "checks":[{"what":"p99 of the admitted, ms","seen":262.0,"bar":250.0,"reached":false}],
            "curve":[{"at_s":0.0,"offered":800.0,"good":800.0,"refused":0.0,"failed":0.0,"admitted_p99_ms":23.0},
                     {"at_s":1.0,"offered":8000.0,"good":1590.0,"refused":6000.0,"failed":3.0,"admitted_p99_ms":262.0}]}"#;
        let figures: Outcome = serde_json::from_str(figures).expect("an outcome");
        Outcome { contender: contender.to_owned(), setting: setting.to_owned(), ..figures }
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert!(section(&[]).is_empty());
        assert!(pictures(&[]).expect("no picture").is_empty());
        let alone = [outcome("tidegate", "untuned")];
        assert!(pictures(&alone).expect("no picture").is_empty(), "one alone is no comparison");
    }

    #[test]
    fn a_line_for_each_contender_and_our_missed_bars_are_shown() {
        let text = section(&[outcome("nginx", "as it comes"), outcome("tidegate", "untuned")]);
        assert!(
            text.contains("| nginx, as it comes | 99.4 % | 248.0 / 262.0 | 0.3 / 2.5 (6000) |"),
            "{text}"
        );
        assert_eq!(text.matches("| 0 of 1 |").count(), 2, "{text}");
        let missed = "- E3, flash crowd, 5 times: p99 of the admitted, ms: 262.000, wanted 250.000";
        assert_eq!(text.matches(missed).count(), 1, "{text}");
    }

    #[test]
    fn contenders_are_on_one_picture_with_their_names() {
        let all = [
            outcome("nginx", "as it comes"),
            outcome("nginx", "set by hand"),
            outcome("tidegate", "untuned"),
        ];
        let pictures = pictures(&all).expect("drawn");
        let files: Vec<_> = pictures.iter().map(|picture| picture.file.as_str()).collect();
        assert_eq!(files, ["overload-e3-flash-crowd-5-times.svg"]);
        for name in ["nginx, as it comes", "nginx, set by hand", "tidegate, untuned"] {
            assert!(pictures[0].svg.contains(name), "{name}");
        }
    }
}
