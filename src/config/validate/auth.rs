//! Auths: who is asked, what it is told, what it may add, what is kept of its answers.

mod own;

use super::{Check, shared};
use crate::config::diagnostics::Finding;
use crate::config::plan::UpstreamPlan;
use crate::config::value::{Table, Value};
use crate::filters::auth::settings::{CacheSettings, External, KeyPart, Kind, OnError, Settings};
use crate::filters::auth::verdict::UNVERIFIED;
use http::HeaderName;
use http::uri::PathAndQuery;
use std::time::Duration;

/// How long a refusal is fresh where nothing else is said, at most.
const REFUSED: Duration = Duration::from_secs(5);

/// Every auth of the file; `None` for those that are wrong.
pub fn all(root: &Table, upstreams: &[Option<UpstreamPlan>], check: &mut Check<'_>) -> Vec<Option<Settings>> {
    check.distinct("auths", root.tables("auth").map(|auth| auth.get("name")));
    let auths = root.tables("auth").map(|table| auth(table, root, upstreams, check)).collect();
    for table in root.tables("auth") {
        nobody_reads_what_is_written(table, root, check);
    }
    auths
}

fn auth(
    table: &Table,
    root: &Table,
    upstreams: &[Option<UpstreamPlan>],
    check: &mut Check<'_>,
) -> Option<Settings> {
    let word = table.text("kind")?;
    own::only_for(table, word, check);
    let kind = match word {
        "external" => external(table, root, upstreams, check).map(Kind::External),
        "jwt" => own::jwt(table, root, check).map(Kind::Jwt),
        _ => own::api_key(table, check).map(Kind::ApiKey),
    };
    let on_error = match table.text("on_error")? {
        "allow" => OnError::Allow,
        "stale" => OnError::Stale,
        _ => OnError::Deny,
    };
    if word == "external" && on_error == OnError::Stale && table.table("cache").is_none() {
        let hint = "add cache = {}, or choose deny or allow";
        check.error(table.span_of("on_error"), "nothing can stand in where no decision is kept", hint);
    }
    let cache = match table.table("cache") {
        Some(cache) => Some(self::cache(cache, table, check)?),
        None => (word == "jwt").then(own::preset_cache),
    };
    Some(Settings {
        name: shared(table, "name")?,
        timeout: table.duration("timeout")?,
        on_error,
        cache,
        kind: kind?,
    })
}

fn external(
    table: &Table,
    root: &Table,
    upstreams: &[Option<UpstreamPlan>],
    check: &mut Check<'_>,
) -> Option<External> {
    for key in ["upstream", "path"].into_iter().filter(|key| table.get(key).is_none()) {
        let message = format!("`{key}` is missing: an external auth asks an upstream at a path");
        check.error(table.span.clone(), message, "add it, or choose another kind");
    }
    let upstream = table.get("upstream");
    let index = upstream.and_then(|upstream| check.refer("upstream", upstream, root.tables("upstreams")));
    let path = path(table, check);
    for key in ["headers", "copy_headers", "refusal_headers"] {
        let named: Vec<_> =
            table.header_names(key).map(|(name, span)| (name.clone(), span.clone())).collect();
        for (name, span) in named.into_iter().filter(|(name, _)| is_ours(name)) {
            let message = format!("`{name}` belongs to the gateway");
            check.error(span, message, "leave it out; the service is told x-forwarded-* in any case");
        }
    }
    let plan = upstreams.get(index?)?.as_ref()?;
    let names = |key| table.header_names(key).map(|(name, _)| name.clone()).collect();
    Some(External {
        upstream: plan.name.clone(),
        path: path?,
        headers: names("headers"),
        copy_headers: names("copy_headers"),
        refusal_headers: names("refusal_headers"),
        subject_header: table.header_name("subject_header").cloned(),
        max_in_flight: bound(table, root, plan, check)?,
    })
}

/// How many ask an upstream: routes whose requests go through its gate, and auths.
pub fn askers(root: &Table, upstream: &str) -> usize {
    let to_it = |table: &&Table| table.text("upstream") == Some(upstream);
    let routes = root.tables("routes").filter(to_it).filter(|route| route.bool("streaming") == Some(false));
    routes.count() + asking(root).filter(to_it).count()
}

/// The auths that ask their upstream for decisions.
pub fn asking(root: &Table) -> impl Iterator<Item = &Table> {
    root.tables("auth").filter(|auth| auth.text("kind") == Some("external"))
}

