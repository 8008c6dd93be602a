//! What is left of an exchange after `101 Switching Protocols`: bytes both ways, for as long as one of them
//! moves.

use crate::runtime::descriptors::DescriptorPermit;
use crate::upstream::transport::Transport;
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Copy buffer of each direction. Small, because tunnels are many and mostly quiet.
const BUFFER: usize = 8 * 1024;

/// The backend's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// Its bytes.
    pub transport: Transport,
    /// What it said right behind its 101.
    pub early: Bytes,
    /// Its descriptor, dropped after the socket.
    pub descriptor: DescriptorPermit,
    /// The tunnel ends when nothing moved for this long.
    pub idle: Duration,
}

/// What a tunnel carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

impl Tunnel {
    /// Carries bytes until both sides have closed, one breaks, or nothing moves.
    pub async fn carry<T>(self, mut client: T) -> Carried
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (came, went) = (Meter::new(), Meter::new());
        let greeted = async {
            client.write_all(&self.early).await?;
            client.flush().await
        };
        if tokio::time::timeout(self.idle, greeted).await.is_ok_and(|result: io::Result<()>| result.is_ok()) {
            went.count(self.early.len());
            let mut client = Metered { inner: client, meter: came.clone() };
            let mut backend = Metered { inner: self.transport, meter: went.clone() };
            let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER);
            tokio::select! {
                _ = copy => {}
                () = quiet(&came, &went, self.idle) => {}
            }
        }
        Carried { bytes_in: came.bytes.get(), bytes_out: went.bytes.get() }
    }
}

/// Returns when neither meter has moved for `idle`. Wakes once an idle time, not once a byte.
async fn quiet(came: &Meter, went: &Meter, idle: Duration) {
    loop {
        let last = came.last.get().max(went.last.get());
        let left = idle.saturating_sub(last.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// Bytes read in one direction, and when the last came.
#[derive(Debug)]
struct Meter {
    bytes: Cell<u64>,
    last: Cell<Instant>,
}

impl Meter {
    fn new() -> Rc<Self> {
        Rc::new(Meter { bytes: Cell::new(0), last: Cell::new(Instant::now()) })
    }

    fn count(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.last.set(Instant::now());
    }
}

struct Metered<T> {
    inner: T,
    meter: Rc<Meter>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.meter.count(buf.filled().len() - before);
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
