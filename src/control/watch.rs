//! Notices that the file changed: events of its directory (Kubernetes swaps a link, so events never name the
//! file), gathered for a moment, and a look every half minute in case an event was lost. Whether it is a
//! change is decided by content, not here.

use crate::control::{Cause, Control, Outcome};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that come within this time are one change.
const GATHER: Duration = Duration::from_millis(200);
/// How often to look without an event.
const LOOK: Duration = Duration::from_secs(30);
/// How often replaced tables are looked after.
const TIDY: Duration = Duration::from_secs(1);

/// Watches the file for as long as the process lives, and tells what came of each look. Runs on the background
/// thread, where files may block.
pub async fn watch(control: Arc<Control>, mut wishes: mpsc::Receiver<()>, told: impl Fn(Cause, Outcome)) {
    // One place is enough: an event only says "look".
    let (sender, mut events) = mpsc::channel(1);
    let _watcher = start(control.file(), sender);
    // The first look is now: the file may have changed between the boot's reading and the watcher's start.
    let mut looks = tokio::time::interval(LOOK);
    let mut tidies = tokio::time::interval(TIDY);
    loop {
        let cause = tokio::select! {
            Some(()) = wishes.recv() => Cause::Signal,
            Some(()) = events.recv() => {
                tokio::time::sleep(GATHER).await;
                // What came meanwhile is part of it.
                let _ = events.try_recv();
                Cause::Watch
            }
            _ = looks.tick() => Cause::Watch,
            _ = tidies.tick() => {
                control.tidy();
                continue;
            }
        };
        told(cause, control.reread(cause));
    }
}

fn start(file: &Path, sender: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let told = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel has the same news in it already.
            let _ = sender.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| tracing::warn!(%error, "cannot watch the configuration; looking every 30 s"))
        .ok()
}
