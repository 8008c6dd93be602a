//! What a version that is only planned would change under a lever: told before, so that nobody's setting vanishes or
//! wins in silence. After it is active, `conflict` says it of what became of it.
//!
//! Levers stay in any case. No address and no number of the plan is told: they may be filled in, and whoever plans
//! need not be somebody who may know that.

use super::Steering;
use crate::balancing::settings::BackendSettings;
use crate::config::plan::{Plan, UpstreamPlan};
use crate::control::ramp::lever::{Levers, Signature, Target};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Contradictions that are told at most.
const MOST_TOLD: usize = 100;

/// A lever that means something else under a planned version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contradiction {
    /// `UPSTREAM` or `UPSTREAM/BACKEND`.
    pub target: String,
    /// `ramp` or `drain`.
    pub kind: String,
    /// What a ramp is set to; 0 of a drain.
    pub percent: f64,
    /// Who set it.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// What the version does to it and what becomes of it, in a sentence.
    pub what: String,
}

impl Steering {
    /// What `after` would change under levers that hold under `before`, the first of them if there are many.
    pub fn contradictions(&self, before: &Plan, after: &Plan) -> Vec<Contradiction> {
        // A copy: ten thousand levers are not gone through under the lock of those who move them.
        let levers = self.state().levers.clone();
        contradictions(&levers, before, after)
    }
}

fn contradictions(levers: &Levers, before: &Plan, after: &Plan) -> Vec<Contradiction> {
    if levers.is_empty() {
        return Vec::new();
    }
    let (then, now) = (Fleet::of(before), Fleet::of(after));
    let ramps =
        levers.ramps().map(|(target, lever)| (target.clone(), "ramp", lever.percent, &lever.signature));
    let drained = levers.drained().map(|((upstream, backend), signature)| {
        (Target::Backend(upstream.clone(), backend.clone()), "drain", 0.0, signature)
    });
    let told = ramps.chain(drained).filter_map(|(target, kind, percent, signature)| {
        let change = change(&target, &then, &now)?;
        Some(contradiction(&target, kind, percent, signature, change))
    });
    told.take(MOST_TOLD).collect()
}

fn contradiction(
    target: &Target,
    kind: &str,
    percent: f64,
    signature: &Signature,
    (does, becomes): (&str, &str),
) -> Contradiction {
    let Signature { by, reason, .. } = signature;
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let set = match kind {
        "drain" => format!("{target} was drained by {by}{why}"),
        _ => format!("the ramp of {target} was set to {percent} % by {by}{why}"),
    };
    Contradiction {
        target: target.to_string(),
        kind: kind.to_owned(),
        percent,
        by: by.clone(),
        reason: reason.clone(),
        what: format!("{set}: this version {does}; {becomes}"),
    }
}

/// What a plan says of its upstreams, by name.
struct Fleet<'a>(HashMap<&'a str, Seen<'a>>);

/// One upstream.
struct Seen<'a> {
    plan: &'a UpstreamPlan,
    backends: HashMap<&'a str, &'a BackendSettings>,
}

impl<'a> Fleet<'a> {
    fn of(plan: &'a Plan) -> Self {
        let seen = |upstream: &'a UpstreamPlan| {
            let backends = upstream.balancing.backends.iter().map(|backend| (&*backend.name, backend));
            (&*upstream.name, Seen { plan: upstream, backends: backends.collect() })
        };
        Fleet(plan.upstreams.iter().map(seen).collect())
    }

    fn find(&self, target: &Target) -> Option<(&'a UpstreamPlan, Option<&'a BackendSettings>)> {
        let seen = self.0.get(&**target.upstream())?;
        match target.backend() {
            None => Some((seen.plan, None)),
            Some(name) => Some((seen.plan, Some(*seen.backends.get(&**name)?))),
        }
    }
}

/// What stays of a lever whose target stays.
const STAYS: &str = "the setting stays and holds for what comes in its place";

