//! The main paths of a request, as what a client sends and how it comes; and the configuration that has them all.
//! Whoever counts, in process or at the real binary, takes them from here, so that a name means one thing.

#![allow(dead_code, reason = "each bench is a crate of its own and uses a part of this")]

use crate::frames::{self, Frames};
use crate::street::{Origin, Talk};
use std::net::SocketAddr;

/// What a usual client sends.
pub const GET: &str = "GET /orders/4711?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";

/// Connections that are parked together.
pub const CROWD: usize = 200;

/// One path.
pub struct Visit {
    /// Its name in all tables.
    pub name: &'static str,
    /// How its client comes.
    pub way: Way,
    /// What it sends, once for each request.
    pub request: Vec<u8>,
    /// What it is answered.
    pub status: u16,
}

/// How a client comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over one connection, one request after the other.
    Kept,
    /// Over a connection of its own for each request.
    New,
    /// Over one connection of HTTP/2, one stream after the other.
    Http2,
    /// Over [`CROWD`] connections that have been quiet for so long that they are parked; each asks once.
    Parked,
}

/// The main paths.
pub fn main_paths() -> Vec<Visit> {
    let visit = |name, way, request: &str, status| Visit { name, way, request: request.into(), status };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    let fields =
        [("user-agent", "bench/1.0"), ("accept", "application/json"), ("accept-encoding", "gzip, br")];
    let stream = frames::get("api.example.com", "/orders/4711?full=1", &fields);
    vec![
        visit("GET", Way::Kept, GET, 200),
        visit("POST 1 KiB", Way::Kept, &post(1 << 10), 200),
        visit("GET, 64 KiB answer", Way::Kept, &get("/orders/large"), 200),
        visit("refused: route_limit", Way::Kept, &get("/held"), 503),
        visit("no route", Way::Kept, &get("/nowhere"), 404),
        visit("respond", Way::Kept, &get("/hello"), 200),
        Visit { name: "h2c: GET", way: Way::Http2, request: stream, status: 200 },
        visit("new connection: GET", Way::New, GET, 200),
        visit("parked connection: GET", Way::Parked, GET, 200),
    ]
}

/// A POST with a body of this size.
pub fn post(bytes: usize) -> String {
    let body = "x".repeat(bytes);
    format!("POST /orders HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {bytes}\r\n\r\n{body}")
}

/// Takes the one place of the route that the path "refused: route_limit" asks for, as long as the value lives.
pub async fn hold(edge: SocketAddr, origin: &Origin) -> Talk {
    let mut talk = Talk::to(edge).await;
    talk.say(b"GET /held/ever HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    origin.held.notified().await;
    talk
}

/// The client of a path.
pub struct Visitor {
    edge: SocketAddr,
    visit: Visit,
    over: Over,
}

enum Over {
    Kept(Talk),
    New(Talk),
    Http2(Frames),
    /// Those who will ask, and then those who have.
    Crowd {
        waiting: Vec<Talk>,
        done: Vec<Talk>,
    },
}

impl Visitor {
    /// Connects; a crowd has asked once when this returns, and is parked some seconds later.
    pub async fn enter(edge: SocketAddr, visit: Visit) -> Visitor {
        let over = match visit.way {
            Way::Kept => Over::Kept(Talk::to(edge).await),
            Way::New => Over::New(Talk::to(edge).await),
            Way::Http2 => Over::Http2(Frames::to(edge).await),
            Way::Parked => {
                Over::Crowd { waiting: Vec::with_capacity(CROWD), done: Vec::with_capacity(CROWD) }
            }
        };
        let mut visitor = Visitor { edge, visit, over };
        if let Over::Crowd { waiting, .. } = &mut visitor.over {
            for _ in 0..CROWD {
                let mut talk = Talk::to(edge).await;
                assert_eq!(talk.ask(&visitor.visit.request).await, visitor.visit.status);
                waiting.push(talk);
            }
        }
        visitor
    }

    /// Asks so often. A crowd has at most [`CROWD`] requests in all.
    pub async fn ask(&mut self, times: usize) {
        for _ in 0..times {
            let Visit { request, status, name, .. } = &mut self.visit;
            let answered = match &mut self.over {
                Over::Kept(talk) => talk.ask(request).await,
                Over::New(talk) => {
                    talk.again(self.edge).await;
                    talk.ask(request).await
                }
                Over::Http2(frames) => frames.ask(request).await,
                // None of them leaves: what that costs is the new connection's.
                Over::Crowd { waiting, done } => {
                    let mut talk = waiting.pop().expect("each asks once");
                    let status = talk.ask(request).await;
                    done.push(talk);
                    status
                }
            };
            assert_eq!(answered, *status, "{name}");
        }
    }
}

/// All that is asked for is there; `log` is where the access log goes.
pub fn configuration(origin: SocketAddr, log: &str) -> String {
    format!(
        r#"
[access_log]
target = "{log}"

[[listeners]]
name = "edge"
address = "127.0.0.1:0"

[[upstreams]]
name = "orders"
backends = [{{ name = "a", address = "{origin}" }}]

[[upstreams]]
name = "gone"
backends = [{{ name = "a", address = "gone.invalid:80" }}]

[[routes]]
name = "orders"
path_prefix = "/orders"
upstream = "orders"

[[routes]]
name = "gone"
path_prefix = "/gone"
upstream = "gone"

[[routes]]
name = "held"
path_prefix = "/held"
upstream = "orders"
max_in_flight = 1
timeout = "1h"

[[routes]]
name = "hello"
path = "/hello"
respond = {{ status = 200, body = "hello" }}
"#
    )
}
