//! Two versions alive, in process: a real control plane, real gates and a real station with sockets; no threads of
//! their own but the acceptor's.

mod caps;
mod house;
mod origins;
mod sides;

use super::*;
use crate::control::rollback::Order;
use crate::telemetry::metrics::RollbackCause;
use crate::telemetry::tally::Failure;
use house::House;
use origins::Origin;
use std::time::Duration;

/// Clients that are enough to choose among.
const CLIENTS: u32 = 400;

fn share(part: f64) -> Share {
    Share::of(part)
}

#[test]
fn the_same_clients_are_served_by_the_candidate_each_time_and_by_a_larger_stage_too() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.meet(CLIENTS).await;
        house.offer(&house::config(new.at, ""), share(0.25));
        let sight = house.control.trial().expect("one is tried");
        assert!(!sight.per_request, "there are clients enough");
        let mut sides = Vec::new();
        for _ in 0..2 {
            let mut served = Vec::new();
            for client in 0..CLIENTS {
                served.push(house.ask(client).await.1 == "new");
            }
            sides.push(served);
        }
        assert_eq!(sides[0], sides[1], "whoever is in stays in");
        let in_share = sides[0].iter().filter(|new| **new).count() as f64 / f64::from(CLIENTS);
        assert!((0.17..0.33).contains(&in_share), "{in_share}");
        let sight = house.control.trial().expect("one is tried");
        assert_eq!(sight.requests.iter().sum::<u64>(), u64::from(2 * CLIENTS));
        assert!((sight.realised.expect("some were asked") - in_share).abs() < 1e-9);

        assert!(house.control.widen(share(0.5)));
        assert_eq!(house.control.trial().expect("one is tried").realised, None, "another stage");
        for client in (0..CLIENTS).filter(|client| sides[0][*client as usize]) {
            assert_eq!(house.ask(client).await.1, "new", "a larger share holds everyone of a smaller one");
        }
    });
}

#[test]
fn with_few_clients_each_request_is_chosen_for_itself_and_that_is_said() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, ""), share(0.25));
        assert!(house.control.trial().expect("one is tried").per_request);
        let mut given = 0;
        for _ in 0..800 {
            given += u32::from(house.ask(1).await.1 == "new");
        }
        assert!((130..270).contains(&given), "a quarter of 800: {given}");
        assert!(house.control.trial().expect("one is tried").per_request);
    });
}

#[test]
fn a_withdrawn_candidate_finishes_what_it_began_and_nobody_else_finds_it() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::hung("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, ""), Share::ALL);
        let asked = house.asking(1);
        new.reached(1).await;
        let table = Arc::downgrade(house.live().candidate().expect("it is tried"));
        assert!(house.control.withdraw());
        assert!(!house.control.withdraw(), "there is none any more");
        assert_eq!(house.ask(2).await, (200, "old".to_owned()));
        new.answer();
        assert_eq!(asked.await.expect("it was asked"), (200, "new".to_owned()));
        house.settle();
        assert!(table.upgrade().is_none(), "what nobody reads any more is gone");
    });
}

#[test]
fn a_candidate_that_hangs_holds_its_part_and_takes_nothing_from_the_stable_version() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::hung("new").await);
        let bounds = "max_in_flight = 20\nqueue = { max_waiting = 40, max_wait = \"2s\" }";
        house.begin(&house::config(old.at, bounds)).await;
        house.meet(CLIENTS).await;
        house.offer(&house::config(new.at, bounds), share(0.2));
        let sides = house.sides(CLIENTS);
        let (guests, others): (Vec<u32>, Vec<u32>) = (0..CLIENTS).partition(|it| sides[*it as usize]);
        let hanging: Vec<_> = guests.iter().take(30).map(|client| house.asking(*client)).collect();
        // 2 × 20 % of 20.
        new.reached(8).await;
        for client in others.iter().take(100) {
            assert_eq!(
                house.ask(*client).await,
                (200, "old".to_owned()),
                "nobody waits behind the candidate"
            );
        }
        assert_eq!(new.asked(), 8, "it holds its part and no more");
        assert_eq!(house.in_flight(), 8);
        let tallies = house.control.tallies().expect("one is tried").sum();
        assert_eq!(tallies["r"].0.failures(), 0);
        house.control.withdraw();
        new.answer();
        for asked in hanging {
            let (status, _) = asked.await.expect("it was asked");
            assert!(status == 200 || status == 503, "{status}");
        }
        house.settle();
        assert_eq!(house.in_flight(), 0, "every part was given back");
    });
}

