//! The gateway that is drilled: this program, as a process of its own, driven as operators drive it.
//!
//! It is killed when the value is dropped, also by a panic; and by the system when the drill itself is killed.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::scratch::Scratch;
use super::told::Told;
use crate::cli::client::text::{Said, in_query};
use crate::cli::client::{Client, ClientError};
use anyhow::{Context, anyhow, bail};
use http::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The file that it runs.
pub(super) const FILE: &str = "gateway.toml";
/// What it says to its operator.
const LOG: &str = "log";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running gateway.
pub(super) struct Gateway {
    child: Child,
    admin: Client,
    /// Where each listener is.
    pub listeners: HashMap<String, SocketAddr>,
}

impl Gateway {
    /// Starts it on the file in the scratch folder, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start; with its last words.
    pub fn start(scratch: &Scratch, told: &Told) -> anyhow::Result<Gateway> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let log = File::create(scratch.file(LOG))?;
        let state = scratch.file("state");
        let child = Command::new(program)
            .args(["run", "--end-with-parent", "-c"])
            .arg(scratch.file(FILE))
            .arg("--state-dir")
            .arg(&state)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            // Ctrl-C is for the drill: it decides what ends when.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the gateway cannot be started")?;
        let mut child = Killed(Some(child));
        let addresses = told.wait_for(START, || {
            if let Some(status) = child.ended()? {
                bail!("the gateway ended with {status}:\n{}", last_words(scratch));
            }
            Ok(serde_json::from_str::<Value>(&scratch.read("state/addresses.json")).ok())
        })?;
        let addresses =
            addresses.ok_or_else(|| anyhow!("the gateway is not ready:\n{}", last_words(scratch)))?;
        let admin =
            addresses["admin"].as_str().ok_or_else(|| anyhow!("the gateway tells no admin address"))?;
        let admin = Client::new(&format!("http://{admin}"), None)?;
        let listeners = addresses["listeners"].as_object().into_iter().flatten();
        let listeners =
            listeners.filter_map(|(name, at)| Some((name.clone(), at.as_str()?.parse().ok()?))).collect();
        let child = child.0.take().ok_or_else(|| anyhow!("the gateway is gone"))?;
        Ok(Gateway { child, admin, listeners })
    }

    /// Its operators' side.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self) -> Result<Value, ClientError> {
        self.admin.get("/v1/status")
    }

    /// The hash of the active version.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn hash(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        let hash = status["version"]["hash"].as_str().map(str::to_owned);
        hash.ok_or_else(|| anyhow!("the gateway tells no version"))
    }

    /// Proposes a version: `POST /v1/versions` with what stands in `query`, and a reason.
    ///
    /// # Errors
    /// If it does not answer, or refuses with something else than findings.
    pub fn propose(&self, text: &str, query: &str, reason: &str) -> Result<Said, ClientError> {
        let more = if query.is_empty() { String::new() } else { format!("&{query}") };
        self.admin.post_text(
            &format!("/v1/versions?reason={}{more}", in_query(reason)),
            text.to_owned(),
            None,
        )
    }

    /// `POST /v1/rollback`.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub fn roll_back(&self, reason: &str) -> Result<Value, ClientError> {
        self.admin.ask(Method::POST, "/v1/rollback", Some(&json!({ "reason": reason })))
    }

    /// What it said last.
    pub fn last_words(&self, scratch: &Scratch) -> String {
        last_words(scratch)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is being started.
struct Killed(Option<Child>);

impl Killed {
    fn ended(&mut self) -> std::io::Result<Option<std::process::ExitStatus>> {
        self.0.as_mut().map_or(Ok(None), Child::try_wait)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn last_words(scratch: &Scratch) -> String {
    let log = scratch.read(LOG);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
