//! What operators see of auths: where their keys come from, how old they are, and why they are not newer.

use crate::control::view::{AuthView, KeysView};
use crate::filters::auth::jwt::ring::Ring;
use crate::filters::auth::settings::Kind;
use crate::filters::auth::{Auth, Own};
use crate::routing::table::Table;
use crate::upstream::certificate::{epoch_seconds, rfc3339};
use std::time::SystemTime;

pub(super) fn views(table: &Table) -> Vec<AuthView> {
    table.auths.iter().map(view).collect()
}

fn view(auth: &Auth) -> AuthView {
    let (kind, source) = match &auth.settings.kind {
        Kind::External(_) => ("external", None),
        Kind::Jwt(jwt) => ("jwt", Some(jwt.source.to_string())),
        Kind::ApiKey(_) => ("api_key", None),
    };
    let keys = match (&auth.own, source) {
        (Own::Keys(ring), Some(source)) => Some(keys(ring, source)),
        _ => None,
    };
    AuthView { name: auth.settings.name.to_string(), kind: kind.to_owned(), keys }
}

fn keys(ring: &Ring, source: String) -> KeysView {
    let (held, told, (fetched, failed)) = (ring.held(), ring.told(), ring.fetches());
    let confirmed = held.as_ref().map(|held| held.confirmed);
    let age = confirmed.map(|then| SystemTime::now().duration_since(then).unwrap_or_default());
    KeysView {
        source,
        keys: held.as_ref().map_or(0, |held| held.keys.len()),
        ignored: held.as_ref().map_or(0, |held| held.keys.ignored),
        confirmed: confirmed.map(|then| rfc3339(epoch_seconds(then))),
        age_seconds: age.map(|age| age.as_secs_f64()),
        failures: told.failures,
        failure: told.failure.map(|why| why.to_string()),
        fetched,
        failed,
    }
}

/// What a person should know: keys that cannot be had.
pub(super) fn reasons(table: &Table) -> Vec<String> {
    let sentence = |auth: &Auth| {
        let keys = view(auth).keys?;
        let why = keys.failure?;
        let (name, source, held) = (&auth.settings.name, keys.source, keys.keys);
        Some(match held {
            0 => format!("auth {name}: no keys, so its routes refuse everybody; {source}: {why}"),
            held => format!("auth {name}: its last {held} keys stay in use; {source}: {why}"),
        })
    };
    table.auths.iter().filter_map(sentence).collect()
}
