//! Following a change to its end: a line for each step, and the exit status that the end deserves. A terminal is told
//! what is waited for as it changes; a log only when the change takes another step.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::client::{Client, ClientError};
use super::table::{plain, wrapped};
use super::{Failure, print};
use crate::control::change::view::{EndedView, RolloutView};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(250);
/// A gateway that restarts is waited for this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the end of version `number`; with `confirm`, only until it serves everyone.
pub(super) fn follow(
    client: &Client,
    (number, confirm): (u64, bool),
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut told = None;
    let mut heard = Instant::now();
    loop {
        let view: RolloutView = match client.get(&format!("/v1/rollout?version={number}")) {
            Ok(view) => view,
            Err(ClientError::Unreachable { .. }) if heard.elapsed() < PATIENCE => {
                std::thread::sleep(EVERY);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        heard = Instant::now();
        let under_way = view.version.as_ref().is_some_and(|version| version.number == number);
        let ended = view.last.as_ref().filter(|last| last.number == number && !under_way);
        if let Some(ended) = ended {
            return Ok(end(ended, json));
        }
        if !under_way {
            return Err(Failure {
                hint: Some(format!("`tidegate show {number}` says what is known of it")),
                ..Failure::refused(format!("version {number} is not under way any more"))
            });
        }
        if confirm && view.unconfirmed.as_ref().is_some_and(|it| it.number == number) {
            return Ok(unconfirmed(&view, number, json));
        }
        let now = news(&view, io::stdout().is_terminal());
        if !json && told.as_ref() != Some(&now) {
            print(&format!("{}\n", line(&view)));
        }
        told = Some(now);
        std::thread::sleep(EVERY);
    }
}

/// What is worth a line: for a log, its state, how many it serves and whether it needs somebody.
fn news(view: &RolloutView, terminal: bool) -> String {
    match terminal {
        true => line(view),
        false => format!("{} {} {}", view.state, view.share_percent, view.needs_person),
    }
}

/// A step in a sentence that changes only when something did.
pub(super) fn line(view: &RolloutView) -> String {
    let waiting = view.waiting.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
    match view.state.as_str() {
        "approval" => {
            let number = view.version.as_ref().map_or(0, |version| version.number);
            format!("waits for somebody else: `tidegate approve {number}`")
        }
        "probing" => "probing what it names".to_owned(),
        "rolling_out" => {
            let alone = if view.per_request { " of the requests (few clients)" } else { " of the clients" };
            format!("serves {}%{alone}{waiting}", view.share_percent)
        }
        "activating" => "is being made fully active".to_owned(),
        "settling" => format!("serves everyone, not yet good{waiting}"),
        other => plain(other),
    }
}

fn end(ended: &EndedView, json: bool) -> ExitCode {
    let good = matches!(ended.outcome.as_str(), "good" | "active");
    if json {
        print(&format!("{:#}\n", json!(ended)));
    } else {
        let word = plain(&ended.outcome).replace('_', " ");
        let told = format!("version {} is {word}: {}", ended.number, ended.why);
        print(&format!("{}\n", wrapped(&told, if good { "" } else { "! " }).join("\n")));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn unconfirmed(view: &RolloutView, number: u64, json: bool) -> ExitCode {
    let left = view.unconfirmed.as_ref().map_or(0.0, |it| it.seconds_left);
    if json {
        print(&format!("{:#}\n", json!(view)));
    } else {
        print(&format!(
            "version {number} serves everyone; it goes back in {left:.0} s unless you `tidegate confirm`\n"
        ));
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_line_for_each_step_and_a_terminal_for_each_second() {
        let at = |share_percent, waiting: &str, needs_person| RolloutView {
            state: "rolling_out".into(),
            share_percent,
            waiting: Some(waiting.into()),
            needs_person,
            ..RolloutView::default()
        };
        let (first, later) =
            (at(5.0, "it bakes for 8 s more", false), at(5.0, "it bakes for 7 s more", false));
        assert_eq!(news(&first, false), news(&later, false));
        assert_ne!(news(&first, true), news(&later, true));
        for step in [at(50.0, "it bakes for 8 s more", false), at(5.0, "waits for somebody", true)] {
            assert_ne!(news(&first, false), news(&step, false));
        }
    }
}
