//! What a ramp will shed, before and while it does: what is asked of an upstream against what its shares leave.
//!
//! An estimate from the last seconds, for the person who is about to move a lever. By Little's law what would be
//! in flight is what is, times what was asked per what was let in; both bounds of a ramp are compared. What comes
//! together finds no room though on average there is some, and what a ramp refuses does not wait: that is Erlang's
//! loss system. While the very same ramp acts, it sheds at least what it is seen to shed.

use crate::balancing::shares::Shares;
use serde::{Deserialize, Serialize};

/// Of a new second against those before: about ten seconds of memory.
const NEWS: f64 = 0.2;
/// With more room than this, what comes together is no more than 1.3 % of it: the average is enough.
const MAX_ROOM: u32 = 4_096;

/// What an upstream is asked for, averaged over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    in_flight: f64,
    ended: f64,
    shed: f64,
    known: bool,
    ramped: Ramped,
}

/// One second of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lived {
    /// In flight, on average.
    pub in_flight: f64,
    /// Requests that ended.
    pub ended: f64,
    /// Requests that were shed, for whatever reason.
    pub shed: f64,
    /// Of these, for the ramp.
    pub by_ramp: f64,
}

/// What the ramp that acts is seen to shed; it begins anew with each other one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ramped {
    bounds: Bounds,
    asked: f64,
    shed: f64,
    known: bool,
}

/// What a ramp comes to: in flight, and a second. Two with the same are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bounds {
    total: Option<u32>,
    rate: Option<f64>,
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
    /// Of these, about the percentage that will be shed for the ramp.
    pub shed_percent: f64,
}

impl Demand {
    /// Lives through one second, at whose end these shares acted.
    pub fn live(&mut self, lived: Lived, shares: &Shares) {
        let Lived { in_flight, ended, shed, by_ramp } = lived;
        let mix = mixed(self.known);
        *self = Demand {
            in_flight: mix(self.in_flight, in_flight),
            ended: mix(self.ended, ended),
            shed: mix(self.shed, shed),
            known: true,
            ramped: self.ramped.live(ended + shed, by_ramp, Bounds::of(shares)),
        };
    }

    fn offered(&self) -> f64 {
        self.ended + self.shed
    }

    /// In flight, had nothing been shed.
    fn wanted(&self) -> f64 {
        if self.ended > 0.0 { self.in_flight * self.offered() / self.ended } else { self.in_flight }
    }

    /// Which part these shares were seen to shed, if it is they that act; else nothing is known of them.
    fn seen(&self, shares: &Shares) -> f64 {
        let Ramped { bounds, asked, shed, .. } = self.ramped;
        if bounds == Bounds::of(shares) && asked > 0.0 { (shed / asked).min(1.0) } else { 0.0 }
    }
}

impl Ramped {
    /// The second in which a ramp began was partly another's: it does not count.
    fn live(self, asked: f64, shed: f64, bounds: Bounds) -> Self {
        if self.bounds != bounds {
            return Ramped { bounds, ..Ramped::default() };
        }
        let mix = mixed(self.known);
        Ramped { bounds, asked: mix(self.asked, asked), shed: mix(self.shed, shed), known: true }
    }
}

impl Bounds {
    fn of(shares: &Shares) -> Self {
        Bounds { total: shares.total, rate: rate_of(shares) }
    }
}

/// How what is new goes into what is known.
fn mixed(known: bool) -> impl Fn(f64, f64) -> f64 {
    let news = if known { NEWS } else { 1.0 };
    move |old, new| old + news * (new - old)
}

/// What these shares will shed of this demand; a limit that acts leaves no more than itself of them.
pub fn forecast(demand: &Demand, shares: &Shares, limit: Option<u32>) -> Forecast {
    let wanted = demand.wanted();
    let room = shares.total.map(|total| limit.map_or(total, |limit| total.min(limit)));
    let shed = match room {
        None => 0.0,
        Some(0) => 1.0,
        Some(room) => lost(room, wanted)
            .max(rate_of(shares).map_or(0.0, |rate| missing(rate, demand.offered())))
            .max(demand.seen(shares)),
    };
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    Forecast {
        demand_in_flight: tenths(wanted),
        room,
        offered_per_second: tenths(demand.offered()),
        shed_percent: tenths(100.0 * shed),
    }
}

/// Which part of what comes finds no room, where nothing waits: Erlang's loss formula (A. K. Erlang, 1917), by the
/// recursion in its number of servers (D. L. Jagerman, "Some properties of the Erlang loss function", Bell System
/// Technical Journal 53 (3), 1974).
fn lost(room: u32, wanted: f64) -> f64 {
    if room > MAX_ROOM {
        return missing(f64::from(room), wanted);
    }
    (1..=room).fold(1.0, |lost, servers| wanted * lost / (f64::from(servers) + wanted * lost))
}

