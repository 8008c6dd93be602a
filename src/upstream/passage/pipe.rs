//! The system's pipes that passages run through, used again by a core as long as they are empty. They count towards
//! the process's budget of descriptors, of which they may use what others have left of a quarter: without one an answer
//! is copied.

use crate::runtime::descriptors::DescriptorPermit;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes that a pipe holds at most.
pub(super) const CAPACITY: usize = 256 * 1024;
/// Empty pipes that a core keeps.
const KEPT: usize = 8;

/// The right to open a descriptor.
pub type Right = DescriptorPermit;

/// An empty pipe, or one in use.
#[derive(Debug)]
pub(super) struct Pipe {
    end: OwnedFd,
    begin: OwnedFd,
    /// Dropped after them.
    _rights: [Right; 2],
}

/// A core's empty pipes.
#[derive(Debug, Default)]
pub struct Pipes {
    kept: RefCell<Vec<Pipe>>,
}

impl Pipes {
    /// An empty pipe, if the system and the budget have one.
    pub(super) fn take(&self, mut rights: impl FnMut() -> Option<Right>) -> Option<Pipe> {
        let kept = self.kept.borrow_mut().pop();
        kept.or_else(|| Pipe::new([rights()?, rights()?]).ok())
    }

    /// Keeps an empty pipe for the next answer.
    pub(super) fn keep(&self, pipe: Pipe) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}

impl Pipe {
    /// The system gives those without privileges only so much memory for pipes, and then very small ones: those are
    /// of no use.
    fn new(rights: [Right; 2]) -> rustix::io::Result<Self> {
        let (end, begin) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&begin, CAPACITY)?;
        Ok(Pipe { end, begin, _rights: rights })
    }

    /// Moves up to `most` bytes from a socket into it; zero at the socket's end.
    pub(super) fn fill(&self, socket: impl AsFd, most: usize) -> Result<usize, Errno> {
        splice(socket, None, &self.begin, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
    }

    /// Moves up to `most` bytes from it into a socket.
    pub(super) fn empty(&self, socket: impl AsFd, most: usize) -> Result<usize, Errno> {
        splice(&self.end, None, socket, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
    }
}
