//! What waits for one sink. A pure core over (notice, now): what is told at once, when, what is tried again and what
//! is given up.
//!
//! A topic waits once, however much happens to it meanwhile, so a storm is as long as there are topics. One message is
//! under way at a time; the rest goes on being gathered. Every event ends in exactly one of four counts.

use super::lasting::Notice;
use super::meaning::Topic;
use super::message::{Item, Message};
use super::pace::{self, Verdict};
use super::unsent::{MAX_OWED, Owed};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics that wait at most.
pub const MAX_WAITING: usize = 256;
/// Items of one message.
const MAX_ITEMS: usize = 50;
/// A message that could not be delivered for so long is given up: by then people have seen it themselves.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// A quiet of so long makes the next storm begin like the first.
const QUIET: Duration = Duration::from_secs(30);
/// How often what still lasts is told to a sink that has to hear it again and again.
pub const AGAIN: Duration = Duration::from_secs(60);

/// What waits for a sink, and what is under way.
#[derive(Debug)]
pub struct Spool {
    group_wait: Duration,
    /// It forgets what lasts unless it hears it again and again.
    forgets: bool,
    waiting: VecDeque<Item>,
    /// When the next message may go.
    due: Option<Instant>,
    /// How long the last one waited.
    gap: Duration,
    last_taken: Option<Instant>,
    told_again: Option<Instant>,
    flight: Option<Flight>,
    /// What its last chance did not help, in order and as far as it must be heard: for the next process.
    left: Vec<Arc<Message>>,
    sent: u64,
    /// Names its messages.
    id: String,
    /// What it came to.
    pub counts: Counts,
    /// How it goes.
    pub health: Health,
}

/// A message that is under way.
#[derive(Debug)]
struct Flight {
    message: Arc<Message>,
    began: Instant,
    failures: u32,
    /// When it is tried again; nothing while it is being tried.
    next: Option<Instant>,
    /// Only what was told before: a later one says the same.
    again: bool,
    /// It had its last chance.
    hurried: bool,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the sink.
    pub sent: u64,
    /// Refused by the sink, or given up.
    pub failed: u64,
    /// The oldest of too many that waited.
    pub dropped: u64,
    /// Told before, and still so.
    pub deduplicated: u64,
    /// Attempts that were taken.
    pub attempts_taken: u64,
    /// Attempts that were not.
    pub attempts_failed: u64,
}

/// How it goes with a sink.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// When it last took something.
    pub last_success: Option<Timestamp>,
    /// When it last did not, and why.
    pub last_failure: Option<(Timestamp, String)>,
    /// Since when it takes nothing.
    pub failing_since: Option<(Instant, Timestamp)>,
    /// Failures in a row.
    pub failures: u32,
    told: bool,
}

/// What is to be done now.
#[derive(Clone, Debug)]
pub enum Due {
    /// This is to be sent.
    Send(Arc<Message>),
    /// Nothing, before then; nothing at all without a time.
    Wait(Option<Instant>),
}

/// What others should hear of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It does not take what it is told: why, and whether that is lost.
    Fails(String, bool),
    /// It does again.
    Recovers,
}

/// How a look is meant.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For waits.
    pub now: Instant,
    /// For people.
    pub at: Timestamp,
    /// The process ends: nothing is waited for.
    pub hurry: bool,
}

impl Spool {
    /// Empty; `id` begins the names of its messages.
    pub fn new(id: String, group_wait: Duration, forgets: bool) -> Self {
        Spool {
            group_wait,
            forgets,
            waiting: VecDeque::new(),
            due: None,
            gap: Duration::ZERO,
            last_taken: None,
            told_again: None,
            flight: None,
            left: Vec::new(),
            sent: 0,
            id,
            counts: Counts::default(),
            health: Health::default(),
        }
    }

    /// Other settings: what waits goes on waiting, and what was put off is tried at once.
    pub fn follow(&mut self, group_wait: Duration, forgets: bool, wants: impl Fn(&Topic) -> bool) {
        (self.group_wait, self.forgets) = (group_wait, forgets);
        let counts = &mut self.counts;
        self.waiting.retain(|item| {
            let wanted = wants(&item.topic);
            counts.dropped += if wanted { 0 } else { item.count };
            wanted
        });
        self.due = self.due.filter(|_| !self.waiting.is_empty());
        self.nudge();
    }