/// Which part of what is wanted does not fit, on average.
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
        let lived = Lived { in_flight, ended, shed, by_ramp: 0.0 };
        (0..60).for_each(|_| demand.live(lived, &fleet(100.0, None)));
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

    /// Not less than the average says, and a little more.
    fn is_about(forecast: Forecast, percent: f64) -> bool {
        (percent..percent + 3.0).contains(&forecast.shed_percent)
    }

    #[test]
    fn a_fleet_at_25_percent_sheds_three_of_four() {
        let forecast = forecast(&demand(40.0, 2_000.0, 0.0), &fleet(25.0, None), None);
        assert!(forecast.room == Some(10) && is_about(forecast, 75.0), "{forecast:?}");
    }

    #[test]
    fn while_it_sheds_the_forecast_stays_the_same() {
        let forecast = forecast(&demand(10.0, 500.0, 1_500.0), &fleet(25.0, None), None);
        assert!(forecast.demand_in_flight == 40.0 && is_about(forecast, 75.0), "{forecast:?}");
    }

    #[test]
    fn what_comes_together_is_shed_though_on_average_there_is_room() {
        // 0.7 in flight of 1: a lone server is lost for a / (1 + a).
        let forecast = |demand: &Demand| forecast(demand, &fleet(2.5, None), None);
        let told = forecast(&demand(0.7, 11.3, 0.0));
        assert_eq!((told.room, told.shed_percent), (Some(1), 41.2));
        // Erlang's tables: 10 servers lose 1 % of 4.46 erlangs, and 100 servers 1 % of 84.1.
        assert!((lost(10, 4.46) - 0.01).abs() < 1e-4 && (lost(100, 84.06) - 0.01).abs() < 1e-4);
        assert!(lost(MAX_ROOM, 100.0) < 1e-9 && lost(u32::MAX, 100.0) == 0.0 && lost(10, 0.0) == 0.0);
        assert!((lost(MAX_ROOM, 8_192.0) - lost(MAX_ROOM + 1, 8_192.0)).abs() < 0.01);
    }

    #[test]
    fn the_very_ramp_that_acts_sheds_at_least_what_it_is_seen_to_shed() {
        let mut demand = Demand::default();
        let lived = Lived { in_flight: 0.5, ended: 10.0, shed: 40.0, by_ramp: 30.0 };
        (0..60).for_each(|_| demand.live(lived, &fleet(25.0, None)));
        let told = |percent| forecast(&demand, &fleet(percent, None), None).shed_percent;
        assert_eq!((told(25.0), told(0.0)), (60.0, 100.0));
        assert!(told(50.0) < 1.0, "of another it says nothing: {}", told(50.0));
        demand.live(lived, &fleet(50.0, None));
        let told = |percent| forecast(&demand, &fleet(percent, None), None).shed_percent;
        assert!(told(50.0) < 1.0 && told(25.0) < 1.0, "half of that second was another's");
        demand.live(Lived { by_ramp: 5.0, ..lived }, &fleet(50.0, None));
        assert_eq!(forecast(&demand, &fleet(50.0, None), None).shed_percent, 10.0);
    }

    #[test]
    fn the_tighter_of_both_bounds_tells() {
        let forecast = forecast(&demand(4.0, 2_000.0, 0.0), &fleet(25.0, Some(500.0)), None);
        assert_eq!(forecast.shed_percent, 75.0);
    }

    #[test]
    fn a_limit_that_acts_leaves_less_than_the_ramp() {
        let forecast = |limit| forecast(&demand(40.0, 2_000.0, 0.0), &fleet(50.0, None), Some(limit));
        assert!(forecast(64).room == Some(20) && is_about(forecast(64), 50.0), "{:?}", forecast(64));
        assert!(forecast(4).room == Some(4) && is_about(forecast(4), 90.0), "{:?}", forecast(4));
    }

    #[test]
    fn nothing_is_shed_without_a_ramp_or_demand_and_everything_of_a_drained_fleet() {
        assert_eq!(forecast(&demand(40.0, 2_000.0, 0.0), &fleet(100.0, None), None).shed_percent, 0.0);
        assert_eq!(forecast(&Demand::default(), &fleet(25.0, None), None).shed_percent, 0.0);
        assert_eq!(forecast(&demand(1.0, 50.0, 0.0), &fleet(0.0, None), None).shed_percent, 100.0);
    }
}
