//! The file, looked at: whether what it says is a change (`design.md`, "Change").
//!
//! It is one only if its content differs from what was last read, and is not what somebody decided against. Everything
//! here blocks on files: for the background thread.

use crate::config;
use crate::config::plan::Plan;
use crate::control::origin::Origin;
use crate::control::{Active, Cause, Control};

/// What a look at the file found.
#[derive(Debug)]
pub(super) enum FileLook {
    /// Nothing new.
    Unchanged,
    /// A text, which may be the active one again: what fills it may be new.
    Found(Box<Active>),
}

impl Control {
    /// Reads the file again. It is a change only if its content differs from what was last read (`design.md`,
    /// "Change"). A signal is a wish, so it is read anyway: what fills its placeholders, or a certificate, may be new.
    /// Blocks on files: for the background thread.
    ///
    /// # Errors
    /// Why it is no change that can be made: it cannot be read, is invalid, or must stay out.
    pub(super) fn look_at_file(&self, cause: Cause) -> Result<FileLook, String> {
        let text = config::read(&self.file).map_err(|error| {
            // The same text coming back is news then.
            self.forget_read();
            format!("{}: {error}", self.file.display())
        })?;
        let hash = blake3::hash(text.as_bytes());
        self.note_read(hash);
        {
            let mut state = self.state();
            state.last_seen = Some(hash);
            let known = state.last_read.replace(hash) == Some(hash);
            if state.active.overruled == Some(hash) {
                // Whatever was wrong with the file meanwhile, it says again what somebody decided against.
                state.refused = None;
                drop(state);
                return if cause == Cause::Watch { Ok(FileLook::Unchanged) } else { self.again() };
            }
            if known && cause == Cause::Watch {
                return Ok(FileLook::Unchanged);
            }
        }
        if let Some(why) = self.barred(hash) {
            return Err(why);
        }
        self.stand_over_nothing();
        let checked = self.check(&text);
        let errors = checked.errors();
        let plan = checked.plan.ok_or_else(|| errors.join("\n"))?;
        let origin = Origin::now(cause, None, None);
        Ok(FileLook::Found(Box::new(Active { plan, text: text.into(), origin, overruled: None })))
    }

    /// The file's text is a change at the next look, whatever it is.
    pub(super) fn forget_read(&self) {
        self.state().last_read = None;
    }

    /// Operators are told why the last change is not active; nothing where that is told elsewhere.
    pub(super) fn refused(&self, why: Option<String>) {
        self.state().refused = why;
    }

    /// So that a start knows which text of the file it has seen.
    fn note_read(&self, hash: blake3::Hash) {
        let hash = hash.to_hex().to_string();
        if self.books.read(|record| record.ledger.file_read.as_ref() != Some(&hash)) {
            self.books.change(|record| record.ledger.file_read = Some(hash));
        }
    }

    /// Why a text of the file stays out, if it does (`design.md`, "Change").
    fn barred(&self, hash: blake3::Hash) -> Option<String> {
        let runs = self.state().active.plan.hash == hash.to_hex().as_str();
        let barred = self.books.read(|record| record.ledger.bars(&hash.to_hex()).cloned());
        barred.filter(|_| !runs).map(|barred| barred.told())
    }

    /// The active text again, when the file is not what runs: what is outside of it may be new.
    fn again(&self) -> Result<FileLook, String> {
        let active = self.state().active.clone();
        let checked = self.check(&active.text);
        let errors = checked.errors();
        let plan = checked
            .plan
            .ok_or_else(|| format!("the active version cannot be read again: {}", errors.join("\n")))?;
        let plan = self.with_admin(plan);
        Ok(FileLook::Found(Box::new(Active { plan, ..active })))
    }

    /// `[admin]` is never rolled back (`design.md`, "Change"): the text that it comes from is looked at again.
    fn with_admin(&self, plan: Plan) -> Plan {
        let Some(text) = self.books.read(|record| record.admin.clone()) else { return plan };
        match self.check(&text).plan {
            Some(Plan { admin, .. }) => Plan { admin, ..plan },
            None => Plan { admin: self.state().active.plan.admin.clone(), ..plan },
        }
    }

    /// The file has another text than the one that the active version stands over: from here on, every text of
    /// it is a change, also after a restart.
    fn stand_over_nothing(&self) {
        let kept = {
            let mut state = self.state();
            if state.active.overruled.take().is_none() {
                return;
            }
            state.active.kept()
        };
        self.books.change(|record| {
            if let Some(active) = record.active.as_mut().filter(|active| active.kept.hash == kept.hash) {
                active.kept = kept;
            }
        });
    }

    /// The text of the file that a version with this text stands over.
    pub(super) fn overruled_by(&self, text: &str) -> Option<blake3::Hash> {
        let own = blake3::hash(text.as_bytes());
        self.state().last_seen.filter(|seen| *seen != own)
    }
}
