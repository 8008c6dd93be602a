//! What became of a change, for the service manager and for whoever reads `addresses.json`.

use crate::app::supervisor::{Supervisor, status_line};
use crate::control::observe::Observatory;
use crate::control::{Cause, Outcome};
use std::net::SocketAddr;
use std::sync::Arc;

/// Tells the service manager, and whoever reads `addresses.json`, what came of a change.
#[derive(Clone)]
pub struct Newsreader {
    /// The service manager.
    pub supervisor: Supervisor,
    /// Where the state of things is read.
    pub observatory: Arc<Observatory>,
    /// The address of the operators' side.
    pub admin: SocketAddr,
}

impl Newsreader {
    /// The state of things, in a line.
    pub fn status(&self) -> String {
        let control = &self.observatory.control;
        status_line(&control.active_hash(), &control.bound(), self.admin)
    }

    /// Tells what came of a change that `cause` asked for.
    pub fn tell(&self, cause: Cause, outcome: Outcome) {
        let control = &self.observatory.control;
        if outcome == Outcome::Applied
            && let Err(error) = control.store().publish_addresses(self.admin, &control.bound())
        {
            tracing::warn!(%error, "addresses.json still has the addresses from before the change");
        }
        let mut status = self.status();
        if outcome == Outcome::Refused {
            status += ", the last change was refused";
        }
        match cause {
            // Whatever came of it, reloading is over.
            Cause::Signal => self.supervisor.ready(&status),
            Cause::Watch if outcome != Outcome::Unchanged => self.supervisor.status(&status),
            // A refusal is for whoever asked: the line is of what was asked of the process by file and signal.
            Cause::Api if outcome == Outcome::Applied => self.supervisor.status(&status),
            Cause::Rollback if outcome == Outcome::Applied => self.supervisor.status(&status),
            Cause::Boot | Cause::Watch | Cause::Api | Cause::Rollback => {}
        }
    }
}
