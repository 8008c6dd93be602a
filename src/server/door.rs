//! The strict door: an IO wrapper between a client's transport and the protocol engine.
//!
//! It promises that the engine only ever sees complete, unambiguous HTTP/1 heads, so that whatever two
//! parsers could read differently ends here (request smuggling), with a reason, an access line and a count
//! that the engine's bare 400 would not have. On HTTP/2 it counts the frames that cost work and carry
//! nothing. It tells an [`Observer`] what passes, because deadlines, byte counts and "the client has it all"
//! cannot be known anywhere else. It deliberately sets no deadlines, answers nothing itself and does not
//! judge what a well-formed request means.
//!
//! The usual read holds a whole head or only body bytes: those are looked at where the engine will find
//! them, without copy or allocation. Only an incomplete head is held back, bounded by [`HeadLimits`] and one
//! read.

pub mod frames;
pub mod framing;
mod head;
mod observer;
pub mod sniff;

pub use head::upgrade_passes;

pub use observer::{Length, Message, Observer};

use crate::reject::Reason;
use bytes::{Buf, Bytes};
use frames::Frames;
use framing::{Event, Framing};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How large a request head may be. The engine's own limits must lie above these, or it answers first.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes from the first of the request line to the end of the empty line; beyond it 431.
    pub max_head_bytes: usize,
    /// Field lines; beyond it 431.
    pub max_headers: usize,
    /// Bytes of the request target, at most 65,534; beyond it 414.
    pub max_uri_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { max_head_bytes: 32 * 1024, max_headers: 100, max_uri_bytes: 8 * 1024 }
    }
}

/// Why the door lets nothing more through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `bad_request`, `uri_too_long` or `headers_too_large`.
    pub reason: Reason,
    /// One sentence for the client and the log.
    pub detail: &'static str,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, refusal.detail)
    }
}

/// A transport with the door in front. See the module's text.
#[derive(Debug)]
pub struct Door<T, O> {
    io: T,
    observer: O,
    mode: Mode,
    /// Read but not passed on. The first `cleared` bytes, less `passed`, may pass.
    held: Vec<u8>,
    passed: usize,
    cleared: usize,
    refusal: Option<Refusal>,
    /// The refusal is about a body: it does not wait for the answer that needs that body.
    at_once: bool,
    eof: bool,
    /// Who waits until the observer is not busy.
    parked: Option<Waker>,
    /// What is left of an interim answer.
    interim: Bytes,
    /// Nothing was written since the last flush.
    settled: bool,
}

#[derive(Debug)]
enum Mode {
    Http1(Framing),
    Http2(Frames),
    Tunnel,
}

impl<T, O: Observer> Door<T, O> {
    /// For HTTP/1. `prefix` is what was read from `io` before, as by [`sniff::sniff`]; it is not told to
    /// [`Observer::read`].
    pub fn h1(io: T, prefix: Vec<u8>, limits: HeadLimits, observer: O) -> Self {
        let mut door = Door::new(io, prefix, Mode::Http1(Framing::new(limits)), observer);
        door.inspect_held();
        door
    }

    /// For HTTP/2 with prior knowledge or by ALPN; `prefix` as for [`Door::h1`].
    pub fn h2(io: T, prefix: Vec<u8>, observer: O) -> Self {
        let mut door = Door::new(io, prefix, Mode::Http2(Frames::new(Instant::now())), observer);
        door.inspect_held();
        door
    }

    fn new(io: T, prefix: Vec<u8>, mode: Mode, observer: O) -> Self {
        Door {
            io,
            observer,
            mode,
            held: prefix,
            passed: 0,
            cleared: 0,
            refusal: None,
            at_once: false,
            eof: false,
            parked: None,
            interim: Bytes::new(),
            settled: true,
        }
    }

    /// Judges nothing from now on: a tunnel. `early` is what the engine had read of it; it comes first, then
    /// what the door held.
    pub fn tunnel(&mut self, early: &[u8]) {
        self.held.drain(..self.passed);
        self.held.splice(..0, early.iter().copied());
        self.passed = 0;
        self.cleared = self.held.len();
        self.mode = Mode::Tunnel;
        self.refusal = None;
    }

    /// The last request that passed has come whole, and nothing of another (HTTP/1).
    pub fn is_between_requests(&self) -> bool {
        self.held.is_empty() && matches!(&self.mode, Mode::Http1(framing) if framing.at_boundary())
    }

    /// What it stands in front of.
    pub fn transport(&self) -> &T {
        &self.io
    }

    /// The transport, and the bytes that were read from it but never passed on.
    pub fn into_parts(mut self) -> (T, Vec<u8>) {
        self.held.drain(..self.passed);
        (self.io, self.held)
    }

    /// Judges `held[cleared..]`; what may pass becomes cleared.
    fn inspect_held(&mut self) {
        let Door { mode, observer, held, cleared, .. } = self;
        let (pass, refusal) = judge(mode, observer, &held[*cleared..]);
        self.cleared += pass;
        self.refuse(refusal);
    }

    fn refuse(&mut self, refusal: Option<Refusal>) {
        let Some(refusal) = refusal else { return };
        self.at_once = !matches!(&self.mode, Mode::Http1(framing) if !framing.in_body());
        self.refusal = Some(refusal);
        self.held.truncate(self.cleared);
        self.observer.refused(refusal);
    }

