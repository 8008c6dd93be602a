//! What one version meets is not held against the other.

use super::*;
use crate::control::checks::keep_checked;
use crate::telemetry::cells::CoreId;
use crate::upstream::discovery::{Pace, keep_resolved};
use crate::upstream::vitals::Blame;

#[test]
fn what_fails_for_a_candidate_at_a_backend_of_both_is_not_held_against_the_backend() {
    house::run(async |mut house: House| {
        let old = Origin::failing("old").await;
        house.begin(&house::config(old.at, "")).await;
        house.meet(CLIENTS).await;
        house.offer(&house::config(old.at, "max_in_flight = 50"), share(0.5));
        let sides = house.sides(CLIENTS);
        let live = house.live();
        let signs = || live.stable.upstreams[0].cluster.backends[0].endpoint.vitals.signs();
        let before = signs();
        for client in (0..CLIENTS).filter(|client| sides[*client as usize]).take(20) {
            assert_eq!(house.ask(client).await.0, 500);
        }
        assert_eq!(signs(), before);
        house.control.widen(Share::ALL);
        assert_eq!(house.ask(1).await.0, 500);
        assert_eq!(signs().failed, before.failed + 1, "nobody else is left who would tell");
        house.control.withdraw();
        assert_eq!(house.ask(1).await.0, 500);
        assert_eq!(signs().failed, before.failed + 2, "its own requests tell");
    });
}

#[test]
fn a_backend_that_only_the_candidate_reaches_is_out_for_the_candidate_only() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::failing("new").await);
        let before = house::config(old.at, "");
        let another = format!("{{ name = \"b\", address = \"{}\" }}]", new.at);
        let after = before.replace("}]", &format!("}}, {another}"));
        house.begin(&before).await;
        house.offer(&after, Share::ALL);
        // As its cores would say it after ten answers of 500 in a row.
        let fails = |house: &mut House| {
            house.look();
            let live = house.live();
            let tried = live.candidate().expect("one is tried");
            let vitals = &tried.upstreams[0].cluster.backends[1].endpoint.vitals;
            (0..10).for_each(|_| vitals.failed(CoreId(0), Blame::Status(500)));
            house.look();
        };
        fails(&mut house);
        // Not simply in: out, or tried by one request at a time.
        let is_sick = |table: &Table| {
            let shares = table.upstreams[0].cluster.shares.load();
            shares.of.iter().map(|share| share.probe || share.out).collect::<Vec<_>>()
        };
        let live = house.live();
        assert_eq!(is_sick(live.candidate().expect("one is tried")), [false, true]);
        assert_eq!(is_sick(&live.stable), [false]);
        house.control.withdraw();
        assert_eq!(house.ask(1).await, (200, "old".to_owned()));

        // What was found out about a candidate is known when it becomes active.
        house.offer(&after, Share::ALL);
        fails(&mut house);
        house.control.promote().expect("nothing is in its way");
        assert_eq!(is_sick(&house.live().stable), [false, true]);
        house.look();
        assert_eq!(is_sick(&house.live().stable), [false, true]);
    });
}

#[test]
fn a_withdrawal_waits_for_nobody_who_builds_and_what_they_built_stays_out() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        house.begin(&house::config(old.at, "")).await;
        house.offer(&house::config(new.at, ""), Share::ALL);
        // Somebody who builds is held up by a file.
        let builder = house.control.builder.lock().expect("nobody panics");
        let tried = house.control.tried().expect("one is tried");
        assert!(house.control.widen(share(0.5)));
        assert!(house.control.withdraw());
        assert!(house.control.trial().is_none());
        house.control.put(None, Some((&tried, Some(tried.table.clone()))));
        drop(builder);
        assert!(house.live().trial.is_none());
        assert_eq!(house.ask(1).await, (200, "old".to_owned()));
    });
}

#[test]
fn a_share_of_nothing_warms_a_candidate_up_and_names_what_it_waits_for() {
    house::run(async |mut house: House| {
        let old = Origin::named("old").await;
        let before = house::config(old.at, "");
        house.begin(&before).await;
        let after = before.replace(&old.at.to_string(), "nobody.invalid:80");
        house.offer(&after, share(0.0));
        assert_eq!(house.control.trial().expect("one is tried").unresolved, ["nobody.invalid:80"]);
        for client in 0..50 {
            assert_eq!(house.ask(client).await, (200, "old".to_owned()));
        }
    });
}

