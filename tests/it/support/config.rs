//! Configuration texts, piece by piece: what a test does not say is what a user would leave out, except for
//! the addresses (chosen by the kernel), two workers, and changes that are active at once.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// A configuration in the making.
#[derive(Clone, Debug)]
pub struct Config {
    gateway: String,
    admin: String,
    listener: String,
    body: String,
}

impl Config {
    /// Only a listener, the admin side and two workers.
    pub fn new() -> Config {
        let rollout = "[rollout]\nrequired = false\n\n".to_owned();
        Config {
            gateway: "workers = 2\n".into(),
            admin: String::new(),
            listener: "name = \"edge\"\naddress = \"127.0.0.1:0\"\n".into(),
            body: rollout,
        }
    }

    /// Begins with this `[rollout]`.
    pub fn under(rollout: &str) -> Config {
        Config { body: format!("{rollout}\n"), ..Config::new() }
    }

    /// With the stages that hold where nothing is said of them.
    pub fn staged(mut self) -> Config {
        self.body = self.body.replace("[rollout]\nrequired = false\n", "");
        self
    }

    /// Another number of cores.
    pub fn workers(mut self, n: usize) -> Config {
        self.gateway = self.gateway.replace("workers = 2", &format!("workers = {n}"));
        self
    }

    /// Lines for `[gateway]`.
    pub fn gateway(mut self, lines: &str) -> Config {
        writeln!(self.gateway, "{lines}").expect("text grows");
        self
    }

    /// Lines for `[admin]`.
    pub fn admin(mut self, lines: &str) -> Config {
        writeln!(self.admin, "{lines}").expect("text grows");
        self
    }

    /// Lines for the listener `edge`.
    pub fn listener(mut self, lines: &str) -> Config {
        writeln!(self.listener, "{lines}").expect("text grows");
        self
    }

    /// An upstream whose backends are named `NAME0`, `NAME1`, …
    pub fn upstream(mut self, name: &str, backends: &[SocketAddr], lines: &str) -> Config {
        let backend = |(i, address)| format!("{{ name = \"{name}{i}\", address = \"{address}\" }}");
        let backends: Vec<String> = backends.iter().enumerate().map(backend).collect();
        let backends = backends.join(", ");
        writeln!(self.body, "[[upstreams]]\nname = \"{name}\"\nbackends = [{backends}]\n{lines}\n")
            .expect("text grows");
        self
    }

    /// A route for everything below a prefix.
    pub fn route(self, name: &str, prefix: &str, upstream: &str, lines: &str) -> Config {
        self.text(&format!(
            "[[routes]]\nname = \"{name}\"\npath_prefix = \"{prefix}\"\nupstream = \"{upstream}\"\n{lines}\n"
        ))
    }

    /// One upstream `u` with one backend behind one route `/`.
    pub fn simple(backend: SocketAddr) -> Config {
        Config::new().upstream("u", &[backend], "").route("r", "/", "u", "")
    }

    /// Any tables.
    pub fn text(mut self, text: &str) -> Config {
        writeln!(self.body, "{text}").expect("text grows");
        self
    }

    /// The whole text for a state directory.
    pub fn render(&self, state: &Path) -> String {
        let Config { gateway, admin, listener, body } = self;
        let state = state.display();
        format!(
            "[gateway]\n{gateway}\n[admin]\naddress = \"127.0.0.1:0\"\nstate_dir = \"{state}\"\n{admin}\n\
             [[listeners]]\n{listener}\n{body}"
        )
    }
}
