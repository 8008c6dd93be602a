//! Durations, sizes and percentages as people write them.
//!
//! A number without its unit is refused where a unit could be mistaken (`5` seconds or milliseconds?). Errors
//! say what is wrong with the text, never the text itself: it may have been filled from a secret.

use std::time::Duration;

/// Units of time, longest first, in nanoseconds.
const TIME: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of size, in bytes.
const SIZE: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads `250ms`, `5s`, `1.5s`, `10m` or `1h30m`.
///
/// # Errors
/// A sentence about the unit or the number that cannot be read.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = part(rest)?;
        let Some((_, nanos)) = TIME.iter().find(|(name, _)| *name == unit) else {
            return Err("its unit is unknown; known are ms, s, m, h and d".into());
        };
        total = total.saturating_add(scaled(number, *nanos)?);
        rest = after;
    }
    match u64::try_from(total) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => Err("it is longer than five hundred years".into()),
    }
}

/// Reads `512`, `64KiB`, `10MiB`, `1.5GiB` or `10MB`: bytes.
///
/// # Errors
/// A sentence about the unit or the number that cannot be read.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(bytes) = text.parse::<u64>() {
        return Ok(bytes);
    }
    let (number, unit, rest) = part(text)?;
    let known = SIZE.iter().find(|(name, _)| *name == unit);
    match known {
        Some((_, bytes)) if rest.is_empty() => {
            u64::try_from(scaled(number, u128::from(*bytes))?).map_err(|_| "it is too large".into())
        }
        Some(_) => Err("something follows the unit".into()),
        None => Err("its unit is unknown; known are B, KiB, MiB and GiB".into()),
    }
}

/// Reads `25%` or `0.5%` as 25.0 and 0.5.
///
/// # Errors
/// A sentence about the missing sign or the number that cannot be read.
pub fn percent(text: &str) -> Result<f64, String> {
    let Some(number) = text.trim().strip_suffix('%') else {
        return Err("it has no percent sign".into());
    };
    let number = number.trim_end();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("what stands before the percent sign is not a number".into());
    }
    number.parse().map_err(|_| "what stands before the percent sign is not a number".into())
}

/// Writes a share, 0 to 1, as people do: `25%`, `0.5%`.
pub fn as_percent(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// Splits off the first number and its unit.
fn part(text: &str) -> Result<(&str, &str, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err("it does not begin with a number".into());
    }
    let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    if unit.is_empty() {
        return Err("it has no unit".into());
    }
    Ok((number, unit.trim(), after.trim_start()))
}

/// `number` (digits, at most one point) times `unit`.
fn scaled(number: &str, unit: u128) -> Result<u128, String> {
    let bad = || String::from("the number cannot be read");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let mut value = u128::from(whole).saturating_mul(unit);
    if fraction.len() > 9 || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(bad());
    }
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().map_err(|_| bad())?;
        let power = fraction.bytes().fold(1u128, |power, _| power * 10);
        value = value.saturating_add(digits * unit / power);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("250ms", ms(250)),
            ("5s", ms(5_000)),
            ("1.5s", ms(1_500)),
            ("10m", ms(600_000)),
            ("1h30m", ms(5_400_000)),
            ("1h 30m", ms(5_400_000)),
            ("0s", ms(0)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for text in
            ["", "5", "s", "5 parsecs", "-5s", "5ss", "1..5s", "5s3", "99999999999999999999s", "9999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, expected) in
            [("512", 512), ("64KiB", 65_536), ("10MiB", 10 << 20), ("1.5KiB", 1_536), ("1 MB", 1_000_000)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "64Kib", "64 pages", "-1", "1KiB2", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_need_their_sign() {
        assert_eq!(percent("25%"), Ok(25.0));
        assert_eq!(percent("0.5 %"), Ok(0.5));
        for text in ["25", "%", "x%", "-1%", "inf%", "1e3%", "1.2.3%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_panics(text in "[0-9.]{0,25}[a-zA-Z% ]{0,4}[0-9.]{0,4}\\PC{0,3}") {
            let _ = (duration(&text), size(&text), percent(&text));
        }

        #[test]
        fn whole_milliseconds_survive(ms in 0u64..1_000_000_000) {
            prop_assert_eq!(duration(&format!("{ms}ms")), Ok(Duration::from_millis(ms)));
        }
    }
}
