//! The keys that auths check tokens with.

use crate::control::view::GatewayView;
use crate::telemetry::family::Family;

pub(super) fn families(view: &GatewayView) -> [Family; 3] {
    let mut keys = Family::gauge("tidegate_auth_keys", "Keys in use that an auth checks tokens with.");
    let mut age = Family::gauge(
        "tidegate_auth_keys_age_seconds",
        "Since the source of an auth's keys last gave them; not there if it never did.",
    );
    let mut fetches = Family::counter(
        "tidegate_auth_key_fetches_total",
        "Fetches of an auth's keys; several auths with one source share them.",
    );
    for auth in &view.auths {
        let Some(held) = &auth.keys else { continue };
        let name = ("auth", auth.name.as_str());
        keys.set(&[name], f64::from(u32::try_from(held.keys).unwrap_or(u32::MAX)));
        if let Some(seconds) = held.age_seconds {
            age.set(&[name], seconds);
        }
        fetches.count(&[name, ("outcome", "succeeded")], held.fetched);
        fetches.count(&[name, ("outcome", "failed")], held.failed);
    }
    [keys, age, fetches]
}
