//! Deadlines and attempts that clients bring along (`design.md`, "Deadlines from clients").
//!
//! They shorten a route's timeout and never lengthen it. `grpc-timeout` is read from everyone, as gRPC over HTTP/2
//! defines it: up to eight digits and a unit. `x-request-deadline` (what is left, in milliseconds or as a duration
//! such as `250ms` or `1.5s`) and `x-tidegate-attempt` are believed from trusted proxies only and removed from
//! others. What cannot be read is ignored, not refused: the route's own timeout binds then, while a 400 would turn
//! a proxy's new spelling into an outage. A deadline that is over when it arrives is a 504 at once.

use crate::filters::fields::Fields;
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::upstream::onward::{ATTEMPT, GRPC_TIMEOUT, Onward, REQUEST_DEADLINE, milliseconds};
use http::{HeaderMap, HeaderValue};
use std::time::{Duration, Instant};

/// More tries than these are as many as these.
const MOST_ATTEMPTS: u32 = 99;
/// Longer than any honest duration.
const LONGEST: usize = 16;

/// The route's timeout from `started` on, or the client's if that is shorter; and what backends are told. Leaves in
/// the head what is believed, in one spelling. `is_trusted` is asked only if it matters.
///
/// # Errors
/// 504 `timeout` when the client's deadline is over.
pub fn read(
    (started, timeout): (Instant, Duration),
    headers: &mut HeaderMap,
    fields: Fields,
    is_trusted: impl FnOnce() -> bool,
) -> Result<(Deadline, Onward), Reject> {
    let own = Deadline { at: started + timeout, by_client: false };
    if !fields.has(Fields::TIMES) {
        return Ok((own, Onward::default()));
    }
    let call = fields.get(Fields::GRPC_TIMEOUT, headers, &GRPC_TIMEOUT);
    let call = call.and_then(|value| grpc_timeout(value.as_bytes()));
    let mut onward = Onward::default();
    let request =
        if fields.has(Fields::PROXY_TIMES) { believed(headers, is_trusted(), &mut onward) } else { None };
    let asked = call.into_iter().chain(request).min();
    let deadline = match asked.filter(|asked| *asked < timeout) {
        Some(asked) => Deadline { at: started + asked, by_client: true },
        None => own,
    };
    onward.call_ends = call.and_then(|call| started.checked_add(call));
    onward.answer_by = request.map(|_| deadline.at);
    if deadline.by_client && deadline.at <= Instant::now() {
        return Err(Reject::new(Reason::Timeout, "the request's deadline was over when it arrived"));
    }
    Ok((deadline, onward))
}

/// What a proxy says of the time that is left and of earlier tries, if it is trusted; else nothing of it stays.
fn believed(headers: &mut HeaderMap, is_trusted: bool, onward: &mut Onward) -> Option<Duration> {
    let shortest = || headers.get_all(REQUEST_DEADLINE).iter().filter_map(time_left).min();
    let left = if is_trusted { shortest() } else { None };
    let attempt = headers.get(ATTEMPT).filter(|_| is_trusted).and_then(attempts);
    match left {
        Some(left) => drop(headers.insert(REQUEST_DEADLINE, HeaderValue::from(milliseconds(left)))),
        None => drop(headers.remove(REQUEST_DEADLINE)),
    }
    match attempt {
        Some(attempt) => drop(headers.insert(ATTEMPT, HeaderValue::from(attempt))),
        None => drop(headers.remove(ATTEMPT)),
    }
    onward.attempt = attempt.unwrap_or(0);
    left
}

fn attempts(value: &HeaderValue) -> Option<u32> {
    let digits = value.to_str().ok().filter(|text| is_digits(text))?;
    // Too many digits for a number are too many tries.
    Some(digits.parse().unwrap_or(MOST_ATTEMPTS).min(MOST_ATTEMPTS))
}

/// Milliseconds without a unit, or a number with one. Whoever subtracts clocks gets less than nothing when it is
/// late: that is no time, and not nonsense.
fn time_left(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Some(late) = text.strip_prefix('-') {
        return duration(late).map(|_| Duration::ZERO);
    }
    duration(text)
}

