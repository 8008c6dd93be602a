//! A client of raw bytes: sends exactly what it is told, in as many pieces as it is told, and reads answers
//! with a deadline. It tells an orderly end from a reset, which polite clients hide.

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A byte stream: cleartext or TLS.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection to the gateway.
pub struct Raw {
    socket: TcpStream,
    io: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

/// An answer with all of its body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// How a connection ended, or that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// The deadline passed and it is still open.
    Open,
}

impl Raw {
    /// Connects in cleartext.
    pub fn connect(address: SocketAddr) -> Raw {
        Raw::try_connect(address).expect("the gateway accepts")
    }

    /// Connects in cleartext from another address of this machine.
    pub fn connect_from(source: [u8; 4], to: SocketAddr) -> Raw {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("loopback is all of 127.0.0.0/8");
        socket.connect_timeout(&to.into(), PATIENCE).expect("the gateway accepts");
        let socket = TcpStream::from(socket);
        let io = Box::new(socket.try_clone().expect("a second handle"));
        Raw::over(socket, io).expect("a connection")
    }

    /// Connects in cleartext, if anybody listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Raw> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        let io = Box::new(socket.try_clone()?);
        Raw::over(socket, io)
    }

    /// Speaks through `io`, which runs over `socket`.
    pub fn over(socket: TcpStream, io: Box<dyn Stream>) -> io::Result<Raw> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Raw { socket, io, unread: Vec::new() })
    }

    /// Changes how long a read waits.
    pub fn patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).expect("a timeout is set");
    }

    /// Sends all bytes; panics when the gateway does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway takes the bytes");
    }

    /// Sends all bytes, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref())?;
        self.io.flush()
    }

    /// Sends the bytes in separate segments of `size`.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        bytes.as_ref().chunks(size).for_each(|piece| self.send(piece));
    }

    /// Says that no more will be sent, and keeps on reading.
    pub fn half_close(&self) {
        self.socket.shutdown(Shutdown::Write).expect("half-closed");
    }

    /// Leaves with a reset, as a killed process does.
    pub fn abort(self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        self.send(request);
        self.answer(request.starts_with(b"HEAD "))
    }

    /// Reads the next final answer, skipping informational ones.
    pub fn answer(&mut self, to_head: bool) -> Answer {
        self.try_answer(to_head).unwrap_or_else(|end| panic!("an answer, but the connection is {end:?}"))
    }

    /// The same, or how the connection ended instead.
    pub fn try_answer(&mut self, to_head: bool) -> Result<Answer, End> {
        loop {
            let head = self.head()?;
            if head.status >= 200 || head.status == 101 {
                return self.body_of(head, to_head);
            }
        }
    }

    /// Reads one head, informational or final.
    pub fn head(&mut self) -> Result<Head, End> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        Ok(Head::parse(&String::from_utf8_lossy(&head)))
    }

    /// Reads what belongs to `head`.
    pub fn body_of(&mut self, head: Head, to_head: bool) -> Result<Answer, End> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if to_head || matches!(head.status, 101 | 204 | 304) {
            return Ok(Answer { head, body, trailers });
        }
        if head.get("transfer-encoding").is_some() {
            loop {
                let size = self.line()?;
                let size =
                    usize::from_str_radix(size.split(';').next().unwrap_or(""), 16).expect("a chunk size");
                if size == 0 {
                    break;
                }
                body.extend(self.exactly(size)?);
                assert_eq!(self.line()?, "", "a chunk ends with its data");
            }
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                trailers.push(split_header(&line));
            }
        } else if let Some(length) = head.get("content-length") {
            body = self.exactly(length.parse().expect("a length"))?;
        } else {
            loop {
                match self.fill() {
                    Ok(()) => {}
                    Err(End::Eof) => break,
                    Err(end) => return Err(end),
                }
            }
            body = std::mem::take(&mut self.unread);
        }
        Ok(Answer { head, body, trailers })
    }

    /// Reads exactly `n` bytes.
    pub fn exactly(&mut self, n: usize) -> Result<Vec<u8>, End> {
        while self.unread.len() < n {
            self.fill()?;
        }
        Ok(self.unread.drain(..n).collect())
    }

    /// Discards what comes until the connection ends; `Open` when it does not within `deadline`.
    pub fn end(&mut self, deadline: Duration) -> End {
        let started = Instant::now();
        loop {
            let left = deadline.saturating_sub(started.elapsed());
            if left.is_zero() {
                return End::Open;
            }
            self.patience(left);
            if let Err(end) = self.fill() {
                return end;
            }
            self.unread.clear();
        }
    }

    /// Reads one line, without its end.
    pub fn line(&mut self) -> Result<String, End> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break at;
            }
            self.fill()?;
        };
        let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads once more.
    fn fill(&mut self) -> Result<(), End> {
        let mut piece = [0; 16 * 1024];
        match self.io.read(&mut piece) {
            Ok(0) => Err(End::Eof),
            Ok(n) => {
                self.unread.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(End::Open)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Eof),
            Err(_) => Err(End::Reset),
        }
    }
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or("").split(' ');
        let version = first.next().unwrap_or("").to_owned();
        let status =
            first.next().and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("a status in {text:?}"));
        Head { version, status, headers: lines.filter(|l| !l.is_empty()).map(split_header).collect() }
    }

    /// The first value of a header, by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a header, by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// Why the gateway made this answer itself, if it did.
    pub fn reason(&self) -> Option<&str> {
        self.get("x-tidegate-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("JSON ({e}) in {} {:?}", self.status(), self.text()))
    }
}

fn split_header(line: impl AsRef<str>) -> (String, String) {
    let (name, value) = line.as_ref().split_once(':').unwrap_or((line.as_ref(), ""));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// A GET for `path`, keeping the connection.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n")
}

/// A GET for `path` on a connection of its own.
pub fn fetch(address: SocketAddr, path: &str) -> Answer {
    Raw::connect(address).ask(get(path))
}

/// A POST of `body` to `path` with its length declared, keeping the connection.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: edge.test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
