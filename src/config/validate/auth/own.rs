//! Auths that ask nobody for each decision: signed tokens and lists of keys.

use super::super::{Check, owned, shared};
use super::{is_ours, path};
use crate::config::value::{Data, Table};
use crate::filters::auth::claims::{ClassRule, Grants};
use crate::filters::auth::jwt::Rules;
use crate::filters::auth::settings::{ApiKey, CacheSettings, Jwt, KeySource, Secret};
use crate::request::Class;
use http::header::AUTHORIZATION;
use http::{HeaderName, Uri};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a secret at least: as many as the shortest signature (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;

/// Keys that mean nothing for some kinds: written there, somebody believes in something that does not happen.
const OF_KINDS: [(&str, &[&str]); 26] = [
    ("upstream", &["external", "jwt"]),
    ("path", &["external", "jwt"]),
    ("headers", &["external"]),
    ("copy_headers", &["external"]),
    ("refusal_headers", &["external"]),
    ("subject_header", &["external"]),
    ("max_in_flight", &["external"]),
    ("timeout", &["external", "jwt"]),
    ("on_error", &["external", "jwt"]),
    ("cache", &["external", "jwt"]),
    ("header", &["jwt", "api_key"]),
    ("jwks_url", &["jwt"]),
    ("jwks_file", &["jwt"]),
    ("secret", &["jwt"]),
    ("ca", &["jwt"]),
    ("refresh", &["jwt"]),
    ("fetch_timeout", &["jwt"]),
    ("algorithms", &["jwt"]),
    ("issuers", &["jwt"]),
    ("audiences", &["jwt"]),
    ("any_audience", &["jwt"]),
    ("leeway", &["jwt"]),
    ("max_token", &["jwt"]),
    ("subject", &["jwt"]),
    ("require_scopes", &["jwt"]),
    ("keys", &["api_key"]),
];

/// Reports what means nothing for the kind.
pub(super) fn only_for(table: &Table, kind: &str, check: &mut Check<'_>) {
    for (key, kinds) in OF_KINDS {
        if let Some(value) = table.written(key).filter(|_| !kinds.contains(&kind)) {
            let message = format!("`{key}` means nothing for an auth of kind {kind}");
            let hint = format!("it is for {}; leave it out", kinds.join(" and "));
            check.error(value.span.clone(), message, hint);
        }
    }
    for key in ["forward", "classes"] {
        if let Some(value) = table.written(key).filter(|_| kind == "external") {
            let message = format!("`{key}` means nothing for an auth of kind external");
            check.error(value.span.clone(), message, "an external auth tells by copy_headers");
        }
    }
    if kind != "external" && table.text("on_error") == Some("stale") {
        let hint = "the last good keys stay in use by themselves; an expired token never passes";
        check.error(table.span_of("on_error"), "`stale` is for external auths", hint);
    }
}

/// What decisions about tokens are kept by where nothing is said: a busy client costs one verification.
pub(super) fn preset_cache() -> CacheSettings {
    CacheSettings {
        ttl: Duration::from_secs(30),
        refused_ttl: Duration::from_secs(5),
        stale: Duration::ZERO,
        max_entries: 100_000,
        key: Vec::new(),
    }
}

/// Signed tokens.
pub(super) fn jwt(table: &Table, root: &Table, check: &mut Check<'_>) -> Option<Jwt> {
    let source = source(table, root, check);
    let secret = table.get("secret").is_some();
    let algorithms = algorithms(table, secret, check);
    let grants = grants(table, check);
    let audiences: Vec<String> = texts(table, "audiences");
    if audiences.is_empty() && table.bool("any_audience") == Some(false) {
        let hint =
            "write audiences = [\"…\"], or any_audience = true where tokens for others may pass here too";
        check.error(
            table.span.clone(),
            "`audiences` is missing: a token for another service would pass",
            hint,
        );
    }
    let issuers: Vec<String> = texts(table, "issuers");
    if issuers.is_empty() {
        let hint = "write issuers = [\"…\"] where more than one issuer may use these keys";
        check.warning(table.span.clone(), "no `issuers`: whoever has the keys may issue tokens", hint);
    }
    Some(Jwt {
        header: table.header_name("header").cloned().unwrap_or(AUTHORIZATION),
        source: source?,
        refresh: table.duration("refresh")?,
        fetch_timeout: table.duration("fetch_timeout")?,
        rules: Arc::new(Rules {
            algorithms: algorithms?,
            issuers,
            audiences,
            leeway: table.duration("leeway")?,
            max_length: usize::try_from(table.integer("max_token")?).ok()?,
        }),
        grants: grants?,
    })
}

/// A list of keys.
pub(super) fn api_key(table: &Table, check: &mut Check<'_>) -> Option<ApiKey> {
    check.distinct("keys", table.tables("keys").map(|key| key.get("name")));
    if table.list("keys").is_empty() {
        let hint = "write keys = [{ name = \"…\", hash = \"…\" }]; `tidegate hash-token` makes the hash";
        check.error(table.span.clone(), "`keys` is missing: nobody could pass", hint);
    }
    let mut keys: Vec<(blake3::Hash, Arc<str>)> = Vec::with_capacity(table.list("keys").len());
    let mut seen = std::collections::HashSet::new();
    for key in table.tables("keys") {
        let hash = blake3::Hash::from_hex(key.text("hash")?).ok()?;
        if !seen.insert(hash) {
            check.error(key.span_of("hash"), "two keys have the same hash", "give each its own key");
        }
        keys.push((hash, shared(key, "name")?));
    }
    let header = table.header_name("header").cloned();
    Some(ApiKey {
        header: header.unwrap_or(HeaderName::from_static("x-api-key")),
        keys,
        grants: grants(table, check)?,
    })
}

/// Where keys come from: exactly one way.
fn source(table: &Table, root: &Table, check: &mut Check<'_>) -> Option<KeySource> {
    let ways = ["jwks_url", "jwks_file", "upstream", "secret"];
    let written: Vec<_> = ways.into_iter().filter(|key| table.get(key).is_some()).collect();
    let [way] = written[..] else {
        let hint = "write one of jwks_url, jwks_file, upstream with path, secret";
        let message = match written.len() {
            0 => "nothing says where the keys come from that tokens are checked with".to_owned(),
            _ => format!("{} exclude each other", written.join(" and ")),
        };
        check.error(table.span.clone(), message, hint);
        return None;
    };
    match way {
        "jwks_url" => url(table, check),
        "jwks_file" => {
            check.file(table, "jwks_file");
            owned(table.path("jwks_file")).map(KeySource::File)
        }
        "upstream" => {
            let upstream = table.get("upstream")?;
            check.refer("upstream", upstream, root.tables("upstreams"))?;
            if table.get("path").is_none() {
                let message = "`path` is missing: the keys are asked for at a path of their upstream";
                check.error(table.span.clone(), message, "add it, such as \"/.well-known/jwks.json\"");
            }
            Some(KeySource::Upstream { upstream: shared(table, "upstream")?, path: path(table, check)? })
        }
        _ => secret(table, check),
    }
}

fn url(table: &Table, check: &mut Check<'_>) -> Option<KeySource> {
    check.file(table, "ca");
    let text = table.text("jwks_url")?;
    let span = table.span_of("jwks_url");
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| {
        let known = matches!(url.scheme_str(), Some("http" | "https"));
        let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        known && plain && url.host().is_some_and(|host| !host.is_empty())
    });
    let Some(url) = url else {
        let message = format!("{} is not a URL", check.quote(&span));
        check.error(span, message, "it begins with https:// and has a host");
        return None;
    };
    if url.scheme_str() == Some("http") {
        let hint = "use https: whoever is on the way can put in keys of their own";
        check.warning(span, "keys are fetched without TLS", hint);
    }
    Some(KeySource::Url { url, ca: owned(table.path("ca")) })
}

