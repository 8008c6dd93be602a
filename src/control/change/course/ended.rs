//! How changes end, and why a word of somebody's comes to nothing.

use std::fmt;

/// How a change ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// How.
    pub outcome: Outcome,
    /// Why, with the numbers.
    pub why: String,
    /// The incidents that it was for.
    pub incidents: Vec<u64>,
}

/// The ends of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is good.
    Good,
    /// It serves everyone and waits for its confirmation alone.
    Unconfirmed,
    /// The guard took it back.
    Reverted,
    /// Nobody confirmed it in time.
    Lapsed,
    /// Somebody ended it.
    Aborted,
    /// A rollback ended it.
    RolledBack,
    /// Another version took its place.
    Superseded,
    /// It was not begun: a probe, or what it needs is not there.
    Refused,
}

impl Outcome {
    /// The word in history and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Unconfirmed => "active",
            Outcome::Reverted | Outcome::Lapsed => "reverted",
            Outcome::Aborted => "aborted",
            Outcome::RolledBack => "rolled_back",
            Outcome::Superseded => "superseded",
            Outcome::Refused => "refused",
        }
    }

    /// Its text is not wanted again from a file.
    pub const fn bars(self) -> bool {
        matches!(self, Outcome::Reverted | Outcome::Lapsed | Outcome::Aborted | Outcome::RolledBack)
    }
}

/// Why something cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// No change is under way.
    Nothing,
    /// Another one is meant: the number of the one under way.
    Another(u64),
    /// It waits for nobody's approval.
    NoApproval,
    /// Its author cannot be the second person.
    Author,
    /// Nothing waits for a confirmation.
    NothingToConfirm,
    /// Nobody broke the glass, or somebody has said already that they have seen it.
    NothingToAcknowledge,
    /// It cannot be promoted now: why.
    Held(String),
}

impl Not {
    /// The word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Not::Nothing => "no_rollout",
            Not::Another(_) => "another_version",
            Not::NoApproval => "no_approval_needed",
            Not::Author => "own_change",
            Not::NothingToConfirm => "nothing_to_confirm",
            Not::NothingToAcknowledge => "nothing_to_acknowledge",
            Not::Held(_) => "held",
        }
    }
}

impl fmt::Display for Not {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Not::Nothing => f.write_str("No change is under way. hint: `tidegate status`"),
            Not::Another(number) => write!(f, "Version {number} is under way, not that one."),
            Not::NoApproval => f.write_str("The change waits for nobody's approval."),
            Not::Author => f.write_str(
                "A second person is needed: its author cannot approve a change, and who comes without a token may be \
                 its author. hint: a token of their own",
            ),
            Not::NothingToConfirm => f.write_str("No version waits for a confirmation."),
            Not::NothingToAcknowledge => {
                f.write_str("There is nothing to acknowledge: no change went around the stages, or it was seen.")
            }
            Not::Held(why) => write!(f, "It cannot go on now: {why}."),
        }
    }
}
