//! What a drill found, as text for people and as JSON for programs.

use super::advice::Advice;
use super::found::{Found, RouteFound, Times, Verdict};
use super::scenes::{Findings, Script};
use super::verdict::percent;
use crate::cli::table::{WIDTH, fit, wrapped};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Columns of a route's name.
const NAME: usize = 18;

/// For programs; its shape is described in the README.
pub(super) fn json(script: &Script, findings: &Findings) -> Value {
    let sample = &script.sample;
    let routes: Vec<&str> = sample.targets.iter().map(|target| &*target.route).collect();
    json!({
        "holds": findings.holds(),
        "quick": script.quick,
        "asked": {
            "routes": routes,
            "of_routes": sample.of_routes,
            "upstreams": sample.upstreams,
            "of_upstreams": sample.of_upstreams,
            "unanswered": findings.unanswered,
        },
        "requests_per_second": script.rate() * sample.upstreams.len() as f64,
        "scenes": findings.found,
        "skipped": findings.skipped,
        "advice": advice(findings),
        "rewritten": script.staged.notes,
    })
}

/// Every setting once, with the scenes that speak for it.
fn advice(findings: &Findings) -> Vec<Value> {
    let distinct = distinct(findings).into_iter().map(|(advice, scenes)| {
        let scenes: Vec<&str> = scenes.iter().map(|found| found.scene.as_str()).collect();
        json!({
            "of": advice.of,
            "setting": advice.setting,
            "now": advice.now,
            "write": advice.write,
            "because": advice.because,
            "scenes": scenes,
        })
    });
    distinct.collect()
}

/// The same line to write is one piece of advice, however many scenes give it.
fn distinct(findings: &Findings) -> Vec<(&Advice, Vec<&Found>)> {
    let mut all: Vec<(&Advice, Vec<&Found>)> = Vec::new();
    for found in &findings.found {
        for advice in &found.advice {
            match all.iter_mut().find(|(it, _)| (&it.of, &it.write) == (&advice.of, &advice.write)) {
                Some((_, scenes)) => scenes.push(found),
                None => all.push((advice, vec![found])),
            }
        }
    }
    all
}

/// For people.
pub(super) fn text(script: &Script, findings: &Findings) -> String {
    let mut lines = vec!["Not as in the file:".to_owned()];
    lines.extend(script.staged.notes.iter().flat_map(|note| wrapped(note, "  ")));
    lines.extend(asked(script));
    let unanswered =
        findings.unanswered.iter().map(|said| format!("not asked, though nothing was struck: {said}"));
    lines.extend(unanswered.flat_map(|said| wrapped(&said, "  ! ")));
    for found in &findings.found {
        lines.push(String::new());
        lines.extend(scene(found));
    }
    for skipped in &findings.skipped {
        lines.push(String::new());
        lines
            .extend(wrapped(&format!("{}: not played, because {}", skipped.scene.as_str(), skipped.why), ""));
    }
    lines.push(String::new());
    lines.extend(conclusion(findings));
    debug_assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
    lines.join("\n") + "\n"
}

fn asked(script: &Script) -> Vec<String> {
    let sample = &script.sample;
    let mut lines = vec![String::new()];
    let said = format!(
        "Asked: {} of {} routes with an upstream, by {:.0} requests a second to each of {} upstreams (of {}).",
        sample.targets.len(),
        sample.of_routes,
        script.rate(),
        sample.upstreams.len(),
        sample.of_upstreams
    );
    lines.extend(wrapped(&said, ""));
    if sample.targets.len() < sample.of_routes {
        let names: Vec<&str> = sample.targets.iter().map(|target| &*target.route).collect();
        lines.extend(wrapped(&names.join(", "), "  "));
    }
    lines
}

fn scene(found: &Found) -> Vec<String> {
    let mut lines = wrapped(
        &format!(
            "{}: {}, for {:.0} s: {}",
            found.scene.as_str(),
            found.title,
            found.seconds,
            found.verdict.as_str()
        ),
        "",
    );
    lines.push(format!(
        "  {:<NAME$} {:>5} {:>6} {:>7} {:>6}  {:>13} {:>13}",
        "route", "sent", "served", "refused", "failed", "p50/p99 ms", "in calm"
    ));
    lines.extend(found.routes.iter().map(row));
    let worse = found.routes.iter().filter(|route| route.verdict > Verdict::Holds);
    for route in worse {
        let said = format!("{} {}: {}", route.route, route.verdict.as_str(), route.why);
        lines.extend(wrapped(&said, "  ! "));
    }
    if let Some(doubt) = found.doubt {
        lines.extend(wrapped(&format!("UNCLEAR: {}; {}", doubt.because(), doubt.to_do()), "  ! "));
    }
    lines.extend(measured(found).iter().flat_map(|said| wrapped(said, "    ")));
    if !found.times_judged {
        let said = format!(
            "this machine was busy (the drill's own clients left up to {:.0} ms late): times are not judged",
            found.late_p99_ms
        );
        lines.extend(wrapped(&said, "    "));
    }
    lines
}

fn row(route: &RouteFound) -> String {
    let times = |times: Option<Times>| {
        times.map_or_else(|| "-".to_owned(), |it| format!("{:.0}/{:.0}", it.p50_ms, it.p99_ms))
    };
    let hit = &route.hit;
    format!(
        "  {:<NAME$} {:>5} {:>6} {:>7} {:>6}  {:>13} {:>13}",
        fit(&route.route, NAME),
        hit.sent,
        hit.served,
        hit.refusals(),
        hit.failures(),
        times(hit.served_times()),
        times(route.calm.served_times())
    )
}

/// What else there is to say about a scene, in sentences.
fn measured(found: &Found) -> Vec<String> {
    let it = &found.measured;
    let mut all = Vec::new();
    if let (Some(can), Some(came), Some(served)) =
        (it.capacity_per_second, it.offered_per_second, it.goodput_per_second)
    {
        all.push(format!("{came:.0} requests a second came, {served:.0} were served, {can:.0} can be"));
    }
    if let Some(after) = it.served_afterwards {
        all.push(format!("when it was over, {} were served", percent(after)));
    }
    if let Some(back) = it.back_after_s {
        all.push(format!("everybody was served again after {back:.0} s"));
    }
    if let Some(died) = it.crashes.filter(|died| *died > 0) {
        all.push(format!("cold backends died {died} times of what they got"));
    }
    if let (Some(change), Some(why)) = (&it.change, &it.change_why) {
        all.push(format!("the change: {change}: {why}"));
    }
    all
}

fn conclusion(findings: &Findings) -> Vec<String> {
    let distinct = distinct(findings);
    if distinct.is_empty() {
        let worst = findings.found.iter().map(|found| found.verdict).max();
        let said = match worst {
            None => "Nothing was played.",
            Some(Verdict::Holds) => "All of it holds: no setting to change.",
            Some(Verdict::Unclear) => {
                "What could be told holds. Some of it is UNCLEAR: why, and what to do, stands with the scene."
            }
            Some(_) => "No setting of the file explains what does not hold.",
        };
        return wrapped(said, "");
    }
    let mut lines = vec!["What to change:".to_owned()];
    for (advice, scenes) in distinct {
        let scenes: BTreeSet<&str> = scenes.iter().map(|found| found.scene.as_str()).collect();
        let scenes: Vec<&str> = scenes.into_iter().collect();
        lines.extend(wrapped(&format!("{}: {}", advice.of, advice.write), "  "));
        let because = format!("now {}; {} ({})", advice.now, advice.because, scenes.join(", "));
        lines.extend(wrapped(&because, "      "));
    }
    lines
}
