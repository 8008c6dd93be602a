//! Load in the background: clients that each hold one connection and ask as fast as they get answers, or at
//! a pace. What they saw is counted by status; anything that is no whole answer is a failure with its text.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::raw::{End, Raw, get};

/// Clients at work; they stop when told, or when dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Report>>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Report {
    statuses: BTreeMap<u16, Vec<Duration>>,
    pub failures: Vec<String>,
}

impl Load {
    /// `clients` that ask again as soon as they are answered.
    pub fn closed(address: SocketAddr, path: &str, clients: usize) -> Load {
        Load::paced(address, path, clients, Duration::ZERO)
    }

    /// `clients` that each ask at most once in `interval`.
    pub fn paced(address: SocketAddr, path: &str, clients: usize, interval: Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |n: usize| {
            let (stop, request) = (stop.clone(), get(path));
            std::thread::spawn(move || {
                // Spread over the interval, or all would ask at the same moment.
                pause(interval.mul_f64(n as f64 / clients as f64), &stop);
                client(address, &request, interval, &stop)
            })
        };
        Load { clients: (0..clients).map(client).collect(), stop }
    }

    /// Ends the load and adds up what the clients saw.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Relaxed);
        let mut total = Report::default();
        for client in self.clients.drain(..) {
            total.add(client.join().expect("a client does not panic"));
        }
        total
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn client(address: SocketAddr, request: &str, interval: Duration, stop: &AtomicBool) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while !stop.load(Relaxed) {
        let started = Instant::now();
        match ask(&mut connection, address, request) {
            Ok(status) => report.statuses.entry(status).or_default().push(started.elapsed()),
            Err(failure) => report.failures.push(failure),
        }
        pause(interval.saturating_sub(started.elapsed()), stop);
    }
    report
}

/// Waits, unless the load is stopped meanwhile.
fn pause(pause: Duration, stop: &AtomicBool) {
    let started = Instant::now();
    while started.elapsed() < pause && !stop.load(Relaxed) {
        std::thread::park_timeout(pause.saturating_sub(started.elapsed()));
    }
}

fn ask(connection: &mut Option<Raw>, address: SocketAddr, request: &str) -> Result<u16, String> {
    let mut raw = match connection.take() {
        Some(raw) => raw,
        None => Raw::try_connect(address).map_err(|e| format!("connect: {e}"))?,
    };
    raw.try_send(request).map_err(|e| format!("send: {e}"))?;
    let answer = raw.try_answer(false).map_err(|end| match end {
        End::Open => "no answer in time".to_owned(),
        ended => format!("{ended:?} instead of an answer"),
    })?;
    if !answer.get("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
        *connection = Some(raw);
    }
    Ok(answer.status())
}

impl Report {
    /// Answers with this status.
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).map_or(0, Vec::len)
    }

    /// All answers.
    pub fn answers(&self) -> usize {
        self.statuses.values().map(Vec::len).sum()
    }

    /// The latency that `percent` of the answers with this status did not exceed; zero without answers.
    pub fn percentile(&self, status: u16, percent: usize) -> Duration {
        let mut times = self.statuses.get(&status).cloned().unwrap_or_default();
        times.sort();
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or_default()
    }

    /// Panics unless every request got an answer with one of these statuses.
    pub fn only(&self, allowed: &[u16]) {
        let counts: BTreeMap<u16, usize> = self.statuses.iter().map(|(s, times)| (*s, times.len())).collect();
        assert!(
            self.failures.is_empty(),
            "{} failures, first {:?}; {counts:?}",
            self.failures.len(),
            self.failures[0]
        );
        assert!(counts.keys().all(|status| allowed.contains(status)), "only {allowed:?}, but {counts:?}");
    }

    fn add(&mut self, other: Report) {
        other.statuses.into_iter().for_each(|(s, times)| self.statuses.entry(s).or_default().extend(times));
        self.failures.extend(other.failures);
    }
}
