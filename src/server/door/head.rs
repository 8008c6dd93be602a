//! One HTTP/1 message head, judged line by line as its bytes arrive (RFC 9112).
//!
//! It promises that a head that it calls complete is one that every conforming parser reads the same way:
//! CRLF line ends, single spaces, one length at most, one Host. It judges a line once, when its end is
//! there, and never looks at a byte of a finished line again, so a head sent byte by byte costs what a whole
//! one does. It keeps no copy: the caller brings the head from its first byte each time.

use super::{HeadLimits, Length, Message, Refusal};
use crate::reject::Reason;
use memchr::memchr;

/// Longest method; no registered one is half as long.
const MAX_METHOD: usize = 32;
/// What a request line may hold beside its target: method, two spaces, version, line end, and some slack.
const LINE_SLACK: usize = 64;
/// Longest field name; the longest in use have some forty characters.
const MAX_NAME: usize = 256;
/// `http::Uri` holds no more.
const MAX_URI: usize = 65_534;

/// A head in progress.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    stage: Stage,
    started: bool,
    headers: usize,
    hosts: usize,
    http10: bool,
    connect: bool,
    content_length: Option<u64>,
    chunked: bool,
    expect_continue: bool,
    upgrade: bool,
    last: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing yet, or one empty line, which RFC 9112 2.2 asks to ignore.
    #[default]
    Before,
    AfterEmptyLine,
    Headers,
}

impl Head {
    /// Judges what is new in `bytes`, which begin with the head's first byte. `Some(n)`: the head is
    /// complete and `n` bytes long.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(usize, Message)>, Refusal> {
        loop {
            // The same checks in the same order for a whole line and for the beginning of one, so that the
            // verdict does not depend on how the bytes were cut.
            self.first_byte(bytes)?;
            let start = self.lines.start;
            let line = self.lines.next(bytes);
            self.within(bytes, start, line.map(<[u8]>::len), limits)?;
            let Some(line) = line else { return Ok(None) };
            let line = without_crlf(line)?;
            match (self.stage, line.is_empty()) {
                (Stage::Before, true) => self.stage = Stage::AfterEmptyLine,
                (Stage::AfterEmptyLine, true) => return Err(bad("empty lines before the request line")),
                (Stage::Before | Stage::AfterEmptyLine, false) => {
                    self.request_line(line, limits)?;
                    self.stage = Stage::Headers;
                }
                (Stage::Headers, false) => self.header(line, limits)?,
                (Stage::Headers, true) => return self.finish().map(|m| Some((self.lines.start, m))),
            }
        }
    }

    /// True once a byte of the request line has arrived.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// Something that cannot be a request line is refused at its first byte instead of at its line end,
    /// which may never come (TLS on a cleartext port).
    fn first_byte(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.started {
            return Ok(());
        }
        let Some(first) = bytes.get(self.lines.start).filter(|first| **first != b'\r') else { return Ok(()) };
        self.started = true;
        if is_method(*first) { Ok(()) } else { Err(bad("malformed method")) }
    }

    /// The size limits, for a line of `length` bytes at `start` or for the beginning of one.
    fn within(
        &self,
        bytes: &[u8],
        start: usize,
        length: Option<usize>,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        let end = length.map_or(bytes.len(), |n| start + n);
        if self.stage != Stage::Headers {
            let most = limits.max_uri_bytes.saturating_add(LINE_SLACK).min(limits.max_head_bytes);
            if end - start > most {
                return Err(Refusal { reason: Reason::UriTooLong, detail: "request line too long" });
            }
        } else if end > limits.max_head_bytes {
            return Err(too_large("request head too large"));
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let (method, rest) = split_at_byte(line, b' ').ok_or(bad("malformed request line"))?;
        let (target, version) = split_at_byte(rest, b' ').ok_or(bad("malformed request line"))?;
        if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|b| is_method(*b)) {
            return Err(bad("malformed method"));
        }
        check_target(target, limits)?;
        self.http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(bad("unsupported HTTP version")),
        };
        self.connect = method == b"CONNECT";
        Ok(())
    }

    fn header(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        self.headers += 1;
        if self.headers > limits.max_headers {
            return Err(too_large("too many header fields"));
        }
        let (name, value) = field(line)?;
        // By length first: most names end here.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue |= trim(value).eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade |= upgrade_passes(trim(value));
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.last |= value.split(|b| *b == b',').any(|o| trim(o).eq_ignore_ascii_case(b"close"));
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self) -> Result<(), Refusal> {
        self.hosts += 1;
        if self.hosts > 1 { Err(bad("more than one Host")) } else { Ok(()) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() {
            return Err(bad("more than one Content-Length"));
        }
        if self.chunked {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        // Nineteen digits fit u64 whatever they are.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(bad("malformed Content-Length"));
        }
        self.content_length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(bad("more than one Transfer-Encoding"));
        }
        if self.content_length.is_some() {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        if self.http10 {
            return Err(bad("Transfer-Encoding in HTTP/1.0"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("unsupported Transfer-Encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    fn finish(&self) -> Result<Message, Refusal> {
        if self.hosts == 0 && !self.http10 {
            return Err(bad("no Host"));
        }
        let length = match (self.chunked, self.content_length) {
            (true, _) => Length::Chunked,
            (false, None | Some(0)) => Length::Empty,
            (false, Some(n)) => Length::Sized(n),
        };
        if self.connect && length != Length::Empty {
            return Err(bad("CONNECT with a body"));
        }
        Ok(Message {
            length,
            http10: self.http10,
            expect_continue: self.expect_continue && !self.http10,
            upgrade: self.upgrade && length == Length::Empty,
            last: self.last,
        })
    }
}

/// Whether a protocol may be upgraded to through a gateway: one, and neither HTTP/2 nor TLS, which would be
/// ways around everything that the gateway checks.
pub fn upgrade_passes(protocol: &[u8]) -> bool {
    let starts = |with: &[u8]| protocol.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with));
    let barred = [&b"h2"[..], b"tls", b"http"].iter().any(|no| starts(no));
    !protocol.is_empty() && !protocol.contains(&b',') && !barred
}

/// Where the next line begins, and how far the search for its end has come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) start: usize,
    searched: usize,
}

impl Lines {
    /// The next line with its LF, if that is there.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let from = self.searched.min(bytes.len());
        let Some(found) = memchr(b'\n', &bytes[from..]) else {
            self.searched = bytes.len();
            return None;
        };
        let end = from + found + 1;
        let line = &bytes[self.start..end];
        self.start = end;
        self.searched = end;
        Some(line)
    }
}

