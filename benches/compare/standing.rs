//! What a peer costs beside its throughput: memory of connections that are quiet or wait, the time until it
//! answers, and a scrape of its metrics.

use crate::cells::Cell;
use crate::peer::{self, Door, Peer};
use crate::peers::Kind;
use crate::roles::Role;
use crate::roles::hold::{Held, Hold, Holding};
use crate::roles::tls::Tls;
use crate::session::Session;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Scrapes of which one costs too little to be seen alone.
const SCRAPES: u32 = 50;

/// A kind of connection that is held.
struct Way {
    id: &'static str,
    title: &'static str,
    door: Door,
    held: Held,
    tls: Option<Tls>,
}

const TLS: Tls = Tls { resume: false, post_quantum: false, http2: false };

const WAYS: [Way; 5] = [
    Way { id: "idle.http1", title: "idle, HTTP/1.1", door: Door::Http, held: Held::Http1, tls: None },
    Way {
        id: "idle.tls",
        title: "idle, HTTP/1.1 over TLS",
        door: Door::Tls,
        held: Held::Http1,
        tls: Some(TLS),
    },
    Way { id: "idle.h2c", title: "idle, HTTP/2", door: Door::H2c, held: Held::Http2, tls: None },
    Way {
        id: "idle.h2-tls",
        title: "idle, HTTP/2 over TLS",
        door: Door::Tls,
        held: Held::Http2,
        tls: Some(Tls { http2: true, ..TLS }),
    },
    Way {
        id: "in-flight.http1",
        title: "waiting for its answer, HTTP/1.1",
        door: Door::Http,
        held: Held::InFlight,
        tls: None,
    },
];

/// Memory of one connection, by what it does.
pub fn memory(session: &mut Session) {
    let form = session.form;
    let note = format!(
        "Growth of the proportional set by {} connections, each of which has made one request and was then quiet \
         for {} seconds, or waits for an answer that never comes (then with room for all of them at the backend). \
         Buffers in the kernel are not counted.",
        form.held, form.quiet
    );
    let section = session.results.section("memory", "Memory of one connection", &note);
    let ways = &WAYS[..form.ways.min(WAYS.len())];
    for way in ways {
        section.measure(way.id, way.title, "KiB");
    }
    section.measure("memory.start", "of the process, after its first requests", "MiB");
    for way in ways {
        let cannot = |kind| (kind == Kind::Relay && way.id != "idle.http1").then_some("speaks no protocol");
        session.turns(way.title, form.long_rounds, &[way.id.to_owned()], cannot, |session, kind| {
            let sample = hold(session, kind, way)?;
            session.add(way.id, kind, sample);
            Ok(())
        });
    }
}

/// KiB of one connection.
fn hold(session: &mut Session, kind: Kind, way: &Way) -> Result<f64> {
    let form = session.form;
    let mut recipe = session.recipe(kind);
    if way.held == Held::InFlight {
        recipe.values.set("in_flight", form.held + 100);
    }
    let peer = Peer::start(&session.place, &recipe)?;
    warm(session, &peer)?;
    let before = peer.memory()?;
    if way.id == "idle.http1" {
        session.add("memory.start", kind, before.pss as f64 / (1024.0 * 1024.0));
    }
    let hold = Hold { to: peer.door(way.door), held: way.held, tls: way.tls, connections: form.held };
    let mut role = Role::start(&session.place, "hold", Some(&hold))?;
    let holding: Holding = role.next()?;
    ensure!(holding.connections == form.held, "only {} connections", holding.connections);
    // Requests in flight do not become less by waiting.
    let quiet = if way.held == Held::InFlight { 1.0 } else { form.quiet };
    std::thread::park_timeout(Duration::from_secs_f64(quiet));
    let grown = peer.memory()? - before;
    Ok(grown.pss as f64 / 1024.0 / form.held as f64)
}

/// What is loaded and allocated once must not count as the connections'.
fn warm(session: &Session, peer: &Peer) -> Result<()> {
    let cell = Cell::named("small").context("the small cell")?;
    let mut load = cell.load(peer, 0.1, 0.3);
    load.connections = 4;
    let totals = session.load(peer, &load)?.totals;
    ensure!(totals.answers > 0, "no answers: {}", totals.first_error.unwrap_or_default());
    Ok(())
}

/// From exec to the end of the first answer.
pub fn start(session: &mut Session) {
    let note = "From exec to the end of the first answer through it, asked every half a millisecond.";
    let section = session.results.section("start", "Start-up", note);
    section.measure("start.time", "time to the first answer", "ms");
    let rounds = session.form.rounds;
    session.turns(
        "start-up",
        rounds,
        &["start.time".to_owned()],
        |_| None,
        |session, kind| {
            let peer = Peer::start(&session.place, &session.recipe(kind))?;
            session.add("start.time", kind, peer.started_in.as_secs_f64() * 1000.0);
            Ok(())
        },
    );
}

/// What one scrape costs and brings.
pub fn scrape(session: &mut Session) {
    let note = "Each scrape on a connection of its own. Tidegate has metrics for each route; HAProxy has them for each \
                backend and Envoy for each cluster, of which there are two. Caddy's own HTTP metrics are off, as it ships.";
    let section = session.results.section("scrape", "A scrape of the metrics", note);
    let id = |routes: usize, what: &str| format!("scrape.{routes}.{what}");
    let mut ids = Vec::new();
    for routes in [0, 1000] {
        for (what, title, unit) in
            [("cpu", "CPU", "ms"), ("time", "whole answer", "ms"), ("bytes", "size", "KiB")]
        {
            section.measure(&id(routes, what), &format!("{title}, {routes} routes more"), unit);
            ids.push(id(routes, what));
        }
    }
    let cannot = |kind| match kind {
        Kind::Relay => Some("has no metrics"),
        Kind::Nginx => Some("has no exporter of its own"),
        _ => None,
    };
    let rounds = session.form.rounds;
    session.turns("scrape", rounds, &ids, cannot, |session, kind| {
        for routes in [0, 1000] {
            let samples = scrapes(session, kind, routes)?;
            for (what, sample) in ["cpu", "time", "bytes"].iter().zip(samples) {
                session.add(&id(routes, what), kind, sample);
            }
        }
        Ok(())
    });
}

/// CPU and time in ms, size in KiB, of one of many.
fn scrapes(session: &Session, kind: Kind, routes: usize) -> Result<[f64; 3]> {
    let mut recipe = session.recipe(kind);
    recipe.values.repeat = routes;
    let peer = Peer::start(&session.place, &recipe)?;
    warm(session, &peer)?;
    let path = if kind == Kind::Envoy { "/stats/prometheus" } else { "/metrics" };
    let (begin, before) = (Instant::now(), peer.processor_time());
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let answer = peer::get(peer.door(Door::Admin), path)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or_default());
        bytes = answer.len();
    }
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(SCRAPES);
    Ok([each(peer.processor_time() - before), each(begin.elapsed()), bytes as f64 / 1024.0])
}
