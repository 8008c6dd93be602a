//! Levers and references on disk, so that a restart in the middle of a ramp goes on with it.
//!
//! Two small JSON files in the state directory, each written whole: `steering.json` after every change, with the
//! references that it is a percentage of; `references.json` also once a minute. Times are wall clock, because a
//! restart knows no other; a step that fell due meanwhile is taken at the start, as was ordered. What cannot be
//! read is set aside, not overwritten, and said.
#![expect(clippy::disallowed_methods, reason = "on the keeper's thread, and at start")]

use crate::control::ramp::lever::{Due, Lever, Levers, Signature, Target, Then};
use crate::control::ramp::reference::Learner;
use crate::control::steering::comeback::Running;
use crate::control::steering::order::{MAX_AFTER, is_reference};
use crate::control::steering::watchman::Place;
use crate::control::steering::{MAX_LEVERS, Steering};
use crate::control::store::Store;
use crate::runtime::clock::unix_ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const STEERING: &str = "steering.json";
const REFERENCES: &str = "references.json";
/// How often references are kept without a change of levers.
const PERIOD: Duration = Duration::from_secs(60);
/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Kept {
    /// Its levers.
    pub levers: Levers,
    /// What it had learned.
    pub learners: HashMap<Place, Learner>,
    /// Backends that were on their way back.
    pub running: BTreeMap<Place, Running>,
    /// Its limits that find themselves, by upstream.
    pub limits: HashMap<Arc<str>, u32>,
    /// What could not be read, if anything.
    pub trouble: Option<String>,
}

// A field that is not there is no reason to set the other levers aside, and an unknown one is a newer program's.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct SteeringFile {
    ramps: Vec<RampEntry>,
    drained: Vec<DrainEntry>,
    /// One that cannot be read must not take the operators' levers with it.
    automatic: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct RunningEntry {
    upstream: String,
    address: String,
    running: Running,
}

