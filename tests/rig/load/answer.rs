//! Reads one answer from the bytes that have come so far.
//!
//! Pure. Bodies are counted, not kept; chunked ones are recognised by their last chunk, which is enough for
//! what proxies say themselves.

use bytes::{Buf as _, BytesMut};

/// The longest head of an answer, and the longest chunked body.
const MAX_HELD: usize = 256 << 10;

/// What the head said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// `x-tidegate-reason`.
    pub reason: Option<String>,
    /// The connection ends with this answer.
    pub closes: bool,
    rest: Rest,
}

/// What is still to come of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Bytes(u64),
    Chunks,
    UntilClose,
}

/// The answer makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonsense;

/// Takes a head from the front of `read`, once it is whole.
pub fn head(read: &mut BytesMut) -> Result<Option<Head>, Nonsense> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(read) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() <= MAX_HELD => return Ok(None),
        _ => return Err(Nonsense),
    };
    let status = response.code.ok_or(Nonsense)?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let rest = match (header("content-length"), header("transfer-encoding")) {
        _ if matches!(status, 204 | 304) => Rest::Bytes(0),
        (_, Some(_)) => Rest::Chunks,
        (Some(length), None) => Rest::Bytes(length.parse().map_err(|_| Nonsense)?),
        (None, None) => Rest::UntilClose,
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let head = Head {
        status,
        reason: header("x-tidegate-reason").map(str::to_owned),
        closes: closes || rest == Rest::UntilClose,
        rest,
    };
    read.advance(length);
    // An informational answer is not the answer.
    if (100..200).contains(&status) { self::head(read) } else { Ok(Some(head)) }
}

impl Head {
    /// Takes what has come of the body; true when that is all of it.
    pub fn body(&mut self, read: &mut BytesMut) -> Result<bool, Nonsense> {
        match &mut self.rest {
            Rest::Bytes(left) => {
                let taken = (*left).min(read.len() as u64);
                read.advance(taken as usize);
                *left -= taken;
                Ok(*left == 0)
            }
            Rest::Chunks => {
                let end = read.ends_with(b"\r\n0\r\n\r\n") || read[..] == b"0\r\n\r\n"[..];
                if end {
                    read.clear();
                }
                if read.len() > MAX_HELD { Err(Nonsense) } else { Ok(end) }
            }
            Rest::UntilClose => {
                read.clear();
                Ok(false)
            }
        }
    }

    /// Whether the answer is whole when the connection ends here.
    pub fn ends_with_connection(&self) -> bool {
        self.rest == Rest::UntilClose
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, reason, closes, and whether the body is whole; fed a byte at a time.
    fn read(text: &str) -> (u16, Option<String>, bool, bool) {
        let mut bytes = BytesMut::new();
        let (mut got, mut whole) = (None::<Head>, false);
        for byte in text.bytes() {
            bytes.extend_from_slice(&[byte]);
            if got.is_none() {
                got = head(&mut bytes).expect("it makes sense");
            }
            if let Some(head) = &mut got {
                whole = head.body(&mut bytes).expect("it makes sense");
            }
        }
        let head = got.expect("a head");
        (head.status, head.reason, head.closes, whole)
    }

    #[test]
    fn answers_end_where_they_end() {
        let shed = "HTTP/1.1 503 S\r\nX-Tidegate-Reason: queue_full\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(read(shed), (503, Some("queue_full".into()), false, true));
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(read(chunks), (200, None, false, true));
        let empty = read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(empty, (200, None, false, true));
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\nuntil the end"), (200, None, true, false));
        let closes = "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 502 B\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(read(closes), (502, None, true, true));
    }

    #[test]
    fn nonsense_is_told_from_what_has_not_come_yet() {
        assert_eq!(head(&mut BytesMut::from("HTTP/1.1 20")), Ok(None));
        assert_eq!(head(&mut BytesMut::from("SSH-2.0-x\r\n\r\n")), Err(Nonsense));
        let long = "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n";
        assert_eq!(head(&mut BytesMut::from(long)), Err(Nonsense));
    }
}
