//! Hung auth: a service that judges accepts and never answers. Who was judged lately should keep working, where that
//! is allowed; who was not cannot; and routes without it should not notice.

use super::hung_upstream::told_soon;
use super::stage::{Act, Set, Stage};
use super::{Findings, Scene, Script};
use crate::cli::drill::found::{Measured, Role, Sight, Verdict};
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, Judged, most_common, percent};
use std::time::Duration;

/// Of clients that were judged lately, so many must keep working; with less than half it fails.
const KNOWN: f64 = 0.98;
const SOME: f64 = 0.5;
/// Until every known client was there on every route, at most.
const KNOWN_SOON: Duration = Duration::from_secs(10);

/// Strikes each auth that asks a service, in turn.
pub(super) fn play(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let auths = script.sample.auths(&script.facts);
    let why = match script.facts.silent_auths.len() {
        0 => "no route that is asked has an auth".to_owned(),
        _ => format!("{} judge by themselves and ask nobody", script.facts.silent_auths.join(", ")),
    };
    if auths.is_empty() {
        findings.skip(Scene::HungAuth, &why);
        return Ok(());
    }
    let stage = Stage::set(script, Set::USUAL, told, findings)?;
    for name in &auths {
        let Some(auth) = script.facts.auths.get(name) else { continue };
        findings.tell(&format!("hung-auth: {name} is asked and never answers"));
        stage.pass(stage.until_known(KNOWN_SOON))?;
        let calm = stage.calm(script.long(3.0, 2.0))?;
        stage.places(&auth.upstream).for_each(|nth| stage.fleet.hang(nth, true));
        let hit = stage.pass(script.long(6.0, 4.0))?;
        // Whoever came meanwhile sees it through; then it answers again.
        stage.sights(hit)?;
        stage.places(&auth.upstream).for_each(|nth| stage.fleet.hang(nth, false));
        let act = Act {
            scene: Scene::HungAuth,
            struck: Some(name),
            title: format!("{name} is asked and never answers"),
            calm,
            hit,
            measured: Measured::default(),
        };
        let guarded = |target: &Target| {
            let route = script.facts.route(&target.route);
            route.and_then(|route| route.auth.as_ref()).and_then(|auth| script.facts.auths.get(auth))
        };
        let role = |target: &Target| {
            let asks = guarded(target).is_some_and(|it| it.upstream == auth.upstream);
            Some(if asks || target.upstream == auth.upstream { Role::Struck } else { Role::Beside })
        };
        let judge = |target: &Target, calm: &Sight, hit: &Sight, times: bool| match target.upstream
            == auth.upstream
        {
            true => told_soon(hit),
            false => judged(calm, hit, times),
        };
        let found = stage.found(act, role, judge)?;
        findings.add(script, found);
        stage.calms_down()?;
    }
    Ok(())
}

/// A guarded route.
fn judged(calm: &Sight, hit: &Sight, times: bool) -> Judged {
    let share = hit.known_share();
    let new = (hit.sent - hit.known.0, hit.served - hit.known.1);
    let said = format!(
        "{} of the clients that were judged lately were served, and {} of {} others",
        percent(share),
        new.1,
        new.0
    );
    match verdict::by_share(share, KNOWN, SOME) {
        Verdict::Holds => match verdict::slower(calm, hit).filter(|_| times) {
            Some((then, now)) => {
                (Verdict::Degraded, format!("{said}, but p99 went from {then:.0} to {now:.0} ms"))
            }
            None => (Verdict::Holds, said),
        },
        worse => (worse, format!("{said}: {}", most_common(hit))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_were_judged_lately_are_what_counts() {
        let calm = Sight::made_up(100, 100, 0.1, ("", 0), ("", 0));
        let mut hit = Sight::made_up(100, 75, 0.1, ("", 0), ("auth_timeout", 25));
        hit.known = (75, 75);
        assert_eq!(judged(&calm, &hit, true).0, Verdict::Holds, "nobody can judge the others");
        hit.known = (75, 60);
        assert_eq!(judged(&calm, &hit, true).0, Verdict::Degraded);
        hit.known = (75, 0);
        let (verdict, why) = judged(&calm, &hit, true);
        assert_eq!(verdict, Verdict::Fails);
        assert!(why.contains("25 × auth_timeout"), "{why}");
    }
}
