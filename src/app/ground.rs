//! What everything else stands on: descriptors, metrics, the access log, names and keys; and the first table.

use crate::app::boot::Boot;
use crate::app::threads::Outside;
use crate::control::build::Builder;
use crate::control::keyrings::Keyrings;
use crate::control::notify::{Kept, Notifier};
use crate::control::rollback::within;
use crate::control::sources::{self, Shelf};
use crate::control::trust::Supply;
use crate::routing::table::Live;
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logs::Logs;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::upstream::tls::roots;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runtimes beside the cores, which need descriptors of their own: admin, background, outside, keeper, keys, live,
/// probe, rollback, rollouts, status page, acceptor, signals; and two to spare.
const OTHER_RUNTIMES: usize = 14;

/// How long a start waits for certificates and keys.
const FILES: Duration = Duration::from_secs(5);

/// What every part of a gateway uses.
pub struct Ground {
    /// How many cores serve.
    pub cores: usize,
    /// Descriptors, with those of operators set aside.
    pub descriptors: Arc<Descriptors>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are written.
    pub access_log: AccessLog,
    /// Names of backends.
    pub directory: Arc<Directory>,
    /// Keys that tokens are checked with.
    pub keyrings: Arc<Keyrings>,
    /// Who tells people what happens.
    pub notifier: Arc<Notifier>,
}

impl Ground {
    /// For the plan that the process starts with.
    ///
    /// # Errors
    /// When the access log cannot have its thread.
    pub fn lay(boot: &Boot, logs: &Logs) -> anyhow::Result<Self> {
        let plan = &boot.active.plan;
        let cores = plan.gateway.workers;
        let (descriptors, warning) = Descriptors::at_start(cores + OTHER_RUNTIMES);
        warning.into_iter().for_each(|warning| tracing::warn!("{warning}"));
        let metrics = Arc::new(Metrics::new(cores));
        metrics.process().watch_log(logs.dropped());
        let access_log = AccessLog::start(plan.access_log.target.clone(), metrics.clone())?;
        // Long before a rollback needs them: their disk may hang.
        roots::read_ahead();
        let directory = Arc::new(Directory::default());
        let keyrings = Arc::new(Keyrings::new(Some(boot.books.store().clone()), directory.clone()));
        let notifier = Arc::new(Notifier::new(directory.clone()));
        let store = boot.books.store().clone();
        let left = within(Instant::now() + FILES, move || Kept::read(&store));
        notifier.inherit(left.unwrap_or_else(|| Kept::unread("the disk does not answer")));
        Ok(Ground { cores, descriptors, metrics, access_log, directory, keyrings, notifier })
    }

    /// The table that the process starts with, who builds the next, and the files that it is made of.
    ///
    /// # Errors
    /// Files of TLS towards backends that cannot be used, unless the version was active before.
    pub fn first_table(&self, boot: &Boot) -> anyhow::Result<(Builder, Arc<Live>, Arc<Shelf>)> {
        let plan = &boot.active.plan;
        let (metrics, directory) = (self.metrics.clone(), self.directory.clone());
        let mut builder = Builder::new(self.cores, metrics, directory, self.descriptors.clone());
        builder.use_keyrings(self.keyrings.clone());
        let (wanted, keyrings) = (plan.clone(), self.keyrings.clone());
        let read = move || {
            let shelf = Shelf::read(&wanted);
            keyrings.read_ahead(sources::jwts(&wanted));
            shelf
        };
        // A file on a disk that hangs is as good as gone.
        let mut shelf = within(Instant::now() + FILES, read).unwrap_or_default();
        if boot.again {
            let used = shelf.fall_back(plan, &boot.materials);
            for path in used {
                let said = format!("{} cannot be read; what was kept of it is used", path.display());
                let (text, kept) = (&boot.active.text, &boot.materials);
                tracing::warn!("{}", sources::without_values(&said, text, &boot.file, kept, kept));
            }
        }
        let shelf = Arc::new(shelf);
        builder.supply(Supply { files: shelf.clone(), forgiving: boot.again });
        let table = builder.build(plan, boot.number).map_err(anyhow::Error::msg)?;
        builder.commit(plan);
        self.notifier.follow(plan, boot.number, &*shelf);
        Ok((builder, Arc::new(Live::new(Arc::new(table))), shelf))
    }

    /// What is asked outside for `live`.
    pub fn outside(&self, live: Arc<Live>) -> Outside {
        let (directory, metrics) = (self.directory.clone(), self.metrics.clone());
        let (keyrings, notifier) = (self.keyrings.clone(), self.notifier.clone());
        Outside { directory, live, metrics, keyrings, notifier }
    }
}
