//! What is owed over a change of the configuration and over a restart: with real state directories, and no network.

use super::*;
use crate::config::{self, ProcessEnvironment};
use crate::control::notify::family::{INCIDENT, INCIDENT_DRAFTED, RAMPED, ROLLED_BACK};
use crate::control::notify::lasting::Stands;
use crate::control::notify::samples::{notice, record};
use crate::control::store::disk::Disk;
use crate::telemetry::events::stream::Kind;
use crate::upstream::pem::OnDisk;
use futures_util::FutureExt;
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

const FILE: &str = "unsent.json";

/// A gateway's notifier and its state directory.
struct House {
    home: TempDir,
    store: Store,
    notifier: Arc<Notifier>,
}

impl House {
    /// After an earlier process left these.
    fn after(left: &[Owed]) -> House {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(home.path()).expect("made");
        unsent::write(&store, left).expect("written");
        House { home, store, notifier: Arc::new(Notifier::new(Arc::default())) }
    }

    /// Another version, with these sinks and what each wants.
    fn follow(&self, sinks: &[(&str, &str)]) {
        let sink = |(name, events): &(&str, &str)| {
            format!("[[notify]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:9/\"\nevents = [\"{events}\"]\n")
        };
        let text = "[[upstreams]]\nname = \"u\"\nbackends = [{ name = \"a\", address = \"127.0.0.1:9\" }]\n\
                    [[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\
                    [[routes]]\nname = \"r\"\npath_prefix = \"/\"\nupstream = \"u\"\n";
        let text = format!("{text}{}", sinks.iter().map(sink).collect::<String>());
        let checked = config::check(&text, Path::new("test.toml"), &ProcessEnvironment);
        let errors = checked.errors();
        let plan = checked.plan.unwrap_or_else(|| panic!("{errors:?}"));
        self.notifier.follow(&plan, 1, &OnDisk);
    }

    fn keep(&self) -> io::Result<()> {
        self.notifier.keep_owed_now(&self.store)
    }

    /// Whether the keeper was woken.
    fn is_rung(&self) -> bool {
        self.notifier.owing.notified().now_or_never().is_some()
    }

    fn happens(&self, notices: &[Notice]) {
        self.notifier.state().tell(notices);
    }

    /// What is on disk.
    fn kept(&self) -> Vec<Owed> {
        self.store
            .read(FILE)
            .map_or_else(|_| Vec::new(), |text| serde_json::from_slice(&text).expect("whole"))
    }

    fn sink(&self, name: &str) -> SinkView {
        let sinks = self.notifier.view().sinks;
        sinks.into_iter().find(|sink| sink.name == name).expect("it is there")
    }
}

fn owed(sink: &str, family: &'static family::Family, subject: &str, stands: Stands) -> Owed {
    let item = Item { count: 3, ..Item::of(notice(family, subject, "", stands, 0)) };
    // Of just now: what is older than an hour is not told.
    let record = Record { at: Timestamp::now(), ..Record::clone(item.last().expect("one")) };
    let item = Item { samples: [Arc::new(record)].into(), ..item };
    Owed::of(sink, Some("00aa-1"), &item).expect("it says something")
}

#[test]
fn what_a_sink_is_not_owed_any_more_leaves_the_disk_with_the_version_that_says_so() {
    let house = House::after(&[]);
    house.follow(&[("a", "rollback"), ("b", "rollback")]);
    house.happens(&[notice(&ROLLED_BACK, "7", "", Stands::Happened, 0)]);
    house.keep().expect("kept");
    assert!(house.is_rung());
    assert_eq!(house.kept().len(), 2);
    house.follow(&[("a", "ramp"), ("b", "rollback")]);
    assert!(house.is_rung(), "one does not want it any more");
    house.keep().expect("kept");
    assert_eq!(house.kept().len(), 1);
    house.follow(&[("a", "ramp")]);
    assert!(house.is_rung(), "and the other is gone");
    house.keep().expect("kept");
    assert!(house.kept().is_empty());
}

#[test]
fn what_an_earlier_process_owed_is_not_told_to_who_does_not_want_it_now() {
    let house = House::after(&[owed("a", &ROLLED_BACK, "7", Stands::Happened)]);
    house.notifier.inherit(Kept::read(&house.store));
    house.follow(&[("a", "ramp")]);
    let sink = house.sink("a");
    assert_eq!((sink.queue_depth, sink.dropped), (0, 3));
    assert_eq!(RAMPED.kind, Kind::Ramp);
}

#[test]
fn what_waited_for_sinks_that_are_gone_is_counted_in_events() {
    let left = [
        owed("a", &ROLLED_BACK, "7", Stands::Happened),
        owed("gone", &ROLLED_BACK, "7", Stands::Happened),
        owed("gone", &ROLLED_BACK, "8", Stands::Happened),
        owed("gone too", &ROLLED_BACK, "7", Stands::Happened),
    ];
    let house = House::after(&left);
    house.notifier.inherit(Kept::read(&house.store));
    house.follow(&[("a", "rollback")]);
    assert_eq!((house.notifier.view().orphaned, house.sink("a").queue_depth), (9, 1));
}

#[test]
fn what_was_not_read_is_never_written_over() {
    let left = [owed("a", &ROLLED_BACK, "7", Stands::Happened)];
    let House { home, store, notifier } = House::after(&left);
    // The process that had it still leaves.
    let new = House { store: Store::at(home.path()), home, notifier };
    new.notifier.inherit(Kept::read(&new.store));
    new.follow(&[("a", "rollback")]);
    new.happens(&[notice(&ROLLED_BACK, "9", "", Stands::Happened, 0)]);
    for _ in 0..3 {
        let error = new.keep().expect_err("it is another process's");
        assert!(error.to_string().contains("another process"), "{error}");
        assert_eq!(new.kept(), left);
    }
    drop(store);
    new.keep().expect("it has gone");
    let kept: Vec<_> = new.kept();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(new.sink("a").queue_depth, 2, "both are told");
}

#[test]
fn what_is_read_late_says_nothing_that_is_over_and_puts_back_nothing_that_is_under_way() {
    let house = House::after(&[
        owed("a", &INCIDENT_DRAFTED, "4", Stands::Firing),
        owed("a", &INCIDENT, "5", Stands::Firing),
        owed("a", &INCIDENT, "6", Stands::Firing),
    ]);
    house.follow(&[("a", "incident")]);
    let fields =
        |what: &str, id: u64| [("what", json!(what)), ("incident", json!(id)), ("state", json!("closed"))];
    house.notifier.hear(&record(Kind::Incident, "it was dropped", 0, &fields("dismissed", 4)));
    house.notifier.hear(&record(Kind::Incident, "it is told", 0, &fields("opened", 7)));
    let desk = house.notifier.desks().remove(0);
    desk.hurry();
    let under_way = desk.next(Vec::new).now_or_never().expect("at once");
    assert_eq!(under_way.items.len(), 2);
    house.notifier.hear(&record(Kind::Incident, "it is over", 0, &fields("closed", 6)));
    house.keep().expect("read and kept");
    desk.came(&under_way, Verdict::Taken);
    let message = desk.next(Vec::new).now_or_never().expect("at once");
    let told = message.items.iter().map(|item| (item.topic.subject.as_str(), item.stands));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("6", Stands::Resolved), ("5", Stands::Firing)]);
    assert_eq!(house.sink("a").dropped, 6, "that 4 and 6 began is old");
}
