//! The limit against windows made by hand, and against a small fleet in simulated time.

use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const OBJECTIVE: f64 = 0.06;
const TIMEOUT: f64 = 1.0;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn settings(mode: Mode) -> Adaptive {
    Adaptive { mode, objective: seconds(OBJECTIVE), ceiling: seconds(TIMEOUT / 2.0) }
}

fn limiter(backends: u32, cap: u32, initial: Option<u32>) -> Limiter {
    Limiter::new(settings(Mode::Enforce), Bounds { backends, cap }, initial)
}

/// A window of answers that took `mean` seconds each.
fn answers(ok: u64, mean: f64, limited: bool) -> Window {
    let time = seconds(ok as f64 * mean);
    Window { ok, time, limited, max_in_flight: 1_000, ..Window::default() }
}

fn failures(failed: u64, max_in_flight: u32) -> Window {
    Window { failed, max_in_flight, ..Window::default() }
}

fn live(limiter: &mut Limiter, ticks: u32, each: &Window) {
    for _ in 0..ticks {
        limiter.tick(TICK, each);
    }
}

#[test]
fn it_begins_at_eight_for_each_backend_or_where_it_was() {
    assert_eq!(limiter(4, 1_000, None).limit(), 32);
    assert_eq!(limiter(4, 20, None).limit(), 20);
    assert_eq!(limiter(4, 1_000, Some(77)).limit(), 77);
    assert_eq!(limiter(1, 1_000, Some(0)).limit(), 4);
    assert_eq!(limiter(9, 1_000, Some(0)).limit(), 9);
}

#[test]
fn it_grows_only_while_it_stands_in_the_way() {
    let mut limiter = limiter(8, 1_000, Some(64));
    for _ in 0..50 {
        assert_eq!(limiter.tick(TICK, &answers(100, 0.02, false)), None);
    }
    assert_eq!(limiter.limit(), 64);
    let moved = limiter.tick(TICK, &answers(100, 0.02, true)).expect("moved");
    assert_eq!((moved.why, moved.from, moved.to), (Why::Wanted, 64, 67));
}

#[test]
fn at_first_it_grows_fast_until_answers_are_slow() {
    let mut fresh = limiter(2, 1_000, None);
    live(&mut fresh, 6, &answers(100, 0.02, true));
    assert!((55..=80).contains(&fresh.limit()), "{}", fresh.limit());
    live(&mut fresh, 20, &answers(100, 0.02, true));
    assert!(fresh.limit() < 200, "and then carefully: {}", fresh.limit());
}

#[test]
fn a_quiet_upstream_does_not_move_it_whatever_its_few_answers_are() {
    let mut limiter = limiter(8, 1_000, None);
    for few in [Window::default(), answers(3, 5.0, false), failures(3, 5), answers(1, 0.001, false)] {
        for _ in 0..500 {
            assert_eq!(limiter.tick(TICK, &few), None, "{few:?}");
        }
    }
    assert_eq!((limiter.limit(), limiter.is_raised()), (64, false));
}

#[test]
fn a_limit_too_low_for_twenty_answers_a_second_finds_its_way_back() {
    // Four in flight, slow by nature: six answers a second, and somebody always waits.
    let mut limiter = limiter(1, 64, Some(4));
    let mut ticks = 0;
    while limiter.limit() < 64 && ticks < 600 {
        let per_tick = (f64::from(limiter.limit()) / 0.4 * 0.2) as u64;
        limiter.tick(TICK, &answers(per_tick, 0.4, true));
        ticks += 1;
    }
    assert_eq!(limiter.limit(), 64);
    assert!(limiter.is_raised(), "what takes long by nature raises the objective");
}

#[test]
fn a_cut_is_at_most_to_seven_tenths_and_aims_below_the_objective() {
    let mut slow = limiter(8, 1_000, Some(100));
    assert_eq!(slow.tick(TICK, &answers(100, 0.9, true)).map(|moved| moved.to), Some(70));
    let mut nearly = limiter(8, 1_000, Some(100));
    assert_eq!(nearly.tick(TICK, &answers(100, 0.07, true)).map(|moved| moved.to), Some(81));
    assert_eq!(nearly.tick(TICK, &answers(100, 0.065, true)), None, "that may be chance");
}

