//! Bars: from what users saw in calm and when something was struck to a word, with the numbers.
//!
//! Shares are judged always. Times are judged only where this machine kept time itself.

use super::found::{Sight, Times, Verdict};

/// Whoever does not need what was struck: served like this it noticed nothing; with less it fails.
pub(super) const UNTOUCHED: f64 = 0.99;
const TOUCHED: f64 = 0.95;
/// Slower than in calm is more than so many times as long, and so much longer.
const TIMES: f64 = 3.0;
const MORE_MS: f64 = 250.0;
/// Less than that in calm is no calm to compare with.
pub(super) const CALM: f64 = 0.95;

/// A verdict and its reason.
pub(super) type Judged = (Verdict, String);

/// A route that does not need what was struck.
pub(super) fn beside(calm: &Sight, hit: &Sight, times: bool) -> Judged {
    let share = hit.share();
    let said = format!("{} served", percent(share));
    if share < TOUCHED {
        return (Verdict::Fails, format!("{said}, of at least {}: {}", percent(UNTOUCHED), most_common(hit)));
    }
    if share < UNTOUCHED {
        return (
            Verdict::Degraded,
            format!("{said}, of at least {}: {}", percent(UNTOUCHED), most_common(hit)),
        );
    }
    match slower(calm, hit).filter(|_| times) {
        Some((then, now)) => {
            (Verdict::Degraded, format!("{said}, but p99 went from {then:.0} to {now:.0} ms"))
        }
        None => (Verdict::Holds, said),
    }
}

/// The times at the end, in calm and now, if it is clearly slower.
pub(super) fn slower(calm: &Sight, hit: &Sight) -> Option<(f64, f64)> {
    let end = |times: Times| times.p99_ms;
    let (then, now) = (calm.served_times().map(end)?, hit.served_times().map(end)?);
    (now > then * TIMES && now > then + MORE_MS).then_some((then, now))
}

/// By shares: above the first it holds, above the second it is degraded.
pub(super) fn by_share(share: f64, holds: f64, degraded: f64) -> Verdict {
    match share {
        share if share >= holds => Verdict::Holds,
        share if share >= degraded => Verdict::Degraded,
        _ => Verdict::Fails,
    }
}

/// What ended most of those that were not served.
pub(super) fn most_common(sight: &Sight) -> String {
    let all = sight.refused.iter().chain(&sight.failed);
    let most = all.max_by_key(|(_, many)| **many);
    most.map_or_else(|| "nothing was lost".to_owned(), |(why, many)| format!("{many} × {why}"))
}

/// A part as people read it.
pub(super) fn percent(share: f64) -> String {
    match share {
        share if share > 0.999 => "100 %".to_owned(),
        share if share > 0.9 => format!("{:.1} %", share * 100.0),
        share => format!("{:.0} %", share * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_need_it_must_not_notice() {
        let calm = Sight::made_up(100, 100, 0.1, ("", 0), ("", 0));
        let word = |hit: &Sight, times| beside(&calm, hit, times).0;
        assert_eq!(word(&calm, true), Verdict::Holds);
        let slow = Sight::made_up(100, 100, 0.9, ("", 0), ("", 0));
        assert_eq!(word(&slow, true), Verdict::Degraded);
        assert_eq!(word(&slow, false), Verdict::Holds, "a slow machine is not the gateway's fault");
        let some = Sight::made_up(100, 97, 0.1, ("process_limit", 3), ("", 0));
        assert_eq!(word(&some, false), Verdict::Degraded);
        let (verdict, why) =
            beside(&calm, &Sight::made_up(100, 50, 0.1, ("process_limit", 40), ("timeout", 10)), true);
        assert_eq!(verdict, Verdict::Fails);
        assert!(why.contains("50 %") && why.contains("40 × process_limit"), "{why}");
    }
}
