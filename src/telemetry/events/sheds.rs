//! Sheds in the log and in the stream of events: a spell of them is told when it begins, in sums while it lasts, and
//! when it is over. Counting is done by the metrics, and when to tell is decided by the control plane.

use super::stream::{Kind, Record};
use crate::reject::Reason;
use crate::request::Class;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// For which reasons one upstream sheds, for whoever tells of it; shared by all cores.
#[derive(Debug, Default)]
pub struct ShedNotices {
    /// A bit for each reason that was heard of and is not over.
    heard: AtomicU64,
    /// Requests that were refused because of their client's own zombies: no metric of the upstream counts these.
    held: AtomicU64,
}

const _: () = assert!(Reason::ALL.len() <= u64::BITS as usize, "a bit for each reason");

impl ShedNotices {
    /// Something was shed, and is counted. Cheap while that lasts: one load of a line that seldom changes.
    pub fn shed(&self, reason: Reason) {
        let bit = 1 << reason as u8;
        if self.heard.load(Relaxed) & bit == 0 {
            self.heard.fetch_or(bit, Relaxed);
        }
    }

    /// Something was refused because of what its client left behind.
    pub fn held_against_client(&self) {
        self.held.fetch_add(1, Relaxed);
        self.shed(Reason::ClientAborts);
    }

    /// Reasons that were heard of and are not over.
    pub fn heard(&self) -> impl Iterator<Item = Reason> + use<> {
        let heard = self.heard.load(Relaxed);
        let is_heard = move |reason: &Reason| heard & (1 << *reason as u8) != 0;
        // Most of the time there are none.
        let all = if heard == 0 { &[][..] } else { &Reason::ALL[..] };
        all.iter().copied().filter(is_heard)
    }

    /// It is over. One that is shed in this moment may be heard of with the next.
    pub fn is_over(&self, reason: Reason) {
        self.heard.fetch_and(!(1 << reason as u8), Relaxed);
    }

    /// Requests that were ever held against their clients.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }
}

/// One upstream sheds for one reason: that begins, lasts, or is over.
#[derive(Clone, Copy, Debug)]
pub struct Shedding<'a> {
    /// Which of the three.
    pub what: Spell,
    /// The upstream.
    pub upstream: &'a str,
    /// Why.
    pub reason: Reason,
    /// Requests since it was last told.
    pub count: u64,
    /// Requests since it began.
    pub total: u64,
    /// When it began.
    pub since: jiff::Timestamp,
    /// From the first of them to the last, in seconds.
    pub seconds: u64,
    /// Since it was last told, in seconds.
    pub told_seconds: u64,
}

/// What becomes of a spell of sheds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spell {
    /// It begins.
    Began,
    /// It is over.
    Ended,
    /// It lasts.
    Lasts,
}

impl Spell {
    /// The word in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Spell::Began => "began",
            Spell::Ended => "ended",
            Spell::Lasts => "lasts",
        }
    }
}

impl Shedding<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Shedding { what, upstream, reason, count, total, since, seconds, .. } = self;
        let (message, step, reason) = (self.message(), what.as_str(), reason.as_str());
        match what {
            Spell::Began => tracing::warn!(upstream, reason, "shedding"),
            Spell::Lasts => tracing::warn!(upstream, reason, count, total, seconds, "still shedding"),
            Spell::Ended => tracing::info!(upstream, reason, total, seconds, "sheds no more"),
        }
        Record::new(Kind::Shed, message)
            .with("what", step)
            .with("upstream", upstream)
            .with("reason", reason)
            .with("count", count)
            .with("total", total)
            .with("since", format!("{since:.3}"))
            .with("seconds", seconds)
            .hand_on();
    }

    /// For people, and short. It may go on for another reason.
    fn message(&self) -> String {
        let Shedding { what, upstream, reason, count, total, seconds, told_seconds, .. } = *self;
        let (reason, lasted) = (reason.as_str(), lasted(seconds));
        let (count, total) = (few(count), few(total));
        match what {
            Spell::Began => format!("{upstream} is shedding: {reason}"),
            Spell::Lasts => {
                format!("{upstream} sheds {count} in {told_seconds}s, {total} in {lasted}: {reason}")
            }
            Spell::Ended => format!("{upstream} sheds no more as {reason}: {total} in {lasted}"),
        }
    }
}

/// A number in few digits: `99999`, `123k`, `7.7M`.
fn few(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

/// A time in few letters: `42s`, `9m 42s`, `2h 5m`.
fn lasted(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{}s", seconds.max(1)),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A core that does not keep up refuses other classes than before; told once a step, which is once a second at most.
#[derive(Clone, Copy, Debug)]
pub struct ClassesClosed<'a> {
    /// Which core.
    pub core: u32,
    /// What it refuses now.
    pub classes: &'a [Class],
    /// It refuses less than before.
    pub opens: bool,
    /// How late its loop was, on average over a second.
    pub late_ms: u64,
}

impl ClassesClosed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let ClassesClosed { core, classes, opens, late_ms } = self;
        let names: Vec<String> = classes.iter().map(ToString::to_string).collect();
        let closed = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let message = if opens {
            format!("core {core} keeps up again ({late_ms} ms late): it refuses {closed}")
        } else {
            format!("core {core} does not keep up ({late_ms} ms late): it refuses {closed}")
        };
        if opens {
            tracing::info!(core, late_ms, closed, "classes opened");
        } else {
            tracing::warn!(core, late_ms, closed, "classes closed");
        }
        Record::new(Kind::Shed, message)
            .with("what", "classes")
            .with("reason", Reason::Cpu.as_str())
            .with("core", core)
            .with("late_ms", late_ms)
            .with_list("classes", &names)
            .hand_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shed_is_heard_of_until_it_is_over() {
        let notices = ShedNotices::default();
        assert_eq!(notices.heard().count(), 0);
        for _ in 0..1_000 {
            notices.shed(Reason::QueueFull);
            notices.held_against_client();
        }
        assert_eq!(notices.heard().collect::<Vec<_>>(), [Reason::QueueFull, Reason::ClientAborts]);
        assert_eq!(notices.held(), 1_000);
        notices.is_over(Reason::QueueFull);
        assert_eq!(notices.heard().collect::<Vec<_>>(), [Reason::ClientAborts]);
        Reason::ALL.into_iter().for_each(|reason| notices.shed(reason));
        assert_eq!(notices.heard().count(), Reason::ALL.len());
    }

    #[test]
    fn a_person_reads_it_in_a_line() {
        let spell = Shedding {
            what: Spell::Lasts,
            upstream: "orders",
            reason: Reason::UpstreamLimit,
            count: 123_456,
            total: 7_654_321,
            since: jiff::Timestamp::UNIX_EPOCH,
            seconds: 582,
            told_seconds: 30,
        };
        let lasts = spell.message();
        assert_eq!(lasts, "orders sheds 123k in 30s, 7.6M in 9m 42s: upstream_limit");
        let ended = Shedding { what: Spell::Ended, ..spell }.message();
        assert_eq!(ended, "orders sheds no more as upstream_limit: 7.6M in 9m 42s");
        let times = [0, 59, 60, 7_500].map(lasted);
        assert_eq!([7, 99_999, 100_000, 1_000_000].map(few), ["7", "99999", "100k", "1.0M"]);
        assert_eq!(times, ["1s", "59s", "1m 0s", "2h 5m"]);
    }
}
