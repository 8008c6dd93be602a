//! How strongly what was counted speaks against "the candidate fails at most so much more than stable".
//!
//! A bet on the difference, in slices of time, whose odds in a fair game reach `1 / a` at any time ever with a
//! probability of at most `a` (Ville's inequality). So one may look as often as one likes, and stop at the first look
//! that convinces: the test of stratified counts by e-values (Turner and Grünwald, "Safe Sequential Testing and Effect
//! Estimation in Stratified Count Data", 2023; "e-detectors", Shin, Ramdas, Rinaldo, 2022, for its fresh starts).
//! Slices are compared within themselves, so failures that come and go and hit both sides, while the share of the
//! candidate grows, are no difference.
//!
//! The bet of a slice with stakes `g`: every failure of the candidate multiplies the odds by `1 + g`, every failure
//! of stable by `1 - r g`, where `r` is how many requests the candidate has for one of stable, and every request of
//! the candidate costs `e^-(g bar)`. With `c` and `s` requests and failure rates up to `p + bar` and `p` that is worth
//! at most `e^(c g (p + bar)) e^(-s r g p) e^(-c g bar) = 1`, whatever `p` is. It assumes that requests fail by
//! themselves: what fails by client or at once counts for more than it should (`tests/sim/rollout.rs` says how much).

use std::collections::VecDeque;

/// Stakes: small ones find small differences, large ones find large ones soon. The odds are the mean of all.
const STAKES: [f64; 4] = [0.25, 1.0, 4.0, 16.0];
/// Of what one can lose by one failure of stable, this part is put in at most.
const MOST_AT_RISK: f64 = 0.9;
/// Fresh starts that are remembered; the first and the newest.
const STARTS: usize = 8;

/// Both sides over a time in which the share of the candidate did not change much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// Requests of the candidate.
    pub candidate: u64,
    /// Its failures.
    pub candidate_failed: u64,
    /// Failures of the stable version.
    pub stable_failed: u64,
    /// Requests of the candidate for one of the stable version: as counted, or as the share says if that is more.
    /// 0: there is no stable version, and the bar is absolute.
    pub ratio: f64,
}

/// What has been counted in favour, and what the requests cost at a bar of 1; by stakes.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    gain: [f64; STAKES.len()],
    cost: [f64; STAKES.len()],
}

/// The bets of a route, or of all together.
#[derive(Clone, Debug)]
pub struct Evidence {
    sums: Sums,
    /// A change may have begun at each of these: what it is worth, and what had been counted by then.
    starts: VecDeque<(f64, Sums)>,
    started: u32,
}

impl Default for Evidence {
    fn default() -> Self {
        let mut new = Evidence { sums: Sums::default(), starts: VecDeque::new(), started: 0 };
        new.start();
        new
    }
}

impl Evidence {
    /// From here on it may be different: what spoke for the candidate before will not excuse it. Later starts are
    /// worth less, so that all together are worth 1.
    pub fn start(&mut self) {
        if self.starts.len() == STARTS {
            self.starts.remove(1);
        }
        let number = f64::from(self.started);
        self.starts.push_back((1.0 / ((number + 1.0) * (number + 2.0)), self.sums));
        self.started = self.started.saturating_add(1);
    }

    /// Counts a slice.
    pub fn take(&mut self, slice: &Slice) {
        for (at, stake) in STAKES.iter().enumerate() {
            let stake = if slice.ratio > 0.0 { stake.min(MOST_AT_RISK / slice.ratio) } else { *stake };
            self.sums.gain[at] += slice.candidate_failed as f64 * stake.ln_1p();
            self.sums.gain[at] += slice.stable_failed as f64 * (-slice.ratio * stake).ln_1p();
            self.sums.cost[at] += slice.candidate as f64 * stake;
        }
    }

    /// The odds against a difference of at most `bar`: beyond `1 / a` by chance with a probability of at most `a`.
    pub fn odds(&self, bar: f64) -> f64 {
        self.starts.iter().map(|(worth, since)| worth * self.odds_since(since, bar)).sum()
    }

    fn odds_since(&self, since: &Sums, bar: f64) -> f64 {
        let log = |at: usize| {
            let gain = self.sums.gain[at] - since.gain[at];
            gain - bar * (self.sums.cost[at] - since.cost[at])
        };
        (0..STAKES.len()).map(|at| log(at).exp()).sum::<f64>() / STAKES.len() as f64
    }

    /// The difference that is exceeded unless chance beat odds of `needed`; not below `bar`, which is.
    pub fn lower_bound(&self, needed: f64, bar: f64) -> f64 {
        let (mut low, mut high) = (bar, 1.0);
        for _ in 0..30 {
            let middle = f64::midpoint(low, high);
            if self.odds(middle) >= needed { low = middle } else { high = middle }
        }
        low
    }
}

/// The largest failure rate that these failures of so many requests are likely to come from: the upper 99 % bound
/// (Wilson's score, for rates as for counts).
pub fn upper_rate(failures: u64, requests: u64) -> f64 {
    let (middle, spread) = score(failures, requests);
    if requests == 0 { 1.0 } else { (middle + spread).min(1.0) }
}