    /// Passes cleared bytes on, as many as fit.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let n = (self.cleared - self.passed).min(buf.remaining());
        buf.put_slice(&self.held[self.passed..self.passed + n]);
        self.passed += n;
        if self.passed == self.held.len() {
            // Most connections hold bytes once or never: an idle one should not keep the memory.
            (self.held, self.passed, self.cleared) = (Vec::new(), 0, 0);
        } else if self.passed == self.cleared {
            self.held.drain(..self.passed);
            (self.passed, self.cleared) = (0, 0);
        }
    }

    /// Judges what was just read into `buf` after its first `before` bytes; what may not pass yet goes
    /// behind what is held.
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let fresh = &buf.filled()[before..];
        self.observer.read(fresh.len());
        if !self.held.is_empty() {
            self.held.extend_from_slice(fresh);
            buf.set_filled(before);
            return self.inspect_held();
        }
        let (pass, refusal) = judge(&mut self.mode, &self.observer, fresh);
        if refusal.is_none() {
            self.held.extend_from_slice(&fresh[pass..]);
        }
        buf.set_filled(before + pass);
        self.refuse(refusal);
    }

    /// True if the end of input waits until the requests that came before it are answered.
    fn eof_waits(&self) -> bool {
        matches!(&self.mode, Mode::Http1(framing) if framing.at_boundary()) && self.observer.busy()
    }

    /// Waits until [`Observer::busy`] ends, which is seen at a flush.
    fn park(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.parked = Some(cx.waker().clone());
        Poll::Pending
    }

    /// After a request for another protocol: true if its fate is still open and nothing may be read.
    fn undecided(&mut self) -> bool {
        let Mode::Http1(framing) = &mut self.mode else { return false };
        if !framing.undecided() {
            return false;
        }
        if self.observer.busy() {
            return true;
        }
        framing.stay_http();
        self.inspect_held();
        false
    }
}

impl<T: AsyncRead + Unpin, O: Observer + Unpin> AsyncRead for Door<T, O> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let door = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if door.passed < door.cleared {
                door.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = door.refusal {
                if !door.at_once && door.observer.busy() {
                    return door.park(cx);
                }
                return Poll::Ready(Err(refusal.into()));
            }
            if door.eof {
                return if door.eof_waits() { door.park(cx) } else { Poll::Ready(Ok(())) };
            }
            if door.undecided() {
                return door.park(cx);
            }
            if door.passed < door.cleared || door.refusal.is_some() {
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut door.io).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                door.eof = true;
                if matches!(&door.mode, Mode::Http1(framing) if framing.at_boundary()) {
                    door.observer.half_closed();
                }
                continue;
            }
            door.take_in(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin, O: Observer + Unpin> Door<T, O> {
    /// Writes an interim answer that is begun or may begin now.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() && matches!(self.mode, Mode::Http1(_)) {
            let next = self.observer.interim();
            if self.settled {
                self.interim = next.unwrap_or_default();
            }
        }
        while self.interim.has_remaining() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.interim))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(n);
            self.note_written(n);
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&mut self, n: usize) {
        if let Mode::Http2(frames) = &mut self.mode {
            frames.wrote(n);
        }
        self.observer.wrote(n);
    }
}

impl<T: AsyncWrite + Unpin, O: Observer + Unpin> AsyncWrite for Door<T, O> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let door = self.get_mut();
        ready!(door.poll_interim(cx))?;
        let n = ready!(Pin::new(&mut door.io).poll_write(cx, bytes))?;
        door.settled = false;
        door.note_written(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let door = self.get_mut();
        ready!(door.poll_interim(cx))?;
        let n = ready!(Pin::new(&mut door.io).poll_write_vectored(cx, bufs))?;
        door.settled = false;
        door.note_written(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let door = self.get_mut();
        ready!(door.poll_interim(cx))?;
        ready!(Pin::new(&mut door.io).poll_flush(cx))?;
        door.settled = true;
        door.observer.flushed();
        if let Some(waker) = door.parked.take() {
            if door.observer.busy() { door.parked = Some(waker) } else { waker.wake() }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let door = self.get_mut();
        if matches!(door.mode, Mode::Http1(_)) {
            // The engine is through, but a refusal may still have to be told: who has the last word shuts down.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut door.io).poll_shutdown(cx)
    }
}

/// How many of `bytes` may pass, and what stands behind them.
fn judge<O: Observer>(mode: &mut Mode, observer: &O, bytes: &[u8]) -> (usize, Option<Refusal>) {
    match mode {
        Mode::Http1(framing) => {
            let seen = framing.inspect(bytes, |event| match event {
                Event::HeadStarted => observer.head_started(),
                Event::HeadComplete(message) => observer.head_complete(message),
                Event::MessageComplete => observer.message_complete(),
            });
            (seen.pass, seen.refusal)
        }
        // What a flood's frames bring is of no use to anyone: all of this read is refused with it.
        Mode::Http2(frames) => match frames.inspect(bytes, Instant::now) {
            Ok(()) => (bytes.len(), None),
            Err(refusal) => (0, Some(refusal)),
        },
        Mode::Tunnel => (bytes.len(), None),
    }
}

#[cfg(test)]
mod tests;
