//! The drill's clients: open loop, so that whoever would have come during an outage does come, and is counted.
//!
//! Each client has an address of its own on loopback (where the system has more than one), a token, and whatever
//! else may choose its cohort. Requests leave on schedule whatever happens to those before them; how long one took
//! counts from the moment when it was due.

mod client;
pub(super) mod seen;

use super::judge::Mint;
use super::target::Target;
use super::told::Told;
use crate::request::cohort::Fact;
use client::{Connections, Got};
use http::{HeaderName, HeaderValue};
use seen::{Ended, One, Seen};
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Clients that there are; so many keys choose cohorts.
pub(super) const CLIENTS: u32 = 240;
/// Those of them whose identity the gateway knows already.
pub(super) const KNOWN: u32 = 24;
/// How long a client waits for its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at who is due.
const TICK: Duration = Duration::from_millis(2);
/// Requests under way at most; who is due then is counted as lost without having been sent.
const MOST_UNDER_WAY: u64 = 4096;

/// Which clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Of routes without auth.
    Public,
    /// Of guarded routes, each with a token that was never seen before.
    New,
    /// Of guarded routes, who come again and again.
    Known,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Public, Kind::New, Kind::Known];
}

/// What one kind asks for, and how often a second.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Who.
    pub kind: Kind,
    /// In turn.
    pub targets: Vec<Target>,
    /// Requests a second.
    pub rate: f64,
}

/// What all clients need to know.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Where each listener is.
    pub listeners: HashMap<String, SocketAddr>,
    /// The header that shows a token, by the auth's place in the plan.
    pub shown_in: Vec<HeaderName>,
    /// What is shown instead of a token of one's own, by the auth's place in the plan.
    pub keys: Vec<Option<String>>,
    /// Signs tokens.
    pub mint: Mint,
    /// What chooses cohorts.
    pub fact: Fact,
}

/// What clients are told while they come.
#[derive(Debug)]
struct Will {
    /// Requests a second of each stream, as bits.
    rates: Vec<AtomicU64>,
    /// Further tries, at once, of whoever did not get what it came for.
    insists: AtomicU32,
}

/// Clients under way; they stop when it is dropped.
pub(super) struct Crowd {
    seen: Arc<Seen>,
    will: Arc<Will>,
    over: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Lets them come from now on.
    ///
    /// # Errors
    /// When there is no thread for them.
    pub fn start(world: World, streams: Vec<Stream>) -> anyhow::Result<Crowd> {
        let (seen, over) = (Arc::new(Seen::default()), CancellationToken::new());
        let rates = streams.iter().map(|stream| AtomicU64::new(stream.rate.to_bits())).collect();
        let will = Arc::new(Will { rates, insists: AtomicU32::new(0) });
        let (shared, ended, heard) = (seen.clone(), over.clone(), will.clone());
        let (_, thread) = crate::runtime::spawn("drill-clients", move || async move {
            let connections = Connections::new(world);
            let crowd = Rc::new(Clients { connections, seen: shared, will: heard, number: Cell::new(0) });
            let schedules: Vec<_> =
                streams.into_iter().map(|stream| Schedule::new(stream, Instant::now())).collect();
            tokio::select! {
                () = ended.cancelled() => {}
                () = crowd.come(schedules) => {}
            }
        })?;
        Ok(Crowd { seen, will, over, thread: Some(thread) })
    }

    /// From now on, so many of a stream come in a second.
    pub fn set_rate(&self, stream: usize, rate: f64) {
        if let Some(set) = self.will.rates.get(stream) {
            set.store(rate.to_bits(), Relaxed);
        }
    }

    /// From now on, whoever does not get what it came for tries so many times more, each time at once.
    pub fn insist(&self, tries: u32) {
        self.will.insists.store(tries, Relaxed);
    }

    /// What they have seen so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Waits until everybody who was due before `until` has an answer or none.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn settle(&self, told: &Told, until: Instant) -> anyhow::Result<()> {
        told.wait_for(PATIENCE * 2, || Ok(self.seen.is_settled(until).then_some(())))?;
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When the clients of one kind are due.
struct Schedule {
    stream: Stream,
    next: Instant,
    nth: usize,
}

impl Schedule {
    fn new(stream: Stream, now: Instant) -> Schedule {
        Schedule { stream, next: now, nth: 0 }
    }