fn secret(table: &Table, check: &mut Check<'_>) -> Option<KeySource> {
    let value = table.get("secret")?;
    let text = value.text()?;
    if !value.filled {
        let hint = "fill it in: secret = \"${file:/run/secrets/jwt}\"";
        check.error(value.span.clone(), "a secret in the file would be in its history", hint);
        return None;
    }
    if text.len() < MIN_SECRET {
        let message =
            format!("the secret has fewer than {MIN_SECRET} bytes; it can be guessed from one token");
        check.error(value.span.clone(), message, "`tidegate hash-token --generate` makes a good one");
        return None;
    }
    Some(KeySource::Secret(Secret(text.as_bytes().into())))
}

/// The pinned algorithms. A secret and public keys never share an auth, so that none is taken for the other.
fn algorithms(table: &Table, secret: bool, check: &mut Check<'_>) -> Option<Vec<Algorithm>> {
    let Some(written) = table.written("algorithms") else {
        let preset = match secret {
            true => vec![Algorithm::HS256],
            false => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        };
        return Some(preset);
    };
    let named: Vec<Algorithm> =
        table.list("algorithms").iter().filter_map(|word| word.text()?.parse().ok()).collect();
    if named.iter().any(|algorithm| (algorithm.family() == AlgorithmFamily::Hmac) != secret) {
        let hint = match secret {
            true => "with a secret write HS256, HS384 or HS512",
            false => "HS256, HS384 and HS512 need `secret`",
        };
        check.error(written.span.clone(), "the algorithms do not go with where the keys come from", hint);
        return None;
    }
    Some(named)
}

fn grants(table: &Table, check: &mut Check<'_>) -> Option<Grants> {
    let mut forward = Vec::new();
    for (name, claim, span) in table.headers("forward") {
        if is_ours(name) || *name == AUTHORIZATION {
            let message = format!("`{name}` belongs to the gateway or the client");
            check.error(span.clone(), message, "tell the backend by a header of its own, such as x-user");
        }
        forward.push((name.clone(), claim.to_str().ok()?.to_owned()));
    }
    let rule = |rule: &Table| {
        let class = rule.text("class")?;
        Some(ClassRule {
            claim: rule.text("claim")?.to_owned(),
            value: rule.text("value")?.to_owned(),
            class: Class::ALL.into_iter().find(|known| known.as_str() == class)?,
        })
    };
    Some(Grants {
        subject: table.text("subject")?.to_owned(),
        forward,
        require_scopes: texts(table, "require_scopes"),
        classes: table.tables("classes").map(rule).collect::<Option<_>>()?,
    })
}

fn texts(table: &Table, key: &str) -> Vec<String> {
    let text = |data: &Data| match data {
        Data::Text(text) => Some(text.clone()),
        _ => None,
    };
    table.list(key).iter().filter_map(|value| text(&value.data)).collect()
}
