//! The process's budget of file descriptors: one count for accepted and dialled connections, with a reserve
//! that neither may touch, so that the admin side, logs and state files can always be opened
//! (`hyper-notes.md`, "Decide up front").
//!
//! Dials may use the whole budget and accepts seven eighths of it: a gateway full of clients that cannot
//! reach a backend would be no use to any of them. What is not a connection is not counted one by one; it
//! lives in the reserve.

use crate::permit::{Counted, Counter, Permit};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;

/// Descriptors kept back at the least.
const RESERVE_MIN: u32 = 32;
/// Descriptors that one runtime holds for itself (reactor, waker, listeners' copies), rounded up.
const RESERVE_PER_THREAD: u32 = 4;
/// A process that may open almost nothing still serves this many connections, and says so.
const BUDGET_MIN: u32 = 16;

/// How many descriptors connections may use, and how many they use.
#[derive(Debug)]
pub struct Descriptors {
    budget: u32,
    used: Counter,
}

/// One descriptor of the budget; given back when dropped, so drop it after the socket.
pub type DescriptorPermit = Permit<Arc<Descriptors>>;

impl Descriptors {
    /// Raises `RLIMIT_NOFILE` to its hard limit and makes the budget from it, for a process of `threads`
    /// runtimes. The text, if any, is a warning for a person.
    pub fn at_start(threads: usize) -> (Arc<Self>, Option<String>) {
        let (limit, refused) = raise_to_hard_limit();
        let descriptors = Arc::new(Self::with_limit(limit, threads));
        let warning = match refused {
            Some(error) => Some(format!(
                "the limit of open files stays at {limit}: raising it was refused ({error})\n\
                 hint: raise RLIMIT_NOFILE (LimitNOFILE= in a systemd unit)"
            )),
            None if limit < 1024 => Some(format!(
                "only {limit} open files are allowed, {} of them for connections\n\
                 hint: raise RLIMIT_NOFILE (LimitNOFILE= in a systemd unit)",
                descriptors.budget
            )),
            None => None,
        };
        (descriptors, warning)
    }

    /// The budget under a limit of `limit` descriptors.
    pub fn with_limit(limit: u32, threads: usize) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        let reserve = RESERVE_MIN.max(limit / 20).saturating_add(RESERVE_PER_THREAD.saturating_mul(threads));
        Self::with_budget(limit.saturating_sub(reserve).max(BUDGET_MIN))
    }

    /// A budget of exactly `budget` connections.
    pub fn with_budget(budget: u32) -> Self {
        Descriptors { budget, used: Counter::default() }
    }

    /// The right to hold an accepted connection, if the budget has room.
    pub fn try_accept(self: &Arc<Self>) -> Option<DescriptorPermit> {
        Permit::try_new(Arc::clone(self), self.accept_budget())
    }

    /// The right to open a connection to a backend, if the budget has room.
    pub fn try_dial(self: &Arc<Self>) -> Option<DescriptorPermit> {
        Permit::try_new(Arc::clone(self), self.budget)
    }

    /// The right to a descriptor that only saves work: while less than a quarter of the budget is used, so that
    /// connections find room whatever was saved before them.
    pub fn try_spare(self: &Arc<Self>) -> Option<DescriptorPermit> {
        Permit::try_new(Arc::clone(self), self.budget / 4)
    }

    /// Connections that clients may hold at most: the budget without the eighth that is left for dials.
    pub fn accept_budget(&self) -> u32 {
        self.budget - self.budget / 8
    }

    /// Connections in both directions at most.
    pub fn budget(&self) -> u32 {
        self.budget
    }

    /// Connections in both directions now, and what saves them work.
    pub fn used(&self) -> u32 {
        self.used.get()
    }

    /// `wanted` client connections as far as the budget allows, with a warning when that is fewer.
    pub fn clamp(&self, wanted: u32, what: &str) -> (u32, Option<String>) {
        let allowed = wanted.min(self.accept_budget());
        let warning = (allowed < wanted).then(|| {
            format!(
                "{what}: max_connections = {wanted} is more than the limit of open files allows; {allowed} is used\n\
                 hint: raise RLIMIT_NOFILE (LimitNOFILE= in a systemd unit)"
            )
        });
        (allowed, warning)
    }
}

impl Counted for Arc<Descriptors> {
    fn counter(&self) -> &Counter {
        &self.used
    }
}

/// The limit in force afterwards, and why it could not be raised.
fn raise_to_hard_limit() -> (u32, Option<rustix::io::Errno>) {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => (saturated(now.maximum), None),
        Err(error) => (saturated(now.current), Some(error)),
    }
}

fn saturated(limit: Option<u64>) -> u32 {
    limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_limit() {
        let (descriptors, _) = Descriptors::at_start(4);
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current, after.maximum);
        assert!(descriptors.budget() < saturated(after.current));
    }

    #[test]
    fn a_reserve_is_kept_at_every_size() {
        for limit in [64, 256, 1024, 65_536, u32::MAX] {
            let budget = Descriptors::with_limit(limit, 2).budget();
            assert!(
                budget <= limit - RESERVE_MIN.max(limit / 20) || budget == BUDGET_MIN,
                "{limit}: {budget}"
            );
        }
        assert_eq!(Descriptors::with_limit(10, 64).budget(), BUDGET_MIN);
    }

    #[test]
    fn accepts_leave_room_for_dials() {
        let descriptors = Arc::new(Descriptors::with_budget(16));
        let accepted: Vec<_> = std::iter::from_fn(|| descriptors.try_accept()).collect();
        assert_eq!(accepted.len(), 14);
        let dialled: Vec<_> = std::iter::from_fn(|| descriptors.try_dial()).collect();
        assert_eq!(dialled.len(), 2);
        drop(accepted);
        assert_eq!(descriptors.used(), 2);
    }

    #[test]
    fn what_only_saves_work_leaves_three_quarters_to_connections() {
        let descriptors = Arc::new(Descriptors::with_budget(16));
        let spared: Vec<_> = std::iter::from_fn(|| descriptors.try_spare()).collect();
        assert_eq!(spared.len(), 4);
        assert!(descriptors.try_accept().is_some());
    }

    #[test]
    fn a_cap_above_the_budget_is_clamped_with_a_warning() {
        let descriptors = Descriptors::with_budget(80);
        assert_eq!(descriptors.clamp(70, "listener edge"), (70, None));
        let (allowed, warning) = descriptors.clamp(10_000, "listener edge");
        assert_eq!(allowed, 70);
        assert!(warning.is_some_and(|text| text.contains("listener edge") && text.contains("10000")));
    }
}
