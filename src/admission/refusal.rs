//! What a refused request is told: a sentence, and when to come again. The more is shed, the later; under a ramp,
//! when its step is over. It decides nothing: why there is no room is known before.

use crate::admission::RouteGate;
use crate::reject::{Reason, Reject};
use std::time::Instant;

impl RouteGate {
    /// A shed as the client hears of it.
    pub(super) fn refusal(&self, reason: Reason) -> Reject {
        Reject { retry_after: Some(self.retry_after(reason)), ..Reject::new(reason, explain(reason)) }
    }

    /// The client's own zombies are in its way: it may come again when they have ended, at the latest.
    pub(super) fn aborts_too_often(&self) -> Reject {
        self.gate.state.shared.notices.held_against_client();
        // Whole seconds, at most ten.
        let most = self.zombie_limit().as_secs_f64().ceil().clamp(1.0, 10.0) as u8;
        let detail = "too many requests that this client gave up are still being worked on";
        let reject = Reject::new(Reason::ClientAborts, detail);
        Reject { retry_after: Some(fastrand::u8(1..=most)), ..reject }
    }

    /// Seconds for `Retry-After`: the more is shed, the longer; for a ramp, what is left of its step
    /// (`design.md`, "Retry-After").
    pub(super) fn retry_after(&self, reason: Reason) -> u8 {
        if reason == Reason::Ramp {
            return ramp_retry_after(self.gate.cluster.shares().eases_at);
        }
        let ratio = self.gate.state.sheds.borrow().ratio();
        let most = (2.0 / (1.0 - ratio)).clamp(3.0, 30.0);
        // Truncation is meant: whole seconds.
        fastrand::u8(1..=most as u8)
    }
}

/// Which share of the requests was shed lately.
#[derive(Debug, Default)]
pub(super) struct ShedRatio {
    asked: u32,
    shed: u32,
}

impl ShedRatio {
    pub(super) fn asked(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    pub(super) fn shed(&mut self) {
        self.shed = self.shed.saturating_add(1);
    }

    fn ratio(&self) -> f64 {
        // Waiters may be asked before a fade and shed after it.
        (f64::from(self.shed) / f64::from(self.asked.max(1))).min(0.99)
    }

    pub(super) fn fade(&mut self) {
        self.asked /= 2;
        self.shed /= 2;
    }
}

/// The rest of the ramp's step and a little more, so that those who come back do not come together. A ramp
/// without a schedule is somebody's work in progress: no promise, but not at once.
fn ramp_retry_after(eases_at: Option<Instant>) -> u8 {
    match eases_at {
        Some(at) => {
            let rest = at.saturating_duration_since(Instant::now()).as_secs().min(30) as u8;
            (rest + fastrand::u8(1..=3)).min(30)
        }
        None => fastrand::u8(10..=30),
    }
}

/// A sentence for the client.
pub(super) fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::RouteLimit => "this route has as many requests in flight as it may have",
        Reason::ClassLimit => "what is left of the upstream's room is kept for requests of a higher class",
        Reason::BackendLimit => "every backend has as many requests in flight as it may have",
        Reason::QueueFull => "too many requests wait already for this one to be served in time",
        Reason::QueueTimeout => "no room came free while the request waited",
        Reason::Ramp => "the upstream is being brought back in steps and takes a part of its traffic only",
        Reason::NoBackend => "no backend of the upstream can be tried",
        _ => "the upstream has as many requests in flight as it may have",
    }
}
