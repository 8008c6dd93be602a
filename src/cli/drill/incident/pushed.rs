//! (a) The bad address is pushed the ordinary way: one that no name server answers for is refused before it serves
//! anybody; one that takes connections and says nothing, which no probe can see, is stopped at the first cohort.

use super::course::{How, Pushed};
use super::{Drill, percent};
use crate::cli::drill::crowd::Kind;
use std::time::{Duration, Instant};

/// A name that nobody has (RFC 2606), asked of a name server that never answers: nobody can say that there is none.
pub(super) const NOWHERE: &str = "auth.drill.example:8080";
/// A probe has 3 s, and a busy machine some more.
const PROBED: Duration = Duration::from_secs(15);
/// For a stage's guard to see enough.
const JUDGED: Duration = Duration::from_secs(40);
/// A failed part may exceed the cohort by so much.
const MARGIN: f64 = 0.005;
/// From the failure that decides to the end of the change.
const REVERTED: Duration = Duration::from_secs(5);
/// Failures that decide.
const DECIDE: usize = 8;

impl Drill<'_> {
    /// An address that cannot be resolved.
    pub(super) fn refused(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        self.report.tell(format!("(a) the auth service is moved to {NOWHERE}, the ordinary way"));
        let text = self.scene.bad(NOWHERE);
        let (outcome, why, most) = match self.push(&text, &How::Ordinary, "drill: a new address")? {
            Pushed::Refused(why) => ("refused".to_owned(), why, 0.0),
            Pushed::Taken(number) => {
                let ended = self.follow(number, PROBED)?;
                (ended.outcome, ended.why, ended.most_percent / 100.0)
            }
        };
        let good = self.is_good()?;
        self.report.tell(format!("    {outcome}: {why}"));
        let lost = self.tally(&Kind::ALL, from, Instant::now())?;
        let stopped = matches!(outcome.as_str(), "refused" | "reverted") && good;
        let said = format!("an address that does not resolve: {outcome}, having served {}", percent(most));
        self.report.bar("a", "unresolvable_is_stopped", stopped, said);
        let said = format!(
            "{} of {} clients lost meanwhile, of at most {}",
            lost.lost,
            lost.asked,
            percent(most + MARGIN)
        );
        self.report.bar("a", "unresolvable_hurts_nobody", lost.lost_share() <= most + MARGIN, said);
        self.part("a", "an address that does not resolve, pushed", from)?;
        self.restores()
    }

    /// An address that accepts and never answers.
    pub(super) fn stopped(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        let silent = self.scene.silence.server()?.to_string();
        self.report
            .tell(format!("(a) the auth service is moved to {silent}, which accepts and never answers"));
        let text = self.scene.bad(&silent);
        let ended = match self.push(&text, &How::Ordinary, "drill: a new address")? {
            Pushed::Taken(number) => self.follow(number, JUDGED)?,
            Pushed::Refused(why) => anyhow::bail!("the gateway refused to try it: {why}"),
        };
        let good = self.is_good()?;
        self.report.tell(format!("    {}: {}", ended.outcome, ended.why));
        let first = self.scene.plan.rollout.stages.first().copied().unwrap_or(1.0);
        let stayed = ended.most_percent / 100.0 <= first + 1e-9;
        let said = format!(
            "an address that never answers: {} at {:.1} % of the clients; the first stage is {}",
            ended.outcome,
            ended.most_percent,
            percent(first)
        );
        self.report.bar(
            "a",
            "silent_is_stopped_at_the_first_cohort",
            ended.outcome == "reverted" && stayed && good,
            said,
        );
        let (offered, at) = (ended.offered.unwrap_or(from), ended.at.unwrap_or_else(Instant::now));
        // Compared at one moment: the gateway knows its share of what was over by then.
        let (percents, by) = ended.realised.unwrap_or((ended.most_percent, at));
        let lost = self.scene.crowd.seen().ended_between(offered, by);
        let most = percents / 100.0 + MARGIN;
        let said = format!(
            "{} of {} clients were lost while it was tried: {}; it served {percents:.2} % of the requests, and half a point may be added",
            lost.lost,
            lost.asked,
            percent(lost.lost_share()),
        );
        self.report.bar("a", "silent_costs_its_cohort_at_most", lost.lost_share() <= most, said);
        let eighth = self.scene.crowd.seen().nth_lost(&Kind::ALL, offered, DECIDE);
        // Reverted before eight clients knew of their failure: the guard saw requests that were overdue.
        let took = eighth.map_or(Duration::ZERO, |eighth| at.saturating_duration_since(eighth));
        let reverted = ended.outcome == "reverted" && took <= REVERTED;
        let said = format!(
            "reverted {:.1} s after the eighth failure, of at most {} s",
            took.as_secs_f64(),
            REVERTED.as_secs()
        );
        self.report.bar("a", "reverted_within_seconds", reverted, said);
        self.report.push_to_revert_s = Some((at - from).as_secs_f64());
        self.part("a", "an address that never answers, pushed", from)?;
        self.restores()
    }
}
