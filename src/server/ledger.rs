//! Who is here: one row for each request that holds a permit of the process, and for each tunnel, on one core.
//!
//! A row is a few plain values that the request writes down as it walks; they are put together only when an
//! operator asks who holds the slots. Nothing is allocated for a request, nothing is shared with other cores, and
//! nothing is decided here.

use crate::admission::CoreState;
use crate::request::{Class, Holder};
use crate::routing::trial;
use crate::routing::trial::tallies::Fate;
use crate::routing::view::Chosen;
use crate::telemetry::cells::CoreId;
use crate::telemetry::tally::Failure;
use crate::upstream::progress::{Progress, Stage};
use slab::Slab;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Rows that one answer of a core holds at most: the work of telling them is bounded whatever holds them.
pub const MAX_TOLD: usize = 65_536;

/// How far a request has come, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The beginning of its body is waited for, before it asks for anything of an upstream. Holds the process's
    /// permit only.
    Gathering,
    /// Its head is here and it was not sent yet: mostly, it waits in the queue.
    Waiting,
    /// Whoever says whether it may pass is waited for. Holds the process's permit only; the question holds one of
    /// the auth's upstream.
    WaitingForAuth,
    /// It has its place at a backend, and no connection yet.
    Connecting,
    /// Its body is on the way to the backend.
    Sending,
    /// The backend has all of it and has not begun to answer.
    WaitingForBackend,
    /// The backend's answer is on its way.
    Receiving,
    /// The exchange with the backend is over, or there was none; the client takes the rest. Holds the process's
    /// permit only, as a request or as a stream.
    Reading,
    /// Its exchange with the backend goes on, among the streams: a route with `streaming` took it.
    Streaming,
    /// Nobody waits for it any more, and the backend may still work on it. Holds the upstream's permit only, or a
    /// place among a backend's streams.
    Zombie,
    /// A connection after `101`; counted with the streams, not with the requests.
    Tunnel,
}

impl Phase {
    /// The word in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Gathering => "gathering",
            Phase::Waiting => "waiting",
            Phase::WaitingForAuth => "waiting_for_auth",
            Phase::Connecting => "connecting",
            Phase::Sending => "sending",
            Phase::WaitingForBackend => "waiting_for_backend",
            Phase::Receiving => "receiving",
            Phase::Reading => "reading",
            Phase::Streaming => "streaming",
            Phase::Zombie => "zombie",
            Phase::Tunnel => "tunnel",
        }
    }
}

impl Phase {
    /// The same for what is among the streams: it has its place at a backend as long as the exchange goes on, and
    /// how far a stream has come says little.
    fn of_stream(self) -> Self {
        match self {
            Phase::Connecting | Phase::Sending | Phase::WaitingForBackend | Phase::Receiving => {
                Phase::Streaming
            }
            other => other,
        }
    }
}

/// One holder of a slot, in values that may leave the core.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The upstream that it is for, if any.
    pub upstream: Option<Arc<str>>,
    /// The route that took it, if any did.
    pub route: Option<Arc<str>>,
    /// Its class; what no route took has none.
    pub class: Option<Class>,
    /// Who holds it, proxies looked through.
    pub client: IpAddr,
    /// Since when.
    pub since: Instant,
    /// How far it has come.
    pub phase: Phase,
}

/// What a core answers when it is asked who is there.
#[derive(Debug, Default)]
pub struct Census {
    /// At most [`MAX_TOLD`] of them, in no order.
    pub holdings: Vec<Holding>,
    /// How many there are.
    pub total: usize,
}

/// The rows of one core.
#[derive(Debug, Default)]
pub struct Ledger(RefCell<Slab<Row>>);

/// What is written down of one request.
#[derive(Debug)]
struct Row {
    holder: Holder,
    chosen: Option<Chosen>,
    progress: Option<Rc<Progress>>,
    side: Side,
    /// In flight for too long, and counted as failed for that.
    overdue: bool,
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Nothing yet; it is the client that is waited for.
    Gathering,
    /// Nothing yet; it is an auth that is waited for.
    Judged,
    /// Nothing yet.
    Unanswered,
    /// The answer's head.
    Answered,
    /// That it is a tunnel now.
    Tunnel,
}

