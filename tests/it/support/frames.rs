//! HTTP/2 by hand: a client that sends any frames in any number, as no library would, and watches how the
//! connection ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::PATIENCE;
use super::raw::End;

/// Frame types of RFC 9113 that tests send or look for.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const NONE: u8 = 0;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame that the gateway sent.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection of frames. A thread of its own reads, so that a flood is never held up by answers.
pub struct Frames {
    socket: TcpStream,
    received: Receiver<Frame>,
    ended: Receiver<End>,
}

impl Frames {
    /// Connects with the preface and empty settings.
    pub fn connect(address: SocketAddr) -> Frames {
        let mut socket = TcpStream::connect(address).expect("the gateway accepts");
        socket.set_nodelay(true).expect("an option");
        socket.set_write_timeout(Some(PATIENCE)).expect("an option");
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the gateway reads");
        let (frames, received) = channel();
        let (end, ended) = channel();
        let mut reading = socket.try_clone().expect("a second handle");
        std::thread::spawn(move || {
            loop {
                match read_frame(&mut reading) {
                    // Nobody listens any more once the test is over.
                    Ok(frame) => {
                        let _ = frames.send(frame);
                    }
                    Err(error) => {
                        let in_order = error.kind() == io::ErrorKind::UnexpectedEof;
                        let _ = end.send(if in_order { End::Eof } else { End::Reset });
                        return;
                    }
                }
            }
        });
        let mut frames = Frames { socket, received, ended };
        frames.send(SETTINGS, NONE, 0, &[]).expect("the gateway reads");
        frames
    }

    /// Sends one frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.socket.write_all(&frame(kind, flags, stream, payload))
    }

    /// Sends many frames in one write.
    pub fn send_all(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        self.socket.write_all(&frames.concat())
    }

    /// The next frame of a kind, other frames being passed over; `None` once the connection has ended.
    pub fn next(&self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.received.recv_timeout(PATIENCE).ok()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Sends what `flood` makes again and again until the gateway ends the connection; panics when it puts up
    /// with `most` writes.
    pub fn flood(mut self, most: usize, mut flood: impl FnMut(u32) -> Vec<Vec<u8>>) -> End {
        for n in 0..most {
            if self.send_all(&flood(n as u32)).is_err() {
                break;
            }
            if let Ok(end) = self.ended.try_recv() {
                return end;
            }
        }
        self.ended.recv_timeout(PATIENCE).unwrap_or(End::Open)
    }

    /// How the connection ends; `Open` when it does not within `deadline`.
    pub fn end(&self, deadline: Duration) -> End {
        self.ended.recv_timeout(deadline).unwrap_or(End::Open)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // Lets the reading thread end too.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small payload").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of `GET path`, without compression state.
pub fn get_block(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (index, value) in [(4, path), (1, "edge.test")] {
        block.push(index);
        block.push(u8::try_from(value.len()).expect("a short value"));
        block.extend(value.as_bytes());
    }
    block
}

fn read_frame(socket: &mut TcpStream) -> io::Result<Frame> {
    let mut head = [0; 9];
    socket.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    socket.read_exact(&mut payload)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}
