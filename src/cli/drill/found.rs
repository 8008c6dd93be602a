//! What the users of a route saw, and what a scene found.

use super::advice::Advice;
use super::crowd::Kind;
use super::crowd::seen::{Ended, Over, Seen};
use super::scenes::Scene;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whoever knows by then, also that it failed, has not waited long.
pub(super) const SOON: Duration = Duration::from_secs(3);

/// What became of the requests to one route in a span of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// Requests that were due.
    pub sent: u64,
    /// Those that got what they came for.
    pub served: u64,
    /// Those that were told no, by the gateway's reason.
    pub refused: BTreeMap<String, u64>,
    /// Those that waited for nothing, or lost their connection.
    pub failed: BTreeMap<String, u64>,
    /// Those of clients who had been there before, and of these the served.
    pub known: (u64, u64),
    /// Those that had an answer of any kind soon.
    pub soon: u64,
    /// How often requests were sent, further tries included.
    pub tries: u64,
    /// Times of the served, and of the refusals, in seconds, from when they were due.
    served_s: Vec<f64>,
    refused_s: Vec<f64>,
}

/// A time in the middle and one at the end, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Times {
    /// Half are faster.
    pub p50_ms: f64,
    /// One in a hundred is slower.
    pub p99_ms: f64,
}

impl Sight {
    /// Of so many targets, by their numbers, those that were due in `[from, to)`.
    pub fn of_each(seen: &Seen, targets: usize, from: Instant, to: Instant) -> Vec<Sight> {
        let mut all = vec![Sight::default(); targets];
        seen.each(from, to, |over| {
            if let Some(sight) = all.get_mut(over.one.target as usize) {
                sight.add(over);
            }
        });
        for sight in &mut all {
            sight.served_s.sort_unstable_by(f64::total_cmp);
            sight.refused_s.sort_unstable_by(f64::total_cmp);
        }
        all
    }

    fn add(&mut self, over: &Over) {
        let (one, took) = (&over.one, over.at.saturating_duration_since(over.one.due));
        let (good, known) = (one.how.is_good(), one.kind == Kind::Known);
        self.sent += 1;
        self.tries += u64::from(one.tries);
        self.known.0 += u64::from(known);
        self.known.1 += u64::from(known && good);
        self.soon += u64::from(took <= SOON && one.how != Ended::Late);
        match &one.how {
            _ if good => {
                self.served += 1;
                self.served_s.push(took.as_secs_f64());
            }
            Ended::Answer { status: 401 | 403 | 429 | 503, reason } => {
                self.refused_s.push(took.as_secs_f64());
                let reason = reason.clone().unwrap_or_else(|| one.how.why());
                *self.refused.entry(reason).or_default() += 1;
            }
            Ended::Answer { reason: Some(reason), .. } => {
                *self.failed.entry(reason.clone()).or_default() += 1
            }
            other => *self.failed.entry(other.why()).or_default() += 1,
        }
    }

    /// The part that was served, 0 to 1; of nobody, all.
    pub fn share(&self) -> f64 {
        part(self.served, self.sent)
    }

    /// The part of those who had been there before that was served.
    pub fn known_share(&self) -> f64 {
        part(self.known.1, self.known.0)
    }

    /// The part that had an answer of any kind soon.
    pub fn soon_share(&self) -> f64 {
        part(self.soon, self.sent)
    }

    /// All that were refused.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// All that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How often one of these is the reason, refused or failed.
    pub fn because(&self, reasons: &[&str]) -> u64 {
        let of = |map: &BTreeMap<String, u64>| reasons.iter().filter_map(|it| map.get(*it)).sum::<u64>();
        of(&self.refused) + of(&self.failed)
    }

    /// Times of the served; none if nobody was.
    pub fn served_times(&self) -> Option<Times> {
        times(&self.served_s)
    }

    /// Times of the refusals.
    pub fn refused_times(&self) -> Option<Times> {
        times(&self.refused_s)
    }

    /// Two of one upstream together, for sums.
    pub fn plus(mut self, other: &Sight) -> Sight {
        self.sent += other.sent;
        self.served += other.served;
        self.soon += other.soon;
        self.tries += other.tries;
        self.known.0 += other.known.0;
        self.known.1 += other.known.1;
        other.refused.iter().for_each(|(why, many)| *self.refused.entry(why.clone()).or_default() += many);
        other.failed.iter().for_each(|(why, many)| *self.failed.entry(why.clone()).or_default() += many);
        self.served_s.extend(&other.served_s);
        self.refused_s.extend(&other.refused_s);
        self.served_s.sort_unstable_by(f64::total_cmp);
        self.refused_s.sort_unstable_by(f64::total_cmp);
        self
    }
}

#[cfg(test)]
impl Sight {
    /// One that was made up, with the same times for all.
    pub fn made_up(
        sent: u64,
        served: u64,
        served_s: f64,
        refused: (&str, u64),
        failed: (&str, u64),
    ) -> Sight {
        let map = |(why, many): (&str, u64)| match many {
            0 => BTreeMap::new(),
            many => BTreeMap::from([(why.to_owned(), many)]),
        };
        Sight {
            sent,
            served,
            known: (sent, served),
            soon: served + refused.1,
            tries: sent,
            served_s: vec![served_s; usize::try_from(served).expect("small")],
            refused_s: vec![0.001; usize::try_from(refused.1).expect("small")],
            refused: map(refused),
            failed: map(failed),
        }
    }
}

