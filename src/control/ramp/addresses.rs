//! Whether a backend's name leads somewhere new: another server, and so a cold one (`overload.md` 2(vii)(5)).
//!
//! A name service that shuffles its answers, or gives yesterday's again, is no news: an address counts as new when
//! it was not seen in the last ten minutes. The first answer of all is none either, for then the gateway has just
//! begun. Where a name leads to several addresses at once nothing that one of them does is said of the others.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long an address is remembered after it was last seen (`design.md`, "Restart detection").
const REMEMBERED: Duration = Duration::from_secs(600);
/// Addresses that are remembered; a name with more than these forgets the oldest.
const MOST: usize = 64;

/// What the addresses of one backend tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// It leads to more than one address.
    pub several: bool,
    /// It leads to one address alone that it did not lead to in the last ten minutes.
    pub new: bool,
}

/// The addresses that one backend led to lately.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    seen: VecDeque<(SocketAddr, Instant)>,
}

impl Addresses {
    /// Looks at where it leads now. No address at all is no news.
    pub fn look(&mut self, now: Instant, list: &[SocketAddr]) -> Whereabouts {
        let was_known = !self.seen.is_empty();
        self.seen.retain(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED);
        let known = |address: &SocketAddr| self.seen.iter().any(|(seen, _)| seen == address);
        let new = was_known && matches!(list, [one] if !known(one));
        self.seen.retain(|(address, _)| !list.contains(address));
        self.seen.extend(list.iter().take(MOST).map(|address| (*address, now)));
        while self.seen.len() > MOST {
            self.seen.pop_front();
        }
        Whereabouts { several: list.len() > 1, new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn an_address_is_new_when_it_was_not_seen_for_ten_minutes() {
        let (mut addresses, began) = (Addresses::default(), Instant::now());
        let mut at =
            |seconds, list: &[SocketAddr]| addresses.look(began + Duration::from_secs(seconds), list);
        assert!(!at(0, &[]).new && !at(1, &[address(1)]).new, "the first answer is no news");
        assert!(at(2, &[address(2)]).new);
        assert!(!at(3, &[]).new && !at(4, &[address(1)]).new, "it was there a moment ago");
        assert!(at(700, &[address(2)]).new, "that was long ago");
    }

    #[test]
    fn of_several_addresses_none_is_news() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.look(now, &[address(1)]);
        let both = addresses.look(now, &[address(1), address(2)]);
        assert_eq!(both, Whereabouts { several: true, new: false });
        assert!(!addresses.look(now, &[address(2)]).new);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        for last in 0..=255 {
            addresses.look(now, &[address(last)]);
        }
        assert_eq!(addresses.seen.len(), MOST);
    }
}