fn bound(table: &Table, root: &Table, upstream: &UpstreamPlan, check: &mut Check<'_>) -> Option<u32> {
    let cap = upstream.gate.max_in_flight;
    let Some(written) = table.written("max_in_flight") else {
        return Some(if askers(root, &upstream.name) >= 2 { (cap / 2).max(1) } else { cap });
    };
    let bound = table.count("max_in_flight")?;
    if bound > cap {
        let message = format!("{} cannot be reached: at most {cap} come through", check.quote(&written.span));
        check.report(Finding::note(written.span.clone(), message));
    }
    Some(bound)
}

fn path(table: &Table, check: &mut Check<'_>) -> Option<PathAndQuery> {
    let text = table.text("path")?;
    let path = PathAndQuery::try_from(text).ok().filter(|_| text.starts_with('/'));
    if path.is_none() {
        let span = table.span_of("path");
        let message = format!("{} does not begin with / or is no path", check.quote(&span));
        check.error(span, message, "write a path such as \"/verify\"");
    }
    path
}

/// What frames messages, belongs to a connection, or says who and where the client is.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || [
            "connection",
            "content-length",
            "expect",
            "forwarded",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "x-real-ip",
            "x-request-id",
        ]
        .contains(&name)
        || name == UNVERIFIED.as_str()
}

/// What an auth adds is taken out of what clients send, so no auth can read it from them.
fn nobody_reads_what_is_written(table: &Table, root: &Table, check: &mut Check<'_>) {
    let written = table.header_names("copy_headers");
    let forwarded = table.headers("forward").iter().map(|(name, _, span)| (name, span));
    let written: Vec<_> = written.chain(forwarded).collect();
    for (name, span) in written {
        let told = root.tables("auth").flat_map(|auth| auth.header_names("headers")).map(|(name, _)| name);
        let shown = root.tables("auth").filter_map(|auth| auth.header_name("header"));
        if told.chain(shown).any(|known| known == name) {
            let message = format!("`{name}` is read from clients, so it cannot be written by an auth");
            let hint = "let the service answer with another header, or take it out of `headers`";
            check.error(span.clone(), message, hint);
        }
    }
}

fn cache(table: &Table, auth: &Table, check: &mut Check<'_>) -> Option<CacheSettings> {
    let ttl = table.duration("ttl")?;
    let told: Vec<&HeaderName> = auth.header_names("headers").map(|(name, _)| name).collect();
    let key: Vec<_> = table.list("key").iter().map(|part| key_part(part, &told, check)).collect();
    let key: Vec<_> = key.into_iter().collect::<Option<_>>()?;
    if !key.is_empty() {
        untold(table, &told, &key, check);
    }
    Some(CacheSettings {
        ttl,
        refused_ttl: table.duration("refused_ttl").unwrap_or(ttl.min(REFUSED)),
        stale: table.duration("stale")?,
        max_entries: table.count("max_entries")?,
        key,
    })
}

fn key_part(part: &Value, told: &[&HeaderName], check: &mut Check<'_>) -> Option<KeyPart> {
    let found = match part.text()? {
        "route" => Some(KeyPart::Route),
        "method" => Some(KeyPart::Method),
        "host" => Some(KeyPart::Host),
        "path" => Some(KeyPart::Path),
        "uri" => Some(KeyPart::Uri),
        "client_ip" => Some(KeyPart::ClientIp),
        text => {
            let name =
                text.strip_prefix("header:").and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            name.filter(|name| told.contains(&name)).map(KeyPart::Header)
        }
    };
    if found.is_none() {
        let message = format!("{} tells no requests apart", check.quote(&part.span));
        let hint =
            "write route, method, host, path, uri, client_ip, or header:NAME with a name from `headers`";
        check.error(part.span.clone(), message, hint);
    }
    found
}

/// A decision made with somebody's credentials must not be somebody else's without a word.
fn untold(table: &Table, told: &[&HeaderName], key: &[KeyPart], check: &mut Check<'_>) {
    let missing: Vec<_> = told
        .iter()
        .filter(|name| !key.contains(&KeyPart::Header((**name).clone())))
        .map(|name| name.as_str())
        .collect();
    if !missing.is_empty() {
        let message = format!("requests that differ in {} only share decisions", missing.join(", "));
        let hint = "add header:NAME to the key, or take the header out of `headers`";
        check.warning(table.span_of("key"), message, hint);
    }
}
