//! Who says it: the name of this gateway, its environment, and which version it serves.

use crate::config::plan::Plan;

/// This gateway, in messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The machine's name.
    pub name: String,
    /// The environment that the file says.
    pub environment: Option<String>,
    /// The active version's number.
    pub version: u64,
    /// Where its operators' side is, for alerts.
    pub admin: String,
}

impl Sender {
    /// As the active version has it.
    pub fn of(plan: &Plan, version: u64) -> Self {
        Sender {
            name: machine(),
            environment: plan.rollout.environment.clone(),
            version,
            admin: format!("http://{}/", plan.admin.address),
        }
    }

    /// For people: the machine, and the environment if there is one.
    pub fn place(&self) -> String {
        match &self.environment {
            Some(environment) => format!("{} ({environment})", self.name),
            None => self.name.clone(),
        }
    }
}

/// What the system calls this machine; in a container, its name.
fn machine() -> String {
    let named = rustix::system::uname();
    named.nodename().to_str().map_or_else(|_| "tidegate".to_owned(), str::to_owned)
}
