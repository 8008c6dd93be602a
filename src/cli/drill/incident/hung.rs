//! (c) The rollback while everything hangs: the auth service and the name server are silent, the configuration file
//! is garbage, and what the good version names is gone, so that today's check would refuse it. That refusal cost 21
//! minutes on 24 March 2023.

use super::Drill;
use super::course::{How, Pushed};
use crate::cli::drill::crowd::Kind;
use crate::cli::drill::gateway::FILE;
use crate::cli::drill::rewrite::SECRET;
use crate::config::{self, ProcessEnvironment};
use std::time::{Duration, Instant};

/// From the command to its answer.
const SOON: Duration = Duration::from_secs(1);
/// For the forced version to become active.
const ACTIVE: Duration = Duration::from_secs(10);
/// The guard may be faster than the command: then once more.
const TRIES: usize = 3;
/// After the rollback, until what was under way is over.
const OVER: Duration = Duration::from_millis(500);

impl Drill<'_> {
    /// Takes everything away, and rolls back.
    pub(super) fn hung(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        self.report
            .tell("(c) the file is garbage, what the good version names is gone, names do not resolve");
        let secret = self.scene.scratch.read(SECRET);
        self.scene.scratch.write(FILE, "this is [[ not toml")?;
        self.scene.scratch.remove(SECRET)?;
        let checked = config::check(&self.scene.good, &self.scene.scratch.file(FILE), &ProcessEnvironment);
        self.report.bar(
            "c",
            "the_check_would_refuse",
            checked.is_refused(),
            "the check of today refuses the version that is rolled back to".to_owned(),
        );
        let worse = self.scene.worse()?;
        let mut rolled = None;
        for _ in 0..TRIES {
            if let Pushed::Refused(why) = self.push(&worse, &How::BrokenGlass, "drill: worse")? {
                anyhow::bail!("the gateway refuses broken glass: {why}");
            }
            self.told.wait_for(ACTIVE, || Ok((!self.is_good()?).then_some(())))?;
            self.report.tell("    forced through; the auth service is silent: rolling back");
            let began = Instant::now();
            let answer = self.scene.gateway.roll_back("drill: everything hangs");
            let took = began.elapsed();
            let good = self.is_good()?;
            match answer {
                Ok(answer) => {
                    rolled = Some((took, good, answer["persisted"].clone()));
                    break;
                }
                // The guard was there first, and there is nothing to roll back from.
                Err(_) if good => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (took, good, persisted) =
            rolled.ok_or_else(|| anyhow::anyhow!("the guard was faster, {TRIES} times"))?;
        self.report.rollback_s = Some(took.as_secs_f64());
        self.report.tell(format!("    rolled back in {} ms, persisted: {persisted}", took.as_millis()));
        let said = format!(
            "one command brought the good version back in {} ms, of at most {} ms",
            took.as_millis(),
            SOON.as_millis()
        );
        self.report.bar("c", "rollback_takes_less_than_a_second", good && took <= SOON, said);
        self.judge_hung()?;
        self.part("c", "the rollback while everything hangs", from)?;
        self.scene.scratch.write(SECRET, &secret)?;
        let text = self.scene.good.clone();
        self.scene.scratch.write(FILE, &text)?;
        Ok(())
    }

    /// Who comes after it is served, and the origins are told what stood in the file that is gone.
    fn judge_hung(&mut self) -> anyhow::Result<()> {
        self.told.pass(OVER)?;
        let (before, from) = (self.scene.fleet.seen(), Instant::now());
        self.told.pass(Duration::from_secs(1))?;
        let after = self.tally(&Kind::ALL, from, Instant::now())?;
        let seen = self.scene.fleet.seen();
        let said = format!("{} of {} clients who came after it were lost", after.lost, after.asked);
        self.report.bar("c", "everybody_is_served_after_it", after.lost * 100 <= after.asked, said);
        let (served, told) = (seen.served - before.served, seen.with_secret - before.with_secret);
        let said = format!("{told} of {served} requests carried what stood in the file that is gone");
        self.report.bar("c", "what_a_gone_file_said_is_kept", told > 0 && told * 100 >= served * 99, said);
        Ok(())
    }
}
