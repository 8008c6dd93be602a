//! Throughput and cost: each cell is one kind of work, done as fast as it is answered, by each peer in turn.

use crate::peer::{Door, Peer};
use crate::peers::Kind;
use crate::roles::load::{Load, Protocol};
use crate::roles::tls::Tls;
use crate::session::{Loaded, Session};
use anyhow::{Result, ensure};

/// One kind of work.
pub struct Cell {
    /// As it is asked for.
    pub name: &'static str,
    pub title: &'static str,
    path: &'static str,
    protocol: Protocol,
    door: Door,
    tls: Option<Tls>,
    fresh: bool,
    connections: usize,
    streams: usize,
    cannot: fn(Kind) -> Option<&'static str>,
}

const FULL: Tls = Tls { resume: false, post_quantum: false, http2: false };

const SMALL: Cell = Cell {
    name: "small",
    title: "HTTP/1.1, 64 kept connections, 135 bytes of JSON",
    path: "/",
    protocol: Protocol::Http1,
    door: Door::Http,
    tls: None,
    fresh: false,
    connections: 64,
    streams: 1,
    cannot: |_| None,
};

/// All cells, in the order of the report.
pub const CELLS: [Cell; 10] = [
    SMALL,
    Cell { name: "16k", title: "HTTP/1.1, 64 kept connections, 16 KiB", path: "/16k", ..SMALL },
    Cell { name: "1m", title: "HTTP/1.1, 16 kept connections, 1 MiB", path: "/1m", connections: 16, ..SMALL },
    Cell {
        name: "connection",
        title: "HTTP/1.1, a new connection for each request",
        fresh: true,
        connections: 32,
        ..SMALL
    },
    Cell {
        name: "h2c",
        title: "HTTP/2 without TLS, 8 connections of 8 streams, HTTP/1.1 to the origin",
        protocol: Protocol::Http2,
        door: Door::H2c,
        connections: 8,
        streams: 8,
        cannot: no_protocols,
        ..SMALL
    },
    Cell {
        name: "h2-upstream",
        title: "HTTP/1.1, 64 kept connections, HTTP/2 to the origin",
        path: "/h2/",
        cannot: |kind| match kind {
            Kind::Nginx => Some("speaks HTTP/2 to origins for gRPC only"),
            kind => no_protocols(kind),
        },
        ..SMALL
    },
    Cell {
        name: "grpc",
        title: "Unary gRPC calls of 16 bytes, 8 connections of 8 streams",
        path: "/rig.Echo/Say",
        protocol: Protocol::Grpc,
        door: Door::H2c,
        connections: 8,
        streams: 8,
        cannot: no_protocols,
        ..SMALL
    },
    Cell {
        name: "tls-full",
        title: "A new connection for each request, full TLS 1.3 handshake (X25519, ECDSA P-256)",
        door: Door::Tls,
        tls: Some(FULL),
        fresh: true,
        connections: 16,
        cannot: no_tls,
        ..SMALL
    },
    Cell {
        name: "tls-resumed",
        title: "A new connection for each request, resumed TLS 1.3 handshake (X25519)",
        door: Door::Tls,
        tls: Some(Tls { resume: true, ..FULL }),
        fresh: true,
        connections: 16,
        cannot: no_tls,
        ..SMALL
    },
    Cell {
        name: "tls-pq",
        title: "A new connection for each request, full TLS 1.3 handshake, post-quantum (X25519MLKEM768)",
        door: Door::Tls,
        tls: Some(Tls { post_quantum: true, ..FULL }),
        fresh: true,
        connections: 16,
        cannot: no_tls,
        ..SMALL
    },
];

fn no_protocols(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Relay).then_some("moves bytes and speaks no protocol")
}

fn no_tls(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Relay).then_some("has no TLS")
}

impl Cell {
    /// The cell with this name.
    pub fn named(name: &str) -> Option<&'static Cell> {
        CELLS.iter().find(|cell| cell.name == name)
    }

    /// The orders for a load like this.
    pub fn load(&self, peer: &Peer, warm: f64, seconds: f64) -> Load {
        Load {
            to: peer.door(self.door),
            path: self.path.to_owned(),
            protocol: self.protocol,
            tls: self.tls,
            fresh: self.fresh,
            connections: self.connections,
            streams: self.streams,
            warm,
            seconds,
            rate: None,
        }
    }

    /// Takes it with every peer.
    pub fn take(&self, session: &mut Session) {
        let [cpu, rate, busy, core] =
            ["cpu", "rate", "busy", "core"].map(|kind| format!("{}.{kind}", self.name));
        let section = session.results.section(self.name, self.title, "");
        section.measure(&cpu, "CPU of one request", "µs");
        section.measure(&rate, "requests a second", "1/s");
        section.measure(&busy, "of its core at work", "%");
        section.measure(&core, "requests a second of CPU", "1/s");
        let form = session.form;
        let ids = [cpu, rate, busy, core];
        session.turns(self.title, form.rounds, &ids, self.cannot, |session, kind| {
            let peer = Peer::start(&session.place, &session.recipe(kind))?;
            let loaded = session.load(&peer, &self.load(&peer, form.warm, form.seconds))?;
            check(&loaded)?;
            let samples = [loaded.cost(), loaded.rate(), loaded.busy(), 1e6 / loaded.cost()];
            for (id, sample) in ids.iter().zip(samples) {
                session.add(id, kind, sample);
            }
            Ok(())
        });
    }
}

/// A sample stands for whole answers: more than one error in a thousand, and it stands for something else.
pub fn check(loaded: &Loaded) -> Result<()> {
    let totals = &loaded.totals;
    let said = totals.first_error.as_deref().unwrap_or("nothing");
    ensure!(totals.answers > 0, "no answers: {said}");
    ensure!(
        totals.errors * 1000 <= totals.answers,
        "{} errors beside {} answers: {said}",
        totals.errors,
        totals.answers
    );
    ensure!(loaded.processor.as_millis() > 0, "too short to see its cost");
    Ok(())
}

/// From one worker to two, on the same two cores as the load and the origin.
pub fn workers(session: &mut Session) {
    let note = "Two workers use both cores, and share one of them with the load and the origin, which have no other. \
                What is seen is that a second worker helps, and what it costs, not what it would do on a core of its own.";
    let section = session.results.section("workers", "From one worker to two, small requests", note);
    let ids = ["workers.1.rate", "workers.2.rate", "workers.1.cpu", "workers.2.cpu"].map(str::to_owned);
    section.measure(&ids[0], "requests a second, one worker", "1/s");
    section.measure(&ids[1], "requests a second, two workers", "1/s");
    section.measure(&ids[2], "CPU of one request, one worker", "µs");
    section.measure(&ids[3], "CPU of one request, two workers", "µs");
    let form = session.form;
    let cannot = |kind| (kind == Kind::Relay).then_some("has one thread");
    session.turns("workers", form.rounds, &ids, cannot, |session, kind| {
        for workers in [1, 2] {
            let mut recipe = session.recipe(kind);
            recipe.workers = workers;
            let peer = Peer::start(&session.place, &recipe)?;
            let loaded = session.load(&peer, &SMALL.load(&peer, form.warm, form.seconds))?;
            check(&loaded)?;
            session.add(&format!("workers.{workers}.rate"), kind, loaded.rate());
            session.add(&format!("workers.{workers}.cpu"), kind, loaded.cost());
        }
        Ok(())
    });
}
