//! The limits that find themselves: one controller for each upstream's name, on the admin thread.
//!
//! Five times a second it reads what the cores wrote on the boards, asks the pure core
//! ([`crate::admission::adaptive`]) and puts up what it says. A limit lives as long as its name: across reloads,
//! whatever the mode was meanwhile, and across a restart. It says why it moved, with numbers, and no oftener than
//! somebody can read. It refuses nobody.

use crate::admission::adaptive::board::Sums;
use crate::admission::adaptive::{Bounds, Limiter, Move, TICK, Why};
use crate::admission::settings::Mode;
use crate::control::view::{AdaptiveView, MoveView};
use crate::routing::table::{Table, Upstream};
use crate::routing::trial::Tables;
use crate::telemetry::events::{LimitAtFloor, LimitMoved};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits of names that the active version does not use are kept up to this many.
const MAX_SPARE: usize = 1_024;
/// Between two events of one upstream.
const QUIET: Duration = Duration::from_secs(10);
/// A move by this part of what was last told is worth telling.
const MUCH: f64 = 0.25;
/// At its floor for so long, and in somebody's way, it is worth an alarm.
const AT_FLOOR: Duration = Duration::from_secs(10);
/// Somebody was in its way no longer ago than this.
const LATELY: Duration = Duration::from_secs(2);

/// Every upstream's.
#[derive(Debug, Default)]
pub struct Limits {
    of: HashMap<Arc<str>, Limit>,
    /// What an earlier process left, by name.
    left: HashMap<Arc<str>, u32>,
    ticked: Option<Instant>,
}

/// One upstream's.
#[derive(Debug)]
struct Limit {
    limiter: Limiter,
    sums: Sums,
    mode: Mode,
    moves: [u64; Why::ALL.len()],
    last: Option<(Move, Timestamp)>,
    limited_at: Option<Instant>,
    floor_since: Option<Instant>,
    /// The limit that the last event told, and when.
    told: (u32, Option<Instant>),
    /// When an event last told of a raised objective.
    told_raise: Option<Instant>,
    told_floor: bool,
}

impl Limits {
    /// Goes on from what an earlier process left.
    pub fn new(left: HashMap<Arc<str>, u32>) -> Self {
        Limits { left, ..Limits::default() }
    }

    /// What is to be kept for the next process.
    pub fn kept(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        let left = self.left.iter().filter(|(name, _)| !self.of.contains_key(*name));
        let now = self.of.iter().map(|(name, limit)| (name, limit.limiter.limit()));
        now.chain(left.map(|(name, limit)| (name, *limit)))
    }

    /// Looks at the boards of what serves, if it is time. What both versions have goes by the rules of the stable one.
    pub fn tick(&mut self, tables: &Tables, now: Instant) {
        let elapsed = self.ticked.map(|ticked| now.saturating_duration_since(ticked));
        // Called ten times a second; a window may be a little short, never two looks in one.
        if elapsed.is_some_and(|elapsed| elapsed < TICK * 9 / 10) {
            return;
        }
        self.ticked = Some(now);
        for upstream in tables.upstreams().filter(|it| it.gate.adaptive.mode != Mode::Off) {
            let first = self.left.get(&upstream.name).copied();
            let limit = self.of.entry(upstream.name.clone()).or_insert_with(|| Limit::new(upstream, first));
            limit.tick(upstream, elapsed.unwrap_or(TICK), now);
        }
        self.forget(&tables.stable);
    }

    /// Whether an upstream's requests are refused or wait because of its limit.
    pub fn refuses(&self, upstream: &Upstream) -> bool {
        let limited = self.of.get(&upstream.name).and_then(|limit| limit.limited_at);
        upstream.gate.adaptive.mode == Mode::Enforce
            && limited.is_some_and(|at| self.ticked.is_some_and(|now| now - at < LATELY))
    }

    /// What an upstream's limit allows, if it acts.
    pub fn acting(&self, upstream: &Upstream) -> Option<u32> {
        let limit = self.of.get(&upstream.name)?;
        (upstream.gate.adaptive.mode == Mode::Enforce).then(|| limit.limiter.limit())
    }

    /// What an upstream is to be seen by; nothing while its limit is off.
    pub fn view(&self, upstream: &Upstream) -> Option<AdaptiveView> {
        let mode = upstream.gate.adaptive.mode;
        let limit = self.of.get(&upstream.name).filter(|_| mode != Mode::Off)?;
        let sits = |now: Instant| limit.floor_since.is_some_and(|since| now - since >= AT_FLOOR);
        Some(AdaptiveView {
            mode: mode.as_str().to_owned(),
            limit: limit.limiter.limit(),
            floor: limit.limiter.bounds().floor(),
            objective_seconds: limit.limiter.objective().as_secs_f64(),
            configured_objective_seconds: upstream.gate.adaptive.objective.as_secs_f64(),
            at_floor: self.ticked.is_some_and(sits),
            last_move: limit.last.map(|(moved, at)| MoveView {
                at: at.to_string(),
                reason: moved.why.as_str().to_owned(),
                from: moved.from,
                to: moved.to,
                because: because(&moved),
            }),
            moves: Why::ALL.iter().map(|why| (why.as_str().to_owned(), limit.moves[*why as usize])).collect(),
            shadow_sheds: upstream.shared.board.all_let_through(),
        })
    }

