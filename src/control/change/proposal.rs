//! A text that somebody, or the file, wants active: what differs, how dangerous that is, which way is left for it, and
//! its beginning.

use super::Conductor;
use super::course::{Act, Change, Current, Judged};
use super::rules::{self, Facts, Way, Wish};
use super::view::GlassView;
use crate::config::compare::Comparison;
use crate::config::fields::Risk;
use crate::config::plan::Plan;
use crate::config::policy;
use crate::config::units::as_percent;
use crate::control::activate::Step;
use crate::control::apply::{Accepted, Begun, Other, Receipt, Unapplied};
use crate::control::history::{VersionOutcome, VersionRow, VersionSummary};
use crate::control::rollout::RouteScope;
use crate::control::{Active, receipt};
use crate::runtime::clock::unix_ms;
use crate::telemetry::events::{GlassBroken, RolloutStep};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a change that goes by stages waits for its number to be on disk.
const NUMBER: Duration = Duration::from_secs(2);
/// The same of one that is active at once, which somebody may want in a hurry.
const NUMBER_NOW: Duration = Duration::from_millis(400);

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    /// The text, checked, and where it comes from.
    pub active: Active,
    /// Which way.
    pub wish: Wish,
    /// To be confirmed within this time.
    pub confirm: Option<Duration>,
    /// What another environment says of it.
    pub receipt: Option<String>,
}

/// A version under way, with all that it takes to serve it.
#[derive(Debug)]
pub(super) struct Whole {
    pub number: u64,
    pub step: Step,
    pub active: Active,
    /// What making it fully active came to.
    pub came_to: Mutex<Option<Result<Receipt, String>>>,
}

impl Whole {
    /// Nothing is to be told of its course: it is active at once, as the policy allows, and good with that.
    pub(super) fn is_plain(&self) -> bool {
        self.step.good
    }
}

impl Conductor {
    /// Begins the change, on the way that the active version's policy leaves for it. At once means: before this
    /// returns. Blocks on files then.
    ///
    /// # Errors
    /// Why it does not begin. Nothing changed.
    pub(super) fn propose(&self, proposal: Proposal) -> Result<Accepted, Unapplied> {
        // Said before anything is compared: whoever is second need not wait for that.
        self.free()?;
        let rollbacks = self.control.rollbacks();
        let policy = self.control.policy();
        let comparison = self.control.outlook(&proposal.active.text, &proposal.active.plan).comparison;
        let hash = proposal.active.plan.hash.clone();
        let shown = proposal.receipt.as_deref();
        let freezes = self.control.incidents().freezes(comparison.risk, &self.control.thresholds());
        let named = proposal.wish.incidents.clone();
        let facts = Facts {
            freezes,
            no_incident: named.iter().copied().find(|id| !self.control.incidents().is_known(*id)),
            risk: comparison.risk,
            barred: self.control.is_barred(&hash),
            receipt: receipt::demand(&policy, shown, &hash).map(drop).map_err(|why| why.to_string()),
        };
        let way = rules::way(&policy, &proposal.wish, &facts).map_err(Unapplied::Refused)?;
        let over_freeze = rules::is_over_freeze(&proposal.wish, &facts);
        let number = self.control.take_number();
        let change = change(&proposal, number, &comparison, policy.guard);
        let origin = proposal.active.origin.clone();
        let good = way == Way::AtOnce && proposal.confirm.is_none();
        let step = Step { number, rollbacks, good };
        let whole = Arc::new(Whole { number, step, active: proposal.active, came_to: Mutex::default() });
        let act = {
            let mut state = self.state();
            // What was compared, and whose policy was asked, is active no more if somebody rolled back meanwhile.
            self.control.still(rollbacks).map_err(Unapplied::Failed)?;
            let act =
                state.course.begin(change, way.clone()).map_err(|other| Unapplied::UnderWay(told(other)))?;
            state.whole = Some(whole.clone());
            state.baseline = self.control.baseline().tallies();
            state.file = None;
            act
        };
        let staged = matches!(way, Way::Staged(_));
        self.control.change_begun(&whole, if staged { NUMBER } else { NUMBER_NOW });
        self.means.history.record(row(&whole, &comparison, self.control.number()));
        if !whole.is_plain() {
            let named = match named.as_slice() {
                [] => String::new(),
                all => {
                    format!(
                        ", for incident {}",
                        all.iter().map(u64::to_string).collect::<Vec<_>>().join(" and ")
                    )
                }
            };
            let way = way_told(&way, &comparison);
            let told = format!("it begins: risk {}, {way}{named}", comparison.risk.as_str());
            let by = origin.by.as_deref();
            RolloutStep { version: number, hash: &hash, step: "begun", percent: 0.0, by, told: &told }.emit();
        }
        if over_freeze || matches!(way, Way::BrokenGlass { .. }) {
            self.break_glass(&whole, &named);
        }
        let begun = || {
            let notices = whole.active.plan.notices.clone();
            Accepted::UnderWay(Begun { number, hash, risk: comparison.risk, notices })
        };
        match act {
            Some(Act::Activate(number)) => {
                self.activate(number);
                self.control.renew();
                came_to(&whole, comparison.risk)
            }
            act => {
                act.into_iter().for_each(|act| self.send(act));
                Ok(begun())
            }
        }
    }

