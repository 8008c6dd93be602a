//! Chooses a backend: the better of two, drawn by weight.
//!
//! **Weights act in the draw, and a drawn backend keeps the request unless another is clearly better.** The
//! textbook cost, (in flight + 1) × latency ÷ weight, starves a light backend while everybody is idle, because
//! its "+ 1" is divided by its weight; the guard of a ramp would then never see a sample. So the "+ 1" of the
//! one drawn first is not divided, for it was drawn by weight; the challenger's is. And response times count
//! only where they differ threefold: below that a peak EWMA is noise, and it would undo the weights.
//!
//! Simulated (`tests`: 2 to 5 backends, 20 ms, 2 to 10,000 a second): a backend at weight 50 gets 0.42 to 0.58
//! of a peer at 100, one at 25 gets 0.20 to 0.31. With neither "+ 1" divided: 0.50 to 0.69, and 0.25 to 0.52;
//! with response times compared from twofold on: up to 0.65 at 2 a second.
//!
//! Pure: it holds nothing between picks. Ejection, ramps and health are in what its caller says of a backend.

use fastrand::Rng;

/// What the picker needs to know about a backend now. Numbers may be stale by the time they are used; caps are
/// kept by the permit that the caller takes afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests sent or being sent; those that still wait for a connection count, or a backend whose
    /// connections hang would look idle.
    pub inflight: u32,
    /// Most requests in flight.
    pub cap: u32,
    /// Share relative to the others, ramp included; 0 receives nothing.
    pub weight: u32,
    /// Response time in nanoseconds ([`PeakEwma::get`](super::ewma::PeakEwma::get)); 0 is unknown, and is then
    /// not compared.
    pub ewma_ns: u64,
    /// Healthy, not ejected, not draining.
    pub eligible: bool,
}

/// The outcome of [`pick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// Send to this one. It was below its cap a moment ago.
    Backend(usize),
    /// There are eligible backends and each is at its cap: waiting may help.
    AllFull,
    /// There is none: waiting does not help.
    NoneEligible,
}

/// The draw looks at no more backends than this; with more, at a sample of them.
const WINDOW: usize = 32;
/// Two pairs, then every backend (`overload.md` 2(vi)).
const PAIRS: usize = 2;
/// Below this, response times are equal: a backend that once waited for a processor is no slower than its peers,
/// and a peak EWMA would hold it against it for half a minute.
const FLOOR_NS: u64 = 1_000_000;
/// Response times within this factor are equal.
const CLEARLY: f64 = 3.0;

/// Picks one of `n` backends, never `not` (the one that an earlier attempt used). `load` is called up
/// to 36 times, and `n` times more when the drawn ones are at their caps. Allocates nothing.
pub fn pick(rng: &mut Rng, n: usize, load: impl Fn(usize) -> Load, not: Option<usize>) -> Picked {
    let load = |index| Candidate { index, load: load(index) };
    let mut window = Window { drawable: [(0, 0); WINDOW], len: 0, total: 0 };
    window.read(rng, n, not, &load);
    for _ in 0..PAIRS {
        let Some(first) = window.draw(rng) else { break };
        let first = load(first);
        let second = window.draw(rng).map(load);
        let (better, other) = match second {
            Some(second) if second.is_clearly_better_than(&first) => (second, Some(first)),
            second => (first, second),
        };
        if better.has_room() {
            return Picked::Backend(better.index);
        }
        if let Some(other) = other.filter(Candidate::has_room) {
            return Picked::Backend(other.index);
        }
    }
    scan(rng, n, not, &load)
}

/// The best of all, for when the draw met none with room.
fn scan(rng: &mut Rng, n: usize, not: Option<usize>, load: &impl Fn(usize) -> Candidate) -> Picked {
    let mut outcome = Picked::NoneEligible;
    let mut best: Option<Candidate> = None;
    for index in from_anywhere(rng, n).filter(|index| Some(*index) != not) {
        let candidate = load(index);
        if !candidate.may_be_picked() {
            continue;
        }
        outcome = Picked::AllFull;
        if candidate.has_room() && best.is_none_or(|best| candidate.is_clearly_better_than(&best)) {
            best = Some(candidate);
        }
    }
    best.map_or(outcome, |best| Picked::Backend(best.index))
}

