//! The access log: one JSON line a request, written at its last byte.
//!
//! A core appends lines to its own buffer and hands them over in batches, by `try_send` on a bounded channel
//! to the writer thread. So a hung pipe, a dead file system or a full disk costs lines, which are counted
//! (`tidegate_access_log_dropped_total`), and never a moment of a request. Files are opened on the writer
//! thread, for opening may hang as well. It does not rotate files: it reopens them when told.

mod json;
pub mod line;

use crate::telemetry::metrics::Metrics;
use crate::telemetry::settings::AccessLogTarget;
use line::LineClock;
pub use line::{AccessRecord, End};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A core hands its buffer over when it has grown to this many bytes.
const BATCH_BYTES: usize = 32 * 1024;

/// Batches that may wait for the writer: about 4 MiB of lines.
const BATCHES_WAITING: usize = 128;

/// Where lines go, once opened.
type Sink = Box<dyn Write + Send>;

/// The process's access log; clones share the writer.
#[derive(Clone, Debug)]
pub struct AccessLog {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    /// False while lines go nowhere, so that cores do not even write them.
    enabled: AtomicBool,
    /// The writer must open its target again.
    stale: AtomicBool,
    target: Mutex<AccessLogTarget>,
}

enum Message {
    /// Lines, and how many.
    Batch(Vec<u8>, u64),
    /// Answer when everything before is written.
    Drained(SyncSender<()>),
}

impl AccessLog {
    /// Starts the writer thread `access-log`. The target is opened there, at the first batch; what cannot be
    /// opened drops lines until it can.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(target: AccessLogTarget, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::start_with(target, metrics, open)
    }

    fn start_with<F>(target: AccessLogTarget, metrics: Arc<Metrics>, open: F) -> io::Result<Self>
    where
        F: FnMut(&AccessLogTarget) -> io::Result<Sink> + Send + 'static,
    {
        let (sender, receiver) = sync_channel(BATCHES_WAITING);
        let shared = Arc::new(Shared {
            metrics,
            enabled: AtomicBool::new(target != AccessLogTarget::Off),
            stale: AtomicBool::new(true),
            target: Mutex::new(target),
        });
        let writer = Writer { shared: Arc::clone(&shared), sink: None, failing: false, open };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver))?;
        Ok(AccessLog { sender, shared })
    }

    /// The buffer of one core.
    pub fn core(&self) -> CoreLog {
        CoreLog { log: self.clone(), buffer: RefCell::default() }
    }

    /// Opens the file again before the next batch, after it was moved away (HUP).
    pub fn reopen(&self) {
        self.shared.stale.store(true, Relaxed);
    }

    /// Sends what comes from now on to another target, if it is another.
    pub fn retarget(&self, target: &AccessLogTarget) {
        let mut current = self.shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != *target {
            current.clone_from(target);
            drop(current);
            self.shared.enabled.store(*target != AccessLogTarget::Off, Relaxed);
            self.reopen();
        }
    }

    /// Waits until everything handed over so far is written, at most `patience`. False if it is not; a hung
    /// sink must not keep the process from ending.
    pub fn drain(&self, patience: Duration) -> bool {
        let (done, written) = sync_channel(1);
        self.sender.try_send(Message::Drained(done)).is_ok() && written.recv_timeout(patience).is_ok()
    }

    fn hand_over(&self, lines: Vec<u8>, count: u64) {
        if self.sender.try_send(Message::Batch(lines, count)).is_err() {
            self.shared.dropped(count);
        }
    }
}

impl Shared {
    fn dropped(&self, lines: u64) {
        self.metrics.process().access_log_dropped.add(lines);
    }
}

/// One core's end of the access log.
#[derive(Debug)]
pub struct CoreLog {
    log: AccessLog,
    buffer: RefCell<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    count: u64,
    clock: LineClock,
}

impl CoreLog {
    /// False while lines go nowhere: the caller may skip making the record.
    pub fn is_on(&self) -> bool {
        self.log.shared.enabled.load(Relaxed)
    }

    /// Appends one line; hands the buffer over when it is full. Never blocks.
    pub fn write(&self, record: &AccessRecord<'_>) {
        if !self.is_on() {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        let Buffer { lines, count, clock } = &mut *buffer;
        if lines.capacity() == 0 {
            lines.reserve(BATCH_BYTES + 2048);
        }
        record.write(clock, lines);
        *count += 1;
        if lines.len() >= BATCH_BYTES {
            drop(buffer);
            self.flush();
        }
    }

    /// Hands over what there is; the core's tick calls it, so that a line waits at most one tick.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.count > 0 {
            let lines = std::mem::take(&mut buffer.lines);
            let count = std::mem::take(&mut buffer.count);
            self.log.hand_over(lines, count);
        }
    }
}

