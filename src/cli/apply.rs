//! `apply`: makes a configuration active through the admin side, and shows what the gateway found in it as `check`
//! shows it.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::client::Client;
use super::client::text::{Said, in_query};
use super::table::plain;
use super::{Failure, follow, print};
use crate::config::diagnostics::{Finding, Severity, Source, Span};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is applied, and how.
#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// At once, for all requests; where stages are required, also --break-glass.
    #[arg(long, conflicts_with_all = ["stages", "bake"])]
    now: bool,
    /// Around the stages, or where it takes away the token that asks; for admins, with a reason.
    #[arg(long)]
    break_glass: bool,
    /// Shares of the clients, one after the other, such as 1%,10%,100%; not less careful than the active policy.
    #[arg(long, value_name = "PERCENTAGES")]
    stages: Option<String>,
    /// How long each stage is judged at least, such as 30s.
    #[arg(long, value_name = "DURATION")]
    bake: Option<String>,
    /// It goes back unless `tidegate confirm` comes within this time of being fully active.
    #[arg(long, value_name = "DURATION")]
    confirm: Option<String>,
    /// The risk that you have taken note of; `tidegate plan FILE` tells it.
    #[arg(long, value_name = "RISK", value_parser = ["low", "medium", "high"])]
    ack_risk: Option<String>,
    /// The file with the receipt of another environment.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// The incident that it is for: a freeze of that does not hold it; again for more.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    incident: Vec<u64>,
    /// Do not wait for the end of the rollout.
    #[arg(long)]
    detach: bool,
    /// Why; for the log and the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only if the active version has this hash, or its first 16 digits.
    #[arg(long, value_name = "HASH")]
    if_match: Option<String>,
}

/// Applies it, follows it to its end, and prints what came of it.
pub(super) fn apply(client: &Client, wanted: &ApplyArgs, json: bool) -> Result<ExitCode, Failure> {
    let file = &wanted.file;
    let text = read(file)?;
    let said = client.post_text(&wanted.path()?, text.clone(), wanted.if_match.as_deref())?;
    let version = match &said {
        Said::Pending(answer) => answer["version"]["number"].as_u64(),
        _ => None,
    };
    let follow = version.filter(|_| !wanted.detach);
    if json && follow.is_none() {
        let (Said::Done(answer) | Said::Pending(answer) | Said::Invalid(answer)) = &said;
        print(&format!("{answer:#}\n"));
    }
    match said {
        Said::Pending(ref answer) if !json => print(&begun(answer)),
        Said::Done(ref answer) if !json => print(&done(answer)),
        Said::Invalid(ref problem) if !json => refuse(file, text, problem),
        _ => {}
    }
    match (follow, said) {
        (Some(number), _) => follow::follow(client, (number, wanted.confirm.is_some()), json),
        (None, Said::Done(_)) => Ok(ExitCode::SUCCESS),
        (None, Said::Pending(_)) if version.is_some() => Ok(ExitCode::SUCCESS),
        // What is pending without a number is not done: a script must not go on as if it were.
        (None, _) => Ok(ExitCode::from(1)),
    }
}

impl ApplyArgs {
    /// The request's target.
    fn path(&self) -> Result<String, Failure> {
        let receipt = self.receipt.as_deref().map(read).transpose()?;
        let given = |name: &str, value: &Option<String>| {
            value.as_deref().map(|value| format!("{name}={}", in_query(value.trim())))
        };
        let switch = |name: &str, on: bool| on.then(|| format!("{name}=true"));
        let incidents: Vec<String> = self.incident.iter().map(u64::to_string).collect();
        let parts = [
            switch("now", self.now),
            switch("break_glass", self.break_glass),
            given("reason", &self.reason),
            given("stages", &self.stages),
            given("bake", &self.bake),
            given("confirm", &self.confirm),
            given("ack_risk", &self.ack_risk),
            given("receipt", &receipt),
            given("incident", &(!incidents.is_empty()).then(|| incidents.join(","))),
        ];
        let query: Vec<_> = parts.into_iter().flatten().collect();
        Ok(format!("/v1/versions?{}", query.join("&")))
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))
}

/// It was taken, and is not active yet.
fn begun(answer: &Value) -> String {
    let Some(number) = answer["version"]["number"].as_u64() else {
        return format!("not active yet\n{}", notices(answer));
    };
    let risk = answer["risk"].as_str().map(plain).unwrap_or_default();
    format!("version {number} ({}), risk {risk}\n{}", short(answer), notices(answer))
}

/// The digits by which people name a version.
fn short(answer: &Value) -> String {
    plain(answer["version"]["hash"].as_str().unwrap_or_default()).chars().take(16).collect()
}

