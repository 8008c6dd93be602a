//! One sink at work: its line, its spool, and the bell that wakes whoever serves it.

use super::delivery::Line;
use super::family::{Family, TEST};
use super::lasting::{Notice, Stands};
use super::meaning::Topic;
use super::sender::Sender;
use super::spool::{Due, Moment, Spool, Turn};
use super::unsent::{MAX_OWED, Owed};
use super::view::SinkView;
use super::{Item, Message, Tried, Verdict};
use crate::config::sinks::Form;
use crate::telemetry::events::stream::{Kind, Record};
use crate::telemetry::events::{SinkGone, SinkHeard};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A try is answered within so long, whatever the sink's own timeout: an operator waits for it.
const TRY: Duration = Duration::from_secs(4);

/// One sink.
#[derive(Debug)]
pub struct Desk {
    pub(super) name: Arc<str>,
    line: ArcSwap<Line>,
    spool: Mutex<Spool>,
    bell: Notify,
    hurry: AtomicBool,
    id: u64,
    /// Rung when what must be heard changes.
    owing: Arc<Notify>,
}

impl Desk {
    pub(super) fn new(line: Line, id: u64, owing: Arc<Notify>) -> Self {
        let settings = &line.settings;
        let name = settings.name.clone();
        // Two sinks of one gateway name their messages apart.
        let named = format!("{:016x}", id ^ xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
        let spool = Spool::new(named, settings.group_wait, settings.form == Form::Alertmanager);
        Desk {
            name,
            line: ArcSwap::from_pointee(line),
            spool: Mutex::new(spool),
            bell: Notify::new(),
            hurry: AtomicBool::new(false),
            id,
            owing,
        }
    }

    /// Another version says something else of it; what waits goes on waiting.
    pub(super) fn follow(&self, line: Line) {
        let settings = line.settings.clone();
        self.line.store(Arc::new(line));
        let forgets = settings.form == Form::Alertmanager;
        let wants = |topic: &Topic| topic.family.is_for(&settings);
        self.spool().follow(settings.group_wait, forgets, wants);
        self.bell.notify_one();
    }

    pub(super) fn line(&self) -> Arc<Line> {
        self.line.load_full()
    }

    pub(super) fn wants(&self, family: &Family) -> bool {
        family.is_for(&self.line.load().settings)
    }

    /// Takes in what it wants to hear; what is said of itself it could only tell to itself.
    pub(super) fn take(&self, notices: &[Notice]) {
        let line = self.line.load();
        let own = |topic: &Topic| topic.family.kind == Kind::Notification && *topic.subject == *self.name;
        let wanted = |notice: &&Notice| notice.topic.family.is_for(&line.settings) && !own(&notice.topic);
        let (now, mut spool) = (Instant::now(), self.spool());
        let before = spool.depth();
        notices.iter().filter(wanted).for_each(|notice| spool.take(notice, now));
        if notices.iter().any(|notice| notice.topic.family.keeps) {
            self.owing.notify_one();
        }
        if spool.depth() > before {
            self.bell.notify_one();
        }
    }

    /// The next message, when it is time.
    pub(super) async fn next(&self, firing: impl Fn() -> Vec<Notice>) -> Arc<Message> {
        loop {
            // Before the look, because it may wait for another lock.
            let due = {
                let forgets = self.line.load().settings.form == Form::Alertmanager;
                let firing = if forgets { firing() } else { Vec::new() };
                self.spool().look(self.moment(), || firing)
            };
            let until = match due {
                Due::Send(message) => {
                    self.rings_for(&message);
                    return message;
                }
                Due::Wait(until) => until,
            };
            let bell = self.bell.notified();
            match until {
                Some(until) => drop(tokio::time::timeout_at(until.into(), bell).await),
                None => bell.await,
            }
        }
    }

    fn rings_for(&self, message: &Message) {
        if message.keeps() {
            self.owing.notify_one();
        }
    }

    /// What it is owed and must hear.
    pub(super) fn owed(&self) -> Vec<Owed> {
        let spool = self.spool();
        let owed = spool.owed().filter_map(|(id, item)| Owed::of(&self.name, id, item));
        owed.take(MAX_OWED).collect()
    }

    /// Takes over what an earlier process owed it, and it wants; but not that something began which is over.
    pub(super) fn takes_over(&self, owed: Vec<Owed>, is_over: impl Fn(&Item) -> bool) {
        let wants =
            |item: &Item| self.wants(item.topic.family) && !(item.stands == Stands::Firing && is_over(item));
        self.spool().takes_over(owed, self.moment(), wants);
        self.bell.notify_one();
    }

    /// What came of telling it.
    pub(super) fn came(&self, message: &Message, verdict: Verdict) {
        let turn = self.spool().came(verdict, self.moment(), fastrand::f64());
        self.rings_for(message);
        self.say(turn);
    }

    fn say(&self, turn: Option<Turn>) {
        let host = self.line.load().settings.url.host();
        match turn {
            Some(Turn::Fails(why, lost)) => SinkHeard::failed(&self.name, &host, &why, lost).emit(),
            Some(Turn::Recovers) => SinkHeard::again(&self.name, &host).emit(),
            None => {}
        }
    }

    /// Tells it that it is tried, now. What waits is tried again too, if that went well.
    pub(super) async fn try_out(&self, sender: &Sender, by: &str) -> Tried {
        let (line, started) = (self.line(), Instant::now());
        let message = trial(&self.name, self.id, by);
        let verdict = tokio::time::timeout(TRY, line.tell(&message, sender)).await;
        let failure = match verdict {
            Ok(Verdict::Taken) => None,
            Ok(Verdict::Refused(why) | Verdict::Later(why, _)) => Some(why),
            Err(_) => Some(format!("no answer within {TRY:?}")),
        };
        if failure.is_none() {
            let turn = self.spool().heard(self.moment());
            self.say(turn);
            self.bell.notify_one();
        }
        Tried { host: line.settings.url.host(), took: started.elapsed(), failure }
    }

    /// It is not in the configuration any more: what waits for it is dropped, which is said. How many events that were.
    pub(super) fn close(&self) -> u64 {
        let lost = self.spool().close();
        if lost > 0 {
            SinkGone { sink: &self.name, host: Some(&self.line.load().settings.url.host()), lost }.emit();
        }
        lost
    }

    pub(super) fn hurry(&self) {
        self.hurry.store(true, Relaxed);
        self.bell.notify_one();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.spool().depth() == 0
    }

    pub(super) fn view(&self) -> SinkView {
        SinkView::of(&self.line.load().settings, &self.spool(), Instant::now())
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant::now(), at: Timestamp::now(), hurry: self.hurry.load(Relaxed) }
    }

    /// Nothing panics while it holds the lock.
    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a sink is told to try it.
fn trial(name: &str, id: u64, by: &str) -> Message {
    let told = format!("{by} tries whether {name} is told what happens: it is");
    let record = Record::new(Kind::Notification, told).with("what", "test").with("sink", name).with("by", by);
    let at = record.at;
    let item = Item {
        topic: Topic { family: &TEST, subject: name.to_owned() },
        stands: Stands::Happened,
        since: at,
        count: 1,
        lasting: 0,
        members: Vec::new(),
        samples: VecDeque::from([Arc::new(record)]),
        late: false,
    };
    Message { id: format!("{id:016x}-test-{}", at.as_millisecond()), at, items: vec![item] }
}
