//! What remains of an admitted request whose client or deadline is gone: a slot kept while the backend may
//! still be working on it (`design.md`, "Zombies").

use crate::admission::aborts::{Abort, Aborts};
use crate::admission::granted::{Granted, Inside};
use crate::admission::{CoreState, RouteGate};
use crate::request::{Class, Holder};
use crate::upstream::exchange::{Guard, Lingering};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The longest that a zombie keeps its slot.
const ZOMBIE_MAX: Duration = Duration::from_secs(10);
/// The shortest.
const ZOMBIE_MIN: Duration = Duration::from_millis(100);

/// The zombies of one upstream on one core, requests or streams, oldest first.
#[derive(Debug, Default)]
pub(super) struct Zombies(RefCell<VecDeque<Rc<Slot>>>);

/// One zombie.
#[derive(Debug)]
struct Slot {
    route: Rc<RouteGate>,
    held: RefCell<Option<Held>>,
    wanted: Notify,
}

/// What a zombie keeps from others.
#[derive(Debug)]
struct Held {
    granted: Granted,
    /// Its client made it by leaving.
    _abort: Option<Abort>,
}

impl Lingering for Zombie {
    async fn wanted_back(&self) {
        self.0.wanted.notified().await;
    }
}

/// A slot kept for an exchange that nobody waits for any more.
#[derive(Debug)]
pub struct Zombie(Rc<Slot>);

impl Guard for Granted {
    type Zombie = Zombie;

    /// Keeps at least max(1, 10 %) of the upstream's cap, and of the route's bound, free of zombies by letting
    /// the oldest go, or a backend that swallows everything could never be tried again (`design.md`,
    /// "Zombies"); streams likewise, within their own bound.
    ///
    /// A stream whose client leaves is no abort: that is how most streams end.
    fn into_zombie(self, gone_for: Duration, aborted: bool) -> (Zombie, Duration) {
        let route = self.inside.route().clone();
        let limit = route.gate.state.zombie_limit().saturating_sub(gone_for);
        let slot = match &self.inside {
            Inside::Gate(_) => {
                let aborts = &route.gate.state.shared.aborts;
                let abort = aborted.then(|| Aborts::begin(aborts, self.client));
                route.request_lingers(Slot::new(&route, Held { granted: self, _abort: abort }))
            }
            Inside::Streams(_) => {
                route.stream_lingers(Slot::new(&route, Held { granted: self, _abort: None }))
            }
        };
        (Zombie(slot), limit)
    }
}

impl RouteGate {
    fn request_lingers(&self, slot: Rc<Slot>) -> Rc<Slot> {
        let state = &self.gate.state;
        state.shared.zombies.acquire();
        self.counts.zombies.acquire();
        state.zombies.0.borrow_mut().push_back(slot.clone());
        while state.shared.zombies.get() > most_zombies(self.gate.bound()) {
            let oldest = state.zombies.0.borrow_mut().pop_front();
            let Some(oldest) = oldest else { break };
            oldest.let_go_early();
        }
        while self.counts.zombies.get() > most_zombies(self.max_in_flight) {
            let Some(oldest) = state.zombies.oldest_of(self) else { break };
            oldest.let_go_early();
        }
        slot
    }

    fn stream_lingers(&self, slot: Rc<Slot>) -> Rc<Slot> {
        let state = &self.gate.state;
        state.shared.stream_zombies.acquire();
        state.stream_zombies.0.borrow_mut().push_back(slot.clone());
        while state.shared.stream_zombies.get() > most_zombies(self.gate.cluster.most_streams()) {
            let oldest = state.stream_zombies.0.borrow_mut().pop_front();
            let Some(oldest) = oldest else { break };
            oldest.let_go_early();
        }
        slot
    }
}

/// How many of `cap` may be zombies.
fn most_zombies(cap: u32) -> u32 {
    cap.saturating_sub((cap / 10).max(1))
}

impl Zombies {
    /// Takes the oldest of one route out.
    fn oldest_of(&self, route: &RouteGate) -> Option<Rc<Slot>> {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|slot| Arc::ptr_eq(&slot.route.counts, &route.counts))?;
        all.remove(at)
    }

    fn forget(&self, slot: &Rc<Slot>) {
        self.0.borrow_mut().retain(|known| !Rc::ptr_eq(known, slot));
    }
}

impl Slot {
    fn new(route: &Rc<RouteGate>, held: Held) -> Rc<Self> {
        Rc::new(Slot { route: route.clone(), held: RefCell::new(Some(held)), wanted: Notify::new() })
    }

    /// For whom it is kept; nothing when it is free already.
    fn holder(&self) -> Option<Holder> {
        let held = self.held.borrow();
        let granted = &held.as_ref()?.granted;
        Some(Holder { since: granted.since?, client: granted.client })
    }

    /// Frees the slot once; false when it was free already.
    fn release(&self) -> bool {
        let Some(held) = self.held.borrow_mut().take() else { return false };
        let shared = &self.route.gate.state.shared;
        if held.granted.is_stream() {
            shared.stream_zombies.release();
        } else {
            shared.zombies.release();
            self.route.counts.zombies.release();
        }
        true
    }

    fn let_go_early(&self) {
        self.wanted.notify_one();
        if self.release() {
            self.route.gate.metrics.zombie_released(self.route.gate.state.core);
        }
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        let state = &self.0.route.gate.state;
        state.zombies.forget(&self.0);
        state.stream_zombies.forget(&self.0);
        self.0.release();
    }
}

impl CoreState {
    /// A slot is kept here for nobody.
    pub fn has_zombies(&self) -> bool {
        !self.zombies.0.borrow().is_empty() || !self.stream_zombies.0.borrow().is_empty()
    }

    /// Tells each zombie's upstream, route, class and who it was for; requests and streams.
    pub fn each_zombie(&self, mut tell: impl FnMut(&Arc<str>, &Arc<str>, Class, Holder)) {
        for zombies in [&self.zombies, &self.stream_zombies] {
            for slot in zombies.0.borrow().iter() {
                if let Some(holder) = slot.holder() {
                    tell(&self.shared.name, &slot.route.name, slot.route.class, holder);
                }
            }
        }
    }

    /// How long a zombie keeps its slot: min(10 s, max(100 ms, 2 × p99)).
    fn zombie_limit(&self) -> Duration {
        self.latency.borrow().p99().map_or(ZOMBIE_MAX, |p99| (p99 * 2).clamp(ZOMBIE_MIN, ZOMBIE_MAX))
    }
}

impl RouteGate {
    /// How long a backend's slot is kept for a client that is gone.
    pub fn zombie_limit(&self) -> Duration {
        self.gate.state.zombie_limit()
    }
}
