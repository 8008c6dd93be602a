//! What the whole process holds, over all cores: requests, streams, and whether it is on its way out.

use crate::memory::Memory;
use crate::permit::{Counted, Counter, Part, Permit};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The process's own bounds and state.
#[derive(Debug, Default)]
pub struct Process {
    /// Requests, from their head to their last byte.
    pub in_flight: Counter,
    /// Tunnels, and requests of streaming routes from admission to their last byte.
    pub streams: Counter,
    /// Bytes that are buffered.
    pub memory: Arc<Memory>,
    draining: AtomicBool,
    closing: AtomicBool,
    goodbyes: OnceLock<Goodbyes>,
    over: AtomicBool,
}

/// When tunnels are told that the process leaves: each at a moment of its own, so that their clients do not
/// all come back to its neighbours at once.
#[derive(Clone, Copy, Debug)]
pub struct Goodbyes {
    from: Instant,
    over: Duration,
}

impl Goodbyes {
    /// A moment for one tunnel, drawn.
    pub fn moment(&self) -> Instant {
        self.from + self.over.mul_f64(fastrand::f64())
    }
}

/// One request or one stream in the process.
#[derive(Debug)]
pub struct ProcessPermit {
    _one: Permit<InProcess>,
    /// Of a candidate's part of the process.
    _part: Option<Permit<Arc<Counter>>>,
}

/// Owner of a process permit.
#[derive(Clone, Debug)]
pub enum InProcess {
    /// Among the requests.
    Request(Arc<Process>),
    /// Among the streams.
    Stream(Arc<Process>),
}

impl Counted for InProcess {
    fn counter(&self) -> &Counter {
        match self {
            InProcess::Request(process) => &process.in_flight,
            InProcess::Stream(process) => &process.streams,
        }
    }
}

impl ProcessPermit {
    #[inline]
    fn try_new(one: InProcess, max: u32, part: Option<&Part>) -> Option<Self> {
        let _part = match part {
            Some(part) => Some(part.enter()?),
            None => None,
        };
        Some(ProcessPermit { _one: Permit::try_new(one, max)?, _part })
    }
}

impl Process {
    /// Takes a request in, if fewer than `max` are, and if it is a candidate's, if its part is not full.
    pub fn enter(self: &Arc<Self>, max: u32, part: Option<&Part>) -> Option<ProcessPermit> {
        ProcessPermit::try_new(InProcess::Request(self.clone()), max, part)
    }

    /// The same for a stream.
    pub fn enter_stream(self: &Arc<Self>, max: u32, part: Option<&Part>) -> Option<ProcessPermit> {
        ProcessPermit::try_new(InProcess::Stream(self.clone()), max, part)
    }

    /// From now on every answer asks its client to leave.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// On its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Nobody comes in any more: from now on quiet connections are closed. Until then a client may still use
    /// the one that it kept, and hears from the answer that it should leave.
    pub fn close_quiet(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Quiet connections are closed.
    pub fn closes_quiet(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// From now on tunnels are told to leave, all of them within `over`.
    pub fn say_goodbye(&self, over: Duration) {
        // Said once: whoever drew a moment keeps it.
        let _ = self.goodbyes.set(Goodbyes { from: Instant::now(), over });
    }

    /// When tunnels are told to leave, once they are.
    pub fn goodbyes(&self) -> Option<&Goodbyes> {
        self.goodbyes.get()
    }

    /// Time is up: what still goes on from here is cut by us, not left by its client.
    pub fn cut(&self) {
        self.over.store(true, Relaxed);
    }

    /// Time is up.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}