/// The right to write into one's row, which is there for as long as this is.
#[derive(Debug)]
pub struct Entry {
    ledger: Rc<Ledger>,
    key: usize,
}

impl Ledger {
    /// Somebody is here from now on.
    pub fn enter(self: &Rc<Self>, holder: Holder) -> Entry {
        let row = Row { holder, chosen: None, progress: None, side: Side::Unanswered, overdue: false };
        let key = self.0.borrow_mut().insert(row);
        Entry { ledger: self.clone(), key }
    }

    /// Counts whoever has been in flight for too long as failed, each once, while two versions are compared. How many
    /// there are now: of the stable version, and of the candidate.
    pub fn mark_overdue(&self, core: CoreId, now: Instant) -> [u32; 2] {
        let mut overdue = [0; 2];
        for (_, row) in self.0.borrow_mut().iter_mut() {
            let Some(side) = row.is_late(now) else { continue };
            overdue[side as usize] += 1;
            if !std::mem::replace(&mut row.overdue, true) {
                let failed = || Fate::Failed(Failure::Overdue);
                row.chosen.iter().for_each(|chosen| chosen.count(core, failed));
            }
        }
        overdue
    }

    /// Everybody who is here, as the rows say.
    pub fn tell(&self, census: &mut Census) {
        let rows = self.0.borrow();
        census.total += rows.len();
        let room = MAX_TOLD.saturating_sub(census.holdings.len());
        census.holdings.reserve(rows.len().min(room));
        census.holdings.extend(rows.iter().take(room).map(|(_, row)| row.holding()));
    }
}

impl Census {
    /// The zombies of one upstream, which have outlived their requests' rows.
    pub fn add_zombies(&mut self, state: &CoreState) {
        state.each_zombie(|upstream, route, class, holder| {
            self.total += 1;
            if self.holdings.len() < MAX_TOLD {
                self.holdings.push(Holding {
                    upstream: Some(upstream.clone()),
                    route: Some(route.clone()),
                    class: Some(class),
                    client: holder.client,
                    since: holder.since,
                    phase: Phase::Zombie,
                });
            }
        });
    }
}

impl Row {
    /// The version that lets it wait for too long for the head of its answer, if one does. Whoever has not sent all of
    /// its request lets itself wait.
    fn is_late(&self, now: Instant) -> Option<trial::Side> {
        if !matches!(self.side, Side::Judged | Side::Unanswered) {
            return None;
        }
        let late = self.chosen.as_ref()?.overdue(now.saturating_duration_since(self.holder.since))?;
        let waits_for_client = self.progress.as_ref().is_some_and(|progress| progress.waits_for_body());
        (!waits_for_client).then_some(late)
    }

    fn holding(&self) -> Holding {
        let chosen = self.chosen.as_ref();
        let settings = chosen.map(|chosen| &chosen.route().settings);
        Holding {
            upstream: chosen.and_then(Chosen::upstream).map(|upstream| upstream.name.clone()),
            route: settings.map(|settings| settings.name.clone()),
            class: settings.map(|settings| settings.class),
            client: self.holder.client,
            since: self.holder.since,
            phase: match phase(self.side, self.progress.as_deref()) {
                phase if settings.is_some_and(|settings| settings.streaming) => phase.of_stream(),
                phase => phase,
            },
        }
    }
}

fn phase(side: Side, progress: Option<&Progress>) -> Phase {
    let open = progress.filter(|progress| progress.cause().is_none());
    match (side, open.map(Progress::stage)) {
        (Side::Tunnel, _) => Phase::Tunnel,
        (Side::Gathering, _) => Phase::Gathering,
        (Side::Judged, _) => Phase::WaitingForAuth,
        (Side::Answered, Some(Stage::Open)) => Phase::Receiving,
        (Side::Answered, _) | (_, Some(Stage::Over)) => Phase::Reading,
        (Side::Unanswered, None) => Phase::Waiting,
        (Side::Unanswered, Some(Stage::Connecting)) => Phase::Connecting,
        (Side::Unanswered, Some(Stage::Open)) => match open.is_some_and(Progress::upload_done) {
            true => Phase::WaitingForBackend,
            false => Phase::Sending,
        },
    }
}

