//! A configuration staged for scenes: before stand-ins of its own backends, with everything that limits, chooses and
//! decides as it is.
//!
//! What asks nobody to judge (tokens, keys) asks nobody here either: it takes a key of the drill's. What asks a service
//! asks its own upstream, which is a stand-in like all others. Nothing is added.

use super::places::at_most;
use super::{Draft, Pace, absolute_paths};
use crate::cli::drill::text;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

/// Stand-ins of one upstream at most.
const MOST_BACKENDS: usize = 3;
/// Decisions are fresh for so long at most, in seconds: a few seconds of silence stand for minutes.
const FRESH: f64 = 1.0;
/// Where a backend is while nothing listens for it yet.
const NOWHERE: &str = "127.0.0.1:1";
/// What stands for a secret that is not on this machine; long enough for any use.
const SECRET: &str = "stand-in-for-a-secret-of-the-drill-0123456789";

/// A configuration on its way to the stage.
#[derive(Clone, Debug)]
pub(in super::super) struct Staged {
    tree: Value,
    /// What is not as in the file, in sentences.
    pub notes: Vec<String>,
    /// What the file says of each upstream's backends.
    pub written: BTreeMap<String, Written>,
    /// What the drill shows to auths that know keys.
    pub key: String,
}

/// Backends as the file has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Written {
    /// How many.
    pub backends: usize,
    /// One of them at least is a name.
    pub named: bool,
}

/// Where stand-ins are.
pub(in super::super) struct Spots<'a> {
    /// The addresses of the upstreams that are asked for, in the order of their backends.
    pub stand_ins: &'a BTreeMap<String, Vec<String>>,
    /// Everybody else's.
    pub rest: String,
    /// The drill's name server.
    pub names: SocketAddr,
}

impl Staged {
    /// Stages a text that was found in `file`, with steps no longer than `pace` says.
    ///
    /// # Errors
    /// If it is no TOML.
    pub fn of(text: &str, file: &Path, pace: Pace) -> anyhow::Result<Staged> {
        let mut tree = text::read(text)?;
        absolute_paths(&mut tree, file);
        let secrets = stand_in_for_secrets(&mut tree);
        let mut draft =
            Draft { tree, notes: Vec::new(), origins: Vec::new(), judges: 0, services: Vec::new() };
        draft.keep_to_loopback();
        draft.shorten(pace);
        let mut bytes = [0; 16];
        fastrand::fill(&mut bytes);
        let key = blake3::hash(&bytes).to_hex().to_string();
        let mut staged = Staged { tree: draft.tree, notes: draft.notes, written: BTreeMap::new(), key };
        if secrets > 0 {
            staged
                .notes
                .push(format!("{secrets} values come from files or variables that are not here: made up"));
        }
        staged.pass_by_a_key();
        staged.speak_plainly();
        Ok(staged)
    }

    /// The text with these addresses; upstreams without any get `rest`.
    pub fn text(&self, spots: &Spots<'_>, home: &Path) -> String {
        let mut tree = self.tree.clone();
        for upstream in text::tables(&mut tree, "upstreams") {
            let name = text::word(upstream, "name").unwrap_or_default().to_owned();
            let addresses = spots.stand_ins.get(&name);
            let Some(backends) = upstream.get_mut("backends").and_then(Value::as_array_mut) else { continue };
            backends.truncate(addresses.map_or(1, Vec::len).max(1));
            for (nth, backend) in backends.iter_mut().enumerate() {
                let address = addresses.and_then(|addresses| addresses.get(nth)).unwrap_or(&spots.rest);
                backend["address"] = json!(address);
            }
        }
        tree["gateway"]["resolver"] = json!([spots.names.to_string()]);
        tree["admin"]["state_dir"] = json!(home.join("state").to_string_lossy());
        text::write(&tree)
    }

    /// The text before anything listens: to be checked and looked at.
    pub fn bare(&self, home: &Path) -> String {
        let names = SocketAddr::from(([127, 0, 0, 1], 1));
        let nowhere = |name: &String| (name.clone(), vec![NOWHERE.to_owned(); self.many(name)]);
        let stand_ins = self.written.keys().map(nowhere).collect();
        self.text(&Spots { stand_ins: &stand_ins, rest: NOWHERE.to_owned(), names }, home)
    }