#[test]
fn a_candidate_with_other_health_checks_has_a_health_of_its_own() {
    house::run(async |mut house: House| {
        let old = Origin::named("old").await;
        house.begin(&house::config(old.at, "health = { path = \"/a\" }")).await;
        house.offer(&house::config(old.at, "health = { path = \"/b\" }"), share(0.5));
        let live = house.live();
        let endpoint = |table: &Table| table.upstreams[0].cluster.backends[0].endpoint.clone();
        let (one, other) = (endpoint(&live.stable), endpoint(live.candidate().expect("one is tried")));
        assert!(!Arc::ptr_eq(&one, &other));
        house.control.withdraw();
        house.offer(&house::config(old.at, "health = { path = \"/a\" }\nmax_in_flight = 9"), share(0.5));
        let live = house.live();
        assert!(Arc::ptr_eq(&one, &endpoint(live.candidate().expect("one is tried"))));
    });
}

#[test]
fn names_of_a_candidate_are_followed_and_its_readdressing_leaves_the_stable_version_alone() {
    house::run(async |mut house: House| {
        let old = Origin::named("old").await;
        let before = house::config(old.at, "");
        house.begin(&before).await;
        tokio::task::spawn_local(keep_resolved(house.control.names.clone(), Pace::default()));
        house.offer(&before.replace(&old.at.to_string(), "localhost:80"), share(0.5));
        let resolved = || house.control.trial().expect("one is tried").unresolved.is_empty();
        house.until(resolved).await;
        let stable = house.live().stable.clone();
        house.until(|| house.control.readdress() && is_resolved(&house)).await;
        assert!(Arc::ptr_eq(&house.live().stable, &stable));
        assert!(house.control.widen(share(0.7)) && is_resolved(&house), "over all stages");
        house.control.promote().expect("nothing is in its way");
        assert!(house.live().stable.upstreams[0].cluster.backends[0].resolved, "and then");
    });
}

fn is_resolved(house: &House) -> bool {
    let live = house.live();
    live.candidate().expect("one is tried").upstreams[0].cluster.backends[0].resolved
}

#[test]
fn whoever_passes_without_a_judgement_counts_as_a_failure_of_the_auth() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::failing("new").await);
        let plain = house::config(old.at, "");
        let auth = format!(
            "[[upstreams]]\nname = \"auth\"\nbackends = [{{ name = \"a\", address = \"{}\" }}]\n\
             [[auth]]\nname = \"s\"\nkind = \"external\"\nupstream = \"auth\"\npath = \"/\"\non_error = \"allow\"\n",
            new.at
        );
        let judged = plain.replace("upstream = \"u\"\n", "upstream = \"u\"\nauth = \"s\"\n") + &auth;
        house.begin(&plain).await;
        house.offer(&judged, Share::ALL);
        for client in 0..10 {
            assert_eq!(house.ask(client).await, (200, "old".to_owned()));
        }
        let sum = house.control.tallies().expect("one is tried").sum();
        assert_eq!((sum["r"].1.requests, sum["r"].1.failed[Failure::Auth as usize]), (10, 10));
    });
}

#[test]
fn backends_of_a_candidate_are_checked_and_what_is_found_is_the_candidates() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::failing("new").await);
        house.begin(&house::config(old.at, "")).await;
        let (live, metrics) = (house.control.live.clone(), house.control.metrics.clone());
        tokio::task::spawn_local(keep_checked(live, metrics));
        let checked =
            "health = { path = \"/well\", interval = \"100ms\", timeout = \"50ms\", unhealthy = 2 }";
        house.offer(&house::config(new.at, checked), share(0.0));
        let live = house.live();
        let is_down = |table: &Table| {
            let endpoint = &table.upstreams[0].cluster.backends[0].endpoint;
            endpoint.vitals.checkup.down().is_some()
        };
        house.until(|| is_down(live.candidate().expect("one is tried"))).await;
        assert!(!is_down(&live.stable));
        house.control.withdraw();
        assert_eq!(house.ask(1).await, (200, "old".to_owned()));
    });
}

#[test]
fn the_access_log_says_which_version_served() {
    house::run(async |mut house: House| {
        let (old, new) = (Origin::named("old").await, Origin::named("new").await);
        let log = tempfile::NamedTempFile::new().expect("a file");
        let target = format!("target = \"{}\"", log.path().display());
        let logged = |at| house::config(at, "").replace("target = \"off\"", &target);
        house.begin(&logged(old.at)).await;
        house.ask(1).await;
        house.offer(&logged(new.at), Share::ALL);
        house.ask(1).await;
        house.settle();
        let lines = || std::fs::read_to_string(log.path()).expect("it is there");
        house.until(|| lines().lines().count() == 2).await;
        let versions: Vec<_> = lines()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["version"].clone())
            .collect();
        assert_eq!(versions, [1, 2]);
    });
}
