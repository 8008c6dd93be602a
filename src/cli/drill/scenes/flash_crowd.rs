//! Flash crowd: several times as many clients come as the backends of one upstream can serve. As many as can be served
//! should be, and as fast as ever; the others should be told at once, those of lower classes first.

use super::stage::{Act, Set, Stage};
use super::{Findings, Scene, Script};
use crate::cli::drill::found::{Measured, Role, RouteFound, Sight, Verdict};
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, Judged, percent};

/// So many times what the stand-ins can do, and requests a second at most; then fewer times, but not below five.
const TIMES: f64 = 8.0;
const LEAST: f64 = 5.0;
const MOST: f64 = 400.0;
/// Of what the stand-ins can do, what must be served; with less than half it fails.
const GOODPUT: f64 = 0.8;
const HALF: f64 = 0.5;
/// Of all that came, those that may wait for nothing.
const WAITED: f64 = 0.1;
/// A refusal later than that, one in a hundred, is no refusal in time.
const REFUSED_MS: f64 = 1_000.0;

/// Strikes each upstream that is asked, in turn.
pub(super) fn play(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let stage = Stage::set(script, Set::USUAL, told, findings)?;
    for upstream in &script.sample.upstreams {
        let capacity = stage.capacity(upstream);
        let times = (MOST / capacity).clamp(LEAST, TIMES);
        findings.tell(&format!(
            "flash-crowd: {upstream} gets {:.0} requests a second, {times:.0} times what its stand-ins can do",
            capacity * times
        ));
        let calm = stage.calm(script.long(3.0, 2.0))?;
        let before = stage.metric("tidegate_upstream_shadow_shed_total", upstream)?;
        stage.load(upstream, capacity * times);
        let hit = stage.pass(script.long(6.0, 4.0))?;
        stage.load(upstream, script.rate());
        let shadow = stage.metric("tidegate_upstream_shadow_shed_total", upstream)? - before;
        let all = stage.of_upstream(upstream, &stage.sights(hit)?);
        let goodput = stage.goodput(upstream, hit);
        let measured = Measured {
            capacity_per_second: Some(capacity),
            offered_per_second: Some(all.sent as f64 / hit.seconds()),
            goodput_per_second: Some(goodput),
            // A count.
            shadow_sheds: Some(shadow.max(0.0) as u64),
            ..Measured::default()
        };
        let act = Act {
            scene: Scene::FlashCrowd,
            struck: Some(upstream),
            title: format!("{upstream} gets {times:.0} times what its stand-ins can do"),
            calm,
            hit,
            measured,
        };
        let role =
            |target: &Target| Some(if target.upstream == *upstream { Role::Struck } else { Role::Beside });
        let mut found =
            stage.found(act, role, |_, calm, hit, times| crowded(goodput / capacity, calm, hit, times))?;
        in_order(&mut found.routes);
        findings.add(script, found);
        stage.calms_down()?;
    }
    Ok(())
}

/// A route of the upstream that everybody wants; `share` is what was served of what the stand-ins can do.
fn crowded(share: f64, calm: &Sight, hit: &Sight, times: bool) -> Judged {
    let said = format!("{} of {} served", hit.served, hit.sent);
    let waited = hit.failures() as f64 / hit.sent.max(1) as f64;
    if waited > WAITED {
        return (Verdict::Fails, format!("{said}, and {} waited for nothing", hit.failures()));
    }
    match verdict::by_share(share, GOODPUT, HALF) {
        Verdict::Holds => {}
        // Clients that come late are a machine that has no time for the work either.
        _ if !times => return (Verdict::Unclear, format!("{said}, on a machine that was too busy to tell")),
        worse => return (worse, format!("{said}: {} of what the stand-ins can do", percent(share))),
    }
    let late = hit.refused_times().filter(|refused| refused.p99_ms > REFUSED_MS);
    match (verdict::slower(calm, hit), late) {
        (Some((then, now)), _) if times => {
            (Verdict::Degraded, format!("{said}, and these waited: p99 went from {then:.0} to {now:.0} ms"))
        }
        (_, Some(late)) if times => {
            (Verdict::Degraded, format!("{said}, and refusals took up to {:.0} ms", late.p99_ms))
        }
        _ => (Verdict::Holds, format!("{said}, as many as can be, and the others were told at once")),
    }
}

/// A lower class that is served better than a higher one is a failure of the higher one.
fn in_order(routes: &mut [RouteFound]) {
    /// Chance makes so much of a difference.
    const CHANCE: f64 = 0.15;
    let lowly = ["critical", "default", "sheddable", "batch"];
    let rank = |class: &str| lowly.iter().position(|it| *it == class);
    let struck = |route: &&RouteFound| route.role == Role::Struck;
    let shares: Vec<_> =
        routes.iter().filter(struck).map(|it| (rank(it.class), it.hit.share(), it.route.clone())).collect();
    for route in routes.iter_mut().filter(|route| route.role == Role::Struck) {
        let better = shares
            .iter()
            .find(|(class, share, _)| *class > rank(route.class) && *share > route.hit.share() + CHANCE);
        if let Some((_, share, other)) = better {
            route.verdict = Verdict::Fails;
            route.why += &format!("; {other}, which is shed first, was served better: {}", percent(*share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_turned_away_at_once_or_waits() {
        let calm = Sight::made_up(100, 100, 0.1, ("", 0), ("", 0));
        let shed = Sight::made_up(800, 100, 0.12, ("upstream_limit", 700), ("", 0));
        assert_eq!(crowded(0.95, &calm, &shed, true).0, Verdict::Holds);
        let slow = Sight::made_up(800, 100, 2.0, ("upstream_limit", 700), ("", 0));
        assert_eq!(crowded(0.95, &calm, &slow, true).0, Verdict::Degraded);
        assert_eq!(crowded(0.95, &calm, &slow, false).0, Verdict::Holds);
        assert_eq!(crowded(0.3, &calm, &shed, true).0, Verdict::Fails);
        assert_eq!(crowded(0.3, &calm, &shed, false).0, Verdict::Unclear);
        let waits = Sight::made_up(800, 100, 0.1, ("", 0), ("timeout", 700));
        assert_eq!(crowded(0.95, &calm, &waits, true).0, Verdict::Fails);
    }
}
