//! Anybody's configuration, rewritten so that a drill can run it: on loopback alone, before the drill's own origins
//! and its own auth service, with everything else as it was.
//!
//! What limits, rules, routes and the policy of rollouts say is kept, because that is what is drilled. What reaches
//! out of this machine (addresses, names, TLS, keys to fetch, hooks) is replaced or left out, and each is told.

mod guards;
mod places;
mod staged;

pub(super) use staged::{Spots, Staged, Written};

use super::origins::FROM_FILE;
use super::text;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// The file that the configuration of a drill names, and that is gone when it is rolled back to.
pub(super) const SECRET: &str = "drill-secret";

/// A host that nobody has (RFC 2606).
const UNNAMED: &str = "elsewhere.drill.example:80";

/// A configuration on its way to loopback.
#[derive(Debug)]
pub(super) struct Draft {
    tree: Value,
    /// What is not as in the file, in sentences.
    pub notes: Vec<String>,
    /// The upstream of each origin that is needed, in the order of the file.
    pub origins: Vec<String>,
    /// Addresses that the auth service needs.
    pub judges: usize,
    /// The upstreams of auths.
    services: Vec<String>,
}

/// Where the drill's own parts are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The origins, in the order in which they are needed.
    pub origins: Vec<SocketAddr>,
    /// The auth service.
    pub judges: Vec<SocketAddr>,
    /// A name server that never answers: nobody outside is asked for a name.
    pub names: SocketAddr,
}

impl Draft {
    /// Rewrites a text that was found in `file` and passed its check, with steps no longer than `pace` says.
    ///
    /// # Errors
    /// If it is no TOML.
    pub fn of(text: &str, file: &Path, pace: Pace) -> anyhow::Result<Draft> {
        let mut tree = text::read(text)?;
        absolute_paths(&mut tree, file);
        let mut draft =
            Draft { tree, notes: Vec::new(), origins: Vec::new(), judges: 0, services: Vec::new() };
        draft.keep_to_loopback();
        draft.guard_by_our_own();
        draft.stand_before_our_own();
        draft.shorten(pace);
        draft.need_a_file();
        Ok(draft)
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The text, with the auth service at its real addresses.
    pub fn good(&self, places: &Places, home: &Path) -> String {
        self.placed(places, home, |judge| places.judges.get(judge).map(ToString::to_string))
    }

    /// The same text, with the auth service at one bad address: that of 24 March 2023.
    pub fn bad(&self, places: &Places, home: &Path, address: &str) -> String {
        self.placed(places, home, |_| Some(address.to_owned()))
    }

    /// The bad text, naming a host whose name server never answers, and nothing that stands in a file.
    ///
    /// # Errors
    /// If the text is no TOML, which it always is.
    pub fn worse(&self, places: &Places, home: &Path, address: &str) -> anyhow::Result<String> {
        let mut tree = text::read(&self.bad(places, home, address))?;
        for route in text::tables(&mut tree, "routes") {
            if let Some(set) = route.get_mut("request_headers").and_then(|edits| edits.get_mut("set"))
                && let Some(set) = set.as_object_mut()
            {
                set.remove(FROM_FILE);
            }
        }
        let backends = json!([{ "name": "a", "address": UNNAMED }]);
        if let Some(upstreams) = tree.get_mut("upstreams").and_then(Value::as_array_mut) {
            upstreams.push(json!({ "name": "drill-unnamed", "backends": backends }));
        }
        Ok(text::write(&tree))
    }

    fn placed(&self, places: &Places, home: &Path, judge: impl Fn(usize) -> Option<String>) -> String {
        let mut tree = self.tree.clone();
        let (mut origins, mut judges) = (places.origins.iter(), 0..);
        for upstream in text::tables(&mut tree, "upstreams") {
            let judges_here =
                text::word(upstream, "name").is_some_and(|name| self.services.iter().any(|it| it == name));
            let backends = upstream.get_mut("backends").and_then(Value::as_array_mut).into_iter().flatten();
            for backend in backends {
                let address = match judges_here {
                    true => judges.next().and_then(&judge),
                    false => origins.next().map(ToString::to_string),
                };
                backend["address"] = json!(address.unwrap_or_default());
            }
        }
        tree["gateway"]["resolver"] = json!([places.names.to_string()]);
        tree["admin"]["state_dir"] = json!(home.join("state").to_string_lossy());
        let secret = format!("${{file:{}}}", home.join(SECRET).to_string_lossy());
        for route in text::tables(&mut tree, "routes") {
            if let Some(set) = route.get_mut("request_headers").and_then(|edits| edits.get_mut("set"))
                && let Some(value) = set.get_mut(FROM_FILE)
            {
                *value = json!(secret);
            }
        }
        text::write(&tree)
    }

    /// One route tells its backend what stands in a file: a version that names a file which is gone is what a check
    /// refuses, and what a rollback must not.
    fn need_a_file(&mut self) {
        for route in text::tables(&mut self.tree, "routes") {
            if !route.contains_key("upstream") {
                continue;
            }
            let edits = table(route, "request_headers");
            // A name of ours: nobody removes it by that name.
            table(edits, "set").insert(FROM_FILE.to_owned(), json!(""));
        }
    }
}

/// How long the policy's and the ramps' steps may last at most, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A stage's bake.
    pub bake: f64,
    /// A ramp's dwell.
    pub dwell: f64,
}

/// The table at a key, made if it is not there.
fn table<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made one")
}

/// Files that values are filled from are named from the folder of the file, which is not the drill's.
fn absolute_paths(tree: &mut Value, file: &Path) {
    const FROM: &str = "${file:";
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    text::each_text(tree, &|text| {
        let Some((before, rest)) = text.split_once(FROM) else { return };
        let path = rest.split('}').next().unwrap_or_default();
        if !path.starts_with('/') {
            let home = folder.join(path);
            *text = format!("{before}{FROM}{}{}", home.to_string_lossy(), &rest[path.len()..]);
        }
    });
}

#[cfg(test)]
mod tests;
