//! Real gates of two cores, of two versions: whatever is asked, widened, withdrawn or made active in whatever order,
//! together they never hold more than the shared cap, nor the candidate more than its part.

use crate::admission::Granted;
use crate::balancing::Seated;
use crate::config::plan::Plan;
use crate::config::{self, ProcessEnvironment};
use crate::control::build::Builder;
use crate::request::cohort::{Fact, Share};
use crate::routing::table::Table;
use crate::routing::trial::caps::{Parts, beside, blended, part_of};
use crate::routing::trial::choice::Choice;
use crate::routing::trial::tallies::Tallies;
use crate::routing::trial::{Side, Tables, Trial};
use crate::routing::view::{Furniture, View, Views};
use crate::runtime::bells::Bells;
use crate::runtime::clock::Clock;
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::upstream::janitor::Janitor;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Two backends behind one upstream behind one route, with these bounds.
fn plan((upstream, backend, route): (u32, u32, u32)) -> Plan {
    let text = format!(
        "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\
         [[upstreams]]\nname = \"u\"\nmax_in_flight = {upstream}\nmax_in_flight_per_backend = {backend}\n\
         queue = {{ max_waiting = 0 }}\n\
         backends = [{{ name = \"a\", address = \"127.0.0.1:1\" }}, {{ name = \"b\", address = \"127.0.0.1:2\" }}]\n\
         [[routes]]\nname = \"r\"\npath_prefix = \"/\"\nupstream = \"u\"\nmax_in_flight = {route}\n"
    );
    let checked = config::check(&text, Path::new("test.toml"), &ProcessEnvironment);
    let errors = checked.errors();
    checked.plan.unwrap_or_else(|| panic!("{errors:?}"))
}

struct Cores {
    stable: Arc<Table>,
    candidate: Arc<Table>,
    parts: Arc<Parts>,
    cores: [Furniture; 2],
    views: [Rc<Views>; 2],
    held: Vec<(Side, Granted)>,
}

impl Cores {
    fn new(stable: (u32, u32, u32), candidate: (u32, u32, u32)) -> Self {
        let (metrics, descriptors) = (Arc::new(Metrics::new(2)), Arc::new(Descriptors::with_budget(64)));
        let mut builder = Builder::new(2, metrics, Arc::new(Directory::default()), descriptors);
        let mut table = |bounds, number| Arc::new(builder.build(&plan(bounds), number).expect("no file"));
        let (stable, candidate) = (table(stable, 1), table(candidate, 2));
        let bells = Arc::new(Bells::new(2));
        let core = |id| {
            let clock = Rc::new(Clock::new(Instant::now()));
            Furniture::new(CoreId(id), clock.clone(), bells.clone(), Janitor::new(clock, Rc::default()))
        };
        let mut cores = [core(0), core(1)];
        let views = [0, 1].map(|core: usize| cores[core].arrange(&Tables::only(stable.clone())));
        Cores { stable, candidate, parts: Arc::new(Parts::new(2)), cores, views, held: Vec::new() }
    }

    fn arrange(&mut self, tables: &Tables) {
        self.views = [0, 1].map(|core: usize| self.cores[core].arrange(tables));
    }

    fn offer(&mut self, share: Share) {
        let (stable, table) = beside(&self.stable, &self.candidate, share, &self.parts);
        let trial = Trial {
            table,
            share,
            fact: Fact::Address,
            occasion: 0,
            tallies: Arc::new(Tallies::new(std::iter::empty(), 2)),
            choice: Arc::new(Choice::new(2, true)),
            parts: self.parts.clone(),
        };
        self.arrange(&Tables { stable, trial: Some(trial), watched: None });
    }

    fn view(&self, core: usize, side: Side) -> &Rc<View> {
        match (side, self.views[core].trial()) {
            (Side::Candidate, Some((_, view))) => view,
            _ => self.views[core].stable(),
        }
    }

    /// Asks; true when it was let in.
    fn ask(&mut self, core: usize, side: Side) -> bool {
        let gate = self.view(core, side).choose(0).gate().expect("it has an upstream").clone();
        let far = Instant::now() + Duration::from_secs(3_600);
        let answer = gate.admit(far, CLIENT).now_or_never().expect("nobody waits in a line of none");
        let granted = answer.is_ok();
        self.held.extend(answer.ok().map(|granted| (side, granted)));
        granted
    }

    /// What the backend holds that was given last, and of that this side.
    fn at_the_last_backend(&self, side: Side) -> (u32, u32) {
        let at = |granted: &Granted| granted.place().backend().settings.name.clone();
        let last = at(&self.held.last().expect("one was given").1);
        let own = self.held.iter().filter(|(of, granted)| *of == side && at(granted) == last).count();
        let backend = self.held.last().expect("one was given").1.place().backend();
        (backend.in_flight.get(), u32::try_from(own).expect("few"))
    }

    fn held(&self, side: Side) -> u32 {
        u32::try_from(self.held.iter().filter(|(of, _)| *of == side).count()).expect("few")
    }
}

