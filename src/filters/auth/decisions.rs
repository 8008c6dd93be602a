//! Decisions that are kept, for all cores: looked up by the key of a question, and asked for once however many
//! want the same one at the same time.
//!
//! Everything has a bound: entries, bytes, those who wait, and (through the requests that wait) questions on their way. What lets
//! pass and what refuses are kept apart, so that a flood of made-up credentials cannot push out those of people who
//! are at work. Locks are short, and split by key.

mod book;

use crate::filters::auth::decisions::book::Book;
use crate::filters::auth::settings::CacheSettings;
use crate::filters::auth::verdict::{Decision, Outcome, Passed, Refused};
use crate::permit::{Counter, Permit};
use hashbrown::HashMap;
use http::{HeaderName, HeaderValue};
use rustls::crypto::aws_lc_rs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What tells one question from another: a keyed hash.
pub type Key = [u8; 16];

/// Parts that are locked on their own; fewer where there are few entries.
const PARTS: usize = 32;
/// Entries of a part at least, before there are more parts.
const PART: usize = 64;
/// Refusals kept for each so many decisions that let pass, and at least.
const REFUSALS: usize = 16;
const FEW: usize = 1024;
/// Bytes for an entry on average, at most: decisions that tell more have fewer entries.
const ENTRY: usize = 512;

/// Decisions of one auth.
#[derive(Debug)]
pub struct Decisions {
    secret: [u8; 32],
    ttl: Duration,
    refused_ttl: Duration,
    stale: Duration,
    parts: Box<[Mutex<Part>]>,
    /// Requests that wait for what others ask.
    waiting: Arc<Counter>,
}

#[derive(Debug)]
struct Part {
    passed: Book<Arc<Passed>>,
    refused: Book<Arc<Refused>>,
    asked: HashMap<Key, Flight, foldhash::quality::RandomState>,
}

/// Somebody asks, and tells what comes of it.
pub type Flight = watch::Receiver<Option<Told>>;

/// What comes of a question, for whoever waits for it too.
#[derive(Clone, Debug)]
pub enum Told {
    /// This.
    Outcome(Outcome),
    /// The service says that its answer is not for others.
    NotForOthers,
}

/// Whether a decision may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Not at all.
    Not,
    /// As long as the auth keeps decisions.
    AsSet,
    /// The same, and at most so long.
    AtMost(Duration),
}

/// What there is for a key.
#[derive(Debug)]
pub enum Found {
    /// A fresh decision.
    Kept(Decision),
    /// Somebody asks just now.
    Asked(Flight),
    /// Nothing: whoever has this must ask.
    Nobody(Lead),
}

/// The duty to ask. Dropped unsettled (its client left), it passes to somebody who waits.
#[derive(Debug)]
pub struct Lead {
    decisions: Arc<Decisions>,
    key: Key,
    tell: watch::Sender<Option<Told>>,
}

/// What is kept, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Decisions that let pass, fresh or not.
    pub passed: usize,
    /// Decisions that refuse.
    pub refused: usize,
    /// Bytes of both, by and large.
    pub bytes: usize,
}

