//! From counts that only grow to rates: what came between two pulses. A pure core, told the time.
//!
//! Latencies are of whole exchanges, from the head of a request to the last byte of its answer, and as fine as
//! histograms are ([`times`](super::times)). Refusals are fast and would hide how slow the rest is, so as many of the
//! fastest are left out. It also remembers since when an upstream sheds or is silent.

use super::spell::{Between, Spell};
use super::times::{Quantile, Times};
use crate::control::observe::pulse::{Pulse, Sheds};
use crate::telemetry::metrics::{NONE, RouteCounted, Source};
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
    spells: HashMap<Arc<str>, Spell>,
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
    /// What was shed before it was known for which upstream, or for none.
    pub nowhere: UpstreamRates,
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
    /// Half of the answers took no longer; nothing without answers.
    pub p50: Option<Quantile>,
    /// 99 % of the answers took no longer; nothing without answers.
    pub p99: Option<Quantile>,
    /// Sheds by class and reason, a second; the most first.
    pub sheds: Vec<(&'static str, &'static str, f64)>,
    /// For how long it sheds; nothing if it does not.
    pub shedding: Option<Duration>,
    /// For how long it has answered nothing although it holds requests, if that is longer than it usually takes.
    pub silent: Option<Duration>,
}

/// One upstream's news, while they are added up.
#[derive(Debug, Default)]
struct News {
    requests: u64,
    /// Answered by the gateway itself, below 500.
    own: u64,
    /// Answered by a backend.
    answers: u64,
    times: Times,
}

impl Meter {
    /// Takes a pulse and tells the rates since the one before; those of before if that was only just now.
    pub fn take(&mut self, pulse: &Pulse, now: Instant) -> Arc<Rates> {
        let elapsed = self.last.as_ref().map(|last| now.saturating_duration_since(last.at));
        if elapsed.is_some_and(|elapsed| elapsed < LEAST) {
            return self.rates.clone();
        }
        self.rates = Arc::new(match &self.last {
            Some(last) => rates(last, pulse, now, &mut self.spells),
            None => Rates::default(),
        });
        let routes = pulse.routes.iter().map(|(name, route)| (name.clone(), route.counted.clone()));
        self.last = Some(Counts { at: now, routes: routes.collect(), sheds: pulse.sheds.clone() });
        self.rates.clone()
    }

    /// The same without taking it: whoever asks in between has no part in what is remembered.
    pub fn look(&self, pulse: &Pulse, now: Instant) -> Arc<Rates> {
        match &self.last {
            Some(last) if now.saturating_duration_since(last.at) >= LEAST => {
                Arc::new(rates(last, pulse, now, &mut self.spells.clone()))
            }
            _ => self.rates.clone(),
        }
    }
}

fn rates(last: &Counts, pulse: &Pulse, now: Instant, spells: &mut HashMap<Arc<str>, Spell>) -> Rates {
    let seconds = now.saturating_duration_since(last.at).as_secs_f64();
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
            news.answers += answered(counted).saturating_sub(answered(before));
            news.times.add(counted, before);
        }
    }
    let sheds = |name: &str| since(last.sheds.get(name), pulse.sheds.get(name));
    let refused: u64 = pulse.sheds.keys().map(|name| sheds(name).values().sum::<u64>()).sum();
    let mut of = |name: &Arc<str>, news: News, busy: bool| {
        let (answers, mut rates) = (news.answers > 0, news.rates(&sheds(name), seconds));
        let spell = spells.entry(name.clone()).or_default();
        let sheds = rates.flow.sheds > 0.0;
        spell.goes_on(Between { before: last.at, now, sheds, answers, busy, p99: rates.p99 });
        (rates.shedding, rates.silent) = (spell.shedding(now), spell.silent(now));
        rates
    };
    let upstreams = pulse.upstreams.iter().map(|upstream| {
        let news = news.remove(&upstream.name).unwrap_or_default();
        (upstream.name.clone(), of(&upstream.name, news, upstream.in_flight > 0))
    });
    let upstreams: HashMap<_, _> = upstreams.collect();
    let nowhere: Arc<str> = NONE.into();
    let rates = of(&nowhere, News::default(), false);
    spells.retain(|name, _| upstreams.contains_key(name) || *name == nowhere);
    let process = Flow { requests: all as f64 / seconds, sheds: refused as f64 / seconds };
    Rates { process: Some(process), upstreams, nowhere: rates }
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

