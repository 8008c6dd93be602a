//! Real gates of two cores under random sets, clears, drains, deaths and reloads: whatever the order, no request
//! that is let in to a ramped backend makes their sum, or its own share, larger than the levers allow now.

use super::*;
use crate::admission::Granted;
use crate::balancing::shares::whole;
use crate::balancing::{Backend, Seated};
use crate::config::plan::Plan;
use crate::config::{self, ProcessEnvironment};
use crate::control::build::Builder;
use crate::control::ramp::lever::Signature;
use crate::control::ramp::reference::{Learner, Second};
use crate::routing::view::{Furniture, View};
use crate::runtime::bells::Bells;
use crate::runtime::clock::Clock;
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::upstream::janitor::Janitor;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;

/// In flight at one backend when it is well, for every lever of these tests.
const REFERENCE: f64 = 5.0;
/// Who asks.
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The same service; backends whose bit is set have a name that does not resolve: they are dead.
fn plan(dead: u8, cap: u32) -> Plan {
    let backends = NAMES.iter().enumerate().map(|(index, name)| match dead & (1 << index) {
        0 => format!("{{ name = \"{name}\", address = \"127.0.0.1:{}\" }}", index + 1),
        _ => format!("{{ name = \"{name}\", address = \"{name}.invalid:80\" }}"),
    });
    let text = format!(
        "[[upstreams]]\nname = \"u\"\nmax_in_flight_per_backend = {cap}\nqueue = {{ max_waiting = 0 }}\nbackends = [{}]\n\
         [[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"r\"\npath_prefix = \"/\"\nupstream = \"u\"\n",
        backends.collect::<Vec<_>>().join(", ")
    );
    config::check(&text, Path::new("test.toml"), &ProcessEnvironment).plan.expect("it is valid")
}

/// A control plane and two cores, without their threads.
struct House {
    builder: Builder,
    steering: Arc<Steering>,
    live: Arc<Live>,
    cores: [Furniture; 2],
    views: Vec<Rc<View>>,
    held: Vec<Granted>,
}

impl House {
    fn new() -> Self {
        House::with(keep::Kept::default())
    }

    fn with(kept: keep::Kept) -> Self {
        let (metrics, descriptors) = (Arc::new(Metrics::new(2)), Arc::new(Descriptors::with_budget(64)));
        let mut builder = Builder::new(2, metrics, Arc::new(Directory::default()), descriptors);
        let plan = plan(0, 64);
        let table = builder.build(&plan, 1).expect("no file is needed");
        builder.commit(&plan);
        let live = Arc::new(Live::new(Arc::new(table)));
        let bells = Arc::new(Bells::new(2));
        let steering = Steering::new(live.clone(), bells.clone(), kept);
        let core = |id| {
            let clock = Rc::new(Clock::new(Instant::now()));
            Furniture::new(CoreId(id), clock.clone(), bells.clone(), Janitor::new(clock, Rc::default()))
        };
        let mut cores = [core(0), core(1)];
        let views = cores.iter_mut().map(|core| core.arrange(&live.tables()).stable().clone()).collect();
        House { builder, steering, live, cores, views, held: Vec::new() }
    }

    fn reload(&mut self, dead: u8, cap: u32) {
        let plan = plan(dead, cap);
        let table = Arc::new(self.builder.build(&plan, 1).expect("no file is needed"));
        self.steering.swap(table);
        self.builder.commit(&plan);
        // Old views stay: requests that began on them may still ask.
        self.views
            .extend(self.cores.iter_mut().map(|core| core.arrange(&self.live.tables()).stable().clone()));
    }

    fn ramp(&self, target: Option<usize>, percent: f64) {
        self.order(target, percent, None);
    }

    fn order(&self, target: Option<usize>, percent: f64, then: Option<(f64, Duration)>) {
        let reference = Some(self.reference(target));
        let order = RampOrder { percent, then, reference, reason: String::new() };
        self.steering.set_ramp(&self::target(target), order, "ops").expect("it exists");
    }

    fn reference(&self, target: Option<usize>) -> f64 {
        if target.is_some() { REFERENCE } else { REFERENCE * NAMES.len() as f64 }
    }

