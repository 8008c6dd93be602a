//! Asking a gateway's admin side: one request, one answer, five seconds, over TCP or its socket.
#![expect(
    clippy::disallowed_methods,
    reason = "one request in a process of its own: the runtime ends the task, Limited bounds the body"
)]

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
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
            ClientError::Refused { status: 401, .. } => "TIDEGATE_TOKEN carries the token".to_owned(),
            ClientError::Unreadable { .. } => "is this another program's address?".to_owned(),
            ClientError::Refused { .. } => return None,
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

    /// Asks for a path and reads the JSON answer.
    ///
    /// # Errors
    /// If nobody answers within the deadline, or with an error, or with something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.unreachable(error))?;
        let answer = runtime.block_on(async {
            match tokio::time::timeout(DEADLINE, self.ask(path)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
            }
        })?;
        serde_json::from_slice(&answer).map_err(|error| self.unreadable(error))
    }

    async fn ask(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        match &self.target {
            Target::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(|error| self.unreachable(error))?;
                self.exchange(stream, authority, path).await
            }
            Target::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| self.unreachable(error))?;
                self.exchange(stream, "localhost", path).await
            }
        }
    }

    async fn exchange<Io>(&self, stream: Io, host: &str, path: &str) -> Result<Vec<u8>, ClientError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut request = Request::builder().method(Method::GET).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::<&[u8]>::new()).map_err(|error| self.unreadable(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Ends with the runtime of this one request.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.unreadable(error))?.to_bytes();
        if status.is_success() {
            return Ok(body.into());
        }
        Err(ClientError::Refused { status: status.as_u16(), detail: detail(&body) })
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
    if written.starts_with(['/', '.']) {
        return Ok(Target::Socket(written.into()));
    }
    let uri: Uri = written.parse().map_err(|_| "it cannot be read")?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// and the socket are spoken");
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    Ok(Target::Tcp(format!("{host}:{}", uri.port_u16().unwrap_or(80))))
}

/// The sentence of a problem object, or the beginning of whatever came instead.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).map(str::to_owned);
    detail.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        text.chars().filter(|char| !char.is_control()).take(200).collect()
    })
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
        for bad in ["https://x", "127.0.0.1:9900", "", "http://", "not an address"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_gateways_words() {
        assert_eq!(detail(br#"{"detail": "A token is needed."}"#), "A token is needed.");
        assert_eq!(detail(b"<html>\x1b[31m"), "<html>[31m");
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
        assert!(matches!(&error, ClientError::Refused { status: 401, detail } if detail == "who"), "{error}");
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
