//! The record in memory, and the thread that makes the disk say the same. Whoever changes it waits as long as they wish,
//! or not at all: a disk that is full or hangs delays nobody, and what it did not take is tried again until it does.

use super::Store;
use super::disk::{self, Written};
use super::record::Record;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often whoever holds no thread looks whether the disk has it.
const LOOK: Duration = Duration::from_millis(2);

/// The record, and where it is kept. Cheap to clone.
#[derive(Clone)]
pub struct Books(Arc<Shared>);

struct Shared {
    store: Store,
    desk: Mutex<Desk>,
    moved: Condvar,
}

struct Desk {
    record: Record,
    /// Changes so far.
    change: u64,
    /// The change that is on disk.
    written: u64,
    /// The change that was tried last, and why the disk did not take it if it did not.
    tried: u64,
    trouble: Option<String>,
    closed: bool,
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Books").field("store", &self.0.store).finish_non_exhaustive()
    }
}

impl Books {
    /// With what was read from `store`. Nothing is written before [`Books::keep`].
    pub fn new(store: Store, record: Record) -> Self {
        let desk = Desk { record, change: 0, written: 0, tried: 0, trouble: None, closed: false };
        Books(Arc::new(Shared { store, desk: Mutex::new(desk), moved: Condvar::new() }))
    }

    /// The state directory.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// A look at the record; short, for whoever changes it waits.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.desk().record)
    }

    /// Changes the record; returns what `act` does, and the change's number for [`Books::persisted`].
    pub fn change<T>(&self, act: impl FnOnce(&mut Record) -> T) -> (T, u64) {
        let mut desk = self.desk();
        let done = act(&mut desk.record);
        desk.change += 1;
        let change = desk.change;
        drop(desk);
        self.0.moved.notify_all();
        (done, change)
    }

    /// Waits until a change is on disk, until the disk has refused it, or for `patience`.
    ///
    /// # Errors
    /// Why it is not on disk, or not yet.
    pub fn persisted(&self, change: u64, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        let mut desk = self.desk();
        loop {
            if desk.written >= change {
                return Ok(());
            }
            if desk.tried >= change
                && let Some(why) = &desk.trouble
            {
                return Err(why.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the disk has not taken it within {} ms", patience.as_millis()));
            }
            desk = self.0.moved.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the disk has everything that changed until now, waited for without holding a thread; after `patience`
    /// it has not.
    pub async fn has_all(&self, patience: Duration) -> bool {
        let (end, change) = (tokio::time::Instant::now() + patience, self.desk().change);
        loop {
            match self.persisted(change, Duration::ZERO) {
                Ok(()) => return true,
                Err(_) if tokio::time::Instant::now() >= end || self.trouble().is_some() => return false,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Tries again now to write what the disk did not take, if anything, and waits at most `patience` for it. True if
    /// the disk has everything.
    pub fn try_again(&self, patience: Duration) -> bool {
        let mut desk = self.desk();
        if desk.written >= desk.change {
            return true;
        }
        let change = desk.change;
        // What was tried before says nothing about now.
        desk.tried = desk.tried.min(change.saturating_sub(1));
        drop(desk);
        self.0.moved.notify_all();
        self.persisted(change, patience).is_ok()
    }

    /// Why the disk does not say what is here, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.desk().trouble.clone()
    }

    /// Starts the thread that keeps the record, until [`Books::close`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn keep(&self) -> std::io::Result<JoinHandle<()>> {
        let books = self.clone();
        thread::Builder::new().name("books".to_owned()).spawn(move || books.write_on())
    }

    /// The last change is written, and the thread ends.
    pub fn close(&self) {
        self.desk().closed = true;
        self.0.moved.notify_all();
    }

    fn write_on(&self) {
        let mut written = self.read(Written::after);
        loop {
            let Some((record, change)) = self.next() else { return };
            let outcome = self.0.store.make().and_then(|()| written.bring(&self.0.store, &record));
            let mut desk = self.desk();
            desk.tried = change;
            match outcome {
                Ok(()) => {
                    desk.written = change;
                    if desk.trouble.take().is_some() {
                        tracing::info!("versions are kept in the state directory again");
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    // Told once, for it is tried again and again.
                    if desk.trouble.as_ref() != Some(&why) {
                        tracing::warn!(
                            error = why,
                            "versions cannot be kept; a restart may not have the active one"
                        );
                    }
                    desk.trouble = Some(why);
                }
            }
            drop(desk);
            self.0.moved.notify_all();
        }
    }

    /// Waits for something to write; nothing when that is over.
    fn next(&self) -> Option<(Record, u64)> {
        let mut desk = self.desk();
        let due = Instant::now() + AGAIN;
        loop {
            let dirty = desk.written < desk.change;
            let now = desk.tried < desk.change || Instant::now() >= due;
            if dirty && now {
                return Some((desk.record.clone(), desk.change));
            }
            if desk.closed {
                return None;
            }
            let left = due.saturating_duration_since(Instant::now());
            let wait = if dirty { left } else { AGAIN };
            desk = self.0.moved.wait_timeout(desk, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the books of a state directory, and says what of it was not whole.
pub fn open(store: Store) -> (Books, Vec<String>) {
    let (record, trouble) = disk::read(&store);
    (Books::new(store, record), trouble)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::good;
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_changes_is_on_disk_soon_and_found_by_the_next() {
        let home = tempfile::tempdir().expect("a directory");
        let (books, trouble) = open(Store::open(home.path()).expect("made"));
        assert!(trouble.is_empty());
        let thread = books.keep().expect("a thread");
        let ((), change) = books.change(|record| record.keep_good(good(7)));
        books.persisted(change, SOON).expect("on disk");
        books.close();
        thread.join().expect("it ends");
        drop(books);
        let (again, _) = open(Store::at(home.path()));
        assert_eq!(again.read(|record| record.last_good().map(|good| good.facts.number)), Some(7));
    }

    #[test]
    fn a_disk_that_refuses_is_told_at_once_and_tried_again() {
        let home = tempfile::tempdir().expect("a directory");
        let books = Books::new(Store::open(home.path()).expect("made"), Record::default());
        let thread = books.keep().expect("a thread");
        let in_the_way = home.path().join("state.new");
        std::fs::create_dir(&in_the_way).expect("made");
        let ((), change) = books.change(|record| record.keep_good(good(1)));
        books.persisted(change, SOON).expect_err("refused");
        assert!(books.trouble().is_some());
        assert!(!books.try_again(SOON));
        std::fs::remove_dir(&in_the_way).expect("removed");
        assert!(books.try_again(SOON) && books.trouble().is_none());
        books.close();
        thread.join().expect("it ends");
    }

    #[test]
    fn nobody_waits_for_a_disk_that_hangs() {
        // Without its thread, nothing is ever written.
        let books = Books::new(Store::at(std::path::Path::new("/nonexistent")), Record::default());
        let ((), change) = books.change(|record| record.keep_good(good(1)));
        let why = books.persisted(change, Duration::from_millis(10)).expect_err("not written");
        assert!(why.contains("10 ms"), "{why}");
    }
}
