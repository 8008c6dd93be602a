//! Deadlines that clients bring along shorten a route's timeout and never lengthen it. `grpc-timeout` is read
//! from everyone, as gRPC over HTTP/2 defines it: up to eight digits and a unit.

use crate::filters::fields::Fields;
use crate::request::Deadline;
use http::{HeaderMap, HeaderName};
use std::time::{Duration, Instant};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The route's timeout from `started` on, or the client's if that is shorter.
pub fn of(started: Instant, timeout: Duration, headers: &HeaderMap, fields: Fields) -> Deadline {
    let asked = fields.get(Fields::GRPC_TIMEOUT, headers, &GRPC_TIMEOUT);
    let asked = asked.and_then(|value| grpc_timeout(value.as_bytes()));
    match asked.filter(|asked| *asked < timeout) {
        Some(asked) => Deadline { at: started + asked, by_client: true },
        None => Deadline { at: started + timeout, by_client: false },
    }
}

fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_client_shortens_and_never_lengthens() {
        let (route, started) = (Duration::from_secs(10), Instant::now());
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(value).expect("valid"));
            of(started, route, &headers, Fields::of(&headers))
        };
        let own = Deadline { at: started + route, by_client: false };
        assert_eq!(with("300m"), Deadline { at: started + Duration::from_millis(300), by_client: true });
        assert_eq!(with("99999999H"), own);
        for nonsense in ["", "m", "-1S", "1", "123456789m", "1 S", "1s"] {
            assert_eq!(with(nonsense), own, "{nonsense}");
        }
        assert_eq!(of(started, route, &HeaderMap::new(), Fields::default()), own);
    }
}
