//! One backend as the outcomes of its requests judge it: in, ejected for a time that grows, or on trial
//! (`overload.md` 2(vi)).
//!
//! It asks to be ejected after so many failures in a row, or when more than half of the requests of ten seconds
//! failed. Whether it may be is decided for the upstream as a whole (`presence`). After its time out it is on trial:
//! one request at a time, of which one success brings it in and one failure ejects it for longer. Pure: it is told
//! the time and what was counted.

use crate::balancing::settings::Ejection;
use crate::upstream::vitals::{Blame, Signs};
use std::fmt;
use std::time::{Duration, Instant};

/// The success ratio is that of so many seconds, and of no fewer requests.
const WINDOW: u64 = 10;
const LEAST: u64 = 20;
/// Doublings at most; the longest time out ends it long before.
const MOST_STRIKES: u32 = 20;

/// Whether a backend takes part, as far as its outcomes decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It does.
    In,
    /// Not until then.
    Ejected {
        /// The end of its time out.
        until: Instant,
    },
    /// One request at a time, until one tells.
    Trial,
}

/// Why a backend asks to be ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    what: What,
    last: Option<Blame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    InRow(u32),
    OfAll { failed: u64, of: u64 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::InRow(1) => f.write_str("1 failure")?,
            What::InRow(row) => write!(f, "{row} failures in a row")?,
            What::OfAll { failed, of } => write!(f, "{failed} of {of} requests in {WINDOW} s failed")?,
        }
        self.last.map_or(Ok(()), |blame| write!(f, " ({blame})"))
    }
}

/// What a look at a backend found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It fails too much.
    Eject(Cause),
    /// Its time out is over: it is on trial now.
    Tried,
    /// Its trial went well: it is in now.
    Returned,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct Outlier {
    stay: Stay,
    cause: Option<Cause>,
    /// Ejections that still count: the next one is twice as long for each.
    strikes: u32,
    /// Since when it has been in, or since the last strike was forgiven.
    well_since: Instant,
    /// Successes and failures when it went on trial.
    from: (u64, u64),
    window: Window,
}

impl Outlier {
    /// A backend that is in; what was counted before now is not held against it.
    pub fn new(now: Instant, signs: &Signs) -> Self {
        let window = Window::new(now, signs);
        Outlier { stay: Stay::In, cause: None, strikes: 0, well_since: now, from: (0, 0), window }
    }

    /// Whether it takes part.
    pub fn stay(&self) -> Stay {
        self.stay
    }

    /// Why it does not, or did not before its trial.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Looks at what was counted.
    pub fn look(&mut self, now: Instant, signs: &Signs, settings: &Ejection) -> Option<Wish> {
        match self.stay {
            Stay::In => self.look_in(now, signs, settings),
            Stay::Ejected { until } if now >= until => {
                self.try_out(signs);
                Some(Wish::Tried)
            }
            Stay::Ejected { .. } => None,
            Stay::Trial => self.look_at_trial(now, signs),
        }
    }

    fn look_in(&mut self, now: Instant, signs: &Signs, settings: &Ejection) -> Option<Wish> {
        self.window.count(now, signs);
        if self.strikes > 0 && now.saturating_duration_since(self.well_since) >= self.time_out(settings) {
            self.strikes -= 1;
            self.well_since = now;
        }
        let row = signs.failures_in_row;
        let (failed, of) = self.window.sum();
        let what = if row >= settings.consecutive_failures {
            What::InRow(row)
        } else if of >= LEAST && failed * 2 > of {
            What::OfAll { failed, of }
        } else {
            return None;
        };
        Some(Wish::Eject(Cause { what, last: signs.last_failure }))
    }

    /// Many requests may have come one after the other since the last look: the larger part tells.
    fn look_at_trial(&mut self, now: Instant, signs: &Signs) -> Option<Wish> {
        let ok = signs.ok.saturating_sub(self.from.0);
        let failed = signs.failed.saturating_sub(self.from.1);
        if ok + failed == 0 {
            return None;
        }
        if ok >= failed {
            self.bring_in(now, signs);
            return Some(Wish::Returned);
        }
        self.from = (signs.ok, signs.failed);
        let row = signs.failures_in_row.max(1);
        Some(Wish::Eject(Cause { what: What::InRow(row), last: signs.last_failure }))
    }

