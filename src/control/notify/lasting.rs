//! What lasts: which topics began and are not over, with their members. A pure core over (record, now).
//!
//! It keeps apart what is news from what everybody was told already, knows when a topic is over as a whole, and lets
//! what nobody ends fade when nothing more is heard of it. Bounded: what begins beyond that is told and not kept.

use super::family::Family;
use super::meaning::{EVERY, Meaning, Phase, Topic};
use crate::telemetry::events::stream::Record;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics that are kept at most.
pub const MAX_TOPICS: usize = 512;
/// Members of all topics that are kept at most: every backend of the largest fleet that is foreseen.
pub const MAX_MEMBERS: usize = 8192;
/// Characters of a member's name.
const MAX_NAME: usize = 120;
/// A member that ended while its topic went on, and begins again within so long, is no news: nobody heard of its end.
const FLAPS: Duration = Duration::from_secs(600);
/// Members of one topic of which that is known; of more, a beginning is news again.
const MAX_ENDED: usize = 64;

/// What lasts.
#[derive(Debug, Default)]
pub struct Lasting {
    topics: BTreeMap<Topic, State>,
    members: usize,
    /// What began in an earlier process and ended in this one, of what must be heard.
    ended: BTreeSet<Topic>,
}

#[derive(Debug)]
struct State {
    since: Timestamp,
    heard: Instant,
    members: BTreeMap<String, Member>,
    /// Those that ended while others went on, and when.
    ended: BTreeMap<String, Instant>,
    /// The newest that still holds.
    last: Arc<Record>,
}

#[derive(Debug)]
struct Member {
    /// What it lasts by.
    by: BTreeSet<&'static str>,
    /// The newest of it.
    last: Arc<Record>,
}

/// What people are to be told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What it is about.
    pub topic: Topic,
    /// Which of them.
    pub member: String,
    /// How it stands now.
    pub stands: Stands,
    /// Since when; of what is over, since when it was not.
    pub since: Timestamp,
    /// How many members last now.
    pub lasting: usize,
    /// What happened.
    pub record: Arc<Record>,
    /// It is a repetition of what was told.
    pub told: bool,
}

/// How a topic stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It lasts.
    Firing,
    /// It is over.
    Resolved,
    /// It happened.
    Happened,
}

impl Stands {
    /// By its word.
    pub fn named(word: &str) -> Option<Stands> {
        [Stands::Firing, Stands::Resolved, Stands::Happened].into_iter().find(|it| it.as_str() == word)
    }

    /// The word in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stands::Firing => "firing",
            Stands::Resolved => "resolved",
            Stands::Happened => "happened",
        }
    }
}

impl Lasting {
    /// Takes in one part of what a record means; nothing if there is nothing to tell, not even that it was told.
    pub fn take(&mut self, meaning: Meaning, record: &Arc<Record>, now: Instant) -> Option<Notice> {
        let Meaning { topic, member, by, phase } = meaning;
        let member: String = member.chars().take(MAX_NAME).collect();
        match phase {
            Phase::Begins => Some(self.begin(topic, (member, by), record, now)),
            Phase::Goes => Some(self.go(topic, member, record, now)),
            Phase::Ends => self.end(topic, (member, by), record, now),
            Phase::Clears => {
                self.forget(&topic);
                None
            }
            Phase::Once => Some(once(topic, member, record)),
        }
    }

