//! What to start with: the file if it is good, else the last good version, else nothing but a clear error.
//! Never the network, never an empty gateway (promise 7).
//!
//! A restart is no way around the stages: where the last good version wants its successors staged, a file that changed
//! meanwhile is handed on to be rolled out after the start. What was taken back stays out, a version that did not stay
//! up gives way to the one before, and what is missing of a good version is filled from what was kept of it.

mod base;

use crate::app::RunOptions;
use crate::config::plan::Plan;
use crate::config::{self, Checked, Environment};
use crate::control::incidents;
use crate::control::keyrings::Keyrings;
use crate::control::origin::{Kept, Origin};
use crate::control::rollback::within;
use crate::control::sources;
use crate::control::store::Store;
use crate::control::store::books::Books;
use crate::control::store::disk;
use crate::control::store::ledger::Ref;
use crate::control::store::materials::Materials;
use crate::control::store::record::{Facts, Good, Record, Standing};
use crate::control::{Active, Begun, Cause};
use crate::listener::tls::TlsDoor;
use crate::runtime::clock::unix_ms;
use crate::telemetry::events::{BootDegraded, ConfigApplied};
use crate::telemetry::metrics::{Metrics, RollbackCause};
use crate::upstream::tls::TlsClient;
use base::Base;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a start waits for the file: it may be a pipe that nobody writes, or lie on a disk that hangs.
const FILE: Duration = Duration::from_secs(5);
/// How long a start waits for the state directory to take what it starts.
const DISK: Duration = Duration::from_secs(1);

/// How a process leaves.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// How long it keeps accepting.
    pub delay: Duration,
    /// How long requests may take after that.
    pub timeout: Duration,
}

/// A text of the file that is to be rolled out after the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The text.
    pub text: String,
    /// Why it is not active yet, in a sentence.
    pub why: String,
}

/// A plan to start with, and where it came from.
pub struct Boot {
    /// What becomes active.
    pub active: Active,
    /// Its number.
    pub number: u64,
    /// What it is made of beside its text.
    pub materials: Arc<Materials>,
    /// What is kept of versions, and where.
    pub books: Books,
    /// The hash of the file's content, if the next look is not to take it for a change.
    read: Option<blake3::Hash>,
    /// The hash of the file's content, if it could be read.
    seen: Option<blake3::Hash>,
    /// The version that was active before.
    parent: Option<u64>,
    /// Why something else than the file runs, or what else is not as it should be.
    degraded: Option<String>,
    /// Why the file's text is kept out, if it is.
    refused: Option<String>,
    /// What is rolled out after the start.
    pub pending: Option<Pending>,
    /// The version was active before, so that certificates which cannot be used now do not keep it from starting.
    pub again: bool,
    /// The configuration file.
    pub file: PathBuf,
    /// A version that was taken back by this start.
    left: Option<(Ref, RollbackCause)>,
    /// What an earlier process left of incidents.
    pub incidents: incidents::keep::Kept,
    /// How the process leaves.
    pub drain: DrainTimes,
}

/// Where placeholders are filled from.
pub type Surroundings = Arc<dyn Environment + Send + Sync>;

/// What the file says, if anything.
struct File {
    text: Option<String>,
    plan: Option<Plan>,
    /// Why certificates of the plan cannot be used, if some cannot.
    unusable: Option<String>,
    /// What is wrong with it: for a terminal, and in a line for each mistake.
    shown: String,
    errors: String,
}

impl Boot {
    /// Decides.
    ///
    /// # Errors
    /// The findings in the file, when there is no last good version either.
    pub fn read(options: &RunOptions, environment: &Surroundings) -> anyhow::Result<Self> {
        let file = File::read(&options.config, environment);
        let named = file.plan.as_ref().map(|plan| plan.admin.state_dir.clone());
        let directory = options.state_dir.clone().or(named).or_else(|| Store::pointed_to_by(&options.config));
        let Some(directory) = directory else { return Err(file.nothing_good()) };
        let store = Store::at(&directory);
        // A file that was set aside is one only once the directory is ours; that it is not is told by the books.
        let _ = store.lock();
        let (mut record, damage) = disk::read(&store);
        damage.iter().for_each(|what| tracing::warn!("the state directory was not whole: {what}"));
        let now = unix_ms();
        let mut base = Base::find(&record, &options.config, environment, now);
        // Before the file is looked at: it may say just what is taken back.
        let left = base.as_mut().and_then(|base| base.leave(&mut record));
        let incidents = incidents::keep::Kept::read(&store);
        let freeze = incidents.freeze();
        let mut boot = match base {
            Some(base) => Self::beside((file, freeze), base, record, (store, options), environment)?,
            None => Self::first(file, record, (store, options), environment, None)?,
        };
        if boot.degraded.is_none() && !damage.is_empty() {
            boot.degraded = Some(format!("the state directory was not whole: {}", damage.join("; ")));
        }
        boot.left = left;
        boot.incidents = incidents;
        boot.file.clone_from(&options.config);
        let number = boot.number;
        boot.books.change(|record| record.ledger.started(number, now));
        Ok(boot)
    }

