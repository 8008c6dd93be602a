//! One request over a connection that is kept for the next one of the same client.
//!
//! A kept connection that the gateway had closed meanwhile is no failure of the request: it goes over a new one, as
//! any client would do.

use super::{CLIENTS, World, value};
use crate::cli::drill::origins::MARK;
use crate::cli::drill::target::Target;
use crate::request::cohort::Fact;
use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// The largest answer that is read.
const MOST_BODY: usize = 1 << 20;
/// Idle connections of one client to one listener.
const MOST_KEPT: usize = 4;

type Sender = SendRequest<Empty<Bytes>>;

/// What came of a request.
pub(super) enum Got {
    /// An answer, and what the gateway gave as the reason if it was its own.
    Answer { status: u16, reason: Option<String> },
    /// No connection, or no whole answer.
    Broken,
}

/// The connections of all clients.
pub(super) struct Connections {
    world: World,
    kept: RefCell<HashMap<(u32, SocketAddr), Vec<Sender>>>,
}

impl Connections {
    /// None yet.
    pub fn new(world: World) -> Connections {
        Connections { world, kept: RefCell::default() }
    }

    /// Asks once, as the client `name` from its source.
    pub async fn ask(&self, source: u32, name: &str, target: &Target) -> Got {
        let Some(address) = self.world.listeners.get(&target.listener).copied() else { return Got::Broken };
        let key = (source % CLIENTS, address);
        loop {
            let kept = self.kept.borrow_mut().get_mut(&key).and_then(Vec::pop);
            let reused = kept.is_some();
            let sender = match kept {
                Some(sender) => Some(sender),
                None => connect(source, address).await,
            };
            let Some(mut sender) = sender else { return Got::Broken };
            let Some(request) = self.request(source, name, target) else { return Got::Broken };
            match exchange(&mut sender, request).await {
                Some(got) => {
                    let mut kept = self.kept.borrow_mut();
                    let kept = kept.entry(key).or_default();
                    if !sender.is_closed() && kept.len() < MOST_KEPT {
                        kept.push(sender);
                    }
                    return got;
                }
                None if reused => {}
                None => return Got::Broken,
            }
        }
    }

    fn request(&self, source: u32, name: &str, target: &Target) -> Option<Request<Empty<Bytes>>> {
        let mut request = Request::builder()
            .method(target.method.clone())
            .uri(&target.path)
            .header(HOST, &target.host)
            .header(MARK, source)
            .body(Empty::new())
            .ok()?;
        let headers = request.headers_mut();
        headers.extend(target.headers.clone());
        match &self.world.fact {
            Fact::Address => {}
            Fact::Header(header) => drop(headers.insert(header, value(&format!("client-{source}")))),
            Fact::Cookie(cookie) => drop(headers.insert(COOKIE, value(&format!("{cookie}=client-{source}")))),
        }
        if let Some((auth, shown_in)) =
            target.auth.and_then(|auth| Some((auth, self.world.shown_in.get(auth)?)))
        {
            let key = self.world.keys.get(auth).cloned().flatten();
            let token = key.unwrap_or_else(|| self.world.mint.token(name));
            match shown_in.as_str() {
                "authorization" => headers.insert(shown_in, value(&format!("Bearer {token}"))),
                "cookie" => {
                    let before =
                        headers.get(COOKIE).and_then(|it| it.to_str().ok()).map(|it| format!("{it}; "));
                    headers.insert(COOKIE, value(&format!("{}session={token}", before.unwrap_or_default())))
                }
                _ => headers.insert(shown_in, value(&token)),
            };
        }
        Some(request)
    }
}

/// A connection from the source's own address, or from anywhere where the system does not have that.
async fn connect(source: u32, address: SocketAddr) -> Option<Sender> {
    let stream = match from(source, address).await {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.ok()?,
    };
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Ends with the connection, or with the runtime of the clients.
    tokio::task::spawn_local(connection);
    Some(sender)
}

async fn from(source: u32, address: SocketAddr) -> Option<TcpStream> {
    let [.., third, fourth] = source.to_be_bytes();
    let home = Ipv4Addr::new(127, 78, third, fourth.checked_add(1)?);
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((home, 0).into()).ok()?;
    socket.connect(address).await.ok()
}

/// Nothing if the connection was over before anything of an answer came.
async fn exchange(sender: &mut Sender, request: Request<Empty<Bytes>>) -> Option<Got> {
    sender.ready().await.ok()?;
    let response: Response<Incoming> = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let reason =
        response.headers().get("x-tidegate-reason").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let mut body = Limited::new(response.into_body(), MOST_BODY);
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Some(Got::Broken);
        }
    }
    Some(Got::Answer { status, reason })
}
