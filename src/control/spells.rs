//! Spells of sheds: when one begins, what it comes to while it lasts, when it is over. An overload is a few events and
//! not one a second, so that it pushes out none of the others.
//!
//! [`Spells`] is a pure core, told the counters and the time; [`Spells::watch`] reads both from the running gateway.
//! What is shed is counted by the cores whether anybody looks or not, so a look that comes late loses nothing.

use crate::control::Control;
use crate::reject::Reason;
use crate::request::Class;
use crate::routing::table::Upstream;
use crate::telemetry::events::{Shedding, Spell};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Without a shed for so long a spell is over: what comes in bursts is one trouble and pages once.
pub const QUIET: Duration = Duration::from_secs(20);
/// What lasts is told again after so long.
pub const SUM: Duration = Duration::from_secs(30);
/// Told of in one look; the rest is told in the next, so that no storm is longer than what may be on its way.
const MAX_TOLD: usize = 64;
/// Beyond so many, upstreams that are gone are forgotten.
const MAX_KNOWN: usize = 8192;

/// An upstream, and why it sheds.
type Key = (Arc<str>, Reason);

/// Everything that is shed, and was.
#[derive(Debug, Default)]
pub struct Spells {
    known: BTreeMap<Key, State>,
}

#[derive(Debug)]
enum State {
    Lasts(Course),
    /// It is over, and the counter stood at this.
    Over(u64),
}

/// A spell that is not over.
#[derive(Debug)]
struct Course {
    began: Instant,
    since: Timestamp,
    /// The counter before the first, as it was last told, and now.
    counters: [u64; 3],
    /// When there was more than before.
    last: Instant,
    /// When it was last told; not yet, if never.
    told: Option<Instant>,
}

/// One piece of news.
#[derive(Clone, Debug)]
struct Told {
    what: Spell,
    key: Key,
    count: u64,
    total: u64,
    since: Timestamp,
    seconds: u64,
    told_seconds: u64,
}

impl Spells {
    /// Looks once and tells what is to be told. Cheap while nothing is shed.
    pub fn watch(&mut self, now: Instant, control: &Control) {
        let tables = control.live.tables();
        let heard = tables.upstreams().flat_map(|upstream| {
            let reasons = upstream.shared.notices.heard();
            reasons.map(|reason| ((upstream.name.clone(), reason), counter(upstream, reason)))
        });
        let heard: BTreeMap<Key, u64> = heard.collect();
        let told = self.look(now, Timestamp::now(), &heard);
        for over in told.iter().filter(|told| told.what == Spell::Ended) {
            let (name, reason) = &over.key;
            let upstream = tables.upstreams().find(|upstream| upstream.name == *name);
            upstream.into_iter().for_each(|upstream| upstream.shared.notices.is_over(*reason));
        }
        told.iter().for_each(Told::emit);
        if self.known.len() > MAX_KNOWN {
            let there: BTreeSet<&Arc<str>> = tables.upstreams().map(|upstream| &upstream.name).collect();
            self.known.retain(|(name, _), _| there.contains(name));
        }
    }

    /// One look: the counters of everything that was heard of and is not over. What is missing there is gone.
    fn look(&mut self, now: Instant, at: Timestamp, heard: &BTreeMap<Key, u64>) -> Vec<Told> {
        for (key, counter) in heard {
            match self.known.get_mut(key) {
                Some(State::Lasts(course)) => course.look(now, *counter),
                // A counter that is smaller than before belongs to a name that came back.
                Some(State::Over(before)) if *counter == *before => {}
                Some(state) => {
                    let State::Over(before) = state else { continue };
                    let before = if *counter > *before { *before } else { 0 };
                    *state = State::Lasts(Course::begins(now, at, [before, before, *counter]));
                }
                None if *counter == 0 => {}
                None => {
                    let course = Course::begins(now, at, [0, 0, *counter]);
                    self.known.insert(key.clone(), State::Lasts(course));
                }
            }
        }
        let due = |(key, state): (&Key, &State)| match state {
            State::Lasts(course) => course.due(now, heard.contains_key(key)).map(|what| (what, key.clone())),
            State::Over(_) => None,
        };
        let mut due: Vec<(Spell, Key)> = self.known.iter().filter_map(due).collect();
        // What begins first, and of what lasts nobody twice before everybody was told once.
        due.sort_by_key(|(what, key)| (*what, self.known.get(key).and_then(State::told)));
        due.truncate(MAX_TOLD);
        due.into_iter().filter_map(|(what, key)| self.tell(now, what, key)).collect()
    }

    fn tell(&mut self, now: Instant, what: Spell, key: Key) -> Option<Told> {
        let Some(State::Lasts(course)) = self.known.get_mut(&key) else { return None };
        let [before, told, counter] = course.counters;
        let seconds = |from: Instant, to: Instant| {
            to.saturating_duration_since(from).as_secs_f64().round().max(0.0) as u64
        };
        let news = Told {
            what,
            key: key.clone(),
            count: counter.saturating_sub(told),
            total: counter.saturating_sub(before),
            since: course.since,
            seconds: seconds(course.began, course.last),
            told_seconds: seconds(course.told.unwrap_or(course.began), now),
        };
        (course.counters[1], course.told) = (counter, Some(now));
        if what == Spell::Ended {
            self.known.insert(key, State::Over(counter));
        }
        Some(news)
    }
}

impl State {
    /// When it was last told.
    fn told(&self) -> Option<Instant> {
        match self {
            State::Lasts(course) => course.told,
            State::Over(_) => None,
        }
    }
}

impl Course {
    fn begins(now: Instant, since: Timestamp, counters: [u64; 3]) -> Self {
        Course { began: now, since, counters, last: now, told: None }
    }

    fn look(&mut self, now: Instant, counter: u64) {
        if counter != self.counters[2] {
            (self.counters[2], self.last) = (counter, now);
        }
    }

    /// What is to be told of it now.
    fn due(&self, now: Instant, is_there: bool) -> Option<Spell> {
        let Some(told) = self.told else { return Some(Spell::Began) };
        if !is_there || now.saturating_duration_since(self.last) >= QUIET {
            return Some(Spell::Ended);
        }
        let has_more = self.counters[2] > self.counters[1];
        (has_more && now.saturating_duration_since(told) >= SUM).then_some(Spell::Lasts)
    }
}

impl Told {
    fn emit(&self) {
        let Told { what, key: (upstream, reason), count, total, since, seconds, told_seconds } = self;
        let (what, reason, count, total, since) = (*what, *reason, *count, *total, *since);
        let (seconds, told_seconds) = (*seconds, *told_seconds);
        Shedding { what, upstream, reason, count, total, since, seconds, told_seconds }.emit();
    }
}

/// How many were ever shed so.
fn counter(upstream: &Upstream, reason: Reason) -> u64 {
    match reason {
        Reason::ClientAborts => upstream.shared.notices.held(),
        reason => Class::ALL.into_iter().map(|class| upstream.metrics.sheds(class, reason)).sum(),
    }
}

#[cfg(test)]
mod tests;
