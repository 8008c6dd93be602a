//! `GET /v1/whoami`: who asks, and what they may do; so that a page or a terminal shows nobody a lever that is not
//! theirs to move.

use crate::admin::caller::{Caller, Via};
use crate::admin::settings::Role;
use axum::Json;
use axum::extract::Extension;
use serde::Serialize;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Known {
    /// As the author of a change.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: &'static str,
    /// `token`, `loopback` or `socket`.
    via: &'static str,
    may: May,
}

/// What is let in at the door. What may refuse it later (a second person, a freeze) is not here.
#[derive(Debug, Serialize)]
struct May {
    read: bool,
    /// Ramps, drains, applies, promotes, aborts, rolls back, opens incidents.
    act: bool,
    /// Goes around the stages.
    break_glass: bool,
}

/// `GET /v1/whoami`.
pub(super) async fn show(Extension(caller): Extension<Caller>) -> Json<Known> {
    let via = match caller.via {
        Via::Token => "token",
        Via::Loopback => "loopback",
        Via::Socket(_) => "socket",
        Via::Nothing => "nothing",
    };
    let may = May { read: true, act: caller.role >= Role::Operator, break_glass: caller.role >= Role::Admin };
    Json(Known { name: caller.to_string(), role: caller.role.as_str(), via, may })
}
