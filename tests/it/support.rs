//! What the tests stand on: the real gateway as a process, origins named by their misbehaviour, clients that
//! speak raw bytes, HTTP/1, HTTP/2 and TLS, and load in the background. Everything runs on loopback ports
//! that the kernel chose, and every wait has a deadline.
//!
//! Nothing here knows the gateway's insides: it sees what an operator, a client and a backend see.

pub mod browser;
pub mod client;
pub mod config;
pub mod dnsmasq;
pub mod external;
pub mod frames;
pub mod gateway;
pub mod load;
pub mod metrics;
pub mod operator;
pub mod origin_http2;
pub mod origins;
pub mod raw;
pub mod sink;
pub mod slow;
pub mod terminal;
pub mod tls;
pub mod tokens;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for anything that should happen at once; generous, because two cores are shared.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks until `seen` returns something, or panics with `what` after `deadline`.
pub fn wait_for<T>(deadline: Duration, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Looks until `holds`, or panics with `what` after `deadline`.
pub fn wait_until(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(deadline, what, || holds().then_some(()));
}

/// Runs one future on a runtime of its own; a test that hangs fails after a minute.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("done within a minute")
    })
}
