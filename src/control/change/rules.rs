//! Which way a change may take: at once, by stages, after a second person, or not at all (`design.md`, "Change").
//!
//! Pure: what is active says how its successor comes, whoever asks. Nothing here has looked at the network, and
//! nothing here is asked about a rollback, which cannot be refused.

use super::held::{Held, unnamed};
use crate::config::fields::Risk;
use crate::config::policy::Policy;
use crate::config::units::as_percent;
use crate::control::Cause;
use crate::control::view::FreezeView;
use std::fmt;
use std::time::Duration;

/// What somebody, or a file, asks for beside a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Where it comes from.
    pub cause: Cause,
    /// Whoever asks may break the glass (`design.md`, "Admin").
    pub admin: bool,
    /// They said why.
    pub has_reason: bool,
    /// Without stages.
    pub now: bool,
    /// Although stages are required.
    pub break_glass: bool,
    /// The risk that they have taken note of.
    pub ack: Option<Risk>,
    /// Other stages than the policy's, 0 to 1, rising to 1.
    pub stages: Option<Vec<f64>>,
    /// Another bake than the policy's.
    pub bake: Option<Duration>,
    /// The incidents that it is for.
    pub incidents: Vec<u64>,
}

impl Wish {
    /// What a file asks for: the policy's way.
    pub fn of_file(cause: Cause) -> Self {
        Wish {
            cause,
            admin: false,
            has_reason: false,
            now: false,
            break_glass: false,
            ack: None,
            stages: None,
            bake: None,
            incidents: Vec::new(),
        }
    }
}

/// What is known of the text that is asked for.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How dangerous the difference to the active version is.
    pub risk: Risk,
    /// Why it is not wanted again, if it was reverted or rolled back from.
    pub barred: Option<String>,
    /// The receipt that the policy asks for is there; or what is wrong with it.
    pub receipt: Result<(), String>,
    /// What holds a change of this risk.
    pub freezes: Vec<FreezeView>,
    /// The first incident that it names and that there is not.
    pub no_incident: Option<u64>,
}

/// The way of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// To everyone at once, as the policy allows.
    AtOnce,
    /// To everyone at once, against the policy; the guard watches it for this long all the same.
    BrokenGlass {
        /// The policy's.
        bake: Duration,
    },
    /// By stages.
    Staged(Staging),
}

/// How a change goes by stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Staging {
    /// The parts of the clients, rising to 1.
    pub stages: Vec<f64>,
    /// How long each is judged at least.
    pub bake: Duration,
    /// Somebody else has to approve first.
    pub approval: bool,
}

/// Why a change may not begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// At once was asked for, and stages are required.
    NeedsStages,
    /// Only an admin breaks the glass.
    NeedsAdmin,
    /// Nobody breaks the glass without saying why.
    NeedsReason,
    /// High risk that nobody has taken note of.
    NeedsAck,
    /// The receipt of another environment is missing or wrong.
    NeedsReceipt(String),
    /// The stages that were asked for are less careful than the policy's.
    Laxer(String),
    /// The text was reverted or rolled back from, and nobody applies it.
    Barred(String),
    /// People froze changes of this risk.
    Frozen(Held),
    /// It names an incident that there is not.
    NoIncident(u64),
}

/// The way that `policy`, the active version's, leaves for a change.
///
/// # Errors
/// Why there is none, with what to do.
pub fn way(policy: &Policy, wish: &Wish, facts: &Facts) -> Result<Way, Refusal> {
    if let Some(why) = facts.barred.as_ref().filter(|_| wish.cause != Cause::Api) {
        return Err(Refusal::Barred(why.clone()));
    }
    frozen(wish, facts)?;
    if !policy.required && (wish.now || (wish.stages.is_none() && wish.bake.is_none())) {
        // Who asks for receipts means them, with stages or without.
        return match &facts.receipt {
            Ok(()) => Ok(Way::AtOnce),
            Err(_) if wish.break_glass => break_glass(policy, wish),
            Err(why) => Err(Refusal::NeedsReceipt(why.clone())),
        };
    }
    if wish.now {
        return break_glass(policy, wish);
    }
    let staging = Staging { approval: needs_approval(policy, facts.risk), ..staging(policy, wish)? };
    if policy.required && facts.risk == Risk::High && wish.ack != Some(Risk::High) {
        return Err(Refusal::NeedsAck);
    }
    facts.receipt.clone().map_err(Refusal::NeedsReceipt)?;
    Ok(Way::Staged(staging))
}

