//! What a name's addresses make of one configured backend, and of its upstream's cap.
//!
//! Every address is a backend of the configured weight and of a cap of its own: a name of weight 100 with four
//! addresses weighs as much as four backends of weight 100. SRV weights share that out among them.

use crate::admission::settings::Settings as GateSettings;
use crate::balancing::settings::BackendSettings;
use crate::config::plan::{Growth, UpstreamPlan};
use crate::upstream::discovery::{AddressSet, Fact};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// One backend of a table in the making.
pub(super) struct Member<'a> {
    /// As it is configured.
    pub(super) settings: &'a BackendSettings,
    /// Its own weight.
    pub(super) weight: NonZeroU32,
    /// The one address that it is, of a name.
    pub(super) resolved: Option<SocketAddr>,
    /// When that address came.
    pub(super) came: Option<Instant>,
    /// Where it is dialled.
    pub(super) addresses: Arc<AddressSet>,
}

/// One address of a name.
pub(super) fn member(settings: &BackendSettings, address: SocketAddr, fact: Fact) -> Member<'_> {
    let weight = u64::from(settings.weight.get()) * u64::from(fact.share) / u64::from(Fact::PLAIN.share);
    let weight = NonZeroU32::new(u32::try_from(weight).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    let addresses = Arc::new(AddressSet::fixed(address));
    Member { settings, weight, resolved: Some(address), came: fact.came, addresses }
}

/// A backend that is not told apart by address: a literal, or a name that has none yet. As soon as the name has one
/// it is dialled there, also before the table is built again.
pub(super) fn whole<'a>(settings: &'a BackendSettings, addresses: &Arc<AddressSet>) -> Member<'a> {
    Member { settings, weight: settings.weight, resolved: None, came: None, addresses: addresses.clone() }
}

/// The bounds of an upstream with so many backends: where the file does not say its cap, it follows them.
pub(super) fn gate(upstream: &UpstreamPlan, backends: usize) -> GateSettings {
    let gate = upstream.gate.clone();
    let Some(Growth { each, most, waiting }) = upstream.growth else { return gate };
    let backends = u32::try_from(backends).unwrap_or(u32::MAX);
    let max_in_flight = each.saturating_mul(backends).min(most).max(1);
    let max_waiting = if waiting { GateSettings::waiting_for(max_in_flight) } else { gate.max_waiting };
    GateSettings { max_in_flight, max_waiting, ..gate }
}