    /// There is a version that was good before; the file may be something else.
    fn beside(
        (file, freeze): (File, Option<u64>),
        base: Base,
        record: Record,
        (store, options): (Store, &RunOptions),
        environment: &Surroundings,
    ) -> anyhow::Result<Self> {
        let Some(text) = &file.text else { return Ok(Self::degraded(file, base, record, store)) };
        let seen = blake3::hash(text.as_bytes());
        let hex = seen.to_hex().to_string();
        if base.overrules(seen) {
            return Ok(Self::of_base(base, record, store, Some(seen)));
        }
        if let Some(barred) = record.ledger.bars(&hex).filter(|_| hex != base.name.hash) {
            let refused = Some(barred.told());
            return Ok(Boot { refused, ..Self::of_base(base, record, store, Some(seen)) });
        }
        let Some(plan) = &file.plan else { return Ok(Self::degraded(file, base, record, store)) };
        if hex == base.name.hash {
            return Ok(Self::of_base(
                Base { plan: base.with_admin_of(plan.clone()), ..base },
                record,
                store,
                Some(seen),
            ));
        }
        if base.plan.rollout.required {
            let why = "the file has changed; it is rolled out like any change, after the start";
            let pending = Some(Pending { text: text.clone(), why: why.to_owned() });
            // The first look is to find it changed.
            return Ok(Boot { pending, read: None, ..Self::of_base(base, record, store, Some(seen)) });
        }
        if let Some(incident) = freeze {
            // A restart is no way around a freeze either; what is of low risk comes in at the first look.
            let why = format!(
                "the file has changed under the freeze of incident {incident}; it is looked at after the start"
            );
            let pending = Some(Pending { text: text.clone(), why });
            return Ok(Boot { pending, read: None, ..Self::of_base(base, record, store, Some(seen)) });
        }
        match file.unusable.clone() {
            // Its certificates may come: the same text is looked at again.
            Some(why) => {
                let file = File { errors: why, ..file };
                Ok(Boot { read: None, ..Self::degraded(file, base, record, store) })
            }
            None => Self::first(file, record, (store, options), environment, Some(base.name.number)),
        }
    }

    /// The file's version is new here, and active at once.
    fn first(
        file: File,
        mut record: Record,
        (store, options): (Store, &RunOptions),
        environment: &Surroundings,
        parent: Option<u64>,
    ) -> anyhow::Result<Self> {
        if let Some(why) = file.unusable.clone() {
            return Err(File { shown: why, ..file }.nothing_good());
        }
        let File { text: Some(text), plan: Some(plan), .. } = file else { return Err(file.nothing_good()) };
        let overruled = record.active.is_some();
        let gone = "no version that was good before is valid any more; the file runs";
        let keyrings = Keyrings::new(None, Arc::default());
        let (_, materials) = sources::read(&plan, &text, &options.config, &**environment, &keyrings);
        let origin = Origin::now(Cause::Boot, None, None);
        let number = record.ledger.take_number();
        let seen = blake3::hash(text.as_bytes());
        let facts = Facts {
            number,
            hash: plan.hash.clone(),
            parent,
            origin: origin.clone(),
            risk: None,
            reverted: false,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (text, materials): (Arc<str>, _) = (text.into(), Arc::new(materials));
        let good = Good { facts, text: text.clone(), materials: materials.clone() };
        record.ledger.active = Some(good.name());
        record.ledger.confirmed = Some(good.name());
        record.ledger.file_read = Some(plan.hash.clone());
        record.ledger.pending = None;
        record.active = Some(Standing { text: text.clone(), kept: Kept::of(&text, &origin, None) });
        record.admin = None;
        record.keep_good(good);
        let drain = DrainTimes { delay: plan.gateway.drain_delay, timeout: plan.gateway.drain_timeout };
        Ok(Boot {
            active: Active { plan, text, origin, overruled: None },
            number,
            materials,
            books: Books::new(store, record),
            read: Some(seen),
            seen: Some(seen),
            parent,
            degraded: (parent.is_none() && overruled).then(|| gone.to_owned()),
            refused: None,
            pending: None,
            again: false,
            left: None,
            file: PathBuf::new(),
            incidents: incidents::keep::Kept::default(),
            drain,
        })
    }

    /// The file is not what it should be.
    fn degraded(file: File, base: Base, record: Record, store: Store) -> Self {
        let seen = file.text.as_ref().map(|text| blake3::hash(text.as_bytes()));
        let why = file.errors;
        BootDegraded { reason: &why, hash: &base.name.hash }.emit();
        let boot = Self::of_base(base, record, store, seen);
        let refused = format!("running the last good version, because the file is refused: {why}");
        let degraded = Some(match boot.degraded {
            Some(before) => format!("{before}; {refused}"),
            None => refused,
        });
        Boot { degraded, ..boot }
    }

    /// A version that was good before starts again.
    fn of_base(base: Base, mut record: Record, store: Store, seen: Option<blake3::Hash>) -> Self {
        let Base { name, text, plan, mut kept, materials, parent, degraded, .. } = base;
        // It stands over the file only as long as that says what it said.
        kept.overruled = kept.overruled.filter(|over| seen.is_none_or(|seen| seen.to_hex().as_str() == over));
        record.restock(name.number, materials.clone());
        record.ledger.active = Some(name.clone());
        record.ledger.file_read = seen.map(|seen| seen.to_hex().to_string()).or(record.ledger.file_read);
        record.active = Some(Standing { text: text.clone(), kept: kept.clone() });
        let drain = DrainTimes { delay: plan.gateway.drain_delay, timeout: plan.gateway.drain_timeout };
        let active = Active { plan, text, overruled: kept.overruled(), origin: kept.origin };
        Boot {
            active,
            number: name.number,
            materials,
            books: Books::new(store, record),
            read: seen,
            seen,
            parent,
            degraded,
            refused: None,
            pending: None,
            again: true,
            left: None,
            file: PathBuf::new(),
            incidents: incidents::keep::Kept::default(),
            drain,
        }
    }

    /// Where the control plane begins.
    pub fn begun(&self) -> Begun {
        Begun {
            read: self.read,
            seen: self.seen,
            active: self.active.clone(),
            materials: self.materials.clone(),
            parent: self.parent,
            degraded: self.degraded.clone(),
            refused: self.refused.clone(),
        }
    }

    /// The version that was taken back by this start, and why.
    pub fn left(&self) -> Option<&(Ref, RollbackCause)> {
        self.left.as_ref()
    }

    /// Keeps what became active for the next start, from now on. A disk that does not take it costs the next start its
    /// safety, not this one its life.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn keep(&self, metrics: &Metrics) -> io::Result<JoinHandle<()>> {
        if let Some((_, cause)) = &self.left {
            metrics.process().rolled_back(*cause);
        }
        let thread = self.books.keep()?;
        let ((), change) = self.books.change(|_| ());
        // What came of it is told by the books.
        let _ = self.books.persisted(change, DISK);
        Ok(thread)
    }

