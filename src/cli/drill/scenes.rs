//! The scenes of a drill: each strikes one thing before a gateway of its own, and looks at every route that is asked.
//!
//! A scene begins with calm, which everything after it is compared with.

mod bad_name;
mod flash_crowd;
mod hung_auth;
mod hung_upstream;
mod lanes;
mod restart;
mod retry_storm;
mod script;
mod stage;

pub(super) use script::Script;

use super::advice;
use super::found::{Found, Verdict};
use super::told::Told;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Instant;

/// Which scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scene {
    /// An upstream takes requests and never answers.
    HungUpstream,
    /// A service that judges takes questions and never answers.
    HungAuth,
    /// Several times as many clients as the backends can serve.
    FlashCrowd,
    /// Half of the capacity is gone, and whoever is not served tries again at once.
    RetryStorm,
    /// One backend restarts.
    RestartOne,
    /// All backends restart at once, cold.
    RestartAll,
    /// Names that are denied or not answered, and a change that brings a wrong one.
    BadName,
}

impl Scene {
    /// All of them, in the order in which they are played.
    pub const ALL: [Scene; 7] = [
        Scene::HungUpstream,
        Scene::HungAuth,
        Scene::FlashCrowd,
        Scene::RetryStorm,
        Scene::RestartOne,
        Scene::RestartAll,
        Scene::BadName,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scene::HungUpstream => "hung-upstream",
            Scene::HungAuth => "hung-auth",
            Scene::FlashCrowd => "flash-crowd",
            Scene::RetryStorm => "retry-storm",
            Scene::RestartOne => "restart-one",
            Scene::RestartAll => "restart-all",
            Scene::BadName => "bad-name",
        }
    }
}

/// A scene that was not played.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Skipped {
    /// Which.
    pub scene: Scene,
    /// Why not.
    pub why: String,
}

/// What all scenes found so far.
#[derive(Debug)]
pub(super) struct Findings {
    started: Instant,
    aloud: bool,
    /// In the order in which they were played.
    pub found: Vec<Found>,
    /// Those that this configuration gives no occasion for.
    pub skipped: Vec<Skipped>,
    /// Routes that did not answer in calm, and what they said instead.
    pub unanswered: BTreeSet<String>,
}

impl Findings {
    /// Nothing yet; with what goes on told to standard error, or not.
    pub fn new(aloud: bool) -> Findings {
        Findings {
            started: Instant::now(),
            aloud,
            found: Vec::new(),
            skipped: Vec::new(),
            unanswered: BTreeSet::new(),
        }
    }

    /// Something goes on.
    pub fn tell(&self, what: &str) {
        if self.aloud {
            let at = self.started.elapsed().as_secs_f64();
            super::wrapped(what, &format!("{at:6.1} s  ")).iter().for_each(|line| eprintln!("{line}"));
        }
    }

    /// There is nothing to strike.
    fn skip(&mut self, scene: Scene, why: &str) {
        self.tell(&format!("{}: not played, because {why}", scene.as_str()));
        self.skipped.push(Skipped { scene, why: why.to_owned() });
    }

    /// A scene is over.
    fn add(&mut self, script: &Script, mut found: Found) {
        found.conclude();
        found.advice = advice::of(&script.facts, &found);
        let changes = match found.advice.len() {
            0 => String::new(),
            1 => ", one setting to change".to_owned(),
            many => format!(", {many} settings to change"),
        };
        let doubt = found.doubt.map(|doubt| format!(", {}", doubt.because())).unwrap_or_default();
        self.tell(&format!("    {}{doubt}{changes}", found.verdict.as_str()));
        self.found.push(found);
    }

    /// A route of the sample does not answer, though nothing was struck.
    fn not_asked(&mut self, said: String) {
        if !self.unanswered.contains(&said) {
            self.tell(&format!("not asked: {said}"));
            self.unanswered.insert(said);
        }
    }

    /// No scene failed, and each could be judged; where none has an occasion, none fails.
    pub fn holds(&self) -> bool {
        let played = !self.found.is_empty() || !self.skipped.is_empty();
        played && self.found.iter().all(|found| found.verdict <= Verdict::Degraded)
    }
}

/// Plays scenes, one after the other.
///
/// # Errors
/// If the drill itself cannot go on; what does not hold is among the findings.
pub(super) fn play(
    script: &Script,
    names: &[Scene],
    told: &Told,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    Scene::ALL.into_iter().filter(|name| names.contains(name)).try_for_each(|name| match name {
        Scene::HungUpstream => hung_upstream::play(script, told, findings),
        Scene::HungAuth => hung_auth::play(script, told, findings),
        Scene::FlashCrowd => flash_crowd::play(script, told, findings),
        Scene::RetryStorm => retry_storm::play(script, told, findings),
        Scene::RestartOne => restart::play_one(script, told, findings),
        Scene::RestartAll => restart::play_all(script, told, findings),
        Scene::BadName => bad_name::play(script, told, findings),
    })
}
