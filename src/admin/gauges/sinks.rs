//! Who is told what happens, as metrics: their own failure must be seen by somebody else.

use crate::control::notify::NotifyView;
use crate::telemetry::family::Family;

/// Their families.
pub(super) fn families(view: &NotifyView) -> [Family; 7] {
    let mut events = Family::counter(
        "tidegate_notifications_total",
        "Events for a sink, by what became of them: sent, failed (refused, or given up), dropped (too many waited), \
         deduplicated (it was told before). Those that waited for a sink that was taken out are dropped under -.",
    );
    let mut attempts =
        Family::counter("tidegate_notification_attempts_total", "Messages that a sink took or did not take.");
    let mut depth =
        Family::gauge("tidegate_notification_queue_depth", "Alerts that wait to be told to a sink.");
    let mut success = Family::gauge(
        "tidegate_notification_last_success_timestamp_seconds",
        "When a sink last took a message; not there before it did.",
    );
    let mut failing =
        Family::gauge("tidegate_notification_failing", "1 while a sink does not take what it is told.");
    for sink in &view.sinks {
        let name = ("sink", sink.name.as_str());
        let outcomes = [
            ("sent", sink.sent),
            ("failed", sink.failed),
            ("dropped", sink.dropped),
            ("deduplicated", sink.deduplicated),
        ];
        for (outcome, count) in outcomes {
            events.count(&[name, ("outcome", outcome)], count);
        }
        attempts.count(&[name, ("outcome", "taken")], sink.attempts_taken);
        attempts.count(&[name, ("outcome", "failed")], sink.attempts_failed);
        depth.set(&[name], u32::try_from(sink.queue_depth).map_or(f64::MAX, f64::from));
        if let Some(seconds) = sink.last_success_seconds {
            success.set(&[name], seconds);
        }
        failing.set(&[name], f64::from(u8::from(sink.failing_since.is_some())));
    }
    events.count(&[("sink", "-"), ("outcome", "dropped")], view.orphaned);
    let mut lasting = Family::gauge("tidegate_notification_alerts", "Alerts that last.");
    lasting.set(&[], u32::try_from(view.lasting).map_or(f64::MAX, f64::from));
    let mut lost = Family::counter(
        "tidegate_notification_events_lost_total",
        "Events that came faster than they were taken to be told.",
    );
    lost.count(&[], view.lost);
    [events, attempts, depth, success, failing, lasting, lost]
}
