//! One run: who takes part, the origin behind all of them, and what has been found so far. Sections ask it for
//! peers and loads and hand it their samples.

use crate::orders::{Form, Orders};
use crate::peer::{Peer, Recipe};
use crate::peers::Kind;
use crate::place::Place;
use crate::results::{Outcome, Results};
use crate::roles::Role;
use crate::roles::load::{Begin, Load, Totals};
use crate::roles::origin::Origin;
use anyhow::{Result, ensure};
use std::time::Duration;

/// A run under way.
pub struct Session {
    pub place: Place,
    pub form: Form,
    pub kinds: Vec<Kind>,
    pub origin: Origin,
    pub results: Results,
    _origin: Role,
}

/// What a load found, and what it cost the peer.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub totals: Totals,
    /// User and system time of the peer while it was measured.
    pub processor: Duration,
}

impl Loaded {
    /// CPU of one answer, microseconds.
    pub fn cost(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.totals.answers as f64
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.totals.answers as f64 / self.totals.seconds
    }

    /// The part of the time in which the peer's core worked for it, percent.
    pub fn busy(&self) -> f64 {
        self.processor.as_secs_f64() * 100.0 / self.totals.seconds
    }
}

impl Session {
    /// Starts the origin.
    pub fn new(place: Place, orders: &Orders) -> Result<Session> {
        let mut role = Role::start(&place, "origin", None::<&()>)?;
        let origin = role.next()?;
        let kinds = place.present(&orders.peers);
        ensure!(!kinds.is_empty(), "nobody to compare is installed");
        let results = Results {
            form: orders.form.name.to_owned(),
            rounds: orders.form.rounds,
            left_out: orders.left_out(),
            ..Results::default()
        };
        Ok(Session { place, form: orders.form, kinds, origin, results, _origin: role })
    }

    /// A peer's usual configuration.
    pub fn recipe(&self, kind: Kind) -> Recipe {
        Recipe::new(kind, self.origin.http1, self.origin.http2)
    }

    /// A load against a peer, with the peer's cost while it counts.
    pub fn load(&self, peer: &Peer, load: &Load) -> Result<Loaded> {
        let mut role = Role::start(&self.place, "load", Some(load))?;
        let _: Begin = role.next()?;
        let before = peer.processor_time();
        let totals = role.next()?;
        Ok(Loaded { totals, processor: peer.processor_time() - before })
    }

    /// Takes every peer in turn, `rounds` times: A B A B. What goes wrong with one is noted and ends nothing.
    /// Who cannot do it is not tried.
    pub fn turns(
        &mut self,
        what: &str,
        rounds: usize,
        ids: &[String],
        cannot: impl Fn(Kind) -> Option<&'static str>,
        mut take: impl FnMut(&mut Session, Kind) -> Result<()>,
    ) {
        let kinds = self.kinds.clone();
        for kind in &kinds {
            if let Some(why) = cannot(*kind) {
                self.without(ids, *kind, &Outcome::Cannot(why.to_owned()));
            }
        }
        for round in 1..=rounds {
            for kind in kinds.iter().copied().filter(|kind| cannot(*kind).is_none()) {
                eprintln!("{what}, round {round} of {rounds}: {}", kind.name());
                if let Err(error) = take(self, kind) {
                    self.results.trouble.push(format!("{what}, {}, round {round}: {error:#}", kind.name()));
                    self.without(ids, kind, &Outcome::Failed(format!("{error:#}")));
                }
            }
        }
    }

    fn without(&mut self, ids: &[String], kind: Kind, outcome: &Outcome) {
        for measure in self.results.sections.iter_mut().flat_map(|section| &mut section.measures) {
            if ids.contains(&measure.id) {
                measure.without(kind.name(), outcome.clone());
            }
        }
    }

    /// One sample.
    pub fn add(&mut self, id: &str, kind: Kind, sample: f64) {
        let measures = self.results.sections.iter_mut().flat_map(|section| &mut section.measures);
        for measure in measures.filter(|measure| measure.id == id) {
            measure.add(kind.name(), sample);
        }
    }
}
