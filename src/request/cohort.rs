//! Stable shares of clients: who belongs to a quarter of them, today as in a minute, here as at the gateway beside
//! (`design.md`, "Cohorts").
//!
//! A client's place among all is a hash of what the choice is for, its occasion, and a raw fact of the request. So
//! the same clients are in as long as the occasion lasts, a larger share holds everyone of a smaller one, and the
//! populations of two purposes are independent. Nobody's identity is used: facts are there before anybody was asked.

use crate::request::Source;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName};
use std::net::IpAddr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The fact that tells clients apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fact {
    /// The client's address, proxies looked through; of IPv6 the /64.
    #[default]
    Address,
    /// The value of a header; the address where it is missing.
    Header(HeaderName),
    /// The value of a cookie; the address where it is missing.
    Cookie(String),
}

/// What a choice is for; each has its own populations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Whom a ramped upstream serves.
    Ramp,
    /// Whom the candidate of a rollout serves.
    Rollout,
}

/// A hash of a client's fact: the same for the same client everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// A place in 0..=`u32::MAX`, evenly spread over the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

/// The part of the positions that is in: those below it. `u32::MAX` is everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Fact {
    /// Reads `client_ip`, `header:NAME` or `cookie:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => (text == "client_ip").then_some(Fact::Address),
            Some(("header", name)) => HeaderName::from_bytes(name.as_bytes()).ok().map(Fact::Header),
            // A cookie's name is a token, as a header's is, but its letters' case counts.
            Some(("cookie", name)) => {
                HeaderName::from_bytes(name.as_bytes()).is_ok().then(|| Fact::Cookie(name.to_owned()))
            }
            Some(_) => None,
        }
    }

    /// The key of whoever sent this head from this address.
    pub fn key(&self, client: IpAddr, headers: &HeaderMap) -> Key {
        let told = match self {
            Fact::Address => None,
            Fact::Header(name) => headers.get(name).map(|value| value.as_bytes()),
            Fact::Cookie(name) => cookie(headers, name.as_bytes()),
        };
        match (told, Source::of(client)) {
            (Some(value), _) => Key(xxh3_64(value)),
            (None, Source::V4(address)) => Key(xxh3_64(&address.to_be_bytes())),
            (None, Source::V6(network)) => Key(xxh3_64(&network.to_be_bytes())),
        }
    }
}

impl Key {
    /// Where the client stands in the choice for `purpose` on this occasion.
    pub fn position(self, purpose: Purpose, occasion: u64) -> Position {
        let seed = xxh3_64_with_seed(purpose.as_str().as_bytes(), occasion);
        Position((xxh3_64_with_seed(&self.0.to_be_bytes(), seed) >> 32) as u32)
    }

    /// One of `of` buckets; for counting how many clients there are.
    pub fn bucket(self, of: usize) -> usize {
        (self.0 % of.max(1) as u64) as usize
    }
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Purpose::Ramp => "ramp",
            Purpose::Rollout => "rollout",
        }
    }
}

impl Share {
    /// Everyone.
    pub const ALL: Share = Share(u32::MAX);

    /// A part, 0 to 1.
    pub fn of(part: f64) -> Self {
        // Saturates at both ends.
        Share((part * f64::from(u32::MAX)) as u32)
    }

    /// From [`Share::bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Share(bits)
    }

    /// As a number that an atomic can hold.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// 0 to 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(u32::MAX)
    }

    /// Whoever stands here is in.
    pub fn holds(self, position: Position) -> bool {
        self == Share::ALL || position.0 < self.0
    }
}

/// The value of a cookie, in however many crumbs it came.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let crumbs = headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    crumbs.map(<[u8]>::trim_ascii).find_map(|crumb| crumb.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn address(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + last).to_be_bytes())
    }

    fn positions(occasion: u64) -> Vec<Position> {
        let none = HeaderMap::new();
        (0..20_000).map(|n| Fact::Address.key(address(n), &none).position(Purpose::Ramp, occasion)).collect()
    }

    #[test]
    fn a_share_holds_its_part_of_the_clients_and_a_larger_one_the_same_and_more() {
        let positions = positions(7);
        for part in [0.01, 0.05, 0.25, 0.5, 0.75] {
            let held = positions.iter().filter(|position| Share::of(part).holds(**position)).count();
            let realised = held as f64 / positions.len() as f64;
            assert!((realised - part).abs() < 0.01, "{part}: {realised}");
            let lost =
                positions.iter().any(|it| Share::of(part).holds(*it) && !Share::of(part + 0.1).holds(*it));
            assert!(!lost, "whoever was in at {part} stays in");
        }
        assert!(positions.iter().all(|position| Share::ALL.holds(*position)));
        assert!(!positions.iter().any(|position| Share::of(0.0).holds(*position)));
    }

    #[test]
    fn two_occasions_choose_independently_and_one_always_the_same() {
        let (one, other, again) = (positions(1), positions(2), positions(1));
        assert_eq!(one, again);
        let both =
            one.iter().zip(&other).filter(|(a, b)| Share::of(0.25).holds(**a) && Share::of(0.25).holds(**b));
        let part = both.count() as f64 / one.len() as f64;
        assert!((part - 0.0625).abs() < 0.01, "{part}");
    }

    #[test]
    fn gateways_agree_on_who_is_in() {
        // Written down: another build, another machine and a later version must come to the same.
        let key = Fact::Address.key(IpAddr::from([192, 0, 2, 1]), &HeaderMap::new());
        assert_eq!(key.position(Purpose::Ramp, 20_000), Position(977_489_080));
    }

    #[test]
    fn a_fact_that_is_missing_is_the_address() {
        let by = |fact: &str, line: Option<(HeaderName, &'static str)>| {
            let mut headers = HeaderMap::new();
            line.into_iter().for_each(|(name, value)| {
                headers.insert(name, HeaderValue::from_static(value));
            });
            Fact::parse(fact).expect("a fact").key(address(1), &headers)
        };
        let own = by("client_ip", None);
        assert_eq!(by("header:x-user", None), own);
        assert_eq!(by("cookie:sid", Some((COOKIE, "xsid=1; side=2"))), own);
        let told = by("header:x-user", Some((HeaderName::from_static("x-user"), "7")));
        assert_eq!(by("cookie:sid", Some((COOKIE, "a=b;  sid=7"))), told);
        assert_ne!(told, own);
        for nonsense in ["", "ip", "header:", "header:a b", "cookie:a=b", "query:x"] {
            assert_eq!(Fact::parse(nonsense), None, "{nonsense}");
        }
    }
}
