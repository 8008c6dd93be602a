//! Picking a backend and recording its answer, without allocating. Run with `cargo bench --bench picker`;
//! `support/meter.rs` says how instructions are counted.

#[path = "support/meter.rs"]
mod meter;

use meter::Meter;
use tidegate::balancing::ewma::PeakEwma;
use tidegate::balancing::picker::{Load, pick};

fn main() {
    let meter = Meter::from_args();
    let mut rng = fastrand::Rng::with_seed(1);
    for n in [1, 3, 10, 30, 1_000, 10_000] {
        let ewmas: Vec<PeakEwma> = (0..n).map(|_| PeakEwma::default()).collect();
        for (at, ewma) in ewmas.iter().enumerate() {
            ewma.record(1, 1_000_000 + at as u64);
        }
        let load = |at: usize, inflight: u32| Load {
            inflight,
            cap: 100,
            weight: 100 - (at % 50) as u32,
            ewma_ns: ewmas[at].get(1_000_000_000),
            eligible: true,
        };
        meter.assert_free_of_allocations(&format!("{n} backends: pick"), |_| {
            pick(&mut rng, n, |at| load(at, at as u32 % 8), None)
        });
        meter.assert_free_of_allocations(&format!("{n} backends: pick, all full"), |_| {
            pick(&mut rng, n, |at| load(at, 100), None)
        });
    }
    let ewma = PeakEwma::default();
    meter.assert_free_of_allocations("record a response time", |n| {
        ewma.record(n as u64 * 1_000_000, 1_000_000)
    });
}