#[test]
fn a_collapse_cuts_what_was_held_and_what_was_well_is_soon_reached_again() {
    let mut limiter = limiter(8, 1_000, Some(200));
    let moved = limiter.tick(TICK, &failures(40, 100)).expect("moved");
    assert_eq!((moved.why, moved.to), (Why::Failing, 70));
    while limiter.limit() > 8 {
        limiter.tick(TICK, &failures(40, limiter.limit()));
    }
    assert!(limiter.at_floor());
    let ticks = (1..).find(|_| {
        limiter.tick(TICK, &answers(100, 0.02, true));
        limiter.limit() >= 200
    });
    assert!(ticks.is_some_and(|ticks| ticks <= 15), "{ticks:?}");
}

#[test]
fn clients_that_leave_lower_it_only_when_more_leave_than_are_answered() {
    let mut limiter = limiter(8, 1_000, Some(100));
    let some = Window { left: 90, ..answers(100, 0.02, true) };
    assert_eq!(limiter.tick(TICK, &some).map(|moved| moved.why), Some(Why::Wanted));
    let most = Window { left: 110, ..answers(100, 0.02, true) };
    assert_eq!(limiter.tick(TICK, &most).map(|moved| moved.why), Some(Why::Failing));
}

#[test]
fn a_cut_that_does_not_help_is_given_back_and_the_objective_raised_until_it_is_fast_again() {
    let mut limiter = limiter(8, 1_000, Some(100));
    let futile = (0..20)
        .find_map(|_| limiter.tick(TICK, &answers(100, 0.2, true)).filter(|moved| moved.why == Why::Futile));
    assert_eq!(futile.map(|moved| moved.to), Some(100));
    assert_eq!(limiter.objective(), seconds(0.28));
    // It is no reason to cut any more, and growth goes on.
    assert_eq!(limiter.tick(TICK, &answers(100, 0.2, true)).map(|moved| moved.why), Some(Why::Wanted));
    live(&mut limiter, 100, &answers(100, 0.02, false));
    assert_eq!((limiter.objective(), limiter.is_raised()), (seconds(OBJECTIVE), false));
}

#[test]
fn the_objective_is_never_raised_above_the_ceiling() {
    let mut limiter = limiter(8, 1_000, Some(100));
    live(&mut limiter, 100, &answers(100, 5.0, true));
    assert_eq!(limiter.objective(), seconds(TIMEOUT / 2.0));
}

#[test]
fn a_cut_that_helps_is_kept() {
    let mut limiter = limiter(8, 1_000, Some(400));
    for _ in 0..30 {
        // A queue: time is in proportion to what is in flight.
        limiter.tick(TICK, &answers(100, f64::from(limiter.limit()) / 1_000.0, true));
    }
    assert!((50..=66).contains(&limiter.limit()), "{}", limiter.limit());
    assert!(!limiter.is_raised());
}

#[test]
fn a_line_that_still_grows_when_it_is_first_cut_does_not_make_the_cut_look_futile() {
    let mut limiter = limiter(8, 1_000, Some(128));
    // 1,000 a second are served. The first slow answers are those that stood at the front of a line which is full by
    // then; every later one tells of what was in flight when it came.
    let (mut before, mut mean) = (128, 0.065);
    for _ in 0..25 {
        limiter.tick(TICK, &Window { max_in_flight: before, ..answers(200, mean, true) });
        mean = f64::from(before) / 1_000.0;
        before = limiter.limit();
        assert!(!limiter.is_raised(), "{before}");
    }
    assert!((50..=70).contains(&limiter.limit()), "{}", limiter.limit());
}

#[test]
fn at_its_floor_an_upstream_that_is_slow_by_nature_is_not_held_there() {
    let mut limiter = limiter(8, 1_000, Some(8));
    live(&mut limiter, 200, &answers(100, 0.2, true));
    assert!(limiter.limit() > 500, "{}", limiter.limit());
}