#[test]
fn what_became_of_requests_is_counted_by_side_and_what_hangs_is_counted_while_it_does() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::failing("new").await);
        let lines = "latency_objective = \"50ms\"";
        house.begin(&house::config(old.at, lines)).await;
        house.meet(CLIENTS).await;
        house.offer(&house::config(new.at, lines), share(0.5));
        for client in 0..CLIENTS {
            house.ask(client).await;
        }
        let sum = house.control.tallies().expect("one is tried").sum();
        let (stable, candidate) = &sum["r"];
        assert_eq!(stable.requests + candidate.requests, u64::from(CLIENTS));
        assert_eq!((stable.failures(), stable.samples()), (0, stable.requests));
        assert_eq!(candidate.failed[Failure::Backend as usize], candidate.requests);
        assert!(candidate.requests > 100, "{}", candidate.requests);

        new.hang();
        let sides = house.sides(CLIENTS);
        let guest = (0..CLIENTS).find(|client| sides[*client as usize]).expect("half of them");
        let asked = house.asking(guest);
        let tallies = house.control.tallies().expect("one is tried");
        house.until(|| tallies.overdue_now() == 1).await;
        let overdue = || tallies.sum()["r"].1.failed[Failure::Overdue as usize];
        assert_eq!(overdue(), 1);
        new.answer();
        asked.await.expect("it was asked");
        house.until(|| tallies.overdue_now() == 0).await;
        let after = tallies.sum()["r"].1.clone();
        assert_eq!(
            (overdue(), after.requests),
            (1, candidate.requests + 1),
            "once, and not again at its end"
        );
    });
}

#[test]
fn a_promoted_candidate_is_the_table_that_was_tried_and_is_watched_on() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, "max_in_flight = 31"), share(0.5));
        let (tried, number) = (house.control.tried().expect("it is tried").table, 2);
        let backend = Arc::as_ptr(&tried.upstreams[0].cluster.backends[0].endpoint);
        let receipt = house.control.promote().expect("nothing is in its way");
        assert_eq!(receipt.number, number);
        let live = house.live();
        assert!(Arc::ptr_eq(&live.stable, &tried) && live.trial.is_none());
        assert_eq!(Arc::as_ptr(&live.stable.upstreams[0].cluster.backends[0].endpoint), backend);
        assert_eq!(house.ask(1).await.1, "new");
        let sum = house.control.tallies().expect("it is watched").sum();
        assert_eq!((sum["r"].0.requests, sum["r"].1.requests), (0, 1));
        house.control.stop_watching();
        assert!(house.control.tallies().is_none() && house.live().watched.is_none());
        assert!(house.control.promote().is_err(), "none is tried");
    });
}

#[test]
fn a_version_that_went_around_the_stages_is_watched_too() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::failing("new").await);
        house.begin(&house::config(old.at, "")).await;
        let forced = house.candidate(&house::config(new.at, ""));
        let step = Step { number: forced.number, rollbacks: house.control.rollbacks(), good: false };
        house.control.activate(forced.into_active(), step).expect("nothing is in its way");
        assert_eq!(house.ask(1).await.0, 500);
        let sum = house.control.tallies().expect("it is watched").sum();
        assert_eq!((sum["r"].0.requests, sum["r"].1.requests, sum["r"].1.failures()), (0, 1, 1));
    });
}

#[test]
fn what_is_given_up_on_its_way_to_everyone_does_not_arrive() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, ""), Share::ALL);
        let number = house.control.tried_number().expect("it is tried");
        house.control.give_up_changes();
        assert!(house.control.promote().is_err_and(|why| why.contains("ended it")));
        assert!(!house.control.withdraw_version(number + 1), "another one");
        assert!(house.control.withdraw_version(number) && house.control.trial().is_none());
        assert_eq!(house.ask(1).await.1, "old");
    });
}

#[test]
fn a_version_is_taken_back_once_also_where_two_want_it() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        let [first, second, third] = [40, 41, 42].map(|cap| {
            let text = house::config(new.at, &format!("max_in_flight = {cap}"));
            house.make_active(&text).expect("it is good").number
        });
        let order = |from| Order {
            target: None,
            by: "ops".to_owned(),
            reason: None,
            cause: RollbackCause::Operator,
            from,
        };
        assert_eq!(house.control.roll_back(&order(None)).expect("it comes back").to, second);
        let again = house.control.roll_back(&order(Some(third))).expect("that is no fault");
        assert_eq!((again.from, again.to, house.control.number()), (second, second, second));
        assert_eq!(house.control.roll_back(&order(Some(second))).expect("it comes back").to, first);
    });
}

