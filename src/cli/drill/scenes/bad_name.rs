//! Bad name: the names of backends are denied, then nobody answers for them at all; what is known should go on being
//! used. And a change brings a name that does not exist: it should reach nobody, or a few for a moment.

use super::stage::{Act, Set, Span, Stage};
use super::{Findings, Scene, Script};
use crate::cli::client::ClientError;
use crate::cli::client::text::Said;
use crate::cli::drill::found::{Measured, Role, Sight, Verdict};
use crate::cli::drill::names::Mood;
use crate::cli::drill::rewrite::Staged;
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, Judged, most_common, percent};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Names are asked for every five seconds, some later: so long until each was denied once, at most.
const DENIED: Duration = Duration::from_secs(12);
/// After that, until it has come to the users.
const SEEN: Duration = Duration::from_millis(1_500);
/// Of the users of names that are denied, and of all while a wrong name is tried.
const SERVED: f64 = 0.99;
const MOST: f64 = 0.95;
/// For a change with a wrong name to end.
const ENDS: Duration = Duration::from_secs(20);
/// And for a change that is active at once to hurt.
const HURTS: Duration = Duration::from_secs(2);
/// A name that does not exist (RFC 2606).
const WRONG: &str = "gone.drill.example:8080";

/// Plays both parts.
pub(super) fn play(script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let stage = Stage::set(script, Set { named: true, ..Set::USUAL }, told, findings)?;
    deny(&stage, script, told, findings)?;
    stage.names.set(Mood::Well);
    stage.calms_down()?;
    change(&stage, script, told, findings)
}

/// The names that are there are denied, then not answered.
fn deny(stage: &Stage<'_>, script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let is_named = |upstream: &str| script.facts.upstreams.get(upstream).is_some_and(|it| it.named);
    let cast = script.sample.cast(&script.facts);
    let named: Vec<&str> = cast.iter().map(String::as_str).filter(|it| is_named(it)).collect();
    if named.is_empty() {
        findings.skip(Scene::BadName, "no backend has a name, all have addresses (names that are denied)");
        return Ok(());
    }
    let names = named.join(", ");
    findings.tell(&format!("bad-name: the names of {names} are denied, then not answered"));
    let calm = stage.calm(script.long(3.0, 2.0))?;
    stage.names.set(Mood::Denies);
    let from = Instant::now();
    // Each name at least twice: one question is for IPv4, one for IPv6.
    let wanted = 2 * named.iter().map(|upstream| stage.places(upstream).len() as u64).sum::<u64>();
    told.wait_for(DENIED, || Ok((stage.names.denied() >= wanted).then_some(())))?;
    told.pass(SEEN)?;
    stage.names.set(Mood::Silent);
    told.pass(script.long(3.0, 1.0))?;
    let hit = Span { from, to: Instant::now() };
    let act = Act {
        scene: Scene::BadName,
        struck: None,
        title: format!("the names of {names} are denied, then not answered"),
        calm,
        hit,
        measured: Measured::default(),
    };
    let needs = |target: &Target| {
        let auth = script.facts.route(&target.route).and_then(|route| route.auth.as_ref());
        let judge = auth.and_then(|auth| script.facts.auths.get(auth));
        is_named(&target.upstream) || judge.is_some_and(|judge| is_named(&judge.upstream))
    };
    let role = |target: &Target| Some(if needs(target) { Role::Struck } else { Role::Beside });
    let found = stage.found(act, role, |_, _, hit, _| kept(hit))?;
    findings.add(script, found);
    Ok(())
}

/// A route whose addresses are known.
fn kept(hit: &Sight) -> Judged {
    let said = format!("{} served", percent(hit.share()));
    match verdict::by_share(hit.share(), SERVED, MOST) {
        Verdict::Holds => (Verdict::Holds, format!("{said} by the addresses that were known")),
        worse => (worse, format!("{said}: {}", most_common(hit))),
    }
}

/// A change moves one upstream to a name that does not exist.
fn change(stage: &Stage<'_>, script: &Script, told: &Told, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(upstream) = script.sample.upstreams.first() else { return Ok(()) };
    findings.tell(&format!("bad-name: a change moves {upstream} to {WRONG}"));
    let calm = stage.calm(script.long(3.0, 2.0))?;
    let text = Staged::moved(&stage.text, upstream, WRONG)?;
    let from = Instant::now();
    let (outcome, why) = push(stage, &text, told)?;
    let active = !matches!(outcome.as_str(), "refused" | "reverted");
    if active {
        told.pass(HURTS)?;
    }
    let hit = Span { from, to: Instant::now() };
    // A refusal may take less time than there is between two requests.
    let hit = match hit.seconds() < 1.0 {
        true => Span { from, to: stage.pass(Duration::from_secs(1))?.to },
        false => hit,
    };
    findings.tell(&format!("    {outcome}: {why}"));
    if active {
        stage.gateway.roll_back("drill: the wrong name")?;
    }
    let measured = Measured { change: Some(outcome.clone()), change_why: Some(why), ..Measured::default() };
    let act = Act {
        scene: Scene::BadName,
        struck: Some(upstream),
        title: format!("a change moves {upstream} to a name that does not exist"),
        calm,
        hit,
        measured,
    };
    let role = |target: &Target| Some(if target.upstream == *upstream { Role::Struck } else { Role::Beside });
    let found = stage.found(act, role, |_, _, hit, _| spared(&outcome, active, hit))?;
    findings.add(script, found);
    stage.calms_down()?;
    Ok(())
}

/// A route of the upstream that the change moved.
fn spared(outcome: &str, active: bool, hit: &Sight) -> Judged {
    let said = format!("{outcome}; {} served meanwhile", percent(hit.share()));
    if active {
        return (Verdict::Fails, format!("{said}: {}", most_common(hit)));
    }
    (verdict::by_share(hit.share(), MOST, MOST - 0.1), said)
}

/// Proposes a text the ordinary way, and follows it to its end: what became of it, and why.
fn push(stage: &Stage<'_>, text: &str, told: &Told) -> anyhow::Result<(String, String)> {
    let number = match stage.gateway.propose(text, "ack_risk=high", "drill: a new name") {
        Ok(Said::Done(answer) | Said::Pending(answer)) => answer["version"]["number"].as_u64(),
        Ok(Said::Invalid(problem)) => {
            let why = problem["detail"].as_str().unwrap_or("invalid").to_owned();
            return Ok(("refused".to_owned(), why));
        }
        Err(ClientError::Refused { detail, .. }) => return Ok(("refused".to_owned(), detail)),
        Err(error) => return Err(error.into()),
    };
    let number = number.unwrap_or_default();
    let ended = told.wait_for(ENDS, || {
        let view: Value = stage.gateway.admin().get(&format!("/v1/rollout?version={number}"))?;
        let last = &view["last"];
        let word = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
        Ok((last["number"] == number).then(|| (word("outcome"), word("why"))))
    })?;
    Ok(ended.unwrap_or_else(|| ("under way".to_owned(), "it was not stopped in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_that_is_active_fails_and_one_that_few_saw_does_not() {
        let all = Sight::made_up(100, 100, 0.1, ("", 0), ("", 0));
        assert_eq!(spared("refused", false, &all).0, Verdict::Holds);
        let few = Sight::made_up(100, 96, 0.1, ("no_backend", 4), ("", 0));
        assert_eq!(spared("reverted", false, &few).0, Verdict::Holds);
        assert_eq!(spared("active", true, &all).0, Verdict::Fails);
        assert_eq!(kept(&few).0, Verdict::Degraded);
        assert_eq!(kept(&all).0, Verdict::Holds);
    }
}
