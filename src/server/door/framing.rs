//! Where messages begin and end in an HTTP/1 connection's bytes: a pure state machine that decides how many
//! of them may pass on to the engine.
//!
//! It promises that a head passes only when it is complete and beyond doubt, and that body bytes are never
//! taken for a head. Heads and trailer sections pass whole or not at all; body bytes pass as they come. It
//! holds no bytes, knows no sockets, and does not judge what a valid message means.

use super::head::{Head, Lines, bad, field, too_large, without_crlf};
use super::{HeadLimits, Length, Message, Refusal};
use crate::upstream::trailers;

/// Chunk extensions carry nothing that anyone needs; all of a message's together may have this many bytes.
const MAX_EXTENSION_BYTES: usize = 4 * 1024;
/// Trailer section of one message, below the engine's own 16 KiB so that this is the limit that speaks.
const MAX_TRAILER_BYTES: usize = 8 * 1024;
const MAX_TRAILERS: usize = 64;

/// Where the connection's bytes stand.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    state: State,
    /// The head in progress has been announced.
    announced: bool,
    extension_bytes: usize,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body {
        left: u64,
    },
    Chunk(Chunk),
    Trailers {
        lines: Lines,
        count: usize,
    },
    /// After a request that asks for a WebSocket: the bytes that follow belong to nobody yet.
    Undecided,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
}

/// What was found on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first byte of a request line.
    HeadStarted,
    /// A head is complete and passes.
    HeadComplete(Message),
    /// The message's last byte passes; also for messages without a body.
    MessageComplete,
}

/// What may happen to the bytes that were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// This many may pass. The rest must be shown again, with what follows, unless there is a refusal.
    pub pass: usize,
    /// The byte after those that pass, or the message that begins there, is refused.
    pub refusal: Option<Refusal>,
}

impl Framing {
    /// At the beginning of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Framing { limits, state: State::Head(Head::default()), announced: false, extension_bytes: 0 }
    }

    /// Judges bytes that begin where the last call's passing bytes ended.
    pub fn inspect(&mut self, bytes: &[u8], mut on: impl FnMut(Event)) -> Inspected {
        let mut pass = 0;
        while pass < bytes.len() {
            match self.step(&bytes[pass..], &mut on) {
                Ok(0) => break,
                Ok(n) => pass += n,
                Err((n, refusal)) => return Inspected { pass: pass + n, refusal: Some(refusal) },
            }
        }
        Inspected { pass, refusal: None }
    }

    /// True between messages, where a client may end the connection without cutting anything off.
    pub fn at_boundary(&self) -> bool {
        match self.state {
            State::Head(_) => !self.announced,
            State::Undecided => true,
            State::Body { .. } | State::Chunk(_) | State::Trailers { .. } => false,
        }
    }

    /// True inside a body or its trailers, where a refusal concerns the request that is being handled.
    pub fn in_body(&self) -> bool {
        matches!(self.state, State::Body { .. } | State::Chunk(_) | State::Trailers { .. })
    }

    /// True after a WebSocket request until [`Framing::stay_http`]: nothing passes.
    pub fn undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// The WebSocket request was answered without an upgrade: what follows is HTTP again.
    pub fn stay_http(&mut self) {
        if self.undecided() {
            self.next_head();
        }
    }

    /// One head, stretch of body, chunk line or trailer section: how many bytes of it pass; 0 waits for more.
    fn step(&mut self, bytes: &[u8], on: &mut impl FnMut(Event)) -> Result<usize, (usize, Refusal)> {
        match &mut self.state {
            State::Head(_) => self.head(bytes, on).map_err(|refusal| (0, refusal)),
            State::Body { left } => {
                let n = taken(left, bytes);
                if *left == 0 {
                    self.end_message(on);
                }
                Ok(n)
            }
            State::Chunk(chunk) => {
                let (n, outcome) = advance_chunk(chunk, bytes, &mut self.extension_bytes);
                if outcome.map_err(|refusal| (n, refusal))? {
                    self.state = State::Trailers { lines: Lines::default(), count: 0 };
                }
                Ok(n)
            }
            State::Trailers { lines, count } => match advance_trailers(lines, count, bytes) {
                Ok(true) => {
                    let n = lines.start;
                    self.end_message(on);
                    Ok(n)
                }
                Ok(false) => Ok(0),
                Err(refusal) => Err((0, refusal)),
            },
            State::Undecided => Ok(0),
        }
    }

    fn head(&mut self, bytes: &[u8], on: &mut impl FnMut(Event)) -> Result<usize, Refusal> {
        let State::Head(head) = &mut self.state else { return Ok(0) };
        let outcome = head.advance(bytes, &self.limits);
        if !self.announced && head.started() {
            self.announced = true;
            on(Event::HeadStarted);
        }
        let Some((length, message)) = outcome? else { return Ok(0) };
        on(Event::HeadComplete(message));
        match message.length {
            Length::Sized(left) => self.state = State::Body { left },
            Length::Chunked => {
                self.extension_bytes = 0;
                self.state = State::Chunk(Chunk::Size { value: 0, digits: 0 });
            }
            Length::Empty => {
                self.end_message(on);
                if message.upgrade {
                    self.state = State::Undecided;
                }
            }
        }
        Ok(length)
    }

    fn end_message(&mut self, on: &mut impl FnMut(Event)) {
        on(Event::MessageComplete);
        self.next_head();
    }

    fn next_head(&mut self) {
        self.announced = false;
        self.state = State::Head(Head::default());
    }
}