    /// A text of this configuration, with all backends of one upstream at another address.
    ///
    /// # Errors
    /// If the text is no TOML, which it always is.
    pub fn moved(written: &str, upstream: &str, address: &str) -> anyhow::Result<String> {
        let mut tree = text::read(written)?;
        let all = text::tables(&mut tree, "upstreams");
        for table in all.filter(|table| text::word(table, "name") == Some(upstream)) {
            let backends = table.get_mut("backends").and_then(Value::as_array_mut).into_iter().flatten();
            backends.for_each(|backend| backend["address"] = json!(address));
        }
        Ok(text::write(&tree))
    }

    /// How many stand-ins an upstream needs.
    pub fn many(&self, upstream: &str) -> usize {
        self.written.get(upstream).map_or(1, |written| written.backends).clamp(1, MOST_BACKENDS)
    }

    /// Says which backends are not there.
    pub fn note_backends(&mut self, asked: &BTreeSet<String>) {
        for name in asked {
            let (many, written) = (self.many(name), self.written.get(name).map_or(1, |it| it.backends));
            let fewer = if many < written { format!(", {many} instead of {written}") } else { String::new() };
            self.notes.push(format!("upstream {name}: stand-ins on loopback{fewer}"));
        }
        let rest = self.written.keys().filter(|name| !asked.contains(*name)).count();
        if rest > 0 {
            self.notes.push(format!("{rest} other upstreams: not asked for anything"));
        }
    }

    /// Auths that judge by themselves take the drill's key, where they look for theirs.
    fn pass_by_a_key(&mut self) {
        let hash = blake3::hash(self.key.as_bytes()).to_hex().to_string();
        let mut notes = Vec::new();
        for auth in text::tables(&mut self.tree, "auth") {
            let name = text::word(auth, "name").unwrap_or_default().to_owned();
            let kind = text::word(auth, "kind").unwrap_or("external").to_owned();
            if kind == "external" {
                let fresh = auth.get_mut("cache").and_then(Value::as_object_mut);
                if fresh.is_some_and(shorten_freshness) {
                    notes.push(format!(
                        "auth {name}: decisions are fresh for {FRESH} s, so that silence shows soon"
                    ));
                }
                continue;
            }
            let header = auth.get("header").cloned();
            let preset = if kind == "jwt" { "authorization" } else { "x-api-key" };
            auth.retain(|key, _| key == "name");
            auth.insert("kind".to_owned(), json!("api_key"));
            auth.insert("header".to_owned(), header.unwrap_or_else(|| json!(preset)));
            auth.insert("keys".to_owned(), json!([{ "name": "drill", "hash": hash }]));
            notes.push(format!("auth {name}: takes a key of the drill's instead of {kind}"));
        }
        self.notes.extend(notes);
    }

    /// To stand-ins: HTTP/1.1 without TLS.
    fn speak_plainly(&mut self) {
        let mut notes = Vec::new();
        for upstream in text::tables(&mut self.tree, "upstreams") {
            let name = text::word(upstream, "name").unwrap_or_default().to_owned();
            let tls = upstream.remove("tls").is_some();
            let protocol = upstream.remove("protocol").is_some_and(|it| it != json!("http1"));
            let grpc = upstream.get("health").is_some_and(|health| health["kind"] == "grpc");
            if grpc {
                upstream.remove("health");
            }
            let mut less = Vec::new();
            less.extend(tls.then_some("TLS"));
            less.extend(protocol.then_some("HTTP/2"));
            less.extend(grpc.then_some("gRPC health checks"));
            if !less.is_empty() {
                notes.push(format!("upstream {name}: without {}", less.join(" and ")));
            }
            let backends = upstream.get_mut("backends").and_then(Value::as_array_mut);
            let written = backends.map_or(Written::default(), |backends| {
                let named = backends.iter().any(|it| it["address"].as_str().is_some_and(is_name));
                Written { backends: backends.len(), named }
            });
            self.written.insert(name, written);
        }
        self.notes.extend(notes);
    }
}

/// True if decisions were fresh for longer.
fn shorten_freshness(cache: &mut Map<String, Value>) -> bool {
    if cache.contains_key("refused_ttl") {
        at_most(cache, "refused_ttl", "5s", FRESH);
    }
    at_most(cache, "ttl", "30s", FRESH)
}

/// An address that a name server has to be asked for; what is filled in is taken for one.
fn is_name(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err()
}