#[test]
fn another_version_for_everyone_ends_the_trial_in_the_same_step() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, ""), Share::ALL);
        assert!(
            house
                .control
                .offer(house.candidate(&house::config(old.at, "")), Share::ALL, Fact::Address)
                .is_err()
        );
        let other = house::config(old.at, "max_in_flight = 77");
        let receipt = house.make_active(&other).expect("it is good");
        assert!(receipt.number > 2, "the candidate's number is not given twice");
        assert!(house.control.trial().is_none());
        assert_eq!(house.ask(1).await, (200, "old".to_owned()));
        let bad = house::config(old.at, "tls = { ca = \"/nowhere/ca.pem\" }");
        let why = house.control.offer(house.candidate(&bad), Share::ALL, Fact::Address);
        assert!(why.is_err_and(|why| why.contains("/nowhere/ca.pem")));
        assert_eq!(house.ask(1).await, (200, "old".to_owned()));
    });
}

#[test]
fn what_is_not_the_candidates_to_change_yet_stays_as_it_is() {
    house::run(async |mut house: House| {
        let old = Origin::named("old").await;
        let with =
            |lines: &str| house::config(old.at, "").replace("[gateway]\n", &format!("[gateway]\n{lines}\n"));
        let (before, after) = (with(""), with("trusted_proxies = [\"127.0.0.0/8\"]\nmax_in_flight = 100"));
        house.begin(&before).await;
        house.offer(&after, share(0.5));
        let live = house.live();
        let tried = live.candidate().expect("one is tried");
        assert!(!tried.trusted_proxies.trusts([127, 0, 0, 1].into()));
        // Half way from 8,192 to 100, for both.
        assert_eq!((live.stable.max_in_flight, tried.max_in_flight), (4_146, 4_146));
        house.control.promote().expect("nothing is in its way");
        let stable = house.live().stable.clone();
        assert!(stable.trusted_proxies.trusts([127, 0, 0, 1].into()) && stable.max_in_flight == 100);
    });
}

#[test]
fn swaps_under_load_lose_nothing() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        let (before, after) = (house::config(old.at, ""), house::config(new.at, "max_in_flight = 40"));
        house.begin(&before).await;
        let asked: Vec<_> = (0..8).map(|client| house.asking_on_and_on(client)).collect();
        for round in 0..12 {
            let next = if round % 2 == 0 { &after } else { &before };
            house.offer(next, share(0.3));
            house.served(40).await;
            house.control.widen(share(0.8));
            house.served(40).await;
            match round % 3 {
                0 => drop(house.control.withdraw()),
                _ => drop(house.control.promote().expect("nothing is in its way")),
            }
            house.served(40).await;
            if round % 3 == 0 {
                house.make_active(next).expect("it is good");
            }
        }
        house.stop_asking();
        for asked in asked {
            let failed = asked.await.expect("it asked");
            assert_eq!(failed, Vec::<u16>::new());
        }
        house.settle();
        assert_eq!(house.in_flight(), 0);
    });
}

#[test]
fn a_candidate_with_another_auth_has_an_empty_cache_of_its_own_and_keeps_it_when_it_becomes_active() {
    house::run(async |mut house: House| {
        let old = Origin::named("old").await;
        let auth = |path: &str| house::with_auth(old.at, path);
        house.begin(&auth("/verify")).await;
        let known = |table: &Table| Arc::as_ptr(&table.auths[0].known);
        let first = known(&house.live().stable);
        house.offer(&format!("{}\n# a remark", auth("/verify")), share(0.5));
        assert_eq!(known(house.live().candidate().expect("tried")), first, "nothing of it differs");
        house.control.withdraw();
        house.offer(&auth("/other"), share(0.5));
        let own = known(house.live().candidate().expect("tried"));
        assert_ne!(own, first);
        house.control.widen(share(0.7));
        assert_eq!(known(house.live().candidate().expect("tried")), own, "over all stages");
        house.control.promote().expect("nothing is in its way");
        assert_eq!(known(&house.live().stable), own, "it goes on");
    });
}