    fn begin(
        &mut self,
        topic: Topic,
        (member, by): (String, &'static str),
        record: &Arc<Record>,
        now: Instant,
    ) -> Notice {
        let known = self.topics.get(&topic).is_some_and(|state| state.members.contains_key(&member));
        let room = self.members < MAX_MEMBERS
            && (self.topics.len() < MAX_TOPICS || self.topics.contains_key(&topic));
        if !known && !room {
            return once(topic, member, record);
        }
        let fresh = || State {
            since: record.at,
            heard: now,
            members: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: record.clone(),
        };
        let state = self.topics.entry(topic.clone()).or_insert_with(fresh);
        state.hear(&member, record, now);
        let flaps = state.ended.remove(&member).is_some_and(|at| now.saturating_duration_since(at) < FLAPS);
        let of_member = || Member { by: BTreeSet::new(), last: record.clone() };
        state.members.entry(member.clone()).or_insert_with(of_member).by.insert(by);
        self.members += usize::from(!known);
        let (since, lasting) = (state.since, state.members.len());
        let told = known || flaps;
        Notice { topic, member, stands: Stands::Firing, since, lasting, record: record.clone(), told }
    }

    fn go(&mut self, topic: Topic, member: String, record: &Arc<Record>, now: Instant) -> Notice {
        let Some(state) = self.topics.get_mut(&topic) else { return once(topic, member, record) };
        state.hear(&member, record, now);
        let (since, lasting) = (state.since, state.members.len());
        Notice { topic, member, stands: Stands::Firing, since, lasting, record: record.clone(), told: false }
    }

    /// Of a topic that goes on, the end of a member is no news: what is told of it is the newest that still holds.
    fn end(
        &mut self,
        topic: Topic,
        (member, by): (String, &'static str),
        record: &Arc<Record>,
        now: Instant,
    ) -> Option<Notice> {
        let Some(state) = self.topics.get_mut(&topic) else {
            return self.end_unheard(topic, member, record);
        };
        let before = state.members.len();
        state.take_out(&member, by, now);
        self.members -= before - state.members.len();
        if before == state.members.len() {
            return None;
        }
        let (since, lasting) = (state.since, state.members.len());
        if lasting > 0 {
            let (stands, record) = (Stands::Firing, state.last.clone());
            return Some(Notice { topic, member, stands, since, lasting, record, told: true });
        }
        self.topics.remove(&topic);
        let (stands, record) = (Stands::Resolved, record.clone());
        Some(Notice { topic, member, stands, since, lasting, record, told: false })
    }

    /// Nobody heard here that it began.
    fn end_unheard(&mut self, topic: Topic, member: String, record: &Arc<Record>) -> Option<Notice> {
        if !topic.family.outlives {
            return None;
        }
        if topic.family.keeps && self.ended.len() < MAX_TOPICS {
            self.ended.insert(topic.clone());
        }
        Some(Notice { stands: Stands::Resolved, ..once(topic, member, record) })
    }

    /// Whether it ended here without having begun here: what an earlier process says of its beginning is old.
    pub fn was_ended(&self, topic: &Topic) -> bool {
        self.ended.contains(topic)
    }

    fn forget(&mut self, topic: &Topic) {
        if let Some(state) = self.topics.remove(topic) {
            self.members -= state.members.len();
        }
    }

    /// What faded by `now`: told as over.
    pub fn fade(&mut self, now: Instant, at: Timestamp) -> Vec<Notice> {
        let faded = |(topic, state): (&Topic, &State)| {
            let fades = topic.family.fades?;
            let is_gone = now.saturating_duration_since(state.heard) >= fades;
            is_gone.then(|| (topic.clone(), format!("nothing of it for {} s", fades.as_secs())))
        };
        let gone: Vec<(Topic, String)> = self.topics.iter().filter_map(faded).collect();
        gone.into_iter().filter_map(|(topic, why)| self.over(&topic, at, &why)).collect()
    }

    /// What is about something that is not there any more is over: `is_there` is asked for each subject and member.
    pub fn keep(&mut self, at: Timestamp, mut is_there: impl FnMut(&Topic, &str) -> bool) -> Vec<Notice> {
        let mut over = Vec::new();
        for (topic, state) in &mut self.topics {
            let before = state.members.len();
            state.members.retain(|member, _| is_there(topic, member));
            state.settle();
            self.members -= before - state.members.len();
            if state.members.is_empty() {
                over.push(topic.clone());
            }
        }
        let why = "it is not in the configuration any more";
        over.into_iter().filter_map(|topic| self.over(&topic, at, why)).collect()
    }

    /// Ends a topic as a whole.
    fn over(&mut self, topic: &Topic, at: Timestamp, why: &str) -> Option<Notice> {
        let state = self.topics.remove(topic)?;
        self.members -= state.members.len();
        let sentence = topic.family.over.replace("{}", &topic.subject);
        let last = &state.last;
        let record = Record { at, message: format!("{sentence}: {why}"), ..Record::clone(last) };
        Some(Notice {
            topic: topic.clone(),
            member: String::new(),
            stands: Stands::Resolved,
            since: state.since,
            lasting: 0,
            record: Arc::new(record),
            told: false,
        })
    }

    /// Everything of some families that lasts, as it was last told; for whoever has to hear it again and again.
    pub fn firing(&self, wanted: impl Fn(&Family) -> bool) -> Vec<Notice> {
        let firing = self.topics.iter().filter(|(topic, _)| wanted(topic.family));
        let notice = |(topic, state): (&Topic, &State)| Notice {
            topic: topic.clone(),
            member: state.members.keys().next().cloned().unwrap_or_default(),
            stands: Stands::Firing,
            since: state.since,
            lasting: state.members.len(),
            record: state.last.clone(),
            told: true,
        };
        firing.map(notice).collect()
    }

    /// How many topics last.
    pub fn len(&self) -> usize {
        self.topics.len()
    }
}

impl State {
    /// Something is said of a member.
    fn hear(&mut self, member: &str, record: &Arc<Record>, now: Instant) {
        (self.heard, self.last) = (now, record.clone());
        if let Some(member) = self.members.get_mut(member) {
            member.last = record.clone();
        }
    }

    /// A member lasts no more by this.
    fn take_out(&mut self, member: &str, by: &'static str, now: Instant) {
        if member == EVERY {
            self.members.clear();
            return;
        }
        let Some(lasts) = self.members.get_mut(member) else { return };
        if !lasts.by.remove(by) || !lasts.by.is_empty() {
            return;
        }
        self.members.remove(member);
        if self.ended.len() >= MAX_ENDED {
            self.ended.retain(|_, at| now.saturating_duration_since(*at) < FLAPS);
        }
        if self.ended.len() < MAX_ENDED {
            self.ended.insert(member.to_owned(), now);
        }
        self.settle();
    }

    /// What was last heard of a member that lasts no more gives way to the newest of those that do.
    fn settle(&mut self) {
        let lasts = || self.members.values().map(|member| &member.last);
        if !lasts().any(|last| Arc::ptr_eq(last, &self.last)) {
            self.last = lasts().max_by_key(|last| last.at).unwrap_or(&self.last).clone();
        }
    }
}

fn once(topic: Topic, member: String, record: &Arc<Record>) -> Notice {
    Notice {
        topic,
        member,
        stands: Stands::Happened,
        since: record.at,
        lasting: 0,
        record: record.clone(),
        told: false,
    }
}

#[cfg(test)]
mod tests;
