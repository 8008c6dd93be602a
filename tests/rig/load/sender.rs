//! The thread that sends: a task for each request that is due, its patience, its retries, its change of mind.

use super::Plan;
use super::client::{Connections, Got};
use super::pacer::Due;
use super::report::{Ended, Report, Seen};
use super::stream::Stream;
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinSet, LocalSet};

/// After the longest patience; then whatever is still under way is given up.
const GRACE: Duration = Duration::from_secs(1);

/// Sends what is due until there is no more, waits for the answers, and reports.
pub fn run(plan: Plan, streams: Vec<Stream>, started: Instant, dues: Receiver<Due>) -> Report {
    let seen = streams.iter().map(|stream| Seen::new(&stream.name, &plan)).collect();
    let sender = Rc::new(Sender {
        connections: Connections::new(streams.len(), plan.max_connections),
        streams,
        plan,
        started,
        seen: RefCell::new(seen),
        rng: RefCell::new(Rng::with_seed(plan.seed)),
        retrying: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, all(sender.clone(), dues));
    let streams = sender.seen.take();
    Report { slice: plan.slice, streams }
}

async fn all(sender: Rc<Sender>, mut dues: Receiver<Due>) {
    let mut tasks = JoinSet::new();
    while let Some(due) = dues.recv().await {
        let sender = sender.clone();
        tasks.spawn_local(async move { sender.client(due).await });
        while tasks.try_join_next().is_some() {}
    }
    let patience = sender.streams.iter().map(|stream| stream.patience).max().unwrap_or_default();
    let end = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(patience + GRACE, end).await;
}

struct Sender {
    connections: Connections,
    streams: Vec<Stream>,
    plan: Plan,
    started: Instant,
    seen: RefCell<Vec<Seen>>,
    rng: RefCell<Rng>,
    /// Retries that wait or are under way.
    retrying: Cell<usize>,
}

impl Sender {
    /// One client with its one wish.
    async fn client(&self, due: Due) {
        let stream = &self.streams[due.stream];
        self.seen.borrow_mut()[due.stream].client(due.at);
        let (mut at, mut retrying) = (due.at, None);
        for attempt in 0.. {
            let ended = self.attempt(due.stream, at).await;
            let took = self.started.elapsed().saturating_sub(at);
            let satisfied = ended.satisfies();
            {
                let seen = &mut self.seen.borrow_mut()[due.stream];
                seen.answered += u64::from(satisfied);
                seen.record(at, took, ended);
            }
            // A retry is under way until it has its answer; the next one takes its own place.
            drop(retrying.take());
            if satisfied || attempt >= stream.retries.max || self.retrying.get() >= stream.retries.at_once {
                return;
            }
            retrying = Some(Retrying::new(&self.retrying));
            let wait = stream.retries.wait.mul_f64(0.5 + self.rng.borrow_mut().f64());
            tokio::time::sleep(wait).await;
            at = self.started.elapsed();
            if at >= self.plan.duration {
                return;
            }
        }
    }

    /// One try, cut short by impatience or by a change of mind.
    async fn attempt(&self, number: usize, at: Duration) -> Ended {
        let stream = &self.streams[number];
        let patience = self.started + at + stream.patience;
        let (mut until, mut leaves, mut bytes) = (patience, false, stream.request.as_slice());
        if let Some(aborts) = stream.aborts {
            let mut rng = self.rng.borrow_mut();
            if rng.f64() < aborts.share {
                until = patience.min(Instant::now() + aborts.within.mul_f64(rng.f64()));
                leaves = true;
                if rng.u8(..3) == 0 {
                    bytes = &bytes[..rng.usize(1..bytes.len())];
                }
            }
        }
        let asked = self.connections.ask(number, stream, bytes);
        match tokio::time::timeout_at(until.into(), asked).await {
            Ok(Got::Answer { status, reason }) => Ended::Answer { status, reason },
            Ok(Got::Failure(failure)) => Ended::Error(failure),
            Ok(Got::NoRoom) => Ended::Skipped,
            Err(_) if leaves => Ended::Left,
            Err(_) => Ended::Timeout,
        }
    }
}

struct Retrying<'a>(&'a Cell<usize>);

impl<'a> Retrying<'a> {
    fn new(cell: &'a Cell<usize>) -> Retrying<'a> {
        cell.set(cell.get() + 1);
        Retrying(cell)
    }
}

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
