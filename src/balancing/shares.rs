//! What ramps leave to each backend of an upstream: how many in flight, how often it is drawn, how many a second
//! (`design.md`, "Ramps"; `overload.md` 2(vii)).
//!
//! Absolute: a backend at 25 % may hold a quarter of its reference, which is what it held when it was well, so a
//! whole fleet at 25 % holds a quarter together; a weight among peers alone would change nothing then. All ramped
//! backends together hold at most the rounded-up sum of their shares, or at small numbers rounding each of them up
//! would leave no ramp at all. Neighbours that are not ramped take twice their reference at most, where that is
//! more than a handful: a reference is a mean, and below a handful it says nothing about what comes at once.
//!
//! Pure arithmetic over plain values. What holds the count is the place at a backend; which backends can be
//! reached at all is known when one is picked.

use std::time::Instant;

/// Millionths of a request, so that sums of shares are exact and rounding up does not follow floating error.
const MICRO: f64 = 1e6;
/// Weights are drawn in hundredths while something is ramped, or a light backend could not be at 1 %.
const WEIGHT_SCALE: u32 = 100;
/// What a warm neighbour may hold of a ramped backend's work, relative to its own reference.
const NEIGHBOUR: f64 = 2.0;
/// A warm neighbour is not held below this many in flight, or draining one of two backends of a quiet service would
/// refuse the second of two requests that come together.
const NEIGHBOUR_LEAST: f64 = 8.0;
/// Nor below this part of its cap while its reference is a guess from a few seconds.
const NEIGHBOUR_GUESS: f64 = 0.5;

/// One backend as a ramp sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The effective ramp, 0 to 100; 0 is drained, 100 is warm.
    pub percent: f64,
    /// In flight when it was well.
    pub reference: f64,
    /// The reference was learned from minutes, or given; else it is a guess.
    pub settled: bool,
    /// Requests a second when it was well, if that is known.
    pub rate: Option<f64>,
    /// In flight at most, as configured.
    pub cap: u32,
    /// Its configured weight.
    pub weight: u32,
    /// Whether it is among those that take requests at all.
    pub presence: Presence,
    /// The percentage of its reference that it would begin with when it comes back: nobody is there now, so this is no
    /// ramp yet, but until it is noticed that it is back, it must not get all that its cap allows.
    pub away: Option<f64>,
}

/// Whether a backend is among those that take requests, as far as health and ejection decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    #[default]
    In,
    /// It is out, but so are too many others: one request at a time finds out whether it is back.
    Probe,
    /// It is not.
    Out,
}

/// What one backend may carry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// In flight at most; 0 while it is drained.
    pub cap: u32,
    /// How often it is drawn, relative to its peers.
    pub weight: u32,
    /// Health or ejection keeps it out: it has no cap, and that is not a ramp's doing.
    pub out: bool,
    /// It takes one request at a time, to find out whether it is well again.
    pub probe: bool,
    /// Set while it is ramped.
    pub ramped: Option<Ramped>,
}

/// What only a ramped backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramped {
    /// Its part of the sum that all ramped backends may hold, in millionths of a request.
    pub quota_micro: u64,
    /// Nanoseconds between two requests, if its rate is bound.
    pub interval_ns: Option<u64>,
}

/// What every backend of an upstream may carry now, in the order of the backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Each backend's.
    pub of: Box<[Share]>,
    /// What the upstream may hold; nothing while no backend is ramped.
    pub total: Option<u32>,
    /// When the ramp eases next, if that is known.
    pub eases_at: Option<Instant>,
    /// The whole fleet came back and is below half: classes below `default` stay out, as far as there are higher ones.
    pub low_classes_out: bool,
}

