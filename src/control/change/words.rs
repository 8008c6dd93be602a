//! What people say to the change under way. Each word is decided at once; what it takes is done on the thread of
//! rollouts, but taking a candidate away, which moves a pointer and is done here.

use super::Conductor;
use super::course::{Act, Change, Current, Not, Outcome};
use crate::config::units::as_percent;
use crate::telemetry::events::{GlassBroken, RolloutStep};
use std::time::Instant;

/// What came of a word.
#[derive(Clone, Debug)]
pub struct Said {
    /// The version that it was about.
    pub version: u64,
    /// In a sentence.
    pub told: String,
}

impl Conductor {
    /// Skips waiting for traffic, never a failing guard. With a number, of no other version than that.
    ///
    /// # Errors
    /// Why it cannot go on now.
    pub fn promote(&self, meant: Option<u64>, by: &str, reason: Option<&str>) -> Result<Said, Not> {
        let mut state = self.state();
        let number = state.course.current().map_or(0, |current| current.change.number);
        is_meant(meant, state.course.current().map(|current| current.change.number))?;
        let act = state.course.promote(Instant::now())?;
        drop(state);
        let told = match &act {
            Some(Act::Widen(_, share)) => {
                format!("version {number} goes on to {} of the clients", as_percent(*share))
            }
            Some(Act::Activate(_)) => format!("version {number} goes on to everyone"),
            Some(_) => format!("version {number} goes on"),
            None => format!("version {number} waits on"),
        };
        self.said(number, "promoted", by, reason, &told);
        act.into_iter().for_each(|act| self.send(act));
        Ok(Said { version: number, told })
    }

    /// Ends the change under way; the stable version stays, or comes back. With a number, no other than that.
    ///
    /// # Errors
    /// When nothing is under way.
    pub fn abort(&self, meant: Option<u64>, by: &str, reason: Option<&str>) -> Result<Said, Not> {
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut state = self.state();
        let number = state.course.current().map_or(0, |current| current.change.number);
        is_meant(meant, state.course.current().map(|current| current.change.number))?;
        let act = state.course.abort(Outcome::Aborted, format!("{by} aborted it{why}"))?;
        drop(state);
        let told = match &act {
            Act::Withdraw(ended) => format!("version {} serves nobody any more", ended.number),
            Act::Restore(ended) => {
                format!("version {} goes back to the good version before it", ended.number)
            }
            Act::Tell(ended) => format!("version {} was not begun, and will not be", ended.number),
            _ => "it is over".to_owned(),
        };
        match act {
            Act::Restore(ended) => {
                // Known before it is done: a crash in between must not bring its text back.
                self.control.change_ended(&ended);
                self.send(Act::Restore(ended));
            }
            act => self.carry_out(act),
        }
        Ok(Said { version: number, told })
    }

    /// Keeps the version that waits for its confirmation. With a number, no other than that.
    ///
    /// # Errors
    /// When none does.
    pub fn confirm(&self, meant: Option<u64>, by: &str, reason: Option<&str>) -> Result<Said, Not> {
        let mut state = self.state();
        let number = state.course.unconfirmed().map_or(0, |it| it.number);
        is_meant(meant, state.course.unconfirmed().map(|it| it.number))?;
        let act = state.course.confirm()?;
        drop(state);
        self.control.keep_confirm(number, None);
        if let Some(Act::Good(ended)) = &act {
            // Together with that: a crash in between must not take back what was confirmed.
            self.control.became_good(ended.number);
        }
        let told = match &act {
            Some(_) => format!("version {number} is confirmed, and good"),
            None => format!("version {number} is confirmed; it is good after its last bake"),
        };
        self.said(number, "confirmed", by, reason, &told);
        act.into_iter().for_each(|act| self.send(act));
        Ok(Said { version: number, told })
    }

    /// The second person's word.
    ///
    /// # Errors
    /// When it is the author's, another version's, or nobody's to say.
    pub fn approve(&self, number: u64, by: &str, reason: Option<&str>) -> Result<Said, Not> {
        let meant = |it: &Current| it.change.number == number;
        let waits = self.state().course.current().filter(|it| meant(it)).map(|it| it.change.clone());
        if let Some(why) = waits.and_then(|change| self.frozen(&change)) {
            return Err(Not::Held(why));
        }
        let act = self.state().course.approve(number, by)?;
        let told = format!("{by} approved version {number}; it begins");
        self.said(number, "approved", by, reason, &told);
        self.send(act);
        Ok(Said { version: number, told })
    }

    /// Why a change may not begin now, though somebody lets it.
    fn frozen(&self, change: &Change) -> Option<String> {
        let freezes = self.control.incidents().freezes(change.risk, &self.control.thresholds());
        let held = super::held::unnamed(&freezes, &change.incidents);
        // Who is told of one sees the next when that has ended.
        held.first().map(|freeze| freeze.told(&freezes))
    }

    /// Somebody has seen that the stages were gone around. With a number, by no other version than that.
    ///
    /// # Errors
    /// When nobody did that, or it was seen.
    pub fn acknowledge(&self, meant: Option<u64>, by: &str, reason: Option<&str>) -> Result<Said, Not> {
        let mut state = self.state();
        is_meant(meant, state.glass.as_ref().map(|glass| glass.number))?;
        let glass = state.glass.take().ok_or(Not::NothingToAcknowledge)?;
        drop(state);
        self.control.keep_glass(None);
        let reason = reason.unwrap_or(&glass.reason);
        GlassBroken { version: glass.number, by, reason, acknowledged: true }.emit();
        let told =
            format!("version {} went around the stages by {}; you have seen it", glass.number, glass.by);
        Ok(Said { version: glass.number, told })
    }

    fn said(&self, number: u64, step: &str, by: &str, reason: Option<&str>, told: &str) {
        let (hash, share) = {
            let state = self.state();
            let current = state.course.current();
            (
                current.map(|it| it.change.hash.clone()).unwrap_or_default(),
                current.map_or(0.0, |it| it.share()),
            )
        };
        let told = reason.map_or_else(|| told.to_owned(), |reason| format!("{told} ({reason})"));
        RolloutStep { version: number, hash: &hash, step, percent: share * 100.0, by: Some(by), told: &told }
            .emit();
    }
}

/// Whoever names a version means that one: another one may have taken its place since they looked.
fn is_meant(meant: Option<u64>, there: Option<u64>) -> Result<(), Not> {
    match (meant, there) {
        (Some(meant), Some(there)) if meant != there => Err(Not::Another(there)),
        _ => Ok(()),
    }
}
