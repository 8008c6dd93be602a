//! Waiting in line for a permit: joining, being served, giving up.

use crate::admission::line::Line;
use crate::admission::patience::Hopeless;
use crate::admission::queue::Ticket;
use crate::admission::{CoreState, Full, Granted, RouteGate};
use crate::permit::{Counter, Permit};
use crate::reject::Reason;
use crate::request::Class;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Somebody in line.
#[derive(Debug)]
pub(super) struct Waiter {
    route: Rc<RouteGate>,
    client: IpAddr,
    outcome: RefCell<Option<Result<Granted, Reason>>>,
    waker: RefCell<Option<Waker>>,
    in_line: Cell<bool>,
    /// Of a candidate's part of the line.
    _part: Option<Permit<Arc<Counter>>>,
}

impl Waiter {
    /// Where it stands in the line.
    fn rank(&self) -> usize {
        Line::rank(self.route.class as usize, self.route.gate.is_guest())
    }

    fn finish(&self, outcome: Result<Granted, Reason>) {
        *self.outcome.borrow_mut() = Some(outcome);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<Granted, Reason>> {
        if let Some(outcome) = self.outcome.borrow_mut().take() {
            return Poll::Ready(outcome);
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A place in line that is given up when its owner is dropped (the client left).
struct InLine {
    waiter: Rc<Waiter>,
    ticket: Ticket,
}

impl Drop for InLine {
    fn drop(&mut self) {
        let state = &self.waiter.route.gate.state;
        let found = state.queue.borrow_mut().leave(self.ticket).is_some();
        if found {
            left(state, &self.waiter);
        }
    }
}

/// The waiter is out of the queue, however it got out, so it is out of the line: once.
fn left(state: &CoreState, waiter: &Waiter) {
    if waiter.in_line.replace(false) {
        state.shared.line.leave(state.core.0 as usize, waiter.rank());
    }
}

/// Waits for room, if that will probably help. `reason` is what it was first stopped by.
///
/// # Errors
/// The reason of the refusal.
pub(super) async fn wait(
    route: &Rc<RouteGate>,
    client: IpAddr,
    reason: Reason,
    deadline: Instant,
) -> Result<Granted, Reason> {
    let state = &route.gate.state;
    let now = Instant::now();
    let patience = route.max_wait().min(deadline.saturating_duration_since(now));
    worth_it(route, reason, now, patience)?;
    let in_line = join(route, client).ok_or(Reason::QueueFull)?;
    // The permit may have come free between the try and the join.
    state.wake();
    let outcome = served(&in_line.waiter, patience).await;
    let waited = u64::try_from(now.elapsed().as_nanos()).unwrap_or(u64::MAX);
    route.gate.metrics.queue_wait(state.core, waited);
    drop(in_line);
    // Whoever gives up passes on the bell that may have rung for it.
    if outcome.is_err() {
        state.wake();
    }
    outcome
}

fn worth_it(route: &RouteGate, reason: Reason, now: Instant, patience: Duration) -> Result<(), Reason> {
    let state = &route.gate.state;
    let mut judge = state.patience.borrow_mut();
    judge.look(now, state.shared.line.released(), state.granted.get());
    let place = state.queue.borrow().ahead_of(route.class) + 1;
    judge.verdict(now, place, patience, route.max_wait()).map_err(|hopeless| match hopeless {
        Hopeless::NothingReleased => reason,
        Hopeless::TooFarBack => Reason::QueueFull,
    })
}

async fn served(waiter: &Waiter, patience: Duration) -> Result<Granted, Reason> {
    let served = poll_fn(|cx| waiter.poll(cx));
    tokio::time::timeout(patience, served).await.unwrap_or(Err(Reason::QueueTimeout))
}

/// Takes a place in line, at the cost of somebody of a lower class if the line is full.
fn join(route: &Rc<RouteGate>, client: IpAddr) -> Option<InLine> {
    let state = &route.gate.state;
    let core = state.core.0 as usize;
    let max = route.gate.settings.max_waiting;
    let part = match &route.gate.part {
        Some(part) => Some(part.waiting.enter()?),
        None => None,
    };
    let rank = Line::rank(route.class as usize, route.gate.is_guest());
    if !state.shared.line.join(core, rank, max) {
        displace(state, route.class)?;
        if !state.shared.line.join(core, rank, max) {
            return None;
        }
    }
    let waiter = Rc::new(Waiter {
        route: route.clone(),
        client,
        outcome: RefCell::default(),
        waker: RefCell::default(),
        in_line: Cell::new(true),
        _part: part,
    });
    let ticket = state.queue.borrow_mut().push(route.class, waiter.clone());
    Some(InLine { waiter, ticket })
}

fn displace(state: &CoreState, class: Class) -> Option<()> {
    let victim = state.queue.borrow_mut().displace(class)?;
    left(state, &victim);
    victim.finish(Err(Reason::QueueFull));
    Some(())
}

/// Waiting any longer is of no use: what refuses is not what the waiter waits for.
fn is_final(full: Full) -> bool {
    let hopeless = matches!(full.reason, Reason::RouteLimit | Reason::NoBackend | Reason::Ramp);
    hopeless && !full.may_wait
}

/// Serves those who wait here while there is room, then passes the bell on to another core. One version's requests may
/// be stopped by what is only theirs (a candidate's part, backends that the other does not have): those of the other
/// do not wait behind them.
pub(super) fn serve(state: &CoreState) {
    let mut stopped = [false; 2];
    loop {
        let next = {
            let queue = state.queue.borrow();
            let wanted = |waiter: &Rc<Waiter>| !stopped[usize::from(waiter.route.gate.is_guest())];
            queue.first(wanted).map(|(ticket, waiter)| (ticket, waiter.clone()))
        };
        let Some((ticket, waiter)) = next else { break };
        let outcome = match waiter.route.try_admit(waiter.client) {
            Ok(granted) => Ok(granted),
            Err(full) if is_final(full) => Err(full.reason),
            Err(_) => {
                stopped[usize::from(waiter.route.gate.is_guest())] = true;
                if stopped == [true; 2] || !stopped[1] && !state.shared.line.has_guests() {
                    return;
                }
                continue;
            }
        };
        let served = state.queue.borrow_mut().leave(ticket);
        debug_assert!(served.is_some_and(|served| Rc::ptr_eq(&served, &waiter)));
        left(state, &waiter);
        waiter.finish(outcome);
    }
    if stopped != [false; 2] {
        return;
    }
    // The line here is empty; if there is still room, it is for those who wait elsewhere.
    if let Some(core) = state.shared.line.core_to_wake(state.core.0 as usize) {
        state.bells.ring(core);
    }
}
