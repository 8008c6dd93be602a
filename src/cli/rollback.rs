//! `rollback`: takes back what runs, or brings a version back, at once and for everyone.

use super::client::Client;
use super::table::plain;
use super::{Failure, print};
use http::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What comes back, and why.
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// Its number; without, a running rollout ends, or the good version before the active one comes back.
    #[arg(value_name = "VERSION")]
    version: Option<u64>,
    /// Why; for the log and the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Rolls back, and prints the version that serves then.
pub(super) fn rollback(client: &Client, wanted: &RollbackArgs, json: bool) -> Result<ExitCode, Failure> {
    let body = json!({ "version": wanted.version, "reason": wanted.reason });
    let answer: Value = client.ask(Method::POST, "/v1/rollback", Some(&body))?;
    if json {
        print(&format!("{answer:#}\n"));
    } else {
        print(&done(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// Which version serves, and what was not written down: a line each.
pub(super) fn done(answer: &Value) -> String {
    let hash = answer["version"]["hash"].as_str().unwrap_or_default();
    let hash: String = plain(hash).chars().take(16).collect();
    let (from, to) = (&answer["from"], &answer["version"]["number"]);
    let mut out = match from == to {
        true => format!("version {to} ({hash}) was active already\n"),
        false => format!("version {to} ({hash}) is active; version {from} was taken back\n"),
    };
    for sentences in [&answer["unrecorded"], &answer["notices"]] {
        let sentences = sentences.as_array().into_iter().flatten().filter_map(Value::as_str);
        out.extend(sentences.map(|sentence| format!("! {}\n", plain(sentence))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_back_is_told_with_what_was_not_written_down() {
        let answer = json!({
            "from": 4, "version": { "number": 3, "hash": "ab".repeat(32) }, "persisted": false,
            "unrecorded": ["the disk is full"], "notices": ["x: \u{1b}[31m"],
        });
        let expected = "version 3 (abababababababab) is active; version 4 was taken back\n\
                        ! the disk is full\n! x: ?[31m\n";
        assert_eq!(done(&answer), expected);
        let same = json!({ "from": 3, "version": { "number": 3, "hash": "ab" } });
        assert_eq!(done(&same), "version 3 (ab) was active already\n");
    }
}
