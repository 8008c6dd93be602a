//! `notify`: who is told what happens, how that goes, and whether a sink is told at all.

use super::client::{Client, ClientError};
use super::table::{WIDTH, fit, plain, span};
use super::{Failure, print};
use crate::control::notify::SinkView;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;

/// What is done with sinks.
#[derive(Debug, clap::Subcommand)]
pub(super) enum NotifyVerb {
    /// Show each sink: what waits, when it was last told, and why not.
    List,
    /// Tell a sink that it is tried, and wait for its answer; without a name, all of them.
    Test {
        /// Its name.
        #[arg(value_name = "NAME")]
        sink: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
struct Sinks {
    items: Vec<SinkView>,
}

/// Does it.
pub(super) fn notify(client: &Client, verb: NotifyVerb, json: bool) -> Result<ExitCode, Failure> {
    match verb {
        NotifyVerb::List if json => {
            let view: Value = client.get("/v1/notify")?;
            print(&format!("{view:#}\n"));
            Ok(ExitCode::SUCCESS)
        }
        NotifyVerb::List => {
            let Sinks { items } = client.get("/v1/notify")?;
            print(&render(&items));
            Ok(ExitCode::SUCCESS)
        }
        NotifyVerb::Test { sink: Some(sink) } => test(client, &[sink], json),
        NotifyVerb::Test { sink: None } => {
            let Sinks { items } = client.get("/v1/notify")?;
            let names: Vec<String> = items.into_iter().map(|sink| sink.name).collect();
            if names.is_empty() {
                return Err(Failure::refused(
                    "there are no sinks: nobody is told what happens; add [[notify]]",
                ));
            }
            test(client, &names, json)
        }
    }
}

/// Tries each; the exit status says whether all were told.
fn test(client: &Client, names: &[String], json: bool) -> Result<ExitCode, Failure> {
    let mut failed = false;
    let mut answers = Vec::new();
    for name in names {
        match client.ask::<Value>(Method::POST, &format!("/v1/notify/{}:test", in_path(name)), None) {
            Ok(answer) => answers.push(answer),
            Err(ClientError::Refused { detail, hint, status }) => {
                failed = true;
                answers.push(json!({ "sink": name, "outcome": "failed", "status": status, "detail": detail, "hint": hint }));
            }
            Err(other) => return Err(other.into()),
        }
    }
    if json {
        print(&format!("{:#}\n", json!({ "items": answers })));
    } else {
        print(&answers.iter().map(told).collect::<String>());
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn told(answer: &Value) -> String {
    let text = |field: &str| plain(answer[field].as_str().unwrap_or_default());
    match answer["outcome"].as_str() {
        Some("sent") => {
            let seconds = answer["seconds"].as_f64().unwrap_or_default();
            format!("{} ({}) was told, in {seconds:.2} s\n", text("sink"), text("host"))
        }
        _ => format!("! {}\n", text("detail")),
    }
}

/// As it stands in a path; a name that is none leads nowhere.
fn in_path(name: &str) -> String {
    super::client::text::in_query(name)
}

fn render(sinks: &[SinkView]) -> String {
    if sinks.is_empty() {
        return "nobody is told what happens: there is no [[notify]]\n".to_owned();
    }
    let mut out = String::new();
    for sink in sinks {
        // Writing to a String cannot fail.
        let _ = one(&mut out, sink);
    }
    out
}

fn one(out: &mut String, sink: &SinkView) -> std::fmt::Result {
    let (name, kind, host) = (plain(&sink.name), plain(&sink.kind), plain(&sink.host));
    let state = match &sink.failing_seconds {
        Some(seconds) => format!("FAILING for {}", span(*seconds)),
        None if sink.last_success.is_some() => "ok".to_owned(),
        None => "nothing told yet".to_owned(),
    };
    writeln!(out, "{}", fit(&format!("{name}  {kind} at {host}  {state}"), WIDTH))?;
    let counts = format!(
        "  queue {} of {}  sent {}  failed {}  dropped {}  told before {}",
        sink.queue_depth, sink.max_queue, sink.sent, sink.failed, sink.dropped, sink.deduplicated
    );
    writeln!(out, "{}", fit(&counts, WIDTH))?;
    if let Some(at) = &sink.last_success {
        writeln!(out, "  last told {}", plain(at))?;
    }
    if let (Some(at), Some(why)) = (&sink.last_failure, &sink.last_error) {
        writeln!(out, "{}", fit(&format!("  last failure {}: {}", plain(at), plain(why)), WIDTH))?;
    }
    match sink.next_attempt_seconds {
        Some(seconds) => writeln!(out, "  tried again in {}", span(seconds)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_looks_like_this() {
        let sink = SinkView {
            name: "oncall".into(),
            kind: "webhook".into(),
            host: "hooks.example.com".into(),
            max_queue: 256,
            queue_depth: 2,
            sent: 40,
            last_success: Some("2026-11-01T12:00:00.000Z".into()),
            last_failure: Some("2026-11-01T12:03:00.000Z".into()),
            last_error: Some("it answered 503 Service Unavailable".into()),
            failing_seconds: Some(61.0),
            next_attempt_seconds: Some(7.0),
            ..SinkView::default()
        };
        let screen = render(&[sink]);
        let expected = "\
oncall  webhook at hooks.example.com  FAILING for 1m 1s
  queue 2 of 256  sent 40  failed 0  dropped 0  told before 0
  last told 2026-11-01T12:00:00.000Z
  last failure 2026-11-01T12:03:00.000Z: it answered 503 Service Unavailable
  tried again in 7s
";
        assert_eq!(screen, expected);
        assert!(render(&[]).contains("[[notify]]"));
    }
}
