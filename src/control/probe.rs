//! The probe: what a candidate names is resolved and dialled before anybody is served by it, three seconds in all.
//!
//! Names are asked for, connections made and closed at once; nothing is sent but a TLS handshake where the file has
//! TLS. No request is made, also none to an auth service or for keys: it would act there, count as traffic, and its
//! answer says little without a client's credentials. Listeners are not probed: they are bound at the last stage.
//! What the candidate changed or added can gate it, as the policy says. What it left as it is is a warning at most:
//! a fleet that is down must not refuse the change that repairs another. It works on a thread of its own and holds
//! up neither requests nor operators nor another change; what was not reached in time is said, and gates nothing.

mod dial;
mod judge;
mod prober;
mod survey;

pub use prober::{DEADLINE, Jobs, Prober, Progress, Wanted};
pub use survey::Scope;

use crate::config::policy::Weight;
use serde::{Deserialize, Serialize};

/// Something to know about what a candidate names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is concerned, in the operator's words: `auth session`, `keys of auth login`, `upstream orders`, `upstream
    /// orders backend b`; `probe` for the probe itself.
    pub target: String,
    /// The address, or the first few, as they were filled: see [`Finding::unfilled`]. Empty for the probe itself.
    pub address: String,
    /// What it does to the change.
    pub severity: Weight,
    /// What was seen, in a sentence without its subject.
    pub what: String,
}

impl Finding {
    /// It without what filled the placeholders of the text; `unfill` puts placeholders in their places, as
    /// [`Fillings::hide_words`](crate::config::Fillings::hide_words) does. For everything that is kept or sent: a
    /// version is its text before filling.
    pub fn unfilled(self, unfill: impl Fn(&str) -> String) -> Finding {
        Finding { address: unfill(&self.address), what: unfill(&self.what), ..self }
    }

    /// It refuses the change.
    pub fn gates(&self) -> bool {
        self.severity == Weight::Gate
    }

    /// About the probe itself, which proves nothing of the candidate.
    fn of_probe(what: impl Into<String>) -> Finding {
        let (target, address) = ("probe".to_owned(), String::new());
        Finding { target, address, severity: Weight::Warning, what: what.into() }
    }
}

/// One refuses the change.
pub fn gates(findings: &[Finding]) -> bool {
    findings.iter().any(Finding::gates)
}

/// Nothing looks wrong, and everything was looked at.
pub fn is_clean(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity == Weight::Information)
}

#[cfg(test)]
mod tests;
