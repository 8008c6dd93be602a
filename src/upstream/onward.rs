//! What a backend is told of the time that is left for a request, and of the tries before this one.
//!
//! It is worked out anew for every try, when it is sent: whatever passed here, in line or at another backend, is off
//! it. A backend is told only what a client told us: a deadline that nobody asked for would be work for every
//! request, and would end gRPC streams that may go on when they have begun to answer. What was read, and from whom
//! it is believed, is `filters::deadline`'s business.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, Instant};

/// What is left of a gRPC call's time.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What is left of a request's time: whole milliseconds.
pub const REQUEST_DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline");
/// How many tries came before this one.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");

/// What is passed on to backends. Fields that are not in the head when it is sent are not put there, so that a
/// route's own edits stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Onward {
    /// The end of the client's `grpc-timeout`: of the whole call, and so not shortened by a route's timeout, which
    /// ends with the answer's head.
    pub call_ends: Option<Instant>,
    /// Until when an answer's head is of use, if a trusted proxy said `x-request-deadline`.
    pub answer_by: Option<Instant>,
    /// Tries that a trusted proxy before us has made.
    pub attempt: u32,
}

impl Onward {
    /// Writes what is left at `now` into the head of a try after `retries` others.
    pub fn tell(&self, headers: &mut HeaderMap, now: Instant, retries: u32) {
        if let Some(ends) = self.call_ends
            && let Some(value) = headers.get_mut(GRPC_TIMEOUT)
        {
            *value = grpc_timeout(ends.saturating_duration_since(now));
        }
        if let Some(by) = self.answer_by
            && let Some(value) = headers.get_mut(REQUEST_DEADLINE)
        {
            *value = HeaderValue::from(milliseconds(by.saturating_duration_since(now)));
        }
        if retries > 0 {
            headers.insert(ATTEMPT, HeaderValue::from(self.attempt.saturating_add(retries)));
        }
    }
}

/// Whole milliseconds, rounded down, but 1 at least: 0 would say that it is over.
pub fn milliseconds(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// At most eight digits, in the finest unit that holds it.
fn grpc_timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (number, unit) = match (left.as_micros(), left.as_millis(), u128::from(left.as_secs())) {
        (micros, ..) if micros <= MOST => (micros.max(1), 'u'),
        (_, millis, _) if millis <= MOST => (millis, 'm'),
        (.., seconds) if seconds <= MOST => (seconds, 'S'),
        (.., seconds) => ((seconds / 3_600).min(MOST), 'H'),
    };
    HeaderValue::try_from(format!("{number}{unit}")).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_fits_into_eight_digits() {
        let said = |left: Duration| grpc_timeout(left).to_str().expect("ASCII").to_owned();
        assert_eq!(said(Duration::ZERO), "1u");
        assert_eq!(said(Duration::from_millis(250)), "250000u");
        assert_eq!(said(Duration::from_secs(100)), "100000m");
        assert_eq!(said(Duration::from_secs(200_000)), "200000S");
        assert_eq!(said(Duration::from_secs(99_999_999 * 3_600)), "99999999H");
    }

    #[test]
    fn only_what_the_head_has_is_told_and_the_time_that_passed_is_off_it() {
        let now = Instant::now();
        let by = Some(now + Duration::from_millis(400));
        let onward = Onward { call_ends: by, answer_by: by, attempt: 2 };
        let mut headers = HeaderMap::new();
        onward.tell(&mut headers, now, 0);
        assert!(headers.is_empty());
        headers.insert(REQUEST_DEADLINE, HeaderValue::from_static("1000"));
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        onward.tell(&mut headers, now + Duration::from_millis(150), 1);
        assert_eq!(headers[REQUEST_DEADLINE], "250");
        assert_eq!(headers[GRPC_TIMEOUT], "250000u");
        assert_eq!(headers[ATTEMPT], "3");
    }
}