    /// Names that come and go must not fill the memory; those that are in use are bounded by the file.
    fn forget(&mut self, table: &Table) {
        if self.of.len() > table.upstreams.len() + MAX_SPARE {
            self.of.retain(|name, _| table.upstreams.iter().any(|upstream| upstream.name == *name));
        }
    }
}

impl Limit {
    fn new(upstream: &Upstream, first: Option<u32>) -> Self {
        let limiter = Limiter::new(upstream.gate.adaptive, bounds(upstream), first);
        let told = (limiter.limit(), None);
        let mut sums = Sums::default();
        // What happened before nobody looked is no window.
        upstream.shared.board.turn(&mut sums);
        Limit {
            limiter,
            sums,
            mode: upstream.gate.adaptive.mode,
            moves: [0; Why::ALL.len()],
            last: None,
            limited_at: None,
            floor_since: None,
            told,
            told_raise: None,
            told_floor: false,
        }
    }

    fn tick(&mut self, upstream: &Upstream, elapsed: Duration, now: Instant) {
        let settings = upstream.gate.adaptive;
        let window = upstream.shared.board.turn(&mut self.sums);
        let followed = self.limiter.follow(settings, bounds(upstream));
        // In another mode the same numbers mean something else.
        let moved = match std::mem::replace(&mut self.mode, settings.mode) == settings.mode {
            true => self.limiter.tick(elapsed, &window),
            false => None,
        };
        upstream.shared.board.put(self.limiter.limit());
        if window.limited {
            self.limited_at = Some(now);
        }
        for moved in followed.into_iter().chain(moved) {
            self.moves[moved.why as usize] += 1;
            self.last = Some((moved, Timestamp::now()));
            self.tell(upstream, &moved, now);
        }
        self.watch_floor(upstream, now);
    }

    /// An event for a move by much, and one for a raised objective; of each one in ten seconds.
    fn tell(&mut self, upstream: &Upstream, moved: &Move, now: Instant) {
        let (told, at) = self.told;
        let far = (f64::from(moved.to) - f64::from(told)).abs() > MUCH * f64::from(told);
        let quiet = |at: Option<Instant>| at.is_none_or(|at| now.saturating_duration_since(at) >= QUIET);
        let raised = moved.why == Why::Futile && quiet(self.told_raise);
        if raised || far && quiet(at) {
            self.told = (moved.to, Some(now));
            if raised {
                self.told_raise = Some(now);
            }
            LimitMoved {
                upstream: &upstream.name,
                mode: upstream.gate.adaptive.mode.as_str(),
                from: told,
                to: moved.to,
                reason: moved.why.as_str(),
                because: &because(moved),
                objective: self.limiter.objective(),
                raised,
            }
            .emit();
        }
    }

    fn watch_floor(&mut self, upstream: &Upstream, now: Instant) {
        let limited = self.limited_at.is_some_and(|at| now.saturating_duration_since(at) < LATELY);
        if !(limited && self.limiter.at_floor()) {
            self.floor_since = None;
            if std::mem::take(&mut self.told_floor) {
                self.tell_floor(upstream, false);
            }
            return;
        }
        let since = *self.floor_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= AT_FLOOR && !self.told_floor {
            self.told_floor = true;
            self.tell_floor(upstream, true);
        }
    }

    fn tell_floor(&self, upstream: &Upstream, sits: bool) {
        let mode = upstream.gate.adaptive.mode.as_str();
        let because = self.last.map(|(moved, _)| because(&moved)).unwrap_or_default();
        let limit = self.limiter.limit();
        LimitAtFloor { upstream: &upstream.name, mode, limit, sits, because: &because }.emit();
    }
}

/// Backends that take requests, and the cap.
fn bounds(upstream: &Upstream) -> Bounds {
    let shares = upstream.cluster.shares.load();
    let backends = upstream.cluster.backends.iter().zip(&shares.of);
    let taking = backends.filter(|(backend, share)| share.cap > 0 && backend.is_present()).count();
    Bounds { backends: u32::try_from(taking).unwrap_or(u32::MAX), cap: upstream.gate.max_in_flight }
}

