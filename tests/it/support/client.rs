//! An HTTP/2 client on hyper, for streams, trailers and gRPC. HTTP/1.1 is spoken through `raw`, which hides
//! nothing.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Body>,
    scheme: &'static str,
    /// Whether it ended in order, once it has.
    end: watch::Receiver<Option<bool>>,
}

/// An answer with all of its body.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Http2 {
    /// Cleartext, with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Http2 {
        let socket = TcpStream::connect(address).await.expect("the gateway accepts");
        Http2::on(socket).await
    }

    /// Cleartext, on a connection that is there.
    pub async fn on(socket: TcpStream) -> Http2 {
        Http2::over(socket, "http").await
    }

    /// Over TLS, where the server must choose h2.
    pub async fn connect_tls(address: SocketAddr, name: &str, config: Arc<rustls::ClientConfig>) -> Http2 {
        let socket = TcpStream::connect(address).await.expect("the gateway accepts");
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a server name");
        let stream =
            tokio_rustls::TlsConnector::from(config).connect(name, socket).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server chose h2");
        Http2::over(stream, "https").await
    }

    /// Cleartext, with a window of so many bytes for each answer that is not read.
    pub async fn narrow(address: SocketAddr, window: u32) -> Http2 {
        let socket = TcpStream::connect(address).await.expect("the gateway accepts");
        let mut builder = Builder::new(TokioExecutor::new());
        Http2::with(builder.initial_stream_window_size(window), socket, "http").await
    }

    async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T, scheme: &'static str) -> Http2 {
        Http2::with(&Builder::new(TokioExecutor::new()), io, scheme).await
    }

    async fn with<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        builder: &Builder<TokioExecutor>,
        io: T,
        scheme: &'static str,
    ) -> Http2 {
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.expect("a connection");
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let in_order = connection.await.is_ok();
            let _ = ended.send(Some(in_order));
        });
        Http2 { sender, scheme, end }
    }

    /// Waits until it may send; an error when the gateway said goodbye.
    pub async fn ready(&mut self) -> hyper::Result<()> {
        self.sender.ready().await
    }

    /// Waits until the connection is over, and says whether it ended in order.
    pub async fn ended(mut self) -> bool {
        self.end.wait_for(Option::is_some).await.is_ok_and(|end| *end == Some(true))
    }

    /// A request builder for `path` at `edge.test`.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}://edge.test{path}", self.scheme))
    }

    /// Sends a request and reads its whole answer.
    pub async fn send(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> hyper::Result<Whole> {
        let request = request.body(Full::new(body.into()).boxed_unsync()).expect("a valid request");
        self.sender.ready().await?;
        whole(self.sender.send_request(request).await?).await
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> hyper::Result<Whole> {
        let request = self.request("GET", path);
        self.send(request, Bytes::new()).await
    }

    /// Sends a request without a body and reads the head of its answer.
    pub async fn begin(&mut self, request: http::request::Builder) -> hyper::Result<Response<Incoming>> {
        let request = request.body(Full::new(Bytes::new()).boxed_unsync()).expect("a valid request");
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends a head and keeps the request's body open.
    pub async fn open(&mut self, request: http::request::Builder) -> hyper::Result<Call> {
        let (messages, mut queue) = mpsc::channel::<Frame<Bytes>>(8);
        let frames =
            stream::poll_fn(move |cx| queue.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>)));
        let request = request.body(StreamBody::new(frames).boxed_unsync()).expect("a valid request");
        self.sender.ready().await?;
        Ok(Call { messages, response: self.sender.send_request(request).await? })
    }

    /// A gRPC call with one message.
    pub async fn grpc(&mut self, path: &str, message: &[u8]) -> hyper::Result<Whole> {
        let request = self.grpc_request(path);
        self.send(request, grpc_message(message)).await
    }

    /// The head of a gRPC call.
    pub fn grpc_request(&self, path: &str) -> http::request::Builder {
        self.request("POST", path).header("content-type", "application/grpc").header("te", "trailers")
    }
}

/// A call whose request is still open.
pub struct Call {
    messages: mpsc::Sender<Frame<Bytes>>,
    pub response: Response<Incoming>,
}

impl Call {
    /// Sends one gRPC message and returns the bytes that come back next.
    pub async fn exchange(&mut self, message: &[u8]) -> Bytes {
        self.messages.send(Frame::data(grpc_message(message))).await.expect("the call is open");
        let frame = self.response.frame().await.expect("the call is open").expect("a message");
        frame.into_data().expect("data")
    }

    /// Ends the request and returns the trailers.
    pub async fn finish(self) -> HeaderMap {
        drop(self.messages);
        let rest = self.response.into_body().collect().await.expect("an orderly end");
        rest.trailers().cloned().unwrap_or_default()
    }
}

impl Whole {
    /// A header as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The gRPC status, from the trailers or (where there is no message) the headers.
    pub fn grpc_status(&self) -> Option<&str> {
        self.trailers
            .get("grpc-status")
            .or(self.headers.get("grpc-status"))
            .and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("JSON ({e}) in {self:?}"))
    }
}

async fn whole(response: Response<Incoming>) -> hyper::Result<Whole> {
    let (parts, body) = response.into_parts();
    let all = body.collect().await?;
    let trailers = all.trailers().cloned().unwrap_or_default();
    Ok(Whole { status: parts.status.as_u16(), headers: parts.headers, body: all.to_bytes(), trailers })
}

/// A message with gRPC's five-byte prefix, uncompressed.
pub fn grpc_message(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}
