//! Restart: one backend of an upstream is killed and started, or all backends of all upstreams at once. They come back
//! cold, four times as slow, and die if they get as much as warm ones.

use super::script::Weight;
use super::stage::{Act, Set, Span, Stage};
use super::{Findings, Scene, Script};
use crate::cli::drill::found::{Measured, Role, Sight, Verdict};
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, Judged, most_common, percent};
use std::time::{Duration, Instant};

/// Several requests are under way at once, so that cold stand-ins can be run over.
const SET: Set = Set { weight: Weight::Heavy, named: false };
/// Those who came in the last moment are still under way, whatever becomes of them.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// Of the rate of calm, what comes while one backend restarts: another one alone can do it.
const SPARE: f64 = 0.6;
/// Of those who come while one backend of several restarts, what must be served; with less than nearly all it fails.
const SERVED: f64 = 0.99;
const MOST: f64 = 0.95;
/// Everybody is back if so many were served for so long.
const BACK: f64 = 0.95;
const STEADY: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// One backend of each upstream that is asked, in turn.
pub(super) fn play_one(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let stage = Stage::set(script, SET, told, findings)?;
    script.sample.upstreams.iter().for_each(|upstream| stage.load(upstream, script.rate() * SPARE));
    for upstream in &script.sample.upstreams {
        let place = stage.places(upstream);
        findings.tell(&format!("restart-one: one backend of {upstream} is killed and started"));
        let calm = stage.calm(script.long(6.0, 4.0))?;
        let before = stage.fleet.crashes(place.clone());
        stage.fleet.restart_one(place.start);
        let hit = stage.pass(script.long(6.0, 4.0))?;
        stage.calms_down()?;
        let measured =
            Measured { crashes: Some(stage.fleet.crashes(place.clone()) - before), ..Measured::default() };
        let act = Act {
            scene: Scene::RestartOne,
            struck: Some(upstream),
            title: format!("one backend of {upstream} is killed and started"),
            calm,
            hit,
            measured,
        };
        let role =
            |target: &Target| Some(if target.upstream == *upstream { Role::Struck } else { Role::Beside });
        let others = script.facts.upstreams.get(upstream).map_or(0, |it| it.backends.saturating_sub(1));
        let found = stage.found(act, role, |_, _, hit, _| one_away(others, hit))?;
        findings.add(script, found);
    }
    Ok(())
}

/// A route of an upstream of which one backend was away, with so many others.
fn one_away(others: usize, hit: &Sight) -> Judged {
    let said = format!("{} of {} served", hit.served, hit.sent);
    let verdict = match verdict::by_share(hit.share(), SERVED, MOST) {
        // Without another backend nobody can do better.
        Verdict::Fails if others == 0 => Verdict::Degraded,
        verdict => verdict,
    };
    match verdict {
        Verdict::Holds => (verdict, said),
        _ if others == 0 => (verdict, format!("{said}: there is no other backend")),
        _ => (verdict, format!("{said}: {}", most_common(hit))),
    }
}

/// All of them.
pub(super) fn play_all(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    findings.tell("restart-all: all backends are killed at once, and come back cold");
    let stage = Stage::set(script, SET, told, findings)?;
    let calm = stage.calm(script.long(8.0, 6.0))?;
    let crashes = |upstream: &str| stage.fleet.crashes(stage.places(upstream));
    let before: Vec<u64> = script.sample.upstreams.iter().map(|upstream| crashes(upstream)).collect();
    let from = Instant::now();
    stage.fleet.restart();
    let back = look_on(&stage, script, from, told)?;
    let hit = Span { from, to: Instant::now() };
    for ((upstream, before), back) in script.sample.upstreams.iter().zip(before).zip(back) {
        let died = crashes(upstream) - before;
        let measured = Measured { crashes: Some(died), back_after_s: back, ..Measured::default() };
        let act = Act {
            scene: Scene::RestartAll,
            struck: Some(upstream),
            title: format!("all backends are killed and come back cold, those of {upstream} among them"),
            calm,
            hit,
            measured,
        };
        let role = |target: &Target| (target.upstream == *upstream).then_some(Role::Struck);
        let found = stage.found(act, role, |_, _, hit, _| all_away(died, back, hit))?;
        findings.add(script, found);
    }
    Ok(())
}

/// A route of an upstream of which all backends were away.
fn all_away(died: u64, back: Option<f64>, hit: &Sight) -> Judged {
    let served = format!("meanwhile {} of {} served", hit.served, hit.sent);
    let died = match died {
        0 => String::new(),
        1 => "; one backend died of what it got while it was cold".to_owned(),
        many => format!("; {many} times a backend died of what it got while it was cold"),
    };
    match back {
        Some(back) => {
            let verdict = if died.is_empty() { Verdict::Holds } else { Verdict::Degraded };
            (verdict, format!("back after {back:.0} s, {served}{died}"))
        }
        None => (Verdict::Fails, format!("not back in time, {served} ({}){died}", percent(hit.share()))),
    }
}

/// When each upstream was back, in seconds from the strike.
fn look_on(
    stage: &Stage<'_>,
    script: &Script,
    from: Instant,
    told: &Told,
) -> anyhow::Result<Vec<Option<f64>>> {
    let upstreams = &script.sample.upstreams;
    let mut back = vec![None; upstreams.len()];
    let patience = script.long(60.0, 30.0);
    while back.iter().any(Option::is_none) && from.elapsed() < patience {
        told.pass(LOOK)?;
        let now = Instant::now();
        let to = now.checked_sub(UNDER_WAY).unwrap_or(now);
        let since = to.checked_sub(STEADY).unwrap_or(to);
        if since < from {
            continue;
        }
        let sights = stage.peek(Span { from: since, to });
        for (upstream, back) in upstreams.iter().zip(&mut back).filter(|(_, back)| back.is_none()) {
            let lately = stage.of_upstream(upstream, &sights);
            if lately.sent > 0 && lately.share() >= BACK {
                *back = Some((since - from).as_secs_f64());
            }
        }
    }
    Ok(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_must_not_be_missed_and_the_only_one_is() {
        let lost = Sight::made_up(100, 80, 0.1, ("no_backend", 20), ("", 0));
        assert_eq!(one_away(1, &lost).0, Verdict::Fails);
        assert_eq!(one_away(0, &lost).0, Verdict::Degraded);
        assert_eq!(one_away(1, &Sight::made_up(100, 100, 0.1, ("", 0), ("", 0))).0, Verdict::Holds);
    }

    #[test]
    fn a_fleet_must_come_back_and_should_not_die_on_its_way() {
        let hit = Sight::made_up(100, 80, 0.1, ("ramp", 20), ("", 0));
        assert_eq!(all_away(0, Some(7.0), &hit).0, Verdict::Holds);
        assert_eq!(all_away(3, Some(7.0), &hit).0, Verdict::Degraded);
        assert_eq!(all_away(0, None, &hit).0, Verdict::Fails);
    }
}