/// Every index once, beginning at random: neighbours must not profit from their place.
fn from_anywhere(rng: &mut Rng, n: usize) -> impl Iterator<Item = usize> + use<> {
    let start = if n == 0 { 0 } else { rng.usize(..n) };
    (start..n).chain(0..start)
}

/// [`WINDOW`] different indexes below `n`, each as likely as any other: one at random from each of as many
/// equal stretches. (A run of neighbours would not do: light backends tend to stand together in the file, and
/// in a run of nothing but light ones their weight means nothing.)
fn sample(rng: &mut Rng, n: usize) -> impl Iterator<Item = usize> {
    let start = rng.usize(..n);
    (0..WINDOW).map(move |k| (start + rng.usize(k * n / WINDOW..(k + 1) * n / WINDOW)) % n)
}

/// Indexes and weights of the backends that may be drawn.
struct Window {
    drawable: [(u32, u32); WINDOW],
    len: usize,
    total: u64,
}

impl Window {
    /// Fills an empty one where it stands: returned, it would be copied.
    fn read(&mut self, rng: &mut Rng, n: usize, not: Option<usize>, load: &impl Fn(usize) -> Candidate) {
        let mut look = |index| {
            let candidate = load(index);
            if candidate.may_be_picked() && Some(index) != not {
                self.drawable[self.len] = (index as u32, candidate.load.weight);
                self.len += 1;
                self.total += u64::from(candidate.load.weight);
            }
        };
        if n <= WINDOW {
            (0..n).for_each(&mut look);
        } else {
            sample(rng, n).for_each(&mut look);
        }
    }

    /// One of those left, by weight; it is not drawn again.
    fn draw(&mut self, rng: &mut Rng) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let mut point = rng.u64(..self.total);
        for (index, weight) in &mut self.drawable[..self.len] {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => {
                    self.total -= u64::from(*weight);
                    *weight = 0;
                    return Some(*index as usize);
                }
            }
        }
        None
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    index: usize,
    load: Load,
}

impl Candidate {
    fn may_be_picked(&self) -> bool {
        self.load.eligible && self.load.weight > 0
    }

    fn has_room(&self) -> bool {
        self.load.inflight < self.load.cap
    }

    /// Over 80 % of its cap.
    fn is_hot(&self) -> bool {
        u64::from(self.load.inflight) * 5 > u64::from(self.load.cap) * 4
    }

    /// Whether to move the request here from `other`, which was drawn first. Requests in flight count per
    /// weight. Both hot: response times say more about the queue than about the backend (Prequal's rule), so only
    /// requests in flight count.
    fn is_clearly_better_than(&self, other: &Candidate) -> bool {
        let (mine, theirs) = (self.load, other.load);
        let heavier = f64::from(mine.weight.max(theirs.weight));
        let per_weight = |load: &Load| heavier / f64::from(load.weight);
        let with_one_more = (f64::from(mine.inflight) + 1.0) * per_weight(&mine);
        let as_drawn = f64::from(theirs.inflight) * per_weight(&theirs) + 1.0;
        let slower =
            if self.is_hot() && other.is_hot() { 1.0 } else { slowness(mine.ewma_ns, theirs.ewma_ns) };
        with_one_more * slower < as_drawn
    }
}

/// How many times slower `mine` is; 1 when that cannot be told.
fn slowness(mine: u64, theirs: u64) -> f64 {
    if mine == 0 || theirs == 0 {
        return 1.0;
    }
    let ratio = mine.max(FLOOR_NS) as f64 / theirs.max(FLOOR_NS) as f64;
    if (CLEARLY.recip()..=CLEARLY).contains(&ratio) { 1.0 } else { ratio }
}

#[cfg(test)]
mod tests;
