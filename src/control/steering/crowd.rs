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

/// The choices of all upstreams that are ramped, or were a moment ago.
#[derive(Debug, Default)]
pub struct Crowd {
    of: HashMap<Arc<str>, One>,
    second_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct One {
    choice: Choice,
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
                    self.of.entry(upstream.name.clone()).or_default().look(upstream, total, over, day)
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
        let before = one.choice.standing();
        one.choice.end();
        upstream.shared.cohorts.set(Share::ALL, 0);
        tell(upstream, before, None);
    }
}

impl One {
    fn look(&mut self, upstream: &Upstream, total: u32, over: bool, day: i64) {
        let room = total.min(upstream.gate.max_in_flight);
        self.used += f64::from(upstream.shared.line.in_flight.get()) / f64::from(room.max(1));
        self.looks += 1;
        if !over {
            return;
        }
        let cohorts = &upstream.shared.cohorts;
        let used = self.used / f64::from(self.looks);
        (self.used, self.looks) = (0.0, 0);
        let second = Second { counted: cohorts.counted(), census: cohorts.take_census(), used, room };
        let before = self.choice.standing();
        self.choice.live(second, u64::try_from(day).unwrap_or_default());
        let after = self.choice.standing();
        if let Some(standing) = after {
            cohorts.set(
                if standing.share < 1.0 { Share::of(standing.share) } else { Share::ALL },
                standing.occasion,
            );
        }
        tell(upstream, before, after);
    }
}

/// Tells when clients begin to be chosen otherwise.
fn tell(upstream: &Upstream, before: Option<Standing>, after: Option<Standing>) {
    let manner = |standing: Option<Standing>| standing.map_or(Manner::Everyone, |standing| standing.manner);
    if manner(before) != manner(after) {
        let (share, clients) = after.map_or((1.0, 0.0), |standing| (standing.share, standing.clients));
        CohortChosen {
            upstream: &upstream.name,
            manner: manner(after).as_str(),
            percent: 100.0 * share,
            clients,
        }
        .emit();
    }
}
