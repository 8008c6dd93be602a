//! One upstream's gate: its limits in one version of the configuration, and what a class may fill of them.

use crate::admission::CoreState;
use crate::admission::adaptive::board::Said;
use crate::admission::settings::{Mode, Settings};
use crate::balancing::CoreCluster;
use crate::permit::Part;
use crate::reject::Reason;
use crate::request::Class;
use crate::telemetry::metrics::UpstreamMetrics;
use std::rc::Rc;
use std::sync::Arc;

/// One upstream's gate on one core, for one version.
#[derive(Debug)]
pub struct Gate {
    pub(super) settings: Settings,
    pub(super) state: Rc<CoreState>,
    pub(super) cluster: Rc<CoreCluster>,
    pub(super) metrics: Arc<UpstreamMetrics>,
    /// The highest class that the upstream's routes use: it may fill the whole limit.
    pub(super) highest: Class,
    /// What a candidate may hold of it, beside the stable version.
    pub(super) part: Option<UpstreamPart>,
}

/// What a candidate may hold of an upstream that the stable version has too (`design.md`, "Guard").
#[derive(Clone, Debug)]
pub struct UpstreamPart {
    /// In flight.
    pub in_flight: Part,
    /// Waiting.
    pub waiting: Part,
}

impl Gate {
    /// A gate before a cluster.
    pub fn new(
        settings: Settings,
        highest: Class,
        state: Rc<CoreState>,
        cluster: Rc<CoreCluster>,
        (metrics, part): (Arc<UpstreamMetrics>, Option<UpstreamPart>),
    ) -> Rc<Self> {
        Rc::new(Gate { settings, state, cluster, metrics, highest, part })
    }

    /// It is a candidate's, beside the stable version's.
    pub(super) fn is_guest(&self) -> bool {
        self.part.is_some()
    }

    /// What its requests meet is told to the limit that finds itself. A candidate's is not: what is wrong with it would
    /// take from the stable version's requests.
    pub(super) fn is_sampled(&self) -> bool {
        self.settings.adaptive.mode != Mode::Off && !self.is_guest()
    }

    /// What zombies and requests together may hold: the cap, or what ramps leave of it. Not what the limit finds for
    /// itself: after a collapse that would let go of all zombies at once, while backends still work on them.
    pub(super) fn bound(&self) -> u32 {
        let cap = self.settings.max_in_flight;
        self.cluster.shares().total.map_or(cap, |total| total.min(cap))
    }

    /// What the upstream may hold without a ramp: its cap, or what the limit that finds itself leaves of it.
    pub(super) fn open(&self, said: Said) -> u32 {
        let cap = self.settings.max_in_flight;
        if self.settings.adaptive.mode == Mode::Enforce { said.limit().min(cap) } else { cap }
    }

    /// What is on the board, whether it acts or not.
    pub(super) fn said(&self) -> Said {
        self.state.shared.board.said()
    }

    /// Counts a shed, and has it told of.
    pub fn shed(&self, class: Class, reason: Reason) {
        self.metrics.shed(self.state.core, class, reason);
        self.state.shared.notices.shed(reason);
    }
}

/// What a class may fill of a limit, relative to the highest class in use (`design.md`, "Admission").
pub fn class_limit(limit: u32, class: Class, highest: Class) -> u32 {
    if class <= highest {
        return limit;
    }
    let share = u64::from(limit) * u64::from(class.tenths()) / u64::from(highest.tenths());
    u32::try_from(share).unwrap_or(limit).max(1)
}

/// While a whole fleet comes back this class stays out; never the highest in use, or nobody would be served.
pub fn stays_out(class: Class, highest: Class) -> bool {
    class >= Class::Sheddable && class > highest
}
