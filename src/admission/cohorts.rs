//! Whom a ramped upstream serves: always the same clients, so that at a quarter of its strength a quarter of the users
//! work, instead of all of them failing three times in four (`design.md`, "Cohorts"; `overload.md` 2(iv), DAGOR).
//!
//! While a ramp binds, a client outside the share is refused before it asks for room; whoever is inside asks as ever.
//! How large the share is comes from the control plane, once a second, from what is counted here. With too few
//! clients to choose among, or one that is most of the traffic, everyone is in and the ramp alone decides.

use crate::request::cohort::{Key, Purpose, Share};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Clients are counted in so many buckets.
const BUCKETS: usize = 1024;
/// With fewer clients a share of them means little (`design.md`, "Cohorts").
const ENOUGH_CLIENTS: f64 = 100.0;
/// Seconds over which clients are counted.
const CENSUS_SECONDS: usize = 60;

/// Whom one upstream serves while a ramp binds. Lives as long as the upstream's name.
#[derive(Debug)]
pub struct Cohorts {
    share: AtomicU32,
    occasion: AtomicU64,
    admitted: AtomicU64,
    shed: AtomicU64,
    left_out: AtomicU64,
    /// Made with the first ramp: most upstreams never have one.
    census: OnceLock<Keys>,
}

/// The clients that asked, counted by buckets of their keys, over all cores.
#[derive(Debug)]
pub struct Keys(Box<[AtomicU32]>);

/// The same of one core, before they are handed on. Only its core touches it.
#[derive(Debug)]
pub struct CoreKeys {
    buckets: Box<[Cell<u32>]>,
    any: Cell<bool>,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests of the highest class that were inside the share and found room.
    pub admitted: u64,
    /// Those that were inside and found none.
    pub shed: u64,
    /// Requests outside the share.
    pub left_out: u64,
}

/// The clients that asked in some stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Census {
    /// About how many there were.
    pub clients: f64,
    /// The part of all requests that the busiest sent, at most: 0 to 1.
    pub busiest: f64,
}

impl Default for Cohorts {
    fn default() -> Self {
        Cohorts {
            share: AtomicU32::new(Share::ALL.bits()),
            occasion: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            census: OnceLock::new(),
        }
    }
}

impl Cohorts {
    /// Whether a client that asks while a ramp binds is served; counts it.
    pub fn lets_in(&self, key: Key) -> bool {
        self.census.get_or_init(Keys::default).saw(key);
        let share = self.share();
        if share == Share::ALL || share.holds(key.position(Purpose::Ramp, self.occasion.load(Relaxed))) {
            return true;
        }
        self.left_out.fetch_add(1, Relaxed);
        false
    }

    /// What became of one that was let in.
    pub fn found_room(&self, room: bool) {
        if room { &self.admitted } else { &self.shed }.fetch_add(1, Relaxed);
    }

    /// The share that is in.
    pub fn share(&self) -> Share {
        Share::from_bits(self.share.load(Relaxed))
    }

    /// Lets in so many, chosen for this occasion.
    pub fn set(&self, share: Share, occasion: u64) {
        self.occasion.store(occasion, Relaxed);
        self.share.store(share.bits(), Relaxed);
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        Counted {
            admitted: self.admitted.load(Relaxed),
            shed: self.shed.load(Relaxed),
            left_out: self.left_out.load(Relaxed),
        }
    }

    /// The clients since the last time that somebody took the census, by bucket; their counts begin anew.
    pub fn take_census(&self) -> Vec<u32> {
        self.census.get().map_or_else(Vec::new, Keys::take)
    }
}

