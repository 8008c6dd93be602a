//! An operator's tools on raw connections: one request with any headers, and a reader of the stream of
//! events.

use serde_json::Value;
use std::net::SocketAddr;

use super::raw::{Answer, End, Raw};

/// One request to the admin side on a connection of its own; `headers` are whole lines.
pub fn ask(admin: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    Raw::connect(admin).ask(request(admin, method, path, headers, body))
}

/// A mutation in JSON.
pub fn change(admin: SocketAddr, method: &str, path: &str, body: &Value) -> Answer {
    ask(admin, method, path, &["Content-Type: application/json"], &body.to_string())
}

fn request(admin: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        head += &format!("Host: {admin}\r\n");
    }
    for line in headers {
        head += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head + "Connection: close\r\n\r\n" + body
}

/// An open stream of events.
pub struct Listener {
    raw: Raw,
    unread: String,
}

impl Listener {
    /// Opens one; `query` begins with `?` or is empty. The answer if it is none.
    pub fn open(admin: SocketAddr, query: &str, headers: &[&str]) -> Result<Listener, Answer> {
        Listener::at(admin, &format!("/v1/events{query}"), headers)
    }

    /// The same for any stream.
    pub fn at(admin: SocketAddr, path: &str, headers: &[&str]) -> Result<Listener, Answer> {
        let mut raw = Raw::connect(admin);
        raw.send(request(admin, "GET", path, headers, ""));
        let head = raw.head().expect("a head");
        if head.status != 200 {
            return Err(raw.body_of(head, false).expect("its body"));
        }
        assert_eq!(head.get("content-type"), Some("text/event-stream"));
        let mut listener = Listener { raw, unread: String::new() };
        assert!(listener.block().expect("a greeting").contains("retry:"), "it says how to come again");
        Ok(listener)
    }

    /// The next event, or how the stream ended instead.
    pub fn next(&mut self) -> Result<Value, End> {
        loop {
            let block = self.block()?;
            let data = block.lines().find_map(|line| line.strip_prefix("data: "));
            let Some(event) = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON")) else {
                continue;
            };
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            assert_eq!(field("id: "), Some(&*event["id"].to_string()), "{block}");
            assert_eq!(field("event: "), event["kind"].as_str(), "{block}");
            return Ok(event);
        }
    }

    /// The next event that `wanted` accepts.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().unwrap_or_else(|end| panic!("{what}, but the stream is {end:?}"));
            if wanted(&event) {
                return event;
            }
        }
    }

    /// The next snapshot of a stream of those, or how the stream ended instead.
    pub fn snapshot(&mut self) -> Result<Value, End> {
        loop {
            let block = self.block()?;
            if let Some(snapshot) = block.strip_prefix("event: snapshot\ndata: ") {
                return Ok(serde_json::from_str(snapshot).expect("JSON"));
            }
        }
    }

    fn block(&mut self) -> Result<String, End> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return Ok(block);
            }
            let size = usize::from_str_radix(&self.raw.line()?, 16).expect("a chunk size");
            if size == 0 {
                return Err(End::Eof);
            }
            self.unread += &String::from_utf8(self.raw.exactly(size)?).expect("UTF-8");
            self.raw.line()?;
        }
    }
}
