//! Threads that end when what holds them is dropped, and are waited for then.
//!
//! Nothing is ever sent to such a thread: that the other end of its channel is gone is what it hears.

use std::io;
use std::thread::{self, JoinHandle};

/// A thread, and the end of a channel whose drop it ends at.
#[derive(Debug)]
pub struct Tied<S> {
    stop: Option<S>,
    thread: Option<JoinHandle<()>>,
}

impl<S> Tied<S> {
    /// Starts a named thread that must end soon after `stop` is dropped.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn spawn(name: &str, stop: S, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Tied { stop: Some(stop), thread: Some(thread) })
    }
}

impl<S> Drop for Tied<S> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which the panic hook has told.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::mpsc;

    #[test]
    fn it_is_gone_when_its_holder_is() {
        let (stop, stopped) = mpsc::sync_channel::<Infallible>(0);
        let held = Arc::new(());
        let inside = held.clone();
        let run = move || {
            let _ = stopped.recv();
            drop(inside);
        };
        let tied = Tied::spawn("tied", stop, run).expect("a thread");
        assert_eq!(Arc::strong_count(&held), 2);
        drop(tied);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
