//! The system's roots: read once, because they are large and a gateway has many upstreams, and on a thread of their own,
//! because the disk that they lie on may hang.
//!
//! A start begins the reading. Whoever cannot do without them waits until they are read, at the latest for some seconds
//! from when that began; whoever comes later to a disk that still hangs is told so at once. So no rollback waits for it.

use crate::upstream::pem::TlsError;
use rustls::RootCertStore;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long they are waited for, from when their reading began; as long as a start waits for other files.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was read.
static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
/// When the reading began.
static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);
/// Rung when they are read.
static READ: Condvar = Condvar::new();

/// Begins to read them, if nobody has; returns at once.
pub fn read_ahead() {
    begin();
}

/// Whether they can be had without waiting.
pub fn are_read() -> bool {
    ROOTS.get().is_some()
}

/// The system's roots. Blocks, see above.
///
/// # Errors
/// When there are none, or their disk does not answer.
pub(super) fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let read = begin().and_then(within_patience);
    let roots = read.ok_or_else(|| TlsError::Setup(not_read()))?;
    if roots.is_empty() {
        let problem = "the system has no trusted roots\nhint: install ca-certificates, or set `ca`";
        return Err(TlsError::Setup(problem.to_owned()));
    }
    Ok(roots)
}

/// Why they cannot be had now.
pub fn not_read() -> String {
    "the system's trusted roots are not read yet: their disk does not answer\nhint: mend it, or set `ca`"
        .to_owned()
}

fn within_patience(began: Instant) -> Option<Arc<RootCertStore>> {
    let left = (began + PATIENCE).saturating_duration_since(Instant::now());
    let waiting = READ.wait_timeout_while(state(), left, |_| ROOTS.get().is_none());
    drop(waiting);
    ROOTS.get().cloned()
}

/// When their reading began; nothing if the system gives no thread for it, which it may later.
fn begin() -> Option<Instant> {
    let mut began = state();
    if began.is_none() {
        thread::Builder::new().name("roots".to_owned()).spawn(read).ok()?;
        *began = Some(Instant::now());
    }
    *began
}

fn read() {
    let mut roots = RootCertStore::empty();
    // A damaged certificate among the system's hundreds must not cost the rest.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let began = state();
    // Nobody else sets it: there is one such thread.
    let _ = ROOTS.set(Arc::new(roots));
    drop(began);
    READ.notify_all();
}

/// Nothing panics while it holds the lock.
fn state() -> MutexGuard<'static, Option<Instant>> {
    BEGAN.lock().unwrap_or_else(PoisonError::into_inner)
}
