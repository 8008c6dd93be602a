//! The simulation: clients, gateways and backends, and what happens to a request from one to the next.

use crate::backend::Backend;
use crate::chance::Chance;
use crate::events::{Clock, Event, Events, MS, SECOND, nanos, seconds};
use crate::gateway::{Arrival, Gateway};
use crate::measure::Measured;
use crate::scene::Scene;
use crate::steering::Steering;
use std::collections::VecDeque;
use tidegate::admission::queue::Ticket;
use tidegate::reject::Reason;
use tidegate::request::Class;

/// How often a gateway looks at what happened.
const TICK: u64 = 100 * MS;

/// One try of a client.
#[derive(Clone, Copy)]
struct Request {
    arrived: u64,
    sent: u64,
    gateway: u32,
    backend: u32,
    attempt: u32,
    class: Class,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waits(Ticket),
    Sent,
    /// Its client is gone, its slot is kept.
    Zombie,
    Over,
}

/// Everything.
struct World<'a> {
    scene: &'a Scene,
    now: u64,
    chance: Chance,
    events: Events,
    /// Requests whose time is up, and waiters whose patience is: each kind has as long as the other, so they end in
    /// the order in which they came.
    deadlines: VecDeque<(u64, u32)>,
    patience: VecDeque<(u64, u32)>,
    requests: Vec<Request>,
    backends: Vec<Backend>,
    gateways: Vec<Gateway>,
    steering: Vec<Steering>,
    /// Misses that the shared database works on.
    misses: u32,
    measured: Measured,
}

/// Simulates a scene from a seed.
pub fn run(scene: &Scene, seed: u64) -> Measured {
    let mut chance = Chance::new(seed);
    let clock = Clock::start();
    let many = scene.fleet.backends;
    let gateways: Vec<_> =
        (0..scene.gateways).map(|_| Gateway::new(&scene.gateway, many, clock, chance.seed())).collect();
    let mut world = World {
        scene,
        now: 0,
        chance,
        events: Events::default(),
        deadlines: VecDeque::new(),
        patience: VecDeque::new(),
        requests: Vec::new(),
        backends: (0..many).map(|_| Backend::new()).collect(),
        steering: (0..scene.gateways).map(|_| Steering::new(scene, clock)).collect(),
        gateways,
        misses: 0,
        measured: Measured::new(scene.seconds),
    };
    world.begin();
    world.live();
    world.measured
}