    /// Ejects it; returns for how long.
    pub fn eject(&mut self, now: Instant, cause: Cause, settings: &Ejection) -> Duration {
        self.strikes = (self.strikes + 1).min(MOST_STRIKES);
        self.cause = Some(cause);
        let length = self.time_out(settings);
        self.stay = Stay::Ejected { until: now + length };
        length
    }

    /// Puts it on trial instead of ejecting it: too many others are out.
    pub fn hold(&mut self, cause: Cause, signs: &Signs) {
        self.cause = Some(cause);
        self.try_out(signs);
    }

    /// Puts it on trial, for whatever reason it has.
    pub fn try_out(&mut self, signs: &Signs) {
        self.stay = Stay::Trial;
        self.from = (signs.ok, signs.failed);
    }

    /// It takes part again.
    pub fn bring_in(&mut self, now: Instant, signs: &Signs) {
        self.stay = Stay::In;
        self.cause = None;
        self.well_since = now;
        self.window = Window::new(now, signs);
    }

    /// The length of the last ejection; a strike is forgiven for as much time in which it was well.
    fn time_out(&self, settings: &Ejection) -> Duration {
        let doubled = settings.base.saturating_mul(1 << self.strikes.saturating_sub(1));
        doubled.min(settings.max.max(settings.base))
    }
}

/// Outcomes of the last ten seconds, a second each.
#[derive(Clone, Debug)]
struct Window {
    began: Instant,
    seconds: [(u64, u64, u64); WINDOW as usize],
    seen: (u64, u64),
}

impl Window {
    fn new(now: Instant, signs: &Signs) -> Self {
        Window { began: now, seconds: Default::default(), seen: (signs.ok, signs.failed) }
    }

    /// Each second is kept with its number, so that those of a former round are known.
    fn count(&mut self, now: Instant, signs: &Signs) {
        let second = now.saturating_duration_since(self.began).as_secs() + 1;
        let place = &mut self.seconds[(second % WINDOW) as usize];
        if place.0 != second {
            *place = (second, 0, 0);
        }
        place.1 += signs.ok.saturating_sub(self.seen.0);
        place.2 += signs.failed.saturating_sub(self.seen.1);
        self.seen = (signs.ok, signs.failed);
        for place in &mut self.seconds {
            if place.0 + WINDOW <= second {
                *place = (0, 0, 0);
            }
        }
    }

