//! The last hour in numbers: one point each five seconds, at a fixed price. A pure core, told which step it is.
//!
//! 720 points of 4 bytes: seven lines for each of at most [`MAX_UPSTREAMS`] upstreams and four of the process are
//! 2.6 MB at most. Steps count from the start of the process by a clock that is never set, so nothing happens here when
//! the other one is. A step that was missed is empty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two points.
pub const STEP: Duration = Duration::from_secs(5);
/// Points: an hour.
pub const POINTS: usize = 720;
/// Upstreams whose lines are kept, the first ones of the configuration; those that are gone give way.
pub const MAX_UPSTREAMS: usize = 128;

/// Lines of an upstream, in the order of their values.
pub const OF_UPSTREAM: [&str; 7] = [
    "upstream.in_flight",
    "upstream.limit",
    "upstream.queue",
    "upstream.requests_per_second",
    "upstream.shed_per_second",
    "upstream.latency_p50_seconds",
    "upstream.latency_p99_seconds",
];
/// Lines of the process, in the order of their values.
pub const OF_PROCESS: [&str; 4] =
    ["process.in_flight", "process.requests_per_second", "process.shed_per_second", "worker.lag_seconds"];

/// What there is to keep at a step; NaN is not known.
pub type Values<const N: usize> = [f32; N];

/// The last hour.
#[derive(Debug)]
pub struct Ring {
    /// The newest step; nothing before the first.
    step: Option<u64>,
    process: Lines<{ OF_PROCESS.len() }>,
    upstreams: BTreeMap<Arc<str>, Lines<{ OF_UPSTREAM.len() }>>,
    left_out: usize,
}

/// Lines that are written together, one behind the other.
#[derive(Debug)]
struct Lines<const N: usize> {
    points: Box<[f32]>,
    /// The last step that was written.
    written: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { step: None, process: Lines::empty(), upstreams: BTreeMap::new(), left_out: 0 }
    }
}

impl Ring {
    /// Keeps a step's values. A step that is not newer than the last one is left out.
    pub fn keep(
        &mut self,
        step: u64,
        process: Values<4>,
        upstreams: impl IntoIterator<Item = (Arc<str>, Values<7>)>,
    ) {
        if self.step.is_some_and(|last| step <= last) {
            return;
        }
        let before = self.step.replace(step);
        self.process.write(step, process);
        self.left_out = 0;
        self.upstreams.retain(|_, lines| lines.written + POINTS as u64 > step);
        for (name, values) in upstreams {
            if self.upstreams.contains_key(&name) || self.has_room(before) {
                self.upstreams.entry(name).or_insert_with(Lines::empty).write(step, values);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// The newest step.
    pub fn newest(&self) -> Option<u64> {
        self.step
    }

    /// Upstreams of the newest step for which there was no room.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The upstreams with at least one point in the last hour.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.upstreams.keys().cloned().collect()
    }

    /// A line of the process in the hour that ends with `end`, the oldest point first; NaN is not known.
    pub fn process(&self, line: usize, end: u64) -> impl Iterator<Item = f32> {
        self.process.read(line, end)
    }

    /// The same of an upstream; nothing if it is not kept.
    pub fn upstream(&self, name: &str, line: usize, end: u64) -> Option<impl Iterator<Item = f32>> {
        Some(self.upstreams.get(name)?.read(line, end))
    }

    /// There is, or whatever has been gone for longest makes some: what had no point at the step `before` this one.
    fn has_room(&mut self, before: Option<u64>) -> bool {
        if self.upstreams.len() < MAX_UPSTREAMS {
            return true;
        }
        let gone =
            self.upstreams.iter().filter(|(_, lines)| before.is_some_and(|before| lines.written < before));
        let oldest = gone.min_by_key(|(_, lines)| lines.written).map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.upstreams.remove(&name).is_some())
    }
}

impl<const N: usize> Lines<N> {
    fn empty() -> Self {
        Lines { points: vec![f32::NAN; N * POINTS].into_boxed_slice(), written: 0 }
    }

    fn write(&mut self, step: u64, values: Values<N>) {
        // What lies between was missed, and what stood there is of an hour ago.
        let missed = step.saturating_sub(self.written + 1).min(POINTS as u64);
        for step in step - missed..step {
            (0..N).for_each(|line| self.points[place(line, step)] = f32::NAN);
        }
        for (line, value) in values.into_iter().enumerate() {
            self.points[place(line, step)] = value;
        }
        self.written = step;
    }

    fn read(&self, line: usize, end: u64) -> impl Iterator<Item = f32> {
        let kept = self.written.saturating_sub(POINTS as u64 - 1)..=self.written;
        (0..POINTS as u64).map(move |nth| {
            let step = (end + 1 + nth).checked_sub(POINTS as u64);
            let step = step.filter(|step| kept.contains(step));
            step.map_or(f32::NAN, |step| self.points[place(line, step)])
        })
    }
}

/// Where a line has a step.
fn place(line: usize, step: u64) -> usize {
    line * POINTS + (step % POINTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| format!("u{n:03}").into()).collect()
    }