fn answered(counted: &RouteCounted) -> u64 {
    counted.requests.iter().map(|row| row[Source::Backend as usize]).sum()
}

impl News {
    fn rates(self, sheds: &Sheds, seconds: f64) -> UpstreamRates {
        let refused: u64 = sheds.values().sum();
        let [p50, p99] = self.times.quantiles(refused + self.own, [0.5, 0.99]);
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
            p50,
            p99,
            sheds: kinds,
            ..UpstreamRates::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::observe::pulse::{RoutePulse, UpstreamPulse};
    use crate::reject::Reason;
    use crate::request::Class;
    use crate::telemetry::cells::{BOUNDS, REQUEST_BOUNDS};

    const SHED: (Class, Reason) = (Class::Default, Reason::QueueFull);

    /// An upstream `u` behind a route `r` that has served so many with 200 in each of these buckets, and shed so many.
    fn pulse(buckets: &[(usize, u64)], shed: u64) -> Pulse {
        let mut counted = RouteCounted::default();
        for (bucket, count) in buckets {
            counted.times[*bucket] += count;
            // In the middle of it; twice the last bound where it has no end.
            let bound = |bucket: usize| REQUEST_BOUNDS.get(bucket).copied().unwrap_or(90_000_000_000);
            let lower = bucket.checked_sub(1).map_or(0, bound);
            counted.times_sum_ns += count * (lower + bound(*bucket)) / 2;
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
        let told = [u.p50, u.p99].map(|it| it.map(|it| (it.seconds * 100.0).round()));
        assert_eq!(told, [Some(38.0), Some(50.0)], "{u:?}");
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
        assert_eq!(rates.upstreams["u"].p99, Some(Quantile { seconds: 30.0, at_least: true }));
    }

    #[test]
    fn an_upstream_that_sheds_and_is_silent_says_since_when_also_to_whoever_only_looks() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let hung = |shed| {
            let mut hung = pulse(&[(3, 10)], shed);
            hung.upstreams[0].in_flight = 64;
            hung
        };
        for step in 0..4 {
            meter.take(&hung(step * 100), after(step * 5));
        }
        let told = |rates: &Rates| (rates.upstreams["u"].shedding, rates.upstreams["u"].silent);
        let looked = meter.look(&hung(500), after(17));
        assert_eq!(told(&looked), (Some(Duration::from_secs(17)), Some(Duration::from_secs(17))));
        meter.take(&pulse(&[(3, 11)], 300), after(20));
        meter.take(&hung(400), after(30));
        let looked = meter.look(&hung(500), after(32));
        assert_eq!(told(&looked).1, Some(Duration::from_secs(12)));
        assert_eq!(told(&meter.take(&pulse(&[(3, 12)], 400), after(35))), (None, None));
    }

    #[test]
    fn what_is_shed_for_no_upstream_is_not_lost() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let nowhere = |shed| Pulse {
            sheds: HashMap::from([(NONE.into(), HashMap::from([(SHED, shed)]))]),
            ..Pulse::default()
        };
        meter.take(&nowhere(0), start);
        let rates = meter.take(&nowhere(30), start + Duration::from_secs(1));
        assert_eq!(rates.nowhere.sheds, [("default", "queue_full", 30.0)]);
        assert_eq!(rates.nowhere.shedding, Some(Duration::from_secs(1)));
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
