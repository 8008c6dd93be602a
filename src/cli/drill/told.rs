//! Waiting in the drill: until something is so, until its deadline, or until somebody at the keyboard has had
//! enough. A drill that is told to stop ends through its ordinary way out, so that nothing of it stays behind.

use anyhow::bail;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Whether somebody told it to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<AtomicBool>);

impl Told {
    /// Listens to INT, TERM and HUP from now on, on a thread that ends with the process.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn listen() -> anyhow::Result<Told> {
        let told = Told::default();
        let flag = told.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut int, mut term, mut hup) = {
            let _inside = runtime.enter();
            let signal = |kind| signal(kind);
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        thread::Builder::new().name("drill-signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
            });
            flag.0.store(true, Relaxed);
        })?;
        Ok(told)
    }

    /// Goes on, unless it was told to stop.
    ///
    /// # Errors
    /// If it was.
    pub fn goes_on(&self) -> anyhow::Result<()> {
        if self.0.load(Relaxed) {
            bail!("told to stop: nothing was left running");
        }
        Ok(())
    }

    /// Lets a while pass.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn pass(&self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look(end)?;
        }
        Ok(())
    }

    /// Looks until there is an answer; `None` if there is none in time.
    ///
    /// # Errors
    /// If it was told to stop meanwhile, or what a look ended with.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.look(end)?;
        }
    }

    fn look(&self, end: Instant) -> anyhow::Result<()> {
        self.goes_on()?;
        thread::park_timeout(end.saturating_duration_since(Instant::now()).min(LOOK));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn whoever_waits_hears_that_it_is_over() {
        let told = Told::default();
        assert_eq!(told.wait_for(MS, || Ok(Some(7))).expect("goes on"), Some(7));
        assert_eq!(told.wait_for(MS, || Ok(None::<u8>)).expect("goes on"), None);
        told.0.store(true, Relaxed);
        assert!(told.pass(MS * 10_000).is_err());
        assert!(told.wait_for(MS * 10_000, || Ok(None::<u8>)).is_err());
    }
}
