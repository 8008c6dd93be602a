//! Latency against load, from the open-loop generator, beside the direct call: at the same rates for all, and at
//! shares of what each peer can do.
//!
//! The generator and the origin share one core, and can offer only so much; what they cannot is said, and nothing
//! is concluded from it. The direct call at the same rate shows what is the rig's own.

use crate::cells::{self, Cell};
use crate::pace::{Pace, Paced};
use crate::peer::{Door, Peer};
use crate::peers::Kind;
use crate::results::Outcome;
use crate::roles::Role;
use crate::session::Session;
use crate::statistics::number;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Requests a second at which all are asked.
const RATES: [u32; 5] = [1000, 4000, 8000, 12_000, 16_000];
/// Shares of its capacity, percent.
const SHARES: [u32; 3] = [10, 50, 80];
/// Where the direct call alone takes longer in its median (ms), the generator or the origin is what is slow.
const SLOW: f64 = 1.0;
const SEED: u64 = 4711;
const QUANTILES: [&str; 3] = ["p50", "p99", "p99.9"];
const DIRECT: &str = "direct";

/// Takes the section.
pub fn take(session: &mut Session) {
    let note = "Open loop: requests leave at moments of their own (Poisson, the same for all), and times count from these, so \
         that nothing is hidden by waiting. Capacity is the peer's rate for small requests in this run, with 64 kept \
         connections. The generator and the origin share one core; where they cannot offer a rate, nothing is said of it. Added is the \
         difference to the direct call at the same rate.";
    let section = session.results.section("latency", "Latency against load, small requests", note);
    for rate in RATES {
        for quantile in QUANTILES {
            let title = format!("at {} a second, {quantile}", number(f64::from(rate)));
            section.measure(&format!("latency.at.{rate}.{quantile}"), &title, "ms");
        }
    }
    for share in SHARES {
        for quantile in QUANTILES {
            let title = format!("added at {share} % of its capacity, {quantile}");
            section.measure(&format!("latency.{share}.{quantile}"), &title, "ms");
        }
    }
    let mut capacities = BTreeMap::new();
    for round in 1..=session.form.long_rounds {
        for rate in RATES {
            let paced = pace(session, session.origin.http1, f64::from(rate));
            note_down(session, &format!("latency.at.{rate}"), DIRECT, paced, None);
        }
        for kind in session.kinds.clone() {
            eprintln!("latency, round {round} of {}: {}", session.form.long_rounds, kind.name());
            if let Err(error) = one(session, kind, &mut capacities) {
                session.results.trouble.push(format!("latency, {}, round {round}: {error:#}", kind.name()));
            }
        }
    }
}

/// All rates and shares of one peer.
fn one(session: &mut Session, kind: Kind, capacities: &mut BTreeMap<Kind, f64>) -> Result<()> {
    let peer = Peer::start(&session.place, &session.recipe(kind))?;
    let capacity = match capacities.get(&kind) {
        Some(capacity) => *capacity,
        None => capacity(session, &peer)?,
    };
    capacities.insert(kind, capacity);
    for rate in RATES {
        let id = format!("latency.at.{rate}");
        // Beyond its capacity there is no latency, only a queue that grows.
        if f64::from(rate) > 0.95 * capacity {
            let why = format!("can do {} a second", number(capacity));
            without(session, &id, kind.name(), &Outcome::Cannot(why));
            continue;
        }
        let paced = pace(session, peer.door(Door::Http), f64::from(rate));
        note_down(session, &id, kind.name(), paced, None);
    }
    for share in SHARES {
        let (id, rate) = (format!("latency.{share}"), capacity * f64::from(share) / 100.0);
        let alone = pace(session, session.origin.http1, rate).and_then(|alone| {
            let (rate, took) = (number(rate), number(alone.p50));
            ensure!(alone.p50 <= SLOW, "takes {took} ms at {rate} a second: the load cannot offer so much");
            Ok(alone)
        });
        let alone = match alone {
            Ok(alone) => alone,
            Err(error) => {
                note_down(session, &id, kind.name(), Err(error.context("the direct call")), None);
                continue;
            }
        };
        let through = pace(session, peer.door(Door::Http), rate);
        note_down(session, &id, kind.name(), through, Some(&alone));
    }
    Ok(())
}

/// What it can do in this run.
fn capacity(session: &Session, peer: &Peer) -> Result<f64> {
    let known = session.results.measure("small.rate").and_then(|measure| measure.median(peer.kind().name()));
    if let Some(known) = known {
        return Ok(known);
    }
    let cell = Cell::named("small").context("the small cell")?;
    let loaded = session.load(peer, &cell.load(peer, session.form.warm, session.form.seconds))?;
    cells::check(&loaded)?;
    Ok(loaded.rate())
}

fn pace(session: &Session, to: SocketAddr, rate: f64) -> Result<Paced> {
    let (warm, seconds) = (0.5, (2.0 * session.form.seconds).round());
    let pace = Pace { to, rate, seed: SEED, warm, seconds };
    let mut role = Role::start(&session.place, "pace", Some(&pace))?;
    let paced: Paced = role.next()?;
    ensure!(
        paced.skipped == 0,
        "the generator did not get {} requests away at {rate:.0} a second",
        paced.skipped
    );
    ensure!(paced.lost * 1000 <= paced.answers, "{} of {} requests were lost", paced.lost, paced.answers);
    Ok(paced)
}

/// Adds the quantiles, or what is added to those of the direct call; or that it failed.
fn note_down(session: &mut Session, id: &str, peer: &str, paced: Result<Paced>, direct: Option<&Paced>) {
    let of = |paced: &Paced| [paced.p50, paced.p99, paced.p999];
    let base = direct.map_or([0.0; 3], of);
    match paced {
        Ok(paced) => {
            for ((quantile, took), base) in QUANTILES.iter().zip(of(&paced)).zip(base) {
                let section = session.results.section("latency", "", "");
                section.measure(&format!("{id}.{quantile}"), "", "").add(peer, took - base);
            }
        }
        Err(error) => {
            session.results.trouble.push(format!("{id}, {peer}: {error:#}"));
            without(session, id, peer, &Outcome::Failed(format!("{error:#}")));
        }
    }
}

fn without(session: &mut Session, id: &str, peer: &str, outcome: &Outcome) {
    for quantile in QUANTILES {
        let section = session.results.section("latency", "", "");
        section.measure(&format!("{id}.{quantile}"), "", "").without(peer, outcome.clone());
    }
}
