//! Clients that are slow on purpose, many of them on one thread: each moves a few bytes at every beat, and
//! remembers how it ended.

use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::raw::Raw;
use super::{PATIENCE, wait_for};

/// Bytes that a slow client's system takes ahead of it; the system doubles it.
const RECEIVE: usize = 4096;

/// A connection whose system takes little ahead of its client.
pub fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(RECEIVE).expect("a small buffer");
    socket.connect_timeout(&address.into(), PATIENCE).expect("the gateway accepts");
    socket.into()
}

/// The same for single requests.
pub fn narrow_raw(address: SocketAddr) -> Raw {
    let socket = narrow(address);
    let io = Box::new(socket.try_clone().expect("a second handle"));
    Raw::over(socket, io).expect("it is set up")
}

/// A client in a crowd.
pub struct Slow {
    socket: TcpStream,
    /// What it has been sent so far.
    pub came: Vec<u8>,
    /// When the gateway ended the connection.
    pub ended: Option<Duration>,
    started: Instant,
    sends: bool,
}

impl Slow {
    /// Sends a request with a body that goes on, a byte at every beat.
    pub fn drips(address: SocketAddr, path: &str) -> Slow {
        let head = format!("POST {path} HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 9999\r\n\r\n");
        Slow::begin(TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway accepts"), &head, true)
    }

    /// Asks, and reads the answer byte by byte.
    pub fn reads(address: SocketAddr, path: &str) -> Slow {
        let head = format!("GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n");
        Slow::begin(narrow(address), &head, false)
    }

    fn begin(mut socket: TcpStream, head: &str, sends: bool) -> Slow {
        socket.set_nodelay(true).expect("no delay");
        socket.write_all(head.as_bytes()).expect("the head is taken");
        socket.set_nonblocking(true).expect("non-blocking");
        Slow { socket, came: Vec::new(), ended: None, started: Instant::now(), sends }
    }

    /// Waits for the beginning of the answer; true if it is a good one.
    pub fn is_served(&mut self) -> bool {
        const GOOD: &[u8] = b"HTTP/1.1 200";
        wait_for(PATIENCE, "the answer begins", || {
            self.read(GOOD.len() - self.came.len());
            (self.came.len() == GOOD.len()).then_some(())
        });
        self.came == GOOD
    }

    /// Moves a byte.
    pub fn beat(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if self.sends {
            // Where nobody takes it any more, reading says so.
            let _ = self.socket.write(b"x");
            self.read(4096);
        } else {
            self.read(1);
        }
    }

    fn read(&mut self, most: usize) {
        let mut piece = [0; 4096];
        match self.socket.read(&mut piece[..most]) {
            Ok(n) if n > 0 => self.came.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.ended = Some(self.started.elapsed()),
        }
    }

    /// Reads what is left; true if the gateway has ended the connection within `patience`.
    pub fn is_over(&mut self, patience: Duration) -> bool {
        let started = Instant::now();
        while self.ended.is_none() && started.elapsed() < patience {
            let before = self.came.len();
            self.read(4096);
            if self.came.len() == before && self.ended.is_none() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        self.ended.is_some()
    }
}

/// Lets everybody move a byte a second until `done`.
pub fn beat_until(crowd: &mut [Slow], deadline: Duration, mut done: impl FnMut(&[Slow]) -> bool) {
    let started = Instant::now();
    while !done(crowd) {
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain");
        let beat = Instant::now();
        crowd.iter_mut().for_each(Slow::beat);
        while beat.elapsed() < Duration::from_secs(1) {
            std::thread::park_timeout(Duration::from_secs(1).saturating_sub(beat.elapsed()));
        }
    }
}