impl Entry {
    /// A route took it.
    pub fn chose(&self, chosen: &Chosen) {
        self.write(|row| row.chosen = Some(chosen.clone()));
    }

    /// The beginning of its body is waited for.
    pub fn gathers(&self) {
        self.write(|row| row.side = Side::Gathering);
    }

    /// Whether it may pass is being asked.
    pub fn is_judged(&self) {
        self.write(|row| row.side = Side::Judged);
    }

    /// Nothing of the client is waited for any more.
    pub fn waits(&self) {
        self.write(|row| row.side = Side::Unanswered);
    }

    /// It is on its way to a backend.
    pub fn sends(&self, progress: &Rc<Progress>) {
        self.write(|row| row.progress = Some(progress.clone()));
    }

    /// The client gets its answer.
    pub fn answers(&self) {
        self.write(|row| row.side = Side::Answered);
    }

    /// It is a tunnel.
    pub fn tunnels(&self) {
        self.write(|row| row.side = Side::Tunnel);
    }

    /// It was counted as failed, for being in flight for too long.
    pub fn is_overdue(&self) -> bool {
        self.ledger.0.borrow().get(self.key).is_some_and(|row| row.overdue)
    }

    fn write(&self, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.ledger.0.borrow_mut().get_mut(self.key) {
            change(row);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let row = self.ledger.0.borrow_mut().try_remove(self.key);
        // A row may be the last to hold a version of the table, whose end is nothing to wait for in a borrow.
        drop(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;
    use crate::runtime::clock::Clock;
    use crate::upstream::progress::{Judged, Patience};
    use std::time::Duration;

    fn holder() -> Holder {
        Holder { since: Instant::now(), client: [192, 0, 2, 1].into() }
    }

    fn progress() -> Rc<Progress> {
        let patience = Patience {
            body_idle: Duration::MAX,
            ends: None,
            after_leave: Duration::MAX,
            judged: Judged::All,
        };
        Rc::new(Progress::new(Rc::new(Clock::new(Instant::now())), patience))
    }

    fn seen(ledger: &Ledger) -> Vec<Phase> {
        let mut census = Census::default();
        ledger.tell(&mut census);
        assert_eq!(census.total, census.holdings.len());
        census.holdings.iter().map(|holding| holding.phase).collect()
    }

    #[test]
    fn a_request_is_seen_in_every_phase_and_gone_at_its_end() {
        let ledger = Rc::new(Ledger::default());
        let entry = ledger.enter(holder());
        assert_eq!(seen(&ledger), [Phase::Waiting]);
        entry.is_judged();
        assert_eq!(seen(&ledger), [Phase::WaitingForAuth]);
        entry.gathers();
        assert_eq!(seen(&ledger), [Phase::Gathering]);
        entry.waits();
        assert_eq!(seen(&ledger), [Phase::Waiting]);
        let progress = progress();
        progress.expect_upload();
        entry.sends(&progress);
        assert_eq!(seen(&ledger), [Phase::Connecting]);
        progress.reach(Stage::Open);
        assert_eq!(seen(&ledger), [Phase::Sending]);
        progress.upload_ended();
        assert_eq!(seen(&ledger), [Phase::WaitingForBackend]);
        entry.answers();
        assert_eq!(seen(&ledger), [Phase::Receiving]);
        progress.reach(Stage::Over);
        assert_eq!(seen(&ledger), [Phase::Reading]);
        drop(entry);
        assert_eq!(seen(&ledger), []);
    }

    #[test]
    fn what_was_ended_from_outside_is_left_to_its_client() {
        let ledger = Rc::new(Ledger::default());
        let (entry, progress) = (ledger.enter(holder()), progress());
        entry.sends(&progress);
        progress.reach(Stage::Open);
        entry.answers();
        progress.end(Reason::BackendTooSlow);
        assert_eq!(seen(&ledger), [Phase::Reading]);
        entry.tunnels();
        assert_eq!(seen(&ledger), [Phase::Tunnel]);
    }
}
