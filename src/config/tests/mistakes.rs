//! Every kind of mistake: found where it is, said in words, with a hint.

use super::*;

/// What to break in [`GOOD`], the text that must be underlined, and words of message or hint.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("name = \"r\"", "name = \"r\"\nheaders_ = 1", "headers_", "did you mean `headers`"),
    ("name = \"r\"", "name = \"r\"\nworkers = 1", "workers", "`workers` belongs to gateway"),
    ("name = \"edge\"", "name = \"edge\"\nzzz = 1", "zzz", "known here are name, address"),
    ("[[routes]]", "[[route]]\n[[routes]]", "route", "did you mean `routes`"),
    ("name = \"r\"", "name = 5", "5", "found a whole number"),
    ("name = \"r\"", "name = \"-r\"", "\"-r\"", "beginning with a letter"),
    ("name = \"r\"", "", "[[routes]]", "`name` is missing"),
    ("address = \"127.0.0.1:1\"", "weight = 1", "{ name = \"a\", weight = 1 }", "`address` is missing"),
    ("backends = [{ name = \"a\", address = \"127.0.0.1:1\" }]", "backends = []", "[]", "is empty"),
    ("127.0.0.1:1\"", "127.0.0.1\"", "\"127.0.0.1\"", "the port is missing"),
    (
        "127.0.0.1:1\"",
        "_http.orders.internal\"",
        "\"_http.orders.internal\"",
        "a service is _name._tcp and a domain",
    ),
    ("name = \"u\"", "name = \"u\"\non_nxdomain = \"kep\"", "\"kep\"", "did you mean \"keep\""),
    ("[[upstreams]]", "[gateway]\nresolver = [\"10.0.0.53:0\"]\n[[upstreams]]", "\"10.0.0.53:0\"", "port 53"),
    (
        "[[upstreams]]",
        "[gateway]\nresolver = [\"ns.internal:53\"]\n[[upstreams]]",
        "\"ns.internal:53\"",
        "not a name",
    ),
    (
        "[[upstreams]]",
        "[status_page]\naddress = \"127.0.0.1:9900\"\n[[upstreams]]",
        "\"127.0.0.1:9900\"",
        "is taken",
    ),
    (
        "[[upstreams]]",
        "[status_page]\naddress = \"127.0.0.1:1\"\nupstreams = [{ upstream = \"uu\", name = \"U\" }]\n[[upstreams]]",
        "\"uu\"",
        "no upstream named \"uu\"",
    ),
    (
        "[[upstreams]]",
        "[status_page]\naddress = \"127.0.0.1:1\"\ntitle = \" \"\n[[upstreams]]",
        "\" \"",
        "no line of 1 to 80 characters",
    ),
    ("[[upstreams]]", "[incidents]\nshed = \"0%\"\n[[upstreams]]", "\"0%\"", "out of range"),
    ("[[upstreams]]", "[incidents]\nfreeze_from = \"low\"\n[[upstreams]]", "\"low\"", "medium"),
    ("127.0.0.1:1\"", "http://x:1\"", "\"http://x:1\"", "a scheme such as http:// does not belong"),
    ("127.0.0.1:0\"", "localhost:80\"", "\"localhost:80\"", "an address literal, not a name"),
    ("upstream = \"u\"", "upstream = \"uu\"", "\"uu\"", "no upstream named \"uu\""),
    ("upstream = \"u\"", "", "[[routes]]", "does not say what becomes"),
    ("upstream = \"u\"", "upstream = \"u\"\nrespond = {}", "{}", "exclude each other"),
    ("path_prefix = \"/\"", "path_prefix = \"/\"\npath = \"/\"", "\"/\"", "exclude each other"),
    ("path_prefix = \"/\"", "path_prefix = \"orders\"", "\"orders\"", "does not begin with `/`"),
    ("path_prefix = \"/\"", "path = \"/a/../b\"", "\"/a/../b\"", "dot segment"),
    ("path_prefix = \"/\"", "path_pattern = \"/a/x{id}\"", "\"/a/x{id}\"", "a gap is a whole segment"),
    ("path_prefix = \"/\"", "hosts = [\"a b\"]", "\"a b\"", "character that host names do not have"),
    ("path_prefix = \"/\"", "hosts = \"a\"", "\"a\"", "put it into brackets"),
    ("path_prefix = \"/\"", "hosts = []", "[]", "is empty"),
    ("path_prefix = \"/\"", "listeners = []", "[]", "is empty"),
    ("path_prefix = \"/\"", "listeners = [\"egde\"]", "\"egde\"", "did you mean \"edge\""),
    ("path_prefix = \"/\"", "methods = [\"get\"]", "\"get\"", "in capitals"),
    ("path_prefix = \"/\"", "methods = [\"CONNECT\"]", "\"CONNECT\"", "never served"),
    ("path_prefix = \"/\"", "timeout = \"5 parsecs\"", "\"5 parsecs\"", "unit is unknown"),
    ("path_prefix = \"/\"", "timeout = 5", "5", "a number with its unit"),
    ("path_prefix = \"/\"", "timeout = \"0s\"", "\"0s\"", "out of range"),
    ("path_prefix = \"/\"", "max_body = \"10 pages\"", "\"10 pages\"", "KiB"),
    ("path_prefix = \"/\"", "max_body = -1", "-1", "out of range"),
    ("path_prefix = \"/\"", "max_in_flight = 0", "0", "from 1 to"),
    ("path_prefix = \"/\"", "max_in_flight = \"8\"", "\"8\"", "without quotes"),
    ("path_prefix = \"/\"", "strip_prefix = true", "true", "needs `path_prefix`"),
    ("path_prefix = \"/\"", "class = \"critcal\"", "\"critcal\"", "did you mean \"critical\""),
    (
        "path_prefix = \"/\"",
        "request_headers = { set = { \"a b\" = \"x\" } }",
        "\"a b\"",
        "not the name of a header",
    ),
    ("path_prefix = \"/\"", "request_headers = { set = { a = \"x\\ny\" } }", "\"x\\ny\"", "cannot be sent"),
    (
        "path_prefix = \"/\"",
        "request_headers = { set = { Host = \"x\" } }",
        "\"x\"",
        "set the upstream's `host`",
    ),
    (
        "path_prefix = \"/\"",
        "response_headers = { remove = [\"Content-Length\"] }",
        "\"Content-Length\"",
        "cannot be edited",
    ),
    ("upstream = \"u\"", "redirect = {}", "{}", "leads back to itself"),
    ("upstream = \"u\"", "redirect = { path = \"//evil\" }", "\"//evil\"", "is not a path"),
    ("upstream = \"u\"", "redirect = { status = 304, path = \"/\" }", "304", "not the status of a redirect"),
    ("upstream = \"u\"", "respond = { status = 204, body = \"x\" }", "\"x\"", "has no body"),
    ("name = \"u\"", "name = \"u\"\ntls = { key = \"k\" }", "\"k\"", "needs its key"),
    ("name = \"u\"", "name = \"u\"\nhost = \"a@b\"", "\"a@b\"", "is not a host"),
    (
        "name = \"u\"",
        "name = \"u\"\nramp = { steps = [\"50%\", \"25%\", \"100%\"] }",
        "\"25%\"",
        "shares rise",
    ),
    ("name = \"u\"", "name = \"u\"\nejection = { max_ejected = \"half\" }", "\"half\"", "no percent sign"),
    ("name = \"edge\"", "name = \"edge\"\ntls = { certificates = [] }", "[]", "is empty"),
    ("127.0.0.1:0\"", "127.0.0.1:9900\"", "\"127.0.0.1:9900\"", "is taken"),
    (
        "[[listeners]]",
        "[admin]\naddress = \"0.0.0.0:9900\"\n[[listeners]]",
        "\"0.0.0.0:9900\"",
        "there are no tokens",
    ),
    (
        "[[listeners]]",
        "[admin]\ntokens = [{ name = \"a\", role = \"root\", hash = \"x\" }]\n[[listeners]]",
        "\"root\"",
        "viewer, operator, admin",
    ),
    (
        "[[listeners]]",
        "[gateway]\ntrusted_proxies = [\"10.0.0.0/99\"]\n[[listeners]]",
        "\"10.0.0.0/99\"",
        "address block",
    ),
    ("[[listeners]]", "[gateway]\nworkers = \"all\"\n[[listeners]]", "\"all\"", "\"auto\""),
    ("[[listeners]]", "[rollout]\ncohort = \"x\"\n[[listeners]]", "\"x\"", "client_ip"),
    (
        "[[listeners]]",
        "[rollout]\npromote_from = { environment = \"staging\", public_key = \"MCowBQ==\" }\n[[listeners]]",
        "\"MCowBQ==\"",
        "no ed25519 key of 32 bytes",
    ),
    ("[[listeners]]", "[rollout]\nprobe = { auth = \"on\" }\n[[listeners]]", "\"on\"", "off, information"),
    ("[[listeners]]", "[[auth]]\nname = \"a\"\n[[listeners]]", "[[auth]]", "asks an upstream at a path"),
    ("[[listeners]]", "[access_log]\nheaders = [\"Cookie\"]\n[[listeners]]", "\"Cookie\"", "holds secrets"),
    ("127.0.0.1:1\"", "${NOWHERE}:1\"", "\"${NOWHERE}:1\"", "`NOWHERE` is not set"),
    ("127.0.0.1:1\"", "${file:none}:1\"", "\"${file:none}:1\"", "cannot be read"),
];

