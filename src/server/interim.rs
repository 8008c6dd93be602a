//! Interim answers of a backend (1xx): `100 Continue` lets the held body go, others are passed on to HTTP/1.1
//! clients ahead of the final answer (RFC 9110, 15.2; RFC 8297).

use crate::filters::hop_by_hop;
use crate::server::client::{Client, Interim};
use crate::upstream::request_body::RequestBody;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// Bytes of interim answers that may wait for a client; more are dropped, they are hints.
const MOST: usize = 16 * 1024;

/// Listens for one request's interim answers.
pub struct Listening {
    go: Option<Arc<AtomicBool>>,
    queue: Option<Interim>,
}

/// The client waits for leave to send its body.
pub fn expected(parts: &Parts) -> bool {
    parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Holds the body back if the client waits for permission to send it.
pub fn listen(client: &Client, parts: &mut Parts, body: &mut RequestBody) -> Listening {
    let go = (!body.is_empty() && expected(parts)).then(|| Arc::new(AtomicBool::new(false)));
    if let Some(go) = &go {
        body.hold(go.clone());
    }
    Listening { go, queue: (parts.version == Version::HTTP_11).then(|| client.interim.clone()) }
}

impl Listening {
    /// Tells the engine to call us.
    pub fn attach(self, request: &mut Request<RequestBody>) {
        if self.go.is_none() && self.queue.is_none() {
            return;
        }
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                if let Some(go) = &self.go {
                    go.store(true, Ordering::Relaxed);
                }
            } else if let Some(queue) = &self.queue {
                pass_on(queue, interim.status(), interim.headers());
            }
        });
    }
}

fn pass_on(queue: &Interim, status: StatusCode, headers: &HeaderMap) {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    if queue.len() > MOST || status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let mut passing = headers.clone();
    hop_by_hop::response(&mut passing, None);
    passing.remove(CONTENT_LENGTH);
    write_head(&mut queue, status, &passing);
}

/// An answer of our own as bytes, for when the engine is out of the game.
pub fn head(answer: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    write_head(&mut bytes, answer.status(), answer.headers());
    let end = bytes.len() - 2;
    bytes.truncate(end);
    // Writing to a vector cannot fail.
    let _ = write!(bytes, "content-length: {}\r\n\r\n", answer.body().len());
    bytes.extend_from_slice(answer.body());
    bytes
}

fn write_head(bytes: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    let _ = write!(bytes, "HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        let _ = write!(bytes, "{name}: ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
}