/// Takes what `bytes` offer of `left`.
fn taken(left: &mut u64, bytes: &[u8]) -> usize {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= n as u64;
    n
}

/// Walks through chunk lines and data; how many bytes were right, and whether the last chunk's line ended.
fn advance_chunk(chunk: &mut Chunk, bytes: &[u8], extensions: &mut usize) -> (usize, Result<bool, Refusal>) {
    let mut i = 0;
    while i < bytes.len() {
        if let Chunk::Data { left } = chunk {
            i += taken(left, &bytes[i..]);
            if *left == 0 {
                *chunk = Chunk::DataCr;
            }
            continue;
        }
        match advance_chunk_line(*chunk, bytes[i], extensions) {
            Ok(Some(next)) => *chunk = next,
            Ok(None) => return (i + 1, Ok(true)),
            Err(refusal) => return (i, Err(refusal)),
        }
        i += 1;
    }
    (i, Ok(false))
}

/// One byte outside chunk data; `None` after the last chunk's line. Nothing is skipped: no white space, no
/// sign, no prefix, no bare LF (RFC 9112, 7.1).
fn advance_chunk_line(chunk: Chunk, byte: u8, extensions: &mut usize) -> Result<Option<Chunk>, Refusal> {
    let next = match (chunk, byte) {
        (Chunk::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
            if digits == 16 {
                return Err(bad("chunk size too long"));
            }
            Chunk::Size { value: value << 4 | u64::from(hex(byte)), digits: digits + 1 }
        }
        (Chunk::Size { value, digits: 1.. }, b'\r') => Chunk::SizeLf { value },
        (Chunk::Size { value, digits: 1.. }, b';') => {
            *extensions += 1;
            Chunk::Extension { value }
        }
        (Chunk::Size { .. }, _) => return Err(bad("malformed chunk size")),
        (Chunk::Extension { value }, b'\r') => Chunk::SizeLf { value },
        (Chunk::Extension { .. }, 0..=8 | 10..=31 | 127) => return Err(bad("control in a chunk extension")),
        (Chunk::Extension { value }, _) => {
            *extensions += 1;
            Chunk::Extension { value }
        }
        (Chunk::SizeLf { value: 0 }, b'\n') => return Ok(None),
        (Chunk::SizeLf { value }, b'\n') => Chunk::Data { left: value },
        (Chunk::SizeLf { .. }, _) => return Err(bad("chunk line does not end in CRLF")),
        (Chunk::DataCr, b'\r') => Chunk::DataLf,
        (Chunk::DataLf, b'\n') => Chunk::Size { value: 0, digits: 0 },
        (Chunk::DataCr | Chunk::DataLf | Chunk::Data { .. }, _) => {
            return Err(bad("chunk data does not end in CRLF"));
        }
    };
    if *extensions > MAX_EXTENSION_BYTES {
        return Err(bad("chunk extensions too long"));
    }
    Ok(Some(next))
}

/// The trailer section from its first byte; true when its empty line is there.
fn advance_trailers(lines: &mut Lines, count: &mut usize, bytes: &[u8]) -> Result<bool, Refusal> {
    loop {
        let line = lines.next(bytes);
        let end = if line.is_some() { lines.start } else { bytes.len() };
        if end > MAX_TRAILER_BYTES {
            return Err(too_large("trailers too large"));
        }
        let Some(line) = line else { return Ok(false) };
        let line = without_crlf(line)?;
        if line.is_empty() {
            return Ok(true);
        }
        *count += 1;
        if *count > MAX_TRAILERS {
            return Err(too_large("too many trailers"));
        }
        if trailers::forbidden(field(line)?.0) {
            return Err(bad("forbidden field in the trailers"));
        }
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
