//! Who reads the page, by where they come from: how many connections each has open, and how often it asks. Behind a
//! proxy of ours (`trusted_proxies`) readers are told apart by what it says of them; its connections are its own.
//!
//! Both maps are as large as the connections that are open, and as the sources of the last seconds, at most.

use super::MAX_CONNECTIONS;
use crate::filters::forwarded::TrustedProxies;
use crate::request::Source;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// Connections of one source: an IPv4 address, or a /64 of IPv6.
pub(super) const MAX_PER_SOURCE: u32 = 16;
/// Connections of one proxy of ours: others keep room, whatever it does.
pub(super) const MAX_PER_PROXY: u32 = MAX_CONNECTIONS / 2;
/// Requests of one source a second, on average.
const RATE: f64 = 20.0;
/// Requests of one source at once.
const BURST: f64 = 60.0;
/// Sources whose rate is remembered; with more, those that asked longest ago are forgotten.
const MAX_REMEMBERED: usize = 4096;

/// Everyone who reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Source, u32>,
    asked: HashMap<Source, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// One connection of a source; it has room again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sources: Sources,
    source: Source,
    /// It is a proxy's.
    is_shared: bool,
}

impl Sources {
    /// A seat for a connection of `peer`, unless it has enough.
    pub(super) fn seat(&self, peer: IpAddr, proxies: &TrustedProxies) -> Option<Seat> {
        let is_shared = proxies.trusts(peer);
        let most = if is_shared { MAX_PER_PROXY } else { MAX_PER_SOURCE };
        let source = Source::of(peer);
        let mut inner = self.0.borrow_mut();
        let open = inner.open.entry(source).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        drop(inner);
        Some(Seat { sources: self.clone(), source, is_shared })
    }

    /// Whether `source` may ask once more now.
    fn may_ask(&self, source: Source, now: Instant) -> bool {
        let asked = &mut self.0.borrow_mut().asked;
        if asked.len() >= MAX_REMEMBERED && !asked.contains_key(&source) {
            // A bucket that is full again says nothing; if none is, there is an attack from many places, and each of them
            // begins anew.
            asked.retain(|_, bucket| bucket.at(now).left < BURST);
            if asked.len() >= MAX_REMEMBERED {
                asked.clear();
            }
        }
        let bucket = asked.entry(source).or_insert(Bucket { left: BURST, at: now });
        *bucket = bucket.at(now);
        let may = bucket.left >= 1.0;
        bucket.left -= f64::from(u8::from(may));
        may
    }
}

impl Seat {
    /// Whether `client` may ask once more now: the peer itself, or whom a proxy of ours asks for.
    pub(super) fn may_ask(&self, client: IpAddr, now: Instant) -> bool {
        self.sources.may_ask(Source::of(client), now)
    }

    /// It is a proxy's: others ask on it too.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let open = &mut self.sources.0.borrow_mut().open;
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

impl Bucket {
    /// As it is now.
    fn at(self, now: Instant) -> Bucket {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Bucket { left: (self.left + since * RATE).min(BURST), at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn one_source_has_some_connections_and_leaves_the_rest_to_others() {
        let sources = Sources::default();
        let proxies = TrustedProxies::new(vec!["0.0.0.9/32".parse().expect("a network")]);
        let seat = |n| sources.seat(ip(n), &proxies);
        let seats: Vec<_> = (0..MAX_PER_SOURCE).filter_map(|_| seat(1)).collect();
        assert_eq!(seats.len(), MAX_PER_SOURCE as usize);
        assert!(seat(1).is_none() && seat(2).is_some());
        let shared: Vec<_> = (0..100).filter_map(|_| seat(9)).collect();
        assert!(
            shared.len() == MAX_PER_PROXY as usize && shared.iter().all(Seat::is_shared),
            "a proxy stands for many"
        );
        drop((seats, shared));
        assert!(seat(1).is_some());
        assert!(sources.0.borrow().open.is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn one_source_asks_twenty_times_a_second_and_nobody_fills_the_memory() {
        let (sources, now) = (Sources::default(), Instant::now());
        let asks = |at: Instant| (0..1000).filter(|_| sources.may_ask(Source::of(ip(1)), at)).count();
        assert_eq!((asks(now), asks(now)), (60, 0));
        assert_eq!(asks(now + Duration::from_secs(1)), 20);
        for n in 0..100_000 {
            assert!(sources.may_ask(Source::of(ip(n + 9)), now));
        }
        assert!(sources.0.borrow().asked.len() <= MAX_REMEMBERED);
    }
}
