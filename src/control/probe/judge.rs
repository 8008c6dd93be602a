//! From what was seen of places to findings about targets: one sentence for a target that is wholly gone, else one
//! for each backend; what gates first, and not more than anyone reads. Pure.

use super::Finding;
use super::dial::{Seen, first};
use super::survey::{Member, Survey, Target};
use crate::config::policy::Weight;

/// Findings at most; a fleet that is gone has one cause, not thousands.
pub(super) const MOST: usize = 100;

/// What to say of everything; `seen` is of the spots of `survey`, in their order.
pub(super) fn judge(survey: &Survey, seen: &[Seen]) -> Vec<Finding> {
    let bench = Bench { survey, seen };
    let mut findings: Vec<_> = survey.targets.iter().flat_map(|target| bench.target(target)).collect();
    // Stable: within a severity what matters most stays first.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let more = findings.len().saturating_sub(MOST);
    if more > 0 {
        let least = findings[MOST..].iter().map(|finding| finding.severity).max();
        findings.truncate(MOST);
        let what = format!("{more} more findings are not shown");
        findings.push(Finding { severity: least.unwrap_or(Weight::Information), ..Finding::of_probe(what) });
    }
    findings
}

struct Bench<'a> {
    survey: &'a Survey,
    seen: &'a [Seen],
}

impl Bench<'_> {
    fn target(&self, target: &Target) -> Vec<Finding> {
        let dead = |member: &&Member| matches!(self.seen_of(member), Seen::Dead(_));
        if !target.members.is_empty() && target.members.iter().all(|member| dead(&member)) {
            if target.told {
                return Vec::new();
            }
            if let Some(severity) = target.whole {
                return vec![self.finding(target, &target.members, severity, self.gone(target))];
            }
        }
        let mut findings: Vec<_> =
            target.members.iter().filter_map(|member| self.member(target, member)).collect();
        findings.extend(self.unreached(target));
        findings
    }

    /// Why nothing of it can be reached.
    fn gone(&self, target: &Target) -> String {
        let why = |member: &Member| {
            let Seen::Dead(why) = self.seen_of(member) else { return String::new() };
            match (&member.name, target.members.len()) {
                (Some(name), 2..) => format!("{name}: {why}"),
                _ => why.clone(),
            }
        };
        let all: Vec<_> = target.members.iter().map(why).collect();
        match all.len() {
            1 => format!("cannot be reached: {}", first(&all)),
            count => format!("none of its {count} backends can be reached: {}", first(&all)),
        }
    }

    /// One place of a target of which others can be reached.
    fn member(&self, target: &Target, member: &Member) -> Option<Finding> {
        let (severity, what) = match self.seen_of(member) {
            Seen::Dead(why) => (member.each?, format!("cannot be reached: {why}")),
            Seen::Reached { dead, of } if !dead.is_empty() => {
                let what = format!("{} of its {of} addresses cannot be reached: {}", dead.len(), first(dead));
                (member.each?.min(Weight::Warning), what)
            }
            _ => return None,
        };
        let mut finding = self.finding(target, std::slice::from_ref(member), severity, what);
        if let Some(name) = &member.name {
            finding.target = format!("{} backend {name}", target.label);
        }
        Some(finding)
    }

    /// What there was no time for. It proves nothing, so it gates nothing.
    fn unreached(&self, target: &Target) -> Option<Finding> {
        let late: Vec<_> =
            target.members.iter().filter(|member| *self.seen_of(member) == Seen::NotYet).cloned().collect();
        if late.is_empty() {
            return None;
        }
        let what = match target.members.len() {
            1 => "not probed in time".to_owned(),
            all => format!("not probed in time: {} of its {all} backends", late.len()),
        };
        let severity = if target.changed { Weight::Warning } else { Weight::Information };
        Some(self.finding(target, &late, severity, what))
    }

    fn finding(&self, target: &Target, members: &[Member], severity: Weight, what: String) -> Finding {
        let address = |member: &Member| {
            self.survey.spots.get(member.spot).map(|spot| spot.place.address.to_string()).unwrap_or_default()
        };
        let all: Vec<_> = members.iter().map(address).collect();
        Finding { target: target.label.clone(), address: first(&all).replace("; ", ", "), severity, what }
    }

    fn seen_of(&self, member: &Member) -> &Seen {
        self.seen.get(member.spot).unwrap_or(&Seen::NotYet)
    }
}
