//! Whether answers take longer: 90 % of them, in windows of at least a second and fifty answers a side, by the ratio
//! of the policy and ten milliseconds, three windows in a row (`design.md`, "Guard").
//!
//! Windows have no answer in common: three that look slow by chance are as unlikely as that thrice. All routes
//! together are not judged: which of them are asked makes more difference there than a version.

use crate::telemetry::tally::Tally;
use std::cmp::Reverse;
use std::time::Duration;

/// Answers of each side that make a window.
const ENOUGH: u64 = 50;
/// Windows in a row that convince.
const LOOKS: u32 = 3;
/// A window lasts at least so long.
const WINDOW: Duration = Duration::from_secs(1);
/// What nobody notices.
const LEAST: Duration = Duration::from_millis(10);
/// The quantile that is judged.
const PART: f64 = 0.9;

/// Slower than something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slower {
    /// The candidate's, or now.
    pub own: Duration,
    /// Stable's, or before.
    pub other: Duration,
    /// Windows in a row.
    pub looks: u32,
    /// When the first of them began.
    pub since: Duration,
}

impl Slower {
    /// So many windows are no chance.
    pub fn convinces(&self) -> bool {
        self.looks >= LOOKS
    }
}

/// The windows of one comparison.
#[derive(Debug, Default)]
pub struct Windows {
    open: Option<Open>,
    slower: Option<Slower>,
}

/// When a window began, and what had been counted by then.
#[derive(Debug)]
struct Open {
    since: Duration,
    own: Tally,
    other: Option<Tally>,
}

impl Windows {
    /// Compares one side with another over the same time.
    pub fn beside(&mut self, at: Duration, own: &Tally, other: &Tally, max_ratio: f64) -> Option<Slower> {
        if let Some((since, own, Some(other))) = self.window(at, own, Some(other)) {
            self.note(since, compare(&own, &other, max_ratio));
        }
        self.slower
    }

    /// Compares one side with earlier times, all of them: it is slow only if it is slower than each. Earlier times
    /// without enough answers say nothing; without any that does, nothing is slow.
    pub fn after(&mut self, at: Duration, own: &Tally, earlier: &[&Tally], ratio: f64) -> Option<Slower> {
        if let Some((since, window, _)) = self.window(at, own, None) {
            let known = earlier.iter().filter(|tally| tally.samples() >= ENOUGH);
            let slow = known.map(|tally| compare(&window, tally, ratio));
            let least = slow.min_by_key(|slow| slow.map(|(_, other)| Reverse(other)));
            self.note(since, least.flatten());
        }
        self.slower
    }

    /// What came in a window, when it began, if it is complete; the next one begins then.
    fn window(
        &mut self,
        at: Duration,
        own: &Tally,
        other: Option<&Tally>,
    ) -> Option<(Duration, Tally, Option<Tally>)> {
        // Of many routes most may be asked nothing: those are to cost nothing.
        if own.requests == 0 {
            return None;
        }
        let begin = || Open { since: at, own: own.clone(), other: other.cloned() };
        let open = self.open.get_or_insert_with(begin);
        // Requests are a cheap bound for answers.
        let few = |now: &Tally, before: &Tally| now.requests < before.requests.saturating_add(ENOUGH);
        let other = other.zip(open.other.as_ref());
        if at < open.since + WINDOW || few(own, &open.own) || other.is_some_and(|(now, was)| few(now, was)) {
            return None;
        }
        let window = (open.since, own.since(&open.own), other.map(|(now, was)| now.since(was)));
        let short = |tally: &Tally| tally.samples() < ENOUGH;
        if short(&window.1) || window.2.as_ref().is_some_and(short) {
            return None;
        }
        self.open = Some(begin());
        Some(window)
    }

    fn note(&mut self, since: Duration, slow: Option<(Duration, Duration)>) {
        let (looks, since) = self.slower.map_or((0, since), |before| (before.looks, before.since));
        self.slower = slow.map(|(own, other)| Slower { own, other, looks: looks + 1, since });
    }
}

/// Both p90 where the first is too long.
fn compare(own: &Tally, other: &Tally, max_ratio: f64) -> Option<(Duration, Duration)> {
    let (own, other) = (own.quantile(PART)?, other.quantile(PART)?);
    let slow = own.as_secs_f64() > other.as_secs_f64() * max_ratio && own >= other + LEAST;
    slow.then_some((own, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tally: &mut Tally, count: u32, ms: u64) {
        (0..count).for_each(|_| tally.succeeded(Duration::from_millis(ms)));
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_windows_of_fifty_answers_a_side_convince() {
        let (mut windows, mut own, mut other) = (Windows::default(), Tally::default(), Tally::default());
        answer(&mut own, 1, 100);
        answer(&mut other, 1, 100);
        assert_eq!(windows.beside(at(0), &own, &other, 2.0), None);
        for second in 1..=3 {
            answer(&mut own, 50, 300);
            answer(&mut other, 49, 100);
            windows.beside(at(second * 2 - 1), &own, &other, 2.0);
            answer(&mut other, 1, 100);
            let slower = windows.beside(at(second * 2), &own, &other, 2.0).expect("three times as slow");
            assert_eq!((slower.looks, slower.since), (second as u32, at(0)));
            assert_eq!(slower.convinces(), second == 3);
        }
        answer(&mut own, 50, 100);
        answer(&mut other, 50, 100);
        assert_eq!(windows.beside(at(7), &own, &other, 2.0), None);
    }

    #[test]
    fn a_few_milliseconds_are_nothing_whatever_the_ratio() {
        let (mut windows, mut own, mut other) = (Windows::default(), Tally::default(), Tally::default());
        for second in 0..9 {
            assert_eq!(windows.beside(at(second), &own, &other, 2.0), None);
            answer(&mut own, 100, 9);
            answer(&mut other, 100, 1);
        }
    }

    #[test]
    fn slower_than_before_is_slower_than_everything_before() {
        let (mut before, mut stable, mut few) = (Tally::default(), Tally::default(), Tally::default());
        answer(&mut before, 100, 50);
        answer(&mut stable, 100, 400);
        answer(&mut few, 49, 1);
        let told = |earlier: &[&Tally]| {
            let (mut windows, mut own) = (Windows::default(), Tally::default());
            answer(&mut own, 1, 300);
            windows.after(at(0), &own, earlier, 2.0);
            answer(&mut own, 50, 300);
            windows.after(at(1), &own, earlier, 2.0).is_some()
        };
        assert!(told(&[&before]) && told(&[&before, &few]));
        assert!(!told(&[&before, &stable]) && !told(&[&few]) && !told(&[]));
    }
}
