//! Where backends are: names resolved in the background, never on a request's way.
//!
//! Whoever uses a name sees an [`AddressSet`]: what was found last, replaced whole. A name server that fails, hangs
//! or answers with garbage never takes an address away (`design.md`, promise 1), however long it does so; one that
//! says that there is no address is followed by the upstream's policy ([`OnMissing`]). The last good set stays also
//! for a name that left the configuration and comes back with a rollback. A name that never resolved has an empty
//! set, which makes its backend absent.
//!
//! It deliberately follows no record's time to live: every name is asked again at one pace.

pub mod directory;
mod history;
pub mod inquiry;
mod keeper;
mod resolver;

use crate::upstream::settings::OnMissing;
use arc_swap::{ArcSwap, Guard};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;
use tokio::sync::watch;

pub use directory::Directory;
pub use keeper::{MAX_LOOKUPS, Pace, keep_resolved};

/// Addresses of one name at most; the rest of a longer answer is not used.
pub const MAX_ADDRESSES: usize = 64;

/// The addresses of one name, shared by control, cores and the resolver.
#[derive(Debug)]
pub struct AddressSet {
    now: ArcSwap<Addresses>,
    /// There is at least one; asked for each backend with each request.
    known: AtomicBool,
    looked: ArcSwap<Looked>,
    tried: watch::Sender<bool>,
}

/// What a name resolved to last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Goes up with every change.
    pub version: u64,
    /// Sorted; empty if the name never resolved.
    pub list: Box<[SocketAddr]>,
    /// What else is known of each, in the same order.
    pub facts: Box<[Fact]>,
}

/// What is known of one address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its weight in hundredths of the configured one: 100, or what SRV records make of it.
    pub share: u32,
    /// When it came, if this process saw it come and had not seen it in the ten minutes before. What the first
    /// answer after the start brought did not come.
    pub came: Option<Instant>,
}

impl Fact {
    /// Of an address of which nothing else is known.
    pub const PLAIN: Fact = Fact { share: 100, came: None };
}

/// What became of the last lookups.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Why the last one brought nothing, or not all; the addresses may then be old.
    pub failure: Option<Arc<String>>,
    /// When it began to be so.
    pub since: Option<Instant>,
    /// When the addresses are given up if it stays so.
    pub gives_up_at: Option<Instant>,
    /// Addresses of the answer that are too many and not used.
    pub unused: usize,
}

impl AddressSet {
    /// A set that never changes, for an address literal or one address of a name.
    pub fn fixed(address: SocketAddr) -> Self {
        AddressSet::starting_with(Box::new([address]), true)
    }

    fn starting_with(list: Box<[SocketAddr]>, tried: bool) -> Self {
        let facts = list.iter().map(|_| Fact::PLAIN).collect();
        AddressSet {
            known: AtomicBool::new(!list.is_empty()),
            now: ArcSwap::from_pointee(Addresses { version: 0, list, facts }),
            looked: ArcSwap::default(),
            tried: watch::Sender::new(tried),
        }
    }

    /// The addresses of the moment. Do not hold the guard across an await.
    pub fn load(&self) -> Guard<Arc<Addresses>> {
        self.now.load()
    }

    /// There is at least one address.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.known.load(Acquire)
    }

    /// Why the last lookup failed, if it did; the addresses may then be old.
    pub fn failure(&self) -> Option<Arc<String>> {
        self.looked.load().failure.clone()
    }

    /// What became of the last lookups.
    pub fn looked(&self) -> Arc<Looked> {
        self.looked.load_full()
    }

    /// Returns when the name was asked for at least once, with whatever outcome.
    pub async fn tried(&self) {
        // Fails only without a sender, and we hold it.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    fn was_tried(&self) -> bool {
        *self.tried.borrow()
    }

    /// Replaces the addresses if they are others, or weigh otherwise. True if they are.
    fn replace(&self, found: &[(SocketAddr, Fact)]) -> bool {
        let before = self.now.load();
        let next = Addresses {
            version: before.version + 1,
            list: found.iter().map(|(address, _)| *address).collect(),
            facts: found.iter().map(|(_, fact)| *fact).collect(),
        };
        if (&before.list, &before.facts) == (&next.list, &next.facts) {
            return false;
        }
        let known = !next.list.is_empty();
        self.now.store(Arc::new(next));
        // Whoever sees it finds the addresses.
        self.known.store(known, Release);
        true
    }

    fn note(&self, looked: Looked) {
        self.looked.store(Arc::new(looked));
        self.tried.send_replace(true);
    }
}

/// What one lookup brought.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// All addresses, each with its weight by SRV records; and how many more there were.
    Found(Vec<(SocketAddr, u32)>, usize),
    /// Some of them, and why not all: targets of SRV records whose own lookup failed.
    Partly(Vec<(SocketAddr, u32)>, String),
    /// The name server says that there are none.
    Missing(String),
    /// Nobody said anything that can be relied on.
    Failed(String),
}

#[cfg(test)]
mod tests;
