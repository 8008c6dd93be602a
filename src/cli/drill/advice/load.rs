//! Rules for too much at once: a crowd, or a storm of tries.

use super::{Advice, Case};
use crate::admission::settings::Mode;
use crate::cli::drill::facts::UpstreamFacts;
use crate::cli::drill::verdict::{percent, slower};
use std::collections::BTreeSet;

/// Retries that pay for themselves out of so much of the successes make a storm of their own.
const GENEROUS: f64 = 0.25;

impl Case<'_> {
    pub(super) fn flash_crowd(&self) -> Vec<Advice> {
        let mut all: Vec<Advice> = self.enforce().into_iter().collect();
        let Some((name, upstream)) = self.upstream() else { return all };
        if let Some(unordered) = self.unordered(name, upstream) {
            all.push(unordered);
        }
        all
    }

    /// The limit that finds itself would have kept those that were admitted fast.
    fn enforce(&self) -> Option<Advice> {
        let (name, upstream) = self.upstream()?;
        let slow = self.struck().find_map(|route| slower(&route.calm, &route.hit));
        let waited: u64 = self.struck().map(|route| route.hit.failures()).sum();
        if upstream.adaptive == Mode::Enforce || (slow.is_none() && waited == 0) {
            return None;
        }
        let now = format!("\"{}\"", upstream.adaptive.as_str());
        let slow = slow.map(|(then, now)| format!("p99 of the served went from {then:.0} to {now:.0} ms"));
        let waited = (waited > 0).then(|| format!("{waited} waited for nothing"));
        let shadow = self.found.measured.shadow_sheds.filter(|many| *many > 0);
        let shadow = shadow.map(|many| format!("the limit that only counts would have refused {many}"));
        let said: Vec<String> = [slow, waited, shadow].into_iter().flatten().collect();
        Some(Advice {
            of: format!("upstream {name}"),
            setting: "adaptive_limit",
            now,
            write: "adaptive_limit = \"enforce\"".to_owned(),
            because: format!("up to {} may be in flight there, and {}", upstream.cap, said.join("; ")),
        })
    }

    /// Among routes of one class it is chance who is turned away.
    fn unordered(&self, name: &str, upstream: &UpstreamFacts) -> Option<Advice> {
        let all = self.all_struck();
        let mut classes = BTreeSet::new();
        let here = self.facts.routes.iter().filter(|(_, route)| route.upstream == name);
        let routes: Vec<&str> = here
            .map(|(name, route)| {
                classes.insert(route.class as u8);
                &**name
            })
            .collect();
        let one_class = upstream.routes > 1 && classes.len() == 1;
        (one_class && all.refusals() > 0).then(|| Advice {
            of: format!("route {}", routes.first().copied().unwrap_or_default()),
            setting: "class",
            now: "\"default\"".to_owned(),
            write: "class = \"critical\" on what must survive, \"sheddable\" on what need not".to_owned(),
            because: format!(
                "all {} routes of upstream {name} are of one class: who of {} was among the {} that were refused was \
                 chance",
                upstream.routes,
                all.sent,
                all.refusals()
            ),
        })
    }

    pub(super) fn retry_storm(&self) -> Vec<Advice> {
        let mut all = Vec::new();
        let Some((name, upstream)) = self.upstream() else { return all };
        if upstream.budget > GENEROUS {
            all.push(Advice {
                of: format!("upstream {name}"),
                setting: "retry.budget",
                now: format!("\"{:.0}%\"", upstream.budget * 100.0),
                write: "retry = { max_retries = 1, budget = \"10%\" }".to_owned(),
                because: format!(
                    "the gateway adds tries of its own to {} that clients made of {} requests",
                    self.all_struck().tries,
                    self.all_struck().sent
                ),
            });
        }
        let after = self.found.measured.served_afterwards.unwrap_or(1.0);
        if upstream.adaptive != Mode::Enforce {
            all.push(Advice {
                of: format!("upstream {name}"),
                setting: "adaptive_limit",
                now: format!("\"{}\"", upstream.adaptive.as_str()),
                write: "adaptive_limit = \"enforce\"".to_owned(),
                because: format!(
                    "up to {} wait in backends that lost half of their capacity; when it was back, {} were served",
                    upstream.cap,
                    percent(after)
                ),
            });
        }
        all.extend(self.long_timeouts());
        all
    }
}
