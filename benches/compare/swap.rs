//! Swaps of large configurations under load: how long until the new version answers, how many requests fail, and
//! what those feel that come meanwhile. Each peer is told of the change as its operators do it (`Kind::change`).

use crate::peer::{self, Door, Peer};
use crate::peers::Kind;
use crate::roles::Role;
use crate::roles::load::{Begin, Load, Protocol, Totals};
use crate::session::Session;
use crate::statistics::quantile;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Requests a second that are under way meanwhile, over so many connections.
const RATE: f64 = 1000.0;
const CONNECTIONS: usize = 32;
/// Milliseconds: how long it is watched before the change, and after the new version has answered.
const BEFORE: f32 = 1500.0;
const AFTER: f32 = 1000.0;

/// The sections of all sizes.
pub fn take(session: &mut Session) {
    let ways: Vec<_> =
        session.kinds.iter().map(|kind| format!("{}: {}", kind.name(), kind.change())).collect();
    let note = format!(
        "{RATE} requests a second over {CONNECTIONS} kept connections, at moments of their own (times count from these, and \
         are good to a millisecond). One route of all is changed. Told of it by: {}. The time ends when a new \
         connection is answered by the new version.",
        ways.join("; ")
    );
    for routes in session.form.routes {
        let id = |what: &str| format!("swap.{routes}.{what}");
        let ids = ["time", "failed", "closed", "p99.before", "p99", "longest"].map(id);
        let section = session.results.section("swap", "Swap of the configuration under load", &note);
        let titles = [
            ("until the new version answers", "ms"),
            ("failed requests", ""),
            ("kept connections that were closed, and opened again", ""),
            ("p99 before", "ms"),
            ("p99 from the change to one second after it", "ms"),
            ("longest wait", "ms"),
        ];
        for (id, (title, unit)) in ids.iter().zip(titles) {
            section.measure(id, &format!("{routes} routes: {title}"), unit);
        }
        let cannot = |kind| (kind == Kind::Relay).then_some("has no configuration");
        let what = format!("swap of {routes} routes");
        let rounds = session.form.long_rounds;
        session.turns(&what, rounds, &ids, cannot, |session, kind| {
            let seen = swap(session, kind, *routes)?;
            for (id, sample) in ids.iter().zip(seen) {
                session.add(id, kind, sample);
            }
            Ok(())
        });
    }
}

/// One swap: time, failures, closed connections, p99 before and during it, the longest wait.
fn swap(session: &Session, kind: Kind, routes: usize) -> Result<[f64; 6]> {
    let mut recipe = session.recipe(kind);
    recipe.values.repeat = routes;
    let mut peer = Peer::start(&session.place, &recipe)?;
    ensure!(answers(&peer, "first")?, "the first version is not what runs");
    // Ten thousand routes take some peers many seconds.
    let seconds = if routes > 1000 { 16.0 } else { 7.0 };
    let warm = 0.5;
    let load = Load {
        to: peer.door(Door::Http),
        path: "/".to_owned(),
        protocol: Protocol::Http1,
        tls: None,
        fresh: false,
        connections: CONNECTIONS,
        streams: 1,
        warm,
        seconds,
        rate: Some(RATE),
    };
    let mut role = Role::start(&session.place, "load", Some(&load))?;
    let _: Begin = role.next()?;
    let began = Instant::now();
    let clock = |moment: Instant| (warm as f32 + moment.duration_since(began).as_secs_f32()) * 1000.0;
    std::thread::park_timeout(Duration::from_secs_f32(BEFORE / 1000.0));
    // Envoy watches the file, so that writing it is asking; all others are asked when it is there.
    let mut asked = Instant::now();
    peer.rewrite(routes, "second")?;
    if kind != Kind::Envoy {
        asked = Instant::now();
    }
    let (peer, limit) = (&peer, Duration::from_secs_f64(seconds - 3.0));
    let answered = std::thread::scope(|scope| -> Result<Instant> {
        // Caddy answers its operator when all is done, and its clients meanwhile.
        let taken = scope.spawn(|| peer.take_over());
        while !answers(peer, "second").unwrap_or(false) {
            ensure!(asked.elapsed() < limit, "the new version does not answer after {limit:?}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let answered = Instant::now();
        taken.join().ok().context("asking panicked")??;
        Ok(answered)
    })?;
    let totals: Totals = role.next()?;
    let (from, to) = (clock(asked), clock(answered) + AFTER);
    let waits = |from: f32, to: f32| -> Vec<f64> {
        let within = totals.timeline.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, took)| f64::from(*took)).collect()
    };
    let (before, during) = (waits(0.0, from), waits(from, to));
    let missing = "no requests were under way";
    Ok([
        answered.duration_since(asked).as_secs_f64() * 1000.0,
        totals.errors as f64,
        totals.reconnects as f64,
        quantile(&before, 0.99).context(missing)?,
        quantile(&during, 0.99).context(missing)?,
        quantile(&during, 1.0).context(missing)?,
    ])
}

/// Whether a new connection is answered by this version.
fn answers(peer: &Peer, version: &str) -> Result<bool> {
    Ok(peer::get(peer.door(Door::Http), "/version")?.ends_with(version))
}
