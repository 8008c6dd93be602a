//! Auths: what they are if nothing is said, and what is refused because a hole would be open.

use super::{GOOD, checked, plan};
use crate::filters::auth::settings::{External, KeyPart, Kind, OnError};
use std::time::Duration;

/// A route with an auth that asks an upstream of its own.
fn with(auth: &str) -> String {
    let guarded = GOOD.replace("name = \"r\"", "name = \"r\"\nauth = \"session\"");
    format!(
        "{guarded}\n[[upstreams]]\nname = \"judge\"\nbackends = [{{ name = \"j\", address = \"127.0.0.1:2\" }}]\n\
         [[auth]]\nname = \"session\"\nupstream = \"judge\"\npath = \"/verify?strict\"\n{auth}"
    )
}

fn errors(auth: &str) -> Vec<String> {
    checked(&with(auth)).errors()
}

#[test]
fn an_auth_has_safe_defaults_and_its_upstream_follows_its_timeout() {
    let plan = plan(&with("cache = {}"));
    let auth = &plan.auths[0];
    let Kind::External(External { headers, copy_headers, refusal_headers, max_in_flight, path, .. }) =
        &auth.kind
    else {
        panic!("external is the default")
    };
    assert_eq!((auth.timeout, auth.on_error), (Duration::from_millis(200), OnError::Deny));
    assert_eq!(headers, &["authorization", "cookie", "x-api-key"]);
    assert_eq!(refusal_headers, &["www-authenticate"]);
    assert!(copy_headers.is_empty());
    assert_eq!((path.as_str(), *max_in_flight), ("/verify?strict", 64));
    let cache = auth.cache.as_ref().expect("it is asked for");
    assert_eq!((cache.ttl, cache.refused_ttl), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((cache.stale, cache.max_entries), (Duration::from_secs(300), 100_000));
    assert!(cache.key.is_empty());
    assert_eq!(plan.routes[0].1.auth, Some(0));
    let gate = &plan.upstreams[1].gate;
    assert_eq!(gate.max_wait, Duration::from_millis(10), "a twentieth of the auth's timeout");
    assert_eq!(gate.adaptive.objective, Duration::from_millis(50), "and a quarter of it");
}

#[test]
fn an_auth_shares_an_upstream_like_a_route() {
    let text = with("").replace("upstream = \"judge\"", "upstream = \"u\"");
    let plan = plan(&text);
    let Kind::External(external) = &plan.auths[0].kind else { panic!("external is the default") };
    assert_eq!((external.max_in_flight, plan.routes[0].1.max_in_flight), (32, 32));
}

#[test]
fn a_key_is_narrower_only_where_the_file_says_so() {
    let plan = plan(&with("headers = [\"cookie\"]\ncache = { key = [\"header:Cookie\", \"path\"] }"));
    let cache = plan.auths[0].cache.as_ref().expect("it is asked for");
    assert_eq!(cache.key, [KeyPart::Header(http::header::COOKIE), KeyPart::Path]);
    assert!(plan.notices.is_empty(), "{:?}", plan.notices);
    let told = super::plan(&with("cache = { key = [\"header:cookie\", \"path\"] }")).notices.join("\n");
    assert!(told.contains("differ in authorization, x-api-key only share decisions"), "{told}");
}

#[test]
fn what_would_open_a_hole_is_refused() {
    for (auth, words) in [
        ("on_error = \"stale\"", "nothing can stand in"),
        ("copy_headers = [\"authorization\"]", "`authorization` is read from clients"),
        ("copy_headers = [\"content-length\"]", "`content-length` belongs to the gateway"),
        ("copy_headers = [\"x-tidegate-auth\"]", "belongs to the gateway"),
        ("headers = [\"x-forwarded-for\"]", "belongs to the gateway"),
        ("cache = { key = [\"header:x-user\"] }", "tells no requests apart"),
        ("cache = { key = [\"user\"] }", "tells no requests apart"),
    ] {
        let errors = errors(auth);
        assert_eq!(errors.len(), 1, "{auth}: {errors:?}");
        assert!(errors[0].contains(words), "{auth}: {errors:?}");
    }
    let errors = checked(&with("").replace("auth = \"session\"", "auth = \"sesion\"")).errors();
    assert!(errors[0].contains("there is no auth named \"sesion\""), "{errors:?}");
}
