//! `events`: what happened lately, or what happens.

use super::client::{Client, ClientError};
use super::table::plain;
use super::{Failure, print};
use serde_json::Value;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How long a gateway that was there may be away while it is followed.
const AWAY: Duration = Duration::from_secs(30);

/// Between two attempts to come back to it.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Go on, and print events as they happen; from now on, unless --after says from where.
    #[arg(short, long)]
    follow: bool,
    /// Only this kind (config, shed, ramp, ejection, limit, name, auth, audit, process, certificate, listener); may
    /// be repeated.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// What came after the event with this id; 0 is the oldest that is kept.
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

/// Prints events, one on a line.
pub(super) fn events(client: &Client, wanted: &EventsArgs, json: bool) -> Result<ExitCode, Failure> {
    if let Some(bad) = wanted.kind.iter().find(|kind| !is_word(kind)) {
        return Err(Failure::usage(format!("{bad:?} is no kind of events")));
    }
    let kinds = match wanted.kind.is_empty() {
        true => String::new(),
        false => format!("&kinds={}", wanted.kind.join(",")),
    };
    if wanted.follow {
        return follow(client, &kinds, wanted.after, json);
    }
    let after = wanted.after.unwrap_or(0);
    let list: Value = client.get(&format!("/v1/events?follow=false&after={after}{kinds}"))?;
    let items = list["items"].as_array().into_iter().flatten();
    print(&items.map(|event| line(event, json)).collect::<String>());
    Ok(ExitCode::SUCCESS)
}

fn follow(client: &Client, kinds: &str, after: Option<u64>, json: bool) -> Result<ExitCode, Failure> {
    let path = format!("/v1/events?follow=true{kinds}");
    let mut last = after;
    let mut was_there = None;
    loop {
        let outcome = client.follow(&path, &mut last, |event| write(&line(event, json)));
        match outcome {
            // Whoever read this has left.
            Ok(ControlFlow::Break(())) => return Ok(ExitCode::SUCCESS),
            Ok(ControlFlow::Continue(())) => was_there = Some(Instant::now()),
            Err(error @ ClientError::Unreachable { .. }) => match was_there {
                Some(then) if Instant::now().duration_since(then) < AWAY => {}
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a process of its own that has nothing else to do")]
fn pause() {
    thread::sleep(PAUSE);
}

fn write(line: &str) -> ControlFlow<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// A line for people, or the event as it came.
fn line(event: &Value, json: bool) -> String {
    if json {
        return format!("{event}\n");
    }
    let text = |key: &str| plain(event[key].as_str().unwrap_or_default());
    format!("{}  {:<11}  {}\n", text("at"), text("kind"), told(event))
}

/// What happened in a sentence, and behind it what that leaves out.
pub(super) fn told(event: &Value) -> String {
    let mut line = plain(event["message"].as_str().unwrap_or_default());
    for key in ["version", "cause", "error", "certificate", "not_after", "reason", "by"] {
        let value = match &event[key] {
            Value::String(value) => plain(value.lines().next().unwrap_or_default()),
            Value::Number(value) => value.to_string(),
            _ => continue,
        };
        // A shed's reason is in its message.
        if !value.is_empty() && !line.ends_with(&value) {
            line += &format!("  {key}={value}");
        }
    }
    line
}

/// Fit for a query without being escaped.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let event = serde_json::json!({
            "id": 7, "at": "2026-11-01T12:00:00.045Z", "kind": "config",
            "message": "configuration \u{1b}[31mrefused\n", "error": "line 4: what?\nline 5: why?",
        });
        assert_eq!(
            line(&event, false),
            "2026-11-01T12:00:00.045Z  config       configuration ?[31mrefused?  error=line 4: what?\n"
        );
        assert_eq!(line(&event, true).lines().count(), 1);
    }

    #[test]
    fn what_a_message_leaves_out_stands_behind_it_and_nothing_twice() {
        let shed = serde_json::json!({
            "at": "T", "kind": "shed", "message": "orders is shedding: ramp", "upstream": "orders", "reason": "ramp",
        });
        assert_eq!(line(&shed, false), "T  shed         orders is shedding: ramp\n");
        let applied = serde_json::json!({
            "at": "T", "kind": "config", "message": "applied", "version": 3, "cause": "api", "by": "ops", "reason": "",
        });
        assert_eq!(line(&applied, false), "T  config       applied  version=3  cause=api  by=ops\n");
    }
}
