//! What is rewritten is valid, stays on loopback, and is otherwise what it was.

use super::*;
use crate::config::{self, Environment, ProcessEnvironment};
use crate::routing::settings::Action;
use std::io;

const PACE: Pace = Pace { bake: 2.0, dwell: 1.0 };

/// A machine where every file is there and none has a secret.
struct Here;

impl Environment for Here {
    fn variable(&self, name: &str) -> Option<String> {
        ProcessEnvironment.variable(name)
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Ok("c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIGFueW9uZQ==".to_owned())
    }

    fn exists(&self, _: &Path) -> bool {
        true
    }
}

fn places(draft: &Draft) -> Places {
    let port = |n: usize| SocketAddr::from(([127, 0, 0, 1], 20_000 + n as u16));
    let judges = (0..draft.judges).map(|n| port(500 + n)).collect();
    Places { origins: (0..draft.origins.len()).map(port).collect(), judges, names: port(999) }
}

fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = std::fs::read_dir(folder).expect("examples").map(|entry| entry.expect("one").path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let named =
        |path: std::path::PathBuf| (path.display().to_string(), std::fs::read_to_string(path).expect("text"));
    files.map(named).collect()
}

#[test]
fn every_example_becomes_one_that_stays_on_loopback_and_has_both_kinds_of_routes() {
    let home = Path::new("/scratch");
    for (name, text) in examples() {
        let draft = Draft::of(&text, Path::new(&name), PACE).expect("TOML");
        let places = places(&draft);
        for text in [draft.good(&places, home), draft.bad(&places, home, "127.0.0.1:1")] {
            let checked = config::check(&text, Path::new("/scratch/gateway.toml"), &Here);
            let plan =
                checked.plan.as_ref().unwrap_or_else(|| panic!("{name}: {}\n{text}", checked.render(false)));
            assert!(
                plan.listeners.iter().all(|it| it.address.ip().is_loopback() && it.tls.is_none()),
                "{name}"
            );
            assert!(plan.admin.address.ip().is_loopback() && plan.admin.tokens.is_empty(), "{name}");
            assert_eq!(plan.gateway.resolver, [places.names], "{name}");
            for upstream in &plan.upstreams {
                assert!(upstream.transport.tls.is_none(), "{name}");
            }
            let served = |guarded: bool| {
                plan.routes.iter().any(|(_, route)| {
                    matches!(route.action, Action::Upstream(_)) && route.auth.is_some() == guarded
                })
            };
            assert!(served(true) && served(false), "{name}:\n{text}");
            assert!(!text.contains("jwks_"), "{name}:\n{text}");
        }
        let endpoints = |text: &str| {
            let tree = text::read(text).expect("TOML");
            let upstreams = tree["upstreams"].as_array().cloned().unwrap_or_default();
            let all = upstreams.iter().flat_map(|it| it["backends"].as_array().cloned().unwrap_or_default());
            all.map(|it| it["address"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        let good = endpoints(&draft.good(&places, home));
        assert!(good.iter().all(|it| it.starts_with("127.0.0.1:2")), "{name}: {good:?}");
        let bad = endpoints(&draft.bad(&places, home, "auth.invalid:1"));
        let moved = bad.iter().filter(|it| *it == "auth.invalid:1").count();
        assert_eq!((moved, bad.len()), (draft.judges, good.len()), "{name}");
    }
}

const FILE: &str = r#"
[gateway]
max_in_flight = 100
[[listeners]]
name = "edge"
address = "0.0.0.0:443"
tls = { certificates = [{ certificate = "cert.pem", key = "key.pem" }] }
[[upstreams]]
name = "both"
backends = [{ name = "a", address = "a.internal:80" }]
max_in_flight = 40
[[auth]]
name = "session"
upstream = "both"
path = "/verify"
on_error = "stale"
cache = { ttl = "7s" }
[[auth]]
name = "token"
kind = "jwt"
jwks_url = "https://issuer.example.com/keys"
audiences = ["api"]
[[routes]]
name = "all"
upstream = "both"
auth = "session"
request_headers = { set = { "x-key" = "${file:keys/one}" } }
[rollout]
stages = ["1%", "100%"]
bake = "1h"
approve = "high"
"#;

#[test]
fn limits_rules_and_policy_are_kept_and_whatever_is_not_is_told() {
    let draft = Draft::of(FILE, Path::new("/etc/tidegate/gateway.toml"), PACE).expect("TOML");
    let text = draft.good(&places(&draft), Path::new("/scratch"));
    let plan = config::check(&text, Path::new("/scratch/gateway.toml"), &Here).plan.expect("valid");
    assert_eq!((plan.gateway.max_in_flight, plan.rollout.stages.as_slice()), (100, &[0.01, 1.0][..]));
    assert_eq!(plan.rollout.bake.as_secs(), 2);
    let both = plan.upstreams.iter().find(|it| &*it.name == "both").expect("it is there");
    assert_eq!(both.gate.max_in_flight, 40);
    let session = &plan.auths[0];
    assert_eq!(session.upstream().map(|it| &**it), Some("drill-auth-session"));
    assert_eq!(session.cache.as_ref().map(|cache| cache.ttl.as_secs()), Some(7));
    assert!(
        text.contains("${file:/etc/tidegate/keys/one}") && text.contains("${file:/scratch/drill-secret}")
    );
    let notes = draft.notes.join("\n");
    for told in
        ["without TLS", "auth session", "auth token", "bakes for 2 s", "second person", "drill-public"]
    {
        assert!(notes.contains(told), "{told}:\n{notes}");
    }
}
