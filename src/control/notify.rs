//! Who tells people what happens: `[[notify]]`. Every record of the process, through a bounded tap of its own, becomes
//! what people should hear, gathered and told to each sink that wants it (`design.md`, promise 11).
//!
//! It never makes anybody wait: the tap drops and counts, each sink has a queue of topics and one connection, and one
//! that hangs holds up only itself. It runs on the thread of calls to the outside. Of what waits, a restart keeps what
//! must be heard; the events keep the rest.

mod alertmanager;
mod delivery;
mod family;
mod lasting;
mod meaning;
mod message;
mod pace;
#[cfg(test)]
mod samples;
mod sender;
mod sink;
mod slack;
mod spool;
mod unsent;
mod view;
mod webhook;

pub use family::ALL as ALERTS;
pub use unsent::Kept;
pub use view::{NotifyView, SinkView};

use crate::config::plan::Plan;
use crate::config::sinks::Sink;
use crate::control::store::Store;
use crate::telemetry::events::stream::{self, Record};
use crate::telemetry::events::{NoticesLost, SinkGone};
use crate::upstream::discovery::Directory;
use crate::upstream::pem::Files;
use delivery::Line;
use jiff::Timestamp;
use lasting::{Lasting, Notice};
use meaning::Topic;
use message::{Item, Message};
use pace::Verdict;
use sender::Sender;
use sink::Desk;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use unsent::Owed;

/// Between two looks at what was lost on the way, and at what fades.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at files of authorities.
const FILES: Duration = Duration::from_secs(10);

/// Everything that is told, and to whom.
#[derive(Debug)]
pub struct Notifier {
    directory: Arc<Directory>,
    records: Mutex<Option<mpsc::Receiver<Arc<Record>>>>,
    state: Mutex<State>,
    changed: Notify,
    /// Names the messages of this process.
    id: u64,
    lost: AtomicU64,
    /// Events that waited for a sink that was taken out.
    orphaned: AtomicU64,
    /// What an earlier process owed, until it is handed over to sinks.
    kept: Mutex<Option<Kept>>,
    /// Rung when what must be heard changes.
    owing: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    sender: Arc<Sender>,
    desks: Vec<Arc<Desk>>,
    lasting: Lasting,
    /// Backends of the active version, with where they are.
    backends: HashSet<(String, String, String)>,
    upstreams: HashSet<String>,
}

/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What came of a try.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The host of the sink.
    pub host: String,
    /// How long it took.
    pub took: Duration,
    /// Why it was not taken, if it was not.
    pub failure: Option<String>,
}

impl Notifier {
    /// Hears everything from now on, and tells nobody yet.
    pub fn new(directory: Arc<Directory>) -> Self {
        Notifier {
            directory,
            records: Mutex::new(stream::tap()),
            state: Mutex::default(),
            changed: Notify::new(),
            id: fastrand::u64(..),
            lost: AtomicU64::new(0),
            orphaned: AtomicU64::new(0),
            kept: Mutex::new(Some(Kept::Unread("nobody has read it yet".to_owned()))),
            owing: Arc::default(),
        }
    }

    /// Another version is active. Sinks that it has too, by name, keep what waits; `files` holds the authorities.
    pub fn follow(&self, plan: &Plan, number: u64, files: &dyn Files) {
        let before = self.desks();
        let desk = |sink: &Sink| {
            let line = || Line::to(sink.clone(), &self.directory, files);
            match before.iter().find(|desk| desk.name == sink.name) {
                Some(desk) if desk.line().settings == *sink => desk.clone(),
                Some(desk) => {
                    desk.follow(line());
                    desk.clone()
                }
                None => Arc::new(Desk::new(line(), self.id, self.owing.clone())),
            }
        };
        let desks = plan.sinks.iter().map(desk).collect();
        let mut state = self.state();
        (state.sender, state.desks) = (Arc::new(Sender::of(plan, number)), desks);
        let over = state.follow(plan);
        state.tell(&over);
        let gone = before.into_iter().filter(|desk| !state.desks.iter().any(|it| Arc::ptr_eq(it, desk)));
        let gone: Vec<_> = gone.collect();
        drop(state);
        let orphaned = gone.iter().map(|desk| desk.close()).sum();
        self.orphaned.fetch_add(orphaned, Relaxed);
        self.take_over();
        self.changed.notify_one();
        // What waited for a sink that is gone, or that does not want it any more, is not owed.
        self.owing.notify_one();
    }

