//! Who asks for what in a scene: the routes of the sample that answer, and for each upstream one lane of clients without
//! auth, one of new clients and one of known ones.

use super::Findings;
use super::script::Script;
use crate::cli::drill::crowd::{self, Kind, Stream, World};
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use std::time::{Duration, Instant};

/// For names to be resolved and keys to be there, after the start.
const READY: Duration = Duration::from_secs(10);
/// Between two looks whether they are.
const LOOK: Duration = Duration::from_millis(300);
/// Of the clients of guarded routes, those who come again and again.
pub(super) const KNOWN: f64 = 0.75;

/// One kind of client of one upstream.
pub(super) struct Lane {
    /// Where they go.
    pub upstream: String,
    /// Its part of the upstream's requests.
    pub part: f64,
}

/// Those of the sample that really answer, once the gateway had time to resolve names.
///
/// # Errors
/// If none does, or it was told to stop.
pub(super) fn usable(
    script: &Script,
    world: &World,
    told: &Told,
    findings: &mut Findings,
) -> anyhow::Result<Vec<Target>> {
    let targets = &script.sample.targets;
    let begun = Instant::now();
    loop {
        let served = crowd::try_each(world, targets)?;
        let early = served.iter().any(|it| it.as_ref().is_err_and(|why| why.starts_with("503")));
        if early && begun.elapsed() < READY {
            told.pass(LOOK)?;
            continue;
        }
        let (mut usable, mut why) = (Vec::new(), Vec::new());
        for (target, served) in targets.iter().zip(served) {
            match served {
                Ok(()) => usable.push(target.clone()),
                Err(said) => why.push(format!("route {}: {said}", target.route)),
            }
        }
        if usable.is_empty() {
            anyhow::bail!("no route that is asked answers: {}", why.join("; "));
        }
        why.into_iter().for_each(|why| findings.not_asked(why));
        return Ok(usable);
    }
}

/// Who asks for what: of each upstream those without auth, and with auth new and known clients.
pub(super) fn streams(script: &Script, targets: &[Target]) -> (Vec<Stream>, Vec<Lane>) {
    let (mut streams, mut lanes) = (Vec::new(), Vec::new());
    for upstream in &script.sample.upstreams {
        let here = || targets.iter().filter(|target| target.upstream == *upstream);
        let all = here().count().max(1) as f64;
        for (kind, share) in [(Kind::Public, 1.0), (Kind::New, 1.0 - KNOWN), (Kind::Known, KNOWN)] {
            let asked = here().filter(|target| target.auth.is_none() == (kind == Kind::Public));
            let asked: Vec<Target> = asked.cloned().collect();
            if asked.is_empty() {
                continue;
            }
            let part = share * asked.len() as f64 / all;
            streams.push(Stream { kind, targets: asked, rate: script.rate() * part });
            lanes.push(Lane { upstream: upstream.clone(), part });
        }
    }
    (streams, lanes)
}
