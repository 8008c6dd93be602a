//! Asking a gateway's admin side: one request, one answer, five seconds, over TCP or its socket; or a stream
//! of events (`stream`).
#![expect(
    clippy::disallowed_methods,
    reason = "one request in a process of its own: the runtime ends the task, Limited bounds the body"
)]

mod stream;
pub mod text;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// For the dial, the request and the whole answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// The largest answer.
const MAX_ANSWER: usize = 64 << 20;

/// Where a gateway's admin side is, and the token for it.
#[derive(Debug)]
pub struct Client {
    /// As the person wrote it, for messages.
    written: String,
    target: Target,
    token: Option<HeaderValue>,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// `host:port`.
    Tcp(String),
    Socket(PathBuf),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was given is no address or token.
    #[error("{written:?} is not the address of an admin side: {why}")]
    Address {
        /// As the person wrote it.
        written: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answered.
    #[error("the gateway at {written} cannot be reached: {why}")]
    Unreachable {
        /// As the person wrote it.
        written: String,
        /// What the system says.
        why: String,
    },
    /// It answered with an error.
    #[error("the gateway refused ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its sentence.
        detail: String,
        /// What it says to do, if it does.
        hint: Option<String>,
    },
    /// It answered with something else than expected.
    #[error("the answer of {written} cannot be read: {why}")]
    Unreadable {
        /// As the person wrote it.
        written: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ClientError::Address { .. } => {
                "--admin or TIDEGATE_ADMIN takes http://HOST:PORT or the path of admin.sock".to_owned()
            }
            ClientError::Unreachable { .. } => {
                "is it running? `--admin` or TIDEGATE_ADMIN says where its admin side is".to_owned()
            }
            ClientError::Refused { status: 401, .. } => {
                "TIDEGATE_TOKEN carries the token; its hash is in `[admin] tokens`".to_owned()
            }
            ClientError::Unreadable { .. } => "is this another program's address?".to_owned(),
            ClientError::Refused { hint, .. } => return hint.clone(),
        })
    }
}

impl Client {
    /// For `http://host:port`, `unix:PATH` or a path.
    ///
    /// # Errors
    /// If it is neither, or the token cannot stand in a header.
    pub fn new(written: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let bad = |why| ClientError::Address { written: written.to_owned(), why };
        let target = target(written).map_err(bad)?;
        let token = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| bad("the token holds characters that no header can carry"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Client { written: written.to_owned(), target, token: token.transpose()? })
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    /// If nobody answers within the deadline, or with an error, or with something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None)
    }

    /// Asks for anything, with a body or without.
    ///
    /// # Errors
    /// Like [`Client::get`]. When a change was asked for and there was no answer, it may have been made.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let answer = self.bytes(method, path, body)?;
        serde_json::from_slice(&answer).map_err(|error| self.unreadable(error))
    }

    /// Reads what is at a path, as it is.
    ///
    /// # Errors
    /// Like [`Client::get`], or if it is no text.
    pub fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.bytes(Method::GET, path, None)?;
        String::from_utf8(answer.into()).map_err(|error| self.unreadable(error))
    }

    fn bytes(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, ClientError> {
        self.on_runtime(async {
            let exchange = async {
                let answer = self.send(self.request(method, path, body)?).await?;
                self.whole(answer).await
            };
            match tokio::time::timeout(DEADLINE, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
            }
        })
    }

    fn on_runtime<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.unreachable(error))?.block_on(work)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let host = match &self.target {
            Target::Tcp(authority) => authority,
            Target::Socket(_) => "localhost",
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        request.body(Full::from(body)).map_err(|error| self.unreadable(error))
    }

    /// Sends a request on a connection of its own; answers with the head.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        match &self.target {
            Target::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|error| self.unreachable(error))?;
                self.exchange(stream, request).await
            }
            Target::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| self.unreachable(error))?;
                self.exchange(stream, request).await
            }
        }
    }

    async fn exchange<Io>(
        &self,
        stream: Io,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Ends with the runtime of this one request.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.unreachable(error))
    }

    /// The body of an answer, or what it says if it is a refusal.
    async fn whole(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.unreadable(error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let (detail, hint) = sentences(&body);
        Err(ClientError::Refused { status: status.as_u16(), detail, hint })
    }

    /// Reads what was answered as what it should be.
    ///
    /// # Errors
    /// If it is something else.
    pub fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, ClientError> {
        serde_json::from_value(answer).map_err(|error| self.unreadable(error))
    }

    fn unreachable(&self, why: impl ToString) -> ClientError {
        ClientError::Unreachable { written: self.written.clone(), why: why.to_string() }
    }

    fn unreadable(&self, why: impl ToString) -> ClientError {
        ClientError::Unreadable { written: self.written.clone(), why: why.to_string() }
    }
}

