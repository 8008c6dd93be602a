//! Other addresses of names, from the directory into the active table.
//!
//! It runs on the thread of calls to the outside, where no file can hold it up, and waits for nobody: while a change
//! of the configuration is being built (which may read files, on a disk that hangs) it comes back later, and what
//! names had before serves on. At most about one table a second, however many names change.

use crate::balancing::{Cluster, Group};
use crate::control::Control;
use crate::routing::table::Table;
use crate::telemetry::events::AddressesChanged;
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

/// Between two tables at least: what changes meanwhile is one change.
const GATHER: Duration = Duration::from_secs(1);
/// And this many times what the last one took, so that the largest table takes a small part of its thread.
const REST: u32 = 20;
/// Until the next try, while a change of the configuration is being built.
const LATER: Duration = Duration::from_millis(100);

/// Lets the active table follow its names, for as long as the process lives.
pub async fn follow_names(control: Arc<Control>) {
    loop {
        control.names.changed().await;
        loop {
            let began = Instant::now();
            let done = control.readdress();
            let pause = if done { GATHER.max(began.elapsed() * REST) } else { LATER };
            tokio::time::sleep(pause).await;
            if done {
                break;
            }
        }
    }
}

impl Control {
    /// Replaces the tables if names of them have other addresses. A version keeps its number and hash, for its text
    /// is the same. False while another change is under way.
    pub(super) fn readdress(&self) -> bool {
        let mut builder = match self.builder.try_lock() {
            Ok(builder) => builder,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        // Whoever builds tables has the lock that we have.
        let plan = self.state().active.plan.clone();
        let tried = self.tried();
        let active = tried.as_ref().map_or_else(|| self.live.load(), |tried| tried.stable.clone());
        let stable = builder.readdress(&plan, &active).unwrap_or_else(cannot).map(Arc::new);
        // Before the candidate's, whose wishes are for later.
        let renewed = builder.set_aside();
        let candidate = tried.as_ref().and_then(|it| it.readdress(&mut builder).unwrap_or_else(cannot));
        if stable.is_none() && candidate.is_none() {
            return true;
        }
        stable.iter().for_each(|after| tell(&active, after));
        // Mostly both have the same names, which are told of once.
        let both = tried.as_ref().zip(candidate.as_ref()).filter(|_| stable.is_none());
        both.iter().for_each(|(before, after)| tell(&before.table, after));
        // Requests on tables of before may last for days; the others are not waited for by anyone.
        let is_stable = stable.is_some();
        self.put(stable, tried.as_ref().map(|tried| (tried, candidate)));
        if is_stable {
            builder.take_up_addresses(renewed);
            builder.settle(&plan);
        }
        true
    }
}

/// Nothing of it can fail that did not fail when the version became active.
fn cannot<T>(error: String) -> Option<T> {
    tracing::error!(error, "the table cannot be built again");
    None
}

/// Says which names have other addresses, and which.
fn tell(before: &Table, after: &Table) {
    for (was, is) in before.upstreams.iter().zip(&after.upstreams) {
        for (old, new) in was.cluster.groups.iter().zip(&is.cluster.groups) {
            if old.version == new.version {
                continue;
            }
            let (had, has) = (addresses(&was.cluster, old), addresses(&is.cluster, new));
            let only = |these: &[&'_ str], those: &[&'_ str]| -> Vec<String> {
                these.iter().filter(|at| !those.contains(at)).map(|at| (*at).to_owned()).collect()
            };
            let looked = new.names.as_ref().map(|names| names.looked()).unwrap_or_default();
            AddressesChanged {
                upstream: &is.name,
                backend: &new.settings.name,
                name: &new.settings.address.to_string(),
                came: &only(&has, &had),
                went: &only(&had, &has),
                why: looked.failure.as_ref().map(|why| why.as_str()),
            }
            .emit();
        }
    }
}

fn addresses<'a>(cluster: &'a Cluster, group: &Group) -> Vec<&'a str> {
    let members = cluster.backends[group.members.clone()].iter();
    members.filter(|backend| backend.resolved).map(|backend| &*backend.at).collect()
}