impl Drop for CoreLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The writer thread's side.
struct Writer<F> {
    shared: Arc<Shared>,
    sink: Option<Sink>,
    /// The last batch was lost, and the log has said so.
    failing: bool,
    open: F,
}

impl<F: FnMut(&AccessLogTarget) -> io::Result<Sink>> Writer<F> {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Batch(lines, count) => self.batch(&lines, count),
                Message::Drained(done) => {
                    // Who asked may have lost patience.
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn batch(&mut self, lines: &[u8], count: u64) {
        match self.write(lines) {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.sink = None;
                self.shared.dropped(count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "access log cannot be written; lines are dropped and counted");
                }
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.shared.stale.swap(false, Relaxed) {
            self.sink = None;
        }
        let sink = match &mut self.sink {
            Some(sink) => sink,
            none => {
                let target = self.shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                none.insert((self.open)(&target)?)
            }
        };
        sink.write_all(lines)?;
        sink.flush()
    }
}

#[expect(clippy::disallowed_methods, reason = "on the access log's own thread")]
fn open(target: &AccessLogTarget) -> io::Result<Sink> {
    Ok(match target {
        AccessLogTarget::Off => Box::new(io::sink()),
        AccessLogTarget::Stdout => Box::new(io::stdout()),
        AccessLogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts a write and never returns from it, until the test lets go.
    struct Hangs(Arc<Mutex<Receiver<()>>>);

    impl Write for Hangs {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.0.lock().expect("one writer").recv();
            Ok(lines.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped(metrics: &Metrics) -> u64 {
        metrics.process().access_log_dropped.get()
    }

    #[test]
    fn a_hung_sink_drops_and_counts_and_never_blocks() {
        let metrics = Arc::new(Metrics::new(1));
        let (let_go, hung) = sync_channel::<()>(0);
        let hung = Arc::new(Mutex::new(hung));
        let open = move |_: &AccessLogTarget| Ok(Box::new(Hangs(Arc::clone(&hung))) as Sink);
        let log = AccessLog::start_with(AccessLogTarget::Stdout, Arc::clone(&metrics), open).expect("starts");
        let core = log.core();
        let written = 200;
        for _ in 0..written {
            core.write(&AccessRecord::default());
            core.flush();
        }
        // One batch is in the hung write or still waiting for the thread to start; the channel holds the rest.
        let lost = dropped(&metrics);
        let room = BATCHES_WAITING as u64;
        assert!((written - room - 1..=written - room).contains(&lost), "{lost} lines dropped");
        assert!(!log.drain(Duration::from_millis(1)));
        drop(let_go);
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let metrics = Arc::new(Metrics::new(1));
        let full = AccessLogTarget::File("/dev/full".into());
        let log = AccessLog::start(full, Arc::clone(&metrics)).expect("starts");
        let core = log.core();
        core.write(&AccessRecord::default());
        core.write(&AccessRecord::default());
        core.flush();
        assert!(log.drain(Duration::from_secs(10)));
        assert_eq!(dropped(&metrics), 2);
    }

    #[test]
    fn a_file_is_appended_to_and_reopened_after_it_was_moved() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.log");
        std::fs::write(&path, "before\n").expect("writes");
        let metrics = Arc::new(Metrics::new(1));
        let log = AccessLog::start(AccessLogTarget::File(path.clone()), metrics).expect("starts");
        let core = log.core();
        let write = || {
            core.write(&AccessRecord::default());
            core.flush();
            assert!(log.drain(Duration::from_secs(10)));
        };
        write();
        let moved = dir.path().join("access.log.1");
        std::fs::rename(&path, &moved).expect("moves");
        log.reopen();
        write();
        assert_eq!(std::fs::read_to_string(&moved).expect("reads").lines().count(), 2);
        assert_eq!(std::fs::read_to_string(&path).expect("reads").lines().count(), 1);
    }

    #[test]
    fn a_new_target_takes_effect_without_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.log");
        let log = AccessLog::start(AccessLogTarget::Off, Arc::new(Metrics::new(1))).expect("starts");
        let core = log.core();
        assert!(!core.is_on());
        core.write(&AccessRecord::default());
        log.retarget(&AccessLogTarget::File(path.clone()));
        core.write(&AccessRecord::default());
        // A core's last lines are handed over when it ends.
        drop(core);
        assert!(log.drain(Duration::from_secs(10)));
        assert_eq!(std::fs::read_to_string(&path).expect("reads").lines().count(), 1);
    }
}
