//! One connection to a backend, as the request that uses it sees it.

use crate::runtime::descriptors::DescriptorPermit;
use crate::upstream::pool::Pool;
use crate::upstream::request_body::RequestBody;
use crate::upstream::stir::Stir;
use crate::upstream::transport::{Counted, Tap, Transport};
use crate::upstream::vitals::Established;
use bytes::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// An HTTP/1.1 connection. There is no task behind it: whoever uses it drives it.
#[derive(Debug)]
pub struct H1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<TokioIo<Counted>, RequestBody>,
    /// Who is told that it stirs.
    stir: Stir,
    /// The engine is through with it; polling it again would be an error.
    done: bool,
    /// When it was last put back.
    pub(super) idle_since: Instant,
    /// It has carried a request before, so it may have been closed by the other side meanwhile.
    pub(super) reused: bool,
    /// What passes beneath the engine.
    tap: Rc<Tap>,
    /// Counts as one of the backend's; a tunnel that it becomes does not.
    established: Established,
    /// Dropped after the socket.
    descriptor: DescriptorPermit,
}

impl H1 {
    pub(super) fn new(
        sender: http1::SendRequest<RequestBody>,
        connection: http1::Connection<TokioIo<Counted>, RequestBody>,
        tap: Rc<Tap>,
        (descriptor, established): (DescriptorPermit, Established),
    ) -> Self {
        let idle_since = Instant::now();
        let stir = Stir::new();
        H1 { sender, connection, stir, done: false, idle_since, reused: false, tap, established, descriptor }
    }

    /// Bytes written to it since it was made.
    pub(super) fn written(&self) -> u64 {
        self.tap.written()
    }

    /// What passes beneath the engine.
    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Lets the engine read and write. Ready when it is through with the connection.
    /// Whoever polls is told from now on that it stirs.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.stir.tell(cx.waker());
        self.run()
    }

    fn run(&mut self) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        // Its error, if any, also reaches whoever waits for the answer, with the request if it was not sent.
        let poll = Pin::new(&mut self.connection).poll(&mut self.stir.context()).map(|_| ());
        self.done = poll.is_ready();
        poll
    }

    /// Asks for what the engine has already, without waking whoever drives it.
    pub(super) fn quietly<T>(&self, ask: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.stir.quietly(|| ask(&mut Context::from_waker(Waker::noop())))
    }

    /// True while it can take another request; from now on the janitor is told, because a parked connection's end
    /// must wake somebody. Mostly the engine has noticed that the exchange is complete, has asked for more to read
    /// since, and says that it is ready; else it is polled once more (`hyper-notes.md` 14).
    pub(super) fn park(&mut self, janitor: &Waker) -> bool {
        // What comes now would belong to no answer.
        self.tap.through(None);
        self.stir.tell_janitor(janitor);
        if self.done || !self.sender.is_ready() {
            return self.look_again();
        }
        !self.sender.is_closed()
    }

    fn look_again(&mut self) -> bool {
        self.run().is_pending() && self.sender.is_ready() && !self.sender.is_closed()
    }

    /// True if it is still as it was when it was parked, or looks as good after another look.
    pub(super) fn still_parked(&mut self, janitor: &Waker) -> bool {
        if !self.stir.has_stirred() {
            return true;
        }
        self.stir.tell_janitor(janitor);
        self.look_again()
    }

    /// Takes it out of the janitor's hands. Nobody is told that a request was handed to the engine: whoever does
    /// that polls it next.
    pub(super) fn unpark(&mut self) {
        self.stir.tell_nobody();
        self.reused = true;
    }

    /// Takes the bytes' way back from the engine, with what it read too far.
    pub(super) fn into_transport(self) -> (Transport, Bytes, DescriptorPermit) {
        drop(self.established);
        let parts = self.connection.into_parts();
        (parts.io.into_inner().into_inner(), parts.read_buf, self.descriptor)
    }
}

/// A share in an HTTP/2 connection, which a local task drives.
#[derive(Debug)]
pub struct H2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) streams: Streams,
}

/// One of the streams of an HTTP/2 connection.
#[derive(Debug)]
pub struct Streams(Rc<Cell<u32>>);

impl Streams {
    pub(super) fn enter(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Streams(count.clone())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What carries one exchange.
#[derive(Debug)]
pub enum Connection {
    /// All of an HTTP/1.1 connection, and the pool that it goes back to.
    H1(Box<H1>, Rc<Pool>),
    /// A stream of an HTTP/2 connection.
    H2(Streams),
}
