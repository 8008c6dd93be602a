//! What to start with: the file if it is good, else the last good version, else nothing but a clear error.
//! Never the network, never an empty gateway (promise 7).
#![expect(clippy::disallowed_methods, reason = "at start, before anybody is served")]

use crate::app::RunOptions;
use crate::config::plan::Plan;
use crate::config::{self, Environment};
use crate::control::store::Store;
use crate::telemetry::events::BootDegraded;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a process leaves.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// How long it keeps accepting.
    pub delay: Duration,
    /// How long requests may take after that.
    pub timeout: Duration,
}

/// A plan to start with, and where it came from.
pub struct Boot {
    /// The plan.
    pub plan: Plan,
    /// The state directory.
    pub store: Store,
    /// The content of the file, if it could be read.
    pub read: Option<String>,
    /// Why something else than the file runs, or what else is not as it should be.
    pub degraded: Option<String>,
    /// How the process leaves.
    pub drain: DrainTimes,
    /// The text that became active, to be kept as last good.
    active: String,
}

impl Boot {
    /// Decides.
    ///
    /// # Errors
    /// The findings in the file, when there is no last good version either.
    pub fn read(options: &RunOptions, environment: &dyn Environment) -> anyhow::Result<Self> {
        let read = std::fs::read_to_string(&options.config);
        let (plan, why) = match &read {
            Ok(text) => {
                let checked = config::check(text, &options.config, environment);
                let why = checked.render(false);
                (checked.plan, why)
            }
            Err(error) => (None, format!("{}: {error}", options.config.display())),
        };
        let read = read.ok();
        match plan {
            Some(plan) => {
                let directory = options.state_dir.as_deref().unwrap_or(&plan.admin.state_dir);
                let (store, degraded) = open_store(directory);
                let active = read.clone().unwrap_or_default();
                Ok(Self::with(plan, store, read, active, degraded))
            }
            None => Self::last_good(options, environment, read, &why),
        }
    }

    fn with(
        plan: Plan,
        store: Store,
        read: Option<String>,
        active: String,
        degraded: Option<String>,
    ) -> Self {
        let drain = DrainTimes { delay: plan.gateway.drain_delay, timeout: plan.gateway.drain_timeout };
        Boot { plan, store, read, degraded, drain, active }
    }

    fn last_good(
        options: &RunOptions,
        environment: &dyn Environment,
        read: Option<String>,
        why: &str,
    ) -> anyhow::Result<Self> {
        let directory = options.state_dir.clone().or_else(|| Store::pointed_to_by(&options.config));
        let found = directory.and_then(|directory| known_good(&directory, &options.config, environment));
        let Some((store, text, plan)) = found else {
            anyhow::bail!("{why}\nhint: there is no last good version to start with; correct the file");
        };
        let first = why.lines().next().unwrap_or("the file is invalid").to_owned();
        BootDegraded { reason: why, hash: &plan.hash }.emit();
        let degraded = Some(format!("running the last good version, because the file is refused: {first}"));
        Ok(Self::with(plan, store, read, text, degraded))
    }

    /// Keeps the text that became active for the next boot. A disk that does not take it costs the next boot its
    /// safety, not this one its life.
    ///
    /// # Errors
    /// What the disk said.
    pub fn keep(&self) -> io::Result<()> {
        self.store.keep(&self.active)
    }

    /// Writes down where the state is and where this process can be reached.
    pub fn announce(&self, file: &Path, admin: SocketAddr, listeners: &[(Arc<str>, SocketAddr)]) {
        if let Err(error) = self.store.leave_pointer(file) {
            tracing::warn!(
                %error,
                "no word can be left beside the file; give --state-dir, or a broken file hides the last good version"
            );
        }
        if let Err(error) = self.store.publish_addresses(admin, listeners) {
            tracing::warn!(%error, "addresses.json cannot be written");
        }
    }
}

fn known_good(
    directory: &PathBuf,
    file: &Path,
    environment: &dyn Environment,
) -> Option<(Store, String, Plan)> {
    let store = Store::at(directory);
    let text = store.last_good()?;
    let mut plan = config::check(&text, file, environment).plan?;
    plan.admin.state_dir.clone_from(directory);
    Some((store, text, plan))
}

/// The state directory, and why it cannot be used if it cannot: the gateway runs without.
fn open_store(directory: &Path) -> (Store, Option<String>) {
    match Store::open(directory) {
        Ok(store) => (store, None),
        Err(error) => {
            let why = format!("the state directory {} cannot be used: {error}", directory.display());
            (Store::at(directory), Some(why))
        }
    }
}
