//! Who may come in: connections of a listener in total, of one source, with a handshake in progress, and
//! within the process's descriptors. A refused connection is closed at once and counted by reason, so that
//! the backlog never fills with clients that nobody will serve.
//!
//! The counts belong to the listener's name and live as long as its connections; the caps come with the
//! settings of the moment. The table of sources needs no eviction: an entry exists only while a connection
//! of that source does, so it is never larger than the number of open connections.

use crate::permit::{Counter, Permit};
use crate::request::Source;
use crate::runtime::descriptors::{DescriptorPermit, Descriptors};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decides about connections of one listener.
#[derive(Debug)]
pub struct Limits {
    connections: Arc<Counter>,
    handshakes: Arc<Counter>,
    parked: Arc<Counter>,
    sources: Arc<Sources>,
    descriptors: Arc<Descriptors>,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In total.
    pub connections: u32,
    /// From one source: an IPv4 address, or a /64 of IPv6, which is what one subscriber gets.
    pub per_source: u32,
    /// Accepted, and not past [`ConnectionPermit::handshake_done`]; `None` where there are no handshakes: who waits
    /// for a core in cleartext is bounded by what waits for cores.
    pub handshakes: Option<u32>,
}

/// Why a connection was closed before it could carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The listener is at its cap.
    Connections,
    /// The source is at its cap.
    Source,
    /// Too many handshakes are in progress.
    Handshakes,
    /// The process has no descriptors left for clients.
    Descriptors,
    /// No core took it.
    Cores,
    /// Its TLS handshake took too long.
    HandshakeTimeout,
    /// Its TLS handshake failed.
    HandshakeFailed,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Refusal; 7] = [
        Refusal::Connections,
        Refusal::Source,
        Refusal::Handshakes,
        Refusal::Descriptors,
        Refusal::Cores,
        Refusal::HandshakeTimeout,
        Refusal::HandshakeFailed,
    ];

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Connections => "connections",
            Refusal::Source => "source",
            Refusal::Handshakes => "handshakes",
            Refusal::Descriptors => "descriptors",
            Refusal::Cores => "cores",
            Refusal::HandshakeTimeout => "handshake_timeout",
            Refusal::HandshakeFailed => "handshake_failed",
        }
    }
}

/// The right of one connection to exist; drop it after the socket.
#[derive(Debug)]
pub struct ConnectionPermit {
    handshake: Option<Permit<Arc<Counter>>>,
    _source: SourcePermit,
    _descriptor: DescriptorPermit,
    _connection: Permit<Arc<Counter>>,
}

impl ConnectionPermit {
    /// The TLS handshake is over, or there is none: another may begin.
    pub fn handshake_done(&mut self) {
        self.handshake = None;
    }
}

impl Limits {
    /// Nobody is in yet.
    pub fn new(descriptors: Arc<Descriptors>) -> Self {
        Limits {
            connections: Arc::default(),
            handshakes: Arc::default(),
            parked: Arc::default(),
            sources: Arc::default(),
            descriptors,
            refused: Default::default(),
        }
    }

    /// Lets a connection of `peer` in, or counts and tells why not.
    pub fn admit(&self, peer: IpAddr, caps: Caps) -> Result<ConnectionPermit, Refusal> {
        self.try_admit(peer, caps).inspect_err(|refusal| self.count(*refusal))
    }

    fn try_admit(&self, peer: IpAddr, caps: Caps) -> Result<ConnectionPermit, Refusal> {
        let connection = Permit::try_new(Arc::clone(&self.connections), caps.connections);
        let connection = connection.ok_or(Refusal::Connections)?;
        let source = Sources::try_acquire(&self.sources, Source::of(peer), caps.per_source);
        let source = source.ok_or(Refusal::Source)?;
        let handshake = match caps.handshakes {
            Some(most) => {
                let handshake = Permit::try_new(Arc::clone(&self.handshakes), most);
                Some(handshake.ok_or(Refusal::Handshakes)?)
            }
            None => None,
        };
        let descriptor = self.descriptors.try_accept().ok_or(Refusal::Descriptors)?;
        Ok(ConnectionPermit { handshake, _source: source, _descriptor: descriptor, _connection: connection })
    }

    /// Counts a refusal that was decided elsewhere.
    pub fn count(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    /// Open connections.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Handshakes in progress.
    pub fn handshakes(&self) -> u32 {
        self.handshakes.get()
    }

    /// Counts a connection as parked until the guard is dropped; it stays among the open ones.
    pub fn park(&self) -> Permit<Arc<Counter>> {
        Permit::always(Arc::clone(&self.parked))
    }

    /// Open connections that are parked: they wait for their client's next word, or its first.
    pub fn parked(&self) -> u32 {
        self.parked.get()
    }

    /// Connections closed for this reason, ever.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Relaxed)
    }
}