fn duration(text: &str) -> Option<Duration> {
    if text.len() > LONGEST {
        return None;
    }
    if is_digits(text) {
        return text.parse().ok().map(Duration::from_millis);
    }
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let number: f64 = if is_digits(whole) && is_digits(part) { number.parse().ok()? } else { return None };
    Duration::try_from_secs_f64(number * scale).ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
    use http::HeaderName;

    const ROUTE: Duration = Duration::from_secs(10);

    fn of(given: &[(&HeaderName, &str)], trusted: bool) -> (HeaderMap, Result<(Duration, Onward), Reason>) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append((*name).clone(), HeaderValue::from_str(value).expect("valid"));
        }
        let (started, fields) = (Instant::now(), Fields::of(&headers));
        let read = read((started, ROUTE), &mut headers, fields, || trusted);
        let read = read.map(|(deadline, onward)| {
            assert_eq!(deadline.by_client, deadline.at < started + ROUTE);
            (deadline.at - started, onward)
        });
        (headers, read.map_err(|reject| reject.reason))
    }

    fn timeout(name: &HeaderName, value: &str) -> Result<Duration, Reason> {
        of(&[(name, value)], true).1.map(|(timeout, _)| timeout)
    }

    #[test]
    fn a_client_shortens_and_never_lengthens() {
        assert_eq!(timeout(&GRPC_TIMEOUT, "300m"), Ok(Duration::from_millis(300)));
        assert_eq!(timeout(&GRPC_TIMEOUT, "99999999H"), Ok(ROUTE));
        for nonsense in ["", "m", "-1S", "1", "123456789m", "1 S", "1s"] {
            assert_eq!(timeout(&GRPC_TIMEOUT, nonsense), Ok(ROUTE), "{nonsense}");
        }
        assert_eq!(of(&[], true).1, Ok((ROUTE, Onward::default())));
        let both = of(&[(&GRPC_TIMEOUT, "2S"), (&REQUEST_DEADLINE, "900")], true);
        assert_eq!(both.1.expect("it is in time").0, Duration::from_millis(900));
    }

    #[test]
    fn a_deadline_is_read_as_milliseconds_or_as_a_duration() {
        for (text, millis) in
            [("250", 250), ("250ms", 250), ("1.5s", 1_500), ("2s", 2_000), ("0.1m", 6_000), ("9000us", 9)]
        {
            assert_eq!(timeout(&REQUEST_DEADLINE, text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for nonsense in
            ["", "s", "1.5", "1.s", ".5s", "1e3", "infs", "NaNs", "1h", "1 s", "12345678901234567s"]
        {
            let (headers, read) = of(&[(&REQUEST_DEADLINE, nonsense)], true);
            assert_eq!(read.map(|(timeout, _)| timeout), Ok(ROUTE), "{nonsense}");
            assert!(headers.is_empty(), "what cannot be read is not passed on: {nonsense}");
        }
        // A moment in time instead of a duration is longer than any route waits.
        assert_eq!(timeout(&REQUEST_DEADLINE, "1795397024000"), Ok(ROUTE));
    }

    #[test]
    fn what_is_over_when_it_arrives_is_refused() {
        for (name, value) in [(&GRPC_TIMEOUT, "0m"), (&GRPC_TIMEOUT, "1n"), (&REQUEST_DEADLINE, "0")] {
            assert_eq!(timeout(name, value), Err(Reason::Timeout), "{value}");
        }
        assert_eq!(timeout(&REQUEST_DEADLINE, "-250"), Err(Reason::Timeout));
        let twice = of(&[(&REQUEST_DEADLINE, "500"), (&REQUEST_DEADLINE, "0s")], true);
        assert_eq!(twice.1, Err(Reason::Timeout), "the shortest holds");
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_others_words_do_not_pass() {
        let given = [(&REQUEST_DEADLINE, "0"), (&ATTEMPT, "1")];
        let (headers, read) = of(&given, false);
        assert_eq!((headers.is_empty(), read), (true, Ok((ROUTE, Onward::default()))));
        let (headers, read) = of(&[(&REQUEST_DEADLINE, "1.5s"), (&ATTEMPT, "007")], true);
        let (timeout, onward) = read.expect("it is in time");
        assert_eq!((timeout, onward.attempt), (Duration::from_millis(1_500), 7));
        assert!(onward.answer_by.is_some() && onward.call_ends.is_none());
        assert_eq!(
            (&headers[REQUEST_DEADLINE], &headers[ATTEMPT]),
            (&"1500".parse().unwrap(), &"7".parse().unwrap())
        );
        for (said, attempt) in [("99999999999", MOST_ATTEMPTS), ("-1", 0), ("one", 0), ("", 0)] {
            let (headers, read) = of(&[(&ATTEMPT, said)], true);
            assert_eq!(read.expect("it is in time").1.attempt, attempt, "{said}");
            assert_eq!(headers.contains_key(ATTEMPT), attempt > 0, "{said}");
        }
    }
}
