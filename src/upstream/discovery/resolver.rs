//! Asks name servers, and tells an answer that there is nothing from no answer at all: the first is followed by a
//! policy, the second changes nothing.
//!
//! Search domains and `ndots` are the system's, as resolv.conf has them, unless name servers are configured: then
//! every name is a whole name. A name that ends in a dot always is. The hosts file comes first. IPv6 addresses are used where there are no IPv4
//! ones: where both exist IPv6 is often the one without a route, and a backend is spoken to one way.

use crate::upstream::discovery::{Answer, MAX_ADDRESSES};
use crate::upstream::settings::Address;
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Asks name servers.
pub(super) struct Resolver {
    servers: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

/// How many questions are asked at once, and for how long.
pub(super) trait Bounds {
    /// One question, within the bounds on all of them. Fails when it takes too long.
    async fn bounded<T>(&self, question: impl Future<Output = Result<T, String>>) -> Result<T, String>;
}

/// What one name server said to one question.
enum Said<T> {
    /// Something.
    Something(Vec<T>),
    /// That there is nothing.
    Nothing,
}

/// One SRV record that counts.
struct Target {
    weight: u32,
    port: u16,
}

impl Resolver {
    /// As the system is configured: resolv.conf and the hosts file, read now. Without a usable resolv.conf
    /// only the hosts file counts.
    ///
    /// # Errors
    /// When no resolver can be made at all.
    pub(super) fn system() -> Result<Self, String> {
        match read_system_conf() {
            Ok((config, options)) => Resolver::build(config, options),
            Err(error) => {
                tracing::warn!(%error, "no usable resolv.conf; only the hosts file is used");
                Resolver::build(ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
            }
        }
    }

    /// Asking these name servers, over UDP and, where an answer is too long for it, TCP.
    ///
    /// # Errors
    /// When no resolver can be made.
    pub(super) fn asking(servers: &[SocketAddr]) -> Result<Self, String> {
        let server = |server: &SocketAddr| {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            (udp.port, tcp.port) = (server.port(), server.port());
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        };
        let servers = servers.iter().map(server).collect();
        Resolver::build(ResolverConfig::from_name_servers(servers), ResolverOpts::default())
    }

    fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, String> {
        options.timeout = Duration::from_secs(1);
        options.attempts = 1;
        // When to ask again is decided by the keeper, not by a record's time to live.
        options.cache_size = 0;
        let ndots = options.ndots;
        let search = config.domain().into_iter().chain(config.search()).cloned().collect();
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let servers = builder.with_options(options).build().map_err(|error| error.to_string())?;
        Ok(Resolver { servers, search, ndots })
    }

    /// The addresses of a backend's name, or of the targets of a service's.
    pub(super) async fn addresses(&self, asking: &impl Bounds, wanted: &Address) -> Answer {
        if wanted.is_service() {
            return self.service(asking, wanted).await;
        }
        let found = asking.bounded(self.hosts(&wanted.host)).await;
        match found {
            Ok(Said::Something(mut ips)) => {
                ips.sort_unstable();
                ips.dedup();
                let all = ips.into_iter().map(|ip| (SocketAddr::new(ip, wanted.port), 1));
                cut(all.collect())
            }
            Ok(Said::Nothing) => {
                Answer::Missing("the name server says that the name has no address".to_owned())
            }
            Err(why) => Answer::Failed(why),
        }
    }

    /// The targets of lowest priority; the others are for when these are gone from the records (RFC 2782). Each
    /// target is a question of its own, within the same bounds.
    async fn service(&self, asking: &impl Bounds, wanted: &Address) -> Answer {
        let records = match asking.bounded(self.targets(&wanted.host)).await {
            Ok(Said::Something(records)) => records,
            Ok(Said::Nothing) => {
                return Answer::Missing("the name server says that the service has no target".to_owned());
            }
            Err(why) => return Answer::Failed(why),
        };
        let mut hosts: BTreeMap<Name, Vec<Target>> = BTreeMap::new();
        let unused = records.len().saturating_sub(MAX_ADDRESSES);
        for (host, target) in records.into_iter().take(MAX_ADDRESSES) {
            hosts.entry(host).or_default().push(target);
        }
        let asked = hosts.iter().map(async |(host, targets)| {
            let found = asking.bounded(self.host(host)).await;
            (targets, found.map_err(|why| format!("{host}: {why}")))
        });
        let (mut all, mut failure) = (Vec::new(), None);
        for (targets, found) in join_all(asked).await {
            match found {
                Ok(Said::Something(ips)) => {
                    // What a target weighs is shared by its addresses, rounded in thousandths.
                    let share = |target: &Target| {
                        target.weight * 1_000 / u32::try_from(ips.len()).unwrap_or(u32::MAX)
                    };
                    all.extend(targets.iter().flat_map(|target| {
                        ips.iter().map(move |ip| (SocketAddr::new(*ip, target.port), share(target)))
                    }));
                }
                Ok(Said::Nothing) => {}
                Err(why) => failure = Some(why),
            }
        }
        all.sort_unstable();
        all.dedup_by_key(|(address, _)| *address);
        match (failure, cut(all)) {
            (Some(why), Answer::Found(found, _)) if found.is_empty() => Answer::Failed(why),
            (Some(why), Answer::Found(found, _)) => Answer::Partly(found, why),
            (None, Answer::Found(found, _)) if found.is_empty() => Answer::Missing(
                "the name server says that no target of the service has an address".to_owned(),
            ),
            (None, Answer::Found(found, more)) => Answer::Found(found, more + unused),
            (_, answer) => answer,
        }
    }

    async fn targets(&self, service: &str) -> Result<Said<(Name, Target)>, String> {
        let said = self.searched(service, async |name| self.ask(name, RecordType::SRV, srv).await).await?;
        let Said::Something(mut records) = said else { return Ok(Said::Nothing) };
        let lowest = records.iter().map(|(priority, ..)| *priority).min();
        // A target that is the root says that there is no such service.
        records.retain(|(priority, host, _)| Some(*priority) == lowest && !host.is_root());
        records.sort_by(|one, other| (&one.1, one.2.port).cmp(&(&other.1, other.2.port)));
        if records.is_empty() {
            return Ok(Said::Nothing);
        }
        Ok(Said::Something(records.into_iter().map(|(_, host, target)| (host, target)).collect()))
    }

    async fn hosts(&self, name: &str) -> Result<Said<IpAddr>, String> {
        self.searched(name, async |name| self.host(&name).await).await
    }

    async fn host(&self, name: &Name) -> Result<Said<IpAddr>, String> {
        let ip = |data: &RData| data.ip_addr();
        match self.ask(name.clone(), RecordType::A, ip).await? {
            Said::Nothing => self.ask(name.clone(), RecordType::AAAA, ip).await,
            said => Ok(said),
        }
    }

    /// The first name of the search list that there is. Where none is found, one that could not be asked for is a
    /// failure: it may be the one.
    async fn searched<T>(
        &self,
        name: &str,
        ask: impl AsyncFn(Name) -> Result<Said<T>, String>,
    ) -> Result<Said<T>, String> {
        let mut failure = None;
        for candidate in self.candidates(name)? {
            match ask(candidate).await {
                Ok(Said::Nothing) => {}
                Ok(said) => return Ok(said),
                Err(why) => failure = failure.or(Some(why)),
            }
        }
        failure.map_or(Ok(Said::Nothing), Err)
    }

    fn candidates(&self, name: &str) -> Result<Vec<Name>, String> {
        let plain = Name::from_ascii(name).map_err(|error| error.to_string())?;
        let mut whole = plain.clone();
        whole.set_fqdn(true);
        if plain.is_fqdn() {
            return Ok(vec![whole]);
        }
        let mut candidates: Vec<Name> =
            self.search.iter().filter_map(|domain| plain.clone().append_domain(domain).ok()).collect();
        let dots = usize::from(plain.num_labels()).saturating_sub(1);
        let first = dots >= self.ndots || plain.is_localhost();
        candidates.insert(if first { 0 } else { candidates.len() }, whole);
        Ok(candidates)
    }

    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Said<T>, String> {
        match self.servers.lookup(name, kind).await {
            Ok(lookup) => {
                let found: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
                Ok(if found.is_empty() { Said::Nothing } else { Said::Something(found) })
            }
            // Without the zone's own word, names of other servers say that this one does not know.
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.soa.is_some() || none.ns.is_none() => {
                Ok(Said::Nothing)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn srv(data: &RData) -> Option<(u16, Name, Target)> {
    let RData::SRV(srv) = data else { return None };
    let mut host = srv.target.clone();
    host.set_fqdn(true);
    Some((srv.priority, host, Target { weight: u32::from(srv.weight), port: srv.port }))
}

/// As many as are used, and how many more there were.
fn cut(mut all: Vec<(SocketAddr, u32)>) -> Answer {
    let unused = all.len().saturating_sub(MAX_ADDRESSES);
    all.truncate(MAX_ADDRESSES);
    Answer::Found(all, unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, ndots: usize) -> Vec<String> {
        let mut config = ResolverConfig::from_name_servers(Vec::new());
        for domain in ["shop.svc.", "svc."] {
            config.add_search(Name::from_ascii(domain).expect("a name"));
        }
        let mut options = ResolverOpts::default();
        options.ndots = ndots;
        let resolver = Resolver::build(config, options).expect("a resolver");
        resolver.candidates(name).expect("a name").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn search_domains_come_first_where_a_name_has_few_dots_and_never_for_a_whole_name() {
        assert_eq!(candidates("orders", 1), ["orders.shop.svc.", "orders.svc.", "orders."]);
        assert_eq!(
            candidates("orders.shop", 1),
            ["orders.shop.", "orders.shop.shop.svc.", "orders.shop.svc."]
        );
        assert_eq!(candidates("a.b.c", 5), ["a.b.c.shop.svc.", "a.b.c.svc.", "a.b.c."]);
        assert_eq!(candidates("a.b.c.", 5), ["a.b.c."]);
        assert_eq!(candidates("_http._tcp.orders", 5).len(), 3);
    }

    #[test]
    fn more_addresses_than_are_used_are_counted_and_it_is_always_the_same_that_are_used() {
        let all =
            |n: u16| (0..n).map(|port| (SocketAddr::from(([192, 0, 2, 1], port)), 1)).collect::<Vec<_>>();
        let Answer::Found(used, unused) = cut(all(100)) else { panic!("all were found") };
        assert_eq!((used, unused), (all(64), 36));
    }
}