    /// The next one who is due by `now`: when, what for, and how often that was asked for before.
    fn due(&mut self, now: Instant) -> Option<(Instant, Target, usize)> {
        if self.stream.rate <= 0.0 {
            // Nobody is owed anything for the time without a rate.
            self.next = now;
            return None;
        }
        if self.next > now {
            return None;
        }
        let many = self.stream.targets.len().max(1);
        let target = self.stream.targets.get(self.nth % many)?.clone();
        let (due, round) = (self.next, self.nth / many);
        self.nth += 1;
        // Clients do not know of each other.
        let gap = -(1.0 - fastrand::f64()).ln() / self.stream.rate;
        self.next += Duration::from_secs_f64(gap);
        Some((due, target, round))
    }
}

struct Clients {
    connections: Connections,
    seen: Arc<Seen>,
    will: Arc<Will>,
    /// Of the next client with a new token.
    number: Cell<u64>,
}

impl Clients {
    async fn come(self: Rc<Self>, mut schedules: Vec<Schedule>) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            let now = Instant::now();
            for (schedule, rate) in schedules.iter_mut().zip(&self.will.rates) {
                schedule.stream.rate = f64::from_bits(rate.load(Relaxed));
                let kind = schedule.stream.kind;
                while let Some((due, target, round)) = schedule.due(now) {
                    self.send(kind, due, target, round);
                }
            }
        }
    }

    fn send(self: &Rc<Self>, kind: Kind, due: Instant, target: Target, round: usize) {
        let mut one =
            One { kind, target: target.number, due, sent: Instant::now(), tries: 0, how: Ended::NotSent };
        let turn = self.seen.due(due);
        if turn.others() >= MOST_UNDER_WAY {
            return turn.ends(one);
        }
        let clients = self.clone();
        tokio::task::spawn_local(async move {
            let (source, token) = clients.identity(kind, round);
            loop {
                one.tries += 1;
                let asked = clients.connections.ask(source, &token, &target);
                one.how = match tokio::time::timeout_at((due + PATIENCE).into(), asked).await {
                    Ok(Got::Answer { status, reason }) => Ended::Answer { status, reason },
                    Ok(Got::Broken) => Ended::Broken,
                    Err(_) => Ended::Late,
                };
                let late = one.how == Ended::Late;
                if one.how.is_good() || late || one.tries > clients.will.insists.load(Relaxed) {
                    break;
                }
            }
            turn.ends(one);
        });
    }

    /// Where the next client of a kind comes from, and its name.
    fn identity(&self, kind: Kind, round: usize) -> (u32, String) {
        let number = self.number.get();
        self.number.set(number + 1);
        match kind {
            // In turn, so that each is known soon on each route; and always from the same place: the gateway knows it
            // by that too.
            Kind::Known => {
                let source = (round % KNOWN as usize) as u32;
                (source, format!("known-{source}"))
            }
            Kind::Public | Kind::New => (fastrand::u32(..CLIENTS), format!("new-{number}")),
        }
    }
}

/// A header's value, whatever it should say.
fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("drill"))
}

/// Asks for each target once, as a client with a good token: `Err` says what came instead of what was asked for.
///
/// # Errors
/// When there is no thread for it.
pub(super) fn try_each(world: &World, targets: &[Target]) -> anyhow::Result<Vec<Result<(), String>>> {
    let (answer, answers) = std::sync::mpsc::sync_channel(1);
    let (world, targets) = (world.clone(), targets.to_vec());
    let (_, thread) = crate::runtime::spawn("drill-first", move || async move {
        let connections = Connections::new(world);
        let mut all = Vec::new();
        for target in &targets {
            let asked = tokio::time::timeout(PATIENCE, connections.ask(0, "known-0", target));
            all.push(match asked.await {
                Ok(Got::Answer { status: 200..300, .. }) => Ok(()),
                Ok(Got::Answer { status, reason }) => Err(format!("{status} {}", reason.unwrap_or_default())),
                Ok(Got::Broken) => Err("no answer".to_owned()),
                Err(_) => Err("no answer in time".to_owned()),
            });
        }
        let _ = answer.send(all);
    })?;
    let all = answers.recv()?;
    let _ = thread.join();
    Ok(all)
}
