//! Auths that ask nobody: what they are if nothing is said, and what is refused because a hole would be open.

use super::{Fake, GOOD, check, checked};
use crate::config::plan::Plan;
use crate::filters::auth::settings::{Jwt, KeySource, Kind, OnError};
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, RS256};
use std::path::Path;
use std::time::Duration;

const URL: &str = "jwks_url = \"https://issuer.example/keys\"\n";
const SECRET: &str = "secret = \"${file:/run/jwt}\"\naudiences = [\"x\"]\nissuers = [\"i\"]\n";

fn with(kind: &str, lines: &str) -> String {
    let guarded = GOOD.replace("name = \"r\"", "name = \"r\"\nauth = \"a\"");
    format!("{guarded}\n[[auth]]\nname = \"a\"\nkind = \"{kind}\"\n{lines}\n")
}

/// The plan of a valid text, with a secret on disk.
fn plan(text: &str) -> Plan {
    let files = [("/run/jwt", "thirty-two bytes at least, at random"), ("/run/short", "hunter2")];
    let env = Fake { files: files.into(), ..Fake::default() };
    let checked = check(text, Path::new("/etc/tidegate/tidegate.toml"), &env);
    let rendered = checked.render(false);
    checked.plan.unwrap_or_else(|| panic!("{rendered}"))
}

fn jwt(lines: &str) -> Jwt {
    match &plan(&with("jwt", lines)).auths[0].kind {
        Kind::Jwt(jwt) => jwt.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_have_safe_defaults() {
    let plan = plan(&with("jwt", &format!("{URL}audiences = [\"x\"]")));
    let auth = &plan.auths[0];
    let cache = auth.cache.as_ref().expect("a busy client costs one verification");
    assert_eq!((cache.ttl, cache.max_entries), (Duration::from_secs(30), 100_000));
    assert_eq!((auth.timeout, auth.on_error), (Duration::from_millis(200), OnError::Deny));
    assert!(plan.notices.join("\n").contains("whoever has the keys may issue tokens"), "{:?}", plan.notices);
    let jwt = jwt(&format!("{URL}audiences = [\"x\"]"));
    assert_eq!(jwt.rules.algorithms, [RS256, ES256, EdDSA]);
    assert_eq!((jwt.header.as_str(), jwt.rules.max_length), ("authorization", 8192));
    assert_eq!((jwt.refresh, jwt.rules.leeway), (Duration::from_secs(300), Duration::from_secs(30)));
    assert_eq!(self::jwt(SECRET).rules.algorithms, [HS256]);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let plan = plan(&with("jwt", SECRET));
    assert!(!format!("{plan:?}").contains("thirty-two"));
    assert_eq!(jwt(SECRET).source.to_string(), "a secret");
    let url = jwt("jwks_url = \"https://issuer.example:8443/keys?code=hunter2\"\nany_audience = true").source;
    assert_eq!(url.to_string(), "https://issuer.example:8443/keys");
    assert!(matches!(url, KeySource::Url { .. }));
}

#[test]
fn what_would_open_a_hole_is_refused() {
    let good = format!("{URL}audiences = [\"x\"]\n");
    let both = format!("{URL}jwks_file = \"keys.json\"\naudiences = [\"x\"]");
    let hash = "a".repeat(64);
    let twice =
        format!("keys = [{{ name = \"a\", hash = \"{hash}\" }}, {{ name = \"b\", hash = \"{hash}\" }}]");
    for (kind, lines, words) in [
        ("jwt", URL.to_owned(), "`audiences` is missing"),
        ("jwt", "audiences = [\"x\"]".to_owned(), "nothing says where the keys come from"),
        ("jwt", both, "jwks_url and jwks_file exclude each other"),
        (
            "jwt",
            "secret = \"a secret of at least thirty-two bytes\"\naudiences = [\"x\"]".to_owned(),
            "in its history",
        ),
        ("jwt", format!("{good}algorithms = [\"HS256\"]"), "do not go with where the keys come from"),
        ("jwt", format!("{good}algorithms = [\"RS256\", \"HS256\"]"), "do not go with"),
        ("jwt", format!("{good}algorithms = [\"none\"]"), "none"),
        ("jwt", format!("{good}on_error = \"stale\""), "`stale` is for external auths"),
        ("jwt", format!("{good}copy_headers = [\"x-user\"]"), "`copy_headers` means nothing"),
        (
            "jwt",
            format!("{good}forward = {{ \"authorization\" = \"sub\" }}"),
            "belongs to the gateway or the client",
        ),
        ("jwt", format!("{good}forward = {{ \"cookie\" = \"sub\" }}"), "`cookie` is read from clients"),
        ("jwt", "jwks_url = \"ftp://issuer.example/keys\"\naudiences = [\"x\"]".to_owned(), "is not a URL"),
        (
            "jwt",
            "jwks_url = \"https://me:pw@issuer.example/\"\naudiences = [\"x\"]".to_owned(),
            "is not a URL",
        ),
        ("jwt", "upstream = \"u\"\naudiences = [\"x\"]".to_owned(), "`path` is missing"),
        (
            "jwt",
            "upstream = \"v\"\npath = \"/k\"\naudiences = [\"x\"]".to_owned(),
            "there is no upstream named",
        ),
        ("api_key", String::new(), "`keys` is missing"),
        ("api_key", twice, "two keys have the same hash"),
        (
            "api_key",
            format!("keys = [{{ name = \"a\", hash = \"{hash}\" }}]\naudiences = [\"x\"]"),
            "means nothing",
        ),
        (
            "external",
            "upstream = \"u\"\npath = \"/\"\nforward = { \"x-user\" = \"sub\" }".to_owned(),
            "means nothing",
        ),
    ] {
        let errors = checked(&with(kind, &lines)).errors();
        assert!(errors.iter().any(|error| error.contains(words)), "{lines}: {errors:?}");
        assert!(errors.len() <= 2, "{lines}: {errors:?}");
    }
}
