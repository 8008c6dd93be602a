//! The one spelling of a request's path: what is matched is what is forwarded.
//!
//! A gateway and a backend that read one path in two ways are a way around every rule that names a path. So a
//! path that two readers could resolve differently is refused (dot segments in any encoding, backslash, NUL),
//! harmless differences are removed (`//`, escapes of unreserved characters, the case of hex digits; RFC 3986
//! 6.2.2), and everything else stays byte for byte. `%2F` is kept and reported: the route decides about it.
//!
//! It never resolves dot segments: no honest client sends them, since clients resolve them themselves. It does
//! not look at the query, and `*` (`OPTIONS *`) is its caller's business.

use std::borrow::Cow;

/// A path in its one spelling. Begins with `/`; printable ASCII only; every `%` begins a valid escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised<'a> {
    /// Borrowed when the request was spelled this way already, which is nearly always.
    pub path: Cow<'a, str>,
    /// It contains `%2F`; 400 unless the route says `encoded_slash = "keep"`.
    pub encoded_slash: bool,
}

/// Why a path is refused. Always the client's fault (400); retrying does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// `.` or `..` as a segment, plain, escaped, escaped twice, before `;`, or beside an escaped separator.
    #[error("the path has a dot segment (`.` or `..`)")]
    DotSegment,
    /// `\` or `%5C`: some servers read it as `/`.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`: some servers end the path there.
    #[error("the path has a NUL")]
    Nul,
    /// A control character, a space, `?`, `#` or a byte outside ASCII, not escaped.
    #[error("the path has a character that must be percent-encoded")]
    RawByte,
    /// `%` without two hex digits.
    #[error("the path has a `%` that is not followed by two hex digits")]
    MalformedEscape,
}

/// Puts `raw`, the path part of a request target, into its one spelling. Idempotent; allocates only when a
/// byte changes.
pub fn normalise(raw: &str) -> Result<Normalised<'_>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(raw.as_bytes()) {
        return Ok(Normalised { path: Cow::Borrowed(raw), encoded_slash: false });
    }
    respell(raw)
}

/// True when no byte needs a closer look: no escape, no `//`, no segment that begins with a dot.
fn is_plain(raw: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in raw {
        match BYTES[usize::from(byte)] {
            Byte::Plain => after_slash = false,
            Byte::Slash if !after_slash => after_slash = true,
            Byte::Dot if !after_slash => {}
            _ => return false,
        }
    }
    true
}

fn respell(raw: &str) -> Result<Normalised<'_>, PathError> {
    let bytes = raw.as_bytes();
    let mut out = Respelled { raw, copy: None };
    let mut encoded_slash = false;
    let mut hidden = false;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match BYTES[usize::from(byte)] {
            Byte::Plain | Byte::Dot => out.push(at, byte),
            Byte::Slash if out.last(at) == Some(b'/') => out.diverge(at),
            Byte::Slash => out.push(at, byte),
            Byte::Backslash => return Err(PathError::Backslash),
            Byte::Refused => return Err(PathError::RawByte),
            Byte::Percent => {
                let escaped = escape_at(bytes, at).ok_or(PathError::MalformedEscape)?;
                match escaped {
                    0 => return Err(PathError::Nul),
                    b'\\' => return Err(PathError::Backslash),
                    b'/' => encoded_slash = true,
                    _ => {}
                }
                hidden |= may_hide_a_dot(escaped);
                out.push_escape(at, escaped);
                at += 2;
            }
        }
        at += 1;
    }
    let path = out.finish();
    let dots =
        if hidden { has_dot_segment(&unwrap(path.as_bytes())) } else { has_dot_segment(path.as_bytes()) };
    if dots {
        return Err(PathError::DotSegment);
    }
    Ok(Normalised { path, encoded_slash })
}

/// The output so far: the input itself until the first byte that differs, a copy from there on.
struct Respelled<'a> {
    raw: &'a str,
    copy: Option<String>,
}

impl<'a> Respelled<'a> {
    /// The byte at `at` is left out or replaced.
    fn diverge(&mut self, at: usize) {
        if self.copy.is_none() {
            let mut copy = String::with_capacity(self.raw.len());
            copy.push_str(&self.raw[..at]);
            self.copy = Some(copy);
        }
    }

