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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};
    use std::path::Path;

    fn plan(lines: &str) -> config::plan::Plan {
        let text = format!(
            "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n\
             [[upstreams]]\nname = \"u\"\nbackends = [{{ name = \"pods\", address = \"pods.test:80\", weight = 40 }}]\n{lines}\n\
             [[routes]]\nname = \"a\"\npath_prefix = \"/a\"\nupstream = \"u\"\n\
             [[routes]]\nname = \"b\"\npath_prefix = \"/b\"\nupstream = \"u\"\nmax_in_flight = 7\n"
        );
        let checked = config::check(&text, Path::new("/tidegate.toml"), &ProcessEnvironment);
        checked.plan.expect("a configuration")
    }

    #[test]
    fn a_cap_that_nobody_wrote_follows_the_addresses_and_its_queue_and_routes_follow_the_cap() {
        let plan = plan("");
        let bounds = |backends| {
            let gate = gate(&plan.upstreams[0], backends);
            let routes = plan.routes.iter().map(|(_, route)| route.bound_of(gate.max_in_flight));
            (gate.max_in_flight, gate.max_waiting, routes.collect::<Vec<_>>())
        };
        assert_eq!(bounds(1), (64, 128, vec![32, 7]));
        assert_eq!(bounds(4), (256, 512, vec![128, 7]));
        // Never more than its share of the process: 90 % of 8,192 for one alone.
        assert_eq!(bounds(1_000).0, 7_372);
    }

    #[test]
    fn a_cap_that_is_written_stays() {
        let plan = plan("max_in_flight = 100\nqueue = { max_waiting = 9 }");
        let gate = gate(&plan.upstreams[0], 64);
        assert_eq!((gate.max_in_flight, gate.max_waiting), (100, 9));
    }

    #[test]
    fn every_address_has_the_weight_of_its_name_and_srv_records_share_it_out() {
        let plan = plan("");
        let settings = &plan.upstreams[0].balancing.backends[0];
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        let weight = |share| member(settings, address, Fact { share, came: None }).weight.get();
        assert_eq!((weight(100), weight(150), weight(1)), (40, 60, 1));
    }
}
