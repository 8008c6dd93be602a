//! 24 March 2023 once more, before a gateway: the bad address of the auth service is (a) pushed the ordinary way,
//! (b) forced through, (c) rolled back while everything hangs, and (d) the fleet behind it restarts.
//!
//! Each part leaves the gateway as it found it, on the good version.

mod course;
mod forced;
mod hung;
mod pushed;
mod restarted;

use super::crowd::Kind;
use super::crowd::seen::Tally;
use super::report::Report;
use super::rewrite::Pace;
use super::scene::Scene;
use super::told::Told;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the clients come before the first push: references of origins are learned, and what was usual on each
/// route, which is looked at every ten seconds.
const BEFORE: Duration = Duration::from_secs(11);

/// One part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Act {
    /// Pushed the ordinary way.
    A,
    /// Forced through.
    B,
    /// Rolled back while everything hangs.
    C,
    /// The fleet restarts.
    D,
}

/// Replays it on a configuration that was found in `file`.
///
/// # Errors
/// If the drill itself cannot go on; what does not hold is in the report.
pub(super) fn replay(
    text: &str,
    file: &Path,
    pace: Pace,
    acts: &[Act],
    told: &Told,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.tell(format!("{} is rewritten for loopback, and started", file.display()));
    let scene = Scene::set(text, file, pace, told)?;
    report.notes = scene.notes.clone();
    report.rate = scene.rate();
    report.tell(format!("clients come, {:.0} requests a second, whatever becomes of them", scene.rate()));
    told.pass(BEFORE)?;
    if scene.judge.asked() == 0 {
        anyhow::bail!("the auth service was not asked once: nothing of this configuration depends on it");
    }
    let mut drill = Drill { scene, told, report, hash: String::new() };
    drill.hash = drill.scene.gateway.hash()?;
    // In this order, whatever the order in which they were asked for.
    let mut asked = [Act::A, Act::B, Act::C, Act::D].into_iter().filter(|act| acts.contains(act));
    let all = asked.try_for_each(|act| match act {
        Act::A => drill.refused().and_then(|()| drill.stopped()),
        Act::B => drill.forced(),
        Act::C => drill.hung(),
        Act::D => drill.restarted(),
    });
    if let Err(error) = all {
        let log = drill.scene.gateway.last_words(&drill.scene.scratch);
        anyhow::bail!("{error:#}\nthe gateway's last words:\n{log}");
    }
    let forgotten = drill.scene.crowd.seen().forgotten();
    if forgotten > 0 {
        drill
            .report
            .notes
            .push(format!("{forgotten} requests at the end are not counted: there were too many"));
    }
    Ok(())
}

/// A drill under way.
struct Drill<'a> {
    scene: Scene,
    told: &'a Told,
    report: &'a mut Report,
    /// Of the good version.
    hash: String,
}

impl Drill<'_> {
    /// Waits for those who were due in a part, and what became of them.
    fn tally(&self, kinds: &[Kind], from: Instant, to: Instant) -> anyhow::Result<Tally> {
        self.scene.crowd.settle(self.told, to)?;
        let mut sum = Tally::default();
        kinds.iter().for_each(|kind| sum.add(&self.scene.crowd.seen().between(*kind, from, to)));
        Ok(sum)
    }

    /// A part is over.
    fn part(&mut self, phase: &'static str, title: &'static str, from: Instant) -> anyhow::Result<()> {
        let to = Instant::now();
        let tally = self.tally(&Kind::ALL, from, to)?;
        self.report.part(phase, title, (to - from).as_secs_f64(), tally);
        Ok(())
    }

    /// Waits until everybody is served again, so that no part is blamed for the one before.
    fn calms_down(&self) -> anyhow::Result<bool> {
        let quiet = Duration::from_millis(700);
        let calm = self.told.wait_for(Duration::from_secs(20), || {
            let now = Instant::now();
            let from = now.checked_sub(quiet).unwrap_or(now);
            let seen = self.scene.crowd.seen();
            let asked: u64 = Kind::ALL.iter().map(|kind| seen.between(*kind, from, now).asked).sum();
            Ok((asked > 0 && seen.last_lost(&Kind::ALL, from, now).is_none()).then_some(()))
        })?;
        Ok(calm.is_some())
    }

    /// Every part begins on the good version, also where the one before did not keep the bad one out.
    fn restores(&mut self) -> anyhow::Result<()> {
        if !self.is_good()? {
            self.report.tell("    it is still active: rolled back by hand");
            self.scene.gateway.roll_back("drill: the next part")?;
            if !self.is_good()? {
                anyhow::bail!("a rollback did not bring back the version that the drill began with");
            }
        }
        self.calms_down()?;
        Ok(())
    }

    /// The good version is active.
    fn is_good(&self) -> anyhow::Result<bool> {
        Ok(self.scene.gateway.hash()? == self.hash)
    }
}

/// A part as people read it.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