#[derive(Serialize, Deserialize)]
struct RampEntry {
    upstream: String,
    backend: Option<String>,
    percent: f64,
    then: Option<ThenEntry>,
    reference: Option<f64>,
    by: String,
    reason: String,
    since_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct ThenEntry {
    percent: f64,
    after_ms: u64,
    /// When, by the wall clock; nothing while it is paused.
    due_ms: Option<i64>,
    /// What was left when this was written.
    left_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct DrainEntry {
    upstream: String,
    backend: String,
    by: String,
    reason: String,
    since_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct ReferencesFile {
    backends: Vec<ReferenceEntry>,
    /// Not in the files of an older program.
    #[serde(default)]
    limits: Vec<LimitEntry>,
}

#[derive(Serialize, Deserialize)]
struct LimitEntry {
    upstream: String,
    limit: u32,
}

#[derive(Serialize, Deserialize)]
struct ReferenceEntry {
    upstream: String,
    address: String,
    learned: Learner,
}

impl Kept {
    /// Reads what is there. Nothing is as good as an empty file; what is broken is set aside and said.
    pub fn read(store: &Store) -> Kept {
        let mut trouble = Vec::new();
        let steering: Option<SteeringFile> = read(store, STEERING, &mut trouble);
        let references: Option<ReferencesFile> = read(store, REFERENCES, &mut trouble);
        let (mut levers, mut running) = (Levers::default(), BTreeMap::new());
        steering.into_iter().for_each(|file| file.fill(&mut levers, &mut running));
        let (entries, limits) = references.map(|file| (file.backends, file.limits)).unwrap_or_default();
        let learners =
            entries.into_iter().map(|entry| ((entry.upstream.into(), entry.address.into()), entry.learned));
        Kept {
            levers,
            learners: learners.collect(),
            running,
            limits: limits.into_iter().map(|entry| (entry.upstream.into(), entry.limit)).collect(),
            trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
        }
    }
}

fn read<T: for<'a> Deserialize<'a>>(store: &Store, name: &str, trouble: &mut Vec<String>) -> Option<T> {
    let path = store.directory().join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            trouble.push(format!("{}: {error}", path.display()));
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| {
            let aside = path.with_extension("broken");
            // If it cannot be moved, the sentence still says which file it is.
            let _ = fs::rename(&path, &aside);
            trouble.push(format!(
                "{} cannot be read ({error}) and lies in {}",
                path.display(),
                aside.display()
            ));
        })
        .ok()
}

impl SteeringFile {
    fn of(levers: &Levers, running: &BTreeMap<Place, Running>, now: Instant, now_ms: i64) -> Self {
        let ramps = levers.ramps().map(|(target, lever)| RampEntry {
            upstream: target.upstream().to_string(),
            backend: target.backend().map(ToString::to_string),
            percent: lever.percent,
            then: lever.then.map(|then| ThenEntry::of(then, now, now_ms)),
            reference: lever.reference,
            by: lever.signature.by.clone(),
            reason: lever.signature.reason.clone(),
            since_ms: lever.signature.since_ms,
        });
        let drained = levers.drained().map(|((upstream, backend), signature)| DrainEntry {
            upstream: upstream.to_string(),
            backend: backend.to_string(),
            by: signature.by.clone(),
            reason: signature.reason.clone(),
            since_ms: signature.since_ms,
        });
        let automatic = running.iter().filter_map(|((upstream, address), running)| {
            let (upstream, address) = (upstream.to_string(), address.to_string());
            serde_json::to_value(RunningEntry { upstream, address, running: running.clone() }).ok()
        });
        SteeringFile { ramps: ramps.collect(), drained: drained.collect(), automatic: automatic.collect() }
    }

    fn fill(self, levers: &mut Levers, running: &mut BTreeMap<Place, Running>) {
        let (now, now_ms) = (Instant::now(), unix_ms());
        for entry in self.ramps {
            let upstream: Arc<str> = entry.upstream.into();
            let target = match entry.backend {
                Some(backend) => Target::Backend(upstream, backend.into()),
                None => Target::Upstream(upstream),
            };
            let signature = Signature { by: entry.by, reason: entry.reason, since_ms: entry.since_ms };
            let then = entry.then.map(|then| then.at(now, now_ms));
            let reference = entry.reference.filter(|reference| is_reference(*reference));
            levers
                .set(target, Lever { percent: entry.percent.clamp(0.0, 100.0), then, reference, signature });
        }
        for entry in self.drained {
            let signature = Signature { by: entry.by, reason: entry.reason, since_ms: entry.since_ms };
            levers.drain(entry.upstream.into(), entry.backend.into(), signature);
        }
        let entries = self.automatic.into_iter().take(MAX_LEVERS);
        for entry in entries.filter_map(|entry| serde_json::from_value::<RunningEntry>(entry).ok()) {
            if let Some(it) = entry.running.read() {
                running.insert((entry.upstream.into(), entry.address.into()), it);
            }
        }
    }
}

impl ThenEntry {
    fn of(then: Then, now: Instant, now_ms: i64) -> Self {
        let left_ms = millis(then.due.left(now));
        let due_ms = matches!(then.due, Due::At(_)).then(|| now_ms.saturating_add_unsigned(left_ms));
        ThenEntry { percent: then.percent, after_ms: millis(then.after), due_ms, left_ms }
    }

    /// A clock that jumped cannot make it later than was ordered.
    fn at(&self, now: Instant, now_ms: i64) -> Then {
        let after = Duration::from_millis(self.after_ms).min(MAX_AFTER);
        let due = match self.due_ms {
            Some(due_ms) => {
                let left = u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0);
                Due::At(now + Duration::from_millis(left).min(after))
            }
            None => Due::Paused(Duration::from_millis(self.left_ms).min(after)),
        };
        Then { percent: self.percent.clamp(0.0, 100.0), after, due }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps levers and references for as long as the process lives. On a thread of its own, which a disk may block.
pub async fn keep(steering: Arc<Steering>, store: Store) {
    let mut kept = true;
    loop {
        let pause = if kept { PERIOD } else { AGAIN };
        // Either a change, or it is time anyway.
        let _ = tokio::time::timeout(pause, steering.changed.notified()).await;
        kept = steering.keep_now(&store);
    }
}

impl Steering {
    /// Writes everything down now. False when the disk did not take it; then `status` says so.
    pub fn keep_now(&self, store: &Store) -> bool {
        // Read first: what is changed after this line is written the next time.
        let change = self.changes.load(Relaxed);
        let (steering, references) = {
            let state = self.state();
            let steering =
                SteeringFile::of(&state.levers, state.comebacks.running(), Instant::now(), unix_ms());
            let backends =
                state.watchman.learners().iter().map(|((upstream, address), learned)| ReferenceEntry {
                    upstream: upstream.to_string(),
                    address: address.to_string(),
                    learned: learned.clone(),
                });
            let limits = state.limits.kept();
            let limits = limits.map(|(name, limit)| LimitEntry { upstream: name.to_string(), limit });
            (steering, ReferencesFile { backends: backends.collect(), limits: limits.collect() })
        };
        let written = write(store, STEERING, &steering).and_then(|()| write(store, REFERENCES, &references));
        let unkept = written.as_ref().err().map(|error| format!("ramps and drains are not stored: {error}"));
        if let Some(unkept) = &unkept {
            tracing::warn!("{unkept}; they act, but a restart may not know them");
        } else {
            self.kept.send_replace(change);
        }
        self.state().unkept = unkept;
        written.is_ok()
    }
}

fn write(store: &Store, name: &str, content: &impl Serialize) -> io::Result<()> {
    store.keep_file(name, &serde_json::to_vec(content)?)
}