    /// Writes down where the state is and where this process can be reached.
    pub fn announce(&self, options: &RunOptions, admin: SocketAddr, listeners: &[(Arc<str>, SocketAddr)]) {
        if !self.again {
            // It had no stages, so everyone is told.
            ConfigApplied {
                version: self.number,
                hash: &self.active.plan.hash,
                cause: &self.active.origin.cause,
                by: None,
                reason: None,
                notices: &[],
            }
            .emit();
        }
        if let Some(pending) = &self.pending {
            tracing::warn!(bytes = pending.text.len(), "{}", pending.why);
        }
        let store = self.books.store();
        // Whoever is told where the state is needs no word beside the file, whose folder is often read-only.
        if let Err(error) = store.leave_pointer(&options.config)
            && options.state_dir.is_none()
        {
            tracing::warn!(
                %error,
                "no word can be left beside the file; give --state-dir, or a broken file hides the last good version"
            );
        }
        if let Err(error) = store.publish_addresses(admin, listeners) {
            tracing::warn!(%error, "addresses.json cannot be written");
        }
    }
}

impl File {
    /// A file, or what it names, may lie on a disk that hangs: then it counts as one that cannot be read.
    fn read(path: &Path, environment: &Surroundings) -> Self {
        let (from, environment) = (path.to_owned(), environment.clone());
        let read = within(Instant::now() + FILE, move || File::look(&from, &*environment));
        read.unwrap_or_else(|| {
            let why = format!("{}: it cannot be read within {} s", path.display(), FILE.as_secs());
            File::unread(why)
        })
    }

    fn look(path: &Path, environment: &dyn Environment) -> Self {
        match config::read(path) {
            Ok(text) => {
                let checked: Checked = config::check(&text, path, environment);
                let (shown, errors) = (shown(path, checked.render(false)), checked.errors().join("\n"));
                let unusable = checked.plan.as_ref().and_then(unusable);
                File { text: Some(text), plan: checked.plan, unusable, shown, errors }
            }
            Err(error) => File::unread(format!("{}: {error}", path.display())),
        }
    }

    fn unread(why: String) -> Self {
        File { text: None, plan: None, unusable: None, shown: why.clone(), errors: why }
    }

    fn nothing_good(&self) -> anyhow::Error {
        anyhow::anyhow!("{}\nhint: there is no last good version to start with; correct the file", self.shown)
    }
}

/// The findings of a file that is not used. The whole is called an error where it is told: what begins with a warning
/// would be called both.
fn shown(path: &Path, findings: String) -> String {
    match findings.starts_with("error") {
        true => findings,
        false => format!("{} has errors and cannot be used:\n\n{findings}", path.display()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_first_finding_is_a_warning_is_called_an_error_once() {
        let findings = "warning: `x` is old\n --> a.toml:1:1\n\nerror: unknown key `y`\n\n";
        let told = shown(Path::new("a.toml"), findings.to_owned());
        assert!(told.starts_with("a.toml has errors and cannot be used:\n\nwarning: `x` is old"), "{told}");
        assert!(told.ends_with("error: unknown key `y`\n\n"), "{told}");
        let alone = "error: unknown key `y`\n\n".to_owned();
        assert_eq!(shown(Path::new("a.toml"), alone.clone()), alone);
    }
}
