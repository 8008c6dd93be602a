//! What would come of a text: what it changes in the active version, how risky that is and why, whom it reaches, whose
//! settings it contradicts, and what it would ask of whoever applies it. Nothing changes by it.
//!
//! The policy of the active version says what a change needs (`design.md`, "Change"), never that of the text itself.

use crate::config::compare::{Comparison, Side, compare};
use crate::config::fields::Risk;
use crate::config::interpolate::placeholders;
use crate::config::plan::Plan;
use crate::config::policy::Policy;
use crate::config::units::as_percent;
use crate::control::Control;
use crate::control::steering::contradiction::Contradiction;
use crate::control::view::FreezeView;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What would come of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Blake3 of the text, hex.
    pub hash: String,
    /// What it is compared with.
    pub active: Compared,
    /// What differs.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Ramps and drains that mean something else then.
    pub contradictions: Vec<Contradiction>,
    /// What it would ask.
    pub needs: Needs,
}

/// The version that a text is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Its number, where a gateway runs it.
    pub number: Option<u64>,
    /// Blake3 of its text, hex.
    pub hash: String,
}

/// What a change asks of whoever applies it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// The shares of clients that it reaches one after the other; none: everyone at once, or nothing changes.
    pub stages: Vec<String>,
    /// How long each is judged at least.
    pub bake_seconds: f64,
    /// How long all of it takes, with the last look at everyone, if there is traffic enough.
    pub about_seconds: f64,
    /// `--ack-risk high`.
    pub ack_risk: bool,
    /// A second person.
    pub approval: bool,
    /// The environment whose receipt the version must carry.
    pub receipt_of: Option<String>,
    /// What holds it, each until it is over, unless the change is for all of these incidents.
    #[serde(default)]
    pub freezes: Vec<FreezeView>,
}

impl Needs {
    /// What a policy asks of a change.
    pub fn of(policy: &Policy, comparison: &Comparison) -> Needs {
        let Policy { required, stages, bake, approve, promote_from, .. } = policy;
        let bake = (*bake).max(comparison.longest_timeout.saturating_mul(2));
        let staged = *required;
        let steps = u32::try_from(stages.len()).unwrap_or(u32::MAX);
        Needs {
            stages: if staged { stages.iter().copied().map(as_percent).collect() } else { Vec::new() },
            bake_seconds: if staged { bake.as_secs_f64() } else { 0.0 },
            about_seconds: if staged { bake.saturating_mul(steps).as_secs_f64() } else { 0.0 },
            ack_risk: staged && comparison.risk == Risk::High,
            approval: staged
                && !comparison.is_empty()
                && approve.is_some_and(|least| comparison.risk >= least),
            freezes: Vec::new(),
            receipt_of: promote_from.as_ref().map(|from| from.environment.clone()),
        }
    }
}

impl Control {
    /// What would come of a text that says `plan`. Takes as long as parsing two texts: not for the admin thread.
    pub fn outlook(&self, text: &str, plan: &Plan) -> Outlook {
        let (active, number) = {
            let state = self.state();
            (state.active.clone(), state.number)
        };
        let before = Side { text: &active.text, plan: Some(&active.plan) };
        let comparison = compare(before, Side { text, plan: Some(plan) });
        let same = active.plan.hash == plan.hash && comparison.is_empty();
        let freezes = self.incidents.freezes(comparison.risk, &active.plan.incidents);
        let needs = || Needs { freezes, ..Needs::of(&active.plan.rollout, &comparison) };
        Outlook {
            hash: plan.hash.clone(),
            needs: if same { Needs::default() } else { needs() },
            active: Compared { number: Some(number), hash: active.plan.hash.clone() },
            contradictions: self.steering.contradictions(&active.plan, plan),
            comparison,
        }
    }

    /// A placeholder of a text that the active one does not have: to fill it is more than reading.
    pub fn strange_placeholder<'t>(&self, text: &'t str) -> Option<&'t str> {
        let active = self.state().active.text.clone();
        let known: HashSet<&str> = placeholders(&active).into_iter().collect();
        placeholders(text).into_iter().find(|inner| !known.contains(inner))
    }
}

/// How one text differs from another, without a gateway: the earlier one's policy says what that needs.
pub fn between(before: (&str, &Plan), after: (&str, &Plan)) -> Outlook {
    let [one, other] = [before, after].map(|(text, plan)| Side { text, plan: Some(plan) });
    let comparison = compare(one, other);
    let same = before.1.hash == after.1.hash && comparison.is_empty();
    Outlook {
        hash: after.1.hash.clone(),
        active: Compared { number: None, hash: before.1.hash.clone() },
        needs: if same { Needs::default() } else { Needs::of(&before.1.rollout, &comparison) },
        contradictions: Vec::new(),
        comparison,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::PromoteFrom;
    use std::time::Duration;

    fn of(risk: Risk) -> Comparison {
        let difference = crate::config::compare::Difference {
            path: String::new(),
            what: String::new(),
            before: None,
            after: None,
            risk,
            why: String::new(),
        };
        Comparison { risk, differences: vec![difference], ..Comparison::default() }
    }

    #[test]
    fn a_change_needs_what_the_active_policy_says() {
        let policy = Policy { stages: vec![0.01, 0.07, 0.555, 1.0], ..Policy::default() };
        let needs = Needs::of(&policy, &of(Risk::Medium));
        assert_eq!(needs.stages, ["1%", "7%", "55.5%", "100%"]);
        assert_eq!((needs.bake_seconds, needs.about_seconds), (10.0, 40.0));
        assert_eq!((needs.ack_risk, needs.approval, needs.receipt_of), (false, false, None));
        let from = PromoteFrom { environment: "staging".into(), public_key: String::new() };
        let strict = Policy { approve: Some(Risk::Medium), promote_from: Some(from), ..policy };
        let asks = |risk| {
            let needs = Needs::of(&strict, &of(risk));
            (needs.ack_risk, needs.approval, needs.receipt_of)
        };
        let staging = Some("staging".to_owned());
        assert_eq!(asks(Risk::Low), (false, false, staging.clone()));
        assert_eq!(asks(Risk::Medium), (false, true, staging.clone()));
        assert_eq!(asks(Risk::High), (true, true, staging));
    }

    #[test]
    fn a_stage_is_judged_for_twice_the_longest_timeout_at_least() {
        let slow = Comparison { longest_timeout: Duration::from_secs(60), ..of(Risk::Low) };
        let needs = Needs::of(&Policy::default(), &slow);
        assert_eq!((needs.bake_seconds, needs.about_seconds), (120.0, 240.0));
    }

    #[test]
    fn without_stages_a_change_is_for_everyone_at_once_and_needs_a_receipt_at_most() {
        let from = PromoteFrom { environment: "staging".into(), public_key: String::new() };
        let strict = Policy { approve: Some(Risk::Medium), promote_from: Some(from), ..Policy::default() };
        let policy = Policy { required: false, ..strict };
        let receipt_of = Some("staging".to_owned());
        assert_eq!(Needs::of(&policy, &of(Risk::High)), Needs { receipt_of, ..Needs::default() });
    }
}