    /// Asks at one of the views, of whatever version.
    fn ask(&mut self, view: usize) -> Result<(), TestCaseError> {
        let view = self.views[view % self.views.len()].clone();
        let gate = view.choose(0).gate().expect("it has an upstream").clone();
        let far = Instant::now() + Duration::from_secs(3_600);
        let answer = gate.admit(far, CLIENT).now_or_never().expect("nobody waits in a line of none");
        let Ok(granted) = answer else { return Ok(()) };
        self.judge(&view, &granted)?;
        self.held.push(granted);
        Ok(())
    }

    /// What was let in fits what levers, and the guarded steps that some of them end in, say now.
    fn judge(&self, view: &View, granted: &Granted) -> Result<(), TestCaseError> {
        let upstream = &view.table.upstreams[0];
        let backend = granted.place().backend();
        let state = self.steering.state();
        let (own, reference) = state.meant(upstream, backend);
        prop_assert!(own > 0.0 && backend.is_present());
        if own < 100.0 {
            prop_assert!(f64::from(backend.in_flight.get()) <= (own / 100.0 * reference).ceil().max(1.0));
            let meant = upstream.cluster.backends.iter().map(|it| (it, state.meant(upstream, it)));
            let ramped: Vec<_> = meant.filter(|(_, (own, _))| (0.1..100.0).contains(own)).collect();
            let sum: u32 = ramped.iter().map(|(backend, _)| backend.in_flight.get()).sum();
            let parts = ramped
                .iter()
                .map(|(_, (own, reference))| ((own / 100.0 * reference * 1e6).round() as u64).max(1));
            prop_assert!(sum <= whole(parts), "{sum} in flight");
        }
        prop_assert!(backend.in_flight.get() <= backend.cap);
        Ok(())
    }
}

impl State {
    /// The percentage that binds a backend now, and what it is of: as the levers say, as long as there is one.
    fn meant(&self, upstream: &Upstream, backend: &Backend) -> (f64, f64) {
        let name = &backend.settings.name;
        let place = watchman::place(upstream, backend);
        let ordered = self.levers.ramps().any(|(it, _)| it.backend().is_none_or(|it| it == name));
        let steps = self.comebacks.of(&place).filter(|_| !ordered);
        let reference = steps.map_or(REFERENCE, |steps| steps.reference.in_flight);
        (self.levers.effective(&upstream.name, name).min(self.comebacks.bound(&place)), reference)
    }
}

