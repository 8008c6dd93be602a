//! What one kind of client asks, how often, and how long it has patience.

use super::schedule::{Arrivals, Step};
use std::net::SocketAddr;
use std::time::Duration;

/// Clients of one kind.
#[derive(Clone, Debug)]
pub struct Stream {
    pub name: String,
    pub address: SocketAddr,
    /// The whole head.
    pub request: Vec<u8>,
    pub steps: Vec<Step>,
    pub arrivals: Arrivals,
    /// From the moment when it was due; then the client leaves.
    pub patience: Duration,
    pub retries: Retries,
    pub aborts: Option<Aborts>,
    /// Loopback addresses that they come from in turn, 127.0.1.1 and following; 0 lets the kernel choose.
    pub sources: u8,
}

/// Clients that ask again when they got no good answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retries {
    /// After the first try.
    pub max: u32,
    /// The mean wait before a retry; it is drawn from half to one and a half of it.
    pub wait: Duration,
    /// Retries that may be waiting or under way at once: the storm has a bound.
    pub at_once: usize,
}

/// Clients that leave in the middle.
#[derive(Clone, Copy, Debug)]
pub struct Aborts {
    /// Which share of them, 0 to 1.
    pub share: f64,
    /// At a moment between 0 and this after they asked. Every third of them does not even send its whole head.
    pub within: Duration,
}

impl Stream {
    /// Constant arrivals, a patience of one second, no retries.
    pub fn new(name: &str, address: SocketAddr, path: &str, rate: f64) -> Stream {
        Stream {
            name: name.to_owned(),
            address,
            request: format!("GET {path} HTTP/1.1\r\nhost: tidegate.test\r\n\r\n").into_bytes(),
            steps: vec![Step { from: Duration::ZERO, rate }],
            arrivals: Arrivals::Constant,
            patience: Duration::from_secs(1),
            retries: Retries::default(),
            aborts: None,
            sources: 0,
        }
    }

    /// Another rate from a moment on.
    pub fn then(mut self, from: Duration, rate: f64) -> Stream {
        self.steps.push(Step { from, rate });
        self
    }

    /// Arrivals that do not know of each other.
    pub fn poisson(mut self) -> Stream {
        self.arrivals = Arrivals::Poisson;
        self
    }

    /// Another patience.
    pub fn patience(mut self, patience: Duration) -> Stream {
        self.patience = patience;
        self
    }

    /// One more header line.
    pub fn header(mut self, name: &str, value: &str) -> Stream {
        self.request.truncate(self.request.len() - 2);
        self.request.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
        self
    }

    /// Clients that retry.
    pub fn retries(mut self, retries: Retries) -> Stream {
        self.retries = retries;
        self
    }

    /// Clients that leave.
    pub fn aborts(mut self, share: f64, within: Duration) -> Stream {
        self.aborts = Some(Aborts { share, within });
        self
    }

    /// Clients at so many addresses.
    pub fn sources(mut self, sources: u8) -> Stream {
        self.sources = sources;
        self
    }
}
