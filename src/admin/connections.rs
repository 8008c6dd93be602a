//! The admin side's connections: accepted, bounded, and never held by a slow peer.
//!
//! At most `MAX_CONNECTIONS` a listener: a newcomer ends the oldest, for a request takes milliseconds and
//! what is old is idle or hung. Only streams (events, snapshots) are long on purpose: they are spared, which leaves
//! the other connections to everybody else, because there are fewer streams than connections. Heads, writes that
//! make no progress, peers that are gone, and a connection's age have deadlines. Accept errors pause; they
//! never end the loop.

use super::access::Peer;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};
use tower::ServiceExt;

/// Connections on one listener.
pub const MAX_CONNECTIONS: usize = 96;

/// From an accept or the end of an answer to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A write that makes no progress for this long ends the connection.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After this a connection ends with its current answer, and at the latest `STALL_TIMEOUT` later.
const MAX_AGE: Duration = Duration::from_secs(120);

/// A peer that acknowledges nothing for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(20);

/// What the system may hold of an answer that its reader does not take, in bytes.
const SEND_BUFFER: usize = 256 * 1024;

/// Between accepts that fail.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where operators come in.
#[derive(Debug)]
pub enum AdminListener {
    /// `[admin] address`.
    Tcp(TcpListener),
    /// `state_dir/admin.sock`.
    Socket(UnixListener),
}

impl From<TcpListener> for AdminListener {
    fn from(listener: TcpListener) -> Self {
        AdminListener::Tcp(listener)
    }
}

impl From<UnixListener> for AdminListener {
    fn from(listener: UnixListener) -> Self {
        AdminListener::Socket(listener)
    }
}

enum Stream {
    Tcp(TcpStream),
    Socket(UnixStream),
}

impl AdminListener {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            AdminListener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                tune(&stream);
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            AdminListener::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Stream::Socket(stream), Peer::Socket(user)))
            }
        }
    }
}

/// What fails here fails for a peer that has left already; the connection will find out.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_send_buffer_size(SEND_BUFFER);
    let gone_after_ms = GONE_AFTER.as_millis() as u32;
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, gone_after_ms);
}

/// Whether a connection carries a stream now; an extension of its requests.
#[derive(Clone, Debug, Default)]
pub struct Streaming(Arc<AtomicBool>);

impl Streaming {
    /// From now on until the guard goes.
    pub fn begin(self) -> StreamingGuard {
        self.0.store(true, Relaxed);
        StreamingGuard(self)
    }

    fn is_on(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A stream is being sent.
#[derive(Debug)]
pub struct StreamingGuard(Streaming);

impl Drop for StreamingGuard {
    fn drop(&mut self) {
        self.0.0.store(false, Relaxed);
    }
}

/// The connections of a listener, the oldest first.
#[derive(Default)]
struct Open(VecDeque<(AbortHandle, Streaming)>);

impl Open {
    /// Ends one if there are as many as there may be.
    fn make_room(&mut self) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            self.end_one();
        }
    }

    /// Ends the oldest that is no stream, or else the oldest.
    fn end_one(&mut self) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        let place = self.0.iter().position(|(_, streaming)| !streaming.is_on()).unwrap_or(0);
        if let Some((oldest, _)) = self.0.remove(place) {
            oldest.abort();
        }
    }
}

/// Accepts until `shutdown`, then ends every connection. Requests carry their `Peer` and `Streaming` as
/// extensions.
pub async fn serve(listener: AdminListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let mut open = Open::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "the admin side could not accept; pausing");
                // If descriptors have run out, this frees one.
                open.end_one();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.make_room();
        let (router, streaming) = (router.clone(), Streaming::default());
        let visit = Visit { peer, streaming: streaming.clone(), max_age: MAX_AGE, patience: STALL_TIMEOUT };
        let connection = match stream {
            Stream::Tcp(stream) => connections.spawn(connection(stream, visit, router)),
            Stream::Socket(stream) => connections.spawn(connection(stream, visit, router)),
        };
        open.0.push_back((connection, streaming));
    }
}

/// The peer left between its connect and our accept: nothing is wrong on our side.
pub(super) fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// What is known of a connection.
struct Visit {
    peer: Peer,
    streaming: Streaming,
    /// After this it ends with its current answer.
    max_age: Duration,
    /// How long a write may make no progress, and the current answer take after that age.
    patience: Duration,
}

async fn connection<Io>(stream: Io, visit: Visit, router: Router)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let Visit { peer, streaming, max_age, patience } = visit;
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(streaming.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Patient::new(stream, patience)), service);
    let mut connection = pin!(connection);
    // How a connection of an operator's tool ends is of no interest.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(max_age) => connection.as_mut().graceful_shutdown(),
    }
    // A stream has an age of its own; with it ends what was told to.
    while tokio::time::timeout(patience, connection.as_mut()).await.is_err() && streaming.is_on() {}
}

/// A stream whose writes fail when they make no progress for too long.
pub(super) struct Patient<Io> {
    io: Io,
    patience: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<Io> Patient<Io> {
    /// Around `io`; a write without progress for `patience` fails.
    pub(super) fn new(io: Io, patience: Duration) -> Self {
        Patient { io, patience, stalled: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Patient<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Patient<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
