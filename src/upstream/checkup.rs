//! What active checks found of one backend: up until proven down, and down until proven up (`overload.md` 2(vi)).
//!
//! Written by the thread that checks, read by the one that steers; no core looks at it. It tells apart whether a
//! backend is dead or only slow, because a fleet under load must not lose its slow backends one after the other. It
//! knows neither traffic nor how checks are made.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well.
    Well,
    /// It is not, and this is why.
    Failed(Arc<str>),
    /// It accepted the connection and did not answer in time, and nothing else of it was answered either.
    Silent(Arc<str>),
    /// It did not answer in time, but it accepted the connection, and requests were answered meanwhile.
    Slow(Arc<str>),
}

/// A backend that its checks have taken for down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Since when.
    pub since: Instant,
    /// Checks that failed so far, those that proved it included.
    pub failures: u32,
    /// It is slow, and nothing worse was seen of it.
    pub slow: bool,
    /// It was silent or slow all the time: it may hang, and nothing says that it ended.
    pub silent: bool,
    /// What the last of them saw.
    pub why: Arc<str>,
}

/// How many in a row it takes.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// To be up again.
    pub healthy: u32,
    /// To be down.
    pub unhealthy: u32,
}

/// The findings about one backend; as old as its identity.
#[derive(Debug, Default)]
pub struct Checkup {
    tally: Mutex<Tally>,
    down: AtomicBool,
    ever_well: AtomicBool,
}

impl Checkup {
    /// Takes in one check.
    pub fn record(&self, outcome: &Outcome, now: Instant, proof: Proof) {
        let mut tally = self.tally();
        tally.take_in(outcome, now, proof);
        self.down.store(tally.down.is_some(), Relaxed);
        if *outcome == Outcome::Well {
            self.ever_well.store(true, Relaxed);
        }
    }

    /// Why it is down, if it is.
    pub fn down(&self) -> Option<Down> {
        if self.down.load(Relaxed) { self.tally().down.clone() } else { None }
    }

    /// A check has found it well, ever.
    pub fn ever_well(&self) -> bool {
        self.ever_well.load(Relaxed)
    }

    /// It is whole after every step.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks in a row.
#[derive(Debug, Default)]
struct Tally {
    /// That were well, while it is down.
    well: u32,
    /// That failed, and whether all of these were only slow.
    failed: u32,
    slow: bool,
    /// And whether all of them were accepted.
    silent: bool,
    down: Option<Down>,
}

impl Tally {
    fn take_in(&mut self, outcome: &Outcome, now: Instant, proof: Proof) {
        let (why, slow, silent) = match outcome {
            Outcome::Well => return self.take_in_well(proof),
            Outcome::Failed(why) => (why, false, false),
            Outcome::Silent(why) => (why, false, true),
            Outcome::Slow(why) => (why, true, true),
        };
        self.well = 0;
        self.slow = slow && (self.failed == 0 || self.slow);
        self.silent = silent && (self.failed == 0 || self.silent);
        self.failed = self.failed.saturating_add(1);
        match &mut self.down {
            Some(down) => {
                (down.failures, down.why) = (down.failures.saturating_add(1), why.clone());
                down.slow &= slow;
                down.silent &= silent;
            }
            None if self.failed >= proof.unhealthy => {
                let why = why.clone();
                let (slow, silent) = (self.slow, self.silent);
                self.down = Some(Down { since: now, failures: self.failed, slow, silent, why });
            }
            None => {}
        }
    }

    fn take_in_well(&mut self, proof: Proof) {
        self.failed = 0;
        self.well = self.well.saturating_add(1);
        if self.well >= proof.healthy {
            self.down = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROOF: Proof = Proof { healthy: 2, unhealthy: 3 };

    fn failed() -> Outcome {
        Outcome::Failed("connection refused".into())
    }

    fn slow() -> Outcome {
        Outcome::Slow("timeout after 1s".into())
    }

    fn after(outcomes: &[Outcome]) -> Checkup {
        let checkup = Checkup::default();
        let now = Instant::now();
        outcomes.iter().for_each(|outcome| checkup.record(outcome, now, PROOF));
        checkup
    }

    #[test]
    fn a_backend_is_up_until_three_checks_in_a_row_failed_and_down_until_two_did_not() {
        assert_eq!(after(&[]).down(), None);
        assert_eq!(after(&[failed(), failed(), Outcome::Well, failed(), failed()]).down(), None);
        let down =
            after(&[failed(), failed(), failed(), Outcome::Well, failed()]).down().expect("it is down");
        assert!(!down.slow && &*down.why == "connection refused");
        let up = after(&[failed(), failed(), failed(), Outcome::Well, Outcome::Well]);
        assert_eq!(up.down(), None);
    }

    #[test]
    fn slowness_alone_is_told_apart_and_is_no_death() {
        let checkup = after(&[slow(), slow(), slow()]);
        assert_eq!(checkup.down().map(|down| (down.slow, down.failures)), Some((true, 3)));
        // What is slow and then dead is dead.
        checkup.record(&failed(), Instant::now(), PROOF);
        assert_eq!(checkup.down().map(|down| down.slow), Some(false));
        assert_eq!(after(&[slow(), failed(), slow()]).down().map(|down| down.slow), Some(false));
    }

    #[test]
    fn who_accepts_and_is_silent_is_dead_and_may_be_the_same_process_until_somebody_is_refused() {
        let silent = || Outcome::Silent("timeout after 1s".into());
        let seen = |checkup: &Checkup| checkup.down().map(|down| (down.slow, down.silent));
        let checkup = after(&[silent(), slow(), silent()]);
        assert_eq!(seen(&checkup), Some((false, true)));
        checkup.record(&failed(), Instant::now(), PROOF);
        assert_eq!(seen(&checkup), Some((false, false)));
        assert_eq!(seen(&after(&[failed(), silent(), silent()])), Some((false, false)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn its_state_changes_only_after_enough_in_a_row(kinds in prop::collection::vec(0_u8..3, 0..60)) {
            let checkup = Checkup::default();
            let (mut well, mut bad) = (0, 0);
            for kind in kinds {
                let outcome = [Outcome::Well, failed(), slow()][usize::from(kind)].clone();
                (well, bad) = if kind == 0 { (well + 1, 0) } else { (0, bad + 1) };
                let before = checkup.down().is_some();
                checkup.record(&outcome, Instant::now(), PROOF);
                match (before, checkup.down().is_some()) {
                    (false, true) => prop_assert_eq!(bad, PROOF.unhealthy),
                    (true, false) => prop_assert_eq!(well, PROOF.healthy),
                    _ => {}
                }
            }
        }
    }
}