fn target(written: &str) -> Result<Target, &'static str> {
    if let Some(path) = written.strip_prefix("unix:") {
        return Ok(Target::Socket(path.strip_prefix("//").unwrap_or(path).into()));
    }
    if written.starts_with(['/', '.']) || (written.ends_with(".sock") && !written.contains("://")) {
        return Ok(Target::Socket(written.into()));
    }
    let uri: Uri = written.parse().map_err(|_| "it cannot be read")?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// and the socket are spoken");
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    Ok(Target::Tcp(format!("{host}:{}", uri.port_u16().unwrap_or(80))))
}

/// The sentence of a problem object and what it says to do, or the beginning of whatever came instead.
fn sentences(body: &[u8]) -> (String, Option<String>) {
    let plain = |text: &str| text.chars().filter(|char| !char.is_control()).collect::<String>();
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
        Some(detail) => match detail.split_once(" hint: ") {
            Some((detail, hint)) => (plain(detail), Some(plain(hint))),
            None => (plain(detail), None),
        },
        None => (plain(&String::from_utf8_lossy(body)).chars().take(200).collect(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_or_sockets() {
        assert_eq!(target("http://127.0.0.1:9900"), Ok(Target::Tcp("127.0.0.1:9900".into())));
        assert_eq!(target("http://[::1]:9900/"), Ok(Target::Tcp("[::1]:9900".into())));
        assert_eq!(target("/var/lib/x/admin.sock"), Ok(Target::Socket("/var/lib/x/admin.sock".into())));
        assert_eq!(target("unix:///x/admin.sock"), Ok(Target::Socket("/x/admin.sock".into())));
        assert_eq!(target("state/admin.sock"), Ok(Target::Socket("state/admin.sock".into())));
        for bad in ["https://x", "127.0.0.1:9900", "", "http://", "not an address"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_gateways_words() {
        assert_eq!(sentences(br#"{"detail": "A token is needed."}"#), ("A token is needed.".into(), None));
        let both = sentences(br#"{"detail": "No such upstream. hint: orders, users"}"#);
        assert_eq!(both, ("No such upstream.".into(), Some("orders, users".into())));
        assert_eq!(sentences(b"<html>\x1b[31m"), ("<html>[31m".into(), None));
    }

    #[test]
    fn a_gateway_that_refuses_is_told_from_one_that_is_not_there() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("has an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut head = [0; 1024];
            let read = stream.read(&mut head).expect("reads");
            let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 17\r\n\r\n{\"detail\": \"who\"}";
            stream.write_all(answer.as_bytes()).expect("writes");
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let client = Client::new(&format!("http://{address}"), Some("secret")).expect("an address");
        let error = client.get::<serde_json::Value>("/v1/status").expect_err("refused");
        assert!(
            matches!(&error, ClientError::Refused { status: 401, detail, .. } if detail == "who"),
            "{error}"
        );
        let head = server.join().expect("answers");
        assert!(head.contains("authorization: Bearer secret"), "{head}");
    }

    #[test]
    fn the_socket_is_admin_without_a_token() {
        use crate::admin::settings::{Role, Settings, Token};
        use crate::admin::{AdminState, ViewSource, serve, socket};
        use crate::control::view::GatewayView;
        use crate::telemetry::metrics::Metrics;
        use std::sync::Arc;

        let dir = tempfile::tempdir().expect("a directory");
        let hash = blake3::hash(b"secret").to_hex().to_string();
        let settings = Settings {
            address: ([127, 0, 0, 1], 0).into(),
            state_dir: dir.path().into(),
            socket: true,
            tokens: vec![Token { name: "ops".into(), role: Role::Viewer, hash }],
            metrics_token: None,
        };
        let view: ViewSource = Arc::new(|| GatewayView { in_flight: 7, ..Default::default() });
        let state = AdminState::new(Arc::new(Metrics::new(1)), view, &settings).expect("builds");
        let (ready, bound) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let state_dir = dir.path().to_owned();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = socket::bind(&state_dir).expect("binds");
                ready.send(()).expect("the test waits");
                serve(listener, state, async { drop(stopped.await) }).await;
            });
        });
        bound.recv().expect("binds");

        let path = dir.path().join(socket::SOCKET_NAME);
        let client = Client::new(path.to_str().expect("text"), None).expect("a path");
        assert_eq!(client.get::<GatewayView>("/v1/status").expect("answers").in_flight, 7);
        let missing = client.get::<serde_json::Value>("/v1/upstreams/x").expect_err("no such upstream");
        assert!(matches!(missing, ClientError::Refused { status: 404, .. }), "{missing}");
        drop(stop);
        server.join().expect("ends when told");
    }
}