    /// What an earlier process owed is told by the sinks of the first version that this one follows. What was not read
    /// yet is read by whoever keeps it, before anything is written over it.
    pub fn inherit(&self, kept: Kept) {
        *self.kept() = Some(kept);
    }

    fn take_over(&self) {
        let (mut rest, trouble) = {
            // Nobody looks at what is owed, and no sink goes, before all of it is handed over.
            let state = self.state();
            let read = self.kept().take_if(|kept| matches!(kept, Kept::Read { .. }));
            let Some(Kept::Read { owed: mut rest, trouble }) = read else { return };
            for desk in &state.desks {
                let (own, others) = rest.into_iter().partition(|owed: &Owed| *owed.sink == *desk.name);
                desk.takes_over(own, |item| state.lasting.was_ended(&item.topic));
                rest = others;
            }
            (rest, trouble)
        };
        if let Some(why) = trouble {
            tracing::error!("{why}; what an earlier process had to tell people is not told");
            self.orphaned.fetch_add(1, Relaxed);
            NoticesLost { lost: 1 }.emit();
        }
        while let Some(sink) = rest.first().map(|owed| owed.sink.clone()) {
            let (gone, others): (Vec<Owed>, _) = rest.into_iter().partition(|owed| owed.sink == sink);
            let lost = events(&gone);
            self.orphaned.fetch_add(lost, Relaxed);
            SinkGone { sink: &sink, host: None, lost }.emit();
            rest = others;
        }
    }

    /// Keeps what must be heard on disk until it is, for ever. On a thread that a disk may block.
    pub async fn keep_owed(self: Arc<Self>, store: Store) {
        let mut said = false;
        loop {
            let kept = self.keep_owed_now(&store);
            if let Some(error) = kept.as_ref().err().filter(|_| !said) {
                tracing::warn!(%error, "what people have to hear is not stored; a restart would not tell it");
            }
            said = kept.is_err();
            let rung = self.owing.notified();
            match kept {
                Ok(()) => rung.await,
                Err(_) => _ = tokio::time::timeout(AGAIN, rung).await,
            }
        }
    }

    /// Writes it down now, once it is known what an earlier process left there.
    ///
    /// # Errors
    /// When the disk does not say that, or does not take it.
    pub fn keep_owed_now(&self, store: &Store) -> io::Result<()> {
        let unread = matches!(*self.kept(), Some(Kept::Unread(_)));
        if unread {
            self.inherit(Kept::read(store));
            self.take_over();
        }
        if let Some(Kept::Unread(why)) = &*self.kept() {
            return Err(io::Error::other(why.clone()));
        }
        let owed: Vec<Owed> = self.desks().iter().flat_map(|desk| desk.owed()).collect();
        unsent::write(store, &owed)
    }

    /// Hears and tells, for ever. Belongs on the thread of calls to the outside.
    pub async fn run(self: Arc<Self>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut records) = records else { return };
        let mut serving = Serving::default();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(record) = records.recv() => self.hear(&record),
                () = self.changed.notified() => serving.follow(&self),
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn hear(&self, record: &Arc<Record>) {
        let (now, mut state) = (Instant::now(), self.state());
        let take = |meaning| state.lasting.take(meaning, record, now);
        let notices: Vec<Notice> = meaning::meanings(record).into_iter().filter_map(take).collect();
        state.tell(&notices);
    }

    fn look(&self) {
        let lost = stream::untapped();
        let before = self.lost.swap(lost, Relaxed);
        if lost > before {
            NoticesLost { lost: lost - before }.emit();
        }
        let mut state = self.state();
        let faded = state.lasting.fade(Instant::now(), Timestamp::now());
        state.tell(&faded);
    }

    /// Tells one sink that it is tried, at once and beside whatever waits. Nothing if there is none of that name.
    pub async fn try_out(&self, name: &str, by: &str) -> Option<Tried> {
        let (desk, sender) = {
            let state = self.state();
            let desk = state.desks.iter().find(|desk| *desk.name == *name)?.clone();
            (desk, state.sender.clone())
        };
        Some(desk.try_out(&sender, by).await)
    }

    /// What lasts of what a sink wants to hear.
    fn firing(&self, desk: &Desk) -> Vec<Notice> {
        self.state().lasting.firing(|family| desk.wants(family))
    }

    fn sender(&self) -> Arc<Sender> {
        self.state().sender.clone()
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        self.state().desks.clone()
    }

    /// How it goes with each sink.
    pub fn view(&self) -> NotifyView {
        let (desks, lasting) = {
            let state = self.state();
            (state.desks.clone(), state.lasting.len())
        };
        NotifyView {
            sinks: desks.iter().map(|desk| desk.view()).collect(),
            lasting,
            lost: stream::untapped(),
            orphaned: self.orphaned.load(Relaxed),
        }
    }

