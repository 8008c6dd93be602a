//! The bars that this project set itself, and how far a run is from them. A bar whose measures were not taken in
//! the run is said to be unknown, never reached.

use crate::results::Results;
use crate::statistics::number;

const US: &str = "tidegate";

/// What a run says about one bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub bar: String,
    /// Not more than this, or not less than it.
    pub wanted: String,
    /// What was measured.
    pub found: String,
    /// `None` if it was not measured.
    pub reached: Option<bool>,
}

/// Against whom a bar compares.
enum Against {
    /// The better of these, in the same run.
    Best(&'static [&'static str]),
    /// A number in the measure's own unit.
    Fixed,
}

/// One bar: a measure of ours and what it is held against.
struct Bar {
    text: &'static str,
    measure: &'static str,
    against: Against,
    limit: f64,
    /// More is better: the limit is the least.
    at_least: bool,
}

const fn ratio(text: &'static str, measure: &'static str, peers: &'static [&'static str], limit: f64) -> Bar {
    Bar { text, measure, against: Against::Best(peers), limit, at_least: false }
}

const fn fixed(text: &'static str, measure: &'static str, limit: f64) -> Bar {
    Bar { text, measure, against: Against::Fixed, limit, at_least: false }
}

const BARS: [Bar; 14] = [
    ratio("CPU of a small HTTP/1.1 request", "small.cpu", &["nginx", "haproxy"], 1.0),
    ratio("CPU of a small HTTP/1.1 request", "small.cpu", &["relay"], 1.5),
    ratio("CPU of a small HTTP/1.1 request", "small.cpu", &["envoy"], 0.3),
    ratio("CPU of an h2c request", "h2c.cpu", &["haproxy"], 1.05),
    ratio("CPU of a 1 MiB answer", "1m.cpu", &["nginx", "haproxy", "envoy", "caddy"], 0.6),
    fixed("Memory of an idle cleartext connection", "idle.http1", 4.0),
    Bar {
        text: "Full TLS 1.3 handshakes a second and core",
        measure: "tls-full.core",
        against: Against::Best(&["nginx"]),
        limit: 1.0,
        at_least: true,
    },
    ratio("Added latency at half of its load, p50", "latency.50.p50", &["haproxy"], 1.0),
    ratio("Added latency at half of its load, p99", "latency.50.p99", &["haproxy"], 1.0),
    ratio("Latency at 8,000 a second, p50", "latency.at.8000.p50", &["haproxy"], 1.0),
    ratio("Latency at 8,000 a second, p99", "latency.at.8000.p99", &["haproxy"], 1.0),
    fixed("Swap of 1,000 routes, failed requests", "swap.1000.failed", 0.0),
    fixed("Swap of 1,000 routes, until the new version answers", "swap.1000.time", 100.0),
    ratio("Swap of 1,000 routes, p99 during it against before", "swap.1000.p99", &["tidegate"], 1.1),
];

/// All bars, in their order.
pub fn verdicts(results: &Results) -> Vec<Verdict> {
    BARS.iter().map(|bar| verdict(results, bar)).chain(overload(results)).collect()
}

/// Those of the overload experiments, as these judged them.
fn overload(results: &Results) -> impl Iterator<Item = Verdict> {
    let ours = results.overload.iter().filter(|outcome| outcome.contender == US);
    let checks = ours.flat_map(|outcome| outcome.checks.iter().map(move |check| (outcome, check)));
    checks.map(|(outcome, check)| Verdict {
        bar: format!("{}, {}: {}", outcome.experiment, outcome.title, check.what),
        wanted: number(check.bar),
        found: if check.seen == f64::MAX { "never".to_owned() } else { number(check.seen) },
        reached: Some(check.reached),
    })
}

fn verdict(results: &Results, bar: &Bar) -> Verdict {
    let sign = if bar.at_least { "≥" } else { "≤" };
    let (wanted, value, found) = match bar.against {
        // Before and during are two measures of our own.
        Against::Best([US]) => {
            let before = results.measure(&format!("{}.before", bar.measure)).and_then(|m| m.median(US));
            let during = results.measure(bar.measure).and_then(|m| m.median(US));
            let value = before.zip(during).map(|(before, during)| during / before);
            (format!("{sign} {} × before", bar.limit), value, value.map(number))
        }
        Against::Best(peers) => {
            let measure = results.measure(bar.measure);
            let best = measure.and_then(|measure| match bar.at_least {
                true => peers.first().copied(),
                false => measure.least(peers),
            });
            let value = measure.zip(best).and_then(|(measure, best)| measure.ratio(US, best));
            let found = value.zip(best).map(|(value, best)| format!("{} × {best}", number(value)));
            let whose =
                if let [one] = peers { (*one).to_owned() } else { format!("best of {}", peers.join(", ")) };
            (format!("{sign} {} × {whose}", bar.limit), value, found)
        }
        Against::Fixed => {
            let measure = results.measure(bar.measure);
            let value = measure.and_then(|measure| measure.median(US));
            let unit = measure.map(|measure| measure.unit.as_str()).unwrap_or_default();
            let found = value.map(|value| format!("{} {unit}", number(value)));
            (format!("{sign} {} {unit}", bar.limit), value, found)
        }
    };
    let reached = value.map(|value| if bar.at_least { value >= bar.limit } else { value <= bar.limit });
    let found = found.unwrap_or_else(|| "not measured in this run".to_owned());
    Verdict { bar: bar.text.to_owned(), wanted: wanted.trim().to_owned(), found, reached }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn with(samples: &[(&str, &str, f64)]) -> Results {
        let mut results = Results::default();
        for (id, peer, sample) in samples {
            results.section("x", "X", "").measure(id, id, "KiB").add(peer, *sample);
        }
        results
    }

    fn reached(results: &Results, wanted: &str) -> Option<bool> {
        let verdicts = verdicts(results);
        verdicts.iter().find(|verdict| verdict.wanted == wanted).expect("there is such a bar").reached
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let none = with(&[]);
        assert!(verdicts(&none).iter().all(|verdict| verdict.reached.is_none()));
        let ours_alone = with(&[("small.cpu", "tidegate", 10.0)]);
        assert!(verdicts(&ours_alone).iter().all(|verdict| verdict.reached.is_none()));
    }

    #[test]
    fn the_better_of_two_is_what_counts() {
        let measured = [("small.cpu", "nginx", 12.0), ("small.cpu", "haproxy", 10.0)];
        let slower = with(&[&measured[..], &[("small.cpu", "tidegate", 11.0)]].concat());
        assert_eq!(reached(&slower, "≤ 1 × best of nginx, haproxy"), Some(false));
        let faster = with(&[&measured[..], &[("small.cpu", "tidegate", 9.0)]].concat());
        assert_eq!(reached(&faster, "≤ 1 × best of nginx, haproxy"), Some(true));
    }

    #[test]
    fn more_handshakes_are_better_and_less_memory_is() {
        let more = with(&[("tls-full.core", "nginx", 100.0), ("tls-full.core", "tidegate", 150.0)]);
        assert_eq!(reached(&more, "≥ 1 × nginx"), Some(true));
        assert_eq!(reached(&with(&[("idle.http1", "tidegate", 4.5)]), "≤ 4 KiB"), Some(false));
    }
}
