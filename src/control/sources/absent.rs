//! What becomes of a good version when something that fills it is gone and nothing is kept of it: it comes back all the
//! same, and what the missing value belongs to refuses everything with `missing_secret` (`design.md`, "Rollback").
//!
//! What belongs to a value is found by filling it in two ways: whatever differs between the two plans is made of it.

use super::Fallback;
use crate::config::plan::Plan;
use crate::config::{self, Environment};
use crate::routing::settings::Action;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Digits of a hash.
const HASH: usize = 64;
/// Characters of which a name may well be made.
const NAME: usize = 32;

/// A version without some of its values: a plan that is closed where they belong, and a sentence for each route.
pub(super) fn without(text: &str, file: &Path, known: &Fallback<'_>) -> Option<(Plan, Vec<String>)> {
    // As long as the hash of a key has to be, else as short as a name may be.
    [HASH, NAME].into_iter().find_map(|length| filled(text, file, known, length))
}

fn filled(text: &str, file: &Path, known: &Fallback<'_>, length: usize) -> Option<(Plan, Vec<String>)> {
    let (one, other) = (Standing::new(text, known, length), Standing::new(text, known, length));
    let (mut plan, differing) =
        (config::check(text, file, &one).plan?, config::check(text, file, &other).plan?);
    let gone: Vec<_> = one.missing.into_inner().into_iter().collect();
    let gone = gone.join(", ");
    let closed = close(&mut plan, &differing);
    let told = |route: &Arc<str>| {
        format!("Route {route} answers 503 missing_secret: {gone} is gone, and nothing is kept of it.")
    };
    let mut told: Vec<String> = closed.iter().map(told).collect();
    // A sink that is made of it is left out: nobody else may be told, and nobody may be told unsigned.
    plan.sinks.retain(|sink| differing.sinks.contains(sink));
    if plan.sinks.len() < named(text) {
        told.push(format!("Some of [[notify]] are told nothing: {gone} is gone, and nothing is kept of it."));
    }
    Some((plan, told))
}

/// How many sinks a text names.
fn named(text: &str) -> usize {
    text.lines().filter(|line| line.trim_start().starts_with("[[notify]]")).count()
}

/// Closes every route of `plan` that differs from the same one of `other`, or whose auth or upstream does. Returns them.
fn close(plan: &mut Plan, other: &Plan) -> Vec<Arc<str>> {
    let differ = |index: usize| plan.upstreams.get(index) != other.upstreams.get(index);
    let upstreams: Vec<bool> = (0..plan.upstreams.len()).map(differ).collect();
    let is_closed = |name: &str| {
        plan.upstreams.iter().zip(&upstreams).any(|(upstream, closed)| *closed && *upstream.name == *name)
    };
    let auths: Vec<bool> = plan
        .auths
        .iter()
        .zip(&other.auths)
        .map(|(auth, differing)| auth != differing || auth.upstream().is_some_and(|name| is_closed(name)))
        .collect();
    let at = |places: &[bool], index: usize| places.get(index).copied().unwrap_or(true);
    let mut closed = Vec::new();
    for ((key, route), (other_key, other_route)) in plan.routes.iter_mut().zip(&other.routes) {
        let upstream = matches!(route.action, Action::Upstream(index) if at(&upstreams, index));
        let auth = route.auth.is_some_and(|index| at(&auths, index));
        if upstream || auth || key != other_key || route != other_route {
            route.missing_secret = true;
            closed.push(route.name.clone());
        }
    }
    closed
}

/// Fills what is missing with something that nobody knows, and that is text as much as the hash of a key.
struct Standing<'a> {
    text: &'a str,
    known: &'a Fallback<'a>,
    value: String,
    missing: RefCell<BTreeSet<String>>,
}

impl<'a> Standing<'a> {
    fn new(text: &'a str, known: &'a Fallback<'a>, length: usize) -> Self {
        // From the system's randomness, a new one each time; it never opens anything, because what it fills is closed.
        let seed: Vec<u8> = (0..4).flat_map(|n| RandomState::new().hash_one(n).to_le_bytes()).collect();
        let value = blake3::hash(&seed).to_hex()[..length].to_owned();
        Standing { text, known, value, missing: RefCell::default() }
    }
}

