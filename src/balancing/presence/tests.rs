//! Whatever fails and however checks fall: never more out than the bounds say, and never nobody.

use super::*;
use proptest::prelude::*;

const SETTINGS: Ejection = Ejection {
    consecutive_failures: 5,
    base: Duration::from_secs(5),
    max: Duration::from_secs(60),
    max_ejected: 0.5,
};

/// An upstream in simulated time.
struct Fleet {
    outliers: Vec<Outlier>,
    signs: Vec<Signs>,
    facts: Vec<Fact>,
    doubted: bool,
    now: Instant,
}

impl Fleet {
    fn of(n: usize) -> Self {
        let now = Instant::now();
        Fleet {
            outliers: vec![Outlier::new(now, &Signs::default()); n],
            signs: vec![Signs::default(); n],
            facts: vec![Fact { known: true, down: None }; n],
            doubted: false,
            now,
        }
    }

    fn fail(&mut self, index: usize, times: u32) {
        self.signs[index].failed += u64::from(times);
        self.signs[index].failures_in_row += times;
    }

    fn succeed(&mut self, index: usize) {
        self.signs[index].ok += 1;
        self.signs[index].failures_in_row = 0;
    }

    fn down(&mut self, index: usize, slow: bool) {
        let down = Down { since: self.now, failures: 3, slow, silent: slow, why: "no answer".into() };
        self.facts[index].down = Some(down);
    }

    fn tick(&mut self) -> Vec<(usize, Change)> {
        self.now += Duration::from_millis(100);
        let outliers = self.outliers.iter_mut().zip(&self.signs);
        let mut members: Vec<_> =
            outliers.map(|(outlier, signs)| Member { outlier, signs: *signs }).collect();
        judge(&mut members, &self.facts, &mut self.doubted, &SETTINGS, self.now)
    }

    fn presences(&self) -> Vec<Presence> {
        let stays: Vec<_> = self.outliers.iter().map(Outlier::stay).collect();
        presences(&stays, &self.facts)
    }

    fn count(&self, presence: Presence) -> usize {
        self.presences().iter().filter(|other| **other == presence).count()
    }
}

#[test]
fn at_most_half_are_ejected_and_what_fails_beyond_gets_one_request_each() {
    let mut fleet = Fleet::of(8);
    for index in 0..6 {
        fleet.fail(index, 5);
        fleet.tick();
    }
    use Presence::{In, Out, Probe};
    assert_eq!(fleet.presences(), [Out, Out, Out, Out, Probe, Probe, In, In]);
    // A success brings one in.
    fleet.succeed(4);
    assert_eq!(fleet.tick(), [(4, Change::Returned)]);
    assert_eq!(fleet.presences()[4], In);
}

#[test]
fn when_all_fail_each_holds_one_probe_and_comes_back_by_itself() {
    let mut fleet = Fleet::of(4);
    (0..4).for_each(|index| fleet.fail(index, 5));
    fleet.tick();
    assert_eq!(fleet.count(Presence::Probe), 4);
    // Failing on says nothing new and keeps nobody out.
    (0..4).for_each(|index| fleet.fail(index, 1));
    assert_eq!(fleet.tick(), []);
    (0..4).for_each(|index| fleet.succeed(index));
    assert_eq!(fleet.tick().len(), 4);
    assert_eq!(fleet.count(Presence::In), 4);
}

#[test]
fn the_only_backend_is_never_taken_out() {
    let mut fleet = Fleet::of(1);
    fleet.fail(0, 500);
    assert_eq!(fleet.tick(), []);
    assert_eq!(fleet.presences(), [Presence::In]);
}

#[test]
fn dead_ones_are_out_and_slow_ones_no_more_than_a_tenth() {
    let mut fleet = Fleet::of(20);
    (0..5).for_each(|index| fleet.down(index, false));
    (5..20).for_each(|index| fleet.down(index, true));
    fleet.tick();
    assert_eq!((fleet.count(Presence::Out), fleet.count(Presence::In)), (7, 13));
    let mut fleet = Fleet::of(2);
    (0..2).for_each(|index| fleet.down(index, true));
    fleet.tick();
    assert_eq!((fleet.count(Presence::Out), fleet.count(Presence::In)), (1, 1));
    // The last one that is alive is not taken out for being slow.
    fleet.down(0, false);
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::Out, Presence::In]);
}

#[test]
fn when_the_checks_take_all_for_dead_traffic_decides() {
    let mut fleet = Fleet::of(3);
    (0..3).for_each(|index| fleet.down(index, false));
    fleet.tick();
    assert_eq!(fleet.count(Presence::Probe), 3, "each is asked whether it is");
    fleet.succeed(0);
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::In, Presence::Probe, Presence::Probe]);
    fleet.fail(1, 1);
    fleet.tick();
    assert_ne!(fleet.presences()[1], Presence::In);
    // Once a check finds one alive, they are believed again.
    fleet.facts[2].down = None;
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::Out, Presence::Out, Presence::In]);
}

#[test]
fn one_backend_whose_check_fails_still_serves_if_it_does() {
    let mut fleet = Fleet::of(1);
    fleet.down(0, false);
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::Probe]);
    fleet.fail(0, 1);
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::Probe], "and is asked again and again");
    fleet.succeed(0);
    fleet.tick();
    assert_eq!(fleet.presences(), [Presence::In]);
}

#[derive(Clone, Debug)]
enum Step {
    Fail(usize, u32),
    Succeed(usize),
    Down(usize, bool),
    Up(usize),
    Lost(usize),
    Found(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..12, 1_u32..7).prop_map(|(index, times)| Step::Fail(index, times)),
        2 => (0_usize..12).prop_map(Step::Succeed),
        2 => (0_usize..12, any::<bool>()).prop_map(|(index, slow)| Step::Down(index, slow)),
        1 => (0_usize..12).prop_map(Step::Up),
        1 => (0_usize..12).prop_map(Step::Lost),
        1 => (0_usize..12).prop_map(Step::Found),
        2 => (0_u64..20_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_more_than_the_bounds_are_out_and_never_all(n in 1_usize..12, steps in prop::collection::vec(step(), 1..150)) {
        let mut fleet = Fleet::of(n);
        for step in steps {
            match step {
                Step::Fail(index, times) => fleet.fail(index % n, times),
                Step::Succeed(index) => fleet.succeed(index % n),
                Step::Down(index, slow) => fleet.down(index % n, slow),
                Step::Up(index) => fleet.facts[index % n].down = None,
                Step::Lost(index) => fleet.facts[index % n].known = false,
                Step::Found(index) => fleet.facts[index % n].known = true,
                Step::Wait(ms) => fleet.now += Duration::from_millis(ms),
            }
            fleet.tick();
            let presences = fleet.presences();
            let ejected = fleet.outliers.iter().filter(|it| matches!(it.stay(), Stay::Ejected { .. })).count();
            prop_assert!(ejected <= n / 2, "{ejected} of {n}");
            let tried = |index: &usize| fleet.facts[*index].known && presences[*index] != Presence::Out;
            let known = fleet.facts.iter().any(|fact| fact.known);
            prop_assert_eq!((0..n).any(|index| tried(&index)), known, "{:?}", presences);
            let dead = |fact: &Fact| fact.down.as_ref().is_some_and(|down| !down.slow);
            let slow_out = (0..n).filter(|index| {
                let fact = &fleet.facts[*index];
                fact.down.is_some() && !dead(fact) && presences[*index] == Presence::Out
                    && !matches!(fleet.outliers[*index].stay(), Stay::Ejected { .. })
            });
            prop_assert!(slow_out.count() <= (n / 10).max(1));
        }
    }
}
