//! A client and an origin that cost next to nothing: whole messages over a socket, from fixed buffers, without
//! allocating.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The largest message, head and body.
const ROOM: usize = 64 << 10;

/// What the origin answers whatever it is asked.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
    Server: origin\r\nContent-Length: 28\r\n\r\n{\"order\":4711,\"state\":\"ok\"}\n";

const LENGTH: &[u8] = b"content-length:";

/// One end of a connection.
pub struct Talk {
    socket: TcpStream,
    room: Box<[u8]>,
}

impl Talk {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        Talk::over(TcpStream::connect(address).await.expect("somebody listens there"))
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket takes it");
        Talk { socket, room: vec![0; ROOM].into() }
    }

    /// Sends a request and reads the whole answer. Returns its status.
    pub async fn ask(&mut self, request: &[u8]) -> u16 {
        self.socket.write_all(request).await.expect("the connection is kept");
        let head = self.message().await.expect("the connection is kept");
        let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).expect("an answer begins with its status")
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

/// Starts an origin on this thread.
pub async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::task::spawn_local(answer(Talk::over(socket)));
        }
    });
    address
}

async fn answer(mut talk: Talk) {
    while talk.message().await.is_some() {
        if talk.socket.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}
