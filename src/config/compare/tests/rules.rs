//! How risky a difference is, rule by rule.

use super::*;

/// The risk of the only difference, and a word of why.
fn is(part: &str, by: &str, risk: Risk, word: &str) {
    let difference = only(part, by);
    assert_eq!(difference.risk, risk, "{by}: {difference:#?}");
    assert!(difference.why.contains(word), "{by}: {difference:#?}");
}

/// As [`is`], when the earlier text is edited too.
fn becomes(part: &str, before: &str, after: &str, risk: Risk, word: &str) {
    let comparison = compared(&edited(part, before), &edited(part, after));
    let [difference] = &comparison.differences[..] else { panic!("{after}: {comparison:#?}") };
    assert_eq!(difference.risk, risk, "{after}: {difference:#?}");
    assert!(difference.why.contains(word), "{after}: {difference:#?}");
}

#[test]
fn another_address_is_high_and_one_backend_more_is_not() {
    is("10.0.0.1:8080", "10.0.0.9:8080", Risk::High, "another server");
    let more = "\n    { name = \"d\", address = \"10.0.0.4:8080\" },\n]\nmax_in_flight = 128";
    is("\n]\nmax_in_flight = 128", more, Risk::Medium, "share");
    is("    { name = \"c\", address = \"10.0.0.3:8080\" },\n", "", Risk::Medium, "share");
}

#[test]
fn most_backends_replaced_is_high_whatever_they_are_called() {
    let first =
        "{ name = \"a\", address = \"10.0.0.1:8080\" },\n    { name = \"b\", address = \"10.0.0.2:8080\" },";
    let others =
        "{ name = \"x\", address = \"10.0.9.1:8080\" },\n    { name = \"y\", address = \"10.0.9.2:8080\" },";
    let comparison = compared(FLEET, &edited(first, others));
    assert_eq!(comparison.differences.len(), 4, "{comparison:#?}");
    for difference in &comparison.differences {
        assert_eq!(difference.risk, Risk::High);
        assert!(difference.why.contains("2 of 3 backends"), "{difference:#?}");
    }
    // Renamed in place: nobody is replaced, and still nobody is told that it is safe.
    let renamed =
        compared(FLEET, &edited("name = \"a\", address = \"10.0.0.1", "name = \"z\", address = \"10.0.0.1"));
    assert!(renamed.differences.iter().all(|difference| difference.risk == Risk::Medium), "{renamed:#?}");
}

#[test]
fn a_backend_of_what_an_auth_asks_is_high() {
    let second = ", { name = \"b\", address = \"10.0.2.2:8080\" }";
    is(second, "", Risk::High, "auth asks this upstream");
}

#[test]
fn who_may_pass_is_high() {
    is("path = \"/verify\"", "path = \"/verify\"\non_error = \"allow\"", Risk::High, "unverified");
    is("path = \"/verify\"", "path = \"/other\"", Risk::High, "who may pass");
    is("path = \"/verify\"", "path = \"/verify\"\ntimeout = \"201ms\"", Risk::High, "who may pass");
    is("auth = \"session\"\n", "", Risk::High, "without being asked");
    let comparison = compared(
        FLEET,
        &edited("auth = \"session\"", "auth = \"other\"").replace("name = \"session\"", "name = \"other\""),
    );
    assert!(comparison.differences.iter().all(|difference| difference.risk == Risk::High), "{comparison:#?}");
}

#[test]
fn bounds_are_high_when_they_are_more_than_doubled_or_removed() {
    is("= 128", "= 256", Risk::Medium, "not more than double");
    is("= 128", "= 257", Risk::High, "more than double");
    is("= 128", "= 2", Risk::Medium, "lowered");
    is("max_in_flight = 128", "", Risk::Medium, "not more than double");
    becomes("max_in_flight = 128", "max_in_flight = 95", "", Risk::High, "more than double");
    becomes("max_in_flight = 128", "health = {}", "", Risk::High, "relaxed");
    is("max_in_flight = 128", "max_in_flight = 128\nmax_streams = 2001", Risk::High, "more than double");
    is("= \"4s\"", "= \"8s\"", Risk::Medium, "not more than double");
    is("= \"4s\"", "= \"8001ms\"", Risk::High, "more than double");
    is("= \"4s\"", "= \"1s\"", Risk::Medium, "given up");
    let duration = |text: &str| format!("timeout = \"4s\"\n{text}");
    let (bounded, unbounded) = (duration("max_duration = \"1m\""), duration(""));
    becomes("timeout = \"4s\"", &bounded, &unbounded, Risk::High, "removed");
    becomes("timeout = \"4s\"", &unbounded, &bounded, Risk::Medium, "where there was none");
}

