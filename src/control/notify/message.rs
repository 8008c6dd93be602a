//! What one sink is told at once: items, each a topic with everything that happened to it since the last message.
//! However many events an item stands for, it stays small: the newest few are in it, the others are counted.

use super::lasting::{Notice, Stands};
use super::meaning::Topic;
use crate::telemetry::events::stream::Record;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// Events of an item that are told in full: the first, and the newest.
const MAX_SAMPLES: usize = 4;
/// Members of an item that are named.
const MAX_NAMED: usize = 10;

/// Everything that is to be told of one topic.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is about.
    pub topic: Topic,
    /// How it stands now.
    pub stands: Stands,
    /// Since when.
    pub since: Timestamp,
    /// Events that it stands for.
    pub count: u64,
    /// Members that last now.
    pub lasting: usize,
    /// The first of those that something happened to.
    pub members: Vec<String>,
    /// The first, and the newest.
    pub samples: VecDeque<Arc<Record>>,
    /// It happened to an earlier process, which ended before it was told.
    pub late: bool,
}

/// What is sent at once.
#[derive(Clone, Debug)]
pub struct Message {
    /// The same for each attempt: whoever has seen it knows that it is the same one.
    pub id: String,
    /// When it was put together.
    pub at: Timestamp,
    /// What it says.
    pub items: Vec<Item>,
}

impl Item {
    /// Of one notice.
    pub fn of(notice: Notice) -> Item {
        let Notice { topic, member, stands, since, lasting, record, .. } = notice;
        Item {
            topic,
            stands,
            since,
            count: 1,
            lasting,
            members: Some(member).filter(|member| !member.is_empty()).into_iter().collect(),
            samples: VecDeque::from([record]),
            late: false,
        }
    }

    /// One more of the same topic: how it stands is how it stands now.
    pub fn join(&mut self, notice: Notice) {
        let Notice { member, stands, since, lasting, record, .. } = notice;
        self.count += 1;
        (self.stands, self.lasting) = (stands, lasting);
        self.since = self.since.min(since);
        let is_new = !member.is_empty() && !self.members.contains(&member);
        if is_new && self.members.len() < MAX_NAMED {
            self.members.push(member);
        }
        if self.samples.len() >= MAX_SAMPLES {
            // The first says how it began.
            self.samples.remove(1);
        }
        self.samples.push_back(record);
    }

    /// Something of the same topic that came before all of this is known only now: how it stands stays.
    pub fn after(&mut self, earlier: Item) {
        self.count = self.count.saturating_add(earlier.count);
        self.since = self.since.min(earlier.since);
        let room = MAX_NAMED.saturating_sub(self.members.len());
        let new = |member: &String| !self.members.contains(member);
        let members: Vec<String> = earlier.members.into_iter().filter(new).take(room).collect();
        self.members.extend(members);
        if self.samples.len() < MAX_SAMPLES {
            earlier.samples.into_iter().next().into_iter().for_each(|record| self.samples.push_front(record));
        }
    }

    /// What happened last.
    pub fn last(&self) -> Option<&Arc<Record>> {
        self.samples.back()
    }

    /// In a sentence.
    pub fn sentence(&self) -> &str {
        self.last().map_or("", |record| &record.message)
    }

    /// What to type next.
    pub fn next(&self) -> String {
        self.topic.family.next.replace("{}", &self.topic.subject)
    }
}

impl Message {
    /// Whether some of it must be heard though the process ends.
    pub fn keeps(&self) -> bool {
        self.items.iter().any(|item| item.topic.family.keeps)
    }

    /// Events that it stands for.
    pub fn events(&self) -> u64 {
        self.items.iter().map(|item| item.count).sum()
    }
}