    fn push(&mut self, _at: usize, byte: u8) {
        if let Some(copy) = &mut self.copy {
            copy.push(char::from(byte));
        }
    }

    fn push_escape(&mut self, at: usize, escaped: u8) {
        if is_unreserved(escaped) {
            self.diverge(at);
            self.push(at, escaped);
            return;
        }
        let hex = [upper_hex(escaped >> 4), upper_hex(escaped & 15)];
        if self.raw.as_bytes()[at + 1..at + 3] != hex {
            self.diverge(at);
        }
        for byte in [b'%', hex[0], hex[1]] {
            self.push(at, byte);
        }
    }

    /// The last byte written, when the input is at `at`.
    fn last(&self, at: usize) -> Option<u8> {
        match &self.copy {
            Some(copy) => copy.as_bytes().last().copied(),
            None => at.checked_sub(1).map(|before| self.raw.as_bytes()[before]),
        }
    }

    fn finish(self) -> Cow<'a, str> {
        self.copy.map_or(Cow::Borrowed(self.raw), Cow::Owned)
    }
}

/// Decodes until nothing is left to decode, so that `%252e` or `%c0%ae` cannot carry a dot past us to a
/// backend that decodes once more than it should, or that reads overlong UTF-8.
fn unwrap(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for &byte in path {
        out.push(byte);
        // A decoded byte may complete another escape or an overlong form; each round shortens `out`.
        while let Some((shorter, decoded)) = decode_tail(&out) {
            out.truncate(shorter);
            out.push(decoded);
        }
    }
    out
}

/// If `out` ends in something that decodes: the length before it, and what it decodes to.
fn decode_tail(out: &[u8]) -> Option<(usize, u8)> {
    match *out {
        [.., b'%', high, low] => Some((out.len() - 3, hex(high)? << 4 | hex(low)?)),
        [.., 0xe0, 0x80, low @ 0x80..=0xbf] => Some((out.len() - 3, low & 0x3f)),
        [.., lead @ 0xc0..=0xc1, low @ 0x80..=0xbf] => Some((out.len() - 2, (lead & 1) << 6 | (low & 0x3f))),
        _ => None,
    }
}

/// True when a segment is `.` or `..` for any reader: `;` begins parameters that servlet containers cut off
/// before they resolve dots, and what follows an escaped `?`, `#` or NUL is lost where a path is rebuilt from
/// its decoded form.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let end = segment.iter().position(|byte| matches!(byte, b';' | b'?' | b'#' | 0));
        matches!(&segment[..end.unwrap_or(segment.len())], b"." | b"..")
    })
}

fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn upper_hex(nibble: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(nibble & 15)]
}

