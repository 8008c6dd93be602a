//! The key sets that tokens are checked with: who fetches them, when, and where they are kept for the next start.
//!
//! One set for each source, however many auths and versions use it; it lives on across changes, and on disk across
//! restarts, so that neither needs the network. Sets are fetched by one task each on the thread of calls to the
//! outside, read and written on one of their own: no request waits for either longer than it wants to.
#![expect(clippy::disallowed_methods, reason = "on the background thread and that of keys, and at start")]

mod errand;

use crate::balancing::Cluster;
use crate::control::store::Store;
use crate::filters::auth::jwt::keys::{KeySet, MAX_BYTES};
use crate::filters::auth::jwt::pace::Pace;
use crate::filters::auth::jwt::ring::{Changed, Held, Ring};
use crate::filters::auth::settings::{Jwt, KeySource};
use crate::telemetry::events::KeysFetched;
use crate::upstream::discovery::Directory;
use crate::upstream::pem::Files;
use arc_swap::ArcSwap;
use bytes::Bytes;
use errand::Errand;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How often files are looked at, and what a disk refused is written again.
const LOOK: Duration = Duration::from_secs(10);
/// Sets kept on disk at most, those of sources that nobody uses any more included.
const MAX_KEPT: usize = 64;
/// How their files begin.
const PREFIX: &str = "jwks-";

/// Every source in use.
#[derive(Debug)]
pub struct Keyrings {
    store: Option<Store>,
    directory: Arc<Directory>,
    sources: Mutex<Sources>,
    added: Notify,
    disk: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Sources {
    in_use: HashMap<String, Arc<Source>>,
    /// In use, and nobody fetches it yet.
    added: Vec<Arc<Source>>,
    /// What the version being built wants of sources that the active one uses too.
    later: Vec<(Arc<Source>, Arc<Errand>)>,
    /// What was read for the version being built, by id.
    ahead: HashMap<String, Ahead>,
}

/// What files say of a source that nobody uses yet.
#[derive(Debug)]
struct Ahead {
    /// What an earlier process left.
    held: Option<Held>,
    /// What its file holds, if it is one.
    document: Option<io::Result<Bytes>>,
}

/// One source.
#[derive(Debug)]
struct Source {
    /// Names its file: a hash of everything that says where it is.
    id: String,
    source: KeySource,
    ring: Weak<Ring>,
    errand: ArcSwap<Errand>,
    wanted: Arc<Notify>,
    /// Not on disk yet.
    unsaved: AtomicBool,
    /// Nobody has looked yet what the disk has of it.
    unread: AtomicBool,
}

/// What a version that was built and is not active wants of sources that the active one uses too.
#[derive(Debug, Default)]
pub(super) struct Errands(Vec<(Arc<Source>, Arc<Errand>)>);

/// The upstream that a set is fetched from, as the table being built has it.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a>(pub &'a Cluster);

impl Keyrings {
    /// None yet. What earlier processes fetched lies in `store`, if there is one.
    pub fn new(store: Option<Store>, directory: Arc<Directory>) -> Self {
        Keyrings { store, directory, sources: Mutex::default(), added: Notify::new(), disk: Arc::default() }
    }

    /// Reads what files say of the sources of a version that is about to be built, where that may block. What is not
    /// read ahead is read a moment later, on the thread of keys.
    pub fn read_ahead<'a>(&self, jwts: impl Iterator<Item = &'a Jwt>) {
        for jwt in jwts.filter(|jwt| !matches!(jwt.source, KeySource::Secret(_))) {
            let id = id_of(jwt);
            let known = self.sources().in_use.get(&id).is_some_and(|source| source.ring.strong_count() > 0);
            if known {
                continue;
            }
            let document = match &jwt.source {
                KeySource::File(path) => Some(read(path)),
                _ => None,
            };
            let ahead = Ahead { held: self.kept(&id), document };
            self.sources().ahead.insert(id, ahead);
        }
    }

