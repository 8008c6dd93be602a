//! From counts that only grow to rates: what came between two pulses. A pure core, told the time.
//!
//! Latencies are of whole exchanges, from the head of a request to the last byte of its answer, and as fine as the
//! buckets of `tidegate_request_duration_seconds`: within one, they are taken to be spread evenly. Refusals are fast and
//! would hide how slow the rest is, so as many of the fastest are left out.

use crate::control::observe::pulse::{Pulse, Sheds};
use crate::telemetry::cells::{BOUNDS, REQUEST_BOUNDS};
use crate::telemetry::metrics::{RouteCounted, Source};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What comes sooner after the pulse before is too short to say how often something happens.
const LEAST: Duration = Duration::from_millis(500);
/// The class of status of a server's failure.
const FAILED: usize = 4;

/// Remembers the last pulse.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    last: Option<Counts>,
    rates: Arc<Rates>,
}

#[derive(Clone, Debug)]
struct Counts {
    at: Instant,
    routes: HashMap<Arc<str>, RouteCounted>,
    sheds: HashMap<Arc<str>, Sheds>,
}

/// What happens, by the second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// In the process, what matched no route included; nothing before there were two pulses.
    pub process: Option<Flow>,
    /// By upstream.
    pub upstreams: HashMap<Arc<str>, UpstreamRates>,
}

/// Requests by the second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// That ended, shed ones included.
    pub requests: f64,
    /// That were shed.
    pub sheds: f64,
}

/// What happens at one upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamRates {
    /// Requests.
    pub flow: Flow,
    /// Half of the answers took no longer, in seconds; nothing without answers.
    pub p50: Option<f64>,
    /// 99 % of the answers took no longer, in seconds; nothing without answers.
    pub p99: Option<f64>,
    /// Sheds by class and reason, a second; the most first.
    pub sheds: Vec<(&'static str, &'static str, f64)>,
}

/// One upstream's news, while they are added up.
#[derive(Debug, Default)]
struct News {
    requests: u64,
    /// Answered by the gateway itself, below 500.
    own: u64,
    times: [u64; BOUNDS + 1],
}

impl Meter {
    /// Takes a pulse and tells the rates since the one before; those of before if that was only just now.
    pub fn take(&mut self, pulse: &Pulse, now: Instant) -> Arc<Rates> {
        let elapsed = self.last.as_ref().map(|last| now.saturating_duration_since(last.at));
        if elapsed.is_some_and(|elapsed| elapsed < LEAST) {
            return self.rates.clone();
        }
        self.rates = Arc::new(match (&self.last, elapsed) {
            (Some(last), Some(elapsed)) => rates(last, pulse, elapsed.as_secs_f64()),
            _ => Rates::default(),
        });
        let routes = pulse.routes.iter().map(|(name, route)| (name.clone(), route.counted.clone()));
        self.last = Some(Counts { at: now, routes: routes.collect(), sheds: pulse.sheds.clone() });
        self.rates.clone()
    }
}

fn rates(last: &Counts, pulse: &Pulse, seconds: f64) -> Rates {
    let mut news: HashMap<&Arc<str>, News> = HashMap::new();
    let mut all = 0;
    for (name, route) in &pulse.routes {
        let none = RouteCounted::default();
        // What was not there before was made since, and began at zero.
        let before = last.routes.get(name).unwrap_or(&none);
        let counted = &route.counted;
        let requests = total(counted).saturating_sub(total(before));
        all += requests;
        let Some(upstream) = &route.upstream else { continue };
        let news = news.entry(upstream).or_default();
        news.requests += requests;
        if !route.streaming {
            news.own += own(counted).saturating_sub(own(before));
            for (sum, (now, before)) in news.times.iter_mut().zip(counted.times.iter().zip(before.times)) {
                *sum += now.saturating_sub(before);
            }
        }
    }
    let sheds = |name: &Arc<str>| since(last.sheds.get(name), pulse.sheds.get(name));
    let refused: u64 = pulse.sheds.keys().map(|name| sheds(name).values().sum::<u64>()).sum();
    let upstreams = pulse.upstreams.iter().map(|upstream| {
        let news = news.remove(&upstream.name).unwrap_or_default();
        (upstream.name.clone(), news.rates(&sheds(&upstream.name), seconds))
    });
    let upstreams = upstreams.collect();
    let process = Flow { requests: all as f64 / seconds, sheds: refused as f64 / seconds };
    Rates { process: Some(process), upstreams }
}

/// Sheds between two pulses, of the kinds that happened.
fn since(before: Option<&Sheds>, now: Option<&Sheds>) -> Sheds {
    let new = |(kind, count): (&(_, _), &u64)| {
        let old = before.and_then(|before| before.get(kind)).copied().unwrap_or(0);
        Some((*kind, count.saturating_sub(old))).filter(|(_, count)| *count > 0)
    };
    now.into_iter().flatten().filter_map(new).collect()
}

fn total(counted: &RouteCounted) -> u64 {
    counted.requests.iter().flatten().sum()
}

fn own(counted: &RouteCounted) -> u64 {
    counted.requests[..FAILED].iter().map(|row| row[Source::Gateway as usize]).sum()
}

