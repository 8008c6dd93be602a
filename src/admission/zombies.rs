//! What remains of an admitted request whose client or deadline is gone: a slot kept while the backend may
//! still be working on it (`design.md`, "Zombies").

use crate::admission::granted::Granted;
use crate::admission::{CoreState, RouteGate};
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

/// The zombies of one upstream on one core, oldest first.
#[derive(Debug, Default)]
pub(super) struct Zombies(RefCell<VecDeque<Rc<Slot>>>);

/// One zombie.
#[derive(Debug)]
struct Slot {
    route: Rc<RouteGate>,
    granted: RefCell<Option<Granted>>,
    wanted: Notify,
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
    /// "Zombies").
    fn into_zombie(self, gone_for: Duration) -> (Zombie, Duration) {
        let route = self.inside.0.clone();
        let state = &route.gate.state;
        let limit = state.zombie_limit().saturating_sub(gone_for);
        state.shared.zombies.acquire();
        route.counts.zombies.acquire();
        let slot =
            Rc::new(Slot { route: route.clone(), granted: RefCell::new(Some(self)), wanted: Notify::new() });
        state.zombies.0.borrow_mut().push_back(slot.clone());
        while state.shared.zombies.get() > most_zombies(route.gate.settings.max_in_flight) {
            let oldest = state.zombies.0.borrow_mut().pop_front();
            let Some(oldest) = oldest else { break };
            oldest.let_go_early();
        }
        while route.counts.zombies.get() > most_zombies(route.max_in_flight) {
            let Some(oldest) = state.zombies.oldest_of(&route) else { break };
            oldest.let_go_early();
        }
        (Zombie(slot), limit)
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
}

impl Slot {
    /// Frees the slot once; false when it was free already.
    fn release(&self) -> bool {
        let granted = self.granted.borrow_mut().take();
        let held = granted.is_some();
        if held {
            self.route.gate.state.shared.zombies.release();
            self.route.counts.zombies.release();
        }
        drop(granted);
        held
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
        self.0.route.gate.state.zombies.0.borrow_mut().retain(|slot| !Rc::ptr_eq(slot, &self.0));
        self.0.release();
    }
}

impl CoreState {
    /// How long a zombie keeps its slot: min(10 s, max(100 ms, 2 × p99)).
    fn zombie_limit(&self) -> Duration {
        self.latency.borrow().p99().map_or(ZOMBIE_MAX, |p99| (p99 * 2).clamp(ZOMBIE_MIN, ZOMBIE_MAX))
    }
}

impl RouteGate {
    /// Records how long a backend took to answer, which decides how long a zombie may keep its slot.
    pub fn answered(&self, after: Duration) {
        self.gate.state.latency.borrow_mut().record(after);
    }

    /// How long a backend's slot is kept for a client that is gone.
    pub fn zombie_limit(&self) -> Duration {
        self.gate.state.zombie_limit()
    }
}
