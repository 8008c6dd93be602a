//! An upstream's backends: each as it is configured, and of a name each of its addresses; with what counts and
//! connections of them earlier tables had.

use crate::balancing::ewma::PeakEwma;
use crate::balancing::rate::Rate;
use crate::balancing::settings::{BackendSettings, Health};
use crate::balancing::{Backend, Group};
use crate::config::plan::UpstreamPlan;
use crate::control::build::Builder;
use crate::control::build::names::{self, Member};
use crate::permit::Counter;
use crate::telemetry::metrics::BackendMetrics;
use crate::upstream::discovery::AddressSet;
use crate::upstream::settings::{Address, Protocol};
use crate::upstream::tls::TlsClient;
use crate::upstream::vitals::Vitals;
use crate::upstream::{BackendTls, Endpoint, Waits};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::Semaphore;

/// What a backend's counts belong to: upstream, name, and of a name that was resolved its address.
pub(super) type Own = (Arc<str>, Arc<str>, Option<SocketAddr>);

/// What makes a backend's connections and averages its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    upstream: Arc<str>,
    address: Address,
    /// What the address's name was resolved to.
    resolved: Option<SocketAddr>,
    protocol: Protocol,
    tls: Option<blake3::Hash>,
    health: Option<Health>,
}

impl Builder {
    /// The backends of an upstream: each as it is configured, and each of its addresses.
    pub(super) fn groups(
        &mut self,
        upstream: &UpstreamPlan,
        tls: Option<&TlsClient>,
    ) -> Result<(Vec<Group>, Vec<Backend>), String> {
        let mut backends = Vec::new();
        let mut groups = Vec::new();
        for settings in &upstream.balancing.backends {
            let first = backends.len();
            let set = self.directory.addresses_of(&settings.address, upstream.on_missing);
            let found = set.load().clone();
            let is_name = settings.address.literal().is_none();
            if is_name && !found.list.is_empty() {
                for (address, fact) in found.list.iter().zip(&found.facts) {
                    backends.push(self.backend(upstream, names::member(settings, *address, *fact), tls)?);
                }
            } else {
                backends.push(self.backend(upstream, names::whole(settings, &set), tls)?);
            }
            groups.push(Group {
                settings: settings.clone(),
                names: is_name.then_some(set),
                version: found.version,
                members: first..backends.len(),
            });
        }
        Ok((groups, backends))
    }

    fn backend(
        &mut self,
        upstream: &UpstreamPlan,
        member: Member<'_>,
        tls: Option<&TlsClient>,
    ) -> Result<Backend, String> {
        let Member { settings, weight, resolved, came, addresses } = member;
        let identity = Identity {
            upstream: upstream.name.clone(),
            address: settings.address.spoken_at(resolved.map_or(0, |address| address.port())),
            resolved,
            protocol: upstream.transport.protocol,
            tls: tls.map(TlsClient::identity),
            health: upstream.balancing.health.clone(),
        };
        let at: Arc<str> = match resolved {
            Some(address) => address.to_string().into(),
            None => settings.address.to_string().into(),
        };
        let key = (upstream.name.clone(), settings.name.clone(), resolved);
        let metrics = match resolved {
            Some(_) => self.metrics.address(&upstream.name, &settings.name, &at),
            None => self.metrics.backend(&upstream.name, &settings.name),
        };
        if upstream.balancing.health.is_some() {
            metrics.expect_checks();
        }
        Ok(Backend {
            settings: BackendSettings { weight, ..settings.clone() },
            at,
            cap: upstream.balancing.max_in_flight_per_backend,
            max_streams: upstream.balancing.max_streams,
            resolved: resolved.is_some(),
            came,
            in_flight: self.backends.get_or(key.clone(), Counter::default),
            rate: self.rates.get_or(key.clone(), Rate::default),
            metrics: metrics.clone(),
            streams: self.streams.get_or(key, Counter::default),
            latency: self.latencies.get_or(identity.clone(), PeakEwma::default),
            endpoint: self.endpoint(upstream, identity, &addresses, tls, metrics)?,
            guest: None,
        })
    }

    fn endpoint(
        &mut self,
        upstream: &UpstreamPlan,
        identity: Identity,
        addresses: &Arc<AddressSet>,
        tls: Option<&TlsClient>,
        metrics: Arc<BackendMetrics>,
    ) -> Result<Arc<Endpoint>, String> {
        let transport = &upstream.transport;
        let waits = Waits {
            connect_timeout: transport.connect_timeout,
            keepalive_idle: transport.keepalive_idle,
            metrics,
        };
        let address = identity.address.clone();
        let tls = match tls {
            None => None,
            Some(client) => {
                let server_name = client.server_name(&address.host).ok_or_else(|| {
                    format!("upstream {}: {} is no name that TLS can verify", upstream.name, address.host)
                })?;
                Some(BackendTls { config: client.config.clone(), server_name })
            }
        };
        let (descriptors, cores) = (&self.descriptors, self.cores);
        let endpoint = self.endpoints.get_or(identity, || Endpoint {
            addresses: addresses.clone(),
            address,
            protocol: transport.protocol,
            waits: ArcSwap::from_pointee(waits.clone()),
            turn: AtomicU32::new(0),
            connects: ArcSwap::from_pointee(Semaphore::new(transport.max_connects as usize)),
            connects_allowed: AtomicU32::new(transport.max_connects),
            tls,
            descriptors: descriptors.clone(),
            vitals: Arc::new(Vitals::new(cores)),
        });
        self.later.push((endpoint.clone(), waits, transport.max_connects));
        Ok(endpoint)
    }
}
