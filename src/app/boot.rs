//! What to start with: the file if it is good, else the last good version, else nothing but a clear error.
//! Never the network, never an empty gateway (promise 7).
//!
//! Certificates that cannot be used make a version that was never active a wrong one. One that was active before
//! starts all the same: the listeners and upstreams that they belong to wait for them, the others serve.

use crate::app::RunOptions;
use crate::config::plan::Plan;
use crate::config::{self, Environment};
use crate::control::origin::Origin;
use crate::control::store::Store;
use crate::control::{Active, Cause};
use crate::listener::tls::TlsDoor;
use crate::telemetry::events::BootDegraded;
use crate::upstream::tls::TlsClient;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
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
    /// What becomes active.
    pub active: Active,
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
}

impl Boot {
    /// Decides.
    ///
    /// # Errors
    /// The findings in the file, when there is no last good version either.
    pub fn read(options: &RunOptions, environment: &dyn Environment) -> anyhow::Result<Self> {
        let read = config::read(&options.config);
        let (plan, why) = match &read {
            Ok(text) => {
                let checked = config::check(text, &options.config, environment);
                let why = checked.render(false);
                (checked.plan, why)
            }
            Err(error) => (None, format!("{}: {error}", options.config.display())),
        };
        let read = read.ok();
        let Some(plan) = plan else { return Self::last_good(options, environment, read, &why) };
        match Self::of_file(plan, read.unwrap_or_default(), options, environment) {
            Ok(boot) => Ok(boot),
            // Its certificates may come: the same text is looked at again.
            Err(unusable) => Self::last_good(options, environment, None, &unusable),
        }
    }

    /// The file is good: it is started, unless somebody applied another version over just this text.
    ///
    /// # Errors
    /// Why certificates of the file cannot be used, if it would be started and was never active.
    fn of_file(
        plan: Plan,
        read: String,
        options: &RunOptions,
        environment: &dyn Environment,
    ) -> Result<Self, String> {
        let directory = options.state_dir.as_ref().unwrap_or(&plan.admin.state_dir).clone();
        let store = Store::at(&directory);
        let overruled = is_overruled(&store, &read);
        if overruled && let Some((text, plan)) = known_good(&store, &options.config, environment) {
            let (store, degraded) = open_store(&directory);
            return Ok(Boot { again: true, ..Self::with(plan, store, Some(read), text, degraded) });
        }
        let again = store.last_good().is_some_and(|last| last == read);
        if !again && let Some(unusable) = unusable(&plan) {
            return Err(unusable);
        }
        let (store, degraded) = open_store(&directory);
        let gone = "the version that was applied through the API is not valid any more; the file runs";
        let degraded = overruled.then(|| gone.to_owned()).or(degraded);
        Ok(Boot { again, ..Self::with(plan, store, Some(read.clone()), read, degraded) })
    }

    fn with(plan: Plan, store: Store, read: Option<String>, text: String, degraded: Option<String>) -> Self {
        let drain = DrainTimes { delay: plan.gateway.drain_delay, timeout: plan.gateway.drain_timeout };
        let kept = store.origin();
        let origin = kept.as_ref().and_then(|kept| kept.origin_of(&text)).cloned();
        let origin = origin.unwrap_or_else(|| Origin::now(Cause::Boot, None, None));
        let file = read.as_ref().map(|read| blake3::hash(read.as_bytes()));
        let is_file = read.as_ref() == Some(&text);
        let overruled = kept.and_then(|kept| kept.overruled()).filter(|over| file == Some(*over) && !is_file);
        let active = Active { plan, text: text.into(), origin, overruled };
        Boot { active, store, read, degraded, again: false, drain }
    }

    fn last_good(
        options: &RunOptions,
        environment: &dyn Environment,
        read: Option<String>,
        why: &str,
    ) -> anyhow::Result<Self> {
        let directory = options.state_dir.clone().or_else(|| Store::pointed_to_by(&options.config));
        let store = directory.map(|directory| Store::at(&directory));
        let found = store.and_then(|store| Some((known_good(&store, &options.config, environment)?, store)));
        let Some(((text, plan), store)) = found else {
            anyhow::bail!("{why}\nhint: there is no last good version to start with; correct the file");
        };
        let boot = Self::with(plan, store, read.clone(), text, None);
        if boot.active.overruled.is_some() {
            // It was as wrong when somebody decided against it.
            return Ok(Boot { again: true, ..boot });
        }
        // What is wrong, without remarks and pictures; what else keeps a file from running is such a line already.
        let errors = read.as_deref().map(|text| config::check(text, &options.config, environment).errors());
        let why = errors.map_or_else(|| why.to_owned(), |errors| errors.join("\n"));
        BootDegraded { reason: &why, hash: &boot.active.plan.hash }.emit();
        let degraded = Some(format!("running the last good version, because the file is refused: {why}"));
        Ok(Boot { again: true, degraded, ..boot })
    }

    /// Keeps what became active for the next boot. A disk that does not take it costs the next boot its safety,
    /// not this one its life.
    ///
    /// # Errors
    /// What the disk said.
    pub fn keep(&self) -> io::Result<()> {
        self.store.keep(&self.active.text, &self.active.kept())
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

/// Somebody applied another version over just this text of the file.
fn is_overruled(store: &Store, file: &str) -> bool {
    let over = store.origin().and_then(|kept| kept.overruled());
    over == Some(blake3::hash(file.as_bytes())) && store.last_good().is_some_and(|text| text != file)
}

fn known_good(store: &Store, file: &Path, environment: &dyn Environment) -> Option<(String, Plan)> {
    let text = store.last_good()?;
    let mut plan = config::check(&text, file, environment).plan?;
    plan.admin.state_dir = store.directory().to_owned();
    Some((text, plan))
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
