//! The run as a page: tables of medians with their spread, ratios, and the bars. Everything on it comes from the
//! results; what was not measured is said, and nothing is said of it.

use crate::bars;
use crate::overload_report;
use crate::pictures;
use crate::restart_report;
use crate::results::{Measure, Outcome, Results, Section};
use crate::statistics::{Spread, number};
use anyhow::Result;
use std::fmt::Write;

const US: &str = "tidegate";

/// All files of a run, by their names in its folder: raw results, the page and its pictures.
pub fn files(results: &Results) -> Result<Vec<(String, String)>> {
    let mut files = vec![("results.json".to_owned(), serde_json::to_string_pretty(results)? + "\n")];
    let mut shown = Vec::new();
    for picture in pictures::all(results)? {
        let file = format!("pictures/{}", picture.file);
        files.push((file.clone(), picture.svg));
        shown.push((file, picture.title));
    }
    files.push(("RESULTS.md".to_owned(), page(results, &shown)));
    Ok(files)
}

/// The page. `pictures` are file names beside it, with what they show.
pub fn page(results: &Results, pictures: &[(String, String)]) -> String {
    let mut text = String::from("# Side by side\n\n");
    text += &format!(
        "Measured on {} in {} s by `{}`, {} rounds in turn (A B A B). Each number is the median of its rounds, with \
         the least and the most. Everything here was measured in this run, on this machine:\n\n",
        results.date, results.seconds, results.command, results.rounds
    );
    for later in &results.later {
        let _ = write!(
            text,
            "Measured again without the rest, on {} by `{}`: {}.\n\n",
            later.date,
            later.command,
            later.sections.join(", ")
        );
    }
    for (name, value) in results.machine.iter().chain(&results.peers) {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text += "\nOne proxy at a time, one worker, pinned to one core; the load and the origin on another. CPU is user and \
             system time of all its processes. The configurations are in `benches/compare/peers/`.\n";
    for (what, names) in
        [("Not installed", &results.missing), ("Not measured in this run", &results.left_out)]
    {
        if !names.is_empty() {
            let _ = writeln!(text, "\n{what}: {}.", names.join(", "));
        }
    }
    text += &bars_table(results);
    for (file, title) in pictures {
        let _ = write!(text, "\n![{title}]({file})\n");
    }
    let names: Vec<_> = results.peers.iter().map(|(name, _)| name.as_str()).collect();
    for section in &results.sections {
        text += &section_table(section, &names);
    }
    text += &overload_report::section(&results.overload);
    text += &restart_report::section(&results.restart);
    let trouble = || results.trouble.iter().chain(results.later.iter().flat_map(|later| &later.trouble));
    if trouble().next().is_some() {
        text += "\n## Trouble\n\n";
        for line in trouble() {
            let _ = writeln!(text, "- {}", line.replace(['\n', '|'], " "));
        }
    }
    text
}

/// Ratios of a run, for the terminal: ours against each peer's, by CPU and whatever else has less for better.
pub fn ratios(results: &Results) -> String {
    let mut text = String::from("Tidegate's median as a multiple of each peer's:\n");
    for section in &results.sections {
        for measure in &section.measures {
            let others = results.peers.iter().map(|(name, _)| name.as_str()).filter(|name| *name != US);
            let each = others.filter_map(|name| Some(format!("{name} {}", number(measure.ratio(US, name)?))));
            let each: Vec<_> = each.collect();
            if let (Some(ours), false) = (measure.median(US), each.is_empty()) {
                let ours = format!("{} {}", number(ours), measure.unit);
                let _ = writeln!(text, "{:<24} {ours:>14}   {}", measure.id, each.join("  "));
            }
        }
    }
    text
}

fn bars_table(results: &Results) -> String {
    let mut text = String::from("\n## The bars\n\n| bar | wanted | found | |\n|---|---|---|---|\n");
    for verdict in bars::verdicts(results) {
        let reached = match verdict.reached {
            Some(true) => "reached",
            Some(false) => "**not reached**",
            None => "unknown",
        };
        let _ = writeln!(text, "| {} | {} | {} | {reached} |", verdict.bar, verdict.wanted, verdict.found);
    }
    text + "\nHeld elsewhere: the admission path by `cargo bench --bench admission`; operators that are answered while \
            every core is saturated, by tests.\n"
}

fn section_table(section: &Section, names: &[&str]) -> String {
    let mut text = format!("\n## {}\n\n", section.title);
    if !section.note.is_empty() {
        let _ = write!(text, "{}\n\n", section.note);
    }
    // The direct call is a column where there is one.
    let direct = section.measures.iter().any(|measure| measure.peers.contains_key("direct"));
    let names: Vec<_> = direct.then_some("direct").into_iter().chain(names.iter().copied()).collect();
    let _ = writeln!(text, "| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
    let mut reasons = Vec::new();
    for measure in &section.measures {
        let unit = if measure.unit.is_empty() { String::new() } else { format!(", {}", measure.unit) };
        let cells: Vec<_> = names.iter().map(|name| cell(measure, name, &mut reasons)).collect();
        let _ = writeln!(text, "| {}{unit} | {} |", measure.title, cells.join(" | "));
        // Of counts and shares a multiple says nothing.
        let compares = !matches!(measure.unit.as_str(), "" | "%");
        if compares && names.iter().any(|name| *name != US && measure.ratio(US, name).is_some()) {
            let ratio = |name: &&str| match measure.ratio(US, name).filter(|_| *name != US) {
                Some(ratio) => format!("{} ×", number(ratio)),
                None => String::new(),
            };
            let cells: Vec<_> = names.iter().map(ratio).collect();
            let _ = writeln!(text, "| *tidegate against it* | {} |", cells.join(" | "));
        }
    }
    for (n, (name, reason)) in reasons.iter().enumerate() {
        let _ = write!(text, "{}<sup>{}</sup> {name} {reason}.", if n == 0 { "\n" } else { " " }, n + 1);
    }
    if !reasons.is_empty() {
        text.push('\n');
    }
    text
}

/// One cell; what is missing in it gets a number and a reason below the table.
fn cell(measure: &Measure, name: &str, reasons: &mut Vec<(String, String)>) -> String {
    let (sign, reason) = match measure.peers.get(name) {
        Some(Outcome::Measured(samples)) => {
            return match Spread::of(samples) {
                Some(s) if samples.len() > 1 => {
                    format!("**{}** ({}–{})", number(s.median), number(s.least), number(s.most))
                }
                Some(s) => format!("**{}**", number(s.median)),
                None => String::new(),
            };
        }
        Some(Outcome::Cannot(why)) => ("–", why.clone()),
        Some(Outcome::Failed(why)) => {
            let first = why.lines().next().unwrap_or_default();
            ("failed", format!("failed: {}", first.replace('|', " ")))
        }
        None => return String::new(),
    };
    let entry = (name.to_owned(), reason);
    let at = reasons.iter().position(|known| *known == entry).unwrap_or_else(|| {
        reasons.push(entry);
        reasons.len() - 1
    });
    format!("{sign}<sup>{}</sup>", at + 1)
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn run() -> Results {
        let peers = ["nginx", "caddy", "tidegate"].map(|name| (name.to_owned(), "1.0".to_owned())).to_vec();
        let mut results = Results { peers, left_out: vec!["swap".to_owned()], ..Results::default() };
        let section = results.section("small", "Small requests", "How.");
        let measure = section.measure("small.cpu", "CPU of one request", "µs");
        for sample in [10.0, 12.0, 11.0] {
            measure.add("nginx", sample);
        }
        measure.add("tidegate", 5.5);
        measure.without("caddy", Outcome::Cannot("has none".to_owned()));
        results
    }

    #[test]
    fn a_table_has_medians_spread_ratios_and_reasons() {
        let page = page(&run(), &[]);
        assert!(
            page.contains("| CPU of one request, µs | **11.0** (10.0–12.0) | –<sup>1</sup> | **5.50** |"),
            "{page}"
        );
        assert!(page.contains("| *tidegate against it* | 0.50 × |  |  |"), "{page}");
        assert!(page.contains("<sup>1</sup> caddy has none."), "{page}");
    }

    #[test]
    fn what_was_not_measured_is_said_and_appears_nowhere_else() {
        let page = page(&run(), &[]);
        assert!(page.contains("Not measured in this run: swap."));
        assert!(page.contains("| not measured in this run | unknown |"));
        assert!(!page.contains("| envoy |") && !page.contains("NaN"));
    }

    #[test]
    fn the_terminal_shows_ratios() {
        assert!(ratios(&run()).contains("nginx 0.50"), "{}", ratios(&run()));
    }
}
