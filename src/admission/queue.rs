//! The waiting line of one upstream on one core: by class, first come first served within a class, bounded
//! by the caller. A pure core: entries are whatever the caller waits with (`overload.md` 2(ii)).
//!
//! Adaptive LIFO bought nothing at these waits in the simulation, so there is none.

use crate::request::Class;
use std::collections::VecDeque;

/// Waiters in the order in which they are served.
#[derive(Debug)]
pub struct Queue<T> {
    lines: [VecDeque<(u64, T)>; Class::ALL.len()],
    tickets: u64,
}

/// Where a waiter stands, for leaving the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    class: Class,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { lines: Default::default(), tickets: 0 }
    }
}

impl<T> Queue<T> {
    /// Joins the end of its class's line.
    pub fn push(&mut self, class: Class, waiter: T) -> Ticket {
        let number = self.tickets;
        self.tickets += 1;
        self.lines[class as usize].push_back((number, waiter));
        Ticket { class, number }
    }

    /// The next to be served: the oldest of the highest class.
    pub fn peek(&self) -> Option<&T> {
        self.lines.iter().find_map(|line| line.front()).map(|(_, waiter)| waiter)
    }

    /// The next to be served of those that are `wanted`.
    pub fn first(&self, wanted: impl Fn(&T) -> bool) -> Option<(Ticket, &T)> {
        self.lines.iter().zip(Class::ALL).find_map(|(line, class)| {
            let found = line.iter().find(|(_, waiter)| wanted(waiter));
            found.map(|(number, waiter)| (Ticket { class, number: *number }, waiter))
        })
    }

    /// Takes the next to be served.
    pub fn pop(&mut self) -> Option<T> {
        self.lines.iter_mut().find_map(VecDeque::pop_front).map(|(_, waiter)| waiter)
    }

    /// Takes the youngest of the lowest class below `class`, to make room for it.
    pub fn displace(&mut self, class: Class) -> Option<T> {
        self.lines[class as usize + 1..]
            .iter_mut()
            .rev()
            .find_map(VecDeque::pop_back)
            .map(|(_, waiter)| waiter)
    }

    /// Leaves the line; `None` when it was served or displaced already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let line = &mut self.lines[ticket.class as usize];
        let at = line.binary_search_by_key(&ticket.number, |(number, _)| *number).ok()?;
        line.remove(at).map(|(_, waiter)| waiter)
    }

    /// How many are served before one who joins in this class now.
    pub fn ahead_of(&self, class: Class) -> u32 {
        let ahead: usize = self.lines[..=class as usize].iter().map(VecDeque::len).sum();
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn serves_the_highest_class_first_and_the_oldest_within_it() {
        let mut queue = Queue::default();
        queue.push(Class::Batch, "b1");
        queue.push(Class::Default, "d1");
        let gone = queue.push(Class::Default, "d2");
        queue.push(Class::Critical, "c1");
        queue.push(Class::Default, "d3");
        assert_eq!(queue.leave(gone), Some("d2"));
        assert_eq!(queue.leave(gone), None);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["c1", "d1", "d3", "b1"]);
    }

    #[test]
    fn a_higher_class_displaces_the_youngest_of_the_lowest() {
        let mut queue = Queue::default();
        queue.push(Class::Sheddable, "s1");
        queue.push(Class::Batch, "b1");
        queue.push(Class::Batch, "b2");
        assert_eq!((queue.ahead_of(Class::Default), queue.ahead_of(Class::Batch)), (0, 3));
        assert_eq!(queue.displace(Class::Default), Some("b2"));
        assert_eq!(queue.displace(Class::Sheddable), Some("b1"));
        assert_eq!(queue.displace(Class::Sheddable), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_sorted_list(steps in prop::collection::vec((0u8..4, 0usize..4), 0..200)) {
            let mut queue = Queue::default();
            let mut model: Vec<(Class, u32, Ticket)> = Vec::new();
            for (serial, (step, class)) in steps.into_iter().enumerate() {
                let class = Class::ALL[class];
                let serial = u32::try_from(serial).unwrap_or(u32::MAX);
                match step {
                    0 | 1 => {
                        let ticket = queue.push(class, serial);
                        model.push((class, serial, ticket));
                        model.sort_by_key(|(class, serial, _)| (*class, *serial));
                    }
                    2 => {
                        let expected = (!model.is_empty()).then(|| model.remove(0).1);
                        prop_assert_eq!(queue.pop(), expected);
                    }
                    _ => {
                        if let Some(at) = model.iter().position(|(c, _, _)| *c == class) {
                            let (_, serial, ticket) = model.remove(at);
                            prop_assert_eq!(queue.leave(ticket), Some(serial));
                        }
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.peek().copied(), model.first().map(|m| m.1));
            }
        }
    }
}
