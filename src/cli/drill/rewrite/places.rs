//! Listeners, backends, the operators' door and times: everything but who judges.

use super::{Draft, Pace, table};
use crate::cli::drill::text;
use crate::config::units;
use serde_json::{Value, json};
use std::time::Duration;

/// Origins that an upstream has at most: the drill is about the gateway, not about this machine's descriptors.
const MOST_BACKENDS: usize = 8;
/// Origins in all.
const MOST_ORIGINS: usize = 128;

impl Draft {
    /// Nothing listens anywhere else, nobody is told, and no lines are written between the drill's own.
    pub(super) fn keep_to_loopback(&mut self) {
        let mut notes = Vec::new();
        for listener in text::tables(&mut self.tree, "listeners") {
            let name = text::word(listener, "name").unwrap_or_default().to_owned();
            let tls = listener.remove("tls").is_some();
            let redirects = listener.remove("redirect_https").is_some_and(|it| it == json!(true));
            listener.insert("address".to_owned(), json!("127.0.0.1:0"));
            let without = match (tls, redirects) {
                (true, _) => ", without TLS",
                (false, true) => ", without its redirect to https",
                _ => "",
            };
            notes.push(format!("listener {name}: a port on 127.0.0.1{without}"));
        }
        if self.tree.get("notify").is_some() {
            notes.push("nobody is notified".to_owned());
        }
        if self.tree.get("status_page").is_some() {
            notes.push("there is no status page".to_owned());
        }
        notes.push("admin: 127.0.0.1 without tokens, and a state directory of its own".to_owned());
        notes.push("access log: off; names: asked of the drill's own name server".to_owned());
        if let Some(root) = self.tree.as_object_mut() {
            root.remove("notify");
            // It would listen somewhere.
            root.remove("status_page");
            root.insert("admin".to_owned(), json!({ "address": "127.0.0.1:0", "socket": false }));
            root.insert("access_log".to_owned(), json!({ "target": "off" }));
            table(root, "gateway").remove("resolver");
        }
        self.notes.extend(notes);
    }

    /// Every backend is an origin of the drill's, or the auth service.
    pub(super) fn stand_before_our_own(&mut self) {
        let mut notes = Vec::new();
        for upstream in text::tables(&mut self.tree, "upstreams") {
            let name = text::word(upstream, "name").unwrap_or_default().to_owned();
            let judges = self.services.contains(&name);
            let tls = upstream.remove("tls").is_some();
            let protocol = upstream.remove("protocol").is_some_and(|it| it != json!("http1"));
            let grpc = upstream.get("health").is_some_and(|health| health["kind"] == "grpc");
            if grpc {
                upstream.remove("health");
            }
            let room = MOST_ORIGINS.saturating_sub(self.origins.len()).clamp(1, MOST_BACKENDS);
            let backends = upstream.get_mut("backends").and_then(Value::as_array_mut);
            let (many, kept) = backends.map_or((0, 0), |backends| {
                let many = backends.len();
                backends.truncate(room);
                (many, backends.len())
            });
            match judges {
                true => self.judges += kept,
                false => self.origins.extend((0..kept).map(|_| name.clone())),
            }
            let mut less = Vec::new();
            less.extend(tls.then_some("TLS"));
            less.extend(protocol.then_some("HTTP/2"));
            less.extend(grpc.then_some("gRPC health checks"));
            let what = if judges { "the drill's auth service" } else { "the drill's origins" };
            let mut note = format!("upstream {name}: {what}");
            if kept < many {
                note += &format!(", {kept} instead of {many}");
            }
            if !less.is_empty() {
                note += &format!(", without {}", less.join(" and "));
            }
            notes.push(note);
        }
        self.notes.extend(notes);
    }

    /// A drill lasts a minute: steps that take longer are shortened, and nobody else is there to approve.
    pub(super) fn shorten(&mut self, most: Pace) {
        let mut notes = Vec::new();
        if let Some(root) = self.tree.as_object_mut() {
            let rollout = table(root, "rollout");
            if at_most(rollout, "bake", "10s", most.bake) {
                notes.push(format!("rollout: bakes for {} s a stage", most.bake));
            }
            if rollout.remove("approve").is_some_and(|it| it != json!("never")) {
                notes.push("rollout: no second person is asked".to_owned());
            }
            if rollout.remove("promote_from").is_some() {
                notes.push("rollout: no receipt of another environment is asked for".to_owned());
            }
        }
        let mut dwells = 0;
        for upstream in text::tables(&mut self.tree, "upstreams") {
            dwells += usize::from(at_most(table(upstream, "ramp"), "dwell", "5s", most.dwell));
        }
        if dwells > 0 {
            notes.push(format!("ramps: dwell for {} s a step", most.dwell));
        }
        self.notes.extend(notes);
    }
}

/// Shortens the time at a key; true if it was longer.
pub(super) fn at_most(
    table: &mut serde_json::Map<String, Value>,
    key: &str,
    default: &str,
    seconds: f64,
) -> bool {
    let written = table.get(key).and_then(Value::as_str).unwrap_or(default);
    let most = Duration::from_secs_f64(seconds);
    // What is filled from the environment is not known here: it is replaced too.
    let longer = units::duration(written).map_or(true, |time| time > most);
    if longer {
        table.insert(key.to_owned(), json!(format!("{}ms", most.as_millis())));
    }
    longer
}
