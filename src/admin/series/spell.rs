//! Since when an upstream sheds, and for how long it has answered nothing. A pure core, told the time at each pulse.

use super::times::Quantile;
use std::time::{Duration, Instant};

/// Sheds that come again within this time are the same spell.
const QUIET: Duration = Duration::from_secs(10);
/// An upstream that answers nothing for less than this is not called silent.
const LEAST_SILENCE: Duration = Duration::from_secs(5);
/// Nor is one that takes that long, as often as this.
const PATIENCE: f64 = 2.0;

/// What goes on at one upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Spell {
    /// Since when it sheds, and until when.
    shedding: Option<(Instant, Instant)>,
    /// When it last answered, or had nothing to answer.
    heard: Option<Instant>,
    /// The p99 of the last pulse with answers, in seconds.
    usual: f64,
}

/// What happened between two pulses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between {
    pub before: Instant,
    pub now: Instant,
    /// Requests were shed.
    pub sheds: bool,
    /// A backend's answers ended.
    pub answers: bool,
    /// Something is in flight.
    pub busy: bool,
    pub p99: Option<Quantile>,
}

impl Spell {
    /// Takes in what happened.
    pub fn goes_on(&mut self, between: Between) {
        let Between { before, now, sheds, answers, busy, p99 } = between;
        let since = self.shedding.filter(|(_, last)| now.saturating_duration_since(*last) <= QUIET);
        self.shedding = match (sheds, since) {
            (true, since) => Some((since.map_or(before, |(since, _)| since), now)),
            (false, since) => since,
        };
        let heard = if answers || !busy { now } else { self.heard.unwrap_or(before) };
        self.heard = Some(heard);
        if let Some(p99) = p99.filter(|_| answers) {
            self.usual = p99.seconds;
        }
    }

    /// For how long it sheds; nothing if it does not at this pulse.
    pub fn shedding(&self, now: Instant) -> Option<Duration> {
        let (since, last) = self.shedding?;
        (last == now).then(|| now.saturating_duration_since(since))
    }

    /// For how long it answers nothing, though it holds requests and usually takes less.
    pub fn silent(&self, now: Instant) -> Option<Duration> {
        let usual = Duration::try_from_secs_f64(self.usual * PATIENCE).unwrap_or(LEAST_SILENCE);
        let silence = now.saturating_duration_since(self.heard?);
        (silence >= LEAST_SILENCE.max(usual)).then_some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A spell after a second of each of these: sheds, answers, busy, p99.
    fn after(seconds: &[(bool, bool, bool, Option<f64>)]) -> (Spell, Instant) {
        let (mut spell, mut now) = (Spell::default(), Instant::now());
        for (sheds, answers, busy, p99) in seconds {
            let before = now;
            now += Duration::from_secs(1);
            let p99 = p99.map(|seconds| Quantile { seconds, at_least: false });
            spell.goes_on(Between { before, now, sheds: *sheds, answers: *answers, busy: *busy, p99 });
        }
        (spell, now)
    }

    const WELL: (bool, bool, bool, Option<f64>) = (false, true, true, Some(0.01));
    const HUNG: (bool, bool, bool, Option<f64>) = (false, false, true, None);
    const IDLE: (bool, bool, bool, Option<f64>) = (false, false, false, None);
    const SHED: (bool, bool, bool, Option<f64>) = (true, true, true, Some(0.01));

    fn seconds(of: Option<Duration>) -> Option<u64> {
        of.map(|it| it.as_secs())
    }

    #[test]
    fn a_spell_of_sheds_outlives_a_pause_and_ends_after_a_long_one() {
        let (spell, now) = after(&[WELL, SHED, SHED, WELL, WELL, SHED]);
        assert_eq!(seconds(spell.shedding(now)), Some(5));
        let (spell, now) = after(&[SHED, WELL]);
        assert_eq!(spell.shedding(now), None, "it does not shed now");
        let mut long = vec![SHED];
        long.extend([WELL; 11]);
        long.push(SHED);
        let (spell, now) = after(&long);
        assert_eq!(seconds(spell.shedding(now)), Some(1), "another one");
    }

    #[test]
    fn an_upstream_is_silent_when_it_holds_requests_and_answers_none_for_long() {
        let silent = |seconds: &[_]| {
            let (spell, now) = after(seconds);
            self::seconds(spell.silent(now))
        };
        let hung = |before, for_seconds: usize| [vec![before], vec![HUNG; for_seconds]].concat();
        assert_eq!(silent(&hung(WELL, 4)), None);
        assert_eq!(silent(&hung(WELL, 6)), Some(6));
        assert_eq!(silent(&hung(IDLE, 6)), Some(6));
        assert_eq!(silent(&[hung(WELL, 6), vec![WELL]].concat()), None);
        assert_eq!(silent(&[IDLE; 60]), None, "nobody asks it anything");
        let slow = (false, true, true, Some(20.0));
        assert_eq!(silent(&hung(slow, 30)), None, "it always takes that long");
        assert_eq!(silent(&hung(slow, 41)), Some(41));
    }
}