impl Environment for Standing<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let known = self.known.variable(name);
        if known.is_some() || self.text.contains(&format!("${{{name}:")) {
            return known;
        }
        self.missing.borrow_mut().insert(format!("${{{name}}}"));
        Some(self.value.clone())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        Ok(self.known.read(path).unwrap_or_else(|_| {
            self.missing.borrow_mut().insert(format!("${{file:{}}}", path.display()));
            self.value.clone()
        }))
    }

    fn exists(&self, path: &Path) -> bool {
        self.known.exists(path)
    }

    fn stands_in(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::store::materials::Materials;

    const TEXT: &str = r#"
        [admin]
        address = "127.0.0.1:0"
        [[listeners]]
        name = "edge"
        address = "127.0.0.1:0"
        [[upstreams]]
        name = "u"
        backends = [{ name = "a", address = "127.0.0.1:9" }]
        [[upstreams]]
        name = "secret"
        backends = [{ name = "a", address = "127.0.0.1:9" }]
        tls = { ca = "${CA}" }
        [[auth]]
        name = "keys"
        kind = "api_key"
        keys = [{ name = "k", hash = "${file:hash}" }]
        [[routes]]
        name = "plain"
        path_prefix = "/"
        upstream = "u"
        [[routes]]
        name = "header"
        path_prefix = "/header"
        upstream = "u"
        request_headers = { set = { authorization = "Bearer ${TOKEN}" } }
        [[routes]]
        name = "judged"
        path_prefix = "/judged"
        upstream = "u"
        auth = "keys"
        [[routes]]
        name = "behind"
        path_prefix = "/behind"
        upstream = "secret"
        [[notify]]
        name = "chat"
        kind = "slack"
        url = "${CHAT}"
        [[notify]]
        name = "oncall"
        url = "https://example.com/"
        secret = "${file:oncall}"
        [[notify]]
        name = "well"
        url = "https://example.com/"
        [[routes]]
        name = "defaulted"
        path_prefix = "/defaulted"
        upstream = "u"
        response_headers = { set = { x = "${X:y}" } }
    "#;

    #[test]
    fn what_is_missing_closes_what_it_belongs_to_and_nothing_else() {
        let nothing = Materials::default();
        let known = Fallback::new(&nothing, &nothing);
        let (plan, told) = without(TEXT, Path::new("/etc/gateway.toml"), &known).expect("understood");
        let closed: Vec<_> = plan
            .routes
            .iter()
            .filter(|(_, route)| route.missing_secret)
            .map(|(_, route)| &*route.name)
            .collect();
        assert_eq!(closed, ["header", "judged", "behind"]);
        assert!(told.len() == 4 && told[0].contains("${TOKEN}") && told[0].contains("header"), "{told:?}");
        assert!(told[3].contains("[[notify]]"), "nobody may be told unsigned, or elsewhere: {told:?}");
        let sinks: Vec<_> = plan.sinks.iter().map(|sink| &*sink.name).collect();
        assert_eq!(sinks, ["well"]);
        let named = TEXT.replace("${file:hash}", &"0".repeat(HASH)).replacen("127.0.0.1:9", "${HOST}:9", 1);
        let (plan, _) = without(&named, Path::new("/etc/gateway.toml"), &known).expect("understood");
        let open: Vec<_> = plan
            .routes
            .iter()
            .filter(|(_, route)| !route.missing_secret)
            .map(|(_, route)| &*route.name)
            .collect();
        assert!(open.is_empty(), "all stand before a backend that is gone: {open:?}");
    }

    #[test]
    fn what_cannot_be_understood_either_way_is_not() {
        let nothing = Materials::default();
        let known = Fallback::new(&nothing, &nothing);
        for text in
            ["", "garbage = = 1", &TEXT.replace("\"u\"\n        request", "\"none\"\n        request")]
        {
            assert!(without(text, Path::new("/etc/gateway.toml"), &known).is_none());
        }
    }
}
