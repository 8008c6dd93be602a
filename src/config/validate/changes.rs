//! Rollouts.

use super::Check;
use crate::config::fields::Risk;
use crate::config::policy::{Guard, Policy, Probe, PromoteFrom, Weight};
use crate::config::value::{Data, Table, Value};
use crate::request::cohort::Fact;

/// `[rollout]`.
pub fn rollout(table: &Table, check: &mut Check<'_>) -> Option<Policy> {
    ascending(table, "stages", check);
    let guard = table.table("guard")?;
    let stages = table.list("stages").iter().filter_map(|stage| match stage.data {
        Data::Number(percent) => Some(percent / 100.0),
        _ => None,
    });
    Some(Policy {
        required: table.bool("required")?,
        stages: stages.collect(),
        bake: table.duration("bake")?,
        cohort: cohort(table, check)?,
        guard: Guard {
            max_error_increase: guard.number("max_error_increase")? / 100.0,
            max_latency_ratio: guard.number("max_latency_ratio")?,
            min_requests: guard.integer("min_requests")?,
        },
        approve: match table.text("approve")? {
            "high" => Some(Risk::High),
            "medium" => Some(Risk::Medium),
            _ => None,
        },
        environment: table.text("environment").map(str::to_owned),
        promote_from: table.table("promote_from").and_then(|from| promote_from(from, check)),
        probe: probe(table.table("probe")?)?,
    })
}

/// Reports a key that no receipt can be checked with.
fn promote_from(table: &Table, check: &mut Check<'_>) -> Option<PromoteFrom> {
    let from = PromoteFrom {
        environment: table.text("environment")?.to_owned(),
        public_key: table.text("public_key")?.to_owned(),
    };
    if let Err(why) = from.key() {
        let span = table.span_of("public_key");
        let message = format!("{} {why}", check.quote(&span));
        check.error(span, message, "write what `tidegate receipt key` prints in that environment");
    }
    Some(from)
}

fn probe(table: &Table) -> Option<Probe> {
    let weight = |key| {
        Some(match table.text(key)? {
            "information" => Some(Weight::Information),
            "warning" => Some(Weight::Warning),
            "gate" => Some(Weight::Gate),
            _ => None,
        })
    };
    Some(Probe {
        auth: weight("auth")?,
        jwks: weight("jwks")?,
        upstreams: weight("upstreams")?,
        backends: weight("backends")?,
    })
}

/// Reports shares that do not rise to 100 %.
pub fn ascending(table: &Table, key: &str, check: &mut Check<'_>) {
    let share = |value: &Value| match value.data {
        Data::Number(share) => share,
        _ => 0.0,
    };
    let shares = table.list(key);
    if let Some(pair) = shares.windows(2).find(|pair| share(&pair[0]) >= share(&pair[1])) {
        let message = format!("{} is not more than the share before it", check.quote(&pair[1].span));
        check.error(pair[1].span.clone(), message, "shares rise: [\"25%\", \"50%\", \"100%\"]");
    }
    if let Some(last) = shares.last().filter(|last| share(last) < 100.0) {
        check.error(last.span.clone(), "the last share is not 100%", "end with \"100%\"");
    }
}

/// What tells clients apart.
pub fn cohort(table: &Table, check: &mut Check<'_>) -> Option<Fact> {
    let fact = Fact::parse(table.text("cohort")?);
    if fact.is_none() {
        let span = table.span_of("cohort");
        let message = format!("{} chooses no cohort", check.quote(&span));
        check.error(span, message, "write client_ip, header:NAME or cookie:NAME");
    }
    fact
}
