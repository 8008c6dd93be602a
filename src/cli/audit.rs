//! `audit`: who did what, the newest first; and `--verify`, which asks the gateway to read and hash all of it, or does
//! so itself on shipped lines, without a gateway.

use super::client::Client;
use super::table::{plain, wrapped};
use super::{Failure, print};
use crate::control::audit::entry::told;
use crate::control::audit::verify::{Beginning, Verifier};
use crate::control::audit::{Expected, MAX_LISTED, Outcome, Row, Verdict};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Characters of a line that can be a row.
const MAX_LINE: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Read and hash every row; the status is 1 if one was changed, removed, put in or moved.
    #[arg(long)]
    verify: bool,
    /// A head that was seen before, in the metric, an event or a shipped line: finds rows that were cut off since.
    #[arg(long, value_name = "HASH", requires = "verify", value_parser = hash)]
    head: Option<String>,
    /// How many rows there were then.
    #[arg(long, value_name = "N", requires = "verify")]
    count: Option<u64>,
    /// Verify these shipped lines instead, the oldest file first; no gateway is asked.
    #[arg(long, value_name = "PATH", requires = "verify")]
    pub(super) file: Vec<PathBuf>,
    /// How many rows to show.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "verify",
          value_parser = clap::value_parser!(u32).range(1..=MAX_LISTED as i64))]
    limit: u32,
}

/// Asks the gateway.
pub(super) fn audit(client: &Client, wanted: &AuditArgs, json: bool) -> Result<ExitCode, Failure> {
    if !wanted.verify {
        return list(client, wanted.limit, json);
    }
    let head = wanted.head.as_ref().map(|head| format!("head={head}"));
    let count = wanted.count.map(|count| format!("count={count}"));
    let query: Vec<String> = head.into_iter().chain(count).collect();
    let answer: Value = client.get(&format!("/v1/audit:verify?{}", query.join("&")))?;
    report(&client.read(answer)?, json)
}

fn list(client: &Client, limit: u32, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.get(&format!("/v1/audit?limit={limit}"))?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let waiting = answer["waiting"].as_u64().unwrap_or(0);
    let rows: Vec<Row> = client.read(answer["items"].clone())?;
    let mut screen: String = rows.iter().rev().map(line).collect();
    if rows.is_empty() {
        screen += "nobody has changed anything yet\n";
    }
    if waiting > 0 {
        screen += &format!("! {waiting} more are not recorded yet; /readyz says why\n");
    }
    print(&screen);
    Ok(ExitCode::SUCCESS)
}

/// A row for people, in one line: times and names first, words of people last.
fn line(row: &Row) -> String {
    let it = &row.entry;
    let mut line = format!("{:>6}  {}  {}  {}", row.seq, told(it.at_ms), plain(&it.actor), plain(&it.action));
    line.extend(it.target.iter().map(|target| format!(" {}", plain(target))));
    line.extend(it.version.map(|number| format!(" (version {number})")));
    line.extend(it.asked.iter().map(|asked| format!("  {}", plain(asked))));
    if it.outcome != Outcome::Done || it.times > 1 {
        line += &format!("  {}", it.outcome.as_str());
    }
    line.extend(it.why.iter().map(|why| format!(": {}", plain(why))));
    line.extend(it.reason.iter().map(|reason| format!("  \"{}\"", plain(reason))));
    line.extend(
        (!it.acknowledgements.is_empty()).then(|| format!("  [{}]", plain(&it.acknowledgements.join(" ")))),
    );
    line.extend(row.late.then_some("  (recorded late)"));
    line.extend(row.clock_went_back.then_some("  (the clock had been put back)"));
    line + "\n"
}

/// Verifies lines that were shipped.
pub(super) fn offline(files: &[PathBuf], wanted: &AuditArgs, json: bool) -> Result<ExitCode, Failure> {
    let expected = Expected { head: wanted.head.clone(), count: wanted.count };
    let mut verifier = Verifier::new(Beginning::Anywhere, &[&expected]);
    for path in files {
        read(path, &mut verifier)?;
    }
    report(&verifier.finish(), json)
}

#[expect(clippy::disallowed_methods, reason = "a command of its own process")]
fn read(path: &Path, verifier: &mut Verifier) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::refused(format!("{} cannot be read: {error}", path.display()));
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        let row = serde_json::from_slice(&line).map_err(|error| {
            let what = if line.ends_with(b"\n") { "is no row of an audit" } else { "is not whole" };
            Failure::refused(format!("{}: line {number} {what}: {error}", path.display()))
        })?;
        verifier.take(row);
    }
    Ok(())
}

