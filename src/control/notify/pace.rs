//! How often a sink is told, and tried again: pure functions of (what happened, chance).

use http::StatusCode;
use jiff::Timestamp;
use std::time::Duration;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a sink may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// The longest wait between two messages while there is more and more to tell.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// It will never be taken: why.
    Refused(String),
    /// It may be taken later: why not now, and when, if the sink said so.
    Later(String, Option<Duration>),
}

/// What a status means.
pub fn verdict(status: StatusCode, retry_after: Option<&str>, now: Timestamp, word: Option<&str>) -> Verdict {
    let said = word.map(|word| format!(" ({word})")).unwrap_or_default();
    let why = format!("it answered {status}{said}");
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    match status {
        status if status.is_success() => Verdict::Taken,
        status if passing || status.is_server_error() => {
            Verdict::Later(why, retry_after.and_then(|text| asked(text, now)))
        }
        status if status.is_redirection() => {
            Verdict::Refused(format!("{why}; redirects are not followed: name where it leads"))
        }
        _ => Verdict::Refused(why),
    }
}

/// A `Retry-After`: seconds, or a date; never more than five minutes.
fn asked(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_ASKED))
}

/// How long is waited after so many failures in a row; `chance` is in [0, 1). The wait that was asked for is kept, and
/// a little is added, so that those who were told the same do not come together.
pub fn wait(failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST);
    match asked {
        Some(asked) => asked.max(doubled / 2) + FIRST.mul_f64(chance.clamp(0.0, 1.0)),
        None => doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0),
    }
}

/// How long is waited before the next message when the last waited for `gap` and there is more already.
pub fn gap(gap: Duration, group_wait: Duration) -> Duration {
    (gap * 2).clamp(group_wait, LONGEST_GAP.max(group_wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn waits_double_up_to_a_minute_and_never_come_together() {
        for (failures, least, most) in
            [(1, 500, 1_000), (2, 1_000, 2_000), (6, 16_000, 32_000), (40, 30_000, 60_000)]
        {
            assert_eq!(wait(failures, None, 0.0), Duration::from_millis(least), "{failures}");
            assert!(wait(failures, None, 0.999) <= Duration::from_millis(most), "{failures}");
            assert!(wait(failures, None, 0.2) < wait(failures, None, 0.8));
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_and_bounded() {
        let later = |text| match verdict(StatusCode::TOO_MANY_REQUESTS, Some(text), NOW, None) {
            Verdict::Later(_, asked) => asked,
            other => panic!("{other:?}"),
        };
        assert_eq!(later("7"), Some(Duration::from_secs(7)));
        assert_eq!(later("Thu, 01 Jan 1970 00:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(later("Wed, 31 Dec 1969 23:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(later("99999999"), Some(LONGEST_ASKED));
        assert_eq!(later("soon"), None);
        assert!(wait(1, Some(Duration::from_secs(7)), 0.0) >= Duration::from_secs(7));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            let verdict = verdict(StatusCode::from_u16(status).expect("a status"), None, NOW, None);
            assert!(matches!(verdict, Verdict::Later(..)), "{status}");
        }
        for status in [301, 307, 400, 401, 403, 404, 410, 413, 422] {
            let verdict =
                verdict(StatusCode::from_u16(status).expect("a status"), None, NOW, Some("no_service"));
            assert!(matches!(&verdict, Verdict::Refused(why) if why.contains("no_service")), "{status}");
        }
        assert_eq!(verdict(StatusCode::ACCEPTED, None, NOW, None), Verdict::Taken);
    }
}
