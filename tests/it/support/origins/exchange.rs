//! HTTP/1.1 by hand: one connection of an origin, request after request, each answered by the behaviour of
//! the moment.

use serde_json::{Value, json};
use socket2::SockRef;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Behaviour, Io, Service};

/// Serves a connection until either side is done with it.
pub async fn serve(io: Box<dyn Io>, service: Service) {
    let mut wire = Wire { io, unread: Vec::new() };
    while let Ok(Some(head)) = wire.head().await {
        let in_flight = service.counters.request();
        let behaviour = *service.behaviour.lock().expect("nobody panicked");
        let next = wire.exchange(behaviour, &head).await;
        drop(in_flight);
        match next {
            Ok(Next::Keep) => {}
            Ok(Next::CloseSoon) => return sleep(Duration::from_millis(20)).await,
            Ok(Next::Close) | Err(_) => return,
        }
    }
}

/// What happens to the connection after an exchange.
enum Next {
    Keep,
    CloseSoon,
    Close,
}

struct Wire {
    io: Box<dyn Io>,
    unread: Vec<u8>,
}

struct RequestHead {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
}

/// What was read of a request's body.
#[derive(Default)]
struct Seen {
    bytes: u64,
    /// FNV-1a of the bytes, so that a test can tell whether they arrived unharmed.
    hash: u64,
    trailers: Vec<(String, String)>,
}

