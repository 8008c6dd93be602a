//! What fills a placeholder is never said, and that it changed always is.

use super::*;
use std::collections::HashMap;

const CANARY: &str = "canary-7f3a";

/// A fleet that is filled wherever it can be.
fn secretive() -> String {
    let headers = "timeout = \"4s\"\nrequest_headers = { set = { authorization = \"Bearer ${S}\", x-file = \"${file:s}\" } }\n\
                   hosts = [\"${S}.example.com\"]\nheaders = { x-key = \"${S}\" }";
    edited("timeout = \"4s\"", headers)
        .replace("address = \"10.0.1.1:8080\"", "address = \"${S}.internal:80\"")
        .replace("path_prefix = \"/users\"", "path_prefix = \"/${S}\"")
        .replace("name = \"users\"\npath_prefix", "name = \"${S}\"\npath_prefix")
        .replace("path = \"/verify\"", "path = \"/${file:s}\"")
        + "[[notify]]\nname = \"n\"\nurl = \"https://example.com/${S}\"\n"
}

fn with(text: &str, secret: &'static str) -> Checked {
    let env = Fake {
        variables: HashMap::from([("S", secret)]),
        files: HashMap::from([("/etc/tidegate/s", secret)]),
    };
    filled(text, &env)
}

fn said(comparison: &Comparison) -> String {
    format!("{comparison:?} {}", serde_json::to_string(comparison).expect("it is plain data"))
}

#[test]
fn nothing_that_fills_a_placeholder_is_in_what_is_said_but_names_that_metrics_have() {
    let text = secretive();
    let (before, after) = (valid(FLEET), with(&text, CANARY));
    for mut comparison in [
        compare(before.side(), after.side()),
        compare(after.side(), before.side()),
        compare(with(&text, "other").side(), after.side()),
    ] {
        assert!(comparison.differences.len() > 5, "{comparison:#?}");
        // For the guard, which judges by the names of metrics; it is left out of what is shown.
        assert!(!serde_json::to_string(&comparison).expect("plain data").contains(CANARY));
        comparison.routes.iter_mut().for_each(|route| route.name = "".into());
        assert!(!said(&comparison).contains(CANARY), "{comparison:#?}");
    }
    assert!(!format!("{:?}", after.plan.expect("it is valid").fills).contains(CANARY));
}

#[test]
fn another_value_in_the_same_placeholder_is_a_difference() {
    let text = secretive();
    let same = compare(with(&text, CANARY).side(), with(&text, CANARY).side());
    assert!(same.is_empty(), "{same:#?}");
    let comparison = compare(with(&text, CANARY).side(), with(&text, "another").side());
    let of = |path: &str| {
        let found = comparison.differences.iter().find(|difference| difference.path == path);
        found.unwrap_or_else(|| panic!("{path} in {comparison:#?}"))
    };
    let header = of("routes.orders.request_headers.set.authorization");
    assert_eq!(header.what, "route orders: what fills ${S} in request_headers.set.authorization has changed");
    assert_eq!(header.risk, Risk::Medium);
    assert!(of("auth.session.path").what.contains("${file:s}"));
    assert_eq!(of("upstreams.users.backends.a.address").risk, Risk::High);
    assert_eq!(of("notify.n.url").risk, Risk::Low);
}

#[test]
fn another_value_inside_of_what_is_compared_as_a_whole_is_a_difference_too() {
    let tls = "tls = { certificates = [{ certificate = \"${S}/c.pem\", key = \"/k.pem\" }] }";
    let text = edited("address = \"127.0.0.1:8080\"", &format!("address = \"127.0.0.1:8080\"\n{tls}"));
    let comparison = compare(with(&text, CANARY).side(), with(&text, "another").side());
    let [difference] = &comparison.differences[..] else { panic!("{comparison:#?}") };
    assert_eq!(difference.what, "listener edge: what fills ${S} in tls.certificates has changed");
    assert!(comparison.touches_listeners && !said(&comparison).contains(CANARY), "{comparison:#?}");
}

#[test]
fn the_keyed_hash_of_a_version_changes_with_what_fills_it() {
    let (text, key) = (secretive(), [7; 32]);
    let hash = |secret| with(&text, secret).filled_hash(&key).expect("it is valid");
    assert_eq!(hash(CANARY), hash(CANARY));
    assert_ne!(hash(CANARY), hash("another"));
}

#[test]
fn credentials_that_somebody_wrote_into_the_file_are_not_repeated() {
    let route = |value: &str| {
        edited(
            "timeout = \"4s\"",
            &format!("timeout = \"4s\"\nrequest_headers = {{ set = {{ authorization = \"{value}\" }} }}"),
        )
    };
    let notify = |url: &str| format!("[[notify]]\nname = \"n\"\nurl = \"{url}\"\n");
    let token = |digit: &str| {
        format!(
            "[admin]\ntokens = [{{ name = \"ops\", role = \"viewer\", hash = \"{}\" }}]\n",
            digit.repeat(64)
        )
    };
    let keys = |query: &str| {
        format!(
            "[[auth]]\nname = \"t\"\nkind = \"jwt\"\njwks_url = \"https://k.test/keys?{query}\"\nany_audience = true\n"
        )
    };
    let before = keys("k3y-1") + &token("a") + &route("Basic old") + &notify("https://example.com/old");
    let after = keys("k3y-2") + &token("b") + &route("Basic new") + &notify("https://example.com/new");
    let comparison = compared(&before, &after);
    assert_eq!(comparison.differences.len(), 4, "{comparison:#?}");
    let said = said(&comparison);
    for hidden in ["k3y-", "Basic", "example.com", "aaaaaaaa", "bbbbbbbb"] {
        assert!(!said.contains(hidden), "{hidden}: {said}");
    }
}

#[test]
fn a_text_whose_secrets_are_gone_can_still_be_compared() {
    let text = secretive();
    let comparison = compare(Side { text: &text, plan: None }, valid(FLEET).side());
    assert!(comparison.everything && comparison.routes.is_empty() && comparison.risk == Risk::High);
    assert!(compare(Side { text: &text, plan: None }, Side { text: &text, plan: None }).is_empty());
}
