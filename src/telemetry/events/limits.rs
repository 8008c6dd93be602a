//! What the limits that find themselves do, as typed events. Whoever emits one keeps them seldom.

use super::stream::{Kind, Record};
use std::time::Duration;

/// A limit moved by much, or its objective was raised.
#[derive(Clone, Copy, Debug)]
pub struct LimitMoved<'a> {
    /// Whose.
    pub upstream: &'a str,
    /// `shadow` or `enforce`.
    pub mode: &'a str,
    /// What was last told.
    pub from: u32,
    /// What it is now.
    pub to: u32,
    /// `failing`, `slow`, `futile`, `wanted` or `bounds`.
    pub reason: &'a str,
    /// The same with numbers.
    pub because: &'a str,
    /// What it aims at now.
    pub objective: Duration,
    /// The objective was raised: fewer in flight did not make answers faster.
    pub raised: bool,
}

impl LimitMoved<'_> {
    /// Logs it.
    pub fn emit(self) {
        let LimitMoved { upstream, mode, from, to, reason, because, objective, raised } = self;
        let objective_s = objective.as_secs_f64();
        tracing::info!(upstream, mode, from, to, reason, because, objective_s, raised, "adaptive limit");
        let message = match raised {
            true => {
                let ms = objective.as_millis();
                format!("{upstream}: the latency objective is {ms} ms now: {because}")
            }
            false => format!("{upstream}: the adaptive limit went from {from} to {to}: {because}"),
        };
        Record::new(Kind::Limit, message)
            .with("what", if raised { "objective_raised" } else { "moved" })
            .with("upstream", upstream)
            .with("mode", mode)
            .with("from", from)
            .with("to", to)
            .with("reason", reason)
            .with("because", because)
            .with("objective_seconds", objective_s)
            .hand_on();
    }
}

/// A limit has been as low as it goes for ten seconds, in somebody's way, or is no more.
#[derive(Clone, Copy, Debug)]
pub struct LimitAtFloor<'a> {
    /// Whose.
    pub upstream: &'a str,
    /// `shadow` or `enforce`.
    pub mode: &'a str,
    /// What it is now.
    pub limit: u32,
    /// It sits there; else it has left.
    pub sits: bool,
    /// Why it last moved.
    pub because: &'a str,
}

impl LimitAtFloor<'_> {
    /// Logs it.
    pub fn emit(self) {
        let LimitAtFloor { upstream, mode, limit, sits, because } = self;
        let message = match sits {
            true => format!("{upstream}: the adaptive limit sits at its floor of {limit}: {because}"),
            false => format!("{upstream}: the adaptive limit does not sit at its floor any more"),
        };
        match sits {
            true => tracing::warn!(upstream, mode, limit, because, "adaptive limit at its floor"),
            false => tracing::info!(upstream, mode, limit, "adaptive limit not at its floor any more"),
        }
        Record::new(Kind::Limit, message)
            .with("what", if sits { "limit_at_floor" } else { "limit_above_floor" })
            .with("upstream", upstream)
            .with("mode", mode)
            .with("limit", limit)
            .with("because", because)
            .hand_on();
    }
}
