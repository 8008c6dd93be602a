//! The process's own log: `tracing` to standard error.
//!
//! Text on a terminal, JSON lines elsewhere; what is logged is chosen by `TIDEGATE_LOG` (default `info`).
//! Lines go through a bounded queue to a thread of their own and are dropped when it is full, so a hung
//! standard error never blocks a core.

use std::io::IsTerminal;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Which variable says what is logged, in the syntax of tracing's `EnvFilter`.
pub const LOG_VARIABLE: &str = "TIDEGATE_LOG";

/// Lines that may wait for the log thread.
const LINES_WAITING: usize = 4096;

/// Keeps the log thread; dropped at the end of `main`, it writes what waits, for at most about a second.
#[derive(Debug)]
pub struct Logs {
    _writer: WorkerGuard,
    dropped: ErrorCounter,
}

impl Logs {
    /// Lines dropped so far.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Starts logging for the process. An unreadable `TIDEGATE_LOG` falls back to `info` and says so.
///
/// A second call keeps the first one's log.
pub fn start() -> Logs {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt().with_writer(writer).with_target(false);
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_default();
    let (filter, complaint) = filter(&wanted);
    let builder = builder.with_env_filter(filter);
    // A subscriber that is already there is a test's or an embedder's; it stays.
    let _ = if std::io::stderr().is_terminal() {
        tracing::subscriber::set_global_default(builder.compact().finish())
    } else {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    };
    if let Some(error) = complaint {
        tracing::warn!(error, "{LOG_VARIABLE} cannot be read; logging at info");
    }
    Logs { _writer: guard, dropped }
}

/// The filter, and what is wrong with the text if it could not be read.
fn filter(wanted: &str) -> (EnvFilter, Option<String>) {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    match builder.parse(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_level_falls_back_to_info() {
        let (filter, complaint) = filter("tidegate=loud");
        assert_eq!(filter.to_string(), "info");
        assert!(complaint.is_some());
    }

    #[test]
    fn nothing_said_means_info() {
        assert_eq!(super::filter("").0.to_string(), "info");
        assert_eq!(super::filter("debug").0.to_string(), "debug");
    }
}
