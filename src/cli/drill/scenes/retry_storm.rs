//! Retry storm: half of an upstream's capacity goes away, and every client that is not served tries again at once,
//! several times. When the capacity is back the storm should end by itself, though the clients never calm down.

use super::stage::{Act, Set, Stage};
use super::{Findings, Scene, Script};
use crate::cli::drill::found::{Measured, Role, Sight, Verdict};
use crate::cli::drill::origins::Setting;
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, Judged, percent};

/// Further tries of everybody who is not served.
const TRIES: u32 = 4;
/// Of what the stand-ins could do, what comes before anybody tries again.
const LOAD: f64 = 0.85;
/// Of those who come when the capacity is back, what must be served; with less it fails.
const BACK: f64 = 0.95;
const NEARLY: f64 = 0.8;
/// Of the half that is left, what must be used.
const USED: f64 = 0.6;

/// Strikes each upstream that is asked, in turn.
pub(super) fn play(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let stage = Stage::set(script, Set::USUAL, told, findings)?;
    for upstream in &script.sample.upstreams {
        findings.tell(&format!("retry-storm: {upstream} loses half of its capacity, and clients insist"));
        let capacity = stage.capacity(upstream);
        let set = |factor: u32| {
            let settings = stage.settings(upstream).into_iter();
            for (nth, setting) in stage.places(upstream).zip(settings) {
                stage.fleet.set(nth, Setting { service: setting.service * factor, ..setting });
            }
        };
        stage.load(upstream, capacity * LOAD);
        let calm = stage.calm(script.long(3.0, 2.0))?;
        stage.insist(TRIES);
        set(2);
        let hit = stage.pass(script.long(6.0, 4.0))?;
        set(1);
        // What was begun before it was back may end.
        stage.pass(script.long(3.0, 2.0))?;
        let after = stage.pass(script.long(3.0, 2.0))?;
        stage.insist(0);
        stage.load(upstream, script.rate());
        let during = stage.of_upstream(upstream, &stage.sights(hit)?);
        let after = stage.of_upstream(upstream, &stage.sights(after)?).share();
        let goodput = stage.goodput(upstream, hit);
        let measured = Measured {
            capacity_per_second: Some(capacity / 2.0),
            offered_per_second: Some(during.tries as f64 / hit.seconds()),
            goodput_per_second: Some(goodput),
            served_afterwards: Some(after),
            ..Measured::default()
        };
        let act = Act {
            scene: Scene::RetryStorm,
            struck: Some(upstream),
            title: format!("{upstream} loses half of its capacity, and clients insist"),
            calm,
            hit,
            measured,
        };
        let role =
            |target: &Target| Some(if target.upstream == *upstream { Role::Struck } else { Role::Beside });
        let used = goodput / (capacity / 2.0);
        let found = stage.found(act, role, |_, _, hit, times| stormy(used, after, hit, times))?;
        findings.add(script, found);
        stage.calms_down()?;
    }
    Ok(())
}

/// A route of the upstream; `used` is what was served of what was left, `after` the part that was served afterwards.
fn stormy(used: f64, after: f64, hit: &Sight, times: bool) -> Judged {
    let tries = hit.tries as f64 / hit.sent.max(1) as f64;
    let said = format!(
        "{} of {} served with {tries:.1} tries each; when the capacity was back, {}",
        hit.served,
        hit.sent,
        percent(after)
    );
    match verdict::by_share(after, BACK, NEARLY) {
        Verdict::Holds if used < USED && times => {
            (Verdict::Degraded, format!("{said}; but only {} of what was left was used", percent(used)))
        }
        Verdict::Holds => (Verdict::Holds, said),
        _ if !times => (Verdict::Unclear, format!("{said}, on a machine that was too busy to tell")),
        worse => (worse, said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_that_does_not_end_by_itself_fails() {
        let hit = Sight::made_up(100, 50, 0.1, ("upstream_limit", 50), ("", 0));
        assert_eq!(stormy(0.9, 1.0, &hit, true).0, Verdict::Holds);
        assert_eq!(stormy(0.2, 1.0, &hit, true).0, Verdict::Degraded);
        assert_eq!(stormy(0.9, 0.9, &hit, true).0, Verdict::Degraded);
        assert_eq!(stormy(0.9, 0.1, &hit, true).0, Verdict::Fails);
        assert_eq!(stormy(0.9, 0.1, &hit, false).0, Verdict::Unclear);
    }
}
