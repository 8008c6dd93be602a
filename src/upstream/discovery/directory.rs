//! Every name in use: who wants which, what they resolved to last, and which name servers are asked.

use crate::upstream::discovery::{AddressSet, OnMissing};
use crate::upstream::settings::Address;
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Names whose last good addresses are kept after nobody uses them any more.
const MAX_REMEMBERED: usize = 4096;
/// Sets are looked through for unused ones when there are twice as many as were left the last time, at least so many.
const LEAST_TO_FORGET: usize = 1024;

/// A name, and what becomes of its addresses when it has none.
pub(super) type Wanted = (Address, OnMissing);

/// Every name in use. Shared between whoever builds tables, who asks it for sets, and
/// [`keep_resolved`](super::keep_resolved).
#[derive(Debug, Default)]
pub struct Directory {
    names: Mutex<Names>,
    /// There is a name to look after, or another name server to ask.
    pub(super) work: Notify,
    changed: Notify,
    /// What the lookups come to.
    pub lookups: Lookups,
}

#[derive(Debug, Default)]
struct Names {
    in_use: HashMap<Wanted, Weak<AddressSet>, foldhash::quality::RandomState>,
    /// How many sets of `in_use` were in use when that was last looked at.
    left: usize,
    /// In use, and not yet looked after.
    added: Vec<(Wanted, Weak<AddressSet>)>,
    last_good: HashMap<Address, Box<[SocketAddr]>, foldhash::quality::RandomState>,
    /// Whom to ask; the system's name servers if empty.
    servers: Vec<SocketAddr>,
}

/// Counts of lookups.
#[derive(Debug, Default)]
pub struct Lookups {
    /// Under way now; at most [`MAX_LOOKUPS`](super::MAX_LOOKUPS).
    pub in_flight: AtomicU32,
    /// Waiting for another to end.
    pub waiting: AtomicU32,
    /// That brought addresses, ever.
    pub found: AtomicU64,
    /// That were told there are none, ever.
    pub missing: AtomicU64,
    /// That brought nothing, or not all, ever.
    pub failed: AtomicU64,
}

impl Directory {
    /// The set of `address`: the same one for as long as anybody holds it.
    pub fn addresses_of(&self, address: &Address, on_missing: OnMissing) -> Arc<AddressSet> {
        if let Some(address) = address.literal() {
            return Arc::new(AddressSet::fixed(address));
        }
        let wanted = (address.clone(), on_missing);
        let mut names = self.lock();
        if let Some(set) = names.in_use.get(&wanted).and_then(Weak::upgrade) {
            return set;
        }
        let known = names.last_good.get(address).cloned().unwrap_or_default();
        let set = Arc::new(AddressSet::starting_with(known, false));
        names.forget_unused();
        names.in_use.insert(wanted.clone(), Arc::downgrade(&set));
        names.added.push((wanted, Arc::downgrade(&set)));
        self.work.notify_one();
        set
    }

    /// From now on, asks these name servers instead of the system's; the system's if there are none.
    pub fn ask(&self, servers: &[SocketAddr]) {
        let mut names = self.lock();
        if names.servers != servers {
            names.servers = servers.to_vec();
            self.work.notify_one();
        }
    }

    /// Returns when every name in use was asked for at least once. It takes as long as the name servers
    /// take, so bound it.
    pub async fn tried(&self) {
        let sets: Vec<_> = self.lock().in_use.values().filter_map(Weak::upgrade).collect();
        for set in sets {
            set.tried().await;
        }
    }

    /// Returns when a name has other addresses than it had when this returned last. For one caller.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        self.lock().servers.clone()
    }

    pub(super) fn take_added(&self) -> Vec<(Wanted, Weak<AddressSet>)> {
        std::mem::take(&mut self.lock().added)
    }

    /// Other addresses: for whoever waits for that, and for the name's return. A name without any is forgotten.
    pub(super) fn note_change(&self, address: &Address, list: &[SocketAddr]) {
        let mut names = self.lock();
        let last_good = &mut names.last_good;
        if list.is_empty() {
            last_good.remove(address);
        } else {
            if last_good.len() >= MAX_REMEMBERED && !last_good.contains_key(address) {
                let any = last_good.keys().next().cloned();
                any.and_then(|any| last_good.remove(&any));
            }
            last_good.insert(address.clone(), list.into());
        }
        drop(names);
        self.changed.notify_one();
    }

    #[cfg(test)]
    pub(super) fn sets_in_use(&self) -> usize {
        self.lock().in_use.values().filter(|set| set.strong_count() > 0).count()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Now and then, or a thousand new names would each look at all the others.
    fn forget_unused(&mut self) {
        if self.in_use.len() >= 2 * self.left.max(LEAST_TO_FORGET) {
            self.in_use.retain(|_, set| set.strong_count() > 0);
            self.added.retain(|(_, set)| set.strong_count() > 0);
            self.left = self.in_use.len();
        }
    }
}
