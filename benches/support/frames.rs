//! A client of HTTP/2 that costs next to nothing: frames of fixed bytes over a cleartext socket, one stream after the
//! other, without allocating. Its windows are so wide that it need never open them again.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than what the gateway says of itself and one answer.
const ROOM: usize = 32 << 10;

/// The preface, no settings of its own, and a window of 2 GiB less a bit for the connection.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00";
const SETTINGS_HEARD: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";

/// Bytes of a frame's head.
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200` as HPACK's table has it.
const OK: u8 = 0x88;

/// One connection.
pub struct Frames {
    socket: TcpStream,
    room: Box<[u8]>,
    filled: usize,
    stream: u32,
}

/// A request's HEADERS without their stream: GET, plain fields, nothing that the peer must remember.
pub fn get(host: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("short"));
        block.extend_from_slice(text.as_bytes());
    };
    for (index, value) in [(1, host), (4, path)] {
        block.push(index);
        text(&mut block, value);
    }
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    let length = u8::try_from(block.len()).expect("short");
    let mut frame = vec![0, 0, length, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 0];
    frame.append(&mut block);
    frame
}

impl Frames {
    /// Connects and says hello.
    pub async fn to(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("somebody listens there");
        socket.set_nodelay(true).expect("a socket takes it");
        socket.write_all(HELLO).await.expect("the connection is new");
        Frames { socket, room: vec![0; ROOM].into(), filled: 0, stream: 1 }
    }

    /// Sends what [`get`] made as a stream of its own and reads to that stream's end. Returns the status, as far as
    /// it is 200; 0 for any other.
    pub async fn ask(&mut self, request: &mut [u8]) -> u16 {
        request[5..HEAD].copy_from_slice(&self.stream.to_be_bytes());
        self.socket.write_all(request).await.expect("the connection is kept");
        let mut status = 0;
        while !self.take(&mut status).await {
            let more = self.socket.read(&mut self.room[self.filled..]).await.expect("the connection is kept");
            assert_ne!(more, 0, "the connection is kept");
            self.filled += more;
        }
        self.stream += 2;
        status
    }

    /// Takes the whole frames that are there. True at the end of the stream.
    async fn take(&mut self, status: &mut u16) -> bool {
        let (mut at, mut ended) = (0, false);
        while let Some(head) = self.room[at..self.filled].first_chunk::<HEAD>() {
            let [l0, l1, l2, kind, flags, stream @ ..] = *head;
            let next = at + HEAD + u32::from_be_bytes([0, l0, l1, l2]) as usize;
            if next > self.filled {
                break;
            }
            let ours = u32::from_be_bytes(stream) == self.stream;
            assert!(kind != GOAWAY && kind != RESET, "the connection and its streams are kept");
            if kind == SETTINGS && flags & ACK == 0 {
                self.socket.write_all(SETTINGS_HEARD).await.expect("the connection is kept");
            }
            if kind == HEADERS && ours && self.room[at + HEAD] == OK {
                *status = 200;
            }
            // Only HEADERS and DATA have this flag; an acknowledgement has the same bit.
            ended |= ours && flags & END_STREAM != 0;
            at = next;
        }
        self.room.copy_within(at..self.filled, 0);
        self.filled -= at;
        ended
    }
}
