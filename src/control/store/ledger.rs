//! What a state directory knows beside texts: numbers, what is active, what was good, and what must not come back by
//! itself (`design.md`, "Change", "Rollback" and "Guard").
//!
//! Pure: no clock and no file. Everything in it is bounded, and whatever an older or newer program wrote is read as far
//! as it is understood.

use serde::{Deserialize, Serialize};

/// Texts that are kept out at most; the oldest is forgotten first.
pub const MAX_BARRED: usize = 64;
/// Starts that are remembered at most.
const MAX_STARTS: usize = 8;
/// So many starts of a version without a minute of readiness are a crash loop.
const LOOP_STARTS: usize = 3;
/// Within so many milliseconds.
const LOOP_MS: i64 = 5 * 60 * 1_000;

/// A version, by number and by the blake3 of its text in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    /// Its number.
    pub number: u64,
    /// The hash of its text.
    pub hash: String,
}

/// Why a text is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The guard took it back.
    Reverted,
    /// Somebody took it back.
    RolledBack,
    /// Nobody confirmed it in time.
    Unconfirmed,
    /// It did not stay up.
    CrashLoop,
}

impl Why {
    /// For a sentence: the text of version 7 `was …`.
    pub const fn told(self) -> &'static str {
        match self {
            Why::Reverted => "was reverted by the guard",
            Why::RolledBack => "was rolled back",
            Why::Unconfirmed => "was not confirmed in time",
            Why::CrashLoop => "did not stay up",
        }
    }
}

/// A text that comes in neither by the file nor by a start, until it changes or somebody applies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// The hash of the text.
    pub hash: String,
    /// The version that it was.
    pub number: u64,
    /// Why.
    pub why: Why,
    /// Since when: UTC, RFC 3339.
    pub at: String,
}

impl Barred {
    /// Why it stays out, and what to do.
    pub fn told(&self) -> String {
        format!(
            "this text is that of version {}, which {} at {}; it stays out until it changes. hint: `tidegate apply FILE` \
             brings it in all the same",
            self.number,
            self.why.told(),
            self.at
        )
    }
}

/// A rollout that was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its number.
    pub number: u64,
    /// The hash of its text.
    pub hash: String,
    /// `watch`, `signal`, `api` or `boot`.
    pub cause: String,
    /// Who applied it, if somebody did.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// A version that is to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// The version.
    pub number: u64,
    /// Until when: milliseconds since 1970 by the wall clock.
    pub until_ms: i64,
    /// What comes back if nobody does.
    pub return_to: Ref,
}

/// Somebody went around the stages, and nobody said that they have seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    /// The version.
    pub number: u64,
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When: UTC, RFC 3339.
    pub at: String,
}

/// One start of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When: milliseconds since 1970 by the wall clock.
    pub at_ms: i64,
    /// The version that it started.
    pub number: u64,
    /// It was ready for a minute, or ended in order.
    pub well: bool,
}

/// The ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The number of the next version; 0 is none yet, read as 1.
    pub next: u64,
    /// What runs.
    pub active: Option<Ref>,
    /// The newest version that was fully active and baked.
    pub last_good: Option<Ref>,
    /// The last one that needed no confirmation or got it.
    pub confirmed: Option<Ref>,
    /// The hash of the file's text that the active version stands over; written with the name of that version, so
    /// that a crash between their files does not bring the file's text back.
    pub overruled: Option<String>,
    /// The hash of the file's content as it was last read.
    pub file_read: Option<String>,
    /// Texts that stay out.
    pub barred: Vec<Barred>,
    /// A rollout that was under way.
    pub pending: Option<Pending>,
    /// A version that is to be confirmed.
    pub confirm: Option<Confirm>,
    /// The stages were gone around.
    pub glass: Option<Glass>,
    /// The last starts.
    pub starts: Vec<Start>,
}

impl Ledger {
    /// Takes the next number.
    pub fn take_number(&mut self) -> u64 {
        let number = self.next.max(1);
        self.next = number.saturating_add(1);
        number
    }