/// The line without its end, which must be CRLF.
pub(super) fn without_crlf(line: &[u8]) -> Result<&[u8], Refusal> {
    line.strip_suffix(b"\r\n").ok_or(bad("line does not end in CRLF"))
}

/// A header or trailer line, split and checked: token, colon directly after it, no control in the value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(bad("folded header line"));
    }
    let (name, value) = split_at_byte(line, b':').ok_or(bad("header line without a colon"))?;
    if name.is_empty() || !name.iter().all(|b| TOKEN[usize::from(*b)]) {
        return Err(bad("malformed header name"));
    }
    if name.len() > MAX_NAME {
        return Err(too_large("header name too long"));
    }
    // Without an early exit, so that it compiles to vector code. CR is a control too.
    if value.iter().fold(false, |found, b| found | ((*b < b' ') & (*b != b'\t')) | (*b == 0x7f)) {
        return Err(bad("control character in a header value"));
    }
    Ok((name, value))
}

/// Origin form in everyday characters passes by table; everything else must also be a URI to the engine,
/// so that the engine never answers 400 by itself.
fn check_target(target: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    if target.len() > limits.max_uri_bytes.min(MAX_URI) {
        return Err(Refusal { reason: Reason::UriTooLong, detail: "request target too long" });
    }
    if target.first() == Some(&b'/') && target.iter().all(|b| PLAIN[usize::from(*b)]) {
        return Ok(());
    }
    let visible = target.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
    if !visible || http::Uri::try_from(target).is_err() {
        return Err(bad("malformed request target"));
    }
    Ok(())
}

/// A character of a method: a token's, without lower case, because methods are case-sensitive and `get` is
/// read as `GET` by some.
fn is_method(b: u8) -> bool {
    TOKEN[usize::from(b)] && !b.is_ascii_lowercase()
}

fn split_at_byte(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = memchr(at, bytes)?;
    Some((&bytes[..i], &bytes[i + 1..]))
}

/// Without optional white space (SP, HTAB) around.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(super) const fn bad(detail: &'static str) -> Refusal {
    Refusal { reason: Reason::BadRequest, detail }
}

pub(super) const fn too_large(detail: &'static str) -> Refusal {
    Refusal { reason: Reason::HeadersTooLarge, detail }
}

/// `tchar` of RFC 9110, 5.6.2.
const TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");
/// What a path and query are made of (RFC 3986, 3.3 and 3.4), percent sign included.
const PLAIN: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+,;=:@/?%");

const fn alphanumeric_and(more: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let mut i = 0;
    while i < more.len() {
        table[more[i] as usize] = true;
        i += 1;
    }
    table
}
