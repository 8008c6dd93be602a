//! One process writes a state directory. A second one, which a supervisor may start a moment before the first has ended,
//! starts and serves all the same; it writes nothing until the first one is gone.
#![expect(clippy::disallowed_methods, reason = "on the threads that write the state directory, and at start")]

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const LOCK: &str = "lock";

/// The right to write a directory; held until the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    held: Mutex<Option<File>>,
}

impl Lock {
    /// Of a directory; not taken yet.
    pub(super) fn of(directory: &Path) -> Self {
        Lock { path: directory.join(LOCK), held: Mutex::new(None) }
    }

    /// Takes it, unless it is taken already by this process.
    ///
    /// # Errors
    /// When another process has it, or the directory takes no file.
    pub(super) fn take(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                *held = Some(file);
                Ok(())
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "another process has this state directory; nothing is written until it ends",
            )),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_and_gets_it_when_the_first_has_gone() {
        let home = tempfile::tempdir().expect("a directory");
        let (first, second) = (Lock::of(home.path()), Lock::of(home.path()));
        first.take().expect("free");
        first.take().expect("its own");
        let told = second.take().expect_err("taken").to_string();
        assert!(told.contains("another process"), "{told}");
        drop(first);
        second.take().expect("free again");
    }
}
