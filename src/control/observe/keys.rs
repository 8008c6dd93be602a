//! Reads what auths check tokens with into plain values.

use crate::control::view::KeysView;
use crate::filters::auth::settings::{KeySource, Kind};
use crate::filters::auth::{Auth, Own};
use crate::upstream::certificate::{epoch_seconds, rfc3339};
use std::time::SystemTime;

/// The keys of an auth, if it takes tokens.
pub(super) fn keys(auth: &Auth) -> Option<KeysView> {
    let (Kind::Jwt(jwt), Own::Keys(ring)) = (&auth.settings.kind, &auth.own) else { return None };
    let (held, told, (fetched, failed)) = (ring.held(), ring.told(), ring.fetches());
    let fetched_ever = !matches!(jwt.source, KeySource::Secret(_));
    let confirmed = held.as_ref().filter(|_| fetched_ever).map(|held| held.confirmed);
    let age = confirmed.map(|then| SystemTime::now().duration_since(then).unwrap_or_default());
    Some(KeysView {
        source: jwt.source.to_string(),
        keys: held.as_ref().map_or(0, |held| held.keys.len()),
        ignored: held.as_ref().map_or(0, |held| held.keys.ignored),
        confirmed: confirmed.map(|then| rfc3339(epoch_seconds(then))),
        age_seconds: age.map(|age| age.as_secs_f64()),
        failures: told.failures,
        failure: told.failure.map(|why| why.to_string()),
        fetched,
        failed,
    })
}