    fn keep(ring: &mut Ring, step: u64, names: &[Arc<str>]) {
        ring.keep(step, [step as f32; 4], names.iter().map(|name| (name.clone(), [step as f32; 7])));
    }

    fn upstream(ring: &Ring, name: &str) -> Vec<f32> {
        let end = ring.newest().expect("there is one");
        ring.upstream(name, 6, end).expect("it is kept").collect()
    }

    #[test]
    fn the_last_hour_is_kept_the_oldest_first_and_what_was_missed_is_empty() {
        let (mut ring, u) = (Ring::default(), names(1));
        (0..3).for_each(|step| keep(&mut ring, step, &u));
        let seen = upstream(&ring, &u[0]);
        assert_eq!((seen.len(), &seen[POINTS - 3..]), (POINTS, &[0.0, 1.0, 2.0][..]));
        assert!(seen[..POINTS - 3].iter().all(|value| value.is_nan()), "before the start nothing is known");
        keep(&mut ring, 5, &u);
        let seen = upstream(&ring, &u[0]);
        assert!(seen[POINTS - 2].is_nan() && seen[POINTS - 3].is_nan());
        assert_eq!((seen[POINTS - 4], seen[POINTS - 1]), (2.0, 5.0));
        keep(&mut ring, 5 + 10 * POINTS as u64, &u);
        let seen = upstream(&ring, &u[0]);
        assert_eq!(seen.iter().filter(|value| !value.is_nan()).count(), 1, "after a long sleep");
        keep(&mut ring, 7, &u);
        assert_eq!(upstream(&ring, &u[0])[POINTS - 1], 7205.0, "an old step changes nothing");
    }

    #[test]
    fn an_upstream_that_is_gone_is_seen_for_an_hour_and_comes_back_with_a_hole() {
        let (mut ring, both) = (Ring::default(), names(2));
        (0..10).for_each(|step| keep(&mut ring, step, &both));
        (10..20).for_each(|step| keep(&mut ring, step, &both[..1]));
        let gone = upstream(&ring, &both[1]);
        assert!(gone[POINTS - 10..].iter().all(|value| value.is_nan()) && gone[POINTS - 11] == 9.0);
        keep(&mut ring, 20, &both);
        let back = upstream(&ring, &both[1]);
        assert!(back[POINTS - 2].is_nan() && back[POINTS - 1] == 20.0 && back[POINTS - 12] == 9.0);
        (21..21 + POINTS as u64).for_each(|step| keep(&mut ring, step, &both[..1]));
        assert_eq!(ring.names(), &both[..1], "an hour later it is forgotten");
    }

    #[test]
    fn upstreams_are_bounded_and_those_that_are_gone_give_way() {
        let (mut ring, all) = (Ring::default(), names(MAX_UPSTREAMS + 3));
        keep(&mut ring, 0, &all);
        assert_eq!((ring.names().len(), ring.left_out()), (MAX_UPSTREAMS, 3));
        keep(&mut ring, 1, &all[3..]);
        // They were there a moment ago: the first look after a change evicts nothing that may be in it.
        keep(&mut ring, 2, &all[3..]);
        assert_eq!((ring.names(), ring.left_out()), (all[3..].to_vec(), 0));
    }

    #[test]
    fn a_window_of_a_moment_ago_stays_what_it_was() {
        let (mut ring, u) = (Ring::default(), names(1));
        (0..POINTS as u64 + 5).for_each(|step| keep(&mut ring, step, &u));
        let end = ring.newest().expect("there is one");
        keep(&mut ring, end + 1, &u);
        let seen: Vec<f32> = ring.process(0, end).collect();
        assert!(seen[0].is_nan(), "it was overwritten just now");
        assert_eq!((seen[1], seen[POINTS - 1]), (6.0, end as f32));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_jump_shows_a_value_at_a_step_that_is_not_its_own(jumps in prop::collection::vec(1u64..2_000, 1..20)) {
            let (mut ring, u) = (Ring::default(), names(1));
            let (mut step, mut kept) = (0, vec![]);
            for jump in jumps {
                step += jump;
                keep(&mut ring, step, &u);
                kept.push(step);
            }
            for (nth, value) in upstream(&ring, &u[0]).into_iter().enumerate() {
                let at = (step + 1 + nth as u64).checked_sub(POINTS as u64);
                let known = at.filter(|at| kept.contains(at));
                prop_assert_eq!(known.map(|at| at as f32), Some(value).filter(|value| !value.is_nan()));
            }
        }
    }
}
