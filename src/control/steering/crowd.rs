//! Which clients each ramped upstream serves: looks ten times a second at what is in flight, and once a second lets the
//! choice follow (`control::ramp::choice`).

use crate::control::ramp::choice::{Choice, Manner, Second, Standing};
use crate::request::cohort::Share;
use crate::routing::table::{Table, Upstream};
use crate::telemetry::events::CohortChosen;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At least; a thread that is late looks less often.
const SECOND: Duration = Duration::from_secs(1);
/// Between two tellings at least: at few clients the choice goes to and fro each second, which is no news.
const AGAIN: Duration = Duration::from_secs(30);

/// The choices of all upstreams that are ramped, or were a moment ago.
#[derive(Debug, Default)]
pub struct Crowd {
    of: HashMap<Arc<str>, One>,
    second_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct One {
    choice: Choice,
    told: Told,
    /// In flight of what may be, summed over the looks of the second.
    used: f64,
    looks: u32,
}

impl Crowd {
    /// Looks once; `day` counts from 1970.
    pub fn look(&mut self, table: &Table, now: Instant, day: i64) {
        let over = now.saturating_duration_since(*self.second_began.get_or_insert(now)) >= SECOND;
        if over {
            self.second_began = Some(now);
        }
        for upstream in &table.upstreams {
            match upstream.cluster.shares.load().total {
                Some(total) => {
                    let one = self.of.entry(upstream.name.clone()).or_default();
                    one.look(upstream, total, over.then_some(now), day);
                }
                None => self.ended(upstream),
            }
        }
        if over && self.of.len() > table.upstreams.len() {
            self.of.retain(|name, _| table.upstreams.iter().any(|upstream| upstream.name == *name));
        }
    }

    /// How an upstream chooses, if a ramp binds it.
    pub fn standing(&self, upstream: &str) -> Option<Standing> {
        self.of.get(upstream)?.choice.standing()
    }

    fn ended(&mut self, upstream: &Upstream) {
        let Some(mut one) = self.of.remove(&upstream.name) else { return };
        one.choice.end();
        upstream.shared.cohorts.set(Share::ALL, 0);
        if one.told.manner != Manner::Everyone {
            tell(upstream, None);
        }
    }
}

impl One {
    fn look(&mut self, upstream: &Upstream, total: u32, over: Option<Instant>, day: i64) {
        let room = total.min(upstream.gate.max_in_flight);
        self.used += f64::from(upstream.shared.line.in_flight.get()) / f64::from(room.max(1));
        self.looks += 1;
        let Some(now) = over else { return };
        let cohorts = &upstream.shared.cohorts;
        let used = self.used / f64::from(self.looks);
        (self.used, self.looks) = (0.0, 0);
        let second = Second { counted: cohorts.counted(), census: cohorts.take_census(), used, room };
        self.choice.live(second, u64::try_from(day).unwrap_or_default());
        let after = self.choice.standing();
        if let Some(standing) = after {
            cohorts.set(
                if standing.share < 1.0 { Share::of(standing.share) } else { Share::ALL },
                standing.occasion,
            );
        }
        if self.told.is_news(manner(after), now) {
            tell(upstream, after);
        }
    }
}

/// How people were told that clients are chosen, and when.
#[derive(Debug)]
struct Told {
    manner: Manner,
    at: Option<Instant>,
}

impl Default for Told {
    fn default() -> Self {
        Told { manner: Manner::Everyone, at: None }
    }
}

impl Told {
    /// Whether this is to be told now; the last word stands for a while.
    fn is_news(&mut self, manner: Manner, now: Instant) -> bool {
        let stands = self.at.is_some_and(|at| now.saturating_duration_since(at) < AGAIN);
        let news = manner != self.manner && !stands;
        if news {
            *self = Told { manner, at: Some(now) };
        }
        news
    }
}

fn manner(standing: Option<Standing>) -> Manner {
    standing.map_or(Manner::Everyone, |standing| standing.manner)
}

/// Clients are chosen otherwise.
fn tell(upstream: &Upstream, after: Option<Standing>) {
    let (share, clients) = after.map_or((1.0, 0.0), |standing| (standing.share, standing.clients));
    let manner = manner(after).as_str();
    CohortChosen { upstream: &upstream.name, manner, percent: 100.0 * share, clients }.emit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_goes_to_and_fro_is_told_twice_a_minute_at_most_and_its_last_word_is_told() {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut news = 0;
        for second in 0..120 {
            let manner = if second % 2 == 0 { Manner::Request } else { Manner::Everyone };
            news += u32::from(told.is_news(manner, start + SECOND * second));
        }
        assert!((2..=4).contains(&news), "{news}");
        let last = (120..160).filter(|second| told.is_news(Manner::Cohort, start + SECOND * *second)).count();
        assert_eq!((last, told.manner), (1, Manner::Cohort));
    }
}
