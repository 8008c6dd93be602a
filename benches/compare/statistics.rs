//! The little statistics that a comparison needs: medians, spreads, quantiles, ratios. Rounds are few and the
//! machine is shared, so nothing here assumes a distribution.

/// What several rounds of one measurement say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of these samples; `None` if there are none, or one is no number.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let median = median(samples)?;
        let (least, most) =
            (samples.iter().copied().reduce(f64::min)?, samples.iter().copied().reduce(f64::max)?);
        Some(Spread { median, least, most })
    }
}

/// The middle, or the mean of the two in the middle.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    let upper = sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { (upper + sorted[sorted.len() / 2 - 1]) / 2.0 } else { *upper })
}

/// The smallest sample that this share (0 to 1) of all does not exceed.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// How many times `other` this is, by medians. Differences that came out negative are noise, and have no multiple.
pub fn ratio(this: &[f64], other: &[f64]) -> Option<f64> {
    let (this, other) = (median(this)?, median(other)?);
    (this >= 0.0 && other > 0.0).then_some(this / other)
}

/// Three significant digits, and no more than a reader needs.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => grouped(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_samples() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&samples, 0.5), Some(50.0));
        assert_eq!(quantile(&samples, 0.99), Some(99.0));
        assert_eq!(quantile(&samples, 0.999), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.0), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn ratios_compare_medians() {
        assert_eq!(ratio(&[2.0, 4.0, 3.0], &[6.0]), Some(0.5));
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[-1.0], &[2.0]), None);
        assert_eq!(ratio(&[1.0], &[-2.0]), None);
        assert_eq!(ratio(&[], &[1.0]), None);
    }

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        let numbers = [1_234_567.8, 487.4, 17.54, 0.904, 0.0, 0.0042].map(number);
        assert_eq!(numbers, ["1,234,568", "487", "17.5", "0.90", "0.00", "0.004"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_median_lies_within_the_spread(samples in prop::collection::vec(-1e6..1e6f64, 1..20)) {
            let spread = Spread::of(&samples).expect("there are samples");
            prop_assert!(spread.least <= spread.median && spread.median <= spread.most);
        }
    }
}