fn bounds() -> impl Strategy<Value = (u32, u32, u32)> {
    (2_u32..40, 1_u32..20, 1_u32..40)
        .prop_map(|(upstream, backend, route)| (upstream, backend, route.min(upstream)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_versions_never_double_a_cap(
        stable in bounds(),
        candidate in bounds(),
        shares in prop::collection::vec(0.0_f64..=1.0, 1..4),
        steps in prop::collection::vec((0_usize..2, any::<bool>(), 0_usize..4), 1..160),
    ) {
        let mut cores = Cores::new(stable, candidate);
        let each = steps.len().div_ceil(shares.len());
        for (part, steps) in shares.into_iter().zip(steps.chunks(each)) {
            let share = Share::of(part);
            cores.offer(share);
            let cap = |stable, candidate| blended(stable, candidate, share);
            let (upstream, route) = (cap(stable.0, candidate.0), cap(stable.2, candidate.2));
            let (most, backend) = (upstream.min(route), cap(stable.1, candidate.1));
            for (core, is_guest, act) in steps {
                if *act == 0 && !cores.held.is_empty() {
                    cores.held.swap_remove(act * 7 % cores.held.len());
                    continue;
                }
                let side = if *is_guest { Side::Candidate } else { Side::Stable };
                if !cores.ask(*core, side) {
                    continue;
                }
                let all = u32::try_from(cores.held.len()).expect("few");
                prop_assert!(all <= most, "{} of {}", all, most);
                let (one, own) = cores.at_the_last_backend(side);
                prop_assert!(one <= backend, "{} of {} at a backend", one, backend);
                prop_assert!(side == Side::Stable || own <= part_of(backend, share));
                if side == Side::Candidate {
                    let own = cores.held(side);
                    prop_assert!(own <= part_of(upstream, share), "{} of a part of {}", own, part_of(upstream, share));
                    prop_assert!(own <= part_of(route, share));
                }
            }
            let line = &cores.stable.upstreams[0].shared.line;
            prop_assert_eq!(line.in_flight.get() as usize, cores.held.len());
        }
        // Whatever becomes of it, both tables find all of their room again.
        let (all, last) = (std::mem::take(&mut cores.held), cores.candidate.clone());
        drop(all);
        cores.arrange(&Tables::only(last));
        let line = &cores.stable.upstreams[0].shared.line;
        prop_assert_eq!((line.in_flight.get(), line.waiting.get()), (0, 0));
        let most = candidate.0.min(candidate.2).min(2 * candidate.1);
        let let_in = (0..100).filter(|_| cores.ask(0, Side::Stable)).count();
        prop_assert_eq!(let_in as u32, most);
    }

    #[test]
    fn a_shared_cap_lies_between_the_two_and_moves_with_the_share(
        stable in 0_u32..10_000, candidate in 0_u32..10_000, low in 0.0_f64..1.0, more in 0.0_f64..1.0,
    ) {
        let (low, high) = (Share::of(low), Share::of(low + more * (1.0 - low)));
        let (one, other) = (blended(stable, candidate, low), blended(stable, candidate, high));
        prop_assert!(one >= stable.min(candidate) && one <= stable.max(candidate));
        let grows = candidate >= stable;
        prop_assert!(one == other || (one < other) == grows);
        prop_assert_eq!(blended(stable, candidate, Share::ALL), candidate);
        prop_assert_eq!(blended(stable, candidate, Share::of(0.0)), stable);
    }
}

#[test]
fn a_candidate_is_refused_by_its_part_and_leaves_the_rest_to_the_stable_version() {
    let mut cores = Cores::new((20, 20, 20), (20, 20, 20));
    cores.offer(Share::of(0.1));
    let let_in = |cores: &mut Cores, side| (0..50).filter(|_| cores.ask(0, side)).count();
    assert_eq!(let_in(&mut cores, Side::Candidate), 4);
    assert_eq!(let_in(&mut cores, Side::Stable), 16);
    cores.held.clear();
    assert_eq!(let_in(&mut cores, Side::Stable), 20);
    assert_eq!(let_in(&mut cores, Side::Candidate), 0, "nobody has more than the shared cap");
    cores.held.clear();
    cores.offer(Share::of(0.5));
    assert_eq!(let_in(&mut cores, Side::Candidate), 20, "from a half on the part is all of it");
}

#[test]
fn both_versions_share_connections_and_lines_and_nothing_of_the_stable_one_changes_without_need() {
    let cores = Cores::new((20, 20, 20), (20, 20, 20));
    let (stable, candidate) = beside(&cores.stable, &cores.candidate, Share::of(0.1), &cores.parts);
    assert!(Arc::ptr_eq(&stable, &cores.stable));
    let (one, other) = (&stable.upstreams[0], &candidate.upstreams[0]);
    assert!(Arc::ptr_eq(&one.shared, &other.shared));
    for (one, other) in one.cluster.backends.iter().zip(&other.cluster.backends) {
        assert!(Arc::ptr_eq(&one.endpoint, &other.endpoint) && Arc::ptr_eq(&one.latency, &other.latency));
        assert!(other.guest.as_ref().is_some_and(|guest| guest.is_lent) && one.guest.is_none());
    }
    assert!(
        !Arc::ptr_eq(&one.cluster.budget, &other.cluster.budget),
        "second tries are not the candidate's to spend"
    );
}