impl Default for Keys {
    fn default() -> Self {
        Keys((0..BUCKETS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Keys {
    /// One request of this client.
    pub fn saw(&self, key: Key) {
        self.0[key.bucket(BUCKETS)].fetch_add(1, Relaxed);
    }

    /// Those since the last time that somebody took them, by bucket; their counts begin anew.
    pub fn take(&self) -> Vec<u32> {
        self.0.iter().map(|bucket| bucket.swap(0, Relaxed)).collect()
    }
}

impl Default for CoreKeys {
    fn default() -> Self {
        CoreKeys { buckets: (0..BUCKETS).map(|_| Cell::new(0)).collect(), any: Cell::new(false) }
    }
}

impl CoreKeys {
    /// One request of this client.
    #[inline]
    pub fn saw(&self, key: Key) {
        let bucket = &self.buckets[key.bucket(BUCKETS)];
        bucket.set(bucket.get().saturating_add(1));
        self.any.set(true);
    }

    /// Hands them on to what all cores share.
    pub fn hand_on(&self, all: &Keys) {
        if !self.any.replace(false) {
            return;
        }
        for (own, all) in self.buckets.iter().zip(&all.0).filter(|(own, _)| own.get() > 0) {
            all.fetch_add(own.replace(0), Relaxed);
        }
    }
}

/// The clients of the last minute, from one census a second.
#[derive(Clone, Debug, Default)]
pub struct Minute {
    /// Of the last seconds, so that a quiet one does not forget who there is.
    seconds: VecDeque<Vec<u32>>,
    census: Census,
}

impl Minute {
    /// One second more.
    pub fn count(&mut self, second: Vec<u32>) {
        self.seconds.push_back(second);
        while self.seconds.len() > CENSUS_SECONDS {
            self.seconds.pop_front();
        }
        let most = self.seconds.iter().map(Vec::len).max().unwrap_or(0);
        let mut all = vec![0_u32; most];
        for second in &self.seconds {
            all.iter_mut().zip(second).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
        self.census = Census::of(&all);
    }

    /// Who they are.
    pub fn census(&self) -> Census {
        self.census
    }
}

impl Census {
    /// Too few clients for a share of them to mean much, or one of them is more than the share, so that it would be in
    /// or out with all of its traffic (`design.md`, "Cohorts").
    pub fn is_few(&self, share: f64) -> bool {
        self.clients < ENOUGH_CLIENTS || self.busiest > share
    }

    /// How many clients filled these buckets, by linear counting (Whang 1990), and how busy the busiest was; two in
    /// one bucket are taken for one.
    pub fn of(buckets: &[u32]) -> Self {
        let total: u64 = buckets.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return Census::default();
        }
        let size = buckets.len() as f64;
        let empty = buckets.iter().filter(|count| **count == 0).count();
        let most = buckets.iter().max().copied().unwrap_or(0);
        Census {
            clients: size * (size / (empty.max(1) as f64)).ln(),
            busiest: f64::from(most) / total as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::cohort::Fact;
    use http::HeaderMap;
    use std::net::IpAddr;

    fn key(n: u32) -> Key {
        Fact::Address.key(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), &HeaderMap::new())
    }

    #[test]
    fn the_same_clients_are_served_each_time() {
        let cohorts = Cohorts::default();
        cohorts.set(Share::of(0.25), 1);
        let first: Vec<bool> = (0..1_000).map(|n| cohorts.lets_in(key(n))).collect();
        let again: Vec<bool> = (0..1_000).map(|n| cohorts.lets_in(key(n))).collect();
        assert_eq!(first, again);
        let served = first.iter().filter(|served| **served).count();
        assert!((200..300).contains(&served), "{served}");
        assert_eq!(cohorts.counted().left_out, 2 * (1_000 - served as u64));
    }

    #[test]
    fn clients_are_counted_well_enough_to_tell_few_from_many() {
        for many in [1, 10, 90, 110, 1_000] {
            let cohorts = Cohorts::default();
            assert!((0..10_000).all(|n| cohorts.lets_in(key(n % many))));
            let census = Census::of(&cohorts.take_census());
            let far = (census.clients - f64::from(many)).abs() / f64::from(many);
            assert!(far < 0.12, "{many}: {census:?}");
            assert!(census.busiest >= 1.0 / f64::from(many), "{many}: {census:?}");
        }
        assert_eq!(Census::of(&Cohorts::default().take_census()), Census::default());
    }
}
