//! The files of the operators' page: given to everyone whom the door lets in, kept by browsers, and able to do nothing
//! but what the page is for.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::operator::ask;
use crate::support::origins::Origin;
use crate::support::raw::{Answer, Raw};

fn started(admin: &str) -> Gateway {
    // Nothing is asked of it.
    let origin = Origin::well_behaved();
    Gateway::start(&Config::simple(origin.address()).admin(admin))
}

fn get(gateway: &Gateway, path: &str, headers: &[&str]) -> Answer {
    ask(gateway.admin(), "GET", path, headers, "")
}

/// The paths of the assets that the page names.
fn assets(page: &Answer) -> Vec<String> {
    let text = page.text();
    let named = text.split(['"', '\'']).filter(|text| text.starts_with("/assets/"));
    named.map(str::to_owned).collect()
}

#[test]
fn the_page_needs_no_token_and_its_numbers_do() {
    let hash = blake3::hash(b"the token").to_hex();
    let gateway = started(&format!("tokens = [{{ name = \"ops\", role = \"viewer\", hash = \"{hash}\" }}]"));
    let page = get(&gateway, "/", &[]);
    assert_eq!((page.status(), page.get("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().starts_with("<!doctype html>"), "{}", page.text());
    let assets = assets(&page);
    assert!(!assets.is_empty(), "it names its scripts");
    for asset in &assets {
        assert_eq!(get(&gateway, asset, &[]).status(), 200, "{asset}");
    }
    // A browser asks for it by itself; that is no stranger at the door.
    assert_eq!(get(&gateway, "/favicon.ico", &[]).status(), 404);
    assert_eq!(get(&gateway, "/v1/status", &[]).status(), 401);
    // As the page asks: same origin, with its token as a header.
    let own = format!("Origin: http://{}", gateway.admin());
    let status = get(
        &gateway,
        "/v1/status",
        &["Authorization: Bearer the token", &own, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"],
    );
    assert_eq!(status.status(), 200);
    assert!(status.get("set-cookie").is_none() && page.get("set-cookie").is_none(), "there are no cookies");
}

#[test]
fn the_page_may_do_nothing_but_talk_to_its_own_gateway() {
    let gateway = started("");
    let page = get(&gateway, "/", &[]);
    let files: Vec<_> = assets(&page).iter().map(|asset| get(&gateway, asset, &[])).collect();
    for file in files.iter().chain([&page]) {
        let policy = file.get("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|known| known == part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(file.get(name), Some(value), "{name}");
        }
        assert!(file.get("permissions-policy").is_some_and(|policy| policy.contains("camera=()")));
    }
    let numbers = get(&gateway, "/v1/status", &[]);
    assert_eq!(numbers.get("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    assert_eq!(numbers.get("cache-control"), Some("no-store"));
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let gateway = started("");
    let page = get(&gateway, "/", &[]);
    assert_eq!(page.get("cache-control"), Some("no-cache"));
    let asset = assets(&page).remove(0);
    let script = get(&gateway, &asset, &[]);
    assert_eq!(script.get("cache-control"), Some("public, max-age=31536000, immutable"));
    for (path, file) in [("/", &page), (&*asset, &script)] {
        let tag = file.get("etag").expect("a tag");
        let again = get(&gateway, path, &[&format!("If-None-Match: {tag}")]);
        assert_eq!((again.status(), again.get("etag"), again.body.len()), (304, Some(tag), 0), "{path}");
        let mut raw = Raw::connect(gateway.admin());
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin()));
        let head = raw.answer(true);
        let length = file.body.len().to_string();
        assert_eq!((head.status(), head.get("content-length")), (200, Some(&*length)), "{path}");
    }
    assert_eq!(ask(gateway.admin(), "POST", "/", &[], "").status(), 405);
}

#[test]
fn no_path_leads_out_of_the_page_and_no_foreign_name_or_site_into_it() {
    let gateway = started("");
    for path in [
        "/assets/",
        "/assets/none.js",
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/index.html",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/%00",
        "/built/index.html",
        "/index.html/",
    ] {
        let answer = get(&gateway, path, &[]);
        assert_eq!(
            (answer.status(), answer.get("content-type")),
            (404, Some("application/problem+json")),
            "{path}"
        );
    }
    let own = format!("Host: {}", gateway.admin());
    for headers in [
        &["Host: evil.example"][..],
        &[&own, "Host: evil.example"],
        &["Origin: http://evil.example"],
        &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: script"],
        &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe"],
    ] {
        for path in ["/", "/assets/none.js"] {
            assert_eq!(get(&gateway, path, headers).status(), 403, "{path} {headers:?}");
        }
    }
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate"];
    assert_eq!(get(&gateway, "/", &link).status(), 200, "a link in a chat leads to the page");
}
