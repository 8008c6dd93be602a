//! A candidate beside the stable version: who is served by it, what it may hold, and what became of its requests
//! (`design.md`, "Cohorts", "Guard").
//!
//! A trial is never edited: another stage is another trial with the same counts. Both tables in it say what may be held
//! *now*, while both serve, so whoever reads one need not know of the other. It decides nothing: how large the share is,
//! and when it ends, comes from outside.

pub mod caps;
pub mod choice;
pub mod tallies;

use crate::request::cohort::{Fact, Key, Purpose, Share};
use crate::routing::table::{Table, Upstream};
use crate::telemetry::cells::CoreId;
use caps::Parts;
use choice::Choice;
use std::collections::HashSet;
use std::sync::Arc;
use tallies::Tallies;

/// Which of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one that was active before.
    Stable,
    /// The one that is tried.
    Candidate,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::Stable, Side::Candidate];
}

/// A candidate that serves a share of the clients.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The candidate, with what it may hold now.
    pub table: Arc<Table>,
    /// The part of the clients that it serves.
    pub share: Share,
    /// What tells clients apart.
    pub fact: Fact,
    /// What the choice is made for: the same number chooses the same clients at every gateway.
    pub occasion: u64,
    /// What became of both sides' requests.
    pub tallies: Arc<Tallies>,
    /// How requests are given to the sides, and how many were.
    pub choice: Arc<Choice>,
    /// What the candidate holds of what both have.
    pub parts: Arc<Parts>,
}

impl Trial {
    /// The side of a request of this client; counts it.
    pub fn side(&self, key: Key, core: CoreId) -> Side {
        let is_in = match self.choice.is_per_request() {
            true => fastrand::u32(..) < self.share.bits() || self.share == Share::ALL,
            false => self.share.holds(key.position(Purpose::Rollout, self.occasion)),
        };
        let side = if is_in { Side::Candidate } else { Side::Stable };
        self.choice.chose(side, core);
        side
    }
}

/// What serves.
#[derive(Clone, Debug)]
pub struct Tables {
    /// What serves everyone whom no candidate serves.
    pub stable: Arc<Table>,
    /// The candidate, if there is one.
    pub trial: Option<Trial>,
    /// Set while the stable version, which was tried until it became everyone's, is still watched: its requests go on
    /// counting where the candidate's did.
    pub watched: Option<Arc<Tallies>>,
}

impl Tables {
    /// One version for everyone.
    pub fn only(stable: Arc<Table>) -> Self {
        Tables { stable, trial: None, watched: None }
    }

    /// Where its requests count, of the stable table and of the candidate.
    pub fn scored(&self, side: Side) -> Option<(&Arc<Tallies>, Side)> {
        match &self.trial {
            Some(trial) => Some((&trial.tallies, side)),
            None => self.watched.as_ref().map(|tallies| (tallies, Side::Candidate)),
        }
    }

    /// The candidate's table.
    pub fn candidate(&self) -> Option<&Arc<Table>> {
        self.trial.as_ref().map(|trial| &trial.table)
    }

    /// Both tables, the stable one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Table>> {
        [&self.stable].into_iter().chain(self.candidate())
    }

    /// Every upstream once by its name: those of the stable version, and those that only the candidate has.
    pub fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        let stable = self.stable.upstreams.iter();
        let names = self.candidate().map(|_| stable.clone().map(|upstream| &upstream.name));
        let known: HashSet<&Arc<str>> = names.into_iter().flatten().collect();
        let new = self.candidate().into_iter().flat_map(|table| &table.upstreams);
        stable.chain(new.filter(move |upstream| !known.contains(&upstream.name)))
    }
}
