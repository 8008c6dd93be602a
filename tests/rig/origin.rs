//! The origin with knobs: a fleet of backends, each on a port of its own, all on one thread.
//!
//! It speaks just enough HTTP/1.1 for requests without bodies, counts what it sees, and can be set differently
//! at any moment. It does not pretend: a worker is held for the whole service time whoever has left.

mod door;
mod exchange;
pub mod knobs;
mod model;

use self::knobs::{Database, Fault, Knobs, Seen};
use self::model::{Model, Ticket};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

/// New backends on their way to the fleet's thread.
const ON_THE_WAY: usize = 256;

/// Running backends; they end when it is dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    doors: Option<mpsc::Sender<(usize, TcpListener)>>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Backends set by `knobs`, with a database behind them or without.
    pub fn start(seed: u64, database: Option<Database>, knobs: &[Knobs]) -> Fleet {
        let inside = Inside { model: Model::new(seed, database), asking: HashMap::new() };
        let shared = Arc::new(Shared {
            inside: Mutex::new(inside),
            started: Instant::now(),
            sooner: Notify::new(),
            manners: Notify::new(),
        });
        let (doors, opened) = mpsc::channel(ON_THE_WAY);
        let inner = shared.clone();
        let thread = std::thread::Builder::new()
            .name("origin".into())
            .spawn(move || live(inner, opened))
            .expect("a thread starts");
        let mut fleet = Fleet { shared, addresses: Vec::new(), doors: Some(doors), thread: Some(thread) };
        for knobs in knobs {
            fleet.add(knobs.clone());
        }
        fleet
    }

    /// One backend at an address that somebody else chose; it may have been another process's a moment ago.
    pub fn at(seed: u64, address: SocketAddr, knobs: Knobs) -> std::io::Result<Fleet> {
        let mut fleet = Fleet::start(seed, None, &[]);
        fleet.open(TcpListener::bind(address)?, knobs);
        Ok(fleet)
    }

    /// One more backend; returns where it listens.
    pub fn add(&mut self, knobs: Knobs) -> SocketAddr {
        self.open(TcpListener::bind("127.0.0.1:0").expect("a port"), knobs)
    }

    fn open(&mut self, listener: TcpListener, knobs: Knobs) -> SocketAddr {
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let backend = self.shared.inside().model.add(knobs);
        let doors = self.doors.as_ref().expect("open until it is dropped");
        doors.try_send((backend, listener)).expect("at most 256 backends at once");
        self.addresses.push(address);
        address
    }

    /// Where the backends listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Sets one backend differently from now on.
    pub fn set(&self, backend: usize, change: impl FnOnce(&mut Knobs)) {
        let mut inside = self.shared.inside();
        let mut knobs = inside.model.knobs(backend).clone();
        change(&mut knobs);
        inside.model.set(backend, knobs, self.shared.now());
        drop(inside);
        self.shared.sooner.notify_one();
        self.shared.manners.notify_waiters();
    }

    /// Sets them all.
    pub fn set_all(&self, change: impl Fn(&mut Knobs)) {
        (0..self.addresses.len()).for_each(|backend| self.set(backend, &change));
    }

    /// Lets the peaks begin anew.
    pub fn forget_peaks(&self) {
        self.shared.inside().model.forget_peaks(self.shared.now());
    }

    /// What one backend has seen.
    pub fn seen(&self, backend: usize) -> Seen {
        self.shared.inside().model.seen(backend, self.shared.now())
    }

    /// What they have seen together; the peak is the sum of theirs.
    pub fn seen_together(&self) -> Seen {
        let mut sum = Seen::default();
        for backend in 0..self.addresses.len() {
            let seen = self.seen(backend);
            sum.in_flight += seen.in_flight;
            sum.peak += seen.peak;
            sum.total += seen.total;
            sum.served += seen.served;
            sum.aborted += seen.aborted;
        }
        sum
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.doors.take());
        self.shared.sooner.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the fleet's thread and its owner both reach.
struct Shared {
    inside: Mutex<Inside>,
    started: Instant,
    /// Something may be due sooner than the clock knows.
    sooner: Notify,
    /// A backend's manner may have changed.
    manners: Notify,
}

struct Inside {
    model: Model,
    /// Connections that wait for an answer.
    asking: HashMap<Ticket, oneshot::Sender<Option<Fault>>>,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nobody panicked with it")
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A request for a backend; the receiver hears when it is to be answered, and how.
    fn arrive(&self, backend: usize) -> Option<(Ticket, oneshot::Receiver<Option<Fault>>)> {
        let mut inside = self.inside();
        let before = inside.model.due();
        let ticket = inside.model.arrive(backend, self.now())?;
        let (answer, answered) = oneshot::channel();
        inside.asking.insert(ticket, answer);
        if inside.model.due() != before {
            self.sooner.notify_one();
        }
        Some((ticket, answered))
    }

    fn abandon(&self, ticket: Ticket) {
        let mut inside = self.inside();
        inside.asking.remove(&ticket);
        inside.model.abandon(ticket);
    }

    /// Tells those whose answer is ready; returns when to look again.
    fn answer(&self) -> Option<Duration> {
        let mut inside = self.inside();
        for (ticket, fault) in inside.model.ready(self.now()) {
            if let Some(asking) = inside.asking.remove(&ticket) {
                let _ = asking.send(fault);
            }
        }
        inside.model.due()
    }
}

/// The fleet's thread: it opens doors and keeps the model's time until the owner has gone.
fn live(shared: Arc<Shared>, mut opened: mpsc::Receiver<(usize, TcpListener)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let clock = tokio::task::spawn_local(keep_time(shared.clone()));
        while let Some((backend, listener)) = opened.recv().await {
            tokio::task::spawn_local(door::keep(shared.clone(), backend, listener));
        }
        clock.abort();
    });
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        let due = shared.answer().map(|due| shared.started + due);
        let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = shared.sooner.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
