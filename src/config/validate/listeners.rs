//! Listeners.

use super::{Check, owned, shared};
use crate::config::diagnostics::{Finding, Span};
use crate::config::value::Table;
use crate::listener::settings::{CertificateFiles, MessageLimits, Settings, TlsSettings};
use std::net::SocketAddr;

/// Every listener of the file; `None` for those that are wrong.
pub fn all(root: &Table, check: &mut Check<'_>) -> Vec<Option<Settings>> {
    check.distinct("listeners", root.tables("listeners").map(|listener| listener.get("name")));
    one_address_each(root, check);
    root.tables("listeners").map(|table| listener(table, check)).collect()
}

fn listener(table: &Table, check: &mut Check<'_>) -> Option<Settings> {
    let tls = table.table("tls").map(|tls| self::tls(tls, check));
    let redirect_https = table.bool("redirect_https")?;
    if redirect_https && tls.is_some() {
        let finding = Finding::error(
            table.span_of("redirect_https"),
            "a TLS listener would redirect to itself for ever",
        );
        let finding = finding.related(table.span_of("tls"), "clients speak https here already");
        check.report(finding.hint("redirect_https belongs on the cleartext listener"));
    }
    let max_connections = table.count("max_connections")?;
    let per_source = match table.written("max_connections_per_source") {
        Some(_) => table.count("max_connections_per_source")?,
        None => max_connections,
    };
    Some(Settings {
        name: shared(table, "name")?,
        address: table.socket("address")?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        max_connections,
        max_connections_per_source: per_source.min(max_connections),
        max_handshakes: table.count("max_handshakes")?,
        handshake_timeout: table.duration("handshake_timeout")?,
        header_timeout: table.duration("header_timeout")?,
        idle_timeout: table.duration("idle_timeout")?,
        redirect_https,
        limits: limits(table)?,
    })
}

fn limits(table: &Table) -> Option<MessageLimits> {
    let bytes = |key| table.integer(key).and_then(|value| usize::try_from(value).ok());
    Some(MessageLimits {
        max_head_bytes: bytes("max_head_bytes")?,
        max_headers: bytes("max_headers")?,
        max_uri_bytes: bytes("max_uri_bytes")?,
        max_h2_streams: table.count("max_h2_streams")?,
    })
}

fn tls(table: &Table, check: &mut Check<'_>) -> Option<TlsSettings> {
    let mut certificates = Vec::new();
    for pair in table.tables("certificates") {
        check.file(pair, "certificate");
        check.file(pair, "key");
        let files = (owned(pair.path("certificate")), owned(pair.path("key")));
        if let (Some(certificate), Some(key)) = files {
            certificates.push(CertificateFiles { certificate, key });
        }
    }
    check.file(table, "client_ca");
    let complete = !certificates.is_empty() && certificates.len() == table.list("certificates").len();
    // A client_ca that was wrong was reported, and an error leaves no plan: it cannot vanish silently.
    complete.then(|| TlsSettings { certificates, client_ca: owned(table.path("client_ca")) })
}

/// Two listeners, or a listener and the admin server, cannot share an address.
fn one_address_each(root: &Table, check: &mut Check<'_>) {
    let admin =
        root.table("admin").and_then(|admin| Some((admin.socket("address")?, admin.span_of("address"))));
    let mut taken: Vec<(SocketAddr, Span, &str)> = Vec::new();
    if let Some((address, span)) = admin {
        taken.push((address, span, "the admin server listens here"));
    }
    for listener in root.tables("listeners") {
        let Some(address) = listener.socket("address") else { continue };
        let span = listener.span_of("address");
        let rival = taken.iter().find(|(other, ..)| collide(*other, address));
        match rival {
            Some((_, other, why)) => {
                let message = format!("the address {} is taken", check.quote(&span));
                let finding = Finding::error(span, message).related(other.clone(), *why);
                check.report(finding.hint("give one another port"));
            }
            None => taken.push((address, span, "another listener has it")),
        }
    }
}

/// An unspecified address has every address of its family.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip()
        || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() == b.port() && a.port() != 0 && overlap
}