/// A freeze holds everything of its risk but what names its incident, and broken glass. Where several hold, each has to be
/// named: whoever froze for one incident has not been asked by a change that is for another.
fn frozen(wish: &Wish, facts: &Facts) -> Result<(), Refusal> {
    if let Some(incident) = facts.no_incident {
        return Err(Refusal::NoIncident(incident));
    }
    let freezes = unnamed(&facts.freezes, &wish.incidents);
    match () {
        () if freezes.is_empty() => Ok(()),
        () if !(wish.now && wish.break_glass) => {
            Err(Refusal::Frozen(Held { freezes, named: wish.incidents.clone() }))
        }
        () if !wish.admin => Err(Refusal::NeedsAdmin),
        () if !wish.has_reason => Err(Refusal::NeedsReason),
        () => Ok(()),
    }
}

/// Whether a change that may begin goes over a freeze, which is told as loudly as going around the stages.
pub fn is_over_freeze(wish: &Wish, facts: &Facts) -> bool {
    !unnamed(&facts.freezes, &wish.incidents).is_empty()
}

fn break_glass(policy: &Policy, wish: &Wish) -> Result<Way, Refusal> {
    match () {
        () if !wish.break_glass => Err(Refusal::NeedsStages),
        () if !wish.admin => Err(Refusal::NeedsAdmin),
        () if !wish.has_reason => Err(Refusal::NeedsReason),
        () => Ok(Way::BrokenGlass { bake: policy.bake }),
    }
}

fn staging(policy: &Policy, wish: &Wish) -> Result<Staging, Refusal> {
    let stages = wish.stages.clone().unwrap_or_else(|| policy.stages.clone());
    let bake = wish.bake.unwrap_or(policy.bake);
    if policy.required && bake < policy.bake {
        return Err(Refusal::Laxer(format!(
            "a bake of {bake:?} is shorter than the policy's {:?}",
            policy.bake
        )));
    }
    if policy.required
        && let Some((from, to, next)) = leap(&policy.stages, &stages)
    {
        return Err(Refusal::Laxer(format!(
            "after {} comes {}, where the policy goes to {} first",
            as_percent(from),
            as_percent(to),
            as_percent(next)
        )));
    }
    Ok(Staging { stages, bake, approval: false })
}

/// The first step of `stages` that goes further than `policy` would from the same place.
fn leap(policy: &[f64], stages: &[f64]) -> Option<(f64, f64, f64)> {
    let before = std::iter::once(0.0).chain(stages.iter().copied());
    before.zip(stages.iter().copied()).find_map(|(from, to)| {
        let next = policy.iter().copied().find(|stage| *stage > from).unwrap_or(1.0);
        (to > next).then_some((from, to, next))
    })
}

/// Whether somebody other than the author has to approve a change of this risk. A file has no author, so anybody may.
pub fn needs_approval(policy: &Policy, risk: Risk) -> bool {
    policy.required && policy.approve.is_some_and(|from| risk >= from)
}

impl Refusal {
    /// The word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Refusal::NeedsStages => "needs_stages",
            Refusal::NeedsAdmin => "needs_admin",
            Refusal::NeedsReason => "needs_reason",
            Refusal::NeedsAck => "needs_ack_risk",
            Refusal::NeedsReceipt(_) => "needs_receipt",
            Refusal::Laxer(_) => "laxer_stages",
            Refusal::Barred(_) => "barred",
            Refusal::Frozen(_) => "frozen",
            Refusal::NoIncident(_) => "no_incident",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NeedsStages => f.write_str(
                "[rollout] required = true: nothing reaches everyone at once. hint: apply it without --now; in an \
                 emergency an admin adds --break-glass and --reason",
            ),
            Refusal::NeedsAdmin => f.write_str("Breaking the glass needs the role admin."),
            Refusal::NeedsReason => f.write_str("Breaking the glass needs a reason. hint: --reason \"…\""),
            Refusal::NeedsAck => f.write_str(
                "The change is of high risk, and nobody has taken note of that. hint: `tidegate plan FILE` says why; \
                 then `tidegate apply FILE --ack-risk high`",
            ),
            // It says itself what to do.
            Refusal::NeedsReceipt(why) if why.contains("hint: ") => {
                write!(f, "[rollout] promote_from asks for a receipt: {why}")
            }
            Refusal::NeedsReceipt(why) => write!(
                f,
                "[rollout] promote_from asks for a receipt: {why}. hint: `tidegate receipt` where it is good, then \
                 `tidegate apply FILE --receipt RECEIPT`"
            ),
            Refusal::Laxer(why) => write!(
                f,
                "The stages are less careful than [rollout] of the active version: {why}. hint: leave --stages and \
                 --bake out, or ask for smaller steps and a longer bake"
            ),
            Refusal::Frozen(held) => held.fmt(f),
            Refusal::NoIncident(incident) => {
                write!(f, "There is no incident {incident} that a person opened. hint: `tidegate incident list`")
            }
            Refusal::Barred(why) => {
                write!(f, "{why}. hint: change the file, or apply it by hand with `tidegate apply FILE`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(risk: Risk) -> Facts {
        Facts { risk, barred: None, receipt: Ok(()), freezes: Vec::new(), no_incident: None }
    }

    fn api() -> Wish {
        Wish { admin: true, has_reason: true, ..Wish::of_file(Cause::Api) }
    }

    fn for_incidents(named: &[u64]) -> Wish {
        Wish { incidents: named.to_vec(), ..api() }
    }

    fn word(policy: &Policy, wish: &Wish, facts: &Facts) -> Result<Way, &'static str> {
        way(policy, wish, facts).map_err(|refusal| refusal.word())
    }