impl World<'_> {
    fn begin(&mut self) {
        let first = self.chance.gap((self.scene.offered)(0.0));
        self.events.plan(first, Event::Arrival);
        for gateway in 0..self.gateways.len() {
            // Gateways do not tick together.
            let phase = self.chance.below(TICK as usize) as u64;
            self.events.plan(phase, Event::Tick(gateway as u32));
        }
        if let Some((at, many)) = self.scene.fleet.restart {
            self.events.plan(nanos(at), Event::Die(many));
        }
    }

    fn live(&mut self) {
        let end = self.scene.seconds as u64 * SECOND;
        loop {
            let next = self.events.next_at();
            let deadline = self.deadlines.front().map_or(u64::MAX, |(at, _)| *at);
            let patience = self.patience.front().map_or(u64::MAX, |(at, _)| *at);
            self.now = next.min(deadline).min(patience);
            if self.now >= end {
                break;
            }
            if patience == self.now {
                if let Some((_, request)) = self.patience.pop_front() {
                    self.gives_up(request);
                }
            } else if deadline == self.now {
                if let Some((_, request)) = self.deadlines.pop_front() {
                    self.is_late(request);
                }
            } else if let Some(event) = self.events.pop() {
                self.happens(event);
            }
        }
        self.measured.crashes = self.backends.iter().map(|backend| backend.crashes).sum();
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                let gap = self.chance.gap((self.scene.offered)(seconds(self.now)));
                self.events.plan(self.now + gap, Event::Arrival);
                self.second().offered += 1;
                let gateway =
                    if self.gateways.len() == 1 { 0 } else { self.chance.below(self.gateways.len()) };
                self.arrives(gateway as u32, 0);
            }
            Event::Again { gateway, attempt } => self.arrives(gateway, attempt),
            Event::Served { backend, request, boot } => self.served(backend as usize, request, boot),
            Event::Answer(request) => self.answers(request),
            Event::ZombieEnds(request) => self.zombie_ends(request),
            Event::Fetched => self.misses -= 1,
            Event::Tick(gateway) => self.tick(gateway as usize),
            Event::Die(many) => (0..many as usize).for_each(|backend| self.die(backend)),
        }
    }

    fn second(&mut self) -> &mut crate::measure::Second {
        &mut self.measured.seconds[(self.now / SECOND) as usize]
    }

    fn arrives(&mut self, gateway: u32, attempt: u32) {
        self.second().arrived += 1;
        let (now, class) = (self.now, Class::Default);
        let request = self.requests.len() as u32;
        let arrival = self.gateways[gateway as usize].arrive(request, class, now);
        let (state, backend) = match arrival {
            Arrival::Sent(backend) => (State::Sent, backend as u32),
            Arrival::Waits(ticket) => (State::Waits(ticket), 0),
            Arrival::Shed => {
                self.gateways[gateway as usize].sheds += 1;
                self.second().shed += 1;
                return self.tries_again(gateway, attempt);
            }
        };
        let settings = &self.scene.gateway;
        self.requests.push(Request { arrived: now, sent: now, gateway, backend, attempt, class, state });
        self.deadlines.push_back((now + settings.timeout.as_nanos() as u64, request));
        if state == State::Sent {
            self.send(request);
        } else {
            self.patience.push_back((now + settings.max_wait.as_nanos() as u64, request));
            // The permit may have come free between the try and the join.
            self.serve(gateway);
        }
    }

    fn tries_again(&mut self, gateway: u32, attempt: u32) {
        if attempt < self.scene.client_retries {
            let pause = nanos(self.chance.between(self.scene.backoff));
            self.events.plan(self.now + pause, Event::Again { gateway, attempt: attempt + 1 });
        }
    }

    /// Serves whoever waits at a gateway while there is room.
    fn serve(&mut self, gateway: u32) {
        loop {
            let requests = &self.requests[..];
            let class = |request: u32| requests[request as usize].class;
            let Some((request, outcome)) = self.gateways[gateway as usize].serve(class, self.now) else {
                return;
            };
            match outcome {
                Some(backend) => {
                    let it = &mut self.requests[request as usize];
                    (it.state, it.sent, it.backend) = (State::Sent, self.now, backend as u32);
                    self.send(request);
                }
                None => self.refuse(request),
            }
        }
    }

    fn refuse(&mut self, request: u32) {
        let Request { gateway, attempt, .. } = self.requests[request as usize];
        self.requests[request as usize].state = State::Over;
        self.gateways[gateway as usize].sheds += 1;
        self.second().shed += 1;
        self.tries_again(gateway, attempt);
    }

    fn gives_up(&mut self, request: u32) {
        let Request { gateway, class, state, .. } = self.requests[request as usize];
        let State::Waits(ticket) = state else { return };
        if self.gateways[gateway as usize].leave(ticket, class) {
            self.refuse(request);
            self.serve(gateway);
        }
    }

    /// To its backend, or to another one when nobody listens there: that was provably not sent.
    fn send(&mut self, request: u32) {
        let Request { gateway, backend, .. } = self.requests[request as usize];
        let (gate, mut backend) = (&mut self.gateways[gateway as usize], backend as usize);
        for try_again in [true, false] {
            if gate.connect(backend, self.backends[backend].is_down(self.now)) {
                return self.reach(request, backend);
            }
            gate.failed(backend, (Reason::ConnectFailed, 0), self.now);
            let other = if try_again { gate.another(backend, self.now) } else { None };
            gate.vacate(backend);
            match other {
                Some(other) => backend = other,
                None => break,
            }
        }
        self.requests[request as usize].state = State::Over;
        self.second().broken += 1;
        let waits = self.gateways[gateway as usize].end();
        self.tries_again(gateway, self.requests[request as usize].attempt);
        if waits {
            self.serve(gateway);
        }
    }

    fn reach(&mut self, request: u32, backend: usize) {
        self.requests[request as usize].backend = backend as u32;
        let gateway = self.requests[request as usize].gateway;
        let in_flight = self.gateways.iter().map(Gateway::in_flight).sum();
        let ramped = self.gateways[gateway as usize].shares.total.unwrap_or(u32::MAX);
        let second = self.second();
        second.admitted += 1;
        second.most_in_flight = second.most_in_flight.max(in_flight);
        second.beyond_ramp += u32::from(in_flight > ramped);
        let workers = (self.scene.fleet.workers)(seconds(self.now));
        let it = &mut self.backends[backend];
        if it.busy < workers {
            self.work(backend, request);
        } else {
            it.queue.push_back(request);
            if it.queue.len() > self.scene.fleet.dies_above {
                it.crashes += 1;
                self.die(backend);
            }
        }
    }

    fn work(&mut self, backend: usize, request: u32) {
        let fleet = &self.scene.fleet;
        let now = seconds(self.now);
        let it = &mut self.backends[backend];
        it.busy += 1;
        let mean = (fleet.service)(now);
        let (long, missed) = it.work(fleet.start, mean, self.misses, fleet.database, &mut self.chance);
        let mut end = self.now + nanos(long);
        if missed {
            self.misses += 1;
            self.events.plan(end, Event::Fetched);
        }
        if let Some((from, to)) = fleet.hangs.filter(|(from, to)| *from <= now && now < *to) {
            debug_assert!(from < to);
            end = nanos(to) + nanos(long);
        }
        let boot = it.boot;
        self.events.plan(end, Event::Served { backend: backend as u32, request, boot });
    }

    fn served(&mut self, backend: usize, request: u32, boot: u32) {
        if boot != self.backends[backend].boot {
            return;
        }
        self.backends[backend].served();
        let workers = (self.scene.fleet.workers)(seconds(self.now));
        while self.backends[backend].busy < workers {
            let Some(next) = self.backends[backend].queue.pop_front() else { break };
            self.work(backend, next);
        }
        let delay = (self.scene.fleet.delay)(seconds(self.now));
        if delay > 0.0 {
            self.events.plan(self.now + nanos(delay), Event::Answer(request));
        } else {
            self.answers(request);
        }
    }

    fn answers(&mut self, request: u32) {
        let Request { gateway, backend, arrived, sent, state, .. } = self.requests[request as usize];
        if state == State::Sent {
            let now = self.now;
            self.second().answer(now - arrived);
            let boot = self.scene.fleet.boot_ids.then(|| self.backends[backend as usize].boot);
            self.gateways[gateway as usize].answered(backend as usize, now - sent, boot, now);
            self.release(request);
        } else {
            self.zombie_ends(request);
        }
    }

    fn is_late(&mut self, request: u32) {
        let Request { gateway, backend, attempt, sent, state, .. } = self.requests[request as usize];
        if state != State::Sent {
            return;
        }
        self.second().late += 1;
        let timeout = (Reason::Timeout, self.now - sent);
        self.gateways[gateway as usize].failed(backend as usize, timeout, self.now);
        if self.scene.gateway.zombies {
            self.requests[request as usize].state = State::Zombie;
            let (long, early) = self.gateways[gateway as usize].linger(request);
            // The request itself has had its timeout.
            let timeout = self.scene.gateway.timeout.as_nanos() as u64;
            self.events.plan(self.now + long.saturating_sub(timeout), Event::ZombieEnds(request));
            if let Some(early) = early {
                self.zombie_ends(early);
            }
        } else {
            self.release(request);
        }
        self.tries_again(gateway, attempt);
    }

    fn zombie_ends(&mut self, request: u32) {
        let Request { gateway, state, .. } = self.requests[request as usize];
        if state == State::Zombie {
            self.gateways[gateway as usize].zombies.retain(|zombie| *zombie != request);
            self.release(request);
        }
    }

    /// A request is over, and so is its hold on a backend and the gate.
    fn release(&mut self, request: u32) {
        let it = &mut self.requests[request as usize];
        it.state = State::Over;
        let (gateway, backend) = (it.gateway, it.backend as usize);
        let gate = &mut self.gateways[gateway as usize];
        gate.vacate(backend);
        if gate.end() {
            self.serve(gateway);
        }
    }

    /// A process dies: what it held is lost, and its connections break.
    fn die(&mut self, backend: usize) {
        self.backends[backend].die(self.now);
        for gateway in &mut self.gateways {
            gateway.disconnected(backend);
        }
        let holds = |request: &Request| {
            request.backend as usize == backend && matches!(request.state, State::Sent | State::Zombie)
        };
        // Nothing that is older can still be held.
        let oldest = self.requests.len().saturating_sub(100_000);
        let held: Vec<u32> = (oldest..self.requests.len())
            .filter(|at| holds(&self.requests[*at]))
            .map(|at| at as u32)
            .collect();
        for request in held {
            let Request { gateway, attempt, sent, state, .. } = self.requests[request as usize];
            if state == State::Zombie {
                self.zombie_ends(request);
                continue;
            }
            self.second().broken += 1;
            let reset = (Reason::Reset, self.now - sent);
            self.gateways[gateway as usize].failed(backend, reset, self.now);
            self.release(request);
            self.tries_again(gateway, attempt);
        }
    }

    fn tick(&mut self, gateway: usize) {
        let now = self.now;
        self.events.plan(now + TICK, Event::Tick(gateway as u32));
        let told = self.steering[gateway].tick(&mut self.gateways[gateway], now);
        self.measured.diary.extend(told.into_iter().map(|line| (seconds(now), line)));
        // A limit that grew lets waiters in with the next release, as it does at the real gate.
        let limits = self.gateways.iter().map(|gateway| gateway.limit.now()).fold(0, u32::saturating_add);
        let totals = self.gateways.iter().map(|gateway| gateway.shares.total.unwrap_or(u32::MAX));
        let ramp_total = totals.fold(0, u32::saturating_add);
        let second = self.second();
        (second.limit, second.ramp_total) = (limits, ramp_total);
    }
}
