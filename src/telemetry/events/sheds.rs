//! Sheds in the log and in the stream of events: seldom enough that a storm of them costs nothing.
//! Counting is done by the metrics.

use super::stream::{Kind, Record};
use crate::reject::Reason;
use crate::request::Class;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// One upstream's sheds in the log and the stream: at most one of each reason a second, however many are shed.
#[derive(Debug)]
pub struct ShedNotices {
    upstream: Arc<str>,
    start: Instant,
    /// For each reason, the milliseconds after the start (from 1) at which it was last logged.
    last: [AtomicU64; Reason::ALL.len()],
}

impl ShedNotices {
    /// For an upstream by its name; shared by all cores.
    pub fn new(upstream: Arc<str>) -> Self {
        let last = std::array::from_fn(|_| AtomicU64::new(0));
        ShedNotices { upstream, start: Instant::now(), last }
    }

    /// Something was shed; logs it unless the same was logged less than a second ago. Cheap when it was: one
    /// load of a line that seldom changes.
    pub fn shed(&self, reason: Reason, now: Instant) {
        if self.is_due(reason, now) {
            let (upstream, reason) = (&*self.upstream, reason.as_str());
            tracing::warn!(upstream, reason, "shedding");
            Record::new(Kind::Shed, format!("{upstream} is shedding: {reason}"))
                .with("upstream", upstream)
                .with("reason", reason)
                .hand_on();
        }
    }

    fn is_due(&self, reason: Reason, now: Instant) -> bool {
        let ms = now.saturating_duration_since(self.start).as_millis() as u64 + 1;
        let last = &self.last[reason as usize];
        let seen = last.load(Relaxed);
        let due = seen == 0 || ms.saturating_sub(seen) >= 1_000;
        due && last.compare_exchange(seen, ms, Relaxed, Relaxed).is_ok()
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
    use std::time::Duration;

    #[test]
    fn a_storm_of_sheds_is_one_line_a_second_for_each_reason() {
        let notices = ShedNotices::new("orders".into());
        let start = notices.start;
        let due = |reason, ms| notices.is_due(reason, start + Duration::from_millis(ms));
        assert!(due(Reason::QueueFull, 0));
        assert!(!due(Reason::QueueFull, 999));
        assert!(due(Reason::UpstreamLimit, 999));
        assert!(due(Reason::QueueFull, 1_700));
        assert!(!due(Reason::QueueFull, 2_100), "another second of the clock, but not a second later");
        assert!(due(Reason::QueueFull, 2_700));
    }
}