/// Why, with numbers: a sentence's second half.
fn because(moved: &Move) -> String {
    let window = moved.window;
    let outcomes = window.outcomes();
    let mean = window.time.as_secs_f64() * 1e3 / window.ok.max(1) as f64;
    let aim = moved.objective.as_secs_f64() * 1e3;
    match moved.why {
        Why::Failing => {
            let (failed, most) = (window.failures(), window.max_in_flight);
            format!("{failed} of {outcomes} requests failed or were given up, with {most} in flight")
        }
        Why::Slow => {
            format!("{} answers took {mean:.0} ms on average, and {aim:.0} ms is the objective", window.ok)
        }
        Why::Futile => {
            format!(
                "answers still take {mean:.0} ms with fewer in flight, so it is not the load; the objective was {aim:.0} ms"
            )
        }
        Why::Wanted => {
            format!("requests were refused or waited, and {} answers took {mean:.0} ms on average", window.ok)
        }
        Why::Bounds => "backends came or went, or the configuration changed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};
    use crate::control::build::Builder;
    use crate::runtime::descriptors::Descriptors;
    use crate::telemetry::cells::CoreId;
    use crate::telemetry::metrics::Metrics;
    use crate::upstream::discovery::Directory;
    use std::path::Path;

    /// One upstream with two backends, and its limit so set.
    fn table(mode: &str) -> Arc<Table> {
        let text = format!(
            "[[upstreams]]\nname = \"u\"\nadaptive_limit = \"{mode}\"\n\
             backends = [{{ name = \"a\", address = \"127.0.0.1:1\" }}, {{ name = \"b\", address = \"127.0.0.1:2\" }}]\n\
             [[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\
             [[routes]]\nname = \"r\"\npath_prefix = \"/\"\nupstream = \"u\"\n"
        );
        let plan =
            config::check(&text, Path::new("test.toml"), &ProcessEnvironment).plan.expect("it is valid");
        let (metrics, descriptors) = (Arc::new(Metrics::new(1)), Arc::new(Descriptors::with_budget(64)));
        let mut builder = Builder::new(1, metrics, Arc::new(Directory::default()), descriptors);
        Arc::new(builder.build(&plan, 1).expect("no file is needed"))
    }

    /// Lives through so many ticks in each of which somebody is in the limit's way and `failed` requests fail.
    fn live(limits: &mut Limits, table: &Arc<Table>, from: Instant, ticks: u32, failed: u32) -> Instant {
        let board = &table.upstreams[0].shared.board;
        for tick in 1..=ticks {
            board.entered(CoreId(0), board.said(), 10);
            board.limited(CoreId(0));
            (0..failed).for_each(|_| board.failed(CoreId(0)));
            (0..30).for_each(|_| board.answered(CoreId(0), Duration::from_millis(20)));
            limits.tick(&Tables::only(table.clone()), from + TICK * tick);
        }
        from + TICK * ticks
    }

    fn seen(limits: &Limits, table: &Table) -> AdaptiveView {
        limits.view(&table.upstreams[0]).expect("it is on")
    }

    #[test]
    fn a_limit_goes_on_from_what_an_earlier_process_left_and_is_kept_for_the_next() {
        let table = table("enforce");
        let left = HashMap::from([("u".into(), 77), ("gone".into(), 5)]);
        let mut limits = Limits::new(left);
        limits.tick(&Tables::only(table.clone()), Instant::now());
        assert_eq!((seen(&limits, &table).limit, table.upstreams[0].shared.board.said().limit()), (77, 77));
        let kept: HashMap<_, _> = limits.kept().map(|(name, limit)| (name.to_string(), limit)).collect();
        assert_eq!((kept["u"], kept["gone"], kept.len()), (77, 5, 2));
    }

    #[test]
    fn ten_seconds_at_the_floor_in_somebodys_way_are_seen_and_less_are_not() {
        let table = table("enforce");
        let mut limits = Limits::default();
        let now = live(&mut limits, &table, Instant::now(), 40, 30);
        let view = seen(&limits, &table);
        assert_eq!((view.limit, view.floor, view.at_floor), (4, 4, false));
        assert!(view.last_move.is_some_and(|moved| moved.because.contains("requests failed")));
        let now = live(&mut limits, &table, now, 20, 30);
        assert!(seen(&limits, &table).at_floor && limits.refuses(&table.upstreams[0]));
        live(&mut limits, &table, now, 5, 0);
        assert!(!seen(&limits, &table).at_floor);
    }

    #[test]
    fn in_shadow_it_is_seen_and_binds_nobody() {
        let table = table("shadow");
        let mut limits = Limits::default();
        live(&mut limits, &table, Instant::now(), 10, 0);
        assert!(seen(&limits, &table).limit > 16);
        assert!(limits.acting(&table.upstreams[0]).is_none() && !limits.refuses(&table.upstreams[0]));
        assert!(limits.view(&self::table("off").upstreams[0]).is_none());
    }
}
