//! Looks after a core's parked connections: woken when one of them stirs (a backend's FIN, or bytes that
//! nobody asked for), it throws out those that have ended.

use crate::runtime::clock::Clock;
use crate::upstream::outbox::Outbox;
use crate::upstream::pool::Pool;
use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

/// The janitor of one core.
#[derive(Debug)]
pub struct Janitor {
    clock: Rc<Clock>,
    outbox: Rc<Outbox>,
    waker: OnceCell<Waker>,
    pools: RefCell<Vec<Weak<Pool>>>,
}

impl Janitor {
    /// Has nothing to look after yet; goes by the core's clock.
    pub fn new(clock: Rc<Clock>, outbox: Rc<Outbox>) -> Rc<Self> {
        Rc::new(Janitor { clock, outbox, waker: OnceCell::new(), pools: RefCell::default() })
    }

    /// The core's outgoing mail.
    pub(super) fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// The core's coarse time.
    pub(super) fn now(&self) -> Instant {
        self.clock.coarse()
    }

    /// Works until the core ends. Spawned once, before the first connection is parked.
    pub async fn work(self: Rc<Self>) {
        poll_fn(|cx| {
            let _ = self.waker.set(cx.waker().clone());
            self.tidy();
            Poll::<()>::Pending
        })
        .await;
    }

    /// Looks after this pool too, as long as it lives.
    pub fn look_after(&self, pool: &Rc<Pool>) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Rc::downgrade(pool));
    }

    /// Throws out what has ended or was idle for too long.
    pub fn tidy(&self) {
        let now = self.now();
        for pool in self.pools.borrow().iter().filter_map(Weak::upgrade) {
            pool.tidy(now);
        }
    }

    /// What parked connections wake.
    pub fn waker(&self) -> &Waker {
        self.waker.get().unwrap_or(Waker::noop())
    }
}