    /// Failed, and all.
    fn sum(&self) -> (u64, u64) {
        self.seconds.iter().fold((0, 0), |(failed, of), second| (failed + second.2, of + second.1 + second.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Ejection = Ejection {
        consecutive_failures: 5,
        base: Duration::from_secs(5),
        max: Duration::from_secs(60),
        max_ejected: 0.5,
    };

    /// A backend whose wishes are all granted.
    struct Alone {
        outlier: Outlier,
        signs: Signs,
        now: Instant,
    }

    impl Alone {
        fn new() -> Self {
            let (now, signs) = (Instant::now(), Signs::default());
            Alone { outlier: Outlier::new(now, &signs), signs, now }
        }

        fn outcomes(&mut self, outcomes: &[bool]) {
            for ok in outcomes {
                if *ok {
                    (self.signs.ok, self.signs.failures_in_row) = (self.signs.ok + 1, 0);
                } else {
                    self.signs.failed += 1;
                    self.signs.failures_in_row += 1;
                }
            }
        }

        fn look(&mut self) -> Option<Duration> {
            match self.outlier.look(self.now, &self.signs, &SETTINGS) {
                Some(Wish::Eject(cause)) => Some(self.outlier.eject(self.now, cause, &SETTINGS)),
                _ => None,
            }
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }

        /// Ejected by a row, out for its time, tried with a failure: how long it is out then.
        fn fails_its_trial(&mut self, out: Duration) -> Duration {
            self.wait(out);
            assert_eq!(self.look(), None);
            assert_eq!(self.outlier.stay(), Stay::Trial);
            self.outcomes(&[false]);
            self.look().expect("it is ejected again")
        }
    }

    #[test]
    fn five_failures_in_a_row_eject_and_four_do_not() {
        let mut alone = Alone::new();
        alone.outcomes(&[false, false, false, false, true, false, false, false, false]);
        assert_eq!(alone.look(), None);
        alone.outcomes(&[false]);
        assert_eq!(alone.look(), Some(Duration::from_secs(5)));
        let cause = alone.outlier.cause().expect("there is one");
        assert_eq!(cause.to_string(), "5 failures in a row");
    }

    #[test]
    fn more_than_half_failing_ejects_although_none_fail_in_a_row() {
        let mut alone = Alone::new();
        (0..6).for_each(|_| alone.outcomes(&[true, false, false]));
        assert_eq!(alone.look(), None, "18 are too few");
        alone.outcomes(&[true, false, false]);
        assert!(alone.look().is_some());
        assert_eq!(
            alone.outlier.cause().expect("there is one").to_string(),
            "14 of 21 requests in 10 s failed"
        );
        // What is older than ten seconds is forgotten.
        let mut alone = Alone::new();
        (0..4).for_each(|_| alone.outcomes(&[false, false, true]));
        assert_eq!(alone.look(), None);
        alone.wait(Duration::from_secs(11));
        (0..4).for_each(|_| alone.outcomes(&[false, false, true]));
        assert_eq!(alone.look(), None);
    }

    #[test]
    fn each_failed_trial_doubles_the_time_out_up_to_its_bound() {
        let mut alone = Alone::new();
        alone.outcomes(&[false; 5]);
        let mut out = alone.look().expect("it is ejected");
        let mut lengths = vec![out.as_secs()];
        for _ in 0..5 {
            out = alone.fails_its_trial(out);
            lengths.push(out.as_secs());
        }
        assert_eq!(lengths, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn time_in_which_it_is_well_is_forgiven_and_one_success_brings_it_back() {
        let mut alone = Alone::new();
        alone.outcomes(&[false; 5]);
        let out = alone.look().expect("it is ejected");
        let out = alone.fails_its_trial(out);
        alone.wait(out);
        alone.look();
        alone.outcomes(&[true]);
        assert_eq!(alone.outlier.look(alone.now, &alone.signs, &SETTINGS), Some(Wish::Returned));
        for _ in 0..20 {
            alone.wait(Duration::from_secs(1));
            alone.look();
        }
        alone.outcomes(&[false; 5]);
        assert_eq!(alone.look(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_failed_before_its_trial_is_not_held_against_it() {
        let mut alone = Alone::new();
        alone.outcomes(&[false; 5]);
        let out = alone.look().expect("it is ejected");
        // Requests that were under way when it was ejected.
        alone.outcomes(&[false; 20]);
        alone.wait(out);
        alone.look();
        assert_eq!((alone.look(), alone.outlier.stay()), (None, Stay::Trial));
        alone.outcomes(&[true]);
        alone.look();
        // Nor is the row of before.
        alone.wait(Duration::from_millis(100));
        assert_eq!((alone.look(), alone.outlier.stay()), (None, Stay::In));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However outcomes fall, it does not flap: what is ejected stays out for its time, and comes in by a
        /// success on trial only; the time is between base and max.
        #[test]
        fn no_sequence_makes_it_flap(steps in prop::collection::vec((0_usize..6, any::<bool>(), 0_u64..4_000), 1..200)) {
            let mut alone = Alone::new();
            let mut out_until = None;
            for (count, ok, pause) in steps {
                alone.outcomes(&vec![ok; count]);
                alone.wait(Duration::from_millis(pause));
                let before = alone.outlier.stay();
                let ejected = alone.look();
                match (before, alone.outlier.stay()) {
                    (Stay::Ejected { until }, Stay::Ejected { until: then }) => prop_assert_eq!(until, then),
                    (Stay::Ejected { .. }, Stay::In) => prop_assert!(false, "in without a trial"),
                    (Stay::In, Stay::Trial) => prop_assert!(false, "on trial without a wish"),
                    (Stay::Ejected { .. }, Stay::Trial) => {
                        prop_assert!(out_until.is_some_and(|until| alone.now >= until));
                    }
                    (_, Stay::Ejected { until }) => {
                        let length = ejected.expect("it was ejected now");
                        prop_assert!((SETTINGS.base..=SETTINGS.max).contains(&length));
                        out_until = Some(until);
                    }
                    _ => {}
                }
            }
        }
    }
}
