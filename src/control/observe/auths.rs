//! Reads auths into plain values.

use crate::control::view::{AuthView, KeptView};
use crate::filters::auth::Auth;
use crate::filters::auth::settings::{Kind, OnError};
use crate::routing::trial::Tables;
use crate::telemetry::metrics::AuthResult;

/// Every auth once by its name: those of the stable version, and those that only a candidate has.
pub(super) fn auths(tables: &Tables) -> Vec<AuthView> {
    let stable = &tables.stable.auths;
    let known = |auth: &&Auth| stable.iter().any(|it| it.settings.name == auth.settings.name);
    let new = tables.candidate().into_iter().flat_map(|table| table.auths.iter());
    stable.iter().chain(new.filter(|auth| !known(auth))).map(view).collect()
}

fn view(auth: &Auth) -> AuthView {
    let settings = &auth.settings;
    let (kind, max_in_flight) = match &settings.kind {
        Kind::External(external) => ("external", external.max_in_flight),
        Kind::Jwt(_) => ("jwt", 0),
        Kind::ApiKey(_) => ("api_key", 0),
    };
    let kept = auth.known.decisions.as_ref().zip(settings.cache.as_ref());
    let on_error = match settings.on_error {
        OnError::Deny => "deny",
        OnError::Allow => "allow",
        OnError::Stale => "stale",
    };
    AuthView {
        name: settings.name.to_string(),
        kind: kind.to_owned(),
        upstream: settings.upstream().map(ToString::to_string),
        silent: auth.known.breaker.is_silent(),
        timeout_ms: u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX),
        on_error: on_error.to_owned(),
        in_flight: auth.counts.in_flight.get(),
        max_in_flight,
        kept: kept.map(|(decisions, cache)| {
            let kept = decisions.kept();
            let (passed, refused, bytes) = (kept.passed, kept.refused, kept.bytes);
            KeptView { passed, max_passed: cache.max_entries, refused, bytes }
        }),
        keys: super::keys::keys(auth),
        results: AuthResult::ALL
            .iter()
            .map(|result| (result.as_str().to_owned(), auth.metrics.results(*result)))
            .collect(),
    }
}
