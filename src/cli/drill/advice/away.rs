//! Rules for what goes away: backends that restart, and names.

use super::{Advice, Case, shown};
use crate::cli::drill::facts::UpstreamFacts;
use crate::cli::drill::found::Sight;
use crate::upstream::settings::OnMissing;
use std::collections::BTreeMap;
use std::time::Duration;

/// A first step above that is much for a cold backend, in percent.
const LARGE_STEP: f64 = 25.0;

impl Case<'_> {
    pub(super) fn restart_one(&self) -> Vec<Advice> {
        let Some((name, upstream)) = self.upstream() else { return Vec::new() };
        let lost = self.struck().fold(Sight::default(), |sum, route| sum.plus(&route.hit));
        let gone = lost.sent - lost.served;
        if gone == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        if upstream.backends < 2 {
            all.push(Advice {
                of: format!("upstream {name}"),
                setting: "backends",
                now: "1 backend".to_owned(),
                write: "backends = [ …, { name = \"b\", address = \"…\" } ]".to_owned(),
                because: format!("{gone} of {} requests had nobody else to go to", lost.sent),
            });
        }
        let broken = lost.because(&["reset", "connect_failed"]);
        if upstream.backends > 1 && upstream.max_retries == 0 && broken > 0 {
            all.push(Advice {
                of: format!("upstream {name}"),
                setting: "retry.max_retries",
                now: "0".to_owned(),
                write: "retry = { max_retries = 1 }".to_owned(),
                because: format!(
                    "{broken} requests broke off at the backend that was killed, with others beside it"
                ),
            });
        }
        all.extend(self.gentler(name, upstream));
        all
    }

    pub(super) fn restart_all(&self) -> Vec<Advice> {
        self.upstream().and_then(|(name, upstream)| self.gentler(name, upstream)).into_iter().collect()
    }

    /// Backends that die of what they get while they are cold.
    fn gentler(&self, name: &str, upstream: &UpstreamFacts) -> Option<Advice> {
        let died = self.found.measured.crashes.filter(|died| *died > 0)?;
        let first = upstream.steps.first().copied().unwrap_or(100.0);
        let write = match first {
            first if first > LARGE_STEP => "ramp = { steps = [\"25%\", \"50%\", \"75%\", \"100%\"] }",
            _ => "ramp = { steps = [\"5%\", \"10%\", \"25%\", \"50%\", \"100%\"] }",
        };
        Some(Advice {
            of: format!("upstream {name}"),
            setting: "ramp.steps",
            now: steps(&upstream.steps),
            write: write.to_owned(),
            because: format!("{died} times a cold backend died of what it got: {first:.0} % of it at first"),
        })
    }

    pub(super) fn bad_name(&self) -> Vec<Advice> {
        match self.found.measured.change.as_deref() {
            None => self.dropped(),
            Some(outcome) => self.let_through(outcome).into_iter().collect(),
        }
    }

    /// Upstreams whose addresses went when their names were denied, and what needs them.
    fn dropped(&self) -> Vec<Advice> {
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for route in self.struck() {
            let auth = route.auth.as_deref().and_then(|auth| self.facts.auths.get(auth));
            let needs = [Some(&*route.upstream), auth.map(|auth| &*auth.upstream)];
            for upstream in needs.into_iter().flatten() {
                *lost.entry(upstream).or_default() += route.hit.sent - route.hit.served;
            }
        }
        let dropped = lost.into_iter().filter_map(|(name, lost)| {
            let upstream = self.facts.upstreams.get(name)?;
            let now = match upstream.on_missing {
                OnMissing::Drop => "\"drop\"".to_owned(),
                OnMissing::KeepFor(time) if time < Duration::from_secs(30) => {
                    format!("keep_for = \"{}\"", shown(time))
                }
                _ => return None,
            };
            (upstream.named && lost > 0).then(|| Advice {
                of: format!("upstream {name}"),
                setting: "on_nxdomain",
                now,
                write: "on_nxdomain = \"keep_for\", keep_for = \"15m\"".to_owned(),
                because: format!(
                    "{lost} requests were lost when a name server said that its names do not exist"
                ),
            })
        });
        dropped.collect()
    }

    fn let_through(&self, outcome: &str) -> Option<Advice> {
        let lost = self.struck().fold(Sight::default(), |sum, route| sum.plus(&route.hit));
        (!self.facts.required).then(|| Advice {
            of: "rollout".to_owned(),
            setting: "rollout.required",
            now: "false".to_owned(),
            write: "required = true".to_owned(),
            because: format!(
                "a change with a name that does not exist was {outcome} for everyone at once: {} of {} requests lost",
                lost.sent - lost.served,
                lost.sent
            ),
        })
    }
}

fn steps(steps: &[f64]) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("{step:.0}%")).collect();
    format!("steps = {}", steps.join(", "))
}
