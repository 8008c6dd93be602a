//! Whoever conducts changes, and what they work with: history and audit, the prober, and the lines to the threads that
//! do the work.

use crate::app::boot::Boot;
use crate::app::ground::Ground;
use crate::control::audit::Audit;
use crate::control::change::{Acts, Conductor, Means};
use crate::control::history::History;
use crate::control::probe::{Jobs, Prober};
use crate::control::{Control, Parts};
use std::sync::Arc;

/// The office of changes.
pub struct Office {
    /// Who conducts them.
    pub conductor: Arc<Conductor>,
    /// What versions came to.
    pub history: History,
    /// Who did what.
    pub audit: Audit,
    /// Who dials what a version names.
    pub prober: Arc<Prober>,
    /// Probes on their way to their thread.
    pub probes: Jobs,
    /// Steps of rollouts on their way to theirs.
    pub acts: Acts,
}

impl Office {
    /// Opens it, and tells what the start decided.
    pub fn open(parts: Parts, boot: &Boot, ground: &Ground) -> Self {
        let history = History::open(boot.books.store().directory());
        let audit = Audit::of(&history);
        let (prober, probes) = Prober::open(ground.descriptors.clone(), parts.metrics.clone());
        let prober = Arc::new(prober);
        let means = Means { prober: prober.clone(), history: history.clone(), audit: audit.clone() };
        let control = Arc::new(Control::new(parts, boot.begun()));
        let (conductor, acts) = Conductor::new(control, means);
        conductor.tell_start(boot.left());
        Office { conductor, history, audit, prober, probes, acts }
    }
}
