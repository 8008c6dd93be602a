//! Hung upstream: all backends of one upstream accept and never answer. Its own users cannot be served; they should be
//! told soon. Nobody else should notice.

use super::stage::{Act, Set, Span, Stage};
use super::{Findings, Scene, Script};
use crate::cli::drill::found::{Measured, Role, Sight, Verdict};
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{Judged, percent};
use std::time::Duration;

/// So many must know soon, whatever it is that they are told.
pub(super) const SOON: f64 = 0.9;
/// Once the first answers were missed, the gateway has so long to notice.
const NOTICES: Duration = Duration::from_secs(1);
/// Less time than that after it noticed says nothing.
const ENOUGH: Duration = Duration::from_millis(500);

/// Strikes each upstream that is asked, in turn.
pub(super) fn play(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let stage = Stage::set(script, Set::USUAL, told, findings)?;
    for upstream in &script.sample.upstreams {
        findings.tell(&format!("hung-upstream: {upstream} accepts and never answers"));
        let calm = stage.calm(script.long(3.0, 2.0))?;
        stage.places(upstream).for_each(|nth| stage.fleet.hang(nth, true));
        let hit = stage.pass(script.long(6.0, 4.0))?;
        // Whoever came meanwhile sees it through; then it answers again.
        stage.load(upstream, 0.0);
        let measured =
            Measured { unnoticed: unnoticed(&stage, upstream, script, hit)?, ..Measured::default() };
        stage.sights(hit)?;
        stage.places(upstream).for_each(|nth| stage.fleet.hang(nth, false));
        stage.load(upstream, script.rate());
        let act = Act {
            scene: Scene::HungUpstream,
            struck: Some(upstream),
            title: format!("{upstream} accepts and never answers"),
            calm,
            hit,
            measured,
        };
        let needs = |target: &Target| {
            let auth = script.facts.route(&target.route).and_then(|route| route.auth.as_ref());
            let judge = auth.and_then(|auth| script.facts.auths.get(auth));
            target.upstream == *upstream || judge.is_some_and(|judge| judge.upstream == *upstream)
        };
        let role = |target: &Target| Some(if needs(target) { Role::Struck } else { Role::Beside });
        let found = stage.found(act, role, |_, _, hit, _| told_soon(hit))?;
        findings.add(script, found);
        stage.calms_down()?;
    }
    Ok(())
}

/// Nobody can be served; who is told soon can do something else.
pub(super) fn told_soon(hit: &Sight) -> Judged {
    let (soon, waited) = (hit.soon_share(), hit.sent - hit.soon);
    match soon >= SOON {
        true => (Verdict::Holds, format!("{} knew within 3 s that it fails", percent(soon))),
        false => {
            (Verdict::Degraded, format!("{waited} of {} users waited 3 s and longer for nothing", hit.sent))
        }
    }
}

/// Of those who came when its timeouts had passed once and the gateway had had time to notice, the part that waited
/// for nothing. Unknown where the timeouts are longer than the scene.
fn unnoticed(stage: &Stage<'_>, upstream: &str, script: &Script, hit: Span) -> anyhow::Result<Option<f64>> {
    let here = stage.targets.iter().filter(|target| target.upstream == upstream);
    let timeouts = here.filter_map(|target| Some(script.facts.route(&target.route)?.timeout));
    let from = hit.from + timeouts.max().unwrap_or_default() + NOTICES;
    if from + ENOUGH > hit.to {
        return Ok(None);
    }
    let sights = stage.sights(Span { from, to: hit.to })?;
    let all = stage.of_upstream(upstream, &sights);
    Ok((all.sent > 0).then(|| all.failures() as f64 / all.sent as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_long_for_nothing_is_what_counts() {
        let refused = Sight::made_up(100, 0, 0.0, ("no_backend", 100), ("", 0));
        assert_eq!(told_soon(&refused).0, Verdict::Holds);
        let waited = Sight::made_up(100, 0, 0.0, ("no_backend", 50), ("no answer", 50));
        let (verdict, why) = told_soon(&waited);
        assert_eq!(verdict, Verdict::Degraded);
        assert!(why.contains("50 of 100"), "{why}");
    }
}
