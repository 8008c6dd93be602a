//! A new connection to a backend: dial, TLS, and the engine's handshake. The caller has the deadline and the
//! permit.

use crate::reject::{Reason, Reject};
use crate::runtime::descriptors::DescriptorPermit;
use crate::runtime::local::LocalExecutor;
use crate::upstream::Endpoint;
use crate::upstream::connection::H1;
use crate::upstream::outbox::{Outbox, Socket};
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::Protocol;
use crate::upstream::transport::{Counted, Transport, keep_little_unsent};
use crate::upstream::vitals::{Dial, Established};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::borrow::Cow;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

/// Bytes of an answer's head at most, and of what is read ahead of the client. Header lines are bounded by the
/// engine's own 100, which it parses without allocating.
const MAX_BUFFER: usize = 64 * 1024;
/// HTTP/2 receive windows. The connection's must be at least 1 MiB: the engine's budget for small frames
/// grows with it, and below that it kills real gRPC connections.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What was established.
pub(super) enum Dialled {
    H1(Box<H1>),
    /// And how many streams the backend takes, which follows what it says.
    H2(http2::SendRequest<RequestBody>, Rc<Cell<u32>>),
}

/// Why there is no connection.
pub(super) struct Undialled {
    /// For the client.
    pub(super) reject: Reject,
    /// For the backend's vitals; nothing if it says nothing of them.
    pub(super) how: Option<Dial>,
}

/// Connects to the backend.
///
/// # Errors
/// `no_backend` when its name has no address, `process_limit` when no descriptor is left, else `connect_failed`; in both cases nothing was sent.
pub(super) async fn dial(endpoint: &Endpoint, outbox: &Rc<Outbox>) -> Result<Dialled, Undialled> {
    let failed = |what: &str| {
        let detail = format!("{what} for a connection to the backend");
        let reject = Reject::new(Reason::ConnectFailed, Cow::Owned(detail));
        Undialled { reject, how: None }
    };
    let turn = endpoint.turn.fetch_add(1, Relaxed) as usize;
    let Some(address) = endpoint.socket_address(turn) else {
        let reject = Reject::new(Reason::NoBackend, "the backend's name has not resolved to an address");
        return Err(Undialled { reject, how: None });
    };
    // Ours, and not the backend's: it must not be left out for it.
    let descriptor = endpoint.descriptors.try_dial().ok_or_else(|| {
        let detail = "no file descriptor is left for a connection to the backend";
        Undialled { reject: Reject::new(Reason::ProcessLimit, detail), how: None }
    })?;
    let socket = TcpStream::connect(address).await.map_err(|error| {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        Undialled { how: refused.then_some(Dial::Refused), ..failed(&error.kind().to_string()) }
    })?;
    let _ = socket.set_nodelay(true);
    keep_little_unsent(&socket);
    let (transport, h2) =
        secure(endpoint, socket, outbox).await.map_err(|error| failed(&error.to_string()))?;
    let established = Established::new(&endpoint.vitals);
    let dialled = if h2 {
        handshake_h2(transport, descriptor, established).await
    } else {
        handshake_h1(transport, descriptor, established).await
    };
    dialled.map_err(|error| failed(&error.to_string()))
}

async fn secure(
    endpoint: &Endpoint,
    socket: TcpStream,
    outbox: &Rc<Outbox>,
) -> io::Result<(Transport, bool)> {
    let socket = Socket::new(socket, outbox);
    let Some(tls) = &endpoint.tls else {
        return Ok((Transport::Tcp(socket), endpoint.protocol == Protocol::Http2));
    };
    let stream = TlsConnector::from(tls.config.clone()).connect(tls.server_name.clone(), socket).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let h2 = match endpoint.protocol {
        Protocol::Http1 => false,
        Protocol::Http2 if !agreed => return Err(std::io::Error::other("no agreement on HTTP/2")),
        Protocol::Http2 => true,
        Protocol::Auto => agreed,
    };
    Ok((Transport::Tls(Box::new(TlsStream::Client(stream))), h2))
}

async fn handshake_h1(
    transport: Transport,
    descriptor: DescriptorPermit,
    established: Established,
) -> hyper::Result<Dialled> {
    let (transport, tap) = Counted::new(transport);
    let (sender, connection) =
        http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(transport)).await?;
    Ok(Dialled::H1(Box::new(H1::new(sender, connection, tap, (descriptor, established)))))
}

async fn handshake_h2(
    transport: Transport,
    descriptor: DescriptorPermit,
    established: Established,
) -> hyper::Result<Dialled> {
    let (sender, mut connection) = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 * 1024)
        // Until the backend has said how many streams it takes, one must do, or it refuses the others.
        .initial_max_send_streams(1)
        .handshake(TokioIo::new(transport))
        .await?;
    let streams = Rc::new(Cell::new(1));
    let told = streams.clone();
    tokio::task::spawn_local(async move {
        poll_fn(|cx| {
            let poll = Pin::new(&mut connection).poll(cx);
            told.set(u32::try_from(connection.current_max_send_streams()).unwrap_or(u32::MAX));
            // Its end is seen by the senders, which report `is_closed`.
            poll.map(|_| ())
        })
        .await;
        drop((connection, descriptor, established));
    });
    Ok(Dialled::H2(sender, streams))
}