    /// What was put off is tried at once.
    pub fn nudge(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.next = flight.next.map(|_| flight.began);
        }
    }

    /// Takes in what happened.
    pub fn take(&mut self, notice: &Notice, now: Instant) {
        if notice.told {
            self.counts.deduplicated += 1;
            return;
        }
        match self.waiting.iter_mut().find(|item| item.topic == notice.topic) {
            Some(item) => item.join(notice.clone()),
            None => self.enqueue(Item::of(notice.clone())),
        }
        if self.due.is_none() {
            let quiet = self.last_taken.is_none_or(|last| now.saturating_duration_since(last) >= QUIET);
            if quiet {
                self.gap = self.group_wait;
            }
            self.due = Some(now + self.gap.max(self.group_wait));
        }
    }

    /// Where there is no room, something goes, or this does not come in.
    fn enqueue(&mut self, item: Item) {
        if self.waiting.len() >= MAX_WAITING {
            let goes = self.least(&item).and_then(|least| self.waiting.remove(least));
            self.counts.dropped += goes.as_ref().map_or(item.count, |goes| goes.count);
            if goes.is_none() {
                return;
            }
        }
        self.waiting.push_back(item);
    }

    /// What `item` drives out: of what is no more urgent, what need not be heard though the process ends, of that the
    /// least urgent, of that the oldest. What only is good to know never drives out what somebody should look at now.
    fn least(&self, item: &Item) -> Option<usize> {
        let urgency = |item: &Item| item.topic.family.severity;
        let worth = |item: &Item| (item.topic.family.keeps, Reverse(urgency(item)));
        let others = self.waiting.iter().enumerate().filter(|(_, other)| urgency(other) >= urgency(item));
        let (least, other) = others.min_by_key(|(_, other)| worth(other))?;
        (worth(other) <= worth(item) || urgency(other) > urgency(item)).then_some(least)
    }

    /// What is to be done; `firing` is asked for what lasts, where that has to be told again.
    pub fn look(&mut self, moment: Moment, firing: impl FnOnce() -> Vec<Notice>) -> Due {
        let Moment { now, hurry, .. } = moment;
        if let Some(flight) = &mut self.flight {
            let Some(next) = flight.next else { return Due::Wait(None) };
            let last_chance = hurry && !flight.hurried;
            if next > now && !last_chance {
                return Due::Wait(Some(next));
            }
            (flight.next, flight.hurried) = (None, hurry);
            return Due::Send(flight.message.clone());
        }
        match self.due {
            Some(due) if due <= now || hurry => self.send_waiting(moment),
            Some(due) => Due::Wait(Some(due)),
            None if self.forgets && !hurry => self.tell_again(moment, firing),
            None => Due::Wait(None),
        }
    }

    fn send_waiting(&mut self, moment: Moment) -> Due {
        // The most urgent first, each as it came.
        self.waiting.make_contiguous().sort_by_key(|item| item.topic.family.severity);
        let items: Vec<Item> = self.waiting.drain(..self.waiting.len().min(MAX_ITEMS)).collect();
        self.due = None;
        if !self.waiting.is_empty() {
            self.due = Some(moment.now + self.group_wait);
        }
        self.launch(items, moment, false)
    }

    fn tell_again(&mut self, moment: Moment, firing: impl FnOnce() -> Vec<Notice>) -> Due {
        let told = *self.told_again.get_or_insert(moment.now);
        if moment.now < told + AGAIN {
            return Due::Wait(Some(told + AGAIN));
        }
        self.told_again = Some(moment.now);
        let items: Vec<Item> =
            firing().into_iter().map(|notice| Item { count: 0, ..Item::of(notice) }).collect();
        match items.is_empty() {
            true => Due::Wait(Some(moment.now + AGAIN)),
            false => self.launch(items, moment, true),
        }
    }

    fn launch(&mut self, items: Vec<Item>, moment: Moment, again: bool) -> Due {
        self.sent += 1;
        let id = format!("{}-{}", self.id, self.sent);
        let message = Arc::new(Message { id, at: moment.at, items });
        self.flight = Some(Flight {
            message: message.clone(),
            began: moment.now,
            failures: 0,
            next: None,
            again,
            hurried: moment.hurry,
        });
        Due::Send(message)
    }

    /// What came of an attempt; `chance` is in [0, 1). What others should hear of it, if anything.
    pub fn came(&mut self, verdict: Verdict, moment: Moment, chance: f64) -> Option<Turn> {
        let mut flight = self.flight.take()?;
        match verdict {
            Verdict::Taken => {
                self.counts.sent += flight.message.events();
                self.taken(moment)
            }
            Verdict::Refused(why) => {
                self.counts.failed += flight.message.events();
                self.failed(why, true, moment)
            }
            Verdict::Later(why, asked) => {
                flight.failures += 1;
                let old = moment.now.saturating_duration_since(flight.began) >= MAX_AGE;
                let lost = old || flight.hurried;
                if !old && flight.hurried && !flight.again {
                    self.leave(&flight.message);
                }
                if lost || flight.again {
                    self.counts.failed += flight.message.events();
                } else {
                    flight.next = Some(moment.now + pace::wait(flight.failures, asked, chance));
                    self.flight = Some(flight);
                }
                self.failed(why, lost, moment)
            }
        }
    }

    /// Leaves a message to the next process, if it must be heard; as many as that would take over.
    fn leave(&mut self, message: &Arc<Message>) {
        if message.keeps() && self.left.len() < MAX_OWED {
            self.left.push(message.clone());
        }
    }

    /// Somebody was told something there, beside what waits.
    pub fn heard(&mut self, moment: Moment) -> Option<Turn> {
        self.nudge();
        self.well(moment)
    }

    fn taken(&mut self, moment: Moment) -> Option<Turn> {
        self.counts.attempts_taken += 1;
        self.last_taken = Some(moment.now);
        self.gap = pace::gap(self.gap, self.group_wait);
        if !self.waiting.is_empty() {
            self.due = Some(moment.now + self.gap);
        }
        self.well(moment)
    }

    fn well(&mut self, moment: Moment) -> Option<Turn> {
        let told = self.health.told;
        let last_failure = self.health.last_failure.take();
        self.health = Health { last_success: Some(moment.at), last_failure, ..Health::default() };
        told.then_some(Turn::Recovers)
    }

    /// Said at the second failure in a row, or when something is lost; once until it is well again.
    fn failed(&mut self, why: String, lost: bool, moment: Moment) -> Option<Turn> {
        self.counts.attempts_failed += 1;
        let health = &mut self.health;
        health.failures += 1;
        health.failing_since.get_or_insert((moment.now, moment.at));
        health.last_failure = Some((moment.at, why.clone()));
        let tell = !health.told && (lost || health.failures >= 2);
        health.told |= tell;
        tell.then_some(Turn::Fails(why, lost))
    }

    /// Topics that wait, and those of the message that is under way.
    pub fn depth(&self) -> usize {
        self.waiting.len() + self.flight.as_ref().map_or(0, |flight| flight.message.items.len())
    }

    /// Nobody is told any more: what waits and what is under way is dropped. How many events that were.
    pub fn close(&mut self) -> u64 {
        let lost = self.events();
        self.waiting.clear();
        self.left.clear();
        (self.flight, self.due) = (None, None);
        lost
    }

    /// What must be heard and was not: with the name of the message that it is under way in.
    pub fn owed(&self) -> impl Iterator<Item = (Option<&str>, &Item)> {
        let flight = self.flight.iter().filter(|flight| !flight.again).map(|flight| &flight.message);
        // What was left went before what is under way now.
        let under_way = self
            .left
            .iter()
            .chain(flight)
            .flat_map(|message| message.items.iter().map(|item| (Some(message.id.as_str()), item)));
        let all = under_way.chain(self.waiting.iter().map(|item| (None, item)));
        all.filter(|(_, item)| item.topic.family.keeps)
    }

    /// What an earlier process owed: what was under way goes as it was, the rest waits. What is too old, and what
    /// nobody wants now, is dropped.
    pub fn takes_over(&mut self, owed: Vec<Owed>, moment: Moment, wants: impl Fn(&Item) -> bool) {
        // What is under way already is not put back.
        let free = self.flight.is_none();
        let first = owed.iter().find_map(|owed| owed.message.clone()).filter(|_| free);
        let mut items = Vec::new();
        for owed in owed.into_iter().take(MAX_OWED) {
            let is_first = owed.message.is_some() && owed.message == first;
            let events = owed.count;
            let Some(item) = owed.item().filter(&wants) else {
                self.counts.dropped += events;
                continue;
            };
            let age = moment.at.duration_since(item.last().map_or(moment.at, |record| record.at));
            if age > SignedDuration::try_from(MAX_AGE).unwrap_or(SignedDuration::MAX) {
                self.counts.dropped += item.count;
            } else if is_first {
                items.push(item);
            } else {
                self.wait_with_others(item);
            }
        }
        if !self.waiting.is_empty() {
            self.due.get_or_insert(moment.now + self.group_wait);
        }
        if let Some(id) = first.filter(|_| !items.is_empty()) {
            let message = Arc::new(Message { id, at: moment.at, items });
            let (began, next) = (moment.now, Some(moment.now));
            self.flight = Some(Flight { message, began, failures: 0, next, again: false, hurried: false });
        }
    }

    /// What an earlier process owed: a topic waits once, and what happened here says how it stands.
    fn wait_with_others(&mut self, mut item: Item) {
        match self.waiting.iter_mut().find(|known| known.topic == item.topic) {
            Some(known) if known.late => {
                std::mem::swap(known, &mut item);
                known.after(item);
            }
            Some(known) => known.after(item),
            None => self.enqueue(item),
        }
    }

    /// Events that wait or are under way.
    pub fn events(&self) -> u64 {
        let waiting: u64 = self.waiting.iter().map(|item| item.count).sum();
        waiting + self.flight.as_ref().map_or(0, |flight| flight.message.events())
    }

    /// When what was put off is tried again.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.flight.as_ref()?.next
    }
}

#[cfg(test)]
mod tests;