    /// The keys of a source, with those that an earlier process left if it is new here. Never fails, and reads no
    /// file: what cannot be read or reached is told by the keys.
    pub fn ring_of(&self, jwt: &Jwt, way: Option<Way<'_>>, files: &dyn Files) -> Arc<Ring> {
        if let KeySource::Secret(secret) = &jwt.source {
            return Arc::new(Ring::fixed(KeySet::secret(&secret.0)));
        }
        let errand = Arc::new(Errand::of(jwt, way, &self.directory, files));
        let id = id_of(jwt);
        let mut sources = self.sources();
        if let Some(source) = sources.in_use.get(&id).cloned()
            && let Some(ring) = source.ring.upgrade()
        {
            sources.later.push((source, errand));
            return ring;
        }
        let wanted = match jwt.source {
            KeySource::File(_) => self.disk.clone(),
            _ => Arc::default(),
        };
        let ahead = sources.ahead.remove(&id);
        let unread = ahead.is_none();
        let Ahead { held, document } = ahead.unwrap_or(Ahead { held: None, document: None });
        let document = match (&jwt.source, document) {
            (KeySource::File(_), Some(Ok(document))) => Some(Ok(document)),
            // What was kept of the version.
            (KeySource::File(path), other) => files.read(path).ok().map(|kept| Ok(kept.into())).or(other),
            _ => None,
        };
        let ring = Arc::new(Ring::wanting(held, wanted.clone()));
        let source = Arc::new(Source {
            id: id.clone(),
            source: jwt.source.clone(),
            ring: Arc::downgrade(&ring),
            errand: ArcSwap::new(errand),
            wanted,
            unsaved: AtomicBool::new(false),
            unread: AtomicBool::new(unread),
        });
        if let Some(document) = document {
            source.take_file(&ring, document);
        }
        if unread {
            self.disk.notify_one();
        }
        sources.in_use.insert(id, source.clone());
        if !matches!(source.source, KeySource::File(_)) {
            sources.added.push(source);
            self.added.notify_one();
        }
        ring
    }

    /// What the version that was built wants is so: it is active.
    pub fn commit(&self) {
        let mut sources = self.sources();
        sources.ahead.clear();
        for (source, errand) in sources.later.drain(..) {
            source.errand.store(errand);
        }
    }

    /// Takes away what the version that was built wants, to become so later or never.
    pub(super) fn set_aside(&self) -> Errands {
        Errands(std::mem::take(&mut self.sources().later))
    }

    /// What was set aside is what the version that was built wants.
    pub(super) fn take_up(&self, errands: Errands) {
        self.sources().later = errands.0;
    }

    /// Forgets what the version that was built wanted, and sources that nobody uses.
    pub fn forget_unused(&self) {
        let mut sources = self.sources();
        sources.later.clear();
        sources.ahead.clear();
        sources.in_use.retain(|_, source| source.ring.strong_count() > 0);
    }

