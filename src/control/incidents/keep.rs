//! Incidents on disk, so that a freeze, a draft and an operator's words outlive a restart and a `kill -9`.
//!
//! One JSON file in the state directory, written whole after every change by the keeper's thread; nobody's answer waits
//! for it longer than they say. What cannot be read is set aside, not overwritten, and said.

use super::Incidents;
use super::book::Book;
use super::incident::{Frozen, Incident, State};
use crate::control::store::Store;
use crate::control::store::disk::Disk;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const FILE: &str = "incidents.json";
/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What an earlier process left.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its incidents.
    pub(super) book: Book,
    /// What could not be read, if anything.
    pub(super) trouble: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Read {
    next: u64,
    /// One that cannot be read must not take the others with it.
    items: Vec<Value>,
}

#[derive(Serialize)]
struct Written<'a> {
    next: u64,
    items: Vec<&'a Incident>,
}

impl Kept {
    /// Reads what is there. Nothing is as good as an empty file.
    pub fn read(store: &Store) -> Kept {
        let text = match store.read(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept::default(),
            Err(error) => {
                store.set_aside(FILE);
                return Kept::broken(format!("{FILE} cannot be read ({error}) and was set aside"));
            }
        };
        let Read { next, items } = match serde_json::from_slice(&text) {
            Ok(read) => read,
            Err(error) => {
                store.set_aside(FILE);
                return Kept::broken(format!("{FILE} cannot be read ({error}) and was set aside"));
            }
        };
        let all = items.len();
        let items: Vec<Incident> =
            items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).map(mended).collect();
        let lost = all - items.len();
        let trouble = (lost > 0).then(|| format!("{lost} incidents of {FILE} cannot be read"));
        Kept { book: Book::of(next, items), trouble }
    }

    fn broken(why: String) -> Kept {
        let trouble = Some(format!("{why}; open incidents and freezes of before are not known"));
        Kept { book: Book::default(), trouble }
    }

    /// The incident that holds risky changes, if one does.
    pub fn freeze(&self) -> Option<u64> {
        self.book.freezes().next().map(|incident| incident.id)
    }
}

/// What a file says twice it may say in two ways.
fn mended(incident: Incident) -> Incident {
    let freeze = incident.freeze && incident.state == State::Open;
    let frozen = freeze.then(|| {
        incident.frozen.clone().unwrap_or_else(|| Frozen {
            by: incident.opened_by.clone(),
            at: incident.opened_at.clone(),
            reason: incident.title.clone(),
        })
    });
    let opened_by = incident.published_by.clone().unwrap_or(incident.opened_by);
    Incident { freeze, frozen, opened_by, ..incident }
}

/// Keeps incidents for as long as the process lives. On a thread that a disk may block.
pub async fn keep(incidents: Arc<Incidents>, store: Store) {
    loop {
        incidents.changed.notified().await;
        while !incidents.keep_now(&store) {
            // Either it is time to try again, or something else is to be kept.
            let _ = tokio::time::timeout(AGAIN, incidents.changed.notified()).await;
        }
    }
}

impl Incidents {
    /// Writes everything down now, if there is something new. False when the disk did not take it; then `status` says so.
    pub fn keep_now(&self, store: &Store) -> bool {
        // Read first: what is changed after this line is written the next time.
        let change = self.changes.load(Relaxed);
        if *self.kept.borrow() >= change {
            return true;
        }
        let book = self.state().book.clone();
        let items = book.items().map(|incident| &**incident).collect();
        let written = serde_json::to_vec(&Written { next: book.next(), items })
            .map_err(io::Error::from)
            .and_then(|content| store.keep_file(FILE, &content));
        let unkept = written.err().map(|error| format!("incidents are not stored: {error}"));
        if let Some(unkept) = &unkept {
            tracing::warn!("{unkept}; they hold, but a restart may not know them");
        } else {
            self.kept.send_replace(change);
        }
        let is_kept = unkept.is_none();
        self.state().unkept = unkept;
        is_kept
    }
}