    #[test]
    fn stages_are_the_way_and_the_policys_unless_smaller_ones_are_asked_for() {
        let policy = Policy::default();
        let staged = |wish: Wish| word(&policy, &wish, &facts(Risk::Low));
        let own = Staging { stages: policy.stages.clone(), bake: policy.bake, approval: false };
        assert_eq!(staged(Wish::of_file(Cause::Watch)), Ok(Way::Staged(own.clone())));
        let smaller = vec![0.01, 0.05, 1.0];
        let asked = Wish { stages: Some(smaller.clone()), ..api() };
        assert_eq!(staged(asked), Ok(Way::Staged(Staging { stages: smaller, ..own })));
        for laxer in [vec![0.06, 1.0], vec![1.0], vec![0.01, 0.5, 1.0]] {
            assert_eq!(staged(Wish { stages: Some(laxer), ..api() }), Err("laxer_stages"));
        }
        let bake = Some(Duration::from_secs(9));
        assert_eq!(staged(Wish { bake, ..api() }), Err("laxer_stages"));
    }

    #[test]
    fn at_once_needs_a_policy_that_allows_it_or_broken_glass() {
        let (required, free) = (Policy::default(), Policy { required: false, ..Policy::default() });
        let now = Wish { now: true, ..api() };
        let low = facts(Risk::Low);
        assert_eq!(word(&free, &Wish::of_file(Cause::Signal), &facts(Risk::High)), Ok(Way::AtOnce));
        assert_eq!(word(&free, &now, &low), Ok(Way::AtOnce));
        assert_eq!(word(&required, &now, &low), Err("needs_stages"));
        let glass = Wish { break_glass: true, ..now };
        assert_eq!(word(&required, &glass, &facts(Risk::High)), Ok(Way::BrokenGlass { bake: required.bake }));
        assert_eq!(word(&required, &Wish { admin: false, ..glass.clone() }, &low), Err("needs_admin"));
        assert_eq!(word(&required, &Wish { has_reason: false, ..glass }, &low), Err("needs_reason"));
    }

    #[test]
    fn high_risk_a_receipt_and_a_barred_text_stop_it_where_it_comes_from_a_file() {
        let policy = Policy::default();
        let file = Wish::of_file(Cause::Watch);
        assert_eq!(word(&policy, &file, &facts(Risk::High)), Err("needs_ack_risk"));
        let ack = Wish { ack: Some(Risk::High), ..api() };
        assert!(word(&policy, &ack, &facts(Risk::High)).is_ok());
        let missing = Facts { receipt: Err("there is none".into()), ..facts(Risk::Low) };
        assert_eq!(word(&policy, &file, &missing), Err("needs_receipt"));
        let free = Policy { required: false, ..Policy::default() };
        let now = Wish { now: true, ..api() };
        assert_eq!(word(&free, &file, &missing), Err("needs_receipt"), "also where stages are not required");
        assert_eq!(word(&free, &now, &missing), Err("needs_receipt"));
        let glass = Wish { break_glass: true, ..now };
        assert_eq!(word(&free, &glass, &missing), Ok(Way::BrokenGlass { bake: free.bake }));
        assert_eq!(word(&free, &Wish { admin: false, ..glass }, &missing), Err("needs_admin"));
        let barred = Facts { barred: Some("it was reverted".into()), ..facts(Risk::Low) };
        assert_eq!(word(&policy, &file, &barred), Err("barred"));
        assert_eq!(word(&free, &file, &barred), Err("barred"), "also where stages are not required");
        assert!(word(&policy, &api(), &barred).is_ok(), "somebody applies it");
    }

