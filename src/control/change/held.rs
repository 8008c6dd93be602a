//! What holds a change: the freezes of incidents that it is not for, told with what passes them.

use crate::control::view::{FreezeView, by_name};
use std::fmt;

/// Freezes that one sentence tells of.
const MOST_TOLD: usize = 3;

/// What holds a change, and the incidents that it was for all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// One at least: those that it does not name.
    pub freezes: Vec<FreezeView>,
    /// What it names.
    pub named: Vec<u64>,
}

/// The freezes that a change for these incidents does not pass.
pub fn unnamed(freezes: &[FreezeView], incidents: &[u64]) -> Vec<FreezeView> {
    freezes.iter().filter(|freeze| !incidents.contains(&freeze.incident)).cloned().collect()
}

impl Held {
    /// The oldest of them.
    pub fn first(&self) -> Option<u64> {
        self.freezes.first().map(|freeze| freeze.incident)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, freeze) in self.freezes.iter().take(MOST_TOLD).enumerate() {
            let FreezeView { incident, title, by, at, reason, .. } = freeze;
            let (mark, held) = (if n > 0 { "; " } else { "" }, freeze.holds());
            write!(
                f,
                "{mark}{by} froze changes of {held} risk at {at} for incident {incident}, {title} ({reason})"
            )?;
        }
        let more = self.freezes.len().saturating_sub(MOST_TOLD);
        if more > 0 {
            write!(f, "; and {more} freezes more")?;
        }
        let of = self.freezes.iter().map(|freeze| freeze.incident);
        let flags = by_name(self.named.iter().copied().chain(of));
        let (them, end) = match self.freezes.as_slice() {
            [one] => ("it", format!("`tidegate incident show {}`", one.incident)),
            _ => ("each of them", "`tidegate incident list`".to_owned()),
        };
        write!(
            f,
            ". hint: if this change is for {them}, `tidegate apply FILE {flags}`; otherwise wait for the end ({end}); \
             rollback, abort, ramp, drain and low risk go on"
        )
    }
}