    /// Fetches every set ahead of its end, for ever. Belongs on the thread of calls to the outside.
    pub async fn keep_fetched(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        loop {
            let added = std::mem::take(&mut self.sources().added);
            for source in added {
                let disk = self.disk.clone();
                tasks.spawn_local(async move { source.keep_fetched(&disk).await });
            }
            tokio::select! {
                () = self.added.notified() => {}
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Reads sets that are files again, and writes down those that were fetched, for ever. Belongs on a
    /// thread of its own, which a disk may hold up.
    pub async fn keep_on_disk(self: Arc<Self>) {
        let mut trouble = false;
        loop {
            // Either there is something to do, or it is time anyway.
            let _ = tokio::time::timeout(LOOK, self.disk.notified()).await;
            let sources: Vec<_> = self.sources().in_use.values().cloned().collect();
            let mut failed = None;
            for source in &sources {
                if source.unread.swap(false, Relaxed)
                    && let (Some(held), Some(ring)) = (self.kept(&source.id), source.ring.upgrade())
                    && ring.held().is_none()
                {
                    // It was whole when it was read.
                    let _ = ring.found(held.document, held.confirmed);
                }
                source.read();
                source.errand.load_full().renew_trust();
                if let Some(store) = &self.store {
                    failed = source.save(store).err().or(failed);
                }
            }
            if let Some(error) = failed.as_ref().filter(|_| !trouble) {
                tracing::warn!(%error, "fetched keys are not stored; a restart without network may miss them");
            }
            trouble = failed.is_some();
            self.tidy(&sources);
        }
    }

    /// What an earlier process left of a source.
    fn kept(&self, id: &str) -> Option<Held> {
        let path = self.store.as_ref()?.directory().join(file(id));
        let document = read(&path).ok()?;
        let confirmed = fs::metadata(&path).and_then(|found| found.modified()).ok()?;
        Some(Held { keys: KeySet::parse(&document).ok()?, document, confirmed })
    }

    /// Keeps the number of files bounded: the oldest that nobody uses go.
    fn tidy(&self, sources: &[Arc<Source>]) {
        let Some(Ok(all)) = self.store.as_ref().map(|store| fs::read_dir(store.directory())) else { return };
        let mut kept: Vec<_> = all
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)))
            .filter(|entry| !sources.iter().any(|source| entry.file_name() == *file(&source.id)))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        kept.sort();
        let most = MAX_KEPT.saturating_sub(sources.len());
        for (_, path) in kept.iter().take(kept.len().saturating_sub(most)) {
            let _ = fs::remove_file(path);
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Fetches for as long as anybody uses the keys.
    async fn keep_fetched(&self, disk: &Notify) {
        let mut life = None;
        while let Some(ring) = self.ring.upgrade() {
            let errand = self.errand.load_full();
            let failures = match errand.run().await {
                Ok((document, said)) => {
                    life = said;
                    self.take_in(&ring, document, disk)
                }
                Err(why) => self.failed(&ring, &why),
            };
            drop(ring);
            let wait = Pace { refresh: errand.refresh }.wait(failures, life, fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Failures in a row.
    fn take_in(&self, ring: &Ring, document: Bytes, disk: &Notify) -> u32 {
        let failing = ring.told().failures;
        match ring.found(document, SystemTime::now()) {
            Ok(Changed(changed)) => {
                if failing > 0 {
                    KeysFetched::again(&self.source.to_string()).emit();
                }
                if changed {
                    self.unsaved.store(true, Relaxed);
                    disk.notify_one();
                }
                0
            }
            Err(bad) => self.failed(ring, &format!("what was fetched is not used: {bad}")),
        }
    }

    fn failed(&self, ring: &Ring, why: &str) -> u32 {
        let failures = ring.failed(why);
        if failures == 1 {
            let keys = ring.held().map_or(0, |held| held.keys.len());
            KeysFetched::failed(&self.source.to_string(), why, keys).emit();
        }
        failures
    }

    /// Reads a set that is a file.
    fn read(&self) {
        let (KeySource::File(path), Some(ring)) = (&self.source, self.ring.upgrade()) else { return };
        self.take_file(&ring, read(path));
    }

    fn take_file(&self, ring: &Ring, document: io::Result<Bytes>) {
        match document {
            Ok(document) => {
                self.take_in(ring, document, &Notify::new());
                // It is on disk already.
                self.unsaved.store(false, Relaxed);
            }
            Err(error) => drop(self.failed(ring, &error.to_string())),
        }
    }

    /// Writes down what is held, unless it is there already.
    fn save(&self, store: &Store) -> io::Result<()> {
        let held = self.ring.upgrade().and_then(|ring| ring.held());
        let Some(held) = held.filter(|_| self.unsaved.swap(false, Relaxed)) else { return Ok(()) };
        let written = store.keep_file(&file(&self.id), &held.document);
        self.unsaved.fetch_or(written.is_err(), Relaxed);
        written
    }
}

/// Names a source: everything that says where it is.
fn id_of(jwt: &Jwt) -> String {
    blake3::hash(format!("{:?}", jwt.source).as_bytes()).to_hex()[..32].to_owned()
}

fn file(id: &str) -> String {
    format!("{PREFIX}{id}.json")
}

/// At most one byte more than a set may have.
fn read(path: &Path) -> io::Result<Bytes> {
    let mut document = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut document)?;
    Ok(document.into())
}

#[cfg(test)]
mod tests;
