//! One direction of a tunnel: bytes from a reader to a writer, and, when the tunnel is told to leave, a goodbye
//! between two frames. After it nothing more is passed on, as after any Close; the reader is only listened to,
//! until it says Close too or ends.

use super::frames::{Frames, Towards, goodbye};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Copy buffer of each direction. Small, because tunnels are many and mostly quiet.
const BUFFER: usize = 8 * 1024;

/// Which end of a direction broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Reader,
    Writer,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Pump {
    towards: Towards,
    buffer: Box<[u8]>,
    /// What is in the buffer and not passed on yet.
    begin: usize,
    end: usize,
    frames: Frames,
    state: State,
    unflushed: bool,
    /// Bytes read.
    pub(super) bytes: u64,
    /// When the last were.
    pub(super) last: Instant,
}

#[derive(Debug)]
enum State {
    Carrying,
    /// The goodbye is being written.
    Saying(Vec<u8>),
    Listening,
    /// The reader has ended: the writer is told.
    Ending,
    Done,
}

impl Pump {
    /// Carries `early` first.
    pub(super) fn new(towards: Towards, early: &[u8]) -> Self {
        let mut buffer = vec![0; BUFFER.max(early.len())];
        buffer[..early.len()].copy_from_slice(early);
        Pump {
            towards,
            buffer: buffer.into(),
            begin: 0,
            end: early.len(),
            frames: Frames::default(),
            state: State::Carrying,
            unflushed: false,
            bytes: early.len() as u64,
            last: Instant::now(),
        }
    }

    /// Its reader's side has said its last word, or ours was said in its stead.
    pub(super) fn is_closing(&self) -> bool {
        self.frames.is_closed() || !matches!(self.state, State::Carrying | State::Saying(_))
    }

    /// Moves what can be moved; ready at the direction's end. `leaving` from the moment on when the tunnel is
    /// told to.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        leaving: bool,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match &mut self.state {
                State::Carrying if leaving && self.frames.is_between() && !self.frames.is_closed() => {
                    self.state = State::Saying(goodbye(self.towards));
                }
                State::Carrying if self.begin < self.end => {
                    ready!(self.write(cx, writer, leaving)).map_err(|_| Broken::Writer)?;
                }
                State::Carrying => match self.read(cx, reader) {
                    Poll::Ready(Ok(0)) => self.state = State::Ending,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reader)),
                    Poll::Pending => {
                        ready!(self.flush(cx, writer)).map_err(|_| Broken::Writer)?;
                        return Poll::Pending;
                    }
                },
                State::Saying(words) if words.is_empty() => {
                    ready!(self.flush(cx, writer)).map_err(|_| Broken::Writer)?;
                    self.state = State::Listening;
                }
                State::Saying(words) => {
                    let written =
                        ready!(Pin::new(&mut *writer).poll_write(cx, words)).map_err(|_| Broken::Writer)?;
                    if written == 0 {
                        return Poll::Ready(Err(Broken::Writer));
                    }
                    words.drain(..written);
                    self.unflushed = true;
                }
                State::Listening => {
                    self.frames.pass(&self.buffer[self.begin..self.end]);
                    self.begin = self.end;
                    let ended = self.frames.is_closed()
                        || ready!(self.read(cx, reader)).map_err(|_| Broken::Reader)? == 0;
                    if ended {
                        self.state = State::Done;
                    }
                }
                State::Ending => {
                    ready!(self.flush(cx, writer)).map_err(|_| Broken::Writer)?;
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(|_| Broken::Writer)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Passes on what is there; when leaving, only to the end of the frame that has begun.
    fn write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        leaving: bool,
    ) -> Poll<io::Result<()>> {
        let waiting = &self.buffer[self.begin..self.end];
        let most = match leaving && !self.frames.is_closed() {
            true => self.frames.rest_of_frame(waiting),
            false => waiting.len(),
        };
        let written = ready!(Pin::new(writer).poll_write(cx, &waiting[..most]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.frames.pass(&waiting[..written]);
        self.begin += written;
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    /// Fills the empty buffer; 0 at the end.
    fn read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(reader).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        (self.begin, self.end) = (0, read);
        self.bytes += read as u64;
        if read > 0 {
            self.last = Instant::now();
        }
        Poll::Ready(Ok(read))
    }

    fn flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