/// What the version does to a lever's target, and what becomes of the lever; nothing if it does nothing.
fn change(target: &Target, then: &Fleet<'_>, now: &Fleet<'_>) -> Option<(&'static str, &'static str)> {
    let (was, is) = match (then.find(target), now.find(target)) {
        (None, None) => return None,
        (Some(_), None) => {
            return Some((
                "removes it",
                "the setting is kept apart, and acts again when the name comes back",
            ));
        }
        (None, Some(_)) => {
            return Some(("brings it back", "the setting acts on it again, from its first request on"));
        }
        (Some(was), Some(is)) => (was, is),
    };
    let does = match (was.1, is.1) {
        (Some(before), Some(after)) if before.address != after.address => "moves it to another address",
        (Some(before), Some(after)) if before.weight != after.weight => "changes its weight",
        (Some(_), Some(_)) => {
            let cap = |plan: &UpstreamPlan| plan.balancing.max_in_flight_per_backend;
            (cap(was.0) != cap(is.0)).then_some("changes its cap")?
        }
        _ if was.0.balancing.backends != is.0.balancing.backends => "changes its backends",
        _ => (was.0.gate.max_in_flight != is.0.gate.max_in_flight).then_some("changes its cap")?,
    };
    Some((does, STAYS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ProcessEnvironment, check};
    use crate::control::ramp::lever::Lever;
    use std::path::Path;

    fn plan(upstreams: &str) -> Plan {
        let text = format!("[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n{upstreams}");
        let checked = check(&text, Path::new("gateway.toml"), &ProcessEnvironment);
        let rendered = checked.render(false);
        checked.plan.unwrap_or_else(|| panic!("{rendered}"))
    }

    fn orders(backends: &str, more: &str) -> Plan {
        plan(&format!("[[upstreams]]\nname = \"orders\"\nbackends = [{backends}]\n{more}\n"))
    }

    fn levers() -> Levers {
        let signature = |reason: &str| Signature { by: "ops".into(), reason: reason.into(), since_ms: 0 };
        let lever =
            |percent| Lever { percent, then: None, reference: None, signature: signature("a cold release") };
        let mut levers = Levers::default();
        levers.set(Target::Upstream("orders".into()), lever(75.0));
        levers.set(Target::Backend("orders".into(), "b".into()), lever(25.0));
        levers.drain("orders".into(), "a".into(), signature(""));
        levers
    }

    const A: &str = "{ name = \"a\", address = \"10.0.0.1:80\" }";
    const B: &str = "{ name = \"b\", address = \"10.0.0.2:80\" }";

    fn told(before: &Plan, after: &Plan) -> Vec<String> {
        contradictions(&levers(), before, after).into_iter().map(|told| told.what).collect()
    }

    #[test]
    fn a_version_that_leaves_the_targets_alone_is_not_told() {
        let both = format!("{A}, {B}");
        assert_eq!(told(&orders(&both, ""), &orders(&both, "host = \"backend\"")), Vec::<String>::new());
        assert_eq!(told(&plan(""), &plan("")), Vec::<String>::new(), "names that neither has");
    }

    #[test]
    fn a_backend_that_goes_moves_or_comes_back_is_told_with_whose_setting_it_is() {
        let both = orders(&format!("{A}, {B}"), "max_in_flight = 64");
        let gone = told(&both, &orders(A, "max_in_flight = 64"));
        assert_eq!(
            gone,
            [
                "the ramp of orders was set to 75 % by ops (a cold release): this version changes its backends; \
                 the setting stays and holds for what comes in its place",
                "the ramp of orders/b was set to 25 % by ops (a cold release): this version removes it; the setting \
                 is kept apart, and acts again when the name comes back",
            ]
        );
        let back = told(&orders(B, "max_in_flight = 64"), &both);
        assert!(
            back.iter()
                .any(|told| told.starts_with("orders/a was drained by ops: this version brings it back")),
            "{back:?}"
        );
        let moved = told(
            &both,
            &orders(&format!("{A}, {}", B.replace("10.0.0.2", "10.0.0.9")), "max_in_flight = 64"),
        );
        assert!(
            moved.iter().any(|told| told.contains("orders/b") && told.contains("another address")),
            "{moved:?}"
        );
        assert!(!moved.concat().contains("10.0.0.9"), "it may be filled in: {moved:?}");
    }

    #[test]
    fn caps_and_weights_that_a_percentage_is_of_are_told() {
        let both = format!("{A}, {B}");
        let cap = told(&orders(&both, "max_in_flight = 64"), &orders(&both, "max_in_flight = 32"));
        assert!(
            cap.iter().any(|told| told.starts_with("the ramp of orders was") && told.contains("its cap")),
            "{cap:?}"
        );
        let heavier = format!("{A}, {}", B.replace(":80\"", ":80\", weight = 50"));
        let weight = told(&orders(&both, ""), &orders(&heavier, ""));
        assert!(
            weight.iter().any(|told| told.contains("orders/b") && told.contains("its weight")),
            "{weight:?}"
        );
    }

    #[test]
    fn many_are_told_up_to_a_bound() {
        let names: Vec<String> = (0..MOST_TOLD + 20).map(|at| format!("b{at}")).collect();
        let backends: Vec<String> =
            names.iter().map(|name| format!("{{ name = \"{name}\", address = \"{name}.x:80\" }}")).collect();
        let mut levers = Levers::default();
        for name in &names {
            let signature = Signature { by: "ops".into(), reason: String::new(), since_ms: 0 };
            levers.drain("orders".into(), name.as_str().into(), signature);
        }
        assert_eq!(contradictions(&levers, &orders(&backends.join(", "), ""), &plan("")).len(), MOST_TOLD);
    }
}
