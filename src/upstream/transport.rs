//! The bytes under HTTP, towards clients and backends alike: an enum and not a type parameter, so that the
//! protocol engine is compiled once.

use crate::upstream::outbox::Socket;
use crate::upstream::passage::Passage;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Bytes that the system takes ahead of what it can send.
const UNSENT: u32 = 16 * 1024;

/// Lets the system take only a little more than it can send: what it takes then says how fast the other side
/// reads, in small steps, and a slow reader costs kilobytes instead of megabytes of the kernel's memory. A
/// listening socket passes it on to what it accepts.
pub fn keep_little_unsent(socket: &impl AsFd) {
    #[cfg(target_os = "linux")]
    // Where the system does not know it, rates are judged in larger steps.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT);
}

/// A connection's bytes, in clear or under TLS.
#[derive(Debug)]
pub enum Transport {
    /// In clear.
    Tcp(Socket),
    /// Under TLS; boxed because its state is large and most connections of some listeners have none.
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    /// Whether the peer has sent bytes that nobody read, asked of the system itself: the runtime hears of them
    /// later. The end of its side is none.
    pub fn has_unread(&self) -> bool {
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(self.socket(), &mut [0; 1], peek).is_ok_and(|(_, read)| read > 0)
    }

    /// Waits until there may be something to read, or the end; reads nothing and needs no buffer.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever reads then meets the error.
        self.socket().poll_read_ready(cx).map(|_| ())
    }

    /// Sends what waits for the end of the turn, now.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Tcp(socket) => socket.poll_send(cx),
            Transport::Tls(stream) => stream.get_ref().0.poll_send(cx),
        }
    }

    /// Its end needs no word of its own, as TLS has one.
    pub fn is_clear(&self) -> bool {
        matches!(self, Transport::Tcp(_))
    }

    /// Lets it end with a reset instead of in order.
    pub fn reset_when_dropped(&self) {
        // It fails only where the connection has ended already.
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Transport::Tcp(socket) => socket.stream(),
            Transport::Tls(stream) => stream.get_ref().0.stream(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Tcp(socket) => socket.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// A transport that counts what was written to it: what an engine was given tells nothing of what has left. What is
/// read from it can take a way of its own.
#[derive(Debug)]
pub struct Counted {
    inner: Transport,
    tap: Rc<Tap>,
}

/// What is known of a [`Counted`] transport while an engine has it.
#[derive(Debug)]
pub struct Tap {
    written: Cell<u64>,
    clear: bool,
    passage: RefCell<Option<Rc<Passage>>>,
}

impl Tap {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// It is in clear: what is read from it need not come to us.
    pub fn is_clear(&self) -> bool {
        self.clear
    }

    /// What is read goes through the passage from now on, until that is closed or taken away.
    pub fn through(&self, passage: Option<Rc<Passage>>) {
        *self.passage.borrow_mut() = passage;
    }
}

impl Counted {
    /// Counts from zero, together with whoever holds the tap.
    pub fn new(inner: Transport) -> (Self, Rc<Tap>) {
        let tap = Tap { written: Cell::new(0), clear: inner.is_clear(), passage: RefCell::default() };
        let tap = Rc::new(tap);
        (Counted { inner, tap: tap.clone() }, tap)
    }

    /// The transport again.
    pub fn into_inner(self) -> Transport {
        self.inner
    }

    fn note(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &poll {
            self.tap.written.set(self.tap.written.get() + *bytes as u64);
        }
        poll
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match (&*this.tap.passage.borrow(), &mut this.inner) {
            (Some(passage), Transport::Tcp(socket)) if passage.is_open() => {
                passage.poll_draw(cx, socket.stream(), buf)
            }
            (_, inner) => Pin::new(inner).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.note(poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
