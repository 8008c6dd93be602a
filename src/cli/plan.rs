//! `plan`: what a file would change, before it changes anything: against the version that a gateway runs, or against
//! another file without one.

use super::apply::refuse;
use super::client::Client;
use super::client::text::Said;
use super::differences::render;
use super::table::{plain, span, wrapped};
use super::{Failure, print};
use crate::config::plan::Plan;
use crate::config::{self, ProcessEnvironment};
use crate::control::plan::{Needs, Outlook, between};
use crate::control::view::{FreezeView, by_name};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is planned, and against what.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Against this file instead of the version that the gateway runs; no gateway is asked.
    #[arg(long, value_name = "OTHER")]
    against: Option<PathBuf>,
}

/// Prints what differs; the status is 0 also when something does, and 1 when the file is invalid.
pub(super) fn plan(
    client: impl FnOnce() -> Result<Client, super::ClientError>,
    wanted: &PlanArgs,
    json: bool,
) -> Result<ExitCode, Failure> {
    let text = read(&wanted.file)?;
    let answer = match &wanted.against {
        Some(other) => match offline(other, &wanted.file, text, json)? {
            Some(answer) => answer,
            None => return Ok(ExitCode::from(1)),
        },
        None => match client()?.post_text("/v1/config:plan", text.clone(), None)? {
            Said::Done(answer) | Said::Pending(answer) => answer,
            Said::Invalid(problem) => {
                if json {
                    print(&format!("{problem:#}\n"));
                } else {
                    refuse(&wanted.file, text, &problem);
                }
                return Ok(ExitCode::from(1));
            }
        },
    };
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let warnings = warnings(&answer);
    let outlook: Outlook = serde_json::from_value(answer)
        .map_err(|error| Failure::refused(format!("the answer cannot be read: {error}")))?;
    print(&(told(&wanted.file, wanted.against.as_deref(), &outlook) + &warnings));
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String, Failure> {
    config::read(file)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))
}

/// Both files as they are here, as a gateway would answer; nothing if one is invalid, which is told.
fn offline(other: &Path, file: &Path, text: String, json: bool) -> Result<Option<Value>, Failure> {
    let earlier = read(other)?;
    let Some((before, _)) = checked(other, &earlier, json) else { return Ok(None) };
    let Some((after, findings)) = checked(file, &text, json) else { return Ok(None) };
    let outlook = between((&earlier, &before), (&text, &after));
    let mut answer = json!(outlook);
    answer["findings"] = findings;
    answer["notices"] = json!(after.notices);
    Ok(Some(answer))
}

/// The plan of a valid file with its findings; otherwise what is wrong is shown.
fn checked(file: &Path, text: &str, json: bool) -> Option<(Plan, Value)> {
    let checked = config::check(text, file, &ProcessEnvironment);
    let findings = checked.json();
    if checked.is_refused() && json {
        print(&format!("{:#}\n", json!({ "valid": false, "file": file, "findings": findings })));
    } else if checked.is_refused() {
        let stderr = io::stderr();
        let shown = checked.render(stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // Nobody is left to tell if standard error is closed.
        let _ = stderr.lock().write_all(shown.as_bytes());
    }
    Some((checked.plan?, findings))
}

fn told(file: &Path, against: Option<&Path>, outlook: &Outlook) -> String {
    let short: String = plain(&outlook.active.hash).chars().take(16).collect();
    let (file, with) = (file.display(), against.map(|other| other.display().to_string()));
    let with = match (with, outlook.active.number) {
        (Some(other), _) => other,
        (None, Some(number)) => format!("version {number} ({short}), which is active"),
        (None, None) => format!("the active version ({short})"),
    };
    let mut out = wrapped(&format!("{file} against {with}"), "").join("\n") + "\n\n";
    if outlook.hash == outlook.active.hash && outlook.comparison.is_empty() {
        return out + "nothing differs: it is the same text\n";
    }
    out += &render(&outlook.comparison);
    for contradiction in &outlook.contradictions {
        out += &(wrapped(&contradiction.what, "! ").join("\n") + "\n");
    }
    out + "\n" + &wrapped(&asked(&outlook.needs), "").join("\n") + "\n"
}

/// What the check warns of, a line each with its place.
fn warnings(answer: &Value) -> String {
    let findings = answer["findings"].as_array().into_iter().flatten();
    let warned = findings.filter(|finding| finding["severity"] == "warning").map(|finding| {
        let message = finding["message"].as_str().unwrap_or_default();
        wrapped(&format!("line {}: {message}", finding["line"]), "! ").join("\n") + "\n"
    });
    warned.collect()
}

/// What would be asked of whoever applies it.
fn asked(needs: &Needs) -> String {
    let mut asked = Vec::new();
    if needs.ack_risk {
        asked.push("needs --ack-risk high".to_owned());
    }
    if needs.approval {
        asked.push("needs the approval of a second person".to_owned());
    }
    if let Some(environment) = &needs.receipt_of {
        asked.push(format!("needs a receipt of {}", plain(environment)));
    }
    asked.extend(held(&needs.freezes));
    asked.push(match needs.stages.as_slice() {
        [] => "reaches everyone at once (rollout.required is false)".to_owned(),
        stages => {
            let stages: Vec<String> = stages.iter().map(|stage| plain(stage)).collect();
            format!("stages {}, about {} with traffic enough", stages.join(" → "), span(needs.about_seconds))
        }
    });
    asked.join("; ")
}

/// By whose freezes, and what passes them.
fn held(freezes: &[FreezeView]) -> Option<String> {
    let told = |freeze: &FreezeView| format!("{} set for incident {}", plain(&freeze.by), freeze.incident);
    let all: Vec<String> = freezes.iter().map(told).collect();
    let flags = by_name(freezes.iter().map(|freeze| freeze.incident));
    let (what, those) = if all.len() == 1 { ("freeze", "that") } else { ("freezes", "each of them") };
    (!all.is_empty())
        .then(|| format!("held by the {what} that {}, unless it is for {those}: {flags}", all.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_with_their_line_and_the_rest_is_for_check() {
        let finding = |severity: &str, line: u32| json!({ "severity": severity, "line": line, "message": "\u{1b}[31m" });
        let answer = json!({ "findings": [finding("note", 1), finding("warning", 7)] });
        assert_eq!(warnings(&answer), "! line 7: ?[31m\n");
    }

    #[test]
    fn what_would_be_asked_is_one_sentence() {
        let needs = Needs {
            stages: vec!["5%".into(), "100%".into()],
            bake_seconds: 20.0,
            about_seconds: 40.0,
            ack_risk: true,
            approval: true,
            receipt_of: Some("staging".into()),
            freezes: Vec::new(),
        };
        let expected = "needs --ack-risk high; needs the approval of a second person; needs a receipt of staging; \
                        stages 5% → 100%, about 40s with traffic enough";
        assert_eq!(asked(&needs), expected);
        assert_eq!(asked(&Needs::default()), "reaches everyone at once (rollout.required is false)");
    }
}
