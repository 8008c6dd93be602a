//! `events`: what happened lately, or what happens, a line each for people. A list leaves out the sums of what went on
//! after them: the next one, or the end, has all that they had.

use super::client::{Client, ClientError};
use super::table::plain;
use super::{Failure, print};
use serde_json::Value;
use std::collections::HashSet;
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
    /// Only this kind (config, rollout, rollback, shed, ramp, ejection, limit, incident, name, auth, audit, process,
    /// certificate, listener, notification); may be repeated.
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
    let mut items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    if !json {
        leave_out_sums(&mut items);
    }
    print(&items.into_iter().map(|event| line(event, json)).collect::<String>());
    Ok(ExitCode::SUCCESS)
}

/// Keeps of each spell of sheds its beginning, its newest sum while it lasts, and its end.
fn leave_out_sums(items: &mut Vec<&Value>) {
    let mut later = HashSet::new();
    items.reverse();
    items.retain(|event| {
        let spell = ["upstream", "reason", "since"].map(|key| event[key].as_str().unwrap_or_default());
        match (&event["kind"], event["what"].as_str()) {
            (Value::String(kind), Some("lasts" | "ended")) if kind == "shed" => {
                later.insert(spell) || event["what"] == "ended"
            }
            _ => true,
        }
    });
    items.reverse();
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
    let today = jiff::Timestamp::now().to_string();
    format!("{:>12} {:<11} {}\n", time(&text("at"), &today), text("kind"), told(event))
}

/// `19:35:01Z` of today, `11-21 19:35Z` of another day. In UTC, as everything else that operators see.
fn time(at: &str, today: &str) -> String {
    match (at.get(..10), at.get(5..10), at.get(11..16), at.get(11..19)) {
        (Some(day), _, _, Some(clock)) if today.starts_with(day) => format!("{clock}Z"),
        (_, Some(day), Some(clock), _) => format!("{day} {clock}Z"),
        _ => at.to_owned(),
    }
}

/// What happened in a sentence, and behind it what that leaves out.
pub(super) fn told(event: &Value) -> String {
    let mut line = plain(event["message"].as_str().unwrap_or_default());
    // Of a shed everything is in its message, which is short.
    let keys = match event["kind"].as_str() {
        Some("shed") => &[][..],
        _ => &["version", "cause", "error", "certificate", "not_after", "reason", "by"],
    };
    for key in keys {
        let value = match &event[key] {
            Value::String(value) => plain(value.lines().next().unwrap_or_default()),
            Value::Number(value) => value.to_string(),
            _ => continue,
        };
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
            "id": 7, "at": "2020-11-01T12:00:00.045Z", "kind": "config",
            "message": "configuration \u{1b}[31mrefused\n", "error": "line 4: what?\nline 5: why?",
        });
        assert_eq!(
            line(&event, false),
            "11-01 12:00Z config      configuration ?[31mrefused?  error=line 4: what?\n"
        );
        assert_eq!(line(&event, true).lines().count(), 1);
    }

    #[test]
    fn the_time_of_today_has_seconds_and_that_of_another_day_its_day() {
        let at = "2026-11-22T19:35:01.5Z";
        assert_eq!(time(at, "2026-11-22T23:00:00Z"), "19:35:01Z");
        assert_eq!(time(at, "2026-11-23T03:00:00Z"), "11-22 19:35Z");
        assert_eq!(time("at noon", "2026"), "at noon");
    }

    fn shed(what: &str, since: &str, message: &str) -> Value {
        serde_json::json!({
            "at": "2020-11-22T19:35:01.5Z", "kind": "shed", "what": what, "message": message, "upstream": "orders",
            "reason": "queue_full", "since": since,
        })
    }

    #[test]
    fn a_shed_is_a_line_of_eighty_columns() {
        let lasts = shed("lasts", "T", "orders sheds 12345 in 30s, 123456 in 9m 42s: queue_full");
        let line = line(&lasts, false);
        assert_eq!(
            line,
            "11-22 19:35Z shed        orders sheds 12345 in 30s, 123456 in 9m 42s: queue_full\n"
        );
        assert!(line.chars().count() <= 81, "{line}");
    }

    #[test]
    fn a_list_has_of_an_overload_its_beginning_its_newest_sum_and_its_end() {
        let other = serde_json::json!({ "kind": "ramp", "what": "lasts", "message": "?" });
        let all = [
            shed("began", "1", "a"),
            shed("lasts", "1", "b"),
            shed("lasts", "1", "c"),
            other.clone(),
            shed("ended", "1", "d"),
            shed("began", "2", "e"),
            shed("lasts", "2", "f"),
            other,
            shed("lasts", "2", "g"),
        ];
        let mut items: Vec<&Value> = all.iter().collect();
        leave_out_sums(&mut items);
        let told: Vec<_> = items.iter().filter_map(|event| event["message"].as_str()).collect();
        assert_eq!(told, ["a", "?", "d", "e", "?", "g"]);
    }

    #[test]
    fn what_a_message_leaves_out_stands_behind_it_and_nothing_twice() {
        let told = |event: Value| super::told(&event);
        assert_eq!(told(shed("began", "T", "orders is shedding: ramp")), "orders is shedding: ramp");
        let applied = serde_json::json!({
            "kind": "config", "message": "applied", "version": 3, "cause": "api", "by": "ops", "reason": "",
        });
        assert_eq!(told(applied), "applied  version=3  cause=api  by=ops");
    }
}
