//! Prometheus and Alertmanager as processes of a test: a folder and a port of their own, ended by their process when
//! the value is dropped. Configured by the files in `deploy/prometheus/`, quickened.

use crate::read;
use crate::support::raw::{Answer, Raw};
use crate::support::{wait_for, wait_until};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long one may take to listen on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A program that listens.
pub struct Program {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Program {
    /// Starts it, with what it writes into its folder, and waits until it listens.
    fn start(folder: TempDir, program: &Path, arguments: &[&str]) -> Program {
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .args(["--web.listen-address=127.0.0.1:0"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} starts: {error}", program.display()));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program { child, folder, address };
        program.address = wait_for(START, "it listens", || {
            let ended = program.child.try_wait().expect("its status is known");
            assert!(ended.is_none(), "it ended with {ended:?}");
            let log = program.log();
            let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
            line.rsplit_once("address=")?.1.trim().parse().ok()
        });
        program
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Answer {
        let host = self.address;
        Raw::connect(host).ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("its last log lines:");
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            last.iter().rev().for_each(|line| println!("  {line}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Prometheus that scrapes every second and knows the rules.
pub struct Prometheus(pub Program);

impl Prometheus {
    /// Scrapes `gateway`, tells `alertmanager`; `at_once` are alerts that wait for nothing.
    pub fn start(
        program: &Path,
        gateway: SocketAddr,
        alertmanager: Option<SocketAddr>,
        at_once: impl Fn(&str) -> bool,
    ) -> Prometheus {
        let folder = TempDir::new().expect("a folder of its own");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        // With nobody to tell, it would complain of nobody.
        let alertmanager = alertmanager.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9)));
        let config = read("deploy/prometheus/prometheus.yml")
            .replace("_interval: 15s", "_interval: 1s")
            .replace("127.0.0.1:9900", &gateway.to_string())
            .replace("127.0.0.1:9093", &alertmanager.to_string());
        write("prometheus.yml", &config);
        write("recording.yml", &read("deploy/prometheus/recording.yml"));
        write("alerts.yml", &quickened(&read("deploy/prometheus/alerts.yml"), at_once));
        let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"];
        let prometheus = Prometheus(Program::start(folder, program, &arguments));
        wait_until(START, "it is ready", || prometheus.0.get("/-/ready").status() == 200);
        prometheus
    }

    /// What an expression comes to now: a list of samples. The error, if it is none.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let (host, body) = (self.0.address, format!("query={}", escaped(expression)));
        let head = format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = Raw::connect(host).ask(head + &body).json();
        match answer["data"]["result"].as_array() {
            // A plain number is no list of samples, and is there.
            Some(_) if answer["data"]["resultType"] == "scalar" => Ok(vec![answer]),
            Some(samples) => Ok(samples.clone()),
            None => Err(answer["error"].as_str().unwrap_or("no answer").to_owned()),
        }
    }

    /// The only number that an expression comes to, if it comes to one.
    pub fn number(&self, expression: &str) -> Option<f64> {
        let samples = self.query(expression).expect("an expression");
        samples.first()?["value"][1].as_str()?.parse().ok()
    }

    /// The labels of the alerts that are pending or firing.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = self.0.get("/api/v1/alerts").json();
        answer["data"]["alerts"].as_array().expect("a list of alerts").clone()
    }

    /// Every rule, as it was last worked out.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.0.get("/api/v1/rules").json();
        let groups = answer["data"]["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
    }
}

/// An Alertmanager with the configuration that stands beside the rules.
pub fn alertmanager(program: &Path) -> Program {
    let folder = TempDir::new().expect("a folder of its own");
    let config = read("deploy/prometheus/alertmanager.yml");
    fs::write(folder.path().join("alertmanager.yml"), config).expect("written");
    let arguments = ["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="];
    Program::start(folder, program, &arguments)
}

/// Prometheus' own program, if it is there.
pub fn prometheus() -> Option<PathBuf> {
    crate::support::external::require("prometheus")
}

/// The alerts, of which some fire as soon as their condition holds.
fn quickened(alerts: &str, at_once: impl Fn(&str) -> bool) -> String {
    let mut name = "";
    let mut text = String::new();
    for line in alerts.lines() {
        name = line.trim().strip_prefix("- alert: ").unwrap_or(name);
        let line = if line.trim().starts_with("for: ") && at_once(name) { "        for: 0s" } else { line };
        writeln!(text, "{line}").expect("text grows");
    }
    text
}

/// For a form's value.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() => escaped.push(byte.into()),
            byte => write!(escaped, "%{byte:02X}").expect("text grows"),
        }
        escaped
    })
}
