//! What an admitted request holds: one permit of its route, one of its upstream, one place at a backend; and
//! what remains of it as a zombie.

use crate::admission::{CoreState, RouteGate};
use crate::balancing::{Place, Seated};
use crate::permit::Permit;
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

/// The permits of one admitted request.
#[derive(Debug)]
pub struct Granted {
    // Dropped in this order: whoever is woken by `inside` finds the place free.
    place: Permit<Place>,
    inside: Inside,
    /// For whoever asks who holds the slots; a zombie has nothing else left that could tell.
    holder: Option<Holder>,
}

impl Granted {
    pub(super) fn new(place: Permit<Place>, inside: Inside) -> Self {
        Granted { place, inside, holder: None }
    }

    /// On whose behalf it is held.
    pub fn held_by(&mut self, holder: Holder) {
        self.holder = Some(holder);
    }
}

impl Seated for Granted {
    fn place(&self) -> &Place {
        self.place.owner()
    }

    fn move_to(&mut self, place: Permit<Place>) {
        self.place = place;
        // The place that came free may be what somebody waits for.
        let state = &self.inside.0.gate.state;
        if state.shared.line.waiting.get() > 0 {
            state.wake();
        }
    }
}

/// One in flight through a route and its upstream; wakes a waiter when it leaves.
#[derive(Debug)]
pub(super) struct Inside(Rc<RouteGate>);

impl Inside {
    /// Both counters have been taken.
    pub(super) fn new(route: Rc<RouteGate>) -> Self {
        Inside(route)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.counts.in_flight.release();
        let state = &self.0.gate.state;
        if state.shared.line.release() {
            state.wake();
        }
    }
}

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
        while state.shared.zombies.get() > most_zombies(route.gate.limit()) {
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
    /// A slot is kept here for nobody.
    pub fn has_zombies(&self) -> bool {
        !self.zombies.0.borrow().is_empty()
    }

    /// Tells each zombie's upstream, route, class and who it was for.
    pub fn each_zombie(&self, mut tell: impl FnMut(&Arc<str>, &Arc<str>, Class, Holder)) {
        for slot in self.zombies.0.borrow().iter() {
            if let Some(holder) = slot.granted.borrow().as_ref().and_then(|granted| granted.holder) {
                tell(&self.shared.name, &slot.route.name, slot.route.class, holder);
            }
        }
    }

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

/// A coarse histogram of times to the answer's head, in powers of two from 1 ms.
#[derive(Debug, Default)]
pub(super) struct Latency {
    buckets: [u32; 24],
    count: u32,
}

impl Latency {
    fn record(&mut self, after: Duration) {
        let ms = after.as_millis().min(u128::from(u32::MAX)) as u32;
        let bucket = (32 - ms.leading_zeros()) as usize;
        self.buckets[bucket.min(23)] += 1;
        self.count += 1;
    }

    /// An upper bound of the 99th percentile; `None` without a sample.
    fn p99(&self) -> Option<Duration> {
        let mut rest = self.count.div_ceil(100);
        for (bucket, count) in self.buckets.iter().enumerate().rev() {
            if *count >= rest && rest > 0 {
                return Some(Duration::from_millis(1 << bucket));
            }
            rest -= count;
        }
        None
    }

    /// Halves what is old.
    pub(super) fn fade(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.count = self.buckets.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_bounded_from_above_within_a_factor_of_two() {
        let mut latency = Latency::default();
        assert_eq!(latency.p99(), None);
        (0..99).for_each(|_| latency.record(Duration::from_millis(5)));
        assert_eq!(latency.p99(), Some(Duration::from_millis(8)));
        latency.record(Duration::from_millis(300));
        latency.record(Duration::from_millis(300));
        assert_eq!(latency.p99(), Some(Duration::from_millis(512)));
        (0..9).for_each(|_| latency.fade());
        assert_eq!(latency.p99(), None);
    }
}
