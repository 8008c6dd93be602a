//! Side by side: the same work for nginx, HAProxy, Envoy, Caddy, a raw relay and Tidegate, in turn, and what it
//! cost each. `benches/compare/run` finds the peers, builds Tidegate as it is released and starts this.
//!
//! One proxy at a time runs on one core, pinned, with its committed configuration (`peers/`); the load and the
//! origin run on another. Nothing is written down that was not measured in the run: what a peer cannot do, and
//! what was left out, is said.
//!
//! `cargo test` runs it without `--bench`: then it takes the smallest cell with Tidegate alone, so that the rig
//! cannot rot unseen. It judges no time.

#![allow(clippy::disallowed_methods, reason = "a bench may block: it is not the data plane")]

mod cost;
mod fill;
mod peer;
mod peers;
mod place;
mod roles;

use anyhow::Result;
use peer::{Door, Peer, Recipe};
use peers::Kind;
use place::Place;
use roles::Role;
use roles::load::{Begin, Load, Protocol, Totals};
use roles::origin::Origin;
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = roles::take(&arguments) {
        return done;
    }
    smoke()
}

fn smoke() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let place = Place::new(folder.path(), Path::new(tidegate), &[Kind::Tidegate])?;
    let mut origin = Role::start(&place, "origin", None::<&()>)?;
    let at: Origin = origin.next()?;
    for kind in place.present(&peers::ALL) {
        let peer = Peer::start(&place, &Recipe::new(kind, at.http1, at.http2))?;
        let load = Load {
            to: peer.door(Door::Http),
            path: "/".to_owned(),
            protocol: Protocol::Http1,
            tls: None,
            fresh: false,
            connections: 64,
            streams: 1,
            warm: 0.3,
            seconds: 1.0,
            rate: None,
        };
        let mut role = Role::start(&place, "load", Some(&load))?;
        let begin: Begin = role.next()?;
        let before = peer.processor_time();
        let totals: Totals = role.next()?;
        let cpu = peer.processor_time() - before;
        println!(
            "{kind:?} {:?} {} {begin:?} {totals:?} {:.1} us",
            peer.started_in,
            peer.processes(),
            cpu.as_secs_f64() * 1e6 / totals.answers as f64
        );
    }
    Ok(())
}
