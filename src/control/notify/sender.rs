//! Who says it: the name of this gateway, its environment, and which version it serves.

use super::family::Family;
use crate::config::plan::Plan;
use crate::config::sinks::Sink;
use std::net::SocketAddr;

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
    /// As what Prometheus knows it, so that its alerts and ours are of one gateway.
    pub instance: String,
    /// Where the runbook is.
    pub runbook: String,
}

impl Sender {
    /// As the active version has it.
    pub fn of(plan: &Plan, version: u64) -> Self {
        let name = machine();
        Sender {
            instance: scraped_at(plan.admin.address, &name),
            runbook: String::new(),
            name,
            environment: plan.rollout.environment.clone(),
            version,
            admin: format!("http://{}/", plan.admin.address),
        }
    }

    /// As a sink is told.
    pub fn to(&self, sink: &Sink) -> Self {
        let instance = sink.instance.as_deref().map_or_else(|| self.instance.clone(), str::to_owned);
        Sender { instance, runbook: sink.runbook.to_string(), ..self.clone() }
    }

    /// The chapter of the runbook that an alert leads to.
    pub fn chapter(&self, family: &Family) -> String {
        format!("{}#{}", self.runbook, family.chapter())
    }

    /// For people: the machine, and the environment if there is one.
    pub fn place(&self) -> String {
        match &self.environment {
            Some(environment) => format!("{} ({environment})", self.name),
            None => self.name.clone(),
        }
    }
}

/// What a scrape of the admin address is called, unless it is told otherwise; one of all addresses has no other name
/// than the machine's.
fn scraped_at(admin: SocketAddr, machine: &str) -> String {
    if admin.ip().is_unspecified() { format!("{machine}:{}", admin.port()) } else { admin.to_string() }
}

/// What the system calls this machine; in a container, its name.
fn machine() -> String {
    let named = rustix::system::uname();
    named.nodename().to_str().map_or_else(|_| "tidegate".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_what_a_scrape_calls_it() {
        let at = |address: &str| scraped_at(address.parse().expect("an address"), "edge-1");
        assert_eq!(at("10.0.0.7:9900"), "10.0.0.7:9900");
        assert_eq!([at("0.0.0.0:9900"), at("[::]:9900")], ["edge-1:9900", "edge-1:9900"]);
    }
}
