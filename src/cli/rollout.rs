//! `promote`, `abort`, `confirm`, `approve`, `acknowledge`: what a person says to a change under way.

use super::client::Client;
use super::table::{plain, wrapped};
use super::{Failure, print};
use http::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Why, for the audit.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Which version somebody else approves.
#[derive(Debug, clap::Args)]
pub(super) struct Approved {
    /// The number that `apply`, `status` or `/readyz` told.
    #[arg(value_name = "VERSION")]
    version: u64,
    #[command(flatten)]
    why: Why,
}

/// Says a word to the change under way, and prints what came of it.
pub(super) fn say(client: &Client, word: &str, why: &Why, json: bool) -> Result<ExitCode, Failure> {
    send(client, word, json!({ "reason": why.reason }), json)
}

/// Approves a version that somebody else applied.
pub(super) fn approve(client: &Client, approved: &Approved, json: bool) -> Result<ExitCode, Failure> {
    let body = json!({ "version": approved.version, "reason": approved.why.reason });
    send(client, "approve", body, json)
}

fn send(client: &Client, word: &str, body: Value, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.ask(Method::POST, &format!("/v1/rollout:{word}"), Some(&body))?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let told = answer["told"].as_str().map(plain).unwrap_or_default();
    print(&format!("{}\n", wrapped(&told, "").join("\n")));
    Ok(ExitCode::SUCCESS)
}
