//! Whether a service that judges answers at all. While it is silent nobody waits for it: one question at a time
//! finds out whether it has come back.
//!
//! Only silence counts. An answer of any kind that came in time is a sign of life, also one that decides nothing,
//! or a client whose cookie makes the service fail could shut the door for everybody. Pure: it is told the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Questions in a row without an answer in time, at least.
const IN_A_ROW: u32 = 5;
/// How long nobody asks after the first silence, and at most.
const FIRST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(1);
/// After a question that was to find out and was given up, the next one comes this long after it: its client left, or
/// gave itself too little time. Such clients, one after another, could keep everybody out otherwise.
const GIVEN_UP: Duration = Duration::from_millis(20);

/// The silence of one service, noticed by all cores.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Questions without an answer since the last answer.
    in_a_row: u32,
    /// When the first of these was asked.
    since: Option<Instant>,
    silent: Option<Silence>,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    /// When the next question may be asked.
    next: Instant,
    /// How long the last pause was.
    pause: Duration,
    /// When the one was asked that finds out.
    probe: Option<Instant>,
}

/// The right to ask. Dropped without a word on what came of it, it is somebody else's soon.
#[derive(Debug)]
pub struct Turn<'a> {
    breaker: &'a Breaker,
    /// When it was taken.
    at: Instant,
    /// It is the one that finds out.
    probe: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        if let Some(silence) = &mut self.breaker.state().silent
            && silence.probe == Some(self.at)
        {
            *silence = Silence { next: silence.next.min(self.at + GIVEN_UP), probe: None, ..*silence };
        }
    }
}

impl Breaker {
    /// May a question be asked that takes at most `timeout`? While the service is silent the one who may is the only
    /// one for that long, unless it is given up.
    pub fn turn(&self, now: Instant, timeout: Duration) -> Option<Turn<'_>> {
        let mut state = self.state();
        let probe = state.silent.is_some();
        if let Some(silence) = &mut state.silent {
            if now < silence.next {
                return None;
            }
            *silence = Silence { next: now + timeout + silence.pause, probe: Some(now), ..*silence };
        }
        Some(Turn { breaker: self, at: now, probe })
    }

    /// The service answered, whatever it said. True if it had been silent.
    pub fn answered(&self) -> bool {
        std::mem::take(&mut *self.state()).silent.is_some()
    }

    /// It did not answer in time. True if it is held for silent from now on and was not before.
    pub fn timed_out(&self, turn: Turn<'_>, now: Instant, timeout: Duration) -> bool {
        let mut state = self.state();
        state.in_a_row = state.in_a_row.saturating_add(1);
        let since = *state.since.get_or_insert(turn.at);
        if let Some(silence) = &mut state.silent {
            // The others asked before, and say nothing new.
            if silence.probe == Some(turn.at) {
                let pause = (silence.pause * 2).min(MOST);
                *silence = Silence { next: now + pause, pause, probe: None };
            }
            return false;
        }
        let silent = state.in_a_row >= IN_A_ROW && now.saturating_duration_since(since) >= timeout;
        state.silent = silent.then(|| Silence { next: now + FIRST, pause: FIRST, probe: None });
        silent
    }

    /// It is held for silent.
    pub fn is_silent(&self) -> bool {
        self.state().silent.is_some()
    }

    /// Nothing here panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    /// Silent from 200 ms on.
    fn silent(start: Instant) -> Breaker {
        let breaker = Breaker::default();
        let turns: Vec<_> =
            (0..8).map(|_| breaker.turn(start, TIMEOUT).expect("it is not silent yet")).collect();
        let told: Vec<_> =
            turns.into_iter().map(|turn| breaker.timed_out(turn, at(start, 200), TIMEOUT)).collect();
        assert_eq!(told.iter().filter(|first| **first).count(), 1, "said once");
        breaker
    }

    #[test]
    fn a_silent_service_is_asked_one_question_at_a_time() {
        let start = Instant::now();
        let breaker = silent(start);
        assert!(breaker.turn(at(start, 201), TIMEOUT).is_none());
        assert!(breaker.turn(at(start, 449), TIMEOUT).is_none());
        let probe = breaker.turn(at(start, 450), TIMEOUT).expect("its time has come");
        assert!(breaker.turn(at(start, 460), TIMEOUT).is_none(), "one at a time");
        assert!(!breaker.timed_out(probe, at(start, 650), TIMEOUT));
        assert!(breaker.turn(at(start, 1_149), TIMEOUT).is_none(), "the pause grows");
        assert!(breaker.turn(at(start, 1_150), TIMEOUT).is_some());
    }

    #[test]
    fn the_first_answer_ends_the_silence() {
        let start = Instant::now();
        let breaker = silent(start);
        breaker.turn(at(start, 500), TIMEOUT).expect("a probe");
        assert!(breaker.answered());
        assert!(!breaker.answered(), "said once");
        assert!((0..100).all(|_| breaker.turn(at(start, 510), TIMEOUT).is_some()));
    }

    #[test]
    fn whoever_asked_before_the_silence_does_not_lengthen_it() {
        let start = Instant::now();
        let breaker = Breaker::default();
        let turns: Vec<_> = (0..64).map(|_| breaker.turn(start, TIMEOUT).expect("a turn")).collect();
        for turn in turns {
            breaker.timed_out(turn, at(start, 200), TIMEOUT);
        }
        assert!(breaker.turn(at(start, 450), TIMEOUT).is_some());
    }

    #[test]
    fn a_probe_that_is_given_up_is_somebody_elses_soon() {
        let start = Instant::now();
        let breaker = silent(start);
        drop(breaker.turn(at(start, 450), TIMEOUT).expect("a probe that is never heard of again"));
        assert!(breaker.turn(at(start, 469), TIMEOUT).is_none());
        let heard = breaker.turn(at(start, 470), TIMEOUT).expect("its turn");
        assert!(!breaker.timed_out(heard, at(start, 670), TIMEOUT));
        assert!(breaker.turn(at(start, 1_169), TIMEOUT).is_none(), "what it found out stands");
    }

    #[test]
    fn the_pause_has_an_end() {
        let start = Instant::now();
        let breaker = silent(start);
        let mut now = at(start, 200);
        for _ in 0..20 {
            now += MOST + TIMEOUT;
            let turn = breaker.turn(now, TIMEOUT).expect("after the longest pause somebody may always ask");
            now += TIMEOUT;
            breaker.timed_out(turn, now, TIMEOUT);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_service_that_answers_now_and_then_is_never_held_for_silent(
            outcomes in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            // In each two hundred milliseconds somebody is answered.
            let (start, breaker) = (Instant::now(), Breaker::default());
            for (n, answered) in outcomes.into_iter().enumerate() {
                let asked = at(start, n as u64 * 10);
                let turn = breaker.turn(asked, TIMEOUT).expect("it is not silent");
                if answered || n % 19 == 0 {
                    breaker.answered();
                } else {
                    prop_assert!(!breaker.timed_out(turn, asked + Duration::from_millis(9), TIMEOUT));
                }
            }
        }
    }
}
