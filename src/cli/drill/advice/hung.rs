//! Rules for what hangs: an upstream, or a service that judges.

use super::{Advice, Case, shown};
use crate::cli::drill::facts::{AuthFacts, UpstreamFacts};
use crate::cli::drill::found::{Role, RouteFound, Sight};
use crate::cli::drill::verdict::percent;
use crate::filters::auth::settings::OnError;
use std::time::Duration;

/// A timeout from that on keeps users waiting for nothing.
const LONG: Duration = Duration::from_secs(3);
/// A service that judges should need no more.
const LONG_JUDGING: Duration = Duration::from_secs(1);
/// A decision that stands in for less is gone before anybody is out of bed.
const SHORT_STALE: Duration = Duration::from_secs(60);
/// Of those who come when a hung backend could be known, the part that may still wait for nothing.
const UNNOTICED: f64 = 0.3;

impl Case<'_> {
    pub(super) fn hung_upstream(&self) -> Vec<Advice> {
        let mut all: Vec<Advice> = self.long_timeouts();
        let Some((name, upstream)) = self.upstream() else { return all };
        all.extend(self.crowded_out(name, upstream));
        let unnoticed = self.found.measured.unnoticed.filter(|part| *part > UNNOTICED);
        if let Some(part) = unnoticed {
            all.push(notice(name, upstream, part));
        }
        all
    }

    /// Routes whose users waited because their timeout let them.
    pub(super) fn long_timeouts(&self) -> Vec<Advice> {
        let long = self.struck().filter_map(|route| {
            let facts = self.facts.route(&route.route)?;
            let upstream = self.facts.upstreams.get(&facts.upstream)?;
            let waited = route.hit.sent - route.hit.soon;
            (facts.timeout >= LONG && waited > 0).then(|| Advice {
                of: format!("route {}", route.route),
                setting: "timeout",
                now: shown(facts.timeout),
                write: "timeout = \"2s\"".to_owned(),
                because: format!(
                    "{waited} of {} users waited 3 s and longer for an upstream that never answers; each holds one \
                     of its {} slots for up to {}",
                    route.hit.sent,
                    upstream.cap,
                    shown(facts.timeout)
                ),
            })
        });
        long.collect()
    }

    /// Routes beside it that found the process full.
    fn crowded_out(&self, name: &str, upstream: &UpstreamFacts) -> Option<Advice> {
        let beside = self.routes.iter().filter(|route| route.role == Role::Beside);
        let lost: u64 = beside.map(|route| route.hit.because(&["process_limit"])).sum();
        let fair = (self.facts.process / 4).max(1);
        (lost > 0 && upstream.cap > fair).then(|| Advice {
            of: format!("upstream {name}"),
            setting: "max_in_flight",
            now: upstream.cap.to_string(),
            write: format!("max_in_flight = {fair}"),
            because: format!(
                "it may hold {} of the {} requests of the process, and {lost} requests that do not need it found the \
                 process full",
                upstream.cap, self.facts.process
            ),
        })
    }

    pub(super) fn hung_auth(&self) -> Vec<Advice> {
        let Some((name, auth)) = self.auth() else { return Vec::new() };
        let mut all = Vec::new();
        let guarded =
            |route: &&RouteFound| route.auth.as_deref() == Some(name) && route.upstream != auth.upstream;
        let lost = self.struck().filter(guarded).fold(Sight::default(), |sum, route| sum.plus(&route.hit));
        if lost.known.0 > lost.known.1 {
            all.extend(keep_decisions(name, auth, &lost));
        }
        let late = lost.sent - lost.soon;
        if late > 0 && auth.timeout > LONG_JUDGING {
            all.push(Advice {
                of: format!("auth {name}"),
                setting: "timeout",
                now: shown(auth.timeout),
                write: "timeout = \"200ms\"".to_owned(),
                because: format!("{late} of {} users waited 3 s and longer to be told no", lost.sent),
            });
        }
        let shared: Vec<&str> = self
            .struck()
            .filter(|route| route.upstream == auth.upstream)
            .map(|route| &*route.route)
            .collect();
        if !shared.is_empty() {
            all.push(Advice {
                of: format!("auth {name}"),
                setting: "upstream",
                now: auth.upstream.clone(),
                write: format!("upstream = \"{name}-service\", with backends of its own"),
                because: format!("routes {} go to the same upstream and hang with it", shared.join(", ")),
            });
        }
        all
    }
}

/// Hung backends are not noticed by the requests that fail.
fn notice(name: &str, upstream: &UpstreamFacts, part: f64) -> Advice {
    let because = format!("once it could be known that it hangs, {} still waited for nothing", percent(part));
    let of = format!("upstream {name}");
    if !upstream.health {
        let write = "health = { kind = \"http\", path = \"/healthz\" }".to_owned();
        return Advice { of, setting: "health", now: "none".to_owned(), write, because };
    }
    let now = format!("{} failures in a row", upstream.consecutive_failures);
    let write = "ejection = { consecutive_failures = 5, max_ejected = \"50%\" }".to_owned();
    Advice { of, setting: "ejection", now, write, because }
}

/// Decisions that would have stood in.
fn keep_decisions(name: &str, auth: &AuthFacts, lost: &Sight) -> Option<Advice> {
    let gone = lost.known.0 - lost.known.1;
    let because = format!(
        "{gone} of {} requests of clients that it had judged before were refused or lost while it was silent",
        lost.known.0
    );
    let (of, setting) = (format!("auth {name}"), "on_error");
    let now = match auth.on_error {
        OnError::Deny => "\"deny\"",
        OnError::Allow => "\"allow\"",
        OnError::Stale => "\"stale\"",
    };
    match (auth.on_error, auth.stale) {
        (OnError::Stale, Some(stale)) if stale >= SHORT_STALE => None,
        (OnError::Stale, stale) => Some(Advice {
            of,
            setting: "cache.stale",
            now: stale.map_or_else(|| "no cache".to_owned(), shown),
            write: "cache = { stale = \"5m\" }".to_owned(),
            because,
        }),
        (OnError::Deny | OnError::Allow, _) => Some(Advice {
            of,
            setting,
            now: now.to_owned(),
            write: "on_error = \"stale\", cache = { ttl = \"30s\", stale = \"5m\" }".to_owned(),
            because,
        }),
    }
}