    /// Numbers up to this one are taken, whoever says so.
    pub fn know_number(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Keeps a text out from now on.
    pub fn bar(&mut self, barred: Barred) {
        self.lift(&barred.hash);
        self.barred.push(barred);
        let more = self.barred.len().saturating_sub(MAX_BARRED);
        self.barred.drain(..more);
    }

    /// Somebody applied the text: it may come in again.
    pub fn lift(&mut self, hash: &str) {
        self.barred.retain(|barred| barred.hash != hash);
    }

    /// Why a text stays out, if it does.
    pub fn bars(&self, hash: &str) -> Option<&Barred> {
        self.barred.iter().find(|barred| barred.hash == hash)
    }

    /// The process starts this version now.
    pub fn started(&mut self, number: u64, now_ms: i64) {
        self.starts.push(Start { at_ms: now_ms, number, well: false });
        let more = self.starts.len().saturating_sub(MAX_STARTS);
        self.starts.drain(..more);
    }

    /// The last start went well.
    pub fn went_well(&mut self) {
        if let Some(start) = self.starts.last_mut() {
            start.well = true;
        }
    }

    /// This version did not stay up lately: its last starts, within five minutes, all ended before a minute of
    /// readiness. A start in the future is no evidence: the clock was wrong then, or is now.
    pub fn is_crash_loop(&self, number: u64, now_ms: i64) -> bool {
        let lately = |start: &&Start| start.at_ms <= now_ms && now_ms.saturating_sub(start.at_ms) <= LOOP_MS;
        let last = self.starts.iter().rev().take_while(|start| start.number == number && !start.well);
        last.filter(lately).count() >= LOOP_STARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn barred(n: u64) -> Barred {
        Barred { hash: format!("{n}"), number: n, why: Why::RolledBack, at: "now".into() }
    }

    #[test]
    fn a_number_is_given_once() {
        let mut ledger = Ledger::default();
        assert_eq!((ledger.take_number(), ledger.take_number()), (1, 2));
        ledger.know_number(41);
        ledger.know_number(7);
        assert_eq!(ledger.take_number(), 42);
    }

    #[test]
    fn a_barred_text_stays_out_until_somebody_applies_it_and_the_list_is_bounded() {
        let mut ledger = Ledger::default();
        (0..100).for_each(|n| ledger.bar(barred(n)));
        ledger.bar(barred(99));
        assert_eq!(ledger.barred.len(), MAX_BARRED);
        assert!(ledger.bars("99").is_some() && ledger.bars("0").is_none());
        ledger.lift("99");
        assert_eq!(ledger.bars("99"), None);
    }

    #[test]
    fn three_starts_without_readiness_are_a_loop_and_an_orderly_end_is_not() {
        let mut ledger = Ledger::default();
        for at in [0, 1_000, 2_000] {
            assert!(!ledger.is_crash_loop(2, at));
            ledger.started(2, at);
        }
        assert!(ledger.is_crash_loop(2, 3_000));
        assert!(!ledger.is_crash_loop(1, 3_000), "another version");
        assert!(!ledger.is_crash_loop(2, 2_000 + LOOP_MS), "the first ones are long ago");
        ledger.went_well();
        assert!(!ledger.is_crash_loop(2, 3_000));
    }

    #[test]
    fn a_clock_that_jumps_makes_no_loop_and_hides_none_for_ever() {
        let mut ledger = Ledger::default();
        (0..3).for_each(|n| ledger.started(1, i64::MAX - n));
        assert!(!ledger.is_crash_loop(1, 1_000), "starts in the future");
        (0..3).for_each(|n| ledger.started(1, n));
        assert!(ledger.is_crash_loop(1, 1_000));
        assert!(!ledger.is_crash_loop(1, 10 + LOOP_MS), "long ago");
    }

    #[test]
    fn what_another_program_wrote_is_read_as_far_as_it_is_understood() {
        let ledger: Ledger = serde_json::from_str(r#"{"next":7,"novelty":[1]}"#).expect("read");
        assert_eq!(ledger, Ledger { next: 7, ..Ledger::default() });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_happens_it_stays_bounded_and_numbers_rise(steps in prop::collection::vec(0u8..5, 0..300)) {
            let mut ledger = Ledger::default();
            let mut last = 0;
            for (n, step) in steps.into_iter().enumerate() {
                let n = n as u64;
                match step {
                    0 => {
                        let number = ledger.take_number();
                        prop_assert!(number > last);
                        last = number;
                    }
                    1 => ledger.bar(barred(n)),
                    2 => ledger.lift(&format!("{}", n / 2)),
                    3 => ledger.started(n % 3, n as i64),
                    _ => ledger.went_well(),
                }
                prop_assert!(ledger.barred.len() <= MAX_BARRED && ledger.starts.len() <= MAX_STARTS);
                let again: Ledger = serde_json::from_value(serde_json::json!(ledger)).expect("read");
                prop_assert_eq!(&again, &ledger);
            }
        }
    }
}
