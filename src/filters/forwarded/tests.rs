//! What clients may say about where they come from, and what of it is believed.

use super::*;
use proptest::prelude::*;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn ten() -> TrustedProxies {
    TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
}

fn applied(hop: &Hop, headers: &mut HeaderMap, named: &'static str, trusted: &TrustedProxies) -> IpAddr {
    let fields = Fields::of(headers);
    hop.apply(headers, fields, Some(&HeaderValue::from_static(named)), trusted)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_client_is_the_right_most_address_that_is_not_trusted() {
    let trusted = ten();
    for (peer, lines, client) in [
        ("1.1.1.1", &["9.9.9.9"][..], "1.1.1.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", &["6.6.6.6", "9.9.9.9 ,10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &["9.9.9.9, garbage, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["9.9.9.9:1234"], "9.9.9.9"),
        ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ("::ffff:10.0.0.1", &["::ffff:9.9.9.9"], "9.9.9.9"),
        ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FOR, HeaderValue::from_static(line));
        }
        assert_eq!(trusted.client_ip(ip(peer), &headers), ip(client), "{peer} {lines:?}");
    }
}

#[test]
fn nothing_that_a_stranger_claims_is_passed_on() {
    let mut headers = map(&[
        ("host", "a.example"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-prefix", "/admin"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("accept", "*/*"),
    ]);
    let client = applied(&Hop::new(ip("1.2.3.4"), 8080, false), &mut headers, "a.example", &ten());
    assert_eq!(client, ip("1.2.3.4"));
    let expected = map(&[
        ("host", "a.example"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-port", "8080"),
        ("x-real-ip", "1.2.3.4"),
        ("accept", "*/*"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn what_a_trusted_peer_says_is_continued() {
    let mut headers = map(&[
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1 2"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=9.9.9.9"),
    ]);
    let client = applied(&Hop::new(ip("fd00::1"), 80, false), &mut headers, "a.example", &ten());
    assert_eq!(client, ip("9.9.9.9"));
    let expected = map(&[
        ("x-forwarded-for", "9.9.9.9, 10.0.0.2, fd00::1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-port", "80"),
        ("x-real-ip", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9, for=\"[fd00::1]\";proto=http"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn a_list_without_end_is_cut_to_the_client_and_the_peer() {
    let mut headers = HeaderMap::new();
    headers.insert(FOR, format!("{}9.9.9.9", "6.6.6.6, ".repeat(500)).parse().unwrap());
    applied(&Hop::new(ip("10.0.0.1"), 80, false), &mut headers, "a", &ten());
    assert_eq!(headers[FOR], "9.9.9.9, 10.0.0.1");
}

#[test]
fn a_client_cannot_crowd_out_what_a_trusted_peer_added() {
    let mut headers = HeaderMap::new();
    for _ in 0..100 {
        headers.append(FOR, HeaderValue::from_static("6.6.6.6"));
    }
    headers.append(FOR, HeaderValue::from_static("9.9.9.9"));
    assert_eq!(ten().client_ip(ip("10.0.0.1"), &headers), ip("9.9.9.9"));
}

#[test]
fn names_that_backends_would_read_as_ours_are_dropped() {
    let mut headers = map(&[
        ("x_forwarded_for", "10.0.0.1"),
        ("x-forwarded_proto", "https"),
        ("x_request-id", "1"),
        ("content_length", "5"),
        ("x_user", "root"),
        ("my_header", "fine"),
    ]);
    drop_aliases(&mut headers, &[HeaderName::from_static("x-user")]);
    assert_eq!(headers, map(&[("my_header", "fine")]));
}

#[test]
fn nor_do_they_pass_where_a_peer_is_believed() {
    let mut headers = map(&[("x-forwarded-client_cert", "root"), ("x-forwarded-client-cert", "guest")]);
    applied(&Hop::new(ip("10.0.0.1"), 80, false), &mut headers, "a.example", &ten());
    assert_eq!(headers.get("x-forwarded-client_cert"), None);
    assert_eq!(headers["x-forwarded-client-cert"], "guest");
}

#[test]
fn a_request_id_is_believed_from_the_trusted_only_and_only_if_sane() {
    assert_eq!(request_id(&mut map(&[("x-request-id", "abc")]), true), "abc");
    let long = HeaderMap::from_iter([(REQUEST_ID, "a".repeat(129).parse().unwrap())]);
    for (mut headers, trusted) in [
        (map(&[("x-request-id", "abc")]), false),
        (map(&[("x-request-id", "a b")]), true),
        (map(&[("x-request-id", "")]), true),
        (map(&[("x-request-id", "a"), ("x-request-id", "b")]), true),
        (long, true),
        (map(&[]), true),
    ] {
        let id = request_id(&mut headers, trusted);
        assert_eq!(id.len(), 32);
        assert!(id.as_bytes().iter().all(u8::is_ascii_hexdigit));
        assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
    }
}

const MAYBE_OURS: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-a_b",
    "x-forwarded_for",
    "x-real-ip",
    "x_real-ip",
    "forwarded",
    "my_name",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn looking_only_for_what_is_there_overlooks_nothing(
        names in prop::collection::vec(prop::sample::select(&MAYBE_OURS[..]), 1..4),
        peer in prop::sample::select(&["10.0.0.1", "1.2.3.4"][..]),
    ) {
        let mut headers = HeaderMap::new();
        for name in &names {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("10.0.0.9"));
        }
        let (hop, trusted, named) = (Hop::new(ip(peer), 80, false), ten(), HeaderValue::from_static("a"));
        let mut looked = headers.clone();
        let all = Fields::CLAIM.or(Fields::ALIAS);
        let expected = hop.apply(&mut looked, all, Some(&named), &trusted);
        let fields = Fields::of(&headers);
        prop_assert_eq!(hop.apply(&mut headers, fields, Some(&named), &trusted), expected);
        prop_assert_eq!(headers, looked);
    }

    #[test]
    fn no_list_makes_a_client_out_of_a_stranger(lines in prop::collection::vec("[ -~]{0,40}", 0..5)) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(FOR, line.parse().unwrap());
            headers.append(FORWARDED, line.parse().unwrap());
        }
        let trusted = ten();
        prop_assert_eq!(trusted.client_ip(ip("1.1.1.1"), &headers), ip("1.1.1.1"));
        applied(&Hop::new(ip("10.0.0.1"), 80, true), &mut headers, "a", &trusted);
        prop_assert!(headers[FOR].to_str().unwrap().ends_with("10.0.0.1"));
        prop_assert_eq!(headers.get_all(FOR).iter().count(), 1);
    }
}
