//! One core's place of work: everything that its requests touch and that no other core does, and handles to
//! the little that cores share.

use crate::admission::Granted;
use crate::admission::cohorts::CoreKeys;
use crate::memory::CoreMemory;
use crate::routing::table::Live;
use crate::routing::trial::tallies::tell_overdue;
use crate::routing::view::{Furniture, View, Views};
use crate::runtime::bells::Bells;
use crate::runtime::clock::Clock;
use crate::server::client::Client;
use crate::server::ledger::{Census, Ledger};
use crate::server::process::Process;
use crate::server::strain::Strain;
use crate::telemetry::access_log::CoreLog;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::{Metrics, NONE, RouteMetrics, UpstreamMetrics};
use crate::upstream::exchange::Exchanges;
use crate::upstream::janitor::Janitor;
use crate::upstream::outbox::Outbox;
use http::HeaderMap;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What all stations share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The active table.
    pub live: Arc<Live>,
    /// The process's own bounds.
    pub process: Arc<Process>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How cores wake each other.
    pub bells: Arc<Bells>,
    /// The common zero of time.
    pub started: Instant,
}

/// One core's place of work.
#[derive(Debug)]
pub struct Station {
    /// Which core.
    pub core: CoreId,
    /// What all stations share.
    pub shared: Shared,
    /// The core's coarse time.
    pub clock: Rc<Clock>,
    /// Exchanges with backends.
    pub exchanges: Rc<Exchanges<Granted>>,
    /// Who is here.
    pub ledger: Rc<Ledger>,
    /// The core's share in the budget of buffered bytes.
    pub memory: Rc<CoreMemory>,
    /// The core's end of the access log.
    pub log: CoreLog,
    /// Where requests that match no route count.
    pub unrouted: Arc<RouteMetrics>,
    /// Where sheds count that are no upstream's.
    pub unrouted_sheds: Arc<UpstreamMetrics>,
    /// Connections of clients.
    clients: RefCell<Slab<Rc<Client>>>,
    /// Whether the core keeps up with its work.
    pub strain: Strain,
    janitor: Rc<Janitor>,
    /// What is sent at the end of a turn.
    pub outbox: Rc<Outbox>,
    furniture: RefCell<Furniture>,
    views: RefCell<Rc<Views>>,
    /// Whose requests came since the last tick.
    keys: CoreKeys,
    epoch: Cell<u64>,
}

impl Station {
    /// Sets up `core`'s station.
    pub fn new(core: CoreId, shared: Shared, log: CoreLog) -> Rc<Self> {
        let clock = Rc::new(Clock::new(shared.started));
        let outbox = Rc::<Outbox>::default();
        let janitor = Janitor::new(clock.clone(), outbox.clone());
        let mut furniture = Furniture::new(core, clock.clone(), shared.bells.clone(), janitor.clone());
        let epoch = Cell::new(shared.live.epoch());
        let views = furniture.arrange(&shared.live.tables());
        let memory = CoreMemory::new(shared.process.memory.clone(), views.stable().table.max_buffered);
        let views = RefCell::new(views);
        let unrouted = shared.metrics.route(NONE);
        Rc::new(Station {
            core,
            clock,
            exchanges: Exchanges::new(memory.clone()),
            ledger: Rc::default(),
            memory,
            log,
            unrouted,
            unrouted_sheds: shared.metrics.upstream(NONE),
            clients: RefCell::default(),
            strain: Strain::new(Instant::now()),
            janitor,
            outbox,
            furniture: RefCell::new(furniture),
            views,
            keys: CoreKeys::default(),
            epoch,
            shared,
        })
    }

    /// The tables as this core sees them. One atomic load, unless they changed.
    pub fn views(&self) -> Rc<Views> {
        let epoch = self.shared.live.epoch();
        if epoch != self.epoch.get() {
            self.epoch.set(epoch);
            let views = self.furniture.borrow_mut().arrange(&self.shared.live.tables());
            self.memory.set_limit(views.stable().table.max_buffered);
            *self.views.borrow_mut() = views;
        }
        self.views.borrow().clone()
    }

    /// The version that serves a request of this client: fixed once, from raw facts.
    pub fn choose<'a>(&self, views: &'a Views, client: IpAddr, headers: &HeaderMap) -> &'a Rc<View> {
        let key = views.fact().key(client, headers);
        self.keys.saw(key);
        views.choose(key, self.core)
    }

    /// Looks after parked connections until the core ends.
    pub async fn keep_house(self: Rc<Self>) {
        self.janitor.clone().work().await;
    }

    /// Serves those who wait here whenever another core rings.
    pub async fn answer_bell(self: Rc<Self>) {
        loop {
            self.shared.bells.heard(self.core.0 as usize).await;
            self.furniture.borrow().serve();
        }
    }

    /// The core's tick: everything that is overdue ends, everything that is stale goes.
    pub fn tick(&self) {
        let now = self.clock.tick();
        // An idle core must not keep an old version alive.
        let views = self.views();
        if let Some(tallies) = &views.tallies {
            tell_overdue(tallies, self.core, self.ledger.mark_overdue(self.core, now));
        }
        drop(views);
        self.keys.hand_on(&self.shared.live.keys);
        self.exchanges.sweep(now);
        self.sweep_clients(now);
        self.memory.settle();
        self.log.flush();
    }

    /// Parked clients, of which there may be very many, are only looked at.
    fn sweep_clients(&self, now: Instant) {
        let clients = self.clients.borrow();
        let others = clients.iter().filter(|(_, client)| !client.sweep_parked(now));
        let others: Vec<_> = others.map(|(_, client)| client.clone()).collect();
        drop(clients);
        others.iter().for_each(|client| client.sweep(now));
    }

    /// Who holds slots on this core, zombies included.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        self.ledger.tell(&mut census);
        self.furniture.borrow().states().for_each(|state| census.add_zombies(state));
        census
    }

    /// The slower tick, once a second.
    pub fn tidy(&self) {
        self.janitor.tidy();
    }

    /// The slowest, every ten seconds.
    pub fn fade(&self) {
        self.furniture.borrow().fade();
    }
}

/// A connection that lives at a station; its end, also by a panic, is the end of its records.
#[derive(Debug)]
pub struct Resident {
    client: Rc<Client>,
    key: usize,
}

impl Resident {
    /// It lives there from now on.
    pub fn enter(station: &Station, client: &Rc<Client>) -> Self {
        let key = station.clients.borrow_mut().insert(client.clone());
        Resident { client: client.clone(), key }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.client.close();
        self.client.station.clients.borrow_mut().remove(self.key);
    }
}