fn target(backend: Option<usize>) -> Target {
    match backend {
        None => Target::Upstream("u".into()),
        Some(index) => Target::Backend("u".into(), NAMES[index].into()),
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Ramp(Option<usize>, f64),
    Step(Option<usize>, f64, f64),
    Later,
    Pause(Option<usize>, bool),
    Clear(Option<usize>),
    Drain(usize, bool),
    Reload(u8, u32),
    Ask(usize),
    End(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let target = || prop::option::of(0..NAMES.len());
    prop_oneof![
        2 => (target(), prop::sample::select(vec![1.0, 10.0, 25.0, 50.0, 80.0, 99.0])).prop_map(|(t, p)| Deed::Ramp(t, p)),
        1 => (target(), 1.0_f64..99.0, 1.0_f64..=100.0).prop_map(|(t, from, to)| Deed::Step(t, from, to)),
        1 => Just(Deed::Later),
        1 => (target(), any::<bool>()).prop_map(|(target, pause)| Deed::Pause(target, pause)),
        1 => target().prop_map(Deed::Clear),
        1 => (0..NAMES.len(), any::<bool>()).prop_map(|(backend, drain)| Deed::Drain(backend, drain)),
        1 => (0_u8..16, 3_u32..40).prop_map(|(dead, cap)| Deed::Reload(dead, cap)),
        20 => (0_usize..64).prop_map(Deed::Ask),
        8 => (0_usize..1_000).prop_map(Deed::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_sequence_of_levers_deaths_and_reloads_lets_a_sum_above_its_bound_through(
        deeds in prop::collection::vec(deed(), 1..300),
        seed in any::<u64>(),
    ) {
        // Backends are drawn by chance: a case that fails must fail again.
        fastrand::seed(seed);
        let mut house = House::new();
        for deed in deeds {
            match deed {
                Deed::Ramp(backend, percent) => house.ramp(backend, percent),
                Deed::Step(backend, from, to) => house.order(backend, from, Some((to, Duration::from_secs(60)))),
                // A minute and more passes: what is due is taken, what is paused is not.
                Deed::Later => house.steering.tick(Instant::now() + Duration::from_secs(90)),
                Deed::Pause(backend, true) => drop(house.steering.pause_ramp(&target(backend), "ops")),
                Deed::Pause(backend, false) => drop(house.steering.resume_ramp(&target(backend), "ops")),
                Deed::Clear(backend) => drop(house.steering.clear_ramp(&target(backend), "ops")),
                Deed::Drain(backend, drain) => drop(house.steering.set_drain("u", NAMES[backend], drain, "", "ops")),
                Deed::Reload(dead, cap) => house.reload(dead, cap),
                Deed::Ask(view) => house.ask(view)?,
                Deed::End(index) if !house.held.is_empty() => {
                    let index = index % house.held.len();
                    drop(house.held.swap_remove(index));
                }
                Deed::End(_) => {}
            }
        }
        house.held.clear();
        let table = house.live.load();
        prop_assert_eq!(table.upstreams[0].shared.line.in_flight.get(), 0);
        prop_assert!(table.upstreams[0].cluster.backends.iter().all(|backend| backend.in_flight.get() == 0));
    }
}

#[test]
fn a_lever_acts_on_the_next_request_of_every_version_and_a_ramp_says_so() {
    let mut house = House::new();
    house.reload(0, 64);
    house.ramp(None, 25.0);
    (0..200).for_each(|view| house.ask(view).expect("within bounds"));
    // A quarter of four times five.
    assert_eq!(house.held.len(), 5);
    let gate = house.views[0].choose(0).gate().expect("it has an upstream").clone();
    let refused =
        gate.admit(Instant::now() + Duration::from_secs(1), CLIENT).now_or_never().expect("at once");
    let refused = refused.expect_err("it is full");
    assert_eq!(refused.reason, crate::reject::Reason::Ramp);
    assert!(refused.retry_after.is_some_and(|seconds| (1..=30).contains(&seconds)));
}

#[test]
fn levers_and_references_survive_a_restart_and_what_is_broken_is_set_aside() {
    let home = tempfile::tempdir().expect("a directory");
    let store = crate::control::store::Store::open(home.path()).expect("made");
    let house = House::new();
    let order = RampOrder {
        percent: 25.0,
        then: Some((100.0, Duration::from_secs(600))),
        reference: Some(40.0),
        reason: "restart".to_owned(),
    };
    house.steering.set_ramp(&target(Some(1)), order, "ops").expect("it exists");
    house.steering.set_drain("u", "c", true, "disk", "ops").expect("it exists");
    assert!(house.steering.keep_now(&store));

    let again = Steering::new(house.live.clone(), Arc::new(Bells::new(2)), keep::Kept::read(&store));
    let [before, after] = [&house.steering, &again].map(|steering| {
        let mut levers = steering.levers();
        // A second may pass between the two.
        levers.iter_mut().filter_map(|lever| lever.then.as_mut()).for_each(|then| then.in_seconds = 0.0);
        levers
    });
    assert_eq!(before, after);
    let left = again.levers()[0].then.expect("it has a step").in_seconds;
    assert!((598.0..=600.0).contains(&left), "{left}");

    store.keep_file("steering.json", b"{\"ramps\": [").expect("written");
    let broken = keep::Kept::read(&store);
    assert!(broken.levers.is_empty() && broken.trouble.is_some_and(|why| why.contains("steering.broken")));
    assert!(home.path().join("steering.broken").exists());
}

#[test]
fn a_lever_under_which_a_version_changes_something_is_told() {
    let mut house = House::new();
    house.ramp(Some(0), 25.0);
    let before = house.live.load();
    house.reload(1, 64);
    let told = house.steering.conflicts(&before, &house.live.load());
    assert!(told.len() == 1 && told[0].contains("u/a") && told[0].contains("a.invalid:80"), "{told:?}");
    assert!(house.steering.reasons(&house.live.load()).is_empty());
}

#[test]
fn what_cannot_be_done_is_refused_with_what_can() {
    let house = House::new();
    let order = |percent| RampOrder { percent, then: None, reference: None, reason: String::new() };
    let set = |target: &Target, order| {
        house.steering.set_ramp(target, order, "ops").expect_err("refused").to_string()
    };
    let unknown = Target::Backend("u".into(), "z".into());
    assert!(set(&unknown, order(25.0)).contains("a, b, c, d"));
    assert!(set(&Target::Upstream("x".into()), order(25.0)).contains("it has u"));
    for percent in [-1.0, 100.5, f64::NAN] {
        set(&target(None), order(percent));
    }
    let turned = RampOrder { reason: "by kim\u{202e}mik yb".into(), ..order(25.0) };
    assert!(set(&target(None), turned).contains("control characters"));
    set(&target(None), RampOrder { reference: Some(0.0), ..order(25.0) });
    set(&target(None), RampOrder { then: Some((100.0, Duration::ZERO)), ..order(25.0) });
    assert!(matches!(house.steering.clear_ramp(&target(None), "ops"), Err(Refusal::Conflict(_))));
    assert!(matches!(house.steering.pause_ramp(&target(None), "ops"), Err(Refusal::Conflict(_))));
}

#[test]
fn cores_that_race_for_the_last_place_never_both_get_it() {
    let house = House::new();
    // Caps of one each, and two in flight for the three of them together; the fourth is warm, so that only their
    // sum can say no.
    (0..3).for_each(|backend| {
        let order = RampOrder { percent: 50.0, then: None, reference: Some(1.0), reason: String::new() };
        house.steering.set_ramp(&target(Some(backend)), order, "ops").expect("it exists");
    });
    let (live, held, most) = (house.live.clone(), AtomicU32::new(0), AtomicU32::new(0));
    let core = |id: u32| {
        let bells = Arc::new(Bells::new(2));
        let clock = Rc::new(Clock::new(Instant::now()));
        let view = Furniture::new(CoreId(id), clock.clone(), bells, Janitor::new(clock, Rc::default()))
            .arrange(&live.tables())
            .stable()
            .clone();
        let gate = view.choose(0).gate().expect("it has an upstream").clone();
        for _ in 0..5_000 {
            let far = Instant::now() + Duration::from_secs(3_600);
            let granted = gate.admit(far, CLIENT).now_or_never();
            let ramped = |granted: &Granted| &*granted.place().backend().settings.name != NAMES[3];
            if let Some(granted) = granted.and_then(Result::ok).filter(ramped) {
                most.fetch_max(held.fetch_add(1, Relaxed) + 1, Relaxed);
                // Somebody else has a turn while it is held.
                std::thread::yield_now();
                held.fetch_sub(1, Relaxed);
                drop(granted);
            }
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|id| drop(scope.spawn(move || core(id % 2)))));
    assert!((1..=2).contains(&most.load(Relaxed)), "{most:?}");
    assert_eq!(live.load().upstreams[0].shared.line.in_flight.get(), 0);
}

#[test]
fn with_as_many_levers_as_there_may_be_those_that_are_set_can_still_be_moved() {
    let house = House::new();
    house.ramp(None, 50.0);
    let signature = Signature { by: "ops".into(), reason: String::new(), since_ms: 0 };
    for n in 1..MAX_LEVERS {
        house.steering.state().levers.drain("gone".into(), n.to_string().into(), signature.clone());
    }
    house.ramp(None, 25.0);
    let more = house.steering.set_drain("u", "a", true, "", "ops");
    assert!(matches!(more, Err(Refusal::Conflict(_))), "{more:?}");
    house.steering.clear_ramp(&target(None), "ops").expect("it is set");
    house.steering.set_drain("u", "a", true, "", "ops").expect("there is room");
}

#[test]
fn addresses_that_come_and_go_under_a_ramp_that_is_forgotten_do_not_fill_the_memory() {
    let learner = |at| {
        let second = Second { in_flight: 1.0, requests: 10, failures: 0, unbound: true };
        let mut learner = Learner::default();
        (0..5).for_each(|_| learner.live(second, at));
        learner
    };
    let old = (0..20_000).map(|n| (("u".into(), format!("10.0.0.1:{n}").into()), learner(n)));
    let house = House::with(keep::Kept { learners: old.collect(), ..keep::Kept::default() });
    house.ramp(None, 50.0);
    let now = Instant::now();
    (0..=10).for_each(|tenth| house.steering.tick(now + Duration::from_millis(100 * tenth)));
    let state = house.steering.state();
    let kept = state.watchman.learners();
    assert!(kept.len() <= 4_096, "{}", kept.len());
    assert!(kept.contains_key(&("u".into(), "10.0.0.1:19999".into())), "the newest stay");
    assert!(kept.contains_key(&("u".into(), "127.0.0.1:1".into())), "and those in use");
}

#[test]
fn what_could_not_be_read_stays_told_when_a_full_disk_has_room_again() {
    let home = tempfile::tempdir().expect("a directory");
    let store = crate::control::store::Store::at(&home.path().join("later"));
    let house = House::with(keep::Kept { trouble: Some("it was broken".into()), ..keep::Kept::default() });
    let reasons = || house.steering.reasons(&house.live.load());
    assert!(!house.steering.keep_now(&store));
    assert!(reasons()[0] == "it was broken" && reasons()[1].contains("not stored"), "{:?}", reasons());
    std::fs::create_dir(home.path().join("later")).expect("made");
    assert!(house.steering.keep_now(&store));
    assert_eq!(reasons(), ["it was broken"]);
}

#[test]
fn a_file_of_another_program_or_hand_leaves_no_lever_outside_its_range() {
    let home = tempfile::tempdir().expect("a directory");
    let store = crate::control::store::Store::open(home.path()).expect("made");
    let entry = |backend: &str, more: &str| {
        format!(
            "{{\"upstream\":\"u\",\"backend\":\"{backend}\",\"by\":\"x\",\"reason\":\"\",\"since_ms\":0,{more}}}"
        )
    };
    let text = [
        entry("a", "\"percent\":-5"),
        entry("b", "\"percent\":50,\"reference\":-1e308,\"steps\":[25,50]"),
        entry(
            "c",
            "\"percent\":1e308,\"then\":{\"percent\":-1,\"after_ms\":18446744073709551615,\
             \"due_ms\":9223372036854775807,\"left_ms\":0}",
        ),
    ];
    let text = format!("{{\"ramps\":[{}],\"kind\":\"new\"}}", text.join(","));
    store.keep_file("steering.json", text.as_bytes()).expect("written");
    let house = House::with(keep::Kept::read(&store));
    assert!(house.steering.reasons(&house.live.load()).is_empty());
    let levers = house.steering.levers();
    let seen: Vec<_> = levers.iter().map(|lever| (lever.percent, lever.reference)).collect();
    assert_eq!(seen, [(0.0, None), (50.0, None), (100.0, None)]);
    let then = levers[2].then.expect("it has a step");
    assert!(then.percent == 0.0 && then.in_seconds <= 30.0 * 86_400.0, "{then:?}");
}

#[test]
fn a_way_back_that_cannot_be_read_leaves_the_levers_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let store = crate::control::store::Store::open(home.path()).expect("made");
    let ramp = "{\"percent\":1e9,\"pace\":1e9,\"lasted\":{\"secs\":18446744073709551615,\"nanos\":0},\
                \"back_offs\":4294967295,\"paused\":false,\
                \"usual\":{\"failing\":9.0,\"latency_ns\":18446744073709551615}}";
    let way = format!(
        "{{\"upstream\":\"u\",\"address\":\"127.0.0.1:1\",\"running\":{{\"name\":\"a\",\"ramp\":{ramp},\
         \"cause\":\"boot_id\",\"since_ms\":9223372036854775807,\"fleet\":true,\"reference\":{{\
         \"in_flight\":1e308,\"rate\":-1.0,\"source\":\"learned\",\"learned_at\":0}}}}}}"
    );
    let lever =
        "{\"upstream\":\"u\",\"backend\":\"b\",\"by\":\"x\",\"reason\":\"\",\"since_ms\":0,\"percent\":50}";
    let text = format!("{{\"ramps\":[{lever}],\"automatic\":[{{\"upstream\":7}},{way}]}}");
    store.keep_file("steering.json", text.as_bytes()).expect("written");
    let house = House::with(keep::Kept::read(&store));
    let kinds: Vec<_> =
        house.steering.levers().into_iter().map(|lever| (lever.kind, lever.percent)).collect();
    assert_eq!(kinds, [("ramp".to_owned(), 50.0), ("automatic".to_owned(), 100.0)]);
    let now = Instant::now();
    (0..=30).for_each(|tenth| house.steering.tick(now + Duration::from_millis(100 * tenth)));
}

#[test]
fn of_many_levers_without_a_name_the_first_are_told_and_the_rest_counted() {
    let house = House::new();
    let signature = Signature { by: "ops".into(), reason: String::new(), since_ms: 0 };
    for n in 0..500 {
        house.steering.state().levers.drain("gone".into(), n.to_string().into(), signature.clone());
    }
    let reasons = house.steering.reasons(&house.live.load());
    assert_eq!(reasons.len(), 21);
    assert!(reasons[20].starts_with("480 more levers"), "{}", reasons[20]);
}
