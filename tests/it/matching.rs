//! Which route a request belongs to: by host, path, method and headers, whatever the order in the file, and
//! never by chance.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, cli};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use tempfile::TempDir;

/// Routes by name, each with what it matches. Each answers with its own name.
const ROUTES: &[(&str, &str)] = &[
    ("everything", ""),
    ("short", "path_prefix = \"/a\""),
    ("long", "path_prefix = \"/a/b\""),
    ("pattern", "path_pattern = \"/a/b/{id}\""),
    ("exact", "path = \"/a/b/c\""),
    ("suffix", "hosts = [\"*.edge.test\"]"),
    ("longer-suffix", "hosts = [\"*.deep.edge.test\"]"),
    ("host", "hosts = [\"api.edge.test\"]\npath_prefix = \"/only\""),
    ("write", "path_prefix = \"/m\"\nmethods = [\"POST\", \"PUT\"]"),
    ("read", "path_prefix = \"/m\"\nmethods = [\"GET\"]"),
    ("plain", "path_prefix = \"/h\""),
    ("beta", "path_prefix = \"/h\"\nheaders = { \"x-beta\" = \"yes\" }"),
    ("both", "path_prefix = \"/h\"\nheaders = { \"x-beta\" = \"yes\", \"x-team\" = \"*\" }"),
    ("demanding", "path = \"/demanding\"\nheaders = { \"x-key\" = \"*\" }"),
];

/// Method, host, path, headers, and the route that answers (or a status).
const REQUESTS: &[(&str, &str, &str, &str, &str)] = &[
    ("GET", "other.test", "/", "", "everything"),
    ("GET", "other.test", "/a", "", "short"),
    ("GET", "other.test", "/ab", "", "everything"),
    ("GET", "other.test", "/a/x", "", "short"),
    ("GET", "other.test", "/a/b", "", "long"),
    ("GET", "other.test", "/a/b/x/y", "", "long"),
    ("GET", "other.test", "/a/b/x", "", "pattern"),
    ("GET", "other.test", "/a/b/c", "", "exact"),
    ("GET", "x.edge.test", "/a/b/c", "", "suffix"),
    ("GET", "edge.test", "/a/b/c", "", "exact"),
    ("GET", "x.deep.edge.test", "/a", "", "longer-suffix"),
    ("GET", "api.edge.test", "/only/this", "", "host"),
    ("GET", "api.edge.test", "/other", "", "suffix"),
    ("POST", "other.test", "/m", "", "write"),
    ("PUT", "other.test", "/m/x", "", "write"),
    ("GET", "other.test", "/m", "", "read"),
    ("DELETE", "other.test", "/m", "", "everything"),
    ("GET", "other.test", "/h", "", "plain"),
    ("GET", "other.test", "/h", "x-beta: no\r\n", "plain"),
    ("GET", "other.test", "/h", "X-Beta: yes\r\n", "beta"),
    ("GET", "other.test", "/h", "x-beta: yes\r\nx-beta: no\r\n", "plain"),
    ("GET", "other.test", "/h", "x-beta: yes\r\nx-team: any\r\n", "both"),
    ("GET", "other.test", "/h", "x-team: any\r\n", "plain"),
    ("GET", "other.test", "/demanding", "x-key: 1\r\n", "demanding"),
    ("GET", "other.test", "/demanding", "", "everything"),
];

fn config<'a>(routes: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Config {
    routes.fold(Config::new(), |config, (name, matches)| {
        config.text(&format!(
            "[[routes]]\nname = \"{name}\"\n{matches}\nrespond = {{ status = 200, body = \"{name}\" }}\n"
        ))
    })
}

fn answers_as_expected(gateway: &Gateway, order: &str) {
    let mut raw = gateway.connect();
    for (method, host, path, headers, expected) in REQUESTS {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\n\r\n");
        let answer = raw.ask(request);
        let route = answer.text();
        assert_eq!(route, *expected, "{order}: {method} {host}{path} {headers:?} {}", answer.status());
    }
}

#[test]
fn precedence_does_not_depend_on_the_order_in_the_file() {
    let gateway = Gateway::start(&config(ROUTES.iter()));
    answers_as_expected(&gateway, "as written");
    gateway.change(&config(ROUTES.iter().rev()));
    answers_as_expected(&gateway, "reversed");
    let mut shuffled: Vec<_> = ROUTES.iter().collect();
    fastrand::Rng::with_seed(4).shuffle(&mut shuffled);
    gateway.change(&config(shuffled.into_iter()));
    answers_as_expected(&gateway, "shuffled");
}

#[test]
fn routes_that_no_order_could_tell_apart_are_refused_with_both_places() {
    let pairs = [
        ("path_prefix = \"/x\"", "path_prefix = \"/x\""),
        ("path_prefix = \"/x\"", "path_prefix = \"/x\"\nmethods = []"),
        ("path_pattern = \"/x/{a}\"", "path_pattern = \"/x/{b}\""),
        ("path = \"/x\"\nheaders = { x-a = \"*\" }", "path = \"/x\"\nheaders = { x-b = \"*\" }"),
        ("hosts = [\"a.test\", \"b.test\"]", "hosts = [\"b.test\", \"c.test\"]"),
        ("hosts = [\"a.test\"]", "hosts = [\"A.test.\"]"),
        ("path = \"/x\"\nmethods = [\"GET\", \"PUT\"]", "path = \"/x\"\nmethods = [\"PUT\", \"POST\"]"),
    ];
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("gateway.toml");
    for (one, other) in pairs {
        let text = config([("one", one), ("other", other)].iter()).render(folder.path());
        std::fs::write(&file, &text).expect("the file is written");
        let output = finish(cli(&["check", "--json"]).arg(&file), PATIENCE);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{one} and {other}: {said}");
        let findings: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        let mut errors = findings["findings"].as_array().into_iter().flatten();
        let alike = errors.find(|finding| finding["related"].is_object());
        let alike = alike.unwrap_or_else(|| panic!("two places in {findings}"));
        let places = [&alike["related"]["line"], &alike["line"]].map(Value::as_u64);
        let named = |name| text.lines().position(|line| line == format!("name = \"{name}\""));
        let expected = ["one", "other"].map(|name| named(name).map(|at| at as u64 + 1));
        assert_eq!(places, expected, "{findings}");
    }
}

#[test]
fn a_change_that_makes_two_routes_alike_is_refused_whole() {
    let gateway = Gateway::start(&config([("one", "path = \"/x\"")].iter()));
    gateway.write(&config([("one", "path = \"/x\""), ("two", "path = \"/x\"")].iter()));
    wait_until(PATIENCE, "the refusal shows", || {
        gateway.metrics().get("tidegate_config_last_apply_successful", &[]) == Some(0.0)
    });
    assert_eq!(gateway.get("/x").text(), "one");
}
