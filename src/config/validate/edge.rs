//! The process, the operators' door and the access log.

use super::{Check, owned};
use crate::config::operators::{Role, Settings as AdminSettings, Token};
use crate::config::plan::GatewaySettings;
use crate::config::value::{Data, Table};
use crate::runtime::memory;
use crate::telemetry::settings::{AccessLogSettings, AccessLogTarget};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::thread::available_parallelism;

/// `[gateway]`.
pub fn gateway(table: &Table, check: &mut Check<'_>) -> Option<GatewaySettings> {
    let mut trusted_proxies = Vec::new();
    for value in table.list("trusted_proxies") {
        let Data::Network(network) = value.data else { continue };
        if network.prefix_len() == 0 {
            let message = format!("{} believes the forwarding headers of everyone", check.quote(&value.span));
            check.warning(value.span.clone(), message, "name only the balancers that stand in front");
        }
        trusted_proxies.push(network);
    }
    Some(GatewaySettings {
        workers: workers(table.integer("workers")?),
        max_in_flight: table.count("max_in_flight")?,
        max_in_flight_streams: table.count("max_in_flight_streams")?,
        max_buffered: table.integer("max_buffered").unwrap_or_else(|| memory::limit() / 4),
        drain_timeout: table.duration("drain_timeout")?,
        drain_delay: table.duration("drain_delay")?,
        trusted_proxies: IpNet::aggregate(&trusted_proxies),
        resolver: resolver(table, check),
    })
}

/// Name servers at most: all of them may be asked for one name.
const MAX_SERVERS: usize = 8;

fn resolver(table: &Table, check: &mut Check<'_>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for value in table.list("resolver") {
        let Data::Socket(server) = value.data else { continue };
        if server.port() == 0 {
            let message = format!("{} is no name server's port", check.quote(&value.span));
            check.error(value.span.clone(), message, "name servers listen on port 53");
        }
        servers.push(server);
    }
    if servers.len() > MAX_SERVERS {
        let message = format!("{} name servers are too many", servers.len());
        check.error(table.span_of("resolver"), message, format!("at most {MAX_SERVERS}"));
    }
    servers
}

/// 0 is `"auto"`: every core that the process may use, which is fewer than the machine has under an affinity or
/// a CPU quota.
fn workers(written: u64) -> usize {
    match usize::try_from(written) {
        Ok(0) | Err(_) => available_parallelism().map_or(1, usize::from),
        Ok(cores) => cores,
    }
}

/// `[admin]`.
pub fn admin(table: &Table, check: &mut Check<'_>) -> Option<AdminSettings> {
    check.distinct("tokens", table.tables("tokens").map(|token| token.get("name")));
    let tokens: Vec<Option<Token>> = table.tables("tokens").map(token).collect();
    let address = table.socket("address")?;
    if !address.ip().is_loopback() && table.list("tokens").is_empty() {
        check.error(
            table.span_of("address"),
            "the admin address can be reached from elsewhere, and there are no tokens",
            "listen on 127.0.0.1, or add tokens = [{ name = \"ops\", role = \"operator\", hash = \"…\" }]; \
             `tidegate hash-token` makes the hash",
        );
    }
    Some(AdminSettings {
        address,
        state_dir: owned(table.path("state_dir"))?,
        socket: table.bool("socket")?,
        tokens: tokens.into_iter().collect::<Option<_>>()?,
        metrics_token: table.text("metrics_token").map(str::to_owned),
    })
}

fn token(table: &Table) -> Option<Token> {
    let role = match table.text("role")? {
        "admin" => Role::Admin,
        "operator" => Role::Operator,
        _ => Role::Viewer,
    };
    Some(Token { name: table.text("name")?.to_owned(), role, hash: table.text("hash")?.to_owned() })
}

/// `[access_log]`.
pub fn access_log(table: &Table, check: &mut Check<'_>) -> Option<AccessLogSettings> {
    let redacted: Vec<_> = table.header_names("redact_headers").map(|(name, _)| name.clone()).collect();
    let mut headers = Vec::new();
    for (name, span) in table.header_names("headers") {
        if redacted.contains(name) {
            let message = format!("`{name}` holds secrets and is kept out of the log");
            check.error(span.clone(), message, "take it out of `headers`, or out of `redact_headers`");
        }
        headers.push(name.clone());
    }
    let redact_query = table.list("redact_query").iter().filter_map(|key| key.text()).map(str::to_owned);
    Some(AccessLogSettings { target: target(table, check)?, redact_query: redact_query.collect(), headers })
}

fn target(table: &Table, check: &mut Check<'_>) -> Option<AccessLogTarget> {
    match table.text("target")? {
        "off" => Some(AccessLogTarget::Off),
        "stdout" => Some(AccessLogTarget::Stdout),
        "" => {
            check.error(
                table.span_of("target"),
                "the target is empty",
                "write stdout, off, or the path of a file",
            );
            None
        }
        path => Some(AccessLogTarget::File(check.directory.join(path))),
    }
}
