//! A client and an origin that cost next to nothing: whole messages over a socket, from fixed buffers, without
//! allocating.

use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The largest message, head and body.
const ROOM: usize = 128 << 10;

/// What the origin answers if nothing else is said.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
    Server: origin\r\nContent-Length: 28\r\n\r\n{\"order\":4711,\"state\":\"ok\"}\n";

/// Bytes of a large answer's body.
pub const LARGE: usize = 64 << 10;

/// Requests that begin like this have a large answer.
const WANTS_LARGE: &[u8] = b"GET /orders/large ";
/// Those that begin like this have none, ever.
const WANTS_NONE: &[u8] = b"GET /held/ever ";

const LENGTH: &[u8] = b"content-length:";

/// One end of a connection.
pub struct Talk {
    socket: TcpStream,
    room: Box<[u8]>,
}

impl Talk {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        Talk::over(connect(address).await)
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket takes it");
        Talk { socket, room: vec![0; ROOM].into() }
    }

    /// Leaves, and connects anew.
    pub async fn again(&mut self, address: SocketAddr) {
        self.socket = connect(address).await;
    }

    /// Sends a request and reads the whole answer. Returns its status.
    pub async fn ask(&mut self, request: &[u8]) -> u16 {
        self.say(request).await;
        let head = self.message().await.expect("the connection is kept");
        let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).expect("an answer begins with its status")
    }

    /// Sends a request.
    pub async fn say(&mut self, request: &[u8]) {
        self.socket.write_all(request).await.expect("the connection is kept");
    }

    /// Reads one message to its end; `None` when the peer has left.
    async fn message(&mut self) -> Option<&[u8]> {
        let (mut read, mut end) = (0, None);
        while end.is_none_or(|end| read < end) {
            let more = self.socket.read(&mut self.room[read..]).await.ok()?;
            if more == 0 {
                return None;
            }
            read += more;
            end = end.or_else(|| length(&self.room[..read]));
        }
        assert_eq!(Some(read), end, "one message at a time");
        Some(&self.room[..read])
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("somebody listens there")
}

/// The length of the message that begins like this, once its head is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut body) = (0, 0);
    loop {
        let line = &bytes[at..];
        let line = &line[..memchr::memchr(b'\n', line)?];
        at += line.len() + 1;
        if line == b"\r" {
            return Some(at + body);
        }
        if line.get(..LENGTH.len()).is_some_and(|name| name.eq_ignore_ascii_case(LENGTH)) {
            let digits = line[LENGTH.len()..].iter().filter(|byte| byte.is_ascii_digit());
            body = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        }
    }
}

/// An origin on this thread.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Told when a request has come that will have no answer.
    pub held: Rc<Notify>,
}

/// Starts an origin on this thread.
pub async fn origin() -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
    let address = listener.local_addr().expect("it is bound");
    let held = Rc::new(Notify::new());
    let large: Rc<[u8]> = large().into();
    tokio::task::spawn_local({
        let held = held.clone();
        async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(answer(Talk::over(socket), large.clone(), held.clone()));
            }
        }
    });
    Origin { address, held }
}

fn large() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {LARGE}\r\n\r\n");
    [head.as_bytes(), &[b'x'; LARGE]].concat()
}

async fn answer(mut talk: Talk, large: Rc<[u8]>, held: Rc<Notify>) {
    while let Some(request) = talk.message().await {
        let answer = match request {
            _ if request.starts_with(WANTS_LARGE) => &large,
            _ if request.starts_with(WANTS_NONE) => {
                held.notify_one();
                continue;
            }
            _ => ANSWER,
        };
        if talk.socket.write_all(answer).await.is_err() {
            return;
        }
    }
}
