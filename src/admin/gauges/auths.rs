//! Auths as gauges.

use super::flag;
use crate::control::view::GatewayView;
use crate::telemetry::family::Family;

/// Of every auth: whether it is silent, its questions in flight, and the decisions that are kept.
pub(super) fn families(view: &GatewayView) -> [Family; 5] {
    let mut silent = Family::gauge(
        "tidegate_auth_silent",
        "1 while the service of an auth does not answer, so that nobody waits for it.",
    );
    let mut in_flight =
        Family::gauge("tidegate_auth_inflight", "Questions of an auth in flight, given up ones included.");
    let mut limit = Family::gauge("tidegate_auth_limit", "Questions of an auth allowed in flight.");
    let mut decisions = Family::gauge(
        "tidegate_auth_decisions",
        "Decisions of an auth that are kept, fresh or not, by kind.",
    );
    let mut bytes = Family::gauge(
        "tidegate_auth_decision_bytes",
        "Bytes of the kept decisions of an auth, by and large.",
    );
    for auth in &view.auths {
        let name = ("auth", auth.name.as_str());
        silent.set(&[name], flag(auth.silent));
        in_flight.set(&[name], f64::from(auth.in_flight));
        limit.set(&[name], f64::from(auth.max_in_flight));
        let kept = auth.kept.as_ref();
        for (kind, count) in
            [("passed", kept.map(|kept| kept.passed)), ("refused", kept.map(|kept| kept.refused))]
        {
            decisions.set(&[name, ("kind", kind)], count.unwrap_or(0) as f64);
        }
        bytes.set(&[name], kept.map_or(0, |kept| kept.bytes) as f64);
    }
    [silent, in_flight, limit, decisions, bytes]
}