fn report(verdict: &Verdict, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print(&format!("{:#}\n", serde_json::json!(verdict)));
    } else {
        print(&render(verdict));
    }
    Ok(if verdict.valid { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn render(verdict: &Verdict) -> String {
    let Verdict { rows, first, count, head, segment, .. } = verdict;
    let mut lines = Vec::new();
    for fault in &verdict.faults {
        lines.extend(wrapped(&format!("row {} {}: {}", fault.seq, fault.what.as_str(), fault.detail), "x "));
    }
    let named = verdict.faults.len() as u64;
    lines.extend(
        (verdict.faults_total > named).then(|| format!("x and {} more", verdict.faults_total - named)),
    );
    lines.extend(verdict.notices.iter().flat_map(|notice| wrapped(notice, "! ")));
    let noted = [(verdict.late, "recorded late"), (verdict.clock_went_back, "after the clock was put back")];
    lines.extend(
        noted.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("! {rows} rows {what}")),
    );
    let verdict_word = if verdict.valid { "valid" } else { "NOT VALID" };
    lines.push(format!("{verdict_word}: {rows} rows read, {first} to {count}, segment {segment}"));
    lines.push(format!("head {}", plain(head)));
    lines.extend(
        verdict.rows_after_head.map(|after| format!("{after} rows came after the head that was given")),
    );
    lines.join("\n") + "\n"
}

/// As every place that shows one has it.
fn hash(text: &str) -> Result<String, String> {
    let wrong = |_| "a head has 64 digits, as the metric, the events and the lines have it".to_owned();
    blake3::Hash::from_hex(text).map(|hash| hash.to_hex().to_string()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::audit::verify::{Fault, What};
    use crate::control::audit::{Entry, Row};

    fn verdict() -> Verdict {
        let mut verifier = Verifier::new(Beginning::Whole, &[]);
        verifier.take(row("ops"));
        verifier.finish()
    }

    fn row(actor: &str) -> Row {
        let mut entry = Entry::new(actor, "ramp.set").to("orders/a").because(Some("cold"));
        (entry.at_ms, entry.asked) = (0, Some("percent=25".into()));
        let text = serde_json::json!({
            "seq": 1, "segment": 1, "late": false, "clock_went_back": false, "prev": "0".repeat(64), "hash": "",
        });
        let mut whole = serde_json::json!(entry);
        whole.as_object_mut().expect("an object").extend(text.as_object().expect("an object").clone());
        let row: Row = serde_json::from_value(whole).expect("a row");
        Row { hash: row.computed(), ..row }
    }

    #[test]
    fn a_row_is_a_line_that_commands_nothing() {
        let expected = "     1  1970-01-01T00:00:00.000Z  ops  ramp.set orders/a  percent=25  \"cold\"\n";
        assert_eq!(line(&row("ops")), expected);
        let nasty = line(&row("\u{1b}[31m\n"));
        assert!(!nasty.contains('\u{1b}') && nasty.lines().count() == 1, "{nasty}");
    }

    #[test]
    fn a_verdict_names_the_rows_first_and_says_the_word() {
        assert!(render(&verdict()).starts_with("valid: 1 rows read, 1 to 1, segment 1\nhead "));
        let fault = Fault { seq: 7, what: What::Removed, detail: "it is missing before row 8".into() };
        let bad = Verdict { valid: false, faults: vec![fault], faults_total: 30, ..verdict() };
        let screen = render(&bad);
        assert!(
            screen.starts_with("x row 7 removed: it is missing before row 8\nx and 29 more\nNOT VALID"),
            "{screen}"
        );
    }

    #[test]
    fn shipped_lines_are_verified_without_a_gateway() {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let path = folder.path().join("audit.jsonl");
        let line = serde_json::to_string(&row("ops")).expect("JSON") + "\n";
        let verify = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let mut verifier = Verifier::new(Beginning::Anywhere, &[]);
            read(&path, &mut verifier).map(|()| verifier.finish().valid)
        };
        assert_eq!(verify(&line).ok(), Some(true));
        assert_eq!(verify(&line.replace("percent=25", "percent=52")).ok(), Some(false));
        assert!(verify(&line[..40]).is_err_and(|failure| failure.message.contains("line 1 is not whole")));
    }
}