/// Puts something in the place of what this machine does not have: files that cannot be read, variables that are not
/// set and have no default. How many that were.
#[expect(clippy::disallowed_methods, reason = "a command of its own process")]
fn stand_in_for_secrets(tree: &mut Value) -> usize {
    let many = std::cell::Cell::new(0);
    text::each_text(tree, &|text| {
        let mut rest = 0;
        while let Some(from) = text.get(rest..).and_then(|it| it.find("${")).map(|at| at + rest) {
            let Some(to) = text[from..].find('}').map(|at| at + from) else { break };
            let inside = text[from + 2..to].to_owned();
            let escaped = text[..from].ends_with('$');
            let there = match inside.strip_prefix("file:") {
                Some(path) => std::fs::metadata(path).is_ok_and(|file| file.is_file()),
                None => inside.contains(':') || std::env::var_os(&inside).is_some(),
            };
            if there || escaped {
                rest = to;
            } else {
                text.replace_range(from..=to, SECRET);
                rest = from + SECRET.len();
                many.set(many.get() + 1);
            }
        }
    });
    many.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};

    const PACE: Pace = Pace { bake: 2.0, dwell: 1.0 };

    #[test]
    fn every_example_can_be_staged_and_stays_on_loopback() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let files = std::fs::read_dir(folder).expect("examples").map(|entry| entry.expect("one").path());
        for file in files.filter(|path| path.extension().is_some_and(|end| end == "toml")) {
            let text = std::fs::read_to_string(&file).expect("text");
            let staged = Staged::of(&text, &file, PACE).expect("TOML");
            let bare = staged.bare(Path::new("/scratch"));
            let checked = config::check(&bare, &file, &ProcessEnvironment);
            let why = checked.render(false);
            let plan = checked.plan.unwrap_or_else(|| panic!("{}: {why}\n{bare}", file.display()));
            assert!(plan.listeners.iter().all(|it| it.address.ip().is_loopback() && it.tls.is_none()));
            assert!(plan.admin.address.ip().is_loopback() && plan.gateway.resolver.len() == 1);
            let backends = plan.upstreams.iter().flat_map(|it| &it.balancing.backends);
            assert!(
                backends.into_iter().all(|it| it.address.literal().is_some_and(|at| at.ip().is_loopback()))
            );
            assert!(!bare.contains("jwks_") && !bare.contains("https://"), "{bare}");
        }
    }

    const FILE: &str = r#"
[[listeners]]
name = "edge"
address = "0.0.0.0:443"
tls = { certificates = [{ certificate = "cert.pem", key = "key.pem" }] }
[[upstreams]]
name = "orders"
backends = [{ name = "a", address = "orders.internal:80" }, { name = "b", address = "10.0.0.1:80" }, { name = "c", address = "10.0.0.2:80" }, { name = "d", address = "10.0.0.3:80" }]
max_in_flight = 40
[[auth]]
name = "session"
upstream = "orders"
path = "/verify"
on_error = "stale"
cache = { ttl = "30s", stale = "7m" }
[[auth]]
name = "token"
kind = "jwt"
secret = "${file:/nowhere/secret}"
any_audience = true
header = "x-token"
[[routes]]
name = "all"
upstream = "orders"
auth = "token"
request_headers = { set = { "x-key" = "${NOBODY_HAS_SET_THIS}", "x-price" = "$${5}" } }
"#;

    #[test]
    fn what_judges_limits_and_waits_is_kept_and_what_differs_is_told() {
        let mut staged = Staged::of(FILE, Path::new("/etc/tidegate/gateway.toml"), PACE).expect("TOML");
        let bare = staged.bare(Path::new("/scratch"));
        let checked = config::check(&bare, Path::new("/scratch/gateway.toml"), &ProcessEnvironment);
        let why = checked.render(false);
        let plan = checked.plan.unwrap_or_else(|| panic!("{why}\n{bare}"));
        let orders = &plan.upstreams[0];
        assert_eq!((orders.gate.max_in_flight, orders.balancing.backends.len()), (40, MOST_BACKENDS));
        let cache = plan.auths[0].cache.as_ref().expect("kept");
        assert_eq!((cache.ttl.as_secs(), cache.stale.as_secs()), (1, 420));
        assert_eq!(plan.auths[1].read_headers()[0], "x-token");
        assert!(bare.contains("$${5}") && !bare.contains("/nowhere"), "{bare}");
        assert_eq!(staged.written["orders"], Written { backends: 4, named: true });
        staged.note_backends(&BTreeSet::from(["orders".to_owned()]));
        let notes = staged.notes.join("\n");
        for told in ["without TLS", "3 instead of 4", "fresh for 1 s", "a key of the drill", "made up"] {
            assert!(notes.contains(told), "{told}:\n{notes}");
        }
        let moved = Staged::moved(&bare, "orders", "gone.drill.example:80").expect("TOML");
        assert_eq!(moved.matches("gone.drill.example:80").count(), MOST_BACKENDS);
    }
}
