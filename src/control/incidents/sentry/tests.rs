//! Thresholds over simulated seconds.

use super::*;

/// Seconds of an upstream: how many were answered and refused in each.
struct World {
    sentry: Sentry,
    now: Instant,
    name: Arc<str>,
    thresholds: Thresholds,
    fleet: Fleet,
}

impl World {
    fn new() -> World {
        World {
            sentry: Sentry::default(),
            now: Instant::now(),
            name: "orders".into(),
            thresholds: Thresholds::default(),
            fleet: Fleet { total: 4, out: 0 },
        }
    }

    /// So many seconds of this; what was seen, and when.
    fn run(&mut self, seconds: u32, well: u64, shed: u64) -> Vec<(u32, Saw)> {
        let mut seen = Vec::new();
        for second in 1..=seconds {
            self.now += Duration::from_secs(1);
            let beat = Beat { well, shed, ..Beat::default() };
            let saw = self.sentry.look(self.now, (&self.name, beat, self.fleet), &self.thresholds);
            seen.extend(saw.into_iter().map(|saw| (second, saw)));
        }
        seen
    }

    fn tell(&mut self, cause: Cause) {
        self.sentry.told("orders", cause);
    }
}

fn lasts(seen: &[(u32, Saw)]) -> Vec<(u32, Cause)> {
    let of = |(second, saw): &(u32, Saw)| match saw {
        Saw::Lasts(notice) => Some((*second, notice.cause)),
        Saw::Over(_) => None,
    };
    seen.iter().filter_map(of).collect()
}

#[test]
fn shedding_that_lasts_is_drafted_and_a_burst_is_not() {
    let mut world = World::new();
    assert_eq!(world.run(60, 100, 0), []);
    assert_eq!(world.run(5, 0, 1000), [], "a burst is over before anybody could look");
    assert_eq!(world.run(60, 100, 0), []);
    let seen = world.run(40, 80, 20);
    let first = lasts(&seen)[0];
    assert!(first.1 == Cause::Shed && (20..=31).contains(&first.0), "{first:?}");
    let Saw::Lasts(notice) = &seen.last().expect("it lasts").1 else { panic!("{seen:?}") };
    assert!(notice.because.contains("20%") && notice.because.contains("30 s"), "{}", notice.because);
}

#[test]
fn it_is_told_once_while_it_lasts_also_where_it_wavers_and_its_end_is_told() {
    let mut world = World::new();
    assert!(!lasts(&world.run(60, 80, 20)).is_empty());
    world.tell(Cause::Shed);
    for _ in 0..10 {
        assert_eq!(world.run(20, 93, 7), [], "below the threshold and above half of it");
        assert_eq!(world.run(20, 80, 20), []);
    }
    let seen = world.run(60, 100, 0);
    assert!(matches!(&seen[..], [(_, Saw::Over(notice))] if notice.cause == Cause::Shed), "{seen:?}");
    assert!(!lasts(&world.run(60, 80, 20)).is_empty(), "and may begin again");
}

#[test]
fn few_requests_and_a_quiet_upstream_say_nothing() {
    let mut world = World::new();
    assert_eq!(world.run(600, 0, 0), []);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(world.run(9, 0, 0));
        seen.extend(world.run(1, 0, 1));
    }
    assert_eq!(seen, [], "one in ten seconds");
}

#[test]
fn a_fleet_that_is_half_gone_is_drafted_and_flapping_is_one_draft() {
    let mut world = World::new();
    world.fleet.out = 1;
    assert_eq!(world.run(60, 100, 0), []);
    world.fleet.out = 2;
    let seen = world.run(20, 100, 0);
    assert_eq!(lasts(&seen)[0], (16, Cause::Backends));
    world.tell(Cause::Backends);
    for _ in 0..10 {
        world.fleet.out = 1;
        assert_eq!(world.run(10, 100, 0), [], "not well for long enough");
        world.fleet.out = 4;
        assert_eq!(world.run(30, 100, 0), []);
    }
    world.fleet.out = 0;
    let seen = world.run(30, 100, 0);
    assert!(matches!(&seen[..], [(16, Saw::Over(_))]), "{seen:?}");
}

#[test]
fn a_fleet_that_is_all_gone_is_critical_and_an_empty_one_is_none() {
    let mut world = World::new();
    world.fleet = Fleet { total: 2, out: 2 };
    let seen = world.run(20, 0, 0);
    assert!(matches!(&seen[0].1, Saw::Lasts(notice) if notice.severity == Severity::Critical), "{seen:?}");
    let mut world = World::new();
    world.fleet = Fleet::default();
    assert_eq!(world.run(60, 0, 0), []);
}

#[test]
fn the_page_says_how_it_does_in_words() {
    let mut world = World::new();
    let mut health = |well, shed, out| {
        world.fleet.out = out;
        world.run(60, well, shed);
        world.sentry.health("orders", world.now)
    };
    assert_eq!(health(100, 0, 0), Health::Operational);
    assert_eq!(health(98, 2, 0), Health::Degraded);
    assert_eq!(health(80, 20, 0), Health::PartialOutage);
    assert_eq!(health(30, 70, 0), Health::MajorOutage);
    assert_eq!(health(100, 0, 1), Health::Operational);
    assert_eq!(health(100, 0, 2), Health::Degraded);
    assert_eq!(health(0, 0, 4), Health::MajorOutage);
    assert_eq!(world.sentry.health("unknown", world.now), Health::Operational);
}

#[test]
fn what_the_process_refuses_is_felt_by_every_upstream() {
    let mut world = World::new();
    let process: Arc<str> = PROCESS.into();
    for _ in 0..60 {
        world.run(1, 100, 0);
        let beat = Beat { well: 100, shed: 300, ..Beat::default() };
        world.sentry.look(world.now, (&process, beat, Fleet::default()), &world.thresholds);
    }
    assert_eq!(world.sentry.health("orders", world.now), Health::MajorOutage);
    assert_eq!(world.sentry.overall(world.now), Health::MajorOutage);
}

#[test]
fn what_a_ramp_refuses_is_wanted_and_drafts_nothing_but_everyone_may_know() {
    let mut world = World::new();
    for _ in 0..60 {
        world.now += Duration::from_secs(1);
        let beat = Beat { well: 25, ramped: 75, ..Beat::default() };
        assert_eq!(world.sentry.look(world.now, (&world.name, beat, world.fleet), &world.thresholds), []);
    }
    assert_eq!(world.sentry.health("orders", world.now), Health::MajorOutage);
}

#[test]
fn a_look_that_is_late_stretches_no_window() {
    let mut world = World::new();
    world.run(60, 100, 0);
    world.now += Duration::from_secs(300);
    assert_eq!(world.run(9, 0, 100), [], "nine seconds are not thirty");
}
