//! What the whole process holds, over all cores: requests, tunnels, and whether it is on its way out.

use crate::memory::Memory;
use crate::permit::{Counted, Counter, Permit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The process's own bounds and state.
#[derive(Debug, Default)]
pub struct Process {
    /// Requests, from their head to their last byte.
    pub in_flight: Counter,
    /// Tunnels.
    pub streams: Arc<Counter>,
    /// Bytes that are buffered.
    pub memory: Arc<Memory>,
    draining: AtomicBool,
}

/// One request in the process.
pub type ProcessPermit = Permit<InProcess>;

/// Owner of a process permit.
#[derive(Clone, Debug)]
pub struct InProcess(Arc<Process>);

impl Counted for InProcess {
    fn counter(&self) -> &Counter {
        &self.0.in_flight
    }
}

impl Process {
    /// Takes a request in, if fewer than `max` are.
    pub fn enter(self: &Arc<Self>, max: u32) -> Option<ProcessPermit> {
        Permit::try_new(InProcess(self.clone()), max)
    }

    /// From now on every answer asks its client to leave.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// On its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}