#[test]
fn with_three_times_the_backends_it_allows_three_times_as_much_at_once() {
    let mut limiter = limiter(4, 1_000, Some(100));
    let moved = limiter.follow(settings(Mode::Enforce), Bounds { backends: 12, cap: 1_000 });
    assert_eq!(moved.map(|moved| (moved.why, moved.to)), Some((Why::Bounds, 300)));
    limiter.follow(settings(Mode::Enforce), Bounds { backends: 0, cap: 1_000 });
    assert_eq!(limiter.limit(), 300);
    limiter.follow(settings(Mode::Enforce), Bounds { backends: 4, cap: 50 });
    assert_eq!(limiter.limit(), 50);
}

#[test]
fn a_new_mode_keeps_what_was_learned() {
    let mut limiter = limiter(8, 1_000, Some(100));
    live(&mut limiter, 10, &answers(100, 0.2, true));
    let (limit, objective) = (limiter.limit(), limiter.objective());
    limiter.follow(settings(Mode::Shadow), limiter.bounds());
    limiter.follow(settings(Mode::Enforce), limiter.bounds());
    assert_eq!((limiter.limit(), limiter.objective()), (limit, objective));
}

#[test]
fn in_shadow_a_cut_stops_at_what_the_objective_leaves_of_the_throughput() {
    let mut limiter = Limiter::new(settings(Mode::Shadow), Bounds { backends: 8, cap: 1_000 }, Some(800));
    // 2,000 a second, 400 in flight: at 60 ms that is 120.
    live(&mut limiter, 50, &answers(400, 0.2, true));
    assert_eq!((limiter.limit(), limiter.is_raised()), (120, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_never_below_its_floor_or_above_its_cap_whatever_comes(
        windows in prop::collection::vec(
            (0u64..200, 0.0f64..20.0, 0u64..200, any::<bool>(), 0u32..2_000, 0u32..20, 1u32..500, 0.0f64..3.0),
            1..120,
        ),
    ) {
        let mut limiter = limiter(4, 100, None);
        for (ok, mean, failed, limited, max_in_flight, backends, cap, elapsed) in windows {
            if backends % 4 == 0 {
                limiter.follow(settings(Mode::Enforce), Bounds { backends, cap });
            }
            let time = seconds(ok as f64 * mean);
            let window = Window { ok, time, failed, left: failed / 2, limited, max_in_flight };
            let before = limiter.limit();
            let moved = limiter.tick(seconds(elapsed), &window);
            let bounds = limiter.bounds();
            prop_assert!(limiter.limit() >= bounds.floor() && limiter.limit() <= bounds.cap);
            let objective = limiter.objective().as_secs_f64();
            prop_assert!((OBJECTIVE - 1e-9..=TIMEOUT / 2.0 + 1e-9).contains(&objective));
            prop_assert_eq!(moved.map(|moved| (moved.from, moved.to)).unwrap_or((before, before)), (before, limiter.limit()));
        }
    }
}

/// A fleet with one line, and clients that leave after a second while their work goes on (`sim_limits.py`).
struct Fleet {
    random: fastrand::Rng,
    limiter: Limiter,
    workers: usize,
    service: f64,
    hangs: bool,
    now: f64,
    arrival: f64,
    /// When work ends, and when it came.
    busy: BinaryHeap<Reverse<(u64, u64)>>,
    line: std::collections::VecDeque<u64>,
    in_flight: u32,
    window: Window,
    next_tick: f64,
    served: u64,
}

const NANO: f64 = 1e9;

impl Fleet {
    /// 40 workers of 20 ms: 2,000 a second.
    fn new(seed: u64) -> Self {
        Fleet {
            random: fastrand::Rng::with_seed(seed),
            limiter: limiter(4, 1_000, None),
            workers: 40,
            service: 0.02,
            hangs: false,
            now: 0.0,
            arrival: 0.0,
            busy: BinaryHeap::new(),
            line: std::collections::VecDeque::new(),
            in_flight: 0,
            window: Window::default(),
            next_tick: 0.2,
            served: 0,
        }
    }

    /// Runs at `rate` a second; how many a second were answered in time.
    fn run(&mut self, rate: f64, for_seconds: f64) -> f64 {
        let (end, before) = (self.now + for_seconds, self.served);
        while self.now < end {
            self.start_work();
            let done = self.busy.peek().map_or(f64::INFINITY, |Reverse((at, _))| *at as f64 / NANO);
            // Nobody waits longer than a second: what hangs is given up.
            self.now = done.min(self.arrival).min(self.next_tick);
            if self.now >= self.next_tick {
                self.tick();
            } else if done <= self.arrival {
                self.end_work();
            } else {
                self.arrive(rate);
            }
        }
        (self.served - before) as f64 / for_seconds
    }

    fn start_work(&mut self) {
        while self.busy.len() < self.workers {
            let Some(came) = self.line.pop_front() else { return };
            let spread = (-self.random.f64().max(1e-9).ln()).mul_add(0.5, 0.5);
            let took = if self.hangs { 1.5 } else { self.service * spread };
            self.busy.push(Reverse((((self.now + took) * NANO) as u64, came)));
        }
    }

    fn end_work(&mut self) {
        let Some(Reverse((_, came))) = self.busy.pop() else { return };
        let took = self.now - came as f64 / NANO;
        self.in_flight -= 1;
        if took > TIMEOUT {
            self.window.failed += 1;
        } else {
            self.window.ok += 1;
            self.window.time += seconds(took);
            self.served += 1;
        }
    }

    fn arrive(&mut self, rate: f64) {
        self.arrival = self.now - self.random.f64().max(1e-9).ln() / rate;
        // Half of the limit may wait for a moment: as good as in flight, here.
        if self.in_flight >= self.limiter.limit() {
            self.window.limited = true;
            return;
        }
        self.in_flight += 1;
        self.window.max_in_flight = self.window.max_in_flight.max(self.in_flight);
        self.line.push_back((self.now * NANO) as u64);
    }

    fn tick(&mut self) {
        self.next_tick += 0.2;
        let window = std::mem::take(&mut self.window);
        self.limiter.tick(TICK, &window);
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    1..=32
}

#[test]
fn a_crowd_five_times_too_large_is_served_what_the_fleet_can_near_the_objective() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        fleet.run(1_200.0, 5.0);
        fleet.run(10_000.0, 5.0);
        let served = fleet.run(10_000.0, 10.0);
        assert!(served > 1_900.0, "seed {seed}: {served}");
        let mean = f64::from(fleet.limiter.limit()) / served;
        assert!(mean < 1.5 * OBJECTIVE, "seed {seed}: {mean}");
    }
}

#[test]
fn ten_times_slower_it_still_serves_what_can_be_served() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        fleet.run(1_200.0, 5.0);
        fleet.service *= 10.0;
        fleet.run(1_200.0, 4.0);
        let served = fleet.run(1_200.0, 10.0);
        assert!(served > 0.88 * 200.0, "seed {seed}: {served} of 200");
        fleet.service /= 10.0;
        fleet.run(1_200.0, 3.0);
        let served = fleet.run(1_200.0, 5.0);
        assert!(served > 1_150.0, "seed {seed}: {served} afterwards");
    }
}

