//! The picker in simulated time: Poisson arrivals, backends that serve each request at once, seeded dice.

use super::super::ewma::PeakEwma;
use super::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const MS: f64 = 1e6;

/// A simulated backend.
#[derive(Clone, Copy)]
struct Backend {
    weight: u32,
    cap: u32,
    /// Mean service time in ms; infinite never answers.
    service_ms: f64,
}

const PEER: Backend = Backend { weight: 100, cap: 10_000, service_ms: 20.0 };

#[derive(Default)]
struct Outcome {
    picks: Vec<u32>,
    inflight: Vec<u32>,
    inflight_max: Vec<u32>,
    full: u32,
}

impl Outcome {
    fn share(&self, one: usize, of: usize) -> f64 {
        f64::from(self.picks[one]) / f64::from(self.picks[of])
    }
}

/// How service times vary.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// Between 0.9 and 1.1 of the mean.
    Even,
    /// Exponential.
    Wide,
}

/// `rate` requests a second; the first fifth of 20,000 is not counted.
fn simulate(backends: &[Backend], rate: f64, spread: Spread, seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let ewmas: Vec<PeakEwma> = backends.iter().map(|_| PeakEwma::default()).collect();
    let mut ends: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
    let zero = vec![0; backends.len()];
    let mut outcome = Outcome { picks: zero.clone(), inflight: zero.clone(), inflight_max: zero, full: 0 };
    let mut now = 0.0;
    for request in 0..20_000 {
        now += -(1.0 - rng.f64()).ln() / rate * 1e9;
        while let Some(&Reverse((end, backend, rtt))) = ends.peek()
            && end <= now as u64
        {
            ends.pop();
            outcome.inflight[backend] -= 1;
            ewmas[backend].record(end, rtt);
        }
        let load = |at: usize| Load {
            inflight: outcome.inflight[at],
            cap: backends[at].cap,
            weight: backends[at].weight,
            ewma_ns: ewmas[at].get(now as u64),
            eligible: true,
        };
        match pick(&mut rng, backends.len(), load, None) {
            Picked::Backend(at) => {
                assert!(outcome.inflight[at] < backends[at].cap);
                outcome.inflight[at] += 1;
                outcome.inflight_max[at] = outcome.inflight_max[at].max(outcome.inflight[at]);
                outcome.picks[at] += u32::from(request >= 4_000);
                let factor = match spread {
                    Spread::Even => 0.9 + 0.2 * rng.f64(),
                    Spread::Wide => -(1.0 - rng.f64()).ln(),
                };
                if backends[at].service_ms.is_finite() {
                    let rtt = (backends[at].service_ms * factor * MS) as u64;
                    ends.push(Reverse((now as u64 + rtt, at, rtt)));
                }
            }
            Picked::AllFull => outcome.full += 1,
            Picked::NoneEligible => panic!("all are eligible"),
        }
    }
    outcome
}

fn light(weight: u32) -> Backend {
    Backend { weight, ..PEER }
}

const RATES: [f64; 7] = [2.0, 10.0, 50.0, 200.0, 500.0, 2_000.0, 10_000.0];

/// Every load and spread; 20 ms backends, so 10,000 a second is 200 in flight.
fn at_any_load(check: impl Fn(f64, Spread)) {
    for spread in [Spread::Even, Spread::Wide] {
        for rate in RATES {
            check(rate, spread);
        }
    }
}

#[test]
fn half_the_weight_is_about_half_the_requests_at_any_load() {
    for fleet in [vec![PEER, light(50)], vec![PEER, PEER, light(50)], vec![PEER, PEER, PEER, PEER, light(50)]]
    {
        at_any_load(|rate, spread| {
            let share = simulate(&fleet, rate, spread, 7).share(fleet.len() - 1, 0);
            assert!(
                (0.35..0.65).contains(&share),
                "{} backends, {rate}/s, {spread:?}: {share:.2}",
                fleet.len()
            );
        });
    }
}

#[test]
fn a_backend_ramped_to_a_quarter_gets_about_a_quarter_at_any_load() {
    for fleet in [vec![PEER, light(25)], vec![PEER, PEER, PEER, light(25)]] {
        at_any_load(|rate, spread| {
            let share = simulate(&fleet, rate, spread, 7).share(fleet.len() - 1, 0);
            assert!(
                (0.17..0.37).contains(&share),
                "{} backends, {rate}/s, {spread:?}: {share:.2}",
                fleet.len()
            );
        });
    }
}

