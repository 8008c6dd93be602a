//! The street side: the cores, the doors that hand them clients, and the watch over whether they turn.

use crate::app::boot::Boot;
use crate::app::ground::Ground;
use crate::control::change::Conductor;
use crate::control::observe::Observatory;
use crate::control::sources::Shelf;
use crate::listener::Listeners;
use crate::runtime::watchdog::{Heartbeats, Verdict, Watchdog};
use crate::server::station::Shared;
use crate::telemetry::metrics::Metrics;
use crate::worker::Workers;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Cores that serve, and open doors.
pub struct Street {
    /// Where connections are handed to.
    pub workers: Arc<Workers>,
    /// The street doors.
    pub listeners: Arc<Listeners>,
    /// Whether the cores turn.
    pub hearts: Arc<Heartbeats>,
    /// Looks at that.
    pub watchdog: Watchdog,
    /// The cores' threads.
    pub cores: Vec<JoinHandle<()>>,
    /// Ends them.
    pub stop: CancellationToken,
}

impl Street {
    /// Starts the cores and opens the doors of the plan that the process starts with.
    ///
    /// # Errors
    /// When an address cannot be bound, or the system gives no threads.
    pub fn open(boot: &Boot, ground: &Ground, shared: &Shared, files: &Shelf) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let hearts = Arc::new(Heartbeats::new(ground.cores));
        let (workers, cores) = Workers::start(ground.cores, shared, &ground.access_log, &hearts, &stop)?;
        let workers = Arc::new(workers);
        let watchdog = watch_cores(&hearts, &ground.metrics)?;
        let listeners = Arc::new(Listeners::start(workers.clone(), ground.descriptors.clone())?);
        open_doors(&listeners, boot, files)?;
        Ok(Street { workers, listeners, hearts, watchdog, cores, stop })
    }

    /// Where operators see all of it; not ready yet.
    pub fn observe(&self, conductor: &Arc<Conductor>, shared: &Shared) -> Arc<Observatory> {
        Arc::new(Observatory {
            control: conductor.control().clone(),
            conductor: conductor.clone(),
            process: shared.process.clone(),
            workers: self.workers.clone(),
            hearts: self.hearts.clone(),
            cores: self.cores.len(),
            started: shared.started,
            ready: AtomicBool::new(false),
        })
    }
}

/// Watches whether the cores turn, and counts when one does not.
fn watch_cores(hearts: &Arc<Heartbeats>, metrics: &Arc<Metrics>) -> io::Result<Watchdog> {
    let metrics = metrics.clone();
    Watchdog::start(hearts.clone(), move |verdict| {
        if matches!(verdict, Verdict::Stuck { .. }) {
            metrics.process().stuck_cores.add(1);
        }
    })
}

/// Opens the street doors of the first plan; its warnings are logged.
fn open_doors(listeners: &Listeners, boot: &Boot, files: &Shelf) -> anyhow::Result<()> {
    let plan = &boot.active.plan;
    let wanted = &plan.listeners;
    let opened = if boot.again { listeners.start_again(files, wanted) } else { listeners.apply(wanted) };
    let warnings = opened.map_err(|errors| {
        anyhow::Error::msg(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    plan.notices.iter().chain(&warnings).for_each(|notice| tracing::warn!("{notice}"));
    Ok(())
}
