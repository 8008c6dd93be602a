//! Whether the last seconds of a ramped backend were well, beside its warm peers and what was usual before
//! (`overload.md` 2(vii)).
//!
//! Judged are the last second, or up to five where fewer than twenty outcomes were in it. What is in flight for longer
//! than the bar counts as failed where it outweighs what succeeds: whoever only takes requests fails none.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Outcomes that make a second worth judging alone, and peers worth comparing with.
const WORTH: u64 = 20;
/// Seconds that are judged together at most.
const SECONDS: usize = 5;
/// Seconds that are remembered, to know what is overdue.
const REMEMBERED: usize = 30;
/// Of all outcomes, the failed part from which it goes back, and how many failures that takes at least.
const BAD: f64 = 0.10;
const LEAST_BAD: u64 = 3;
/// The failed part up to which it goes up beside warm peers, and without.
const GOOD_BESIDE_PEERS: f64 = 0.01;
const GOOD_ALONE: f64 = 0.02;
/// Relative to warm peers, or to what was usual.
const RATIO: f64 = 2.0;

/// What one second brought of one backend, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Answers below 500.
    pub well: u64,
    /// Answers above, none in time, broken connections; not what the gateway itself refused.
    pub failed: u64,
    /// Time to the head of those that were well, together, in nanoseconds.
    pub latency_ns: u64,
    /// In flight at its end.
    pub in_flight: u64,
}

impl std::ops::AddAssign for Second {
    fn add_assign(&mut self, other: Second) {
        self.well = self.well.saturating_add(other.well);
        self.failed = self.failed.saturating_add(other.failed);
        self.latency_ns = self.latency_ns.saturating_add(other.latency_ns);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
    }
}

impl Second {
    /// What is left of several together without one of them.
    pub fn without(self, one: &Second) -> Second {
        Second {
            well: self.well.saturating_sub(one.well),
            failed: self.failed.saturating_sub(one.failed),
            latency_ns: self.latency_ns.saturating_sub(one.latency_ns),
            in_flight: self.in_flight.saturating_sub(one.in_flight),
        }
    }

    fn outcomes(&self) -> u64 {
        self.well.saturating_add(self.failed)
    }

    fn failing(&self) -> f64 {
        part(self.failed, self.outcomes())
    }

    /// The mean.
    fn latency_ns(&self) -> u64 {
        self.latency_ns / self.well.max(1)
    }
}

/// What is to be seen of a ramped backend after one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// Its own second.
    pub own: Second,
    /// That of its warm peers, those at 100 %, together.
    pub peers: Second,
    /// Mean time to the answer's head that is good enough: the larger of the objective and a quarter of the timeout.
    pub bar: Duration,
    /// It can be reached and takes requests.
    pub present: bool,
}

/// What a verdict is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bars {
    latency: Duration,
    usual_failing: f64,
    usual_latency: u64,
}

impl Bars {
    /// As they are for this backend now.
    pub fn of(sight: &Sight, usual: &super::Usual) -> Self {
        Bars { latency: sight.bar, usual_failing: usual.failing, usual_latency: usual.latency_ns }
    }
}

/// The last seconds, oldest first: its own, and its peers'.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    seconds: VecDeque<(Second, Second)>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    outcomes: u64,
    /// Overdue ones included.
    failed: u64,
    overdue: u64,
    /// The failed part up to which it may go up.
    good: f64,
    /// The failed part from which it goes back.
    bad: f64,
    latency: Duration,
    latency_bar: Duration,
}

impl Judge {
    /// Takes in one second.
    pub fn live(&mut self, sight: &Sight) {
        self.seconds.push_back((sight.own, sight.peers));
        while self.seconds.len() > REMEMBERED {
            self.seconds.pop_front();
        }
    }

    /// The verdict on the last of them.
    pub fn verdict(&self, bars: &Bars) -> Verdict {
        let (own, peers) = self.last();
        let slow = bars.latency.max(Duration::from_nanos(bars.usual_latency).mul_f64(RATIO));
        let overdue = self.overdue(slow);
        // Where some answers take their time and most do not, the former are no failures.
        let overdue = if overdue > own.well { overdue } else { 0 };
        let beside = peers.outcomes() >= WORTH;
        let (good, latency_bar) = if beside {
            let peers_latency = Duration::from_nanos(peers.latency_ns()).mul_f64(RATIO);
            (GOOD_BESIDE_PEERS.max(RATIO * peers.failing()), bars.latency.max(peers_latency))
        } else {
            (GOOD_ALONE.max(RATIO * bars.usual_failing), slow)
        };
        Verdict {
            outcomes: own.outcomes().saturating_add(overdue),
            failed: own.failed.saturating_add(overdue),
            overdue,
            good,
            bad: BAD.max(RATIO * bars.usual_failing),
            latency: Duration::from_nanos(own.latency_ns()),
            latency_bar,
        }
    }

    /// The last second, and as many before it as it takes.
    fn last(&self) -> (Second, Second) {
        let mut sum = (Second::default(), Second::default());
        for (own, peers) in self.seconds.iter().rev().take(SECONDS) {
            sum.0 += *own;
            sum.1 += *peers;
            if sum.0.outcomes() >= WORTH {
                break;
            }
        }
        sum
    }

    /// In flight for longer than `bar`, at least: of what was in flight then, what has not ended since.
    fn overdue(&self, bar: Duration) -> u64 {
        let seconds = usize::try_from(bar.as_secs()).unwrap_or(usize::MAX).saturating_add(1);
        let seconds = seconds.min(REMEMBERED - 1);
        let Some(then) = self.seconds.len().checked_sub(seconds + 1) else { return 0 };
        let mut since = self.seconds.iter().skip(then).map(|(own, _)| own);
        let then = since.next().map_or(0, |own| own.in_flight);
        let ended = since.map(Second::outcomes).fold(0, u64::saturating_add);
        then.saturating_sub(ended)
    }
}

impl Verdict {
    /// So much fails that it is to go back.
    pub fn is_bad(&self) -> bool {
        self.failed >= LEAST_BAD && part(self.failed, self.outcomes) >= self.bad
    }

    /// More fails than may while it goes up.
    pub fn fails(&self) -> bool {
        part(self.failed, self.outcomes) > self.good
    }

    /// Answers take longer than they may while it goes up.
    pub fn is_slow(&self) -> bool {
        self.latency > self.latency_bar
    }

    /// What fails, in words with numbers.
    pub fn failing(&self) -> impl fmt::Display + use<> {
        let percent = 100.0 * part(self.failed, self.outcomes);
        let good = 100.0 * self.good;
        let overdue = match self.overdue {
            0 => String::new(),
            overdue => format!(", {overdue} of them overdue"),
        };
        let (failed, outcomes) = (self.failed, self.outcomes);
        format!("{percent:.1} % fail ({failed} of {outcomes}{overdue}); {good:.1} % may")
    }

    /// How slow it is, in words with numbers.
    pub fn slow(&self) -> impl fmt::Display + use<> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "answers take {:.0} ms on average; {:.0} ms are allowed",
            ms(self.latency),
            ms(self.latency_bar)
        )
    }
}

fn part(of: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { of as f64 / all as f64 }
}