#[test]
fn every_kind_of_mistake_is_underlined_and_explained() {
    for (part, replacement, underlined, words) in MISTAKES {
        let text = GOOD.replacen(part, replacement, 1);
        let checked = checked(&text);
        assert!(checked.is_refused(), "{replacement} is accepted");
        let fits = checked.findings.iter().any(|finding| {
            let said = format!("{} {}", finding.message, finding.hint.as_deref().unwrap_or_default());
            &text[finding.span.clone()] == *underlined && said.contains(words)
        });
        assert!(fits, "{underlined} / {words} in\n{}", checked.render(false));
        let unexplained = checked.findings.iter().find(|f| f.hint.is_none() && f.severity == Severity::Error);
        assert_eq!(unexplained, None);
    }
}

#[test]
fn one_mistake_is_reported_once() {
    // A missing part of one thing must not make another look wrong.
    for (part, replacement, ..) in MISTAKES {
        let text = GOOD.replacen(part, replacement, 1);
        let errors = checked(&text).errors();
        let expected = match *replacement {
            r if r.contains("[[route]]") || r.contains("role = \"root\"") || r.starts_with("[[auth]]") => 2,
            _ => 1,
        };
        assert!(errors.len() <= expected, "{replacement}: {errors:#?}");
    }
}

#[test]
fn names_that_are_given_twice_show_both_places() {
    let copies = [
        "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:7\"",
        "[[upstreams]]\nname = \"u\"\nbackends = [{ name = \"a\", address = \"h:1\" }]",
        "[[routes]]\nname = \"r\"\npath = \"/x\"\nupstream = \"u\"",
    ];
    for copy in copies {
        let text = format!("{GOOD}\n{copy}\n");
        let checked = checked(&text);
        let finding = &checked.findings[0];
        assert!(finding.message.starts_with("two "), "{finding:?}");
        let (first, _) = finding.related.as_ref().expect("the first is shown");
        assert_eq!(text[first.clone()], text[finding.span.clone()]);
        assert!(first.start < finding.span.start);
    }
}

