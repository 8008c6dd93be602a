//! `history`, `show` and `diff`: what was accepted, and what became of it.

use super::client::Client;
use super::differences;
use super::table::{WIDTH, fit, plain, wrapped};
use super::{Failure, print};
use crate::control::history::{VersionRow, VersionSummary};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// How many are listed.
#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// At most so many versions, the newest first.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u64,
}

/// Which two are compared.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The earlier version.
    #[arg(value_name = "A")]
    before: u64,
    /// The later version.
    #[arg(value_name = "B")]
    after: u64,
}

#[derive(Debug, Deserialize)]
struct Listed {
    items: Vec<VersionSummary>,
}

/// Lists versions.
pub(super) fn history(client: &Client, wanted: &HistoryArgs, json: bool) -> Result<ExitCode, Failure> {
    let path = format!("/v1/versions?limit={}", wanted.limit);
    if json {
        let answer: Value = client.get(&path)?;
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let Listed { items } = client.get(&path)?;
    let mut out = format!("{:>6}  {:<16}  {:<20}  {:<11}  by\n", "number", "hash", "accepted", "outcome");
    items.iter().for_each(|version| line(&mut out, version));
    print(&out);
    Ok(ExitCode::SUCCESS)
}

fn line(out: &mut String, version: &VersionSummary) {
    let hash: String = plain(&version.hash).chars().take(16).collect();
    let by = version.author.as_deref().unwrap_or(&version.cause);
    let why = version.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let text = format!(
        "{:>6}  {hash:<16}  {:<20}  {:<11}  {}{}",
        version.number,
        time(version.at_ms),
        version.outcome.as_str(),
        plain(by),
        plain(&why)
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", fit(&text, WIDTH));
}

/// Shows one version whole.
pub(super) fn show(client: &Client, number: u64, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.get(&format!("/v1/versions/{number}"))?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let row: VersionRow = client.read(answer)?;
    print(&whole(&row));
    Ok(ExitCode::SUCCESS)
}

fn whole(row: &VersionRow) -> String {
    let version = &row.summary;
    let parent = version.parent.map_or_else(|| "none".to_owned(), |parent| parent.to_string());
    let mut lines = vec![
        format!("version {}  {}", version.number, plain(&version.hash)),
        format!(
            "accepted {}  by {}  from {}  risk {}  after version {parent}",
            time(version.at_ms),
            plain(version.author.as_deref().unwrap_or("nobody")),
            plain(&version.cause),
            plain(version.risk.as_deref().unwrap_or("unknown")),
        ),
    ];
    lines.extend(version.reason.iter().flat_map(|reason| wrapped(reason, "because ")));
    let why = version.outcome_why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    lines.extend(wrapped(
        &format!("{} since {}{why}", version.outcome.as_str(), time(version.outcome_at_ms)),
        "",
    ));
    let told = |list: &Value, what: &str| -> Vec<String> {
        let sentences = list.as_array().into_iter().flatten();
        let sentence = |item: &Value| match item {
            Value::String(text) => text.clone(),
            other => other[what].as_str().unwrap_or_default().to_owned(),
        };
        sentences
            .map(sentence)
            .filter(|text| !text.is_empty())
            .flat_map(|text| wrapped(&text, "- "))
            .collect()
    };
    lines.extend(told(&row.differences, "what"));
    lines.extend(told(&row.findings, "what"));
    let text: Vec<_> = row.text.lines().map(plain).collect();
    format!("{}\n\n{}\n", lines.join("\n"), text.join("\n"))
}

/// Shows what differs between two versions, in the operator's words.
pub(super) fn diff(client: &Client, wanted: &DiffArgs, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value =
        client.get(&format!("/v1/versions/{}/diff?against={}", wanted.after, wanted.before))?;
    if json {
        print(&format!("{answer:#}\n"));
    } else {
        print(&differences::render(&client.read(answer)?));
    }
    Ok(ExitCode::SUCCESS)
}

fn time(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms);
    at.map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