    /// Sends what waits, once more and without waiting for more, for as long as `patience`. Blocks.
    pub fn flush(&self, patience: Duration) {
        let (end, desks) = (Instant::now() + patience, self.desks());
        desks.iter().for_each(|desk| desk.hurry());
        while desks.iter().any(|desk| !desk.is_idle()) && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Reads the files of authorities again, for ever. Blocks, so it belongs on a thread that files may hold up.
    pub async fn keep_trust(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(FILES);
        loop {
            ticks.tick().await;
            self.desks().iter().for_each(|desk| desk.line().renew_trust());
        }
    }

    /// Nothing panics while it holds the lock, and nobody who has it waits for a disk.
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, notices: &[Notice]) {
        if !notices.is_empty() {
            self.desks.iter().for_each(|desk| desk.take(notices));
        }
    }

    /// What is over because it is about a backend that is not there, or not where it was.
    fn follow(&mut self, plan: &Plan) -> Vec<Notice> {
        let places = plan.upstreams.iter().flat_map(|upstream| {
            let backends = upstream.balancing.backends.iter();
            backends.map(|backend| {
                (upstream.name.to_string(), backend.name.to_string(), backend.address.to_string())
            })
        });
        let before = std::mem::replace(&mut self.backends, places.collect());
        self.upstreams = plan.upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
        let owns = |owner: &str| match owner.split_once(' ') {
            Some(("listener", name)) => plan.listeners.iter().any(|listener| *listener.name == *name),
            Some(("upstream", name)) => plan.upstreams.iter().any(|upstream| *upstream.name == *name),
            _ => true,
        };
        let State { lasting, backends, upstreams, .. } = self;
        let stayed: HashSet<_> =
            before.intersection(backends).map(|(u, b, _)| (u.as_str(), b.as_str())).collect();
        let names: HashSet<_> = backends.iter().map(|(u, b, _)| (u.as_str(), b.as_str())).collect();
        let is_there = |topic: &Topic, member: &str| {
            use crate::telemetry::events::stream::Kind::{
                Auth, Certificate, Ejection, Limit, Notification, Ramp, Shed,
            };
            let subject = topic.subject.as_str();
            match topic.family.kind {
                Ejection if !member.is_empty() => stayed.contains(&(subject, member)),
                // Ramps belong to names, wherever those are.
                Ramp if !member.is_empty() => names.contains(&(subject, member)),
                Ejection | Ramp | Limit => upstreams.contains(subject),
                Shed => *topic.family == family::CORE_BEHIND || subject == "-" || upstreams.contains(subject),
                Certificate => owns(subject),
                // The keys of an auth are named by where they come from; without an auth nobody fetches any.
                Auth if [&family::KEYS_OLD, &family::KEYS_MISSING].contains(&topic.family) => {
                    !plan.auths.is_empty()
                }
                Auth => plan.auths.iter().any(|auth| *auth.name == *subject),
                Notification if *topic.family == family::SINK_FAILING => {
                    plan.sinks.iter().any(|sink| *sink.name == *subject)
                }
                _ => true,
            }
        };
        lasting.keep(Timestamp::now(), is_there)
    }
}

fn events(owed: &[Owed]) -> u64 {
    owed.iter().fold(0, |sum, owed| sum.saturating_add(owed.count))
}

/// The tasks that tell, one for each sink; they end with it.
#[derive(Default)]
struct Serving {
    tasks: JoinSet<()>,
    of: Vec<(Arc<Desk>, AbortHandle)>,
}

impl Serving {
    fn follow(&mut self, notifier: &Arc<Notifier>) {
        let desks = notifier.desks();
        self.of.retain(|(desk, task)| {
            let stays = desks.iter().any(|it| Arc::ptr_eq(it, desk));
            if !stays {
                task.abort();
            }
            stays
        });
        for desk in desks {
            if !self.of.iter().any(|(it, _)| Arc::ptr_eq(it, &desk)) {
                let serve = serve(notifier.clone(), desk.clone());
                self.of.push((desk, self.tasks.spawn_local(serve)));
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

/// Tells one sink, for ever.
async fn serve(notifier: Arc<Notifier>, desk: Arc<Desk>) {
    loop {
        let message = desk.next(|| notifier.firing(&desk)).await;
        let verdict = desk.line().tell(&message, &notifier.sender()).await;
        desk.came(&message, verdict);
    }
}

#[cfg(test)]
mod tests;
