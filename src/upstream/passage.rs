//! A passage: a large answer's bytes go from the backend's socket through a pipe to the client's socket and are
//! never copied through us. The engines on both sides know nothing of it. Where the backend's engine would get bytes
//! it gets as many that mean nothing, and in the client's engine a stand-in takes their place; when that is to be
//! written, the pipe is emptied into the socket instead. So lengths, rates, permits, records, breaks and ends are
//! what they are for every answer.
//!
//! It promises that a stand-in is never written as it is, that what is in the pipe leaves it in order, and that a
//! pipe with anything left in it is never used again. Whoever must have the bytes themselves (reading ahead of a
//! client that is slow) closes it: what comes after that is read as ever, behind what the pipe holds.
//!
//! It rests on two habits of the engine: what it read it gives out where it lies (else the answer is cut), and it
//! writes a body without copying it together. `tests/it/large.rs` compares every byte.

mod pipe;

pub use pipe::Pipes;

use bytes::Bytes;
use http_body::Frame;
use pipe::Pipe;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

/// An answer of fewer bytes does not earn what a passage costs.
pub const LARGE: u64 = 256 * 1024;
/// Bytes that one stand-in stands for at most.
const PIECE: usize = 128 * 1024;
/// What takes the place of bytes in a pipe, known by where it lies: its content means nothing.
static STAND_IN: [u8; PIECE] = [0; PIECE];

/// Bytes that take the place of others.
pub fn is_stand_in(bytes: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// What stands for so many bytes, at most as many as one read brings.
pub(super) fn stand_in(length: usize) -> Bytes {
    Bytes::from_static(&STAND_IN[..length.min(PIECE)])
}

/// One answer's way past the engines.
#[derive(Debug)]
pub struct Passage {
    /// There as long as this lives.
    pipe: Option<Pipe>,
    pipes: Rc<Pipes>,
    /// Bytes in the pipe.
    inside: Cell<usize>,
    /// Bytes that may still go in.
    left: Cell<u64>,
    /// What the backend's engine was given last, where it lies and how long it is, until it comes out again.
    given: Cell<Option<(usize, usize)>>,
    /// Who waits for room in the pipe.
    waits: RefCell<Option<Waker>>,
}

impl Passage {
    /// For an answer of which so many bytes have not been asked for; `None` if there is no pipe for it.
    pub(super) fn open(
        pipes: &Rc<Pipes>,
        left: u64,
        permits: impl FnMut() -> Option<pipe::Right>,
    ) -> Option<Rc<Self>> {
        let pipe = pipes.take(permits)?;
        Some(Rc::new(Passage {
            pipe: Some(pipe),
            pipes: pipes.clone(),
            inside: Cell::new(0),
            left: Cell::new(left),
            given: Cell::new(None),
            waits: RefCell::default(),
        }))
    }

    /// Nothing goes in for now.
    pub(super) fn close(&self) {
        self.left.set(0);
    }

    /// So many bytes may go in from now on.
    pub(super) fn reopen(&self, left: u64) {
        self.left.set(left);
    }

    /// Bytes may go in.
    pub(super) fn is_open(&self) -> bool {
        self.left.get() > 0
    }

    /// A pipe that holds nothing, and nobody else who could put anything in: it is done with.
    pub fn is_spent(self: &Rc<Self>) -> bool {
        self.inside.get() == 0 && Rc::strong_count(self) == 1
    }

    /// Takes what the backend has sent into the pipe. The engine that reads is given as many bytes.
    pub(super) fn poll_draw(
        &self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Err(lost())) };
        let room = pipe::CAPACITY.saturating_sub(self.inside.get());
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let most = buffer.remaining().min(room).min(left).min(PIECE);
        if most == 0 || self.given.get().is_some() {
            return self.wait_for_room(cx);
        }
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let drawn = socket.try_io(Interest::READABLE, || match pipe.fill(socket, most) {
                Err(Errno::AGAIN) if self.inside.get() > 0 && has_something(socket) => Ok(None),
                filled => Ok(Some(filled?)),
            });
            match drawn {
                Ok(Some(bytes)) => {
                    let place = buffer.initialize_unfilled_to(bytes);
                    self.given.set((bytes > 0).then_some((place.as_ptr().addr(), bytes)));
                    buffer.advance(bytes);
                    self.inside.set(self.inside.get() + bytes);
                    self.left.set(self.left.get() - bytes as u64);
                    return Poll::Ready(Ok(()));
                }
                // The pipe is full before it holds as many bytes as it might: they came in small pieces.
                Ok(None) => return self.wait_for_room(cx),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn wait_for_room(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        *self.waits.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What the backend's engine gives out: a stand-in for what is in the pipe, everything else as it is. Nothing
    /// if the engine has lost what it was given.
    pub(super) fn recognise(&self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let Some((place, length)) = self.given.get() else { return Some(frame) };
        let data = frame.into_data().ok()?;
        if data.as_ptr().addr() != place || data.len() > length {
            return None;
        }
        self.given.set(None);
        self.let_on();
        Some(Frame::data(stand_in(data.len())))
    }

    /// Empties up to `most` bytes of the pipe into the client's socket.
    ///
    /// # Errors
    /// Those of the socket, and when the pipe holds nothing.
    pub fn poll_pour(
        &self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let most = most.min(self.inside.get());
        let Some(pipe) = self.pipe.as_ref().filter(|_| most > 0) else { return Poll::Ready(Err(lost())) };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || Ok(pipe.empty(socket, most)?)) {
                Ok(bytes) => {
                    self.inside.set(self.inside.get().saturating_sub(bytes));
                    self.let_on();
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn let_on(&self) {
        self.waits.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take().filter(|_| self.inside.get() == 0) {
            self.pipes.keep(pipe);
        }
    }
}

/// Not now, or not this time.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The socket has bytes, its end or an error to tell.
fn has_something(socket: &TcpStream) -> bool {
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(recv(socket, &mut [0; 1], peek), Err(Errno::AGAIN))
}

/// A stand-in without its bytes.
pub fn lost() -> io::Error {
    io::Error::other("the bytes of this answer are not where they should be")
}

#[cfg(test)]
mod tests;