/// Escapes behind or beside which a dot segment may stand: another escape, what ends a segment, and the first
/// bytes of overlong UTF-8. Only these cost the closer look; `%20` and its like do not.
fn may_hide_a_dot(escaped: u8) -> bool {
    matches!(escaped, b'%' | b'/' | b';' | b'?' | b'#' | 0xc0 | 0xc1 | 0xe0)
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What the fast scan needs to know about a byte.
#[derive(Clone, Copy)]
enum Byte {
    Plain,
    Slash,
    Dot,
    Percent,
    Backslash,
    Refused,
}

const BYTES: [Byte; 256] = {
    let mut table = [Byte::Refused; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = Byte::Plain;
        byte += 1;
    }
    table[b'/' as usize] = Byte::Slash;
    table[b'.' as usize] = Byte::Dot;
    table[b'%' as usize] = Byte::Percent;
    table[b'\\' as usize] = Byte::Backslash;
    table[b'?' as usize] = Byte::Refused;
    table[b'#' as usize] = Byte::Refused;
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leaves_a_normal_path_where_it_is() {
        for path in [
            "/",
            "/orders",
            "/orders/",
            "/a.b/c..d/...",
            "/.well-known/x",
            "/a%20b",
            "/a;v=1/b,c@d:e!$&'()*+=",
        ] {
            let normalised = normalise(path).unwrap();
            assert!(
                matches!(normalised.path, Cow::Borrowed(same) if same == path),
                "{path} -> {normalised:?}"
            );
            assert!(!normalised.encoded_slash);
        }
    }

    #[test]
    fn gives_every_spelling_the_same_path() {
        for (raw, path) in [
            ("//", "/"),
            ("///a//b//", "/a/b/"),
            ("/%61%7e%2D", "/a~-"),
            ("/a%3fb%c3%a9", "/a%3Fb%C3%A9"),
            ("/a%2eb", "/a.b"),
            ("/%25%32%30", "/%2520"),
            ("//a%20b", "/a%20b"),
            ("/a%3B", "/a%3B"),
        ] {
            assert_eq!(normalise(raw).map(|n| n.path.into_owned()), Ok(path.to_owned()), "{raw}");
        }
    }

    #[test]
    fn keeps_an_encoded_slash_and_says_so() {
        let normalised = normalise("/a%2fb").unwrap();
        assert_eq!((&*normalised.path, normalised.encoded_slash), ("/a%2Fb", true));
    }

    #[test]
    fn refuses_what_two_readers_could_resolve_differently() {
        use PathError::*;
        let dots = [
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a//..",
            "/%2e",
            "/%2E.",
            "/.%2e/",
            "/%2e%2e/x",
            "/..;/x",
            "/.;a=b",
            "/..%3b/x",
            "/..%2fx",
            "/x%2f..",
            "/x%2f%2e%2e%2fy",
            "/%252e%252e/x",
            "/%25%32%65",
            "/%25252e/",
            "/a%252f..%252fb",
            "/a%255c..",
            "/..%3fx",
            "/..%23",
            "/%c0%ae%c0%ae/",
            "/x%c0%af../",
            "/%e0%80%ae/",
        ];
        for raw in dots {
            assert_eq!(normalise(raw), Err(DotSegment), "{raw}");
        }
        for (raw, error) in [
            ("", NotAbsolute),
            ("a", NotAbsolute),
            ("*", NotAbsolute),
            ("/a\\b", Backslash),
            ("/a%5cb", Backslash),
            ("/a%00", Nul),
            ("/a\0", RawByte),
            ("/a b", RawByte),
            ("/a\n", RawByte),
            ("/é", RawByte),
            ("/a?b", RawByte),
            ("/a#b", RawByte),
            ("/%", MalformedEscape),
            ("/%4", MalformedEscape),
            ("/%g1", MalformedEscape),
            ("/%u002e", MalformedEscape),
        ] {
            assert_eq!(normalise(raw), Err(error), "{raw:?}");
        }
    }

    fn decode_once(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < path.len() {
            match (path[at], escape_at(path, at)) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    at += 3;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        out
    }

    /// Paths made of the pieces that matter.
    fn raw_path() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "/", ".", "..", "a", "%2e", "%2E", "%2f", "%25", "2e", "2f", "25", "%32", "%65", ";", "%3b",
            "%61", "//", "%c0", "%ae", "~", "%7E", "%5c", "%00", "%", "5c",
        ]);
        prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn is_idempotent(raw in raw_path()) {
            if let Ok(once) = normalise(&raw) {
                let twice = normalise(&once.path);
                prop_assert_eq!(twice.as_ref(), Ok(&once));
                prop_assert!(matches!(twice.unwrap().path, Cow::Borrowed(_)));
            }
        }

        #[test]
        fn hides_no_dot_segment_from_one_who_decodes_again(raw in raw_path()) {
            if let Ok(normalised) = normalise(&raw) {
                let mut seen = normalised.path.as_bytes().to_vec();
                for _ in 0..3 {
                    for segment in seen.split(|byte| *byte == b'/' || *byte == b'\\') {
                        let name = segment.split(|byte| *byte == b';').next().unwrap_or(segment);
                        prop_assert!(name != b"." && name != b"..", "{} -> {:?}", raw, normalised);
                    }
                    seen = decode_once(&seen);
                }
            }
        }

        #[test]
        fn survives_anything(raw in any::<String>()) {
            let _ = normalise(&format!("/{raw}"));
        }
    }
}
