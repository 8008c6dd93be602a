//! The audit's head and how it is kept, as metrics: whoever scrapes them can tell later that rows were cut off.

use crate::control::audit::AuditView;
use crate::telemetry::family::Family;

/// Its families.
pub(in crate::admin) fn families(view: &AuditView) -> Vec<Family> {
    let counter = |name, help, value| {
        let mut family = Family::counter(name, help);
        family.count(&[], value);
        family
    };
    let gauge = |name, help, value: f64| {
        let mut family = Family::gauge(name, help);
        family.set(&[], value);
        family
    };
    let mut head = Family::gauge("tidegate_audit_head", "The hash of the newest row of the audit; always 1.");
    head.set(&[("hash", &view.head)], 1.0);
    vec![
        counter(
            "tidegate_audit_rows_total",
            "Rows of the audit so far, those included that were pruned or lost.",
            view.count,
        ),
        head,
        gauge(
            "tidegate_audit_segment",
            "Segment of the audit; one more each time that rows were lost.",
            view.segment as f64,
        ),
        gauge(
            "tidegate_audit_waiting",
            "Changes in memory that the history's database has not taken yet.",
            view.waiting as f64,
        ),
        counter(
            "tidegate_audit_dropped_total",
            "Changes that were never recorded because too many waited.",
            view.dropped,
        ),
        gauge(
            "tidegate_audit_lines_behind",
            "Rows of the audit that are not in its shipped lines yet.",
            view.lines_behind as f64,
        ),
        counter(
            "tidegate_audit_line_failures_total",
            "Times that the audit's lines could not be written.",
            view.lines_failures,
        ),
        gauge(
            "tidegate_history_available",
            "1 while history and audit can be recorded.",
            f64::from(u8::from(view.open)),
        ),
    ]
}
