//! What is news, what is over, what fades.

use super::*;
use crate::control::notify::family::{CONFIG_REFUSED, DOWN, SHEDDING};
use crate::control::notify::meaning::meanings;
use crate::control::notify::samples::record;
use crate::telemetry::events::stream::Kind;
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

struct Night {
    lasting: Lasting,
    start: Instant,
}

impl Night {
    fn falls() -> Night {
        Night { lasting: Lasting::default(), start: Instant::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn hears(&mut self, second: u64, kind: Kind, fields: &[(&str, serde_json::Value)]) -> Vec<Notice> {
        let record = record(kind, "it happened", second as i64, fields);
        let now = self.at(second);
        meanings(&record).into_iter().filter_map(|meaning| self.lasting.take(meaning, &record, now)).collect()
    }

    fn sheds(&mut self, second: u64, what: &str, reason: &str) -> Vec<Notice> {
        let fields = [("what", what.into()), ("upstream", "orders".into()), ("reason", reason.into())];
        self.hears(second, Kind::Shed, &fields)
    }

    fn judges(&mut self, second: u64, what: &str, backend: &str) -> Vec<Notice> {
        let fields = [("what", what.into()), ("upstream", "orders".into()), ("backend", backend.into())];
        self.hears(second, Kind::Ejection, &fields)
    }
}

fn told(notices: &[Notice]) -> Vec<(&'static str, &'static str, bool)> {
    notices.iter().map(|notice| (notice.topic.family.name, notice.stands.as_str(), notice.told)).collect()
}

#[test]
fn an_overload_is_news_once_for_each_reason_and_over_with_the_last_of_them() {
    let mut night = Night::falls();
    assert_eq!(told(&night.sheds(0, "began", "queue_full")), [("TidegateShedding", "firing", false)]);
    for second in (30..300).step_by(30) {
        let lasts = night.sheds(second, "lasts", "queue_full");
        assert_eq!(told(&lasts), [("TidegateShedding", "firing", true)]);
        assert!(night.lasting.fade(night.at(second + 29), Timestamp::now()).is_empty(), "{second}");
    }
    let another = night.sheds(300, "began", "upstream_limit");
    assert_eq!(told(&another), [("TidegateShedding", "firing", false)]);
    let one = night.sheds(310, "ended", "queue_full");
    assert_eq!((told(&one), one[0].lasting), (vec![("TidegateShedding", "firing", true)], 1), "it goes on");
    let over = night.sheds(320, "ended", "upstream_limit");
    assert_eq!(told(&over), [("TidegateShedding", "resolved", false)]);
    let again = night.sheds(321, "began", "queue_full");
    assert_eq!(told(&again), [("TidegateShedding", "firing", false)], "it begins again");
}

#[test]
fn of_an_overload_that_goes_on_no_reason_that_comes_and_goes_is_told_again() {
    let mut night = Night::falls();
    let mut news = night.sheds(0, "began", "upstream_limit");
    for second in (10..600).step_by(20) {
        news.extend(night.sheds(second, "began", "queue_full"));
        news.extend(night.sheds(second + 10, "ended", "queue_full"));
    }
    news.retain(|notice| !notice.told);
    assert_eq!(news.len(), 2, "one for each reason: {news:?}");
    // What comes again after a good while is news.
    assert_eq!(told(&night.sheds(1_300, "began", "queue_full")), [("TidegateShedding", "firing", false)]);
    night.sheds(1_301, "ended", "queue_full");
    assert_eq!(
        told(&night.sheds(1_302, "ended", "upstream_limit")),
        [("TidegateShedding", "resolved", false)]
    );
    assert_eq!(told(&night.sheds(1_303, "began", "queue_full")), [("TidegateShedding", "firing", false)]);
}

#[test]
fn what_fires_is_told_by_the_newest_that_still_holds() {
    let mut night = Night::falls();
    let reason = |notice: &Notice| notice.record.fields["reason"].as_str().map(str::to_owned);
    night.sheds(0, "began", "memory");
    night.sheds(1, "began", "upstream_limit");
    night.sheds(2, "began", "queue_full");
    night.sheds(3, "lasts", "memory");
    let one = night.sheds(4, "ended", "queue_full");
    assert_eq!(reason(&one[0]).as_deref(), Some("memory"), "the newest is of a reason that goes on");
    assert_eq!(one[0].record.fields["what"], "lasts", "and never an end");
    let one = night.sheds(5, "ended", "memory");
    assert_eq!(reason(&one[0]).as_deref(), Some("upstream_limit"));
    let again = night.lasting.firing(|_| true);
    assert_eq!(reason(&again[0]).as_deref(), Some("upstream_limit"), "also to whoever forgets");
}

#[test]
fn an_overload_whose_end_was_lost_fades() {
    let mut night = Night::falls();
    night.sheds(0, "began", "queue_full");
    assert!(night.lasting.fade(night.at(89), Timestamp::now()).is_empty(), "heard of 89 s ago");
    let over = night.lasting.fade(night.at(90), Timestamp::now());
    assert_eq!(told(&over), [("TidegateShedding", "resolved", false)]);
    assert!(over[0].record.message.starts_with("orders sheds no more"), "{}", over[0].record.message);
}

#[test]
fn a_backend_that_is_out_for_two_reasons_is_back_when_both_are_over() {
    let mut night = Night::falls();
    assert_eq!(told(&night.judges(0, "ejected", "a")), [("TidegateBackendDown", "firing", false)]);
    assert_eq!(
        told(&night.judges(1, "down", "a")),
        [("TidegateBackendDown", "firing", true)],
        "known already"
    );
    assert!(night.judges(2, "returned", "a").is_empty(), "its checks still fail");
    assert_eq!(told(&night.judges(3, "up", "a")), [("TidegateBackendDown", "resolved", false)]);
}

#[test]
fn a_topic_is_over_with_the_last_of_its_members() {
    let mut night = Night::falls();
    for backend in ["a", "b", "c"] {
        assert_eq!(told(&night.judges(0, "ejected", backend)), [("TidegateBackendDown", "firing", false)]);
    }
    assert_eq!(told(&night.judges(1, "ejected", "a")), [("TidegateBackendDown", "firing", true)]);
    assert!(night.judges(2, "probing", "a").is_empty(), "neither in nor out");
    let back = night.judges(3, "returned", "a");
    assert_eq!((told(&back), back[0].lasting), (vec![("TidegateBackendDown", "firing", true)], 2));
    assert!(night.judges(4, "returned", "a").is_empty(), "it is back already");
    night.judges(5, "returned", "b");
    let over = night.judges(6, "returned", "c");
    assert_eq!(told(&over), [("TidegateBackendDown", "resolved", false)]);
    assert_eq!(over[0].since.as_second(), crate::control::notify::samples::night().as_second());
}

#[test]
fn the_end_of_what_began_in_an_earlier_process_is_news() {
    let mut night = Night::falls();
    let ready = [("what", "ready".into()), ("upstream", "orders".into()), ("backend", "a".into())];
    assert_eq!(told(&night.hears(0, Kind::Ramp, &ready)), [("TidegateDrained", "resolved", false)]);
    let closed = [("what", "closed".into()), ("incident", 3.into())];
    assert_eq!(told(&night.hears(0, Kind::Incident, &closed)), [("TidegateIncidentOpen", "resolved", false)]);
    let dismissed = [("what", "dismissed".into()), ("incident", 4.into()), ("state", "closed".into())];
    let told_of_draft = told(&night.hears(0, Kind::Incident, &dismissed));
    assert_eq!(told_of_draft, [("TidegateIncidentDrafted", "resolved", false)]);
    assert!(night.judges(0, "returned", "a").is_empty());
}

#[test]
fn another_mistake_is_news_and_a_good_configuration_ends_all_of_them() {
    let mut night = Night::falls();
    let refused = |night: &mut Night, error: &str| {
        told(&night.hears(0, Kind::Config, &[("outcome", "refused".into()), ("error", error.into())]))
    };
    assert_eq!(refused(&mut night, "line 3"), [("TidegateApplyFailed", "firing", false)]);
    assert_eq!(refused(&mut night, "line 3"), [("TidegateApplyFailed", "firing", true)]);
    assert_eq!(refused(&mut night, "line 7"), [("TidegateApplyFailed", "firing", false)]);
    let applied = told(&night.hears(1, Kind::Config, &[("outcome", "applied".into())]));
    assert_eq!(
        applied,
        [("TidegateApplyFailed", "resolved", false), ("TidegateConfigApplied", "happened", false)]
    );
    assert_eq!(CONFIG_REFUSED.kind, Kind::Config);
}

#[test]
fn what_is_about_a_backend_that_is_gone_is_over() {
    let mut night = Night::falls();
    night.judges(0, "ejected", "a");
    night.judges(0, "ejected", "b");
    let over = night.lasting.keep(Timestamp::now(), |_, member| member == "b");
    assert!(over.is_empty(), "one is still out");
    let over = night.lasting.keep(Timestamp::now(), |_, _| false);
    assert_eq!(told(&over), [("TidegateBackendDown", "resolved", false)]);
    assert!(over[0].record.message.contains("not in the configuration"), "{}", over[0].record.message);
    assert_eq!(night.lasting.len(), 0);
}

#[test]
fn what_lasts_is_told_again_to_whoever_forgets() {
    let mut night = Night::falls();
    night.judges(0, "down", "a");
    night.sheds(0, "began", "queue_full");
    let ejections = night.lasting.firing(|family| family.kind == Kind::Ejection);
    assert_eq!(told(&ejections), [("TidegateBackendDown", "firing", true)]);
    assert_eq!(night.lasting.firing(|_| true).len(), 2);
}

#[test]
fn what_is_more_than_is_kept_is_told_and_not_kept() {
    let mut night = Night::falls();
    for n in 0..MAX_MEMBERS + 10 {
        let notices = night.judges(0, "ejected", &format!("b{n}"));
        assert!(!told(&notices)[0].2, "{n}");
    }
    assert_eq!(night.lasting.members, MAX_MEMBERS);
    assert_eq!(night.judges(1, "ejected", "one more")[0].stands, Stands::Happened);
    for n in 0..MAX_TOPICS + 10 {
        let fields =
            [("what", "began".into()), ("upstream", json!(format!("u{n}"))), ("reason", "queue_full".into())];
        night.hears(0, Kind::Shed, &fields);
    }
    assert!(night.lasting.len() <= MAX_TOPICS);
}

proptest! {
    #[test]
    fn members_are_counted_whatever_happens(steps in prop::collection::vec((0..6u8, 0..4u8, 0..3u8, 0..50u64), 1..200)) {
        let (mut night, mut second) = (Night::falls(), 0);
        for (what, backend, upstream, after) in steps {
            second += after;
            let fields = [
                ("what", json!(["ejected", "returned", "down", "up", "probing", "checks_doubted"][usize::from(what)])),
                ("upstream", json!(format!("u{upstream}"))),
                ("backend", json!(format!("b{backend}"))),
            ];
            night.hears(second, Kind::Ejection, &fields);
            let what = ["began", "lasts", "ended"][usize::from(backend % 3)];
            let fields = [("what", json!(what)), ("upstream", json!(format!("u{upstream}"))), ("reason", json!("memory"))];
            night.hears(second, Kind::Shed, &fields);
            night.lasting.fade(night.at(second), Timestamp::now());
            let members: usize = night.lasting.topics.values().map(|state| state.members.len()).sum();
            prop_assert_eq!(members, night.lasting.members);
            prop_assert!(night.lasting.topics.values().all(|state| !state.members.is_empty()));
            prop_assert!(night.lasting.topics.keys().all(|topic| topic.family != &SHEDDING || !topic.subject.is_empty()));
        }
        prop_assert_eq!(DOWN.kind, Kind::Ejection);
    }
}
