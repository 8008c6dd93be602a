//! S7: backends that come back cold: a whole fleet at once, one of four, and a whole fleet before one database that
//! all of them share.
//!
//! Half of the backends of the design's simulation, each as large as there: a guard judges each backend by itself, and
//! what it sees of one depends on how much that one serves.

use crate::backend::Start;
use crate::limits::calm;
use crate::measure::Measured;
use crate::scene::{Fleet, Limits, Scene, Settings};
use crate::seeds::{Verdict, hold, miss};
use std::time::Duration;
use tidegate::admission::settings::{Adaptive, Mode};
use tidegate::balancing::settings::Ramp;
use tidegate::request::cohort::Fact;

/// When backends restart.
const AT: usize = 6;
/// Requests a second that are asked for: 70 % of what the fleet can.
const OFFERED: f64 = 1_400.0;

/// Four backends, of which the first `many` restart, and clients that try three times.
fn restart(many: u32) -> Scene {
    let scene = calm();
    let timeout = Duration::from_secs(1);
    let objective = Duration::from_millis(250);
    let adaptive = Adaptive { mode: Mode::Enforce, objective, ceiling: timeout / 2 };
    let steps = [25.0, 50.0, 75.0, 100.0].into();
    let boot_header = http::HeaderName::from_static("x-boot-id");
    Scene {
        seconds: 34,
        offered: |_| OFFERED,
        client_retries: 2,
        backoff: (0.1, 0.4),
        fleet: Fleet {
            backends: 4,
            workers: |_| 10,
            restart: Some((AT as f64, many)),
            start: Start::Cold(300.0),
            dies_above: 300,
            ..scene.fleet
        },
        gateway: Settings {
            cap: 256,
            backend_cap: 64,
            max_waiting: 512,
            limit: Limits::Adaptive(adaptive),
            ramp: Some(Ramp {
                steps,
                dwell: Duration::from_secs(2),
                guard: true,
                boot_header,
                cohort: Fact::Address,
            }),
            ..scene.gateway
        },
        ..scene
    }
}

/// The same fleet, whose cold caches ask one database that takes eight misses at once.
fn shared_database() -> Scene {
    let scene = restart(4);
    let fleet = Fleet { workers: |_| 30, start: Start::SharedDatabase(300.0), database: 8.0, ..scene.fleet };
    Scene { fleet, ..scene }
}

/// The same gateway with nothing but a large cap.
fn bare(scene: Scene) -> Scene {
    let gateway = Settings {
        cap: 1_024,
        backend_cap: 1_024,
        max_waiting: 0,
        limit: Limits::Cap,
        zombies: false,
        ramp: None,
        ..scene.gateway
    };
    Scene { gateway, ..scene }
}

fn comes_back(within: usize) -> impl Fn(&Measured, &mut Verdict) + Sync {
    move |it, verdict| {
        verdict.at_most("crashes", f64::from(it.crashes), 0.0);
        verdict.within("t95 s", it.recovered(AT, 0.95), within);
        let end = it.seconds.len() - 1;
        verdict.at_most("beyond the ramp", it.sum(AT + 1, end, |second| second.beyond_ramp), 0.0);
    }
}

#[test]
fn s7_a_whole_fleet_that_restarts_cold_comes_back_without_a_crash() {
    hold(&restart(4), comes_back(25));
    miss(&bare(restart(4)), comes_back(25));
}

#[test]
fn s7c_ramps_alone_bring_the_fleet_back() {
    let capped = |scene: Scene| Scene { gateway: Settings { limit: Limits::Cap, ..scene.gateway }, ..scene };
    hold(&Scene { seconds: 40, ..capped(shared_database()) }, comes_back(32));
}

#[test]
fn s7b_one_of_four_that_restarts_cold_is_hardly_noticed() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        let failed = it.sum(AT, 24, |second| second.late + second.broken + second.shed);
        verdict.at_most("crashes", f64::from(it.crashes), 0.0);
        verdict.at_most("failed", failed, 30.0);
        verdict.at_most("p99 ms", it.percentile(AT + 4, 24, 0.99), 250.0);
    };
    hold(&Scene { seconds: 24, client_retries: 0, ..restart(1) }, judge);
}

#[test]
fn s7c_a_fleet_before_a_shared_database_comes_back_without_a_crash() {
    hold(&Scene { seconds: 40, ..shared_database() }, comes_back(32));
    let mut capped = bare(shared_database());
    (capped.gateway.cap, capped.gateway.backend_cap, capped.gateway.max_waiting) = (120, 30, 240);
    miss(&Scene { seconds: 40, ..capped }, comes_back(32));
}
