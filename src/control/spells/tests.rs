//! Spells in simulated time.

use super::*;
use proptest::prelude::*;

/// How long after the start of a night each look comes.
const STEP: Duration = Duration::from_millis(100);

struct Night {
    spells: Spells,
    start: Instant,
    steps: u32,
    counters: BTreeMap<Key, u64>,
    told: Vec<Told>,
}

impl Night {
    fn falls() -> Night {
        let (spells, counters) = (Spells::default(), BTreeMap::new());
        Night { spells, start: Instant::now(), steps: 0, counters, told: Vec::new() }
    }

    /// So many looks; at each, so many are shed for each of these.
    fn goes_on(&mut self, looks: u32, sheds: &[(&str, Reason, u64)]) {
        for _ in 0..looks {
            self.steps += 1;
            for (upstream, reason, count) in sheds {
                *self.counters.entry(((*upstream).into(), *reason)).or_default() += count;
            }
            let now = self.start + STEP * self.steps;
            let told = self.spells.look(now, Timestamp::UNIX_EPOCH, &self.counters);
            self.told.extend(told);
        }
    }

    /// What was told since the last time this was asked: the word, the count, the total and the seconds.
    fn told(&mut self) -> Vec<(&'static str, u64, u64, u64)> {
        let told = self.told.drain(..);
        told.map(|told| (told.what.as_str(), told.count, told.total, told.seconds)).collect()
    }
}

const ONE: [(&str, Reason, u64); 1] = [("orders", Reason::QueueFull, 1)];

#[test]
fn an_overload_of_ten_minutes_is_told_at_once_every_half_minute_and_when_it_is_over() {
    let mut night = Night::falls();
    night.goes_on(1, &ONE);
    assert_eq!(night.told(), [("began", 1, 1, 0)], "at once");
    night.goes_on(6_000, &ONE);
    let told = night.told();
    assert_eq!(told.len(), 20, "{told:?}");
    assert_eq!((told[0], told[19]), (("lasts", 300, 301, 30), ("lasts", 300, 6_001, 600)));
    night.goes_on(99, &[]);
    assert_eq!(night.told(), [], "it may only be a pause");
    night.goes_on(1_000, &[]);
    assert_eq!(night.told(), [("ended", 0, 6_001, 600)]);
    night.goes_on(1, &ONE);
    assert_eq!(night.told(), [("began", 1, 1, 0)], "another spell counts from its own beginning");
}

#[test]
fn a_pause_is_no_end_and_no_sum_is_of_nothing() {
    let mut night = Night::falls();
    night.goes_on(1, &ONE);
    for _ in 0..10 {
        night.goes_on(90, &[]);
        night.goes_on(1, &ONE);
    }
    let words: Vec<_> = night.told().into_iter().map(|(word, count, ..)| (word, count > 0)).collect();
    assert_eq!(words, [("began", true), ("lasts", true), ("lasts", true), ("lasts", true)]);
}

#[test]
fn each_upstream_and_each_reason_is_told_apart() {
    let mut night = Night::falls();
    night.goes_on(1, &ONE);
    night.goes_on(1, &[("orders", Reason::UpstreamLimit, 2), ("search", Reason::QueueFull, 3)]);
    assert_eq!(night.told(), [("began", 1, 1, 0), ("began", 2, 2, 0), ("began", 3, 3, 0)]);
    night.goes_on(200, &ONE);
    assert_eq!(night.told(), [("ended", 0, 2, 0), ("ended", 0, 3, 0)]);
}

#[test]
fn an_upstream_that_is_gone_sheds_no_more_and_counts_anew_when_it_is_back() {
    let mut night = Night::falls();
    night.goes_on(5, &ONE);
    night.counters.clear();
    night.goes_on(1, &[]);
    assert_eq!(night.told(), [("began", 1, 1, 0), ("ended", 4, 5, 0)]);
    night.goes_on(1, &[("orders", Reason::QueueFull, 2)]);
    assert_eq!(night.told(), [("began", 2, 2, 0)], "a counter of its own");
}

#[test]
fn everything_at_once_is_told_in_parts_beginnings_first() {
    let mut night = Night::falls();
    let names: Vec<String> = (0..200).map(|n| format!("u{n}")).collect();
    let all: Vec<_> = names.iter().map(|name| (&**name, Reason::QueueFull, 1)).collect();
    night.goes_on(1, &all);
    assert_eq!(night.told.len(), MAX_TOLD);
    night.goes_on(3, &all);
    assert_eq!(night.told.len(), 200, "everybody is told of within half a second");
    night.told.clear();
    night.goes_on(296, &all);
    let new = [("new", Reason::Ramp, 1)];
    for _ in 0..5 {
        night.goes_on(1, &[&all[..], &new].concat());
        assert!(night.told.len() <= MAX_TOLD * 5);
    }
    let beginning = night.told.iter().position(|told| told.what == Spell::Began).expect("told");
    assert!(beginning <= MAX_TOLD, "no sum stands in its way: {beginning}");
    let names: BTreeSet<_> = night.told.iter().map(|told| told.key.clone()).collect();
    assert_eq!(names.len(), 201, "and the sum of everybody is told");
}

proptest! {
    #[test]
    fn every_shed_is_in_one_total_and_every_spell_has_one_end(
        steps in prop::collection::vec((0..3u8, 1..200u32, 0..3u64), 1..60)
    ) {
        let (mut night, mut shed) = (Night::falls(), 0);
        for (who, looks, count) in steps {
            let upstream = ["a", "b", "c"][usize::from(who)];
            night.goes_on(looks, &[(upstream, Reason::Ramp, count)]);
            shed += count * u64::from(looks);
        }
        night.goes_on(500, &[]);
        let of = |what: Spell| night.told.iter().filter(move |told| told.what == what);
        prop_assert_eq!(of(Spell::Ended).map(|told| told.total).sum::<u64>(), shed);
        prop_assert_eq!(night.told.iter().map(|told| told.count).sum::<u64>(), shed);
        prop_assert_eq!(of(Spell::Began).count(), of(Spell::Ended).count());
        prop_assert!(of(Spell::Lasts).all(|told| told.count > 0 && told.told_seconds >= SUM.as_secs()));
    }
}
