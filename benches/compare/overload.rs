//! More than there is room for, side by side: the experiments of the overload rig (`tests/rig`) with every peer as
//! it comes and as a careful operator sets it, and with Tidegate untuned.
//!
//! The proxy has a core to itself; the clients and the backends share the other one, in this process. Each
//! experiment starts the proxy anew and measures what the backends can do before it.

mod contenders;

use self::contenders::Entrant;
use crate::orders;
use crate::peers::Kind;
use crate::rig::experiments::outcome::Outcome;
use crate::rig::experiments::{self as rig, Contender, Scale};
use crate::rig::load::report::Row;
use crate::rig::load::{self, Load, Plan};
use crate::rig::origin::Fleet;
use crate::rig::origin::knobs::{Knobs, Service};
use crate::session::Session;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Tidegate has one setting.
const UNTUNED: (Kind, bool) = (Kind::Tidegate, false);

/// What one experiment is called, and how it is made.
type Experiment = (&'static str, fn(&dyn Contender, Scale) -> Outcome);

/// Those that everybody takes part in.
const COMMON: [Experiment; 4] = [
    ("E1", rig::hung_upstream),
    ("E2", rig::slow_upstream),
    ("E3 five times", |contender, scale| rig::flash_crowd(contender, scale, 5.0)),
    ("E3 ten times", |contender, scale| rig::flash_crowd(contender, scale, 10.0)),
];
/// Those of Tidegate alone, beside.
const OWN: [Experiment; 7] = [
    ("E4", rig::retry_storm),
    ("E9", rig::silent_auth),
    ("E10", rig::hung_log_sink),
    ("E11", rig::latency_shift),
    ("E12", rig::scale_out),
    ("E14", rig::steady),
    ("E15", rig::aborts),
];
/// What the rig must do by itself, and how late it may be, its origin's millisecond included.
const RIG_RATE: f64 = 10_000.0;
const RIG_P99_MS: f64 = 5.0;

/// The first seed: who arrives when is the same for everybody.
const SEED: u64 = 20_261_122;
/// Trouble in the comparison, in the long form, and of the steady load once in the long form.
const COMPARED: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(30 * 60);

/// Takes all experiments with everybody who is here. The full form with Tidegate alone is the long one: a minute
/// of trouble, five seeds, and half an hour of steady load.
pub fn take(session: &mut Session) {
    // Everything that this process starts from here on stays off the proxy's core.
    let everywhere = sched_getaffinity(None);
    let mut own = CpuSet::new();
    own.set(session.place.load);
    if let Err(error) = sched_setaffinity(None, &own) {
        session.results.trouble.push(format!("overload: the load is not pinned: {error}"));
    }
    keeps_up(session);
    let full = session.form == orders::FULL;
    match session.kinds == [Kind::Tidegate] {
        true if full => (SEED..SEED + 5).for_each(|seed| alone(session, Scale::full(LONG, seed))),
        _ if full => compared(session, Scale::full(COMPARED, SEED)),
        _ => compared(session, quick()),
    }
    if let Ok(everywhere) = everywhere {
        let _ = sched_setaffinity(None, &everywhere);
    }
}

/// The rig alone must do 10,000 a second on its core; if it cannot here, what follows says more of it than of those
/// that are measured.
fn keeps_up(session: &mut Session) {
    let knobs = Knobs::new(64, Service::Constant(Duration::from_millis(1)));
    let fleet = Fleet::start(SEED, None, &vec![knobs; 8]);
    let each = |address: &SocketAddr| load::stream("rig", *address, "/", RIG_RATE / 8.0).poisson();
    let streams = fleet.addresses().iter().map(each).collect();
    let report = Load::start(Plan::new(Duration::from_secs(2), SEED), streams).finish();
    let mut all = Row::new();
    report.streams.iter().for_each(|stream| all.add(&stream.whole()));
    let skipped: u64 = report.streams.iter().map(|stream| stream.skipped).sum();
    let found = format!(
        "the rig alone at {RIG_RATE} a second: p50 / p99 {:.1} / {:.1} ms",
        all.ok_ms(0.5),
        all.ok_ms(0.99)
    );
    eprintln!("overload: {found}");
    if all.ok_ms(0.99) > RIG_P99_MS || all.ok < all.clients || skipped > 0 {
        session.results.trouble.push(format!(
            "overload: {found}, {} of {} served",
            all.ok,
            all.clients + skipped
        ));
    }
}

fn compared(session: &mut Session, scale: Scale) {
    for experiment in COMMON {
        for setting in settings(&session.kinds) {
            one(session, experiment, scale, setting);
        }
    }
    if session.kinds.contains(&Kind::Tidegate) {
        OWN.into_iter().for_each(|experiment| one(session, experiment, scale, UNTUNED));
    }
}

fn alone(session: &mut Session, scale: Scale) {
    for experiment in COMMON.into_iter().chain(OWN) {
        let steady = experiment.0 == "E14" && scale.seed == SEED;
        let scale = if steady { Scale { during: STEADY, ..scale } } else { scale };
        one(session, experiment, scale, UNTUNED);
    }
}

/// Three seconds of trouble: it shows that everything works, and the coarse of it.
fn quick() -> Scale {
    Scale {
        calm: Duration::from_secs(1),
        before: Duration::from_secs(1),
        after: Duration::from_secs(4),
        ..Scale::full(Duration::from_secs(3), SEED)
    }
}

/// Everybody twice, as it comes and set by hand; Tidegate once, untuned.
fn settings(kinds: &[Kind]) -> Vec<(Kind, bool)> {
    let able = kinds.iter().copied().filter(|kind| *kind != Kind::Relay);
    let both = able.flat_map(|kind| [(kind, false), (kind, true)]);
    both.filter(|(kind, by_hand)| !(*by_hand && *kind == Kind::Tidegate)).collect()
}

fn one(session: &mut Session, (name, make): Experiment, scale: Scale, (kind, by_hand): (Kind, bool)) {
    let entrant = Entrant { place: &session.place, kind, by_hand };
    eprintln!("overload: {name}, {} {}", kind.name(), entrant.setting());
    // One that does not start or breaks the rig is a line in the report, and not the end of the run.
    match catch_unwind(AssertUnwindSafe(|| make(&entrant, scale))) {
        Ok(outcome) => session.results.overload.push(outcome),
        Err(_) => {
            let trouble =
                format!("overload: {name} with {}, {} was not made", kind.name(), entrant.setting());
            session.results.trouble.push(trouble);
        }
    }
}