/// The smallest: the lower 99 % bound.
pub fn lower_rate(failures: u64, requests: u64) -> f64 {
    let (middle, spread) = score(failures, requests);
    (middle - spread).max(0.0)
}

fn score(failures: u64, requests: u64) -> (f64, f64) {
    /// Of a normal number, exceeded once in a hundred times.
    const Z: f64 = 2.326;
    let (failures, all) = (failures as f64, (requests as f64).max(1.0));
    let part = failures / all;
    let middle = (part + Z * Z / (2.0 * all)) / (1.0 + Z * Z / all);
    let spread = Z * (part * (1.0 - part) / all + Z * Z / (4.0 * all * all)).sqrt() / (1.0 + Z * Z / all);
    (middle, spread)
}

/// The probability that all `own` requests of one side are among the `failed` of `all`, if who failed is chance.
/// Exact (hypergeometric); stops counting below one in a million.
pub fn all_by_chance(own: u64, failed: u64, all: u64) -> f64 {
    let mut chance = 1.0;
    for drawn in 0..own.min(all) {
        chance *= failed.saturating_sub(drawn) as f64 / (all - drawn) as f64;
        if chance < 1e-6 {
            break;
        }
    }
    chance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(candidate: (u64, u64), stable: (u64, u64)) -> Slice {
        Slice {
            candidate: candidate.0,
            candidate_failed: candidate.1,
            stable_failed: stable.1,
            ratio: candidate.0 as f64 / stable.0.max(1) as f64,
        }
    }

    /// The probability of so many failures.
    fn binomial(all: u64, failed: u64, rate: f64) -> f64 {
        let ways: f64 = (0..failed).map(|at| (all - at) as f64 / (at + 1) as f64).product();
        ways * rate.powi(failed as i32) * (1.0 - rate).powi((all - failed) as i32)
    }

    /// Summed over everything that can happen, a bet is worth at most what it costs.
    #[test]
    fn the_bet_is_fair_whatever_the_failure_rate() {
        let bar = 0.02;
        for (candidate, stable) in [(1, 19), (8, 8), (12, 3), (3, 30)] {
            for rate in [0.0, 0.001, 0.05, 0.3, 0.9, 0.98] {
                let mut worth = 0.0;
                for own in 0..=candidate {
                    for other in 0..=stable {
                        let mut evidence = Evidence::default();
                        evidence.take(&slice((candidate, own), (stable, other)));
                        // Half of it is kept for later starts.
                        worth += 2.0
                            * evidence.odds(bar)
                            * binomial(candidate, own, rate + bar)
                            * binomial(stable, other, rate);
                    }
                }
                assert!(worth <= 1.0 + 1e-9, "{candidate} beside {stable} at {rate}: {worth}");
            }
        }
    }

    #[test]
    fn failures_that_come_and_go_on_both_sides_while_the_share_grows_are_no_difference() {
        let mut evidence = Evidence::default();
        (0..50).for_each(|_| evidence.take(&slice((5, 0), (95, 0))));
        (0..50).for_each(|_| evidence.take(&slice((50, 15), (50, 15))));
        assert!(evidence.odds(0.01) < 1.0);
        // Added up first, 750 of 2,750 would stand beside 750 of 7,250.
        let mut added_up = Evidence::default();
        added_up.take(&slice((2_750, 750), (7_250, 750)));
        assert!(added_up.odds(0.01) > 1e6);
    }

    #[test]
    fn a_long_good_time_excuses_nothing_after_a_fresh_start() {
        let mut evidence = Evidence::default();
        evidence.take(&slice((100_000, 0), (100_000, 0)));
        let worse = |evidence: &mut Evidence| evidence.take(&slice((200, 40), (200, 0)));
        let mut stale = evidence.clone();
        worse(&mut stale);
        assert!(stale.odds(0.01) < 1.0);
        (0..30).for_each(|_| evidence.start());
        worse(&mut evidence);
        assert!(evidence.odds(0.01) > 1e4);
        assert_eq!(evidence.starts.len(), STARTS);
    }

    #[test]
    fn the_lower_bound_is_where_the_odds_fall_below_what_is_needed() {
        let mut evidence = Evidence::default();
        evidence.take(&slice((500, 100), (5_000, 100)));
        let bound = evidence.lower_bound(20_000.0, 0.01);
        assert!((0.08..0.12).contains(&bound), "{bound}");
        assert!(evidence.odds(bound - 1e-6) >= 20_000.0 && evidence.odds(bound + 1e-6) < 20_000.0);
    }

    #[test]
    fn bounds_of_a_rate_and_chances_of_a_draw_are_those_of_the_books() {
        assert!((upper_rate(0, 100) - 0.0513).abs() < 1e-3 && lower_rate(0, 100) < 1e-9);
        assert!((lower_rate(50, 100) - 0.387).abs() < 2e-3 && (upper_rate(50, 100) - 0.613).abs() < 2e-3);
        assert!(upper_rate(0, 0) > 0.99);
        assert!((all_by_chance(8, 8, 16) - 1.0 / 12_870.0).abs() < 1e-9);
        assert!((all_by_chance(2, 4, 4) - 1.0).abs() < 1e-9 && all_by_chance(3, 2, 9) < 1e-9);
    }
}