#[test]
fn routes_that_cannot_be_told_apart_are_an_error_with_both_places() {
    let text = format!("{GOOD}\n[[routes]]\nname = \"twin\"\nupstream = \"u\"\n");
    let checked = checked(&text);
    assert_eq!(checked.errors().len(), 1, "{}", checked.render(false));
    let finding = &checked.findings[0];
    assert_eq!(&text[finding.span.clone()], "\"twin\"");
    assert!(finding.message.contains("cannot be told apart"), "{finding:?}");
    assert_eq!(finding.related.as_ref().map(|(span, _)| &text[span.clone()]), Some("\"r\""));
}

#[test]
fn syntax_errors_are_all_reported_and_nothing_is_blamed_for_them() {
    let text = GOOD
        .replace("name = \"edge\"", "name = \"edge")
        .replace("path_prefix = \"/\"", "path_prefix = = \"/\"");
    let checked = checked(&text);
    let lines: Vec<usize> =
        checked.json().as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap() as usize).collect();
    for part in ["name = \"edge", "path_prefix = ="] {
        assert!(lines.contains(&line_of(&text, part)), "{part}: {lines:?}\n{}", checked.render(false));
    }
    assert!(!checked.render(false).contains("is missing"), "{}", checked.render(false));
}

#[test]
fn tls_files_that_are_not_there_only_warn() {
    let text = GOOD.replace(
        "name = \"edge\"",
        "name = \"edge\"\ntls = { certificates = [{ certificate = \"c.pem\", key = \"k.pem\" }] }",
    );
    let notices = plan(&text).notices;
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("\"c.pem\" is not there"), "{notices:?}");
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let errors = checked("").errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("`listeners` is missing"), "{errors:?}");
}
