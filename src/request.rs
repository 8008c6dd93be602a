//! What the gateway knows of one request while it walks: names and numbers, never handles to rooms.

pub mod cohort;

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

/// Until when a request must have its answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Until when.
    pub at: Instant,
    /// The client made it shorter than the route's: passing it is no failure of the backend.
    pub by_client: bool,
}

/// On whose behalf something is held, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// When the request's head was complete.
    pub since: Instant,
    /// The client, proxies looked through.
    pub client: IpAddr,
}

/// Who is counted as one: an IPv4 address, or a /64 of IPv6, which is what one subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address, also one inside IPv6.
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl Source {
    /// The one that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Source::V4(v4.to_bits()),
            IpAddr::V6(v6) => Source::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// The order in which requests are shed: the last first (`overload.md` 2(iv)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Shed last: health, payments, auth callbacks.
    Critical,
    /// What a route has if it says nothing.
    #[default]
    Default,
    /// Shed before `default`.
    Sheddable,
    /// Shed first.
    Batch,
}

impl Class {
    /// All, from the last shed to the first.
    pub const ALL: [Class; 4] = [Class::Critical, Class::Default, Class::Sheddable, Class::Batch];

    /// The word in configuration, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::Default => "default",
            Class::Sheddable => "sheddable",
            Class::Batch => "batch",
        }
    }

    /// The next class to be shed before it; of the last, itself.
    pub const fn lower(self) -> Class {
        match self {
            Class::Critical => Class::Default,
            Class::Default => Class::Sheddable,
            Class::Sheddable | Class::Batch => Class::Batch,
        }
    }

    /// It is closed when so many steps are, from the last class up; `highest`, the highest in use, never is.
    pub const fn is_closed(self, steps: u8, highest: Class) -> bool {
        self as u8 + steps > Class::Batch as u8 && self as u8 > highest as u8
    }

    /// How many classes there are below this one: the steps in which they can be closed.
    pub const fn below(self) -> u8 {
        Class::Batch as u8 - self as u8
    }

    /// The classes that are closed when so many steps are, from the last shed to the first.
    pub fn closed(steps: u8, highest: Class) -> Vec<Class> {
        Class::ALL.into_iter().filter(|class| class.is_closed(steps, highest)).collect()
    }

    /// Its share of a limit before comparison with the highest class in use, in tenths.
    pub const fn tenths(self) -> u32 {
        match self {
            Class::Critical => 10,
            Class::Default => 9,
            Class::Sheddable => 7,
            Class::Batch => 4,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_close_from_the_bottom_and_the_highest_in_use_stays_open() {
        use Class::{Batch, Critical, Default, Sheddable};
        let closed = |steps, highest| Class::closed(steps, highest);
        assert_eq!(closed(0, Critical), []);
        assert_eq!(closed(1, Critical), [Batch]);
        assert_eq!(closed(2, Critical), [Sheddable, Batch]);
        assert_eq!(closed(3, Critical), [Default, Sheddable, Batch]);
        assert_eq!(closed(3, Default), [Sheddable, Batch]);
        assert_eq!(closed(3, Batch), []);
        assert_eq!(
            [Critical, Default, Sheddable, Batch].map(Class::lower),
            [Default, Sheddable, Batch, Batch]
        );
    }
}