impl Shares {
    /// The shares of backends that stand so.
    pub fn of(standings: &[Standing], eases_at: Option<Instant>) -> Self {
        let any = standings.iter().any(|standing| standing.percent < 100.0);
        let of: Box<[Share]> = standings.iter().map(|standing| share(standing, any)).collect();
        let total = any.then(|| {
            let ramped = whole(of.iter().filter_map(|share| share.ramped).map(|ramped| ramped.quota_micro));
            let warm = of.iter().filter(|share| share.ramped.is_none()).map(|share| share.cap);
            warm.fold(ramped, u32::saturating_add)
        });
        Shares { of, total, eases_at: eases_at.filter(|_| any), low_classes_out: false }
    }

    /// Something is ramped or drained.
    pub fn are_bound(&self) -> bool {
        self.total.is_some()
    }
}

/// Requests, from millionths, rounded up once.
pub fn whole(parts: impl Iterator<Item = u64>) -> u32 {
    let micro = parts.fold(0, u64::saturating_add);
    u32::try_from(micro.div_ceil(MICRO as u64)).unwrap_or(u32::MAX)
}

fn share(standing: &Standing, any: bool) -> Share {
    let Standing { percent, reference, settled, rate, cap, weight, presence, away } = *standing;
    let cap = away.map_or(cap, |percent| at_most((percent / 100.0 * reference).ceil().max(1.0), cap));
    let probe = presence == Presence::Probe;
    let cap = if probe { cap.min(1) } else { cap };
    if presence == Presence::Out {
        return Share { cap: 0, weight: 0, out: true, probe, ramped: None };
    }
    if !any {
        return Share { cap, weight, out: false, probe, ramped: None };
    }
    if percent <= 0.0 {
        return Share { cap: 0, weight: 0, out: false, probe, ramped: None };
    }
    if percent >= 100.0 {
        let guess = if settled { 0.0 } else { NEIGHBOUR_GUESS * f64::from(cap) };
        let most = (NEIGHBOUR * reference).ceil().max(NEIGHBOUR_LEAST).max(guess);
        return Share {
            cap: at_most(most, cap),
            weight: weight.saturating_mul(WEIGHT_SCALE),
            out: false,
            probe,
            ramped: None,
        };
    }
    let part = percent / 100.0;
    let quota = (part * reference).min(f64::from(cap)).max(0.0);
    // Saturates; a rate of nothing is no rate.
    let interval = rate.filter(|rate| *rate > 0.0).map(|rate| (1e9 / (part * rate)) as u64);
    let quota_micro = ((quota * MICRO).round() as u64).max(1);
    Share {
        cap: whole([quota_micro].into_iter()).min(cap).max(1),
        weight: ((f64::from(weight) * percent / 100.0 * f64::from(WEIGHT_SCALE)).round() as u32).max(1),
        out: false,
        probe,
        ramped: Some(Ramped { quota_micro, interval_ns: interval }),
    }
}

