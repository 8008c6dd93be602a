//! JSON by hand, appended to a buffer: fields after the first one, and strings of whatever bytes.

use std::io::Write as _;

/// A comma and a field's name; names are ours and need no escaping.
pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A text, unless it is empty.
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        bytes(out, name, value.as_bytes());
    }
}

/// Bytes as a text.
pub(super) fn bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

/// A whole number.
pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    // Writing to memory cannot fail, here and below.
    let _ = write!(out, "{value}");
}

/// Milliseconds to the microsecond.
pub(super) fn millis(out: &mut Vec<u8>, name: &str, ns: u64) {
    key(out, name);
    let us = ns / 1000;
    let _ = write!(out, "{}.{:03}", us / 1000, us % 1000);
}

/// Appends bytes as the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
pub(super) fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        escape_str(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_str(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        let _ = match byte {
            b'"' | b'\\' => out.write_all(&[b'\\', byte]),
            _ => write!(out, "\\u{byte:04x}"),
        };
    }
    out.extend_from_slice(&bytes[plain..]);
}