fn part(of: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { of as f64 / all as f64 }
}

/// Of sorted times.
fn times(sorted: &[f64]) -> Option<Times> {
    let at =
        |part: f64| sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().checked_sub(1)?));
    let ms = |seconds: &f64| (seconds * 1e4).round() / 10.0;
    Some(Times { p50_ms: at(0.5).map(ms)?, p99_ms: at(0.99).map(ms)? })
}

impl Serialize for Sight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({
            "sent": self.sent,
            "served": self.served,
            "refused": self.refused,
            "failed": self.failed,
            "tries": self.tries,
            "known": { "sent": self.known.0, "served": self.known.1 },
            "answered_within_3_s": self.soon,
            "served_times": self.served_times(),
            "refused_times": self.refused_times(),
        })
        .serialize(serializer)
    }
}

/// How a route, or a scene, fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As in calm, or as well as can be.
    Holds,
    /// Worse than it need be, within the bar.
    Degraded,
    /// It cannot be told: the scene's [`Doubt`] says why.
    Unclear,
    /// Below the bar.
    Fails,
}

impl Verdict {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Degraded => "degraded",
            Verdict::Fails => "FAILS",
            Verdict::Unclear => "UNCLEAR",
        }
    }
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Doubt {
    /// This machine was too slow.
    Machine,
    /// Too few requests came to a route.
    FewRequests,
    /// A route was not well before anything was struck.
    Calm,
}

impl Doubt {
    /// In a sentence.
    pub const fn because(self) -> &'static str {
        match self {
            Doubt::Machine => {
                "this machine was too busy, so what failed may be its fault and not the gateway's"
            }
            Doubt::FewRequests => "too few requests came to a route to judge it by",
            Doubt::Calm => "a route refused or failed requests before anything was struck",
        }
    }

    /// What to do, in a sentence.
    pub const fn to_do(self) -> &'static str {
        match self {
            Doubt::Machine => {
                "end what else runs here, or take a machine with more cores, and play it again with --only"
            }
            Doubt::FewRequests => "play it again without --quick, and with fewer upstreams (--upstream)",
            Doubt::Calm => "mend what refuses it in calm, or leave it out with --upstream, and play it again",
        }
    }
}

/// What a route has to do with what was struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// It needs it.
    Struck,
    /// It does not.
    Beside,
}

/// One route in one scene.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteFound {
    /// Its name.
    pub route: String,
    /// Where it goes.
    pub upstream: String,
    /// Who guards it.
    pub auth: Option<String>,
    /// Its class.
    pub class: &'static str,
    /// What it has to do with what was struck.
    pub role: Role,
    /// Before.
    pub calm: Sight,
    /// Meanwhile.
    pub hit: Sight,
    /// How it fared.
    pub verdict: Verdict,
    /// Why, with numbers.
    pub why: String,
}

/// What else was measured, where a scene measures it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Measured {
    /// Requests a second that the stand-ins of the upstream can do.
    pub capacity_per_second: Option<f64>,
    /// Requests a second that came.
    pub offered_per_second: Option<f64>,
    /// Requests a second that were served.
    pub goodput_per_second: Option<f64>,
    /// Of those who came when it was over, the part that was served.
    pub served_afterwards: Option<f64>,
    /// Of those who came once the gateway had had time to notice, the part that still waited for nothing.
    pub unnoticed: Option<f64>,
    /// Stand-ins that died of what they got while they were cold.
    pub crashes: Option<u64>,
    /// From the strike until everybody was served again, in seconds.
    pub back_after_s: Option<f64>,
    /// What became of a change: `refused`, `reverted`, `active`, …
    pub change: Option<String>,
    /// And why, in the gateway's words.
    pub change_why: Option<String>,
    /// Requests that the limit would have refused, if it only counts.
    pub shadow_sheds: Option<u64>,
}

impl Found {
    /// Comes to the scene's verdict. Where the machine is in doubt nothing fails for certain.
    pub fn conclude(&mut self) {
        let is_unclear = |routes: &[RouteFound]| routes.iter().any(|it| it.verdict == Verdict::Unclear);
        if self.doubt == Some(Doubt::Machine) && is_unclear(&self.routes) {
            for route in self.routes.iter_mut().filter(|route| route.verdict == Verdict::Fails) {
                route.verdict = Verdict::Unclear;
                route.why += ", on a machine that was too busy to tell";
            }
        }
        self.verdict = self.routes.iter().map(|route| route.verdict).max().unwrap_or(Verdict::Unclear);
        if self.routes.is_empty() {
            self.doubt = Some(Doubt::FewRequests);
        } else if !is_unclear(&self.routes) {
            self.doubt = None;
        }
    }
}

/// What one scene found about one thing that was struck.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Found {
    /// Which scene.
    pub scene: Scene,
    /// What was struck: the name of an upstream or an auth; nothing if it was everything.
    pub struck: Option<String>,
    /// In a sentence.
    pub title: String,
    /// How long it lasted.
    pub seconds: f64,
    /// The worst of its routes.
    pub verdict: Verdict,
    /// Why some of it cannot be told, if so.
    pub doubt: Option<Doubt>,
    /// How late the drill's own clients were, one in a hundred later.
    pub late_p99_ms: f64,
    /// Times are judged: this machine was fast enough.
    pub times_judged: bool,
    /// Each route that was asked.
    pub routes: Vec<RouteFound>,
    /// What else was measured.
    pub measured: Measured,
    /// What to change.
    pub advice: Vec<Advice>,
}
