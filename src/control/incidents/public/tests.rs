//! What everyone may see, and what nobody outside may.

use super::*;
use crate::control::incidents::incident::{Cause, Update};

fn page() -> StatusPage {
    let shown = |upstream: &str, name: &str| Shown {
        upstream: upstream.into(),
        name: name.into(),
        description: None,
    };
    StatusPage {
        address: ([127, 0, 0, 1], 0).into(),
        title: "Example status".into(),
        shown: vec![shown("orders-eu1", "Orders"), shown("users-eu1", "Accounts")],
    }
}

fn incident(state: State, public: bool) -> Arc<Incident> {
    let update = |text: &str, public| Update { at: "x".into(), by: "ops".into(), text: text.into(), public };
    Arc::new(Incident {
        id: 3,
        state,
        title: "Slow".into(),
        severity: Severity::Major,
        upstreams: vec!["orders-eu1".into(), "billing-eu1".into()],
        public,
        drafted_because: Some("secret numbers".into()),
        cause: Some(Cause::Shed),
        opened_at: "2027-01-15T08:00:00Z".into(),
        opened_by: "ops".into(),
        closed_at: (state == State::Closed).then(|| "2027-01-15T08:00:00.000Z".to_owned()),
        updates: vec![update("seen by all", true), update("not for all", false)],
        ..Incident::default()
    })
}

fn at() -> Timestamp {
    "2027-01-15T09:00:00Z".parse().expect("a time")
}

fn seen(health: [Health; 2], all: &[Arc<Incident>]) -> Overview {
    overview(&page(), (&health, Health::Operational), all, at())
}

const WELL: [Health; 2] = [Health::Operational; 2];

#[test]
fn drafts_private_ones_and_what_is_not_for_all_are_never_on_it() {
    for hidden in [incident(State::Draft, true), incident(State::Draft, false), incident(State::Open, false)]
    {
        let overview = seen(WELL, &[hidden]);
        assert_eq!((overview.incidents.len(), overview.state), (0, Health::Operational));
    }
    let shown = serde_json::to_string(&seen(WELL, &[incident(State::Open, true)])).expect("JSON");
    assert!(shown.contains("seen by all") && shown.contains("Orders"), "{shown}");
    for hidden in ["not for all", "secret numbers", "ops", "eu1", "billing", "drafted"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
}

#[test]
fn a_person_may_know_worse_than_the_numbers_and_not_better() {
    let open = [incident(State::Open, true)];
    let states = |overview: Overview| overview.components.iter().map(|it| it.state).collect::<Vec<_>>();
    assert_eq!(states(seen(WELL, &open)), [Health::PartialOutage, Health::Operational]);
    let worse = [Health::MajorOutage, Health::Degraded];
    assert_eq!(states(seen(worse, &open)), worse);
    let whole = Arc::new(Incident { upstreams: vec![], ..(*open[0]).clone() });
    assert_eq!(states(seen(WELL, &[whole])), [Health::PartialOutage; 2]);
}

#[test]
fn what_is_closed_is_remembered_for_a_week_and_weighs_nothing() {
    let closed = incident(State::Closed, true);
    let overview = seen(WELL, std::slice::from_ref(&closed));
    assert_eq!((overview.incidents.len(), overview.state), (1, Health::Operational));
    let old = Arc::new(Incident { closed_at: Some("2027-01-01T08:00:00.000Z".into()), ..(*closed).clone() });
    assert_eq!(seen(WELL, &[old]).incidents.len(), 0);
}

#[test]
fn without_names_for_everyone_all_is_one() {
    let page = StatusPage { shown: vec![], ..page() };
    let overview = overview(&page, (&[], Health::Degraded), &[incident(State::Open, true)], at());
    let component = &overview.components[0];
    assert_eq!((component.name.as_str(), component.state), ("Example status", Health::PartialOutage));
    assert!(!serde_json::to_string(&overview).expect("JSON").contains("eu1"));
}