impl Wire {
    async fn exchange(&mut self, behaviour: Behaviour, head: &RequestHead) -> io::Result<Next> {
        match behaviour {
            Behaviour::WellBehaved => self.answer_well(head).await,
            Behaviour::Delay(pause) => {
                sleep(pause).await;
                self.answer_well(head).await
            }
            Behaviour::Process(boot, pause) => {
                self.body(head).await?;
                sleep(pause).await;
                let boot = if boot == 0 { fastrand::u32(1..=2) } else { boot };
                let head = format!("HTTP/1.1 200 OK\r\nx-boot-id: {boot}\r\nContent-Length: 2\r\n\r\nok");
                self.send(head.as_bytes()).await?;
                Ok(Next::Keep)
            }
            Behaviour::AcceptsAndNeverAnswers => {
                while self.fill().await? {}
                Ok(Next::Close)
            }
            Behaviour::StallsAfterHeaders => {
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789").await?;
                while self.fill().await? {}
                Ok(Next::Close)
            }
            Behaviour::ResetsMidBody => {
                self.body(head).await?;
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
                self.send(&[b'x'; 500]).await?;
                let _ = SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
                Ok(Next::Close)
            }
            Behaviour::DripsOneByteASecond => {
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
                loop {
                    self.send(b"x").await?;
                    sleep(Duration::from_secs(1)).await;
                }
            }
            Behaviour::AnswersTooEarly => {
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await?;
                self.body(head).await?;
                Ok(Next::Keep)
            }
            Behaviour::SendsMoreThanDeclared => {
                self.body(head).await?;
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshortHTTP/1.1 ").await?;
                Ok(Next::Keep)
            }
            Behaviour::SendsLessThanDeclared => {
                self.body(head).await?;
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nshort").await?;
                Ok(Next::Close)
            }
            Behaviour::NeverReadsTheBody => {
                std::future::pending::<()>().await;
                Ok(Next::Close)
            }
            Behaviour::BreaksOffAfter(bytes) => {
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
                self.send(&pattern(bytes)).await?;
                Ok(Next::Close)
            }
            Behaviour::ClosesAfterEachAnswer => {
                self.body(head).await?;
                self.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await?;
                Ok(Next::Close)
            }
            Behaviour::ClosesIdleConnections => {
                self.answer_well(head).await?;
                Ok(Next::CloseSoon)
            }
            Behaviour::SendsEarlyHints => {
                self.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await?;
                self.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b.js>; rel=preload\r\n\r\n").await?;
                self.answer_well(head).await
            }
            Behaviour::FloodsHints(time) => {
                let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".repeat(500);
                let until = Instant::now() + time;
                while Instant::now() < until {
                    self.send(&hints).await?;
                }
                Ok(Next::Close)
            }
            Behaviour::ExpectsContinue => {
                if head.get("expect").is_none() {
                    self.body(head).await?;
                    self.send(b"HTTP/1.1 428 Precondition Required\r\nContent-Length: 0\r\n\r\n").await?;
                    return Ok(Next::Keep);
                }
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                self.answer_well(head).await
            }
            Behaviour::RefusesExpectation => {
                self.send(
                    b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await?;
                Ok(Next::CloseSoon)
            }
            Behaviour::SendsGarbage => {
                self.send(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await?;
                Ok(Next::Close)
            }
            Behaviour::FailsChecks if head.uri.ends_with("/healthz") => {
                self.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
                Ok(Next::Keep)
            }
            Behaviour::NeverAnswersChecks if head.uri.ends_with("/healthz") => {
                while self.fill().await? {}
                Ok(Next::Close)
            }
            Behaviour::FailsChecks | Behaviour::NeverAnswersChecks => self.answer_well(head).await,
            Behaviour::UpgradesAndEchoes => self.upgrade(head).await,
            Behaviour::ClosesWithoutAnswer => Ok(Next::Close),
            Behaviour::Judges => self.judge(head).await,
            Behaviour::JudgesAfter(pause) => {
                sleep(pause).await;
                self.judge(head).await
            }
            Behaviour::Says(bytes) => {
                self.body(head).await?;
                self.send(bytes.as_bytes()).await?;
                Ok(Next::Keep)
            }
            Behaviour::SaysAndStays(bytes) => {
                self.body(head).await?;
                self.send(bytes.as_bytes()).await?;
                std::future::pending::<()>().await;
                Ok(Next::Close)
            }
        }
    }

    /// Reads the body and answers by the path.
    async fn answer_well(&mut self, head: &RequestHead) -> io::Result<Next> {
        let seen = self.body(head).await?;
        let (path, _) = head.uri.split_once('?').unwrap_or((&head.uri, ""));
        let mut ends = path.rsplit('/');
        let number: usize = ends.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match ends.next().unwrap_or("") {
            "bytes" => {
                let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n");
                self.send(length.as_bytes()).await?;
                if head.method != "HEAD" {
                    self.send(&pattern(number)).await?;
                }
            }
            "pieces" => {
                let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n");
                self.send(length.as_bytes()).await?;
                for piece in pattern(number).chunks(700) {
                    self.send(piece).await?;
                }
            }
            "chunked" => {
                self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n").await?;
                for piece in pattern(number).chunks(10_000) {
                    let size = format!("{:x}\r\n", piece.len());
                    self.send(&[size.as_bytes(), piece, b"\r\n"].concat()).await?;
                }
                self.send(b"0\r\nx-end: reached\r\n\r\n").await?;
            }
            "status" => {
                let length = if number == 204 || number == 304 { "" } else { "Content-Length: 0\r\n" };
                self.send(format!("HTTP/1.1 {number} As Asked\r\n{length}\r\n").as_bytes()).await?;
            }
            _ if path.ends_with("/hop") => {
                let head = "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n\
                            x-hop: 1\r\nx-end-to-end: 1\r\nserver: origin\r\nContent-Length: 0\r\n\r\n";
                self.send(head.as_bytes()).await?;
            }
            _ => self.send_echo(head, &seen).await?,
        }
        Ok(Next::Keep)
    }

    async fn judge(&mut self, head: &RequestHead) -> io::Result<Next> {
        self.body(head).await?;
        let said = |name| head.get(name).unwrap_or("-");
        let told =
            ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-for", "x-other"];
        let told = told.map(said).join(" ");
        let keep = match said("x-forwarded-uri") {
            "/private" => "cache-control: no-store\r\n",
            "/brief" => "cache-control: max-age=1\r\n",
            _ => "",
        };
        let head = match said("authorization").split_once(' ') {
            Some(("Bearer", name)) => format!("200 OK\r\nx-user: {name}\r\nx-told: {} {told}", head.method),
            Some(_) => "403 Forbidden".to_owned(),
            None => "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"orders\"\r\nx-secret: s".to_owned(),
        };
        self.send(format!("HTTP/1.1 {head}\r\n{keep}content-length: 2\r\n\r\nno").as_bytes()).await?;
        Ok(Next::Keep)
    }

    async fn send_echo(&mut self, head: &RequestHead, seen: &Seen) -> io::Result<()> {
        let body = json!({
            "method": head.method, "uri": head.uri, "headers": head.headers,
            "body_bytes": seen.bytes, "body_hash": seen.hash, "trailers": seen.trailers,
        });
        let body = if head.method == "HEAD" { String::new() } else { body.to_string() };
        let length = if head.method == "HEAD" { 42 } else { body.len() };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: origin\r\nContent-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body.as_bytes()].concat()).await
    }

