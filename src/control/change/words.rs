//! What people say to the change under way. Each word is decided at once; what it takes is done on the thread of
//! rollouts, but taking a candidate away, which moves a pointer and is done here.

use super::Conductor;
use super::course::{Act, Not, Outcome};
use super::deeds::percent;
use crate::telemetry::events::{GlassBroken, RolloutStep};
use std::time::Instant;

impl Conductor {
    /// Skips waiting for traffic, never a failing guard. Says what came of it.
    ///
    /// # Errors
    /// Why it cannot go on now.
    pub fn promote(&self, by: &str, reason: Option<&str>) -> Result<String, Not> {
        let mut state = self.state();
        let number = state.course.current().map_or(0, |current| current.change.number);
        let act = state.course.promote(Instant::now())?;
        drop(state);
        let told = match &act {
            Some(Act::Widen(_, share)) => {
                format!("version {number} goes on to {} of the clients", percent(*share))
            }
            Some(Act::Activate(_)) => format!("version {number} goes on to everyone"),
            Some(_) => format!("version {number} goes on"),
            None => format!("version {number} waits on"),
        };
        self.said(number, "promoted", by, reason, &told);
        act.into_iter().for_each(|act| self.send(act));
        Ok(told)
    }

    /// Ends the change under way; the stable version stays, or comes back.
    ///
    /// # Errors
    /// When nothing is under way.
    pub fn abort(&self, by: &str, reason: Option<&str>) -> Result<String, Not> {
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let act = self.state().course.abort(Outcome::Aborted, format!("{by} aborted it{why}"))?;
        let told = match &act {
            Act::Withdraw(ended) => format!("version {} serves nobody any more", ended.number),
            Act::Restore(ended) => {
                format!("version {} goes back to the good version before it", ended.number)
            }
            Act::Tell(ended) => format!("version {} was not begun, and will not be", ended.number),
            _ => "it is over".to_owned(),
        };
        match act {
            // It waits a moment for the disk.
            act @ Act::Restore(_) => self.send(act),
            act => self.carry_out(act),
        }
        Ok(told)
    }

    /// Keeps the version that waits for its confirmation.
    ///
    /// # Errors
    /// When none does.
    pub fn confirm(&self, by: &str, reason: Option<&str>) -> Result<String, Not> {
        let mut state = self.state();
        let number = state.course.unconfirmed().map_or(0, |it| it.number);
        let act = state.course.confirm()?;
        drop(state);
        self.control.keep_confirm(number, None);
        let told = match &act {
            Some(_) => format!("version {number} is confirmed, and good"),
            None => format!("version {number} is confirmed; it is good after its last bake"),
        };
        self.said(number, "confirmed", by, reason, &told);
        act.into_iter().for_each(|act| self.send(act));
        Ok(told)
    }

    /// The second person's word.
    ///
    /// # Errors
    /// When it is the author's, another version's, or nobody's to say.
    pub fn approve(&self, number: u64, by: &str, reason: Option<&str>) -> Result<String, Not> {
        let act = self.state().course.approve(number, by)?;
        let told = format!("{by} approved version {number}; it begins");
        self.said(number, "approved", by, reason, &told);
        self.send(act);
        Ok(told)
    }

    /// Somebody has seen that the stages were gone around.
    ///
    /// # Errors
    /// When nobody did that, or it was seen.
    pub fn acknowledge(&self, by: &str, reason: Option<&str>) -> Result<String, Not> {
        let Some(glass) = self.state().glass.take() else { return Err(Not::Nothing) };
        self.control.keep_glass(None);
        let reason = reason.unwrap_or(&glass.reason);
        GlassBroken { version: glass.number, by, reason, acknowledged: true }.emit();
        Ok(format!("version {} went around the stages by {}; you have seen it", glass.number, glass.by))
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
