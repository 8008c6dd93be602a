//! Where each listener of the next set gets its socket from: decided from names, addresses and terms alone,
//! before anything is bound.

use crate::listener::Open;
use crate::listener::settings::Settings;
use std::net::SocketAddr;

/// Where a listener's socket comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The same name, address and terms: index of the open listener.
    Keep(usize),
    /// The same address under another name or on other terms: the very socket, behind a new entrance.
    TakeOver(usize),
    /// Nobody has it.
    Bind,
}

impl Source {
    /// One for each of `wanted`, each open listener at most once.
    pub(super) fn choose(wanted: &[Settings], open: &[Open]) -> Vec<Source> {
        // Those that some listener keeps cannot be taken over.
        let mut free: Vec<bool> =
            open.iter().map(|open| !wanted.iter().any(|settings| keeps(settings, open))).collect();
        let mut kept = vec![false; open.len()];
        let choose = |settings: &Settings| {
            if let Some(index) = (0..open.len()).find(|i| !kept[*i] && keeps(settings, &open[*i])) {
                kept[index] = true;
                return Source::Keep(index);
            }
            let same = |index: &usize| free[*index] && is_at(settings, &open[*index]);
            let Some(index) = (0..open.len()).find(same) else { return Source::Bind };
            free[index] = false;
            Source::TakeOver(index)
        };
        wanted.iter().map(choose).collect()
    }
}

fn keeps(settings: &Settings, open: &Open) -> bool {
    open.listener.name == settings.name
        && open.address == settings.address
        && asks_the_same(settings, &open.listener.settings())
}

/// Port 0 is another port for another name.
fn is_at(settings: &Settings, open: &Open) -> bool {
    let found = settings.address.port() != 0 || open.listener.name == settings.name;
    found && open.address == settings.address
}

/// Whether whoever came in under `before` would be let in as it is under `after`: a connection that showed no
/// certificate must not outlive the change that asks for one.
fn asks_the_same(after: &Settings, before: &Settings) -> bool {
    let asks = |settings: &Settings| settings.tls.as_ref().map(|tls| tls.client_ca.clone());
    asks(after) == asks(before)
}

/// `[::]` takes IPv4 too, unless another listener wants it for itself.
pub(super) fn v4_is_taken(address: SocketAddr, wanted: &[Settings]) -> bool {
    let is_v4_any = |other: &SocketAddr| other.is_ipv4() && other.ip().is_unspecified();
    let others = wanted.iter().map(|settings| settings.address);
    address.ip().is_unspecified() && others.filter(is_v4_any).any(|other| other.port() == address.port())
}

/// Whether no two sockets can have both: an unspecified address is every address, of IPv6 also those of IPv4.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (every || one.ip() == other.ip())
}