    async fn upgrade(&mut self, head: &RequestHead) -> io::Result<Next> {
        let Some(protocol) = head.get("upgrade") else { return self.answer_well(head).await };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            head.get("sec-websocket-key").unwrap_or("none")
        );
        self.send(answer.as_bytes()).await?;
        loop {
            let bytes = std::mem::take(&mut self.unread);
            self.send(&bytes).await?;
            if !self.fill().await? {
                return Ok(Next::Close);
            }
        }
    }

    /// The next head, or `None` at the connection's end.
    async fn head(&mut self) -> io::Result<Option<RequestHead>> {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await? {
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let mut first = lines.next().unwrap_or("").split(' ');
        let (method, uri) = (first.next().unwrap_or("").to_owned(), first.next().unwrap_or("").to_owned());
        Ok(Some(RequestHead { method, uri, headers: lines.map(split_header).collect() }))
    }

    async fn body(&mut self, head: &RequestHead) -> io::Result<Seen> {
        let mut seen = Seen { hash: FNV_OFFSET, ..Seen::default() };
        if head.get("transfer-encoding").is_some() {
            loop {
                let size = self.line().await?;
                let size =
                    usize::from_str_radix(size.split(';').next().unwrap_or(""), 16).map_err(invalid)?;
                if size == 0 {
                    break;
                }
                self.take(size, &mut seen).await?;
                self.line().await?;
            }
            loop {
                let line = self.line().await?;
                if line.is_empty() {
                    break;
                }
                seen.trailers.push(split_header(&line));
            }
        } else if let Some(length) = head.get("content-length") {
            self.take(length.parse().map_err(invalid)?, &mut seen).await?;
        }
        Ok(seen)
    }

    async fn take(&mut self, mut size: usize, seen: &mut Seen) -> io::Result<()> {
        while size > 0 {
            if self.unread.is_empty() {
                self.must_fill().await?;
            }
            let n = size.min(self.unread.len());
            for byte in self.unread.drain(..n) {
                seen.hash = fnv(seen.hash, byte);
            }
            seen.bytes += n as u64;
            size -= n;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.must_fill().await?;
        }
    }

    async fn must_fill(&mut self) -> io::Result<()> {
        if self.fill().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads once more; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let n = self.io.read(&mut piece).await?;
        self.unread.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }
}

impl RequestHead {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// The checksum that an origin reports for a body.
pub fn checksum(body: &[u8]) -> u64 {
    body.iter().fold(FNV_OFFSET, |hash, byte| fnv(hash, *byte))
}

/// The bytes that an origin sends, and that tests send to it: every position differs from its neighbours.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

fn split_header(line: impl AsRef<str>) -> (String, String) {
    let (name, value) = line.as_ref().split_once(':').unwrap_or((line.as_ref(), ""));
    (name.to_owned(), value.trim().to_owned())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A header that an origin saw, from its echo.
pub fn header_seen<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    let headers = echo["headers"].as_array().expect("headers in the echo");
    let found = headers.iter().find(|pair| pair[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    found.and_then(|pair| pair[1].as_str())
}
