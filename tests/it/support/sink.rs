//! A receiver of notifications: a real HTTP server that keeps what it is told and answers as it is bidden, politely or
//! not. It ends when dropped, with whoever still hangs on it.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::wait_for;

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With this status.
    Status(u16),
    /// With 429, and when to come again, in seconds.
    Later(u32),
    /// Never; the connection stays.
    Hangs,
    /// The connection is dropped when the request was read.
    Drops,
    /// With 200 and bytes without an end.
    Floods,
    /// With headers without an end.
    FloodsHead,
    /// With a head of which a byte comes now and then.
    Drips,
    /// With a part of the answer, then the connection is dropped.
    Breaks,
    /// With 307, to another place.
    Leads(SocketAddr),
}

/// What was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// `POST`, …
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
    /// As it came.
    pub body: String,
}

impl Received {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// The events of a webhook's message.
    pub fn events(&self) -> Vec<Value> {
        self.json()["events"].as_array().expect("events").clone()
    }
}

#[derive(Debug)]
struct Shared {
    received: Mutex<Vec<Received>>,
    manner: Mutex<Manner>,
    /// Before `manner`, one for each request.
    script: Mutex<Vec<Manner>>,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

/// A running receiver.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Takes everything with 200.
    pub fn start() -> Sink {
        Sink::with(Manner::Status(200))
    }

    /// Answers in this manner.
    pub fn with(manner: Manner) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            manner: Mutex::new(manner),
            script: Mutex::default(),
            open: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let own = shared.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.over.load(SeqCst) {
                    break;
                }
                let (shared, kept) = (own.clone(), stream.try_clone().expect("a second handle"));
                own.open.lock().expect("unpoisoned").push(kept);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Sink { address, shared, thread: Some(thread) }
    }

    /// The next requests are answered so, then as before.
    pub fn script(&self, manners: &[Manner]) {
        *self.shared.script.lock().expect("unpoisoned") = manners.iter().rev().copied().collect();
    }

    /// From now on.
    pub fn switch(&self, manner: Manner) {
        *self.shared.manner.lock().expect("unpoisoned") = manner;
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("unpoisoned").clone()
    }

    /// The first request that `wanted` accepts, once it is there.
    pub fn hears(&self, deadline: Duration, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        wait_for(deadline, what, || self.received().into_iter().find(&wanted))
    }

    /// Every event of a webhook's messages so far.
    pub fn events(&self) -> Vec<Value> {
        self.received().iter().flat_map(Received::events).collect()
    }

    /// The first event that `wanted` accepts, once it is there.
    pub fn told(&self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(deadline, what, || self.events().into_iter().find(&wanted))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.open.lock().expect("unpoisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some(received) = read(&stream) else { return };
        let scripted = self.script.lock().expect("unpoisoned").pop();
        let manner = scripted.unwrap_or(*self.manner.lock().expect("unpoisoned"));
        self.received.lock().expect("unpoisoned").push(received);
        let answer = |status: u16, more: &str| {
            format!("HTTP/1.1 {status} X\r\n{more}content-length: 2\r\nconnection: close\r\n\r\nok")
        };
        let answer = match manner {
            Manner::Status(status) => answer(status, ""),
            Manner::Later(seconds) => answer(429, &format!("retry-after: {seconds}\r\n")),
            // Whoever drops the sink shuts it down.
            Manner::Hangs => return drop(stream.read(&mut [0; 1])),
            Manner::Drops => return drop(stream.shutdown(Shutdown::Both)),
            Manner::Floods => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
                return;
            }
            Manner::FloodsHead => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                while stream.write_all(b"x-more: and more and more and more\r\n").is_ok() {}
                return;
            }
            Manner::Drips => return drips(&mut stream),
            Manner::Breaks => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\na part");
                return drop(stream.shutdown(Shutdown::Both));
            }
            Manner::Leads(to) => answer(307, &format!("location: http://{to}/hunter2\r\n")),
        };
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        // Until the other side has closed, or a reset could overtake the answer.
        let _ = stream.read(&mut [0; 1]);
    }
}

/// A byte each 20 ms for as long as the other side stays.
fn drips(stream: &mut TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.set_nodelay(true);
    let head = b"HTTP/1.1 200 OK\r\nx-slow: ".iter().copied().chain(std::iter::repeat(b'x'));
    for byte in head {
        // What it waits for in between is that the other side goes away.
        let gone = matches!(stream.read(&mut [0; 1]), Ok(0));
        if gone || stream.write_all(&[byte]).is_err() {
            return;
        }
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut lines = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        lines.read_line(&mut text).ok().filter(|read| *read > 0)?;
        Some(text.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let next = line()?;
        let Some((name, value)) = next.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let mut body = vec![0; length.1.parse().ok()?];
    lines.read_exact(&mut body).ok()?;
    Some(Received { at: Instant::now(), method, path, headers, body: String::from_utf8(body).ok()? })
}