fn at_most(value: f64, cap: u32) -> u32 {
    (value as u32).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn standing(percent: f64, reference: f64) -> Standing {
        Standing {
            percent,
            reference,
            settled: true,
            rate: None,
            cap: 1_000,
            weight: 100,
            presence: Presence::In,
            away: None,
        }
    }

    #[test]
    fn a_quarter_means_a_quarter_at_4_in_flight_as_at_400() {
        for (reference, one, all) in [(1.0, 1, 1), (4.0, 1, 4), (100.0, 25, 100)] {
            let alone =
                Shares::of(&[25.0, 100.0, 100.0, 100.0].map(|percent| standing(percent, reference)), None);
            assert_eq!(alone.of[0].cap, one, "{reference}");
            assert_eq!(alone.of[1].cap, ((2.0 * reference) as u32).max(8));
            let fleet = Shares::of(&[standing(25.0, reference); 4], None);
            assert_eq!(fleet.total, Some(all), "{reference}");
        }
    }

    #[test]
    fn rounding_up_follows_the_sum_and_not_floating_error() {
        // 0.1 × 30 is 3.0000000000000004 in floating point.
        assert_eq!(Shares::of(&[standing(10.0, 30.0)], None).of[0].cap, 3);
        assert_eq!(Shares::of(&[standing(10.0, 1.0); 10], None).total, Some(1));
    }

    #[test]
    fn without_a_ramp_everything_is_as_configured() {
        let shares = Shares::of(&[standing(100.0, 1.0); 2], Some(Instant::now()));
        assert_eq!(shares.of[0], Share { cap: 1_000, weight: 100, out: false, probe: false, ramped: None });
        assert!(!shares.are_bound() && shares.eases_at.is_none());
    }

    #[test]
    fn a_neighbour_of_a_quiet_service_keeps_room_for_what_comes_together() {
        let two = |settled| {
            let standing = |percent| Standing { settled, ..standing(percent, 0.3) };
            Shares::of(&[standing(0.0), standing(100.0)], None).of[1].cap
        };
        assert_eq!((two(true), two(false)), (8, 500));
    }

    #[test]
    fn who_is_out_has_no_room_and_who_is_tried_has_room_for_one() {
        let with = |presence| Shares::of(&[Standing { presence, ..standing(100.0, 10.0) }], None);
        assert_eq!((with(Presence::Out).of[0].cap, with(Presence::Out).of[0].out), (0, true));
        assert_eq!((with(Presence::Probe).of[0].cap, with(Presence::Probe).of[0].out), (1, false));
        // It is no ramp: nobody else is held to anything.
        assert!(!with(Presence::Out).are_bound());
    }

    #[test]
    fn who_is_away_is_held_to_its_first_step_and_holds_nobody_else() {
        let away = Standing { away: Some(25.0), ..standing(100.0, 36.0) };
        let shares = Shares::of(&[away, standing(100.0, 36.0)], None);
        assert_eq!((shares.of[0].cap, shares.of[1].cap), (9, 1_000));
        assert!(!shares.are_bound());
    }

    #[test]
    fn a_drained_backend_gets_nothing_and_its_neighbour_no_more_than_twice() {
        let shares = Shares::of(&[standing(0.0, 10.0), standing(100.0, 10.0)], None);
        assert_eq!((shares.of[0].cap, shares.of[0].weight), (0, 0));
        assert_eq!((shares.of[1].cap, shares.total), (20, Some(20)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_share_is_above_its_part_rounded_up_or_its_cap(
            standings in prop::collection::vec(
                (0.0_f64..=100.0, 0.0_f64..500.0, prop::option::of(0.0_f64..1e5), 1_u32..400, 1_u32..10_000),
                1..12,
            ),
        ) {
            let standings: Vec<_> = standings
                .into_iter()
                .map(|(percent, reference, rate, cap, weight)| Standing {
                    percent,
                    reference,
                    settled: true,
                    rate,
                    cap,
                    weight,
                    presence: Presence::In,
                    away: None,
                })
                .collect();
            let shares = Shares::of(&standings, None);
            let mut parts = 0.0;
            for (standing, share) in standings.iter().zip(&shares.of) {
                prop_assert!(share.cap <= standing.cap);
                prop_assert_eq!(share.cap == 0, standing.percent <= 0.0);
                if share.ramped.is_some() {
                    let part = standing.percent / 100.0 * standing.reference;
                    prop_assert!(f64::from(share.cap) <= part.ceil().max(1.0));
                    parts += part;
                }
            }
            let ramped = whole(shares.of.iter().filter_map(|share| share.ramped).map(|it| it.quota_micro));
            prop_assert!(f64::from(ramped) <= (parts + 1e-4).ceil().max(1.0));
        }

        #[test]
        fn a_higher_ramp_never_leaves_less(low in 0.1_f64..99.0, more in 0.0_f64..1.0, reference in 0.0_f64..300.0) {
            let high = (low + more * (99.9 - low)).max(low);
            let share = |percent| Shares::of(&[standing(percent, reference)], None).of[0];
            prop_assert!(share(high).cap >= share(low).cap);
            prop_assert!(share(high).weight >= share(low).weight);
        }
    }
}
