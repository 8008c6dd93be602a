//! The generator against a real origin.

use super::super::origin::Fleet;
use super::super::origin::knobs::{Knobs, Manner, Service};
use super::stream::Retries;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn fleet(workers: usize, service: Duration) -> (Fleet, SocketAddr) {
    let fleet = Fleet::start(1, None, &[Knobs::new(workers, Service::Constant(service))]);
    let address = fleet.addresses()[0];
    (fleet, address)
}

#[test]
fn a_stall_is_felt_by_everybody_who_would_have_come_meanwhile() {
    let (fleet, address) = fleet(64, MS);
    let load = Load::start(
        Plan::new(MS * 1_000, 1).slice(MS * 100),
        vec![stream("s", address, "/", 200.0).patience(Duration::from_secs(10))],
    );
    // No worker for 300 ms in the middle: some 60 requests come, and wait for what is left of it.
    while load.started().elapsed() < MS * 300 {
        std::thread::park_timeout(MS);
    }
    fleet.set(0, |knobs| knobs.workers = 0);
    while load.started().elapsed() < MS * 600 {
        std::thread::park_timeout(MS);
    }
    fleet.set(0, |knobs| knobs.workers = 64);
    let seen = load.finish().streams.remove(0);
    let whole = seen.whole();
    assert!((198..=200).contains(&whole.ok), "all were sent and served: {whole:?}");
    assert!(whole.ok_ms(0.80) > 30.0, "the fifth that came late in the stall: {}", whole.ok_ms(0.80));
    assert!(whole.ok_ms(0.95) > 150.0, "and the twentieth that came first: {}", whole.ok_ms(0.95));
}

#[test]
fn clients_retry_up_to_their_bounds_and_leave_when_their_patience_ends() {
    let (fleet, address) = fleet(8, MS);
    fleet.set(0, |knobs| knobs.manner = Manner::Hangs);
    let retries = Retries { max: 2, wait: MS, at_once: 1_000 };
    let asked = |retries| {
        let stream = stream("s", address, "/", 100.0).patience(MS * 50).retries(retries);
        Load::of(Plan::new(MS * 500, 1), stream)
    };
    let seen = asked(retries);
    assert_eq!((seen.scheduled, seen.answered), (49, 0));
    // Those that are due at the end have no time for another.
    assert!((120..=147).contains(&seen.whole().timeout), "three each: {:?}", seen.whole());
    let bounded = asked(Retries { at_once: 1, ..retries }).whole().timeout;
    assert!(bounded < 80, "one retry at a time: {bounded}");
    assert_eq!(fleet.seen(0).in_flight, 0);
}

#[test]
fn some_clients_leave_at_random_points_and_the_rest_is_served() {
    let (fleet, address) = fleet(8, MS);
    let stream = stream("s", address, "/", 400.0).poisson().aborts(0.5, MS * 2).sources(4);
    let seen = Load::of(Plan::new(MS * 500, 3), stream);
    let whole = seen.whole();
    assert!(whole.left > 40 && whole.ok > 60, "{whole:?}");
    assert_eq!((whole.error, whole.timeout, seen.skipped), (0, 0, 0));
    assert!(fleet.seen(0).total < seen.scheduled, "not every head was whole");
}

#[test]
fn what_needs_one_connection_too_many_is_skipped_and_counted() {
    let (fleet, address) = fleet(8, MS);
    fleet.set(0, |knobs| knobs.manner = Manner::Hangs);
    let plan = Plan { max_connections: 5, ..Plan::new(MS * 300, 1) };
    let seen = Load::of(plan, stream("s", address, "/", 100.0).patience(MS * 500));
    assert_eq!((seen.whole().timeout, seen.skipped), (5, 24));
}