fn done(answer: &Value) -> String {
    let hash = short(answer);
    let what = if answer["changed"] == false { "was active already" } else { "is active" };
    let mut out = format!("version {} ({hash}) {what}\n", answer["version"]["number"]);
    if answer["persisted"] == false {
        out += "! it is not on disk: a restart will not have it\n";
    }
    out + &notices(answer)
}

fn notices(answer: &Value) -> String {
    let notices = answer["notices"].as_array().into_iter().flatten().filter_map(Value::as_str);
    notices.map(|notice| format!("! {}\n", plain(notice))).collect()
}

/// Shows why not, with the lines of the person's own file.
pub(super) fn refuse(file: &Path, text: String, problem: &Value) {
    let source = Source { name: file.display().to_string(), text };
    let items = problem["findings"].as_array().into_iter().flatten();
    let findings: Vec<Finding> = items.map(|item| finding(&source, item)).collect();
    let mut stderr = io::stderr().lock();
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = source.render(&findings, coloured);
    let detail = problem["detail"].as_str().unwrap_or("the gateway refused it");
    let detail: Vec<_> = detail.lines().map(plain).collect();
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(stderr, "{shown}error: {}", detail.join("\n"));
}

/// A finding as it was, from what is said of it.
fn finding(source: &Source, item: &Value) -> Finding {
    let word = |name: &str| plain(item[name].as_str().unwrap_or_default());
    let severity = match item["severity"].as_str() {
        Some("warning") => Severity::Warning,
        Some("note") => Severity::Note,
        _ => Severity::Error,
    };
    let start = at(source, item);
    let excerpt = item["text"].as_str().unwrap_or_default().trim_end_matches('…').len();
    let related = &item["related"];
    let place = related["message"].as_str().map(|why| {
        let start = at(source, related);
        (rest_of_line(source, start), plain(why))
    });
    Finding {
        severity,
        message: word("message"),
        span: start..start + excerpt,
        related: place,
        hint: item["hint"].as_str().map(plain),
    }
}

/// Where a line and a column are, in bytes.
fn at(source: &Source, place: &Value) -> usize {
    let number = |name: &str| usize::try_from(place[name].as_u64().unwrap_or(1)).unwrap_or(1).max(1);
    let lines = source.text.split_inclusive('\n');
    let before: usize = lines.clone().take(number("line") - 1).map(str::len).sum();
    let line = lines.clone().nth(number("line") - 1).unwrap_or_default();
    before + line.char_indices().nth(number("column") - 1).map_or(line.len(), |(at, _)| at)
}

fn rest_of_line(source: &Source, start: usize) -> Span {
    let rest = source.text.get(start..).unwrap_or_default();
    start..start + rest.lines().next().map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};

    #[test]
    fn what_a_gateway_found_is_shown_as_check_shows_it() {
        let text = "[gateway]\nwörkers = 1\n[[listeners]]\nname = \"e\"\naddress = \"x\"\n[[listeners]]\nname = \"e\"\n";
        let file = Path::new("gateway.toml");
        let checked = config::check(text, file, &ProcessEnvironment);
        let source = Source { name: "gateway.toml".into(), text: text.into() };
        let items = checked.json();
        let again: Vec<_> =
            items.as_array().expect("a list").iter().map(|item| finding(&source, item)).collect();
        let (here, there) = (source.render(&again, false), checked.render(false));
        let titles =
            |text: &str| text.lines().filter(|line| !line.contains('^') && !line.contains('-')).count();
        assert_eq!((again.len(), titles(&here)), (checked.findings.len(), titles(&there)), "{here}\n{there}");
        let shown: Vec<_> = here.lines().filter(|line| line.contains("gateway.toml:")).collect();
        let expected: Vec<_> = there.lines().filter(|line| line.contains("gateway.toml:")).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_place_outside_of_the_file_is_its_end() {
        let source = Source { name: "x".into(), text: "a\nb".into() };
        let far = serde_json::json!({ "line": 99, "column": u64::MAX, "message": "x", "text": "yyyy" });
        assert!(!source.render(&[finding(&source, &far)], false).is_empty());
    }

    #[test]
    fn what_is_active_is_told_with_what_to_know() {
        let answer = serde_json::json!({
            "version": { "number": 4, "hash": "ab".repeat(32) }, "changed": true, "persisted": false,
            "notices": ["line 3: \u{1b}[31m"],
        });
        let expected = "version 4 (abababababababab) is active\n\
                        ! it is not on disk: a restart will not have it\n! line 3: ?[31m\n";
        assert_eq!(done(&answer), expected);
    }
}