impl News {
    fn rates(mut self, sheds: &Sheds, seconds: f64) -> UpstreamRates {
        let refused: u64 = sheds.values().sum();
        let mut fast = refused + self.own;
        for bucket in &mut self.times {
            let taken = fast.min(*bucket);
            (*bucket, fast) = (*bucket - taken, fast - taken);
        }
        let mut kinds: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        for ((class, reason), count) in sheds {
            *kinds.entry((class.as_str(), reason.as_str())).or_default() += count;
        }
        let mut kinds: Vec<_> = kinds
            .into_iter()
            .map(|((class, reason), count)| (class, reason, count as f64 / seconds))
            .collect();
        kinds.sort_by(|a, b| b.2.total_cmp(&a.2));
        UpstreamRates {
            flow: Flow { requests: self.requests as f64 / seconds, sheds: refused as f64 / seconds },
            p50: quantile(&self.times, 0.5),
            p99: quantile(&self.times, 0.99),
            sheds: kinds,
        }
    }
}

/// The time, in seconds, within which this part of them were; what is beyond the last bound counts as that bound.
fn quantile(times: &[u64; BOUNDS + 1], part: f64) -> Option<f64> {
    let all: u64 = times.iter().sum();
    let rank = all as f64 * part;
    let mut below = 0;
    for (bucket, count) in times.iter().enumerate().filter(|(_, count)| **count > 0) {
        let reached = below + count;
        if reached as f64 >= rank {
            let bound = |bucket: usize| REQUEST_BOUNDS.get(bucket).or(REQUEST_BOUNDS.last()).copied();
            let upper = bound(bucket)? as f64 / 1e9;
            let lower = bucket.checked_sub(1).and_then(bound).unwrap_or(0) as f64 / 1e9;
            return Some(lower + (upper - lower) * (rank - below as f64) / *count as f64);
        }
        below = reached;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::observe::pulse::{RoutePulse, UpstreamPulse};
    use crate::reject::Reason;
    use crate::request::Class;

    const SHED: (Class, Reason) = (Class::Default, Reason::QueueFull);

    /// An upstream `u` behind a route `r` that has served so many with 200 in each of these buckets, and shed so many.
    fn pulse(buckets: &[(usize, u64)], shed: u64) -> Pulse {
        let mut counted = RouteCounted::default();
        for (bucket, count) in buckets {
            counted.times[*bucket] += count;
            counted.requests[1][Source::Backend as usize] += count;
        }
        counted.times[0] += shed;
        counted.requests[4][Source::Gateway as usize] += shed;
        let route = RoutePulse { upstream: Some("u".into()), streaming: false, counted };
        Pulse {
            upstreams: vec![UpstreamPulse { name: "u".into(), ..UpstreamPulse::default() }],
            routes: HashMap::from([("r".into(), route)]),
            sheds: HashMap::from([("u".into(), HashMap::from([(SHED, shed)]))]),
            ..Pulse::default()
        }
    }

    #[test]
    fn rates_are_what_came_between_two_pulses_by_the_second() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(*meter.take(&pulse(&[(3, 1_000)], 500), start), Rates::default(), "of nobody knows when");
        let rates = meter.take(&pulse(&[(3, 1_040)], 560), start + Duration::from_secs(2));
        assert_eq!(rates.process, Some(Flow { requests: 50.0, sheds: 30.0 }));
        let u = &rates.upstreams["u"];
        assert_eq!(u.flow, Flow { requests: 50.0, sheds: 30.0 });
        assert_eq!(u.sheds, [("default", "queue_full", 30.0)]);
    }

    #[test]
    fn refusals_do_not_hide_how_slow_the_answers_are() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.take(&pulse(&[], 0), start);
        // 100 answers between 250 and 500 ms, and a hundred times as many refused within a millisecond.
        let rates = meter.take(&pulse(&[(8, 100)], 10_000), start + Duration::from_secs(1));
        let u = &rates.upstreams["u"];
        assert_eq!((u.p50, u.p99), (Some(0.375), Some(0.4975)));
        let rates = meter.take(&pulse(&[(8, 100)], 10_000), start + Duration::from_secs(2));
        assert_eq!((rates.upstreams["u"].p50, rates.upstreams["u"].flow.requests), (None, 0.0));
    }

    #[test]
    fn long_exchanges_of_streaming_routes_are_no_latency_and_what_is_slower_than_all_is_as_slow() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut streams = pulse(&[(BOUNDS, 100)], 0);
        streams.routes.get_mut("r").expect("it is there").streaming = true;
        meter.take(&pulse(&[], 0), start);
        let rates = meter.take(&streams, start + Duration::from_secs(1));
        assert_eq!((rates.upstreams["u"].p99, rates.upstreams["u"].flow.requests), (None, 100.0));
        let rates = meter.take(&pulse(&[(BOUNDS, 200)], 0), start + Duration::from_secs(2));
        assert_eq!(rates.upstreams["u"].p99, Some(30.0));
    }

    #[test]
    fn a_moment_later_nothing_is_guessed_and_a_route_that_is_gone_takes_nothing_back() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.take(&pulse(&[(3, 10)], 0), start);
        let before = meter.take(&pulse(&[(3, 20)], 0), start + Duration::from_secs(1));
        let soon = meter.take(&pulse(&[(3, 25)], 0), start + Duration::from_millis(1_100));
        assert_eq!(before, soon);
        let gone = Pulse { routes: HashMap::new(), ..pulse(&[], 0) };
        let rates = meter.take(&gone, start + Duration::from_secs(2));
        assert_eq!(rates.process.map(|flow| flow.requests), Some(0.0));
        let back = meter.take(&pulse(&[(3, 7)], 0), start + Duration::from_secs(3));
        assert_eq!(back.upstreams["u"].flow.requests, 7.0, "a name that is new began at zero");
        let clock_back = meter.take(&pulse(&[(3, 9)], 0), start);
        assert_eq!(clock_back, back);
    }
}
