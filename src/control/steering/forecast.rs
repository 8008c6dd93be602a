//! What a ramp will shed, before and while it does: what is asked of an upstream against what its shares leave.
//!
//! An estimate from the last seconds, for the person who is about to move a lever. By Little's law what would be
//! in flight is what is, times what was asked per what was let in; both bounds of a ramp are compared.

use crate::balancing::shares::Shares;
use serde::{Deserialize, Serialize};

/// Of a new second against those before: about ten seconds of memory.
const NEWS: f64 = 0.2;

/// What an upstream is asked for, averaged over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    in_flight: f64,
    ended: f64,
    shed: f64,
    known: bool,
}

/// What will happen, if the demand stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// What would be in flight if nothing were shed.
    pub demand_in_flight: f64,
    /// What may be in flight; nothing when no ramp binds.
    pub room: Option<u32>,
    /// Requests asked for, a second.
    pub offered_per_second: f64,
    /// Of these, the percentage that will be shed for the ramp.
    pub shed_percent: f64,
}

impl Demand {
    /// Lives through one second: on average in flight, ended, and shed.
    pub fn live(&mut self, in_flight: f64, ended: f64, shed: f64) {
        let news = if self.known { NEWS } else { 1.0 };
        let mix = |old: f64, new: f64| old + news * (new - old);
        *self = Demand {
            in_flight: mix(self.in_flight, in_flight),
            ended: mix(self.ended, ended),
            shed: mix(self.shed, shed),
            known: true,
        };
    }

    fn offered(&self) -> f64 {
        self.ended + self.shed
    }

    /// In flight, had nothing been shed.
    fn wanted(&self) -> f64 {
        if self.ended > 0.0 { self.in_flight * self.offered() / self.ended } else { self.in_flight }
    }
}

/// What these shares will shed of this demand; a limit that acts leaves no more than itself of them.
pub fn forecast(demand: &Demand, shares: &Shares, limit: Option<u32>) -> Forecast {
    let wanted = demand.wanted();
    let room = shares.total.map(|total| limit.map_or(total, |limit| total.min(limit)));
    let shed = match room {
        None => 0.0,
        Some(0) => 1.0,
        Some(room) => missing(f64::from(room), wanted)
            .max(rate_of(shares).map_or(0.0, |rate| missing(rate, demand.offered()))),
    };
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    Forecast {
        demand_in_flight: tenths(wanted),
        room,
        offered_per_second: tenths(demand.offered()),
        shed_percent: tenths(100.0 * shed),
    }
}

/// Which part of what is wanted does not fit.
fn missing(room: f64, wanted: f64) -> f64 {
    if wanted > room { 1.0 - room / wanted } else { 0.0 }
}

/// The rate that all backends together are bound to; none if one of them has no bound.
fn rate_of(shares: &Shares) -> Option<f64> {
    let open = shares.of.iter().filter(|share| share.cap > 0);
    open.map(|share| share.ramped?.interval_ns.map(|interval| 1e9 / interval.max(1) as f64)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancing::shares::Presence;
    use crate::balancing::shares::Standing;

    fn demand(in_flight: f64, ended: f64, shed: f64) -> Demand {
        let mut demand = Demand::default();
        (0..60).for_each(|_| demand.live(in_flight, ended, shed));
        demand
    }

    fn fleet(percent: f64, rate: Option<f64>) -> Shares {
        let standing = Standing {
            percent,
            reference: 10.0,
            settled: true,
            rate,
            cap: 64,
            weight: 100,
            presence: Presence::In,
            away: None,
        };
        Shares::of(&[standing; 4], None)
    }

    #[test]
    fn a_fleet_at_25_percent_sheds_three_of_four() {
        let forecast = forecast(&demand(40.0, 2_000.0, 0.0), &fleet(25.0, None), None);
        assert_eq!((forecast.room, forecast.shed_percent), (Some(10), 75.0));
    }

    #[test]
    fn while_it_sheds_the_forecast_stays_the_same() {
        let forecast = forecast(&demand(10.0, 500.0, 1_500.0), &fleet(25.0, None), None);
        assert_eq!((forecast.demand_in_flight, forecast.shed_percent), (40.0, 75.0));
    }

    #[test]
    fn the_tighter_of_both_bounds_tells() {
        let forecast = forecast(&demand(4.0, 2_000.0, 0.0), &fleet(25.0, Some(500.0)), None);
        assert_eq!(forecast.shed_percent, 75.0);
    }

    #[test]
    fn a_limit_that_acts_leaves_less_than_the_ramp() {
        let forecast = |limit| forecast(&demand(40.0, 2_000.0, 0.0), &fleet(50.0, None), Some(limit));
        assert_eq!((forecast(64).room, forecast(64).shed_percent), (Some(20), 50.0));
        assert_eq!((forecast(4).room, forecast(4).shed_percent), (Some(4), 90.0));
    }

    #[test]
    fn nothing_is_shed_without_a_ramp_or_demand_and_everything_of_a_drained_fleet() {
        assert_eq!(forecast(&demand(40.0, 2_000.0, 0.0), &fleet(100.0, None), None).shed_percent, 0.0);
        assert_eq!(forecast(&Demand::default(), &fleet(25.0, None), None).shed_percent, 0.0);
        assert_eq!(forecast(&demand(1.0, 50.0, 0.0), &fleet(0.0, None), None).shed_percent, 100.0);
    }
}
