//! The parts that stand around a peer, each a process of its own on the other core: this same program, started
//! again with a role. They are lean, so that the peer is what is measured: a few microseconds a request.
//!
//! A role gets its orders as one JSON argument and reports in lines of JSON on standard output.

#[path = "roles/client.rs"]
pub mod client;
#[path = "roles/hold.rs"]
pub mod hold;
#[path = "roles/load.rs"]
pub mod load;
#[path = "roles/origin.rs"]
pub mod origin;
#[path = "roles/relay.rs"]
pub mod relay;
#[path = "roles/tls.rs"]
pub mod tls;

use crate::place::Place;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Says that a role follows: a word alone may be a filter of `cargo test`.
pub const ROLE: &str = "--role";

/// Takes a role if the arguments name one. `None`: they are not for a role.
pub fn take(arguments: &[String]) -> Option<Result<()>> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Some(match arguments[..] {
        [ROLE, "origin"] => origin::run(),
        [ROLE, "load", orders] => load::run(orders),
        [ROLE, "hold", orders] => hold::run(orders),
        [ROLE, "relay", from, to] => relay::run(from, to),
        _ => return None,
    })
}

/// A runtime of one thread.
fn runtime() -> Result<LocalRuntime> {
    Ok(Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?)
}

/// Writes one line of a report.
pub fn report(line: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

/// A role in a process, killed when dropped.
pub struct Role {
    name: &'static str,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Role {
    /// Starts one on the core of the load.
    pub fn start(place: &Place, name: &'static str, orders: Option<&impl Serialize>) -> Result<Role> {
        Role::on(place.load, name, orders)
    }

    /// Starts one on this core.
    pub fn on(core: usize, name: &'static str, orders: Option<&impl Serialize>) -> Result<Role> {
        let program = std::env::current_exe()?;
        let mut command = Place::pinned(&[core], &program);
        command.args([ROLE, name]);
        if let Some(orders) = orders {
            command.arg(serde_json::to_string(orders)?);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(name)?;
        let stdout = child.stdout.take().context("its standard output is ours")?;
        Ok(Role { name, child, lines: BufReader::new(stdout) })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its next line; waits for it.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("the {} ended: {}", self.name, self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("the {} said {line}", self.name))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
