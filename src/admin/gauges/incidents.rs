//! Incidents, freezes and the status page as metrics.

use super::one;
use crate::control::incidents::incident::Severity;
use crate::control::view::GatewayView;
use crate::telemetry::family::Family;

/// What is open, drafted and held; and how the page for everyone does, if there is one.
pub(super) fn families(view: &GatewayView) -> Vec<Family> {
    let incidents = &view.incidents;
    let mut open = Family::gauge("tidegate_incidents_open", "Incidents that are open, by severity.");
    for severity in Severity::ALL {
        let count = incidents.open.iter().filter(|incident| incident.severity == severity.as_str()).count();
        open.set(&[("severity", severity.as_str())], count as f64);
    }
    let mut drafted =
        Family::counter("tidegate_incidents_drafted_total", "Incidents that the gateway drafted, by cause.");
    for (cause, count) in &incidents.drafted {
        drafted.count(&[("cause", cause)], *count);
    }
    let drafts = incidents.drafts.len() as f64;
    let mut families = vec![
        open,
        drafted,
        one("tidegate_incident_drafts", "Drafted incidents that nobody has read.", &[], drafts),
        one(
            "tidegate_change_freeze",
            "Open incidents that hold risky changes.",
            &[],
            incidents.freezes.len() as f64,
        ),
    ];
    families.extend(page(view));
    families
}

fn page(view: &GatewayView) -> Vec<Family> {
    let Some(page) = &view.status_page else { return Vec::new() };
    let mut answers = Family::counter("tidegate_status_page_answers_total", "Answers of the status page.");
    answers.count(&[], page.answers);
    let mut refused = Family::counter(
        "tidegate_status_page_refused_total",
        "Connections and requests that the status page refused or ended, by reason.",
    );
    for (reason, count) in &page.refused {
        refused.count(&[("reason", reason)], *count);
    }
    vec![
        one(
            "tidegate_status_page_up",
            "1 while the status page listens where it should.",
            &[],
            super::flag(page.address.is_some() && page.trouble.is_none()),
        ),
        one(
            "tidegate_status_page_connections",
            "Open connections of the status page.",
            &[],
            f64::from(page.connections),
        ),
        answers,
        refused,
    ]
}