    /// Whether nothing is under way.
    fn free(&self) -> Result<(), Unapplied> {
        match self.state().course.current() {
            Some(other) => Err(Unapplied::UnderWay(told(other))),
            None => Ok(()),
        }
    }

    /// Loudly, and until somebody has seen it.
    fn break_glass(&self, whole: &Whole, named: &[u64]) {
        let origin = &whole.active.origin;
        let glass = GlassView {
            number: whole.number,
            by: origin.by.clone().unwrap_or_default(),
            reason: origin.reason.clone().unwrap_or_default(),
            at: origin.since.clone(),
        };
        GlassBroken { version: glass.number, by: &glass.by, reason: &glass.reason, acknowledged: false }
            .emit();
        self.control.keep_glass(Some(&glass));
        let thresholds = self.control.thresholds();
        self.control.incidents().glass_broken(&glass, named, &thresholds);
        self.state().glass = Some(glass);
    }

    /// The version under way, if it has this number.
    pub(super) fn whole(&self, number: u64) -> Option<Arc<Whole>> {
        self.state().whole.clone().filter(|whole| whole.number == number)
    }
}

fn came_to(whole: &Whole, risk: Risk) -> Result<Accepted, Unapplied> {
    let came_to = whole.came_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match came_to {
        Some(Ok(receipt)) => Ok(Accepted::Active(Receipt { risk: Some(risk), ..receipt })),
        Some(Err(why)) => Err(Unapplied::Failed(why)),
        None => Err(Unapplied::Gone),
    }
}

fn change(proposal: &Proposal, number: u64, comparison: &Comparison, guard: policy::Guard) -> Change {
    let origin = &proposal.active.origin;
    Change {
        number,
        hash: proposal.active.plan.hash.clone(),
        cause: proposal.wish.cause,
        by: origin.by.clone(),
        reason: origin.reason.clone(),
        risk: comparison.risk,
        incidents: proposal.wish.incidents.clone(),
        confirm: proposal.confirm,
        judged: Judged {
            guard,
            routes: judged(comparison, &proposal.active.plan),
            longest_timeout: comparison.longest_timeout,
        },
    }
}

/// All of the candidate's routes are judged: a change may hurt where it was not meant to reach.
fn judged(comparison: &Comparison, plan: &Plan) -> Vec<RouteScope> {
    let is_new = |name: &Arc<str>| comparison.routes.iter().any(|route| route.new && route.name == *name);
    let names = plan.routes.iter().map(|(_, route)| route.name.clone());
    names.map(|name| RouteScope { new: is_new(&name), name }).collect()
}

fn row(whole: &Whole, comparison: &Comparison, parent: u64) -> VersionRow {
    let origin = &whole.active.origin;
    let at_ms = unix_ms();
    let summary = VersionSummary {
        number: whole.number,
        hash: whole.active.plan.hash.clone(),
        parent: Some(parent),
        cause: origin.cause.clone(),
        author: origin.by.clone(),
        reason: origin.reason.clone(),
        risk: Some(comparison.risk.as_str().to_owned()),
        at_ms,
        outcome: VersionOutcome::RollingOut,
        outcome_why: None,
        outcome_at_ms: at_ms,
    };
    VersionRow {
        summary,
        text: whole.active.text.to_string(),
        differences: json!(comparison.differences),
        findings: json!(whole.active.plan.notices),
    }
}

fn way_told(way: &Way, comparison: &Comparison) -> String {
    match way {
        Way::AtOnce => "at once".to_owned(),
        Way::BrokenGlass { .. } => "at once, by broken glass".to_owned(),
        Way::Staged(staging) => {
            let stages: Vec<_> = staging.stages.iter().map(|share| as_percent(*share)).collect();
            let approval = if staging.approval { "after somebody's approval " } else { "" };
            let least = comparison.longest_timeout.saturating_mul(2);
            let why =
                if least > staging.bake { ", twice the longest timeout among what differs" } else { "" };
            let bake = staging.bake.max(least);
            format!("{approval}by stages {} of {bake:?} each{why}", stages.join(", "))
        }
    }
}

pub(super) fn told(current: &Current) -> Other {
    let change = &current.change;
    Other {
        number: change.number,
        hash: change.hash.clone(),
        by: change.by.clone(),
        reason: change.reason.clone(),
        state: current.state(),
    }
}
