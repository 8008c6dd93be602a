//! (a) The bad address is pushed the ordinary way: one that no name server answers for is refused before it serves
//! anybody; one that takes connections and says nothing, which no probe can see, is stopped at the first cohort.

use super::course::{Ended, How, Pushed};
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
        // What is active serves everyone.
        let most = if good { most } else { 1.0 };
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
        self.report.bar(
            "a",
            "unresolvable_hurts_nobody",
            stopped && lost.lost_share() <= most + MARGIN,
            said,
        );
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
        let most = if good { ended.most_percent / 100.0 } else { 1.0 };
        let stopped = ended.outcome == "reverted" && good;
        let said = format!(
            "an address that never answers: {} at {} of the clients; the first stage is {}",
            ended.outcome,
            percent(most),
            percent(first)
        );
        let holds = stopped && most <= first + 1e-9;
        self.report.bar("a", "silent_is_stopped_at_the_first_cohort", holds, said);
        self.judge_stopped(&ended, from, stopped)?;
        self.part("a", "an address that never answers, pushed", from)?;
        self.restores()
    }
    /// What it cost, and how soon it ended.
    fn judge_stopped(&mut self, ended: &Ended, from: Instant, stopped: bool) -> anyhow::Result<()> {
        let (offered, at) = (ended.offered.unwrap_or(from), ended.at.unwrap_or_else(Instant::now));
        // Compared at one moment: the gateway knows its share of what was over by then.
        let (percents, by) = ended.realised.unwrap_or((ended.most_percent, at));
        let lost = self.scene.crowd.seen().ended_between(offered, by);
        let said = format!(
            "{} of {} clients were lost while it was tried: {}; it served {percents:.2} % of the requests, and half \
             a point may be added",
            lost.lost,
            lost.asked,
            percent(lost.lost_share()),
        );
        let holds = stopped && lost.lost_share() <= percents / 100.0 + MARGIN;
        self.report.bar("a", "silent_costs_its_cohort_at_most", holds, said);
        let eighth = self.scene.crowd.seen().nth_lost(&Kind::ALL, offered, DECIDE);
        // Reverted before eight clients knew of their failure: the guard saw requests that were overdue.
        let took = eighth.map_or(Duration::ZERO, |eighth| at.saturating_duration_since(eighth));
        let said = match stopped {
            true => format!(
                "reverted {:.1} s after the eighth failure, of at most {} s",
                took.as_secs_f64(),
                REVERTED.as_secs()
            ),
            false => "nothing reverted it".to_owned(),
        };
        self.report.bar("a", "reverted_within_seconds", stopped && took <= REVERTED, said);
        self.report.push_to_revert_s = stopped.then(|| (at - from).as_secs_f64());
        Ok(())
    }
}