#[test]
fn who_once_waited_for_a_processor_is_as_fast_as_its_peers() {
    let fast = Load { inflight: 0, cap: 64, weight: 100, ewma_ns: 200_000, eligible: true };
    let interrupted = Load { ewma_ns: 2_500_000, ..fast };
    let mut rng = Rng::with_seed(7);
    let mut picks = [0_u32; 2];
    for _ in 0..1_000 {
        match pick(&mut rng, 2, |at| if at == 0 { fast } else { interrupted }, None) {
            Picked::Backend(at) => picks[at] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(picks.iter().all(|count| *count > 400), "{picks:?}");
}

#[test]
fn a_ten_times_slower_backend_gets_little_but_is_tried() {
    let slow = Backend { service_ms: 200.0, ..PEER };
    for fleet in [vec![PEER, slow], vec![PEER, PEER, PEER, slow]] {
        at_any_load(|rate, spread| {
            let share = simulate(&fleet, rate, spread, 7).share(fleet.len() - 1, 0);
            // At two a second there are few answers to judge by between one fading and the next.
            let most = if rate < 10.0 { 0.3 } else { 0.15 };
            assert!(
                share > 0.0 && share < most,
                "{} backends, {rate}/s, {spread:?}: {share:.3}",
                fleet.len()
            );
        });
    }
}

#[test]
fn a_hung_backend_holds_no_more_than_its_peers() {
    let hung = Backend { service_ms: f64::INFINITY, ..PEER };
    for fleet in [vec![PEER, hung], vec![PEER, PEER, PEER, hung]] {
        at_any_load(|rate, spread| {
            let outcome = simulate(&fleet, rate, spread, 7);
            let (held, peer) = (outcome.inflight[fleet.len() - 1], outcome.inflight_max[0]);
            assert!(
                held <= peer + peer / 5 + 2,
                "{} backends, {rate}/s, {spread:?}: {held}, {peer}",
                fleet.len()
            );
            assert_eq!(outcome.full, 0);
        });
    }
}

#[test]
fn caps_bind_and_what_does_not_fit_is_told() {
    let small = Backend { cap: 5, ..PEER };
    // 40 in flight on average would be needed; the first alone has room for it.
    let outcome = simulate(&[PEER, small, small], 2_000.0, Spread::Even, 7);
    assert_eq!((outcome.full, outcome.inflight_max[1], outcome.inflight_max[2]), (0, 5, 5));
    let outcome = simulate(&[small, small, small], 2_000.0, Spread::Even, 7);
    assert!(outcome.full > 5_000, "{}", outcome.full);
    assert_eq!(outcome.inflight_max, [5, 5, 5]);
}

const IDLE: Load = Load { inflight: 0, cap: 10, weight: 100, ewma_ns: 0, eligible: true };

/// How often each of `loads` is picked in a thousand.
fn tally(loads: &[Load], not: Option<usize>) -> Vec<u32> {
    let mut rng = Rng::with_seed(1);
    let mut picks = vec![0; loads.len()];
    for _ in 0..1_000 {
        if let Picked::Backend(at) = pick(&mut rng, loads.len(), |at| loads[at], not) {
            picks[at] += 1;
        }
    }
    picks
}

fn pick_once(loads: &[Load], not: Option<usize>) -> Picked {
    pick(&mut Rng::with_seed(1), loads.len(), |at| loads[at], not)
}

#[test]
fn says_whether_waiting_may_help() {
    let full = Load { inflight: 10, ..IDLE };
    let out = Load { eligible: false, ..IDLE };
    let off = Load { weight: 0, ..IDLE };
    assert_eq!(pick_once(&[], None), Picked::NoneEligible);
    assert_eq!(pick_once(&[out, off], None), Picked::NoneEligible);
    assert_eq!(pick_once(&[IDLE], Some(0)), Picked::NoneEligible);
    assert_eq!(pick_once(&[full, out], None), Picked::AllFull);
    assert_eq!(pick_once(&[full, IDLE], Some(1)), Picked::AllFull);
    assert_eq!(pick_once(&[out, IDLE, off], None), Picked::Backend(1));
}

#[test]
fn a_retry_goes_elsewhere() {
    assert_eq!(tally(&[IDLE, IDLE, IDLE], Some(1))[1], 0);
}

#[test]
fn finds_the_only_room_in_a_large_fleet() {
    for fallback in [Load { inflight: 10, ..IDLE }, Load { eligible: false, ..IDLE }] {
        let mut loads = vec![fallback; 500];
        loads[321] = IDLE;
        assert_eq!(tally(&loads, None)[321], 1_000);
    }
}

#[test]
fn a_large_fleet_follows_the_weights() {
    let mut loads = vec![IDLE; 200];
    for load in &mut loads[..100] {
        load.weight = 25;
    }
    let picks = tally(&loads, None);
    let light: u32 = picks[..100].iter().sum();
    assert!((150..250).contains(&light), "{light} of 1000, where 200 is exact");
}

#[test]
fn a_newcomer_is_judged_by_its_requests_in_flight_alone() {
    let known = Load { ewma_ns: 1_000_000, ..IDLE };
    let picks = tally(&[known, IDLE], None);
    assert!((400..600).contains(&picks[1]), "{picks:?}");
}

#[test]
fn two_nearly_full_backends_are_compared_by_requests_in_flight() {
    let slow = Load { inflight: 85, cap: 100, ewma_ns: 1_000_000_000, ..IDLE };
    let fast = Load { inflight: 95, cap: 100, ewma_ns: 1_000_000, ..IDLE };
    assert_eq!(tally(&[slow, fast], None), [1_000, 0]);
    let (slow, fast) = (Load { inflight: 70, ..slow }, Load { inflight: 75, ..fast });
    assert_eq!(tally(&[slow, fast], None), [0, 1_000]);
}
