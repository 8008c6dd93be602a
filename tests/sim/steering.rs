//! What a gateway's admin thread does ten times a second: moves the limit that finds itself, learns what backends
//! hold when they are well, notices restarts and leads their ramps, as `control/steering` does.

use crate::events::{Clock, SECOND, nanos};
use crate::gateway::Gateway;
use crate::scene::{Scene, Settings};
use std::sync::Arc;
use std::time::Duration;
use tidegate::balancing::settings::Ramp;
use tidegate::balancing::shares::{Presence, Shares, Standing};
use tidegate::control::ramp::fleet::{Fleet, pace};
use tidegate::control::ramp::guard::judge::{Second, Sight};
use tidegate::control::ramp::guard::{Course, GuardedRamp, Setback, Turn, Usual};
use tidegate::control::ramp::incarnation::{Detector, Look, Notice};
use tidegate::control::ramp::reference::{self, Learner, Load};

/// Between two ticks.
const TICK: Duration = Duration::from_millis(100);
/// Ticks of a second.
const TICKS: u64 = 10;
/// How often the well seconds before a restart are lived through again: they stand for the ten minutes before.
const AGAIN: usize = 30;
/// What a second of the learner is told as the time of day.
const TODAY: i64 = 1_800_000_000;

/// One gateway's admin thread.
pub struct Steering {
    settings: Settings,
    clock: Clock,
    ticks: u64,
    /// When the past is to be known.
    remember_at: u64,
    of: Vec<Watched>,
    fleet: Fleet,
    sheds: u64,
}

/// One backend as it is watched.
struct Watched {
    at: Arc<str>,
    learner: Learner,
    past: Vec<reference::Second>,
    /// In flight at every tick of this second, together, and whether the cap was reached.
    looks: (u64, bool),
    /// Answers, failures, and nanoseconds of answers at the end of the second before.
    ended: [u64; 3],
    detector: Detector,
    /// It refuses connections, so that whoever accepts the next one has just started.
    away: bool,
    /// The way back, and what it is a part of.
    ramp: Option<(GuardedRamp, Load)>,
}

impl Steering {
    /// Knows nothing yet.
    pub fn new(scene: &Scene, clock: Clock) -> Self {
        let watched = |index: usize| Watched {
            at: format!("backend-{index}").into(),
            learner: Learner::default(),
            past: Vec::new(),
            looks: (0, false),
            ended: [0; 3],
            detector: Detector::default(),
            away: false,
            ramp: None,
        };
        Steering {
            settings: scene.gateway.clone(),
            clock,
            ticks: 0,
            remember_at: scene.fleet.restart.map_or(u64::MAX, |(at, _)| nanos(at) - SECOND / 2),
            of: (0..scene.fleet.backends).map(watched).collect(),
            fleet: Fleet::default(),
            sheds: 0,
        }
    }

    /// Looks once, and tells what it did.
    pub fn tick(&mut self, gateway: &mut Gateway, now: u64) -> Vec<String> {
        self.ticks += 1;
        let mut told = Vec::new();
        if self.ticks.is_multiple_of(2) {
            told.extend(gateway.limit.tick(2 * TICK));
        }
        if self.ticks.is_multiple_of(100) {
            gateway.fade();
        }
        let Some(ramp) = self.settings.ramp.clone() else { return told };
        let before = told.len();
        let course = Course { steps: &ramp.steps, dwell: ramp.dwell, guarded: ramp.guard };
        for index in 0..self.of.len() {
            self.look(index, gateway, &course, now, &mut told);
        }
        if self.ticks.is_multiple_of(TICKS) {
            self.live(gateway, &course, &mut told);
        }
        if now >= self.remember_at {
            self.remember_at = u64::MAX;
            self.remember();
        }
        if told.len() > before {
            self.level(gateway, &ramp);
        }
        told
    }

