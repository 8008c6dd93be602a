//! Where experiments take place: the fleet, the control upstream, the contender before them, the clients.

use super::super::load::report::{Report, Row, Seen};
use super::super::load::stream::Stream;
use super::super::load::{Load, Plan, stream};
use super::super::origin::Fleet;
use super::super::origin::knobs::{self, Knobs, Manner, Service};
use super::{Contender, Proxy, Scale, Slots, Street};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long the control upstream takes.
const CONTROL: Duration = Duration::from_millis(5);
/// What the clients of the fleet are called; those of further gateways with a number behind it.
const MAIN: &str = "main";
/// Loopback addresses that clients come from.
const SOURCES: u8 = 16;
/// Between two looks at the contender's slots.
const LOOK: Duration = Duration::from_millis(100);
/// How long things may take to come to rest.
const REST: Duration = Duration::from_secs(30);

/// A contender before its backends, and what was measured before the trouble.
pub struct Arena {
    pub main: Fleet,
    pub proxy: Box<dyn Proxy>,
    /// Others before the same fleet.
    beside: Vec<Box<dyn Proxy>>,
    pub scale: Scale,
    /// What the fleet can do a second.
    pub capacity: f64,
    /// The control traffic, through the contender, without any other.
    pub alone: Row,
    control: Fleet,
}

/// What makes a street different from others.
#[derive(Default)]
struct Special {
    log_hangs: bool,
    resolver: Option<SocketAddr>,
    judged: bool,
}

/// Something that is done at a moment of a run.
pub type Act<'a> = (Duration, Box<dyn FnOnce(&mut Fleet, &mut dyn Proxy) + 'a>);

/// All of the fleet accepts and never answers from one moment on, and is well again from another.
pub fn hangs_until(hangs: Duration, heals: Duration) -> Vec<Act<'static>> {
    let all =
        |manner| move |fleet: &mut Fleet, _: &mut dyn Proxy| fleet.set_all(|knobs| knobs.manner = manner);
    vec![(hangs, Box::new(all(Manner::Hangs))), (heals, Box::new(all(Manner::Serves)))]
}

/// What a run saw.
pub struct Run {
    /// All clients of `/main` together, and the control traffic.
    pub report: Report,
    /// The clients of each gateway.
    pub each: Vec<Seen>,
    /// The most slots that were held at a look, and the limit then.
    pub slots: Option<Slots>,
    pub origin: knobs::Seen,
}

impl Arena {
    /// Starts everything and measures it at rest.
    pub fn open(contender: &dyn Contender, scale: Scale, log_hangs: bool) -> Arena {
        Arena::with(contender, scale, Special { log_hangs, ..Special::default() })
    }

    /// The same with backends that are known by names, of which this name server is asked.
    pub fn open_by_name(contender: &dyn Contender, scale: Scale, resolver: SocketAddr) -> Arena {
        Arena::with(contender, scale, Special { resolver: Some(resolver), ..Special::default() })
    }

    /// The same with a fleet that says who may pass.
    pub fn judged(contender: &dyn Contender, scale: Scale) -> Arena {
        Arena::with(contender, scale, Special { judged: true, ..Special::default() })
    }

    fn with(contender: &dyn Contender, scale: Scale, special: Special) -> Arena {
        let knobs = Knobs::new(scale.workers, Service::Constant(scale.service));
        let main = Fleet::start(scale.seed, None, &vec![knobs; scale.backends]);
        let control = Fleet::start(scale.seed, None, &[Knobs::new(256, Service::Constant(CONTROL))]);
        let capacity = capacity(&main, &scale);
        let street = Street {
            main: main.addresses().to_vec(),
            control: control.addresses()[0],
            log_hangs: special.log_hangs,
            resolver: special.resolver,
            judged: special.judged,
            nth: 0,
            in_flight: (capacity * scale.patience.as_secs_f64() / 4.0).ceil() as usize,
        };
        let proxy = contender.start(&street);
        main.forget_peaks();
        let beside = Vec::new();
        let mut arena = Arena { main, proxy, beside, scale, capacity, alone: Row::new(), control };
        arena.alone = arena.control_alone();
        arena
    }

    /// The same with several of the contender side by side.
    pub fn open_several(contender: &dyn Contender, scale: Scale, count: usize) -> Arena {
        let mut arena = Arena::open(contender, scale, false);
        let street = |nth| Street {
            main: arena.main.addresses().to_vec(),
            control: arena.control.addresses()[0],
            log_hangs: false,
            resolver: None,
            judged: false,
            nth,
            in_flight: (arena.capacity * scale.patience.as_secs_f64() / 4.0 / count as f64).ceil() as usize,
        };
        let beside = (1..count).map(|nth| contender.start(&street(nth))).collect();
        arena.beside = beside;
        arena
    }

