//! A request's path, as a client spells it.

use tidegate::routing::path::normalise;

/// What is accepted has one spelling, and no dot segment in it, however often a backend decodes it.
pub fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(once) = normalise(raw) else { return };
    assert!(once.path.starts_with('/'));
    assert!(!once.path.contains("//"));
    assert!(once.path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'));
    assert!(once.path.split('/').all(|segment| segment != "." && segment != ".."));
    let twice = normalise(&once.path).unwrap_or_else(|_| panic!("refused its own spelling {:?}", once.path));
    assert_eq!(twice.path, once.path);
    let mut reading = once.path.into_owned().into_bytes();
    for times in 0..3 {
        let climbs = reading.split(|b| matches!(b, b'/' | b'\\')).any(is_dots);
        assert!(!climbs, "decoded {times} times {raw:?} is {:?}", String::from_utf8_lossy(&reading));
        reading = decoded(&reading);
    }
}

fn is_dots(segment: &[u8]) -> bool {
    // Servlet containers take a segment's parameters off before they resolve it.
    let name = segment.split(|b| *b == b';').next().unwrap_or_default();
    matches!(name, b"." | b"..")
}

/// What a backend makes of escapes.
fn decoded(path: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = path.get(at) {
        match (byte, hex(path.get(at + 1)), hex(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}