    #[test]
    fn of_several_freezes_each_has_to_be_named() {
        let freeze =
            |incident| FreezeView { incident, by: format!("ops{incident}"), ..FreezeView::default() };
        let held = Facts { freezes: [3, 5, 7, 9].map(freeze).into(), ..facts(Risk::Medium) };
        let policy = Policy::default();
        for some in [&[3][..], &[5], &[3, 5, 7], &[]] {
            let refusal = way(&policy, &for_incidents(some), &held).expect_err("not all are named");
            let told = refusal.to_string();
            assert_eq!(refusal.word(), "frozen");
            assert!(told.contains("FILE --incident 3 --incident 5 --incident 7 --incident 9`"), "{told}");
            assert!(told.contains("ops9") || told.contains("and 1 freezes more"), "{told}");
            assert!(some.iter().all(|named| !told.contains(&format!("ops{named}"))), "{told}");
            let glass = Wish { now: true, break_glass: true, ..for_incidents(some) };
            assert!(is_over_freeze(&glass, &held));
        }
        let all = for_incidents(&[9, 7, 5, 3]);
        assert!(way(&policy, &all, &held).is_ok() && !is_over_freeze(&all, &held));
    }

    #[test]
    fn a_freeze_holds_what_neither_names_its_incident_nor_breaks_the_glass() {
        let freeze = FreezeView { incident: 7, ..FreezeView::default() };
        let held = Facts { freezes: vec![freeze], ..facts(Risk::Medium) };
        for policy in [Policy::default(), Policy { required: false, ..Policy::default() }] {
            for cause in [Cause::Watch, Cause::Signal, Cause::Boot, Cause::Api] {
                assert_eq!(word(&policy, &Wish::of_file(cause), &held), Err("frozen"));
            }
            let named = for_incidents(&[7]);
            assert!(word(&policy, &named, &held).is_ok() && !is_over_freeze(&named, &held));
            assert_eq!(word(&policy, &for_incidents(&[8]), &held), Err("frozen"));
            let glass = Wish { now: true, break_glass: true, ..api() };
            assert!(word(&policy, &glass, &held).is_ok() && is_over_freeze(&glass, &held));
            assert_eq!(word(&policy, &Wish { break_glass: false, ..glass.clone() }, &held), Err("frozen"));
            assert_eq!(word(&policy, &Wish { admin: false, ..glass.clone() }, &held), Err("needs_admin"));
            assert_eq!(word(&policy, &Wish { has_reason: false, ..glass }, &held), Err("needs_reason"));
            let free = Facts { freezes: Vec::new(), ..held.clone() };
            assert!(word(&policy, &Wish::of_file(Cause::Watch), &free).is_ok());
            let unknown = Facts { no_incident: Some(9), ..free };
            assert_eq!(word(&policy, &for_incidents(&[9]), &unknown), Err("no_incident"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn where_stages_are_required_only_broken_glass_goes_around_them(
            now: bool, break_glass: bool, admin: bool, has_reason: bool, ack: bool,
            stages in proptest::option::of(proptest::collection::vec(0.001_f64..1.0, 0..4)),
            high: bool,
        ) {
            let stages = stages.map(|mut stages| {
                stages.sort_by(f64::total_cmp);
                stages.push(1.0);
                stages
            });
            let cause = Cause::Api;
            let ack = ack.then_some(Risk::High);
            let wish = Wish { cause, admin, has_reason, now, break_glass, ack, stages, bake: None, incidents: vec![] };
            let policy = Policy::default();
            match way(&policy, &wish, &facts(if high { Risk::High } else { Risk::Low })) {
                Ok(Way::AtOnce) => prop_assert!(false, "at once"),
                Ok(Way::BrokenGlass { .. }) => prop_assert!(now && break_glass && admin && has_reason),
                Ok(Way::Staged(staging)) => {
                    prop_assert!(staging.stages[0] <= 0.05 && staging.bake >= policy.bake);
                    prop_assert!(!high || ack.is_some());
                }
                Err(_) => {}
            }
        }
    }
}
