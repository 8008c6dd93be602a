//! Sheds in the log and in the stream of events: seldom enough that a storm of them costs nothing.
//! Counting is done by the metrics.

use super::stream::{Kind, Record};
use crate::reject::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// One upstream's sheds in the log and the stream: at most one of each reason a second, however many are shed.
#[derive(Debug)]
pub struct ShedNotices {
    upstream: Arc<str>,
    start: Instant,
    /// For each reason, the second after the start (from 1) in which it was last logged.
    last: [AtomicU64; Reason::ALL.len()],
}

impl ShedNotices {
    /// For an upstream by its name; shared by all cores.
    pub fn new(upstream: Arc<str>) -> Self {
        let last = std::array::from_fn(|_| AtomicU64::new(0));
        ShedNotices { upstream, start: Instant::now(), last }
    }

    /// Something was shed; logs it unless the same was logged within this second. Cheap when it was: one
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
        let second = now.saturating_duration_since(self.start).as_secs() + 1;
        let last = &self.last[reason as usize];
        let seen = last.load(Relaxed);
        seen < second && last.compare_exchange(seen, second, Relaxed, Relaxed).is_ok()
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
        assert!(due(Reason::QueueFull, 1000));
        assert!(!due(Reason::QueueFull, 1001));
    }
}
