//! What to start with: the file if it is good, else the last good version, else nothing but a clear error.
//! Never the network, never an empty gateway (promise 7).
//!
//! Certificates that cannot be used make a version that was never active a wrong one. One that was active before
//! starts all the same: the listeners and upstreams that they belong to wait for them, the others serve.
#![expect(clippy::disallowed_methods, reason = "at start, before anybody is served")]

use crate::app::RunOptions;
use crate::config::plan::Plan;
use crate::config::{self, Environment};
use crate::control::store::Store;
use crate::listener::tls::TlsDoor;
use crate::telemetry::events::BootDegraded;
use crate::upstream::tls::TlsClient;
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
    /// The version was active before, so that certificates which cannot be used now do not keep it from starting.
    pub again: bool,
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
        let mut try_again = false;
        let (plan, why) = match &read {
            Ok(text) => {
                let checked = config::check(text, &options.config, environment);
                let why = checked.render(false);
                match checked.plan.map(|plan| (unusable(&plan), plan)) {
                    Some((Some(unusable), plan)) if !was_active(options, &plan, text) => {
                        // Its certificates may come: the same text is looked at again.
                        try_again = true;
                        (None, unusable)
                    }
                    checked => (checked.map(|(_, plan)| plan), why),
                }
            }
            Err(error) => (None, format!("{}: {error}", options.config.display())),
        };
        let read = read.ok();
        match plan {
            Some(plan) => {
                let directory = options.state_dir.as_deref().unwrap_or(&plan.admin.state_dir);
                let (store, degraded) = open_store(directory);
                let active = read.clone().unwrap_or_default();
                let again = store.last_good().is_some_and(|last| last == active);
                Ok(Boot { again, ..Self::with(plan, store, read, active, degraded) })
            }
            None => Self::last_good(options, environment, read.filter(|_| !try_again), &why),
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
        Boot { plan, store, read, degraded, again: false, drain, active }
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
        // What is wrong, without remarks and pictures; what else keeps a file from running is such a line already.
        let errors = read.as_deref().map(|text| config::check(text, &options.config, environment).errors());
        let why = errors.map_or_else(|| why.to_owned(), |errors| errors.join("\n"));
        BootDegraded { reason: &why, hash: &plan.hash }.emit();
        let degraded = Some(format!("running the last good version, because the file is refused: {why}"));
        Ok(Boot { again: true, ..Self::with(plan, store, read, text, degraded) })
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
    pub fn announce(&self, options: &RunOptions, admin: SocketAddr, listeners: &[(Arc<str>, SocketAddr)]) {
        // Whoever is told where the state is needs no word beside the file, whose folder is often read-only.
        if let Err(error) = self.store.leave_pointer(&options.config)
            && options.state_dir.is_none()
        {
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

/// Why certificates of `plan` cannot be used, if some cannot.
fn unusable(plan: &Plan) -> Option<String> {
    let listeners = plan.listeners.iter().filter_map(|listener| {
        let error = TlsDoor::open(listener.tls.as_ref()?).err()?;
        Some(format!("listener {}: {error}", listener.name))
    });
    let upstreams = plan.upstreams.iter().filter_map(|upstream| {
        let transport = &upstream.transport;
        let error = TlsClient::open(transport.tls.as_ref()?, transport.protocol).err()?;
        Some(format!("upstream {}: {error}", upstream.name))
    });
    let all: Vec<_> = listeners.chain(upstreams).collect();
    (!all.is_empty()).then(|| all.join("\n"))
}

/// Whether `text` is the last good version.
fn was_active(options: &RunOptions, plan: &Plan, text: &str) -> bool {
    let directory = options.state_dir.as_deref().unwrap_or(&plan.admin.state_dir);
    Store::at(directory).last_good().is_some_and(|last| last == text)
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
