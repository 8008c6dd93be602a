//! Threads: one single-threaded runtime per core for traffic, and beside them `admin`, `background` and `keeper`,
//! each with a runtime of its own, so that a resolver or a disk that blocks or a core that is full never locks
//! the operators out.
//!
//! Nothing here knows HTTP.

pub mod allocator;
pub mod bells;
pub mod clock;
pub mod descriptors;
pub mod lateness;
pub mod local;
pub mod memory;
pub mod offload;
pub mod tied;
pub mod watchdog;

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::runtime::{Builder, Handle};

/// Threads that a runtime may use for blocking work (name service of the standard library, files). Small,
/// because each inflates the allocator's memory, and bounded, because a pool that grows is a queue.
const BLOCKING_THREADS: usize = 5;

/// Starts a named thread whose runtime runs `main` to its end on that thread; what `main` spawns locally
/// ends with it. Returns a handle for sending work to the runtime.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn<F, Fut>(name: &str, main: F) -> io::Result<(Handle, JoinHandle<()>)>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = sender.send(Ok(runtime.handle().clone()));
                // As a task, because waking the outermost future costs a system call each time.
                runtime.block_on(async { tokio::task::spawn_local(main()).await.unwrap_or_default() });
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        }
    })?;
    match receiver.recv() {
        Ok(handle) => Ok((handle?, thread)),
        Err(_) => Err(io::Error::other(format!("the thread {name} ended while it started"))),
    }
}
