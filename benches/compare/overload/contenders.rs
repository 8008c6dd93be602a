//! The peers as contenders of the overload rig: started on their overload configurations (`peers/overload/`).

use crate::fill::Values;
use crate::peer::{Door, Peer, Recipe, get};
use crate::peers::Kind;
use crate::place::Place;
use crate::rig::experiments::{Contender, Proxy, Slots, Street};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::File;
use std::net::SocketAddr;

/// Somebody who takes part, in one of two settings.
pub struct Entrant<'a> {
    pub place: &'a Place,
    pub kind: Kind,
    /// As a careful operator sets it, instead of as it comes.
    pub by_hand: bool,
}

struct Running {
    peer: Peer,
    /// The pipe that nobody reads, open so that it can be written to.
    _pipe: Option<File>,
}

impl Contender for Entrant<'_> {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn setting(&self) -> &str {
        match (self.kind, self.by_hand) {
            (Kind::Tidegate, _) => "untuned",
            (_, true) => "set by hand",
            (_, false) => "as it comes",
        }
    }

    fn start(&self, street: &Street) -> Box<dyn Proxy> {
        let (log, pipe) = if street.log_hangs { self.hung_log() } else { ("off".to_owned(), None) };
        let mut values = values(street);
        values.set("log", log);
        let recipe = Recipe { kind: self.kind, templates: vec![self.template(street)], values, workers: 1 };
        let peer = Peer::start(self.place, &recipe).expect("it starts, or there is nothing to look at");
        Box::new(Running { peer, _pipe: pipe })
    }
}

impl Entrant<'_> {
    /// Where its configuration is, and what the filled file is called.
    fn template(&self, street: &Street) -> (String, String) {
        let setting = if self.by_hand { "careful" } else { "default" };
        let (from, to) = match self.kind {
            Kind::Nginx => (format!("nginx.{setting}.conf"), "nginx.conf"),
            Kind::Haproxy => (format!("haproxy.{setting}.cfg"), "haproxy.cfg"),
            Kind::Envoy => (format!("envoy.{setting}.yaml"), "envoy.yaml"),
            Kind::Caddy => (format!("caddy.{setting}"), "Caddyfile"),
            Kind::Tidegate if street.judged => ("tidegate.judged.toml".to_owned(), "tidegate.toml"),
            Kind::Tidegate | Kind::Relay => ("tidegate.toml".to_owned(), "tidegate.toml"),
        };
        (format!("overload/{from}"), to.to_owned())
    }

    /// A pipe that is open and never read.
    fn hung_log(&self) -> (String, Option<File>) {
        let path = self.place.folder.join("hung.log");
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
        let pipe = File::options().read(true).write(true).open(&path).expect("and opened");
        (path.display().to_string(), Some(pipe))
    }
}

/// What the configurations need to know of the backends.
fn values(street: &Street) -> Values {
    let mut values = Values::default();
    for (i, backend) in street.main.iter().enumerate() {
        values.set(&format!("backend_{i}"), backend).set(&format!("backend_{i}_port"), backend.port());
    }
    values.set("control", street.control).set("control_port", street.control.port());
    let each = street.in_flight.div_ceil(street.main.len().max(1));
    values.set("cap", street.in_flight).set("cap_each", each).set("backends", list(&street.main));
    values
}

/// Backends as Tidegate's configuration lists them.
fn list(backends: &[SocketAddr]) -> String {
    let backend = |(i, address)| format!("{{ name = \"b{i}\", address = \"{address}\" }}");
    backends.iter().enumerate().map(backend).collect::<Vec<_>>().join(", ")
}

impl Running {
    /// The sum of a metric of Tidegate's, over the series that have this label.
    fn metric(&self, name: &str, label: &str) -> Option<f64> {
        if self.peer.kind() != Kind::Tidegate {
            return None;
        }
        let text = get(self.peer.door(Door::Admin), "/metrics").ok()?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_name).filter(|line| line.contains(label));
        let mut values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).peekable();
        values.peek()?;
        Some(values.sum())
    }
}

impl Proxy for Running {
    fn edge(&self) -> SocketAddr {
        self.peer.door(Door::Http)
    }

    fn slots(&self) -> Option<Slots> {
        let held = self.metric("tidegate_upstream_inflight", "upstream=\"main\"")?;
        Some(Slots { held, limit: self.metric("tidegate_upstream_limit", "upstream=\"main\"")? })
    }

    fn stands_before(&mut self, main: &[SocketAddr]) -> bool {
        let changed = self.peer.change("backends", list(main)).and_then(|()| self.peer.take_over());
        changed.is_ok()
    }

    fn is_quiet(&self) -> Option<bool> {
        let gauges = ["tidegate_inflight", "tidegate_backend_inflight", "tidegate_upstream_queue_depth"];
        let sum: Option<f64> = gauges.iter().map(|gauge| self.metric(gauge, "")).sum();
        Some(sum? + self.metric("tidegate_zombies", "")? == 0.0)
    }

    fn memory_kib(&self) -> Option<u64> {
        Some(self.peer.memory().ok()?.rss / 1024)
    }

    fn log_dropped(&self) -> Option<f64> {
        self.metric("tidegate_access_log_dropped_total", "")
    }
}