impl Decisions {
    /// None yet.
    ///
    /// # Errors
    /// When the system has no random numbers to key hashes with.
    pub fn new(settings: &CacheSettings) -> Result<Arc<Self>, String> {
        let mut secret = [0; 32];
        let random = aws_lc_rs::default_provider().secure_random.fill(&mut secret);
        random.map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Decisions::keyed(settings, secret))
    }

    fn keyed(settings: &CacheSettings, secret: [u8; 32]) -> Arc<Self> {
        let entries = settings.max_entries as usize;
        let parts = (entries / PART).clamp(1, PARTS);
        let refusals = (entries / REFUSALS).max(FEW).min(entries);
        let part = |_| {
            Mutex::new(Part {
                passed: Book::new(entries / parts, entries / parts * ENTRY),
                refused: Book::new(refusals.div_ceil(parts), refusals.div_ceil(parts) * ENTRY),
                asked: HashMap::default(),
            })
        };
        Arc::new(Decisions {
            secret,
            ttl: settings.ttl,
            refused_ttl: settings.refused_ttl,
            stale: settings.stale,
            parts: (0..parts).map(part).collect(),
            waiting: Arc::default(),
        })
    }

    /// What keys are made with.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// A fresh decision.
    pub fn fresh(&self, key: &Key, now: Instant) -> Option<Decision> {
        self.part(key).fresh(key, now)
    }

    /// A fresh decision, or who asks for one, or the duty to ask.
    pub fn find(self: &Arc<Self>, key: Key, now: Instant) -> Found {
        let mut part = self.part(&key);
        if let Some(decision) = part.fresh(&key, now) {
            return Found::Kept(decision);
        }
        if let Some(flight) = part.asked.get(&key) {
            return Found::Asked(flight.clone());
        }
        let (tell, flight) = watch::channel(None);
        part.asked.insert(key, flight);
        Found::Nobody(Lead { decisions: self.clone(), key, tell })
    }

    /// The right to wait for what somebody else asks, if fewer than `most` do.
    pub fn wait(&self, most: u32) -> Option<Permit<Arc<Counter>>> {
        Permit::try_new(self.waiting.clone(), most)
    }

    /// The last decision that let pass, also when it is no longer fresh, as long as it may stand in.
    pub fn stale(&self, key: &Key, now: Instant) -> Option<Arc<Passed>> {
        self.part(key).passed.any(key, now)
    }

    /// No decision about this stands in any more.
    pub fn forget(&self, key: &Key) {
        self.part(key).passed.remove(key);
    }

    /// How much is kept. Locks each part for a moment.
    pub fn kept(&self) -> Kept {
        self.parts.iter().map(lock).fold(Kept::default(), |sum, part| Kept {
            passed: sum.passed + part.passed.len(),
            refused: sum.refused + part.refused.len(),
            bytes: sum.bytes + part.passed.bytes() + part.refused.bytes(),
        })
    }

    fn part(&self, key: &Key) -> MutexGuard<'_, Part> {
        let [first, second, ..] = *key;
        lock(&self.parts[usize::from(u16::from_le_bytes([first, second])) % self.parts.len()])
    }
}

/// Nothing panics while it holds a part, and a part is whole after every step.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn fresh(&mut self, key: &Key, now: Instant) -> Option<Decision> {
        let passed = self.passed.fresh(key, now).map(Decision::Passed);
        passed.or_else(|| self.refused.fresh(key, now).map(Decision::Refused))
    }
}

impl Lead {
    /// Tells everybody who waits, and keeps what may be kept. What was decided before is forgotten: what no longer
    /// passes must not stand in for anything.
    pub fn settle(self, outcome: &Outcome, keep: Keep, now: Instant) {
        let fresh = |ttl: Duration| match keep {
            Keep::Not => None,
            Keep::AsSet => Some(ttl),
            Keep::AtMost(most) => Some(ttl.min(most)).filter(|ttl| !ttl.is_zero()),
        };
        let all = &self.decisions;
        let mut part = all.part(&self.key);
        let mut shared = true;
        match outcome {
            Ok(Decision::Passed(passed)) => match fresh(all.ttl) {
                Some(ttl) => {
                    part.refused.remove(&self.key);
                    let (fresh, until) = (now + ttl, now + ttl + all.stale);
                    part.passed.put(self.key, passed.clone(), weight(&passed.headers), fresh, until, now);
                }
                None => shared = false,
            },
            Ok(Decision::Refused(refused)) => {
                part.passed.remove(&self.key);
                match fresh(all.refused_ttl) {
                    Some(ttl) => {
                        let until = now + ttl;
                        part.refused.put(
                            self.key,
                            refused.clone(),
                            weight(&refused.headers),
                            until,
                            until,
                            now,
                        );
                    }
                    None => shared = false,
                }
            }
            Err(_) => {}
        }
        if !shared {
            part.passed.remove(&self.key);
            part.refused.remove(&self.key);
        }
        // Whoever looks from now on finds the decision.
        part.asked.remove(&self.key);
        drop(part);
        let told = if shared { Told::Outcome(outcome.clone()) } else { Told::NotForOthers };
        self.tell.send_replace(Some(told));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Settled, it is gone, and another question may be on its way already.
        if self.tell.borrow().is_none() {
            self.decisions.part(&self.key).asked.remove(&self.key);
        }
    }
}

/// What came of a question that somebody else asks; nothing when nobody asks it any more.
pub async fn told(mut flight: Flight) -> Option<Told> {
    flight.wait_for(Option::is_some).await.ok().and_then(|told| told.clone())
}

/// Bytes of a decision, by and large.
fn weight(headers: &[(HeaderName, HeaderValue)]) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests;