    /// `Comebacks::notice` and `Comebacks::take_in`.
    fn look(
        &mut self,
        index: usize,
        gateway: &mut Gateway,
        course: &Course<'_>,
        now: u64,
        told: &mut Vec<String>,
    ) {
        let watched = &mut self.of[index];
        let in_flight = gateway.in_flight_at(index);
        watched.looks.0 += u64::from(in_flight);
        watched.looks.1 |= in_flight >= self.settings.backend_cap;
        let now = self.clock.at(now);
        let look = Look { signs: gateway.seats[index].vitals.signs(), ..Look::default() };
        let notice = watched.detector.look(now, &look);
        if watched.away != watched.detector.is_away() {
            watched.away = !watched.away;
            told.push(format!("{}: {}", watched.at, if watched.away { "is away" } else { "is there" }));
        }
        match notice {
            Some(Notice::Restarted { cause, ramps }) => {
                gateway.forget(index);
                if let Some((ramp, _)) = &mut watched.ramp {
                    ramp.back_off(course, Setback::Restarted);
                    told.push(format!("{}: back to {} % ({})", watched.at, ramp.percent(), cause.as_str()));
                } else if ramps {
                    let all = 100 * self.of.len() as u64;
                    let watched = &mut self.of[index];
                    let whole = self.fleet.restarted(now, &watched.at, 100, all);
                    let pace = if whole { pace(&watched.at) } else { 1.0 };
                    let reference = watched.learner.reference().map(|reference| reference.load);
                    let guess = Load { in_flight: f64::from(self.settings.backend_cap) / 4.0, rate: 0.0 };
                    let ramp = GuardedRamp::begin(course, pace, Usual::default());
                    told.push(format!(
                        "{}: begins ({}), of {reference:.1?}, whole fleet: {whole}",
                        watched.at,
                        cause.as_str()
                    ));
                    watched.ramp = Some((ramp, reference.unwrap_or(guess)));
                }
            }
            Some(Notice::Withdrawn) => {
                watched.ramp = None;
                told.push(format!("{}: was no restart", watched.at));
            }
            Some(Notice::Shared) | None => {}
        }
    }

    /// One second of all backends: `Watchman::end_second` and `Comebacks::live`.
    fn live(&mut self, gateway: &mut Gateway, course: &Course<'_>, told: &mut Vec<String>) {
        let shed = gateway.sheds > self.sheds;
        self.sheds = gateway.sheds;
        let unbound = !shed && !gateway.shares.are_bound();
        let seconds: Vec<Second> =
            self.of.iter_mut().enumerate().map(|(index, it)| it.second(gateway, index, unbound)).collect();
        let mut peers = Second::default();
        for (watched, second) in self.of.iter().zip(&seconds) {
            if watched.ramp.is_none() {
                peers += *second;
            }
        }
        let bar = self.settings.objective().max(self.settings.timeout / 4);
        for (watched, own) in self.of.iter_mut().zip(&seconds) {
            let Some((ramp, _)) = &mut watched.ramp else { continue };
            let sight = Sight { own: *own, peers, bar, present: true };
            let Some(turn) = ramp.live(course, TICK * TICKS as u32, &sight) else { continue };
            told.push(match turn {
                Turn::Step { from, to } => format!("{}: {from} -> {to} %", watched.at),
                Turn::Held(why) => format!("{}: held at {} %: {why}", watched.at, ramp.percent()),
                Turn::BackOff { from, to, why, .. } => format!("{}: {from} -> {to} %: {why}", watched.at),
                Turn::Done => format!("{}: done", watched.at),
            });
            if turn == Turn::Done {
                watched.ramp = None;
            }
        }
    }

    fn remember(&mut self) {
        for watched in &mut self.of {
            let past = std::mem::take(&mut watched.past);
            for second in past.iter().cycle().take(AGAIN * past.len()) {
                watched.learner.live(*second, TODAY);
            }
        }
    }

    /// `Watchman::shares`.
    fn level(&self, gateway: &mut Gateway, ramp: &Ramp) {
        let standing = |watched: &Watched| {
            let frozen = watched.ramp.as_ref().map(|(_, load)| *load);
            let learned = watched.learner.reference();
            let load = frozen.or(learned.map(|reference| reference.load)).unwrap_or_default();
            Standing {
                percent: watched.ramp.as_ref().map_or(100.0, |(ramp, _)| ramp.bound()),
                reference: load.in_flight,
                settled: learned.is_some_and(|reference| reference.settled),
                rate: Some(load.rate).filter(|rate| *rate > 0.0),
                cap: self.settings.backend_cap,
                weight: 100,
                presence: Presence::In,
                away: watched.away.then_some(ramp.steps[0]).filter(|_| watched.ramp.is_none()),
            }
        };
        let standings: Vec<_> = self.of.iter().map(standing).collect();
        gateway.shares = Shares::of(&standings, None);
    }
}

impl Watched {
    /// What the last second brought, for the guard; the learner lives through it as well.
    fn second(&mut self, gateway: &Gateway, index: usize, unbound: bool) -> Second {
        let seat = &gateway.seats[index];
        let ended = [seat.answered, seat.failed, seat.latency_ns];
        let before = std::mem::replace(&mut self.ended, ended);
        let [well, failed, latency_ns] = [0, 1, 2].map(|at| ended[at] - before[at]);
        let (sum, full) = std::mem::take(&mut self.looks);
        let learned = reference::Second {
            in_flight: sum as f64 / TICKS as f64,
            requests: well + failed,
            failures: failed,
            unbound: unbound && !full,
        };
        self.learner.live(learned, TODAY);
        self.past.push(learned);
        Second { well, failed, latency_ns, in_flight: u64::from(gateway.in_flight_at(index)) }
    }
}