    /// Clients of `/main` of every gateway, so many a second together.
    pub fn clients_of_all(&self, rate: f64) -> Vec<Stream> {
        let each = rate / (1 + self.beside.len()) as f64;
        let others = self.beside.iter().enumerate().map(|(nth, proxy)| {
            let name = format!("{MAIN}{}", nth + 1);
            let stream = stream(&name, proxy.edge(), "/main", each).poisson().sources(SOURCES);
            stream.patience(self.scale.patience)
        });
        [self.clients(each)].into_iter().chain(others).collect()
    }

    /// Clients of `/main`: so many a second, independent of each other, with the scale's patience.
    pub fn clients(&self, rate: f64) -> Stream {
        let stream = stream(MAIN, self.proxy.edge(), "/main", rate).poisson().sources(SOURCES);
        stream.patience(self.scale.patience)
    }

    /// A tenth of what the fleet can do goes to the healthy upstream, and half of that past the contender.
    fn control_streams(&self) -> Vec<Stream> {
        let rate = (self.capacity / 10.0).max(50.0);
        let through = stream("control", self.proxy.edge(), "/control", rate).patience(self.scale.patience);
        let direct = stream("direct", self.control.addresses()[0], "/control", rate / 2.0);
        vec![through, direct]
    }

    fn control_alone(&self) -> Row {
        // Connections are made, code is warm: what follows is the measurement.
        let plan = Plan::new(self.scale.calm / 2, self.scale.seed);
        Load::start(plan, self.control_streams()).finish();
        let plan = Plan::new(self.scale.calm, self.scale.seed);
        Load::start(plan, self.control_streams()).finish().stream("control").whole()
    }

    /// Runs clients beside the control traffic, does what is to be done, and looks at the slots.
    pub fn run(&mut self, clients: Stream, acts: Vec<Act<'_>>) -> Run {
        self.run_all(vec![clients], acts)
    }

    /// The same with clients of several gateways.
    pub fn run_all(&mut self, clients: Vec<Stream>, mut acts: Vec<Act<'_>>) -> Run {
        acts.sort_by_key(|(at, _)| *at);
        let mut acts = acts.into_iter().peekable();
        let end = self.scale.end();
        let plan = Plan::new(end, self.scale.seed).slice(self.scale.slice);
        let load = Load::start(plan, [clients, self.control_streams()].concat());
        let (started, mut slots) = (load.started(), None::<Slots>);
        let mut look = LOOK;
        while started.elapsed() < end {
            if let Some((_, act)) = acts.next_if(|(at, _)| started.elapsed() >= *at) {
                act(&mut self.main, self.proxy.as_mut());
                continue;
            }
            if started.elapsed() >= look {
                let seen = self.proxy.slots();
                slots = seen.filter(|seen| slots.is_none_or(|most| seen.held > most.held)).or(slots);
                look = started.elapsed() + LOOK;
            }
            let next = acts.peek().map_or(look, |(at, _)| look.min(*at));
            std::thread::park_timeout(next.saturating_sub(started.elapsed()));
        }
        let mut report = load.finish();
        let (each, mut rest): (Vec<_>, Vec<_>) =
            report.streams.into_iter().partition(|seen| seen.name.starts_with(MAIN));
        let mut all = each[0].clone();
        each[1..].iter().for_each(|more| all.add(more));
        rest.insert(0, all);
        report.streams = rest;
        Run { report, each, slots, origin: self.main.seen_together() }
    }

    /// Waits until nothing is in flight, at the origin and by the contender's account; false if that never came.
    pub fn comes_to_rest(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < REST {
            if self.main.seen_together().in_flight == 0 && self.proxy.is_quiet().unwrap_or(true) {
                return true;
            }
            std::thread::park_timeout(LOOK);
        }
        false
    }
}

/// What a fleet serves a second when it always has enough to do, asked directly.
fn capacity(fleet: &Fleet, scale: &Scale) -> f64 {
    let much = 1.5 * scale.workers as f64 / scale.service.as_secs_f64();
    let addresses = fleet.addresses().iter();
    let clients = addresses.map(|address| stream("direct", *address, "/", much).patience(REST));
    let load = Load::start(Plan::new(scale.calm, scale.seed), clients.collect());
    let wait = |until: Duration| {
        while load.started().elapsed() < until {
            std::thread::park_timeout(until.saturating_sub(load.started().elapsed()));
        }
        (load.started().elapsed(), fleet.seen_together().served)
    };
    let (from, before) = wait(scale.calm / 5);
    let (to, after) = wait(scale.calm);
    // All answers are waited for, so that the experiment begins with idle backends.
    load.finish();
    (after - before) as f64 / (to - from).as_secs_f64()
}
