//! Waiting for signals, and leaving in order: not ready, still accepting; then no new connections; then the
//! last request; then the threads (`design.md`, "Admin").

use crate::app::Running;
use crate::telemetry::events::{Drain, Ready};
use std::io;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the number of requests in flight is looked at while draining.
const LOOK: Duration = Duration::from_millis(20);
/// How long the access log may take to write what it has.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How long people may take to be told the last of what happened.
const NEWS_PATIENCE: Duration = Duration::from_secs(2);

/// How long the history may take to write what waits.
const HISTORY_PATIENCE: Duration = Duration::from_secs(2);

/// Listens to signals. Opened before anything else: a HUP that nobody listens to ends the process.
pub struct Ears {
    runtime: Runtime,
    signals: Signals,
}

impl Ears {
    /// From here on, signals are heard; what they ask for is done when the gateway is up.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn open() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        Ok(Ears { runtime, signals })
    }
}

impl Running {
    /// Waits for TERM or INT, then drains. HUP reads the file again.
    pub fn until_told(self, ears: Ears) -> ExitCode {
        let Ears { runtime, mut signals } = ears;
        runtime.block_on(async {
            Ready { admin: self.admin, listeners: &self.listeners.bound() }.emit();
            while signals.next().await == Told::Reread {
                self.supervisor.reloading();
                // One wish in line is enough: it reads whatever is there then.
                let _ = self.wishes.try_send(());
            }
            tokio::select! {
                () = self.drain() => {}
                () = signals.stop() => tracing::warn!("told twice: leaving at once"),
            }
        });
        self.end()
    }

    async fn drain(&self) {
        let process = &self.observatory.process;
        process.drain();
        self.supervisor.stopping(self.drain.delay + self.drain.timeout);
        Drain::Announced(self.drain.delay).emit();
        tokio::time::sleep(self.drain.delay).await;
        self.listeners.stop_accepting();
        process.close_quiet();
        // In the first half, so that the second is there for those in the middle of a message.
        process.say_goodbye(self.drain.timeout / 2);
        Drain::AcceptingStopped(self.drain.timeout).emit();
        let end = Instant::now() + self.drain.timeout;
        while self.busy() && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        match self.busy() {
            false => Drain::Finished.emit(),
            true => Drain::TimedOut(process.in_flight.get() + process.streams.get()).emit(),
        }
    }

    /// Requests, tunnels, or connections that have not been told yet.
    fn busy(&self) -> bool {
        let process = &self.observatory.process;
        let connections = (0..self.observatory.cores).map(|core| self.observatory.workers.connections(core));
        process.in_flight.get() > 0 || process.streams.get() > 0 || connections.sum::<u32>() > 0
    }

    fn end(self) -> ExitCode {
        self.observatory.process.cut();
        self.stop_cores.cancel();
        join(self.cores);
        self.access_log.drain(LOG_PATIENCE);
        self.control.notifier().flush(NEWS_PATIENCE);
        self.stop_rest.cancel();
        let books = self.control.books();
        books.change(|record| record.ledger.went_well());
        books.close();
        self.control.store().forget_addresses();
        join(self.rest);
        // Last, so that what the others did on their way out is in it.
        self.history.end(HISTORY_PATIENCE);
        ExitCode::SUCCESS
    }
}

/// Waits for threads, but not for one that hangs: the process ends with them anyway.
fn join(threads: Vec<JoinHandle<()>>) {
    let end = Instant::now() + Duration::from_secs(1);
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < end {
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Reread,
    Leave,
}

struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
    /// Only so that a file at its limit (`ulimit -f`) is an error for whoever writes it, and not the end of the
    /// process.
    _file_too_large: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            _file_too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hup.recv() => Told::Reread,
            _ = self.term.recv() => Told::Leave,
            _ = self.int.recv() => Told::Leave,
        }
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