#[test]
fn a_collapse_is_over_within_seconds() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        fleet.run(1_200.0, 5.0);
        fleet.hangs = true;
        fleet.run(1_200.0, 10.0);
        assert!(fleet.limiter.limit() <= 40, "seed {seed}: {}", fleet.limiter.limit());
        fleet.hangs = false;
        fleet.run(1_200.0, 3.0);
        let served = fleet.run(1_200.0, 5.0);
        assert!(served > 1_150.0, "seed {seed}: {served}");
    }
}

#[test]
fn when_every_answer_takes_longer_and_nothing_is_lost_it_gives_way() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        fleet.run(1_200.0, 5.0);
        // Time that holds no worker: in flight until it is over.
        (fleet.workers, fleet.service) = (100_000, 0.2);
        fleet.run(1_200.0, 15.0);
        let served = fleet.run(1_200.0, 10.0);
        assert!(served > 1_100.0, "seed {seed}: {served}");
    }
}

#[test]
fn steady_at_nine_tenths_nobody_is_refused() {
    for seed in seeds() {
        let mut fleet = Fleet::new(seed);
        fleet.limiter = limiter(4, 1_000, Some(200));
        let served = fleet.run(1_800.0, 60.0);
        let offered = 1_800.0;
        assert!(served > 0.98 * offered && fleet.limiter.limit() >= 150, "seed {seed}: {served}");
    }
}
