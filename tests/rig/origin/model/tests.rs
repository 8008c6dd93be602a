//! The model in simulated time.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn one(knobs: Knobs, database: Option<Database>) -> Model {
    let mut model = Model::new(1, database);
    model.add(knobs);
    model
}

fn constant(workers: usize, time: u64) -> Knobs {
    Knobs::new(workers, Service::Constant(ms(time)))
}

fn ready(model: &mut Model, at: u64) -> Vec<Ticket> {
    model.ready(ms(at)).into_iter().map(|(ticket, _)| ticket).collect()
}

#[test]
fn workers_serve_first_in_first_out_and_a_busy_origin_does_exactly_its_rate() {
    let mut model = one(constant(2, 10), None);
    let tickets: Vec<_> = (0..6).map(|_| model.arrive(0, ms(0)).expect("there is room")).collect();
    assert!(ready(&mut model, 9).is_empty());
    assert_eq!(ready(&mut model, 10), tickets[..2]);
    // Nobody looked for a long time: the others ended at 20 and 30 all the same.
    assert_eq!(ready(&mut model, 35), tickets[2..]);
    assert_eq!(model.seen(0, ms(35)), Seen { in_flight: 0, peak: 6, total: 6, served: 6, aborted: 0 });
    model.forget_peaks(ms(35));
    assert_eq!(model.seen(0, ms(35)).peak, 0);
}

#[test]
fn a_client_that_leaves_frees_no_worker() {
    let mut model = one(constant(1, 10), None);
    let left = model.arrive(0, ms(0)).expect("there is room");
    model.abandon(left);
    let stays = model.arrive(0, ms(1)).expect("there is room");
    assert_eq!(model.seen(0, ms(1)).in_flight, 2);
    assert_eq!(ready(&mut model, 19), [left]);
    assert_eq!(ready(&mut model, 20), [stays]);
    assert_eq!(model.seen(0, ms(20)).aborted, 1);
}

#[test]
fn what_came_while_it_hung_is_never_answered_and_ends_with_its_client() {
    let mut model = one(constant(1, 10), None);
    let (runs, waits) = (model.arrive(0, ms(0)), model.arrive(0, ms(0)).expect("there is room"));
    model.set(0, Knobs { manner: Manner::Hangs, ..constant(1, 10) }, ms(1));
    let came = model.arrive(0, ms(2)).expect("there is room");
    model.set(0, constant(1, 10), ms(50));
    assert_eq!(ready(&mut model, 1_000), [runs.expect("there is room")], "what ran has ended");
    assert_eq!(model.seen(0, ms(1_000)).in_flight, 2);
    [waits, came].into_iter().for_each(|ticket| model.abandon(ticket));
    assert_eq!(model.seen(0, ms(1_000)).in_flight, 0);
    assert!(model.arrive(0, ms(1_000)).is_some());
    assert_eq!(ready(&mut model, 1_010).len(), 1, "it serves again");
}

#[test]
fn a_cold_cache_is_slow_until_it_is_filled_and_again_after_a_restart() {
    let cold = Some(Cold { requests: 2, factor: 10.0 });
    let mut model = one(Knobs { cold, ..constant(1, 10) }, None);
    (0..3).for_each(|_| assert!(model.arrive(0, ms(0)).is_some()));
    assert_eq!((ready(&mut model, 200).len(), ready(&mut model, 210).len()), (2, 1));
    model.set(0, Knobs { cold, boot: "2".into(), ..constant(1, 10) }, ms(210));
    assert!(model.arrive(0, ms(210)).is_some());
    assert_eq!((ready(&mut model, 309).len(), ready(&mut model, 310).len()), (0, 1));
}

#[test]
fn a_shared_database_thrashes_above_its_load() {
    let database = Database { workers: 1, query: ms(10), thrashes_above: 2 };
    let mut model = one(constant(8, 0), Some(database));
    model.add(constant(8, 0));
    (0..4).for_each(|n| assert!(model.arrive(n % 2, ms(0)).is_some()));
    // Found alone when each began at time 0 one after another, then with 3, 2 and 1 in the room.
    let ends: Vec<u64> = (0..100).filter(|at| !ready(&mut model, *at).is_empty()).collect();
    assert_eq!(ends, [10, 25, 35, 45]);
}

#[test]
fn more_workers_begin_at_once_and_latency_holds_none() {
    let mut model = one(Knobs { latency: ms(100), ..constant(1, 10) }, None);
    (0..4).for_each(|_| assert!(model.arrive(0, ms(0)).is_some()));
    model.set(0, Knobs { latency: ms(100), ..constant(3, 10) }, ms(5));
    assert_eq!(ready(&mut model, 110).len(), 1);
    assert_eq!(ready(&mut model, 115).len(), 2);
    assert_eq!(ready(&mut model, 120).len(), 1);
}

#[test]
fn the_same_seed_is_the_same_run_and_lognormal_has_its_median() {
    let run = |seed| {
        let mut model = Model::new(seed, None);
        model.add(Knobs::new(1_000, Service::Lognormal { median: ms(20), sigma: 0.5 }));
        (0..1_000).for_each(|_| assert!(model.arrive(0, ms(0)).is_some()));
        (0..200).map(|at| model.ready(ms(at)).len()).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let by_median: usize = run(7)[..=20].iter().sum();
    assert!((450..550).contains(&by_median), "{by_median} of 1,000");
}

#[test]
fn a_share_of_the_requests_fails_as_it_is_set() {
    let mut model = one(Knobs { fault: Some((0.25, Fault::Status(500))), ..constant(1_000, 1) }, None);
    (0..1_000).for_each(|_| assert!(model.arrive(0, ms(0)).is_some()));
    let failed = model.ready(ms(1)).iter().filter(|(_, fault)| fault.is_some()).count();
    assert!((200..300).contains(&failed), "{failed} of 1,000");
}
