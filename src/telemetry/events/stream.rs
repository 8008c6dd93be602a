//! What happened, on its way to whoever listens: records from every thread through one bounded channel to the
//! admin side.
//!
//! There is one for the process, because what happens to it has no owner nearer than that. Handing on never
//! waits for whoever takes: a record that finds the channel full is dropped and counted. A record is at most a
//! few kilobytes, whatever was put into it.

use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use tokio::sync::mpsc;

/// Records that may wait for the admin thread.
pub const RECORDS_WAITING: usize = 1024;

/// Characters of one text in a record.
const MAX_TEXT: usize = 2000;

/// Items of one list in a record.
const MAX_ITEMS: usize = 20;

/// What a record is about; listeners choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Configurations: applied, refused, degraded.
    Config,
    /// Versions were taken back.
    Rollback,
    /// Requests were refused for want of room.
    Shed,
    /// Ramps and drains: set, cleared, paused, resumed, stepped, in conflict with a version, drained, ready.
    Ramp,
    /// Backends: ejected, probing (on trial), returned; down and up by their checks.
    Ejection,
    /// Limits that find themselves: moved by much, objective raised, at the floor.
    Limit,
    /// Changes on their way: begun, every stage, their end, glass that was broken.
    Rollout,
    /// The process: start, ready, the steps of its drain, stuck cores.
    Process,
    /// Certificates.
    Certificate,
    /// Listeners.
    Listener,
    /// Backends' names: other addresses.
    Name,
    /// Services that judge requests: silent, answering again.
    Auth,
    /// Who did what: rows of the audit, and whether they can be recorded.
    Audit,
    /// Incidents: opened, drafted, published, updated, closed, frozen, thawed.
    Incident,
    /// Sinks of `[[notify]]`: not reached, reached again.
    Notification,
    /// Records are missing here.
    Gap,
}

impl Kind {
    /// All.
    pub const ALL: [Kind; 16] = [
        Kind::Config,
        Kind::Rollback,
        Kind::Shed,
        Kind::Ramp,
        Kind::Ejection,
        Kind::Limit,
        Kind::Rollout,
        Kind::Process,
        Kind::Certificate,
        Kind::Listener,
        Kind::Name,
        Kind::Auth,
        Kind::Audit,
        Kind::Incident,
        Kind::Notification,
        Kind::Gap,
    ];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Rollback => "rollback",
            Kind::Shed => "shed",
            Kind::Ramp => "ramp",
            Kind::Ejection => "ejection",
            Kind::Limit => "limit",
            Kind::Rollout => "rollout",
            Kind::Process => "process",
            Kind::Certificate => "certificate",
            Kind::Listener => "listener",
            Kind::Name => "name",
            Kind::Auth => "auth",
            Kind::Audit => "audit",
            Kind::Incident => "incident",
            Kind::Notification => "notification",
            Kind::Gap => "gap",
        }
    }

    /// By its word.
    pub fn named(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: jiff::Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// For people.
    pub message: String,
    /// For programs, by names in snake_case; never `id`, `at`, `kind` or `message`.
    pub fields: Map<String, Value>,
}

impl Record {
    /// Happened now.
    pub fn new(kind: Kind, message: impl AsRef<str>) -> Self {
        let message = shortened(message.as_ref());
        Record { at: jiff::Timestamp::now(), kind, message, fields: Map::new() }
    }

    /// The same with a field; a long text is cut.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => Value::String(shortened(&text)),
            value => value,
        };
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// The same with a list of texts; a long list is cut.
    pub fn with_list(mut self, name: &str, texts: &[String]) -> Self {
        let texts = texts.iter().take(MAX_ITEMS).map(|text| Value::String(shortened(text)));
        self.fields.insert(name.to_owned(), texts.collect());
        self
    }

    /// Hands it to whoever listens, if there is room. Whoever is slow keeps nobody else from it.
    pub fn hand_on(self) {
        debug_assert_eq!(super::schema::fault(&self), None, "whoever listens relies on the schema");
        if let Some(tap) = STREAM.tap.get()
            && tap.try_send(Arc::new(self.clone())).is_err()
        {
            STREAM.untapped.fetch_add(1, Relaxed);
        }
        if STREAM.sender.try_send(self).is_err() {
            STREAM.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The other end, for the first who asks.
pub fn receiver() -> Option<mpsc::Receiver<Record>> {
    STREAM.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A second way to the same records with a bound of its own, for the first who asks: what is handed on from now on,
/// whatever the other end does.
pub fn tap() -> Option<mpsc::Receiver<Arc<Record>>> {
    let (sender, receiver) = mpsc::channel(RECORDS_WAITING);
    STREAM.tap.set(sender).is_ok().then_some(receiver)
}

/// Records that the tap lost since the start, because they came faster than they were taken.
pub fn untapped() -> u64 {
    STREAM.untapped.load(Relaxed)
}

/// Records dropped since the start, because they came faster than they were taken.
pub fn dropped() -> u64 {
    STREAM.dropped.load(Relaxed)
}

struct Stream {
    sender: mpsc::Sender<Record>,
    /// Until somebody takes it.
    receiver: Mutex<Option<mpsc::Receiver<Record>>>,
    dropped: AtomicU64,
    /// Once somebody wants it.
    tap: OnceLock<mpsc::Sender<Arc<Record>>>,
    untapped: AtomicU64,
}

static STREAM: LazyLock<Stream> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel(RECORDS_WAITING);
    let (receiver, dropped) = (Mutex::new(Some(receiver)), AtomicU64::new(0));
    Stream { sender, receiver, dropped, tap: OnceLock::new(), untapped: AtomicU64::new(0) }
});

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_small_whatever_is_put_into_it() {
        let (long, many) = ("ä".repeat(1 << 20), vec!["ä".repeat(1 << 20); 1000]);
        let record = Record::new(Kind::Config, &long).with("error", long).with_list("notices", &many);
        let size = serde_json::to_string(&record.fields).expect("JSON").len() + record.message.len();
        assert!(size < (MAX_ITEMS + 3) * MAX_TEXT * 2 + 1000, "{size}");
    }

    #[test]
    fn a_stream_that_nobody_takes_drops_and_counts_and_never_waits() {
        // Kept, so that no other test's reader makes room.
        let _kept = receiver();
        let before = dropped();
        for _ in 0..=RECORDS_WAITING {
            Record::new(Kind::Gap, "one too many").with("lost", 1).hand_on();
        }
        assert!(dropped() > before);
    }

    #[test]
    fn a_tap_has_a_bound_of_its_own_and_never_waits() {
        // Kept, so that nobody makes room; where another has it, nobody takes from it either.
        let _kept = tap();
        let before = untapped();
        for _ in 0..=RECORDS_WAITING {
            Record::new(Kind::Gap, "one too many").hand_on();
        }
        assert!(untapped() > before);
    }

    #[test]
    fn every_kind_is_found_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::named("shedding"), None);
    }
}
