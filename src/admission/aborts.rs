//! Whose aborts still hold slots: a client that asks and leaves, again and again, costs itself further
//! requests instead of costing everybody the upstream (`design.md`, "Zombies").
//!
//! Counted in a count-min sketch: two rows of 2,048 counters for one upstream, hashed with keys of this process
//! that nobody outside knows. It never says too little. It says too much only of a client that shares a counter
//! with heavy aborters in *both* rows. At most 90 % of a cap are zombies, and it takes more than 5 % of the cap
//! in one counter, so in each row fewer than 18 counters are that heavy (with a cap under 60, where two are
//! free, at most 17 too): an innocent client is refused with a probability below (18 ÷ 2,048)², 1 in 12,900,
//! and only while the worst that the caps allow is going on. No client costs memory, and nothing is locked.
//!
//! It knows nothing of routes' deadlines: only what a client ended itself is begun here, by leaving or by a deadline of
//! its own.

use crate::permit::Counter;
use crate::request::Source;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

/// Counters of one row; a power of two.
const ROW: usize = 2048;

/// The zombies of one upstream that clients made by leaving, by client.
#[derive(Debug)]
pub struct Aborts {
    keys: RandomState,
    rows: [Box<[AtomicU32]>; 2],
    /// All of them: while there are few, nobody can have too many, and no client is looked up.
    total: Counter,
}

impl Default for Aborts {
    fn default() -> Self {
        let row = || (0..ROW).map(|_| AtomicU32::new(0)).collect();
        Aborts { keys: RandomState::new(), rows: [row(), row()], total: Counter::default() }
    }
}

impl Aborts {
    /// Whether `client` has more zombies from its own aborts than max(2, 5 % of `cap`). One load while there
    /// are few.
    #[inline]
    pub fn too_many(&self, client: IpAddr, cap: u32) -> bool {
        let most = (cap / 20).max(2);
        self.total.get() > most && self.of(client) > most
    }

    /// At least as many as `client` has.
    fn of(&self, client: IpAddr) -> u32 {
        let cells = self.cells(client);
        self.rows.iter().zip(cells).map(|(row, cell)| row[cell].load(Relaxed)).min().unwrap_or(0)
    }

    /// A zombie from an abort of `client` begins; it is one until the guard is dropped.
    pub fn begin(aborts: &Arc<Self>, client: IpAddr) -> Abort {
        let cells = aborts.cells(client);
        aborts.total.acquire();
        for (row, cell) in aborts.rows.iter().zip(cells) {
            row[cell].fetch_add(1, Relaxed);
        }
        Abort { aborts: aborts.clone(), cells }
    }

    /// Where a client counts: a hash of 64 bits has two independent places in it.
    fn cells(&self, client: IpAddr) -> [usize; 2] {
        let hash = self.keys.hash_one(Source::of(client));
        // Truncation is meant: the lowest bits of either half.
        [hash as usize % ROW, (hash >> 32) as usize % ROW]
    }
}

/// One zombie that its client made by leaving.
#[derive(Debug)]
pub struct Abort {
    aborts: Arc<Aborts>,
    cells: [usize; 2],
}

impl Drop for Abort {
    fn drop(&mut self) {
        for (row, cell) in self.aborts.rows.iter().zip(self.cells) {
            row[cell].fetch_sub(1, Relaxed);
        }
        self.aborts.total.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a literal")
    }

    fn everything(aborts: &Aborts) -> u32 {
        aborts.total.get() + aborts.rows.iter().flatten().map(|cell| cell.load(Relaxed)).sum::<u32>()
    }

    #[test]
    fn two_aborts_or_five_percent_are_free() {
        for (cap, free) in [(1, 2), (8, 2), (59, 2), (60, 3), (64, 3), (1_000, 50)] {
            let (aborts, client) = (Arc::new(Aborts::default()), ip("192.0.2.1"));
            let mut held: Vec<_> = (0..free).map(|_| Aborts::begin(&aborts, client)).collect();
            assert!(!aborts.too_many(client, cap), "{free} of {cap}");
            held.push(Aborts::begin(&aborts, client));
            assert!(aborts.too_many(client, cap), "one more than {free} of {cap}");
            held.pop();
            assert!(!aborts.too_many(client, cap), "{free} of {cap} again");
        }
    }

    #[test]
    fn a_subscriber_with_a_network_of_ipv6_is_one_client() {
        let aborts = Arc::new(Aborts::default());
        let _held: Vec<_> =
            (0..3).map(|n| Aborts::begin(&aborts, ip(&format!("2001:db8:1:2::{n}")))).collect();
        assert!(aborts.too_many(ip("2001:db8:1:2:ffff::9"), 8));
        assert!(aborts.too_many(ip("2001:db8:1:2::1"), 8));
        assert_eq!(Source::of(ip("::ffff:192.0.2.1")), Source::of(ip("192.0.2.1")));
    }

    #[test]
    fn the_innocent_are_seldom_taken_for_the_guilty() {
        // The worst that caps allow: 17 clients with more than 5 % of the cap each.
        let aborts = Arc::new(Aborts::default());
        let _held: Vec<_> = (0..17u8)
            .flat_map(|n| (0..51).map(move |_| IpAddr::from([192, 0, 2, n])))
            .map(|client| Aborts::begin(&aborts, client))
            .collect();
        let innocent = (0..100_000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let refused = innocent.filter(|client| aborts.too_many(*client, 1_000)).count();
        // 7 are expected of 100,000; the chance of more than 60 is nothing.
        assert!(refused <= 60, "{refused} of 100,000");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Never too little, and back to nothing when all have ended, in whatever order.
        #[test]
        fn every_abort_is_undone(steps in prop::collection::vec((0u8..6, any::<bool>(), any::<usize>()), 1..200)) {
            let aborts = Arc::new(Aborts::default());
            let mut held: Vec<(u8, Abort)> = Vec::new();
            for (who, begins, which) in steps {
                if begins || held.is_empty() {
                    held.push((who, Aborts::begin(&aborts, IpAddr::from([192, 0, 2, who]))));
                } else {
                    held.swap_remove(which % held.len());
                }
                let mut true_counts: HashMap<u8, u32> = HashMap::new();
                held.iter().for_each(|(who, _)| *true_counts.entry(*who).or_default() += 1);
                for (who, count) in true_counts {
                    prop_assert!(aborts.of(IpAddr::from([192, 0, 2, who])) >= count);
                }
                prop_assert_eq!(aborts.total.get() as usize, held.len());
            }
            held.clear();
            prop_assert_eq!(everything(&aborts), 0);
        }
    }

    #[test]
    fn aborts_on_many_cores_are_undone_too() {
        let aborts = Arc::new(Aborts::default());
        std::thread::scope(|scope| {
            for n in 0..4u8 {
                let aborts = &aborts;
                scope.spawn(move || {
                    for round in 0..500u16 {
                        let client = IpAddr::from([192, 0, 2, (round % 3) as u8 + n % 2]);
                        drop(Aborts::begin(aborts, client));
                    }
                });
            }
        });
        assert_eq!(everything(&aborts), 0);
    }
}