#[test]
fn trust_is_high_in_either_direction() {
    let upstream = "max_in_flight = 128";
    let with = |tls: &str| format!("max_in_flight = 128\ntls = {{ {tls} }}");
    becomes(upstream, &with(""), upstream, Risk::High, "nothing is encrypted");
    becomes(upstream, &with("server_name = \"a\""), &with("server_name = \"b\""), Risk::High, "trust");
    becomes(upstream, &with("ca = \"ca.pem\""), &with(""), Risk::High, "trust");
    let door = "address = \"127.0.0.1:8080\"";
    let tls = |more: &str| {
        format!("{door}\ntls = {{ certificates = [{{ certificate = \"c\", key = \"k\" }}]{more} }}")
    };
    becomes(door, &tls(", client_ca = \"ca\""), &tls(""), Risk::High, "no certificate");
    becomes(door, &tls(""), door, Risk::High, "nothing is encrypted");
    is(door, "address = \"127.0.0.1:8081\"", Risk::High, "connects here");
}

#[test]
fn the_operators_door_is_high() {
    let token = "ab".repeat(32);
    let first = "[[listeners]]\nname = \"edge\"";
    let admin = |lines: &str| format!("[admin]\n{lines}\n{first}");
    is(first, &admin("socket = false"), Risk::High, "operate");
    let tokens = format!("tokens = [{{ name = \"ops\", role = \"admin\", hash = \"{token}\" }}]");
    is(first, &admin(&tokens), Risk::High, "operate");
    let address = admin(&format!("{tokens}\naddress = \"0.0.0.0:9900\""));
    becomes(first, &admin(&tokens), &address, Risk::High, "operate");
}

#[test]
fn routes_that_go_are_high_and_those_that_come_are_not() {
    let users =
        "[[routes]]\nname = \"users\"\npath_prefix = \"/users\"\nupstream = \"users\"\ntimeout = \"8s\"\n";
    is(users, "", Risk::High, "404");
    let more = format!("{users}\n[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"users\"\n");
    is(users, &more, Risk::Medium, "takes the requests");
}

#[test]
fn rules_of_rollouts_are_high_when_they_are_relaxed_and_low_when_they_are_tightened() {
    let bake = "bake = \"30s\"";
    for (part, relaxed, tightened) in [
        ("bake = \"30s\"", "bake = \"29s\"".to_owned(), "bake = \"31s\"".to_owned()),
        ("\"1%\", ", "\"2%\", ".to_owned(), "\"0.5%\", ".to_owned()),
        ("\"50%\", ", String::new(), "\"50%\", \"75%\", ".to_owned()),
        ("approve = \"high\"", "approve = \"never\"".to_owned(), "approve = \"medium\"".to_owned()),
        (
            bake,
            format!("{bake}\nguard = {{ max_error_increase = \"2%\" }}"),
            format!("{bake}\nguard = {{ max_error_increase = \"0.5%\" }}"),
        ),
        (
            bake,
            format!("{bake}\nguard = {{ max_latency_ratio = 3 }}"),
            format!("{bake}\nguard = {{ max_latency_ratio = 1.5 }}"),
        ),
        (
            bake,
            format!("{bake}\nguard = {{ min_requests = 51 }}"),
            format!("{bake}\nguard = {{ min_requests = 49 }}"),
        ),
    ] {
        is(part, &relaxed, Risk::High, if part.contains('%') { "more at once" } else { "relaxed" });
        is(part, &tightened, Risk::Low, "nothing is relaxed");
    }
    becomes(bake, bake, &format!("{bake}\nrequired = false"), Risk::High, "relaxed");
    becomes(bake, &format!("{bake}\nrequired = false"), bake, Risk::Low, "nothing is relaxed");
    let promote = "promote_from = { environment = \"staging\", public_key = \"WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=\" }\n";
    is(promote, "", Risk::High, "relaxed");
    is(
        "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        Risk::High,
        "next changes",
    );
    becomes(promote, "", promote, Risk::Low, "nothing is relaxed");
}

#[test]
fn what_only_observers_see_is_low_and_what_the_log_would_show_is_not() {
    let first = "[[listeners]]\nname = \"edge\"";
    let log = |lines: &str| format!("[access_log]\n{lines}\n{first}");
    is(first, &log("target = \"off\""), Risk::Low, "observers");
    is(first, &log("redact_query = [\"token\"]"), Risk::High, "kept out of the log");
}

#[test]
fn what_is_filled_in_counts_as_the_worst_that_it_can_be() {
    let env = Fake { variables: [("LIMIT", "129")].into(), ..Fake::default() };
    let after = filled(&edited("= 128", "= \"${LIMIT}\""), &env);
    let comparison = compare(valid(FLEET).side(), after.side());
    let [difference] = &comparison.differences[..] else { panic!("{comparison:#?}") };
    assert_eq!(difference.risk, Risk::High);
    assert_eq!(difference.what, "upstream orders: max_in_flight 128 → ${LIMIT}");
}