/// Open connections by source. Sharded, because connections end on every core; a lock is held for one
/// lookup, at the start and end of a connection, never on a request's way.
#[derive(Debug, Default)]
struct Sources([Mutex<Shard>; 16]);

type Shard = HashMap<Source, u32, foldhash::quality::RandomState>;

impl Sources {
    fn try_acquire(table: &Arc<Self>, source: Source, limit: u32) -> Option<SourcePermit> {
        let mut shard = table.shard(source);
        let open = shard.get(&source).copied().unwrap_or(0);
        if open >= limit {
            return None;
        }
        shard.insert(source, open + 1);
        Some(SourcePermit { table: Arc::clone(table), source })
    }

    fn shard(&self, source: Source) -> MutexGuard<'_, Shard> {
        self.0[shard_of(source)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shard_of(source: Source) -> usize {
    let bits = match source {
        Source::V4(bits) => u64::from(bits),
        Source::V6(bits) => bits,
    };
    // Fibonacci hashing: neighbours spread over the shards.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize
}

#[derive(Debug)]
struct SourcePermit {
    table: Arc<Sources>,
    source: Source,
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let mut shard = self.table.shard(self.source);
        match shard.get_mut(&self.source) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                shard.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(budget: u32) -> Limits {
        Limits::new(Arc::new(Descriptors::with_budget(budget)))
    }

    fn caps(connections: u32, per_source: u32, handshakes: u32) -> Caps {
        Caps { connections, per_source, handshakes: Some(handshakes) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a literal")
    }

    #[test]
    fn one_source_cannot_take_every_connection() {
        let limits = limits(1000);
        let mine: Vec<_> = (0..3).map(|_| limits.admit(ip("192.0.2.1"), caps(10, 3, 10))).collect();
        assert!(mine.iter().all(Result::is_ok));
        assert_eq!(limits.admit(ip("192.0.2.1"), caps(10, 3, 10)).err(), Some(Refusal::Source));
        assert!(limits.admit(ip("192.0.2.2"), caps(10, 3, 10)).is_ok());
        drop(mine);
        assert!(limits.admit(ip("192.0.2.1"), caps(10, 3, 10)).is_ok());
        assert_eq!((limits.refused(Refusal::Source), limits.connections()), (1, 0));
    }

    #[test]
    fn a_subscriber_is_one_source_however_many_addresses_it_has() {
        let limits = limits(1000);
        let first = limits.admit(ip("2001:db8:1:2::1"), caps(10, 1, 10));
        assert!(first.is_ok());
        assert_eq!(limits.admit(ip("2001:db8:1:2:ffff::9"), caps(10, 1, 10)).err(), Some(Refusal::Source));
        assert!(limits.admit(ip("2001:db8:1:3::1"), caps(10, 1, 10)).is_ok());
        assert_eq!(Source::of(ip("::ffff:192.0.2.1")), Source::of(ip("192.0.2.1")));
    }

    #[test]
    fn a_finished_handshake_makes_room_and_the_connection_stays() {
        let limits = limits(1000);
        let mut first = limits.admit(ip("192.0.2.1"), caps(10, 10, 1)).expect("empty");
        assert_eq!(limits.admit(ip("192.0.2.1"), caps(10, 10, 1)).err(), Some(Refusal::Handshakes));
        first.handshake_done();
        assert!(limits.admit(ip("192.0.2.1"), caps(10, 10, 1)).is_ok());
        assert_eq!((limits.connections(), limits.handshakes()), (1, 0));
    }

    #[test]
    fn descriptors_bound_all_listeners_together() {
        let descriptors = Arc::new(Descriptors::with_budget(8));
        let (one, two) = (Limits::new(Arc::clone(&descriptors)), Limits::new(Arc::clone(&descriptors)));
        let held: Vec<_> = (0..4).map(|_| one.admit(ip("192.0.2.1"), caps(100, 100, 100))).collect();
        let more: Vec<_> = (0..3).map(|_| two.admit(ip("192.0.2.1"), caps(100, 100, 100))).collect();
        assert!(held.iter().chain(&more).all(Result::is_ok));
        assert_eq!(two.admit(ip("192.0.2.1"), caps(100, 100, 100)).err(), Some(Refusal::Descriptors));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn everything_taken_is_given_back(steps in prop::collection::vec((any::<bool>(), 0u8..6), 1..200)) {
            let limits = limits(24);
            let mut held = Vec::new();
            for (enter, who) in steps {
                if enter {
                    held.extend(limits.admit(IpAddr::from([192, 0, 2, who]), caps(20, 5, 10)));
                } else if !held.is_empty() {
                    held.swap_remove(usize::from(who) % held.len());
                }
                prop_assert_eq!(limits.connections() as usize, held.len());
            }
            held.clear();
            prop_assert_eq!((limits.connections(), limits.handshakes(), limits.descriptors.used()), (0, 0, 0));
            prop_assert!(limits.sources.0.iter().all(|shard| shard.lock().expect("not poisoned").is_empty()));
        }
    }
}
