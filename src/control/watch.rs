//! Notices that the configuration or a certificate changed: events of their folders (Kubernetes swaps a link,
//! so events never name the file), gathered for a moment, and a look every half minute in case an event was
//! lost. Whether it is a change is decided by content, not here.

use crate::control::apply::Job;
use crate::control::change::Conductor;
use crate::control::{Cause, Outcome};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Events that come within this time are one change.
const GATHER: Duration = Duration::from_millis(200);
/// How often to look without an event.
const LOOK: Duration = Duration::from_secs(30);
/// How often replaced tables are looked after.
const TIDY: Duration = Duration::from_secs(1);

/// Watches the files for as long as the process lives, does what is ordered through the admin side, and tells what
/// came of each look and each order. Runs on the background thread, where files may block.
pub async fn watch(
    conductor: Arc<Conductor>,
    (mut wishes, mut orders): (mpsc::Receiver<()>, mpsc::Receiver<Job>),
    told: impl Fn(Cause, Outcome),
) {
    let control = conductor.control().clone();
    // One place is enough: an event only says "look".
    let (sender, mut events) = mpsc::channel(1);
    let mut eyes = Eyes::open(sender);
    eyes.turn_to(control.folders());
    // The first look is now: the file may have changed between the boot's reading and the watcher's start.
    let mut looks = tokio::time::interval(LOOK);
    let mut tidies = tokio::time::interval(TIDY);
    // When what an event said is looked at; nobody else waits for that.
    let mut due: Option<Instant> = None;
    loop {
        let gathered = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let cause = tokio::select! {
            Some(()) = wishes.recv() => Cause::Signal,
            Some(job) = orders.recv() => {
                conductor.fulfil(job, |outcome| told(Cause::Api, outcome));
                eyes.turn_to(control.folders());
                continue;
            }
            Some(()) = events.recv() => {
                // What comes meanwhile is part of it.
                due.get_or_insert_with(|| Instant::now() + GATHER);
                continue;
            }
            () = control.nudged() => {
                // A version came back, or was made active after its stages, by a thread that waits for no disk: what may
                // wait for one is done here.
                told(Cause::Rollback, Outcome::Applied);
                control.renew();
                eyes.turn_to(control.folders());
                continue;
            }
            () = gathered => Cause::Watch,
            // The file may have waited for its turn.
            () = conductor.freed() => Cause::Watch,
            _ = looks.tick() => Cause::Watch,
            _ = tidies.tick() => {
                control.tidy();
                continue;
            }
        };
        due = due.filter(|due| *due > Instant::now());
        told(cause, conductor.reread(cause));
        control.renew();
        control.keep_again();
        eyes.turn_to(control.folders());
    }
}

/// What sees events of folders.
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Folders that cannot be watched, told of once.
    blind: BTreeSet<PathBuf>,
}

impl Eyes {
    fn open(sender: mpsc::Sender<()>) -> Self {
        let told = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel has the same news in it already.
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told)
            .inspect_err(|error| tracing::warn!(%error, "files cannot be watched; looking every 30 s"));
        Eyes { watcher: watcher.ok(), folders: BTreeSet::new(), blind: BTreeSet::new() }
    }

    /// Watches these folders and no others.
    fn turn_to(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // It may have been removed, and its watch with it.
            let _ = watcher.unwatch(gone);
        }
        let mut blind = BTreeSet::new();
        // Also those that are watched already: one that was removed and made again is another one.
        for folder in &folders {
            let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) else { continue };
            if !self.blind.contains(folder) {
                tracing::warn!(%error, folder = %folder.display(), "cannot be watched; looking every 30 s");
            }
            blind.insert(folder.clone());
        }
        self.blind = blind;
        self.folders = folders;
    }
}
