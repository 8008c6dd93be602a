//! One call of the gateway's own to the outside: one request on a connection of its own, one answer that is read
//! whole, up to a bound.
//!
//! For health checks and key sets, never for clients' requests: nothing is pooled, shared or retried here, and
//! nothing of it is behind traffic. The caller has the deadline; dropping the call closes the connection.

use crate::runtime::local::LocalExecutor;
use crate::upstream::BackendTls;
use crate::upstream::settings::Protocol;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of an answer's head at most.
const MAX_HEAD: usize = 16 * 1024;

/// Where and how to call.
#[derive(Clone, Debug)]
pub struct Line {
    /// The address.
    pub address: SocketAddr,
    /// TLS, if it is spoken there.
    pub tls: Option<BackendTls>,
    /// The protocol; `auto` is what TLS agrees on, else HTTP/1.1.
    pub protocol: Protocol,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Head and body.
    pub response: Response<Bytes>,
    /// What followed the body.
    pub trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No connection in any other way.
    #[error("no connection: {0}")]
    Unreachable(std::io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// The answer is larger than the bound.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Connects, without saying anything; for whoever only wants to know that somebody listens.
///
/// # Errors
/// Why there is no connection.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, CallError> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => CallError::Refused,
        _ => CallError::Unreachable(error),
    })
}

/// Sends `request` and reads its answer, at most `bound` bytes of it. On HTTP/2 the request needs an absolute URI.
///
/// # Errors
/// See [`CallError`].
pub async fn call(line: &Line, request: Request<Full<Bytes>>, bound: usize) -> Result<Answer, CallError> {
    ask_over(connect(line.address).await?, line, request, bound).await
}

/// TLS, where it is spoken there; for whoever only wants to know that it is.
///
/// # Errors
/// Why there is none.
pub async fn secure(socket: TcpStream, tls: &BackendTls) -> Result<TlsStream<TcpStream>, CallError> {
    let connector = TlsConnector::from(tls.config.clone());
    connector.connect(tls.server_name.clone(), socket).await.map_err(CallError::Unreachable)
}

/// The same as [`call`], on a connection that was made.
///
/// # Errors
/// See [`CallError`].
pub async fn ask_over(
    socket: TcpStream,
    line: &Line,
    request: Request<Full<Bytes>>,
    bound: usize,
) -> Result<Answer, CallError> {
    let _ = socket.set_nodelay(true);
    let Some(tls) = &line.tls else {
        return ask(socket, line.protocol == Protocol::Http2, request, bound).await;
    };
    let stream = secure(socket, tls).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    ask(stream, agreed && line.protocol != Protocol::Http1, request, bound).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    mut request: Request<Full<Bytes>>,
    bound: usize,
) -> Result<Answer, CallError> {
    address(&mut request, h2);
    let stream = TokioIo::new(stream);
    if h2 {
        let (mut sender, connection) =
            http2::Builder::new(LocalExecutor).handshake(stream).await.map_err(CallError::Broken)?;
        let exchange = async { read(sender.send_request(request).await, bound).await };
        beside(connection, exchange).await
    } else {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(stream)
            .await
            .map_err(CallError::Broken)?;
        let exchange = async { read(sender.send_request(request).await, bound).await };
        beside(connection, exchange).await
    }
}

/// Says where it goes as the protocol wants it: in the target on HTTP/2, in `Host` on HTTP/1.1.
fn address(request: &mut Request<Full<Bytes>>, h2: bool) {
    if h2 {
        request.headers_mut().remove(HOST);
    } else if let Some(authority) = request.uri().authority().cloned() {
        if let (false, Ok(host)) =
            (request.headers().contains_key(HOST), HeaderValue::from_str(authority.as_str()))
        {
            request.headers_mut().insert(HOST, host);
        }
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
}

/// Lets the engine work for as long as the exchange takes.
async fn beside<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, exchange)) => exchange.await,
    }
}

#[expect(clippy::disallowed_methods, reason = "it is wrapped in Limited")]
async fn read(sent: hyper::Result<Response<Incoming>>, bound: usize) -> Result<Answer, CallError> {
    let (parts, body) = sent.map_err(CallError::Broken)?.into_parts();
    let collected = Limited::new(body, bound).collect().await.map_err(|error| {
        match error.downcast::<hyper::Error>() {
            Ok(error) => CallError::Broken(*error),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>());
                CallError::TooLarge(bound)
            }
        }
    })?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer { response: Response::from_parts(parts, collected.to_bytes()), trailers })
}
