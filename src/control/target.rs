//! One server that the gateway asks or tells something of its own, by its URL: its addresses, whom to trust there, and
//! what is needed for one call. Key sets and sinks of notifications have one each.
//!
//! It neither calls nor waits by itself, beyond the first look for a name; whoever calls has the deadline.

use crate::upstream::BackendTls;
use crate::upstream::call::Line;
use crate::upstream::discovery::{AddressSet, Directory};
use crate::upstream::pem::{Files, OnDisk};
use crate::upstream::settings::{Address, OnMissing, Protocol, TlsSettings};
use crate::upstream::tls::{TlsClient, roots};
use arc_swap::ArcSwap;
use http::{HeaderValue, Uri};
use std::path::PathBuf;
use std::sync::Arc;

/// One server.
#[derive(Debug)]
pub(in crate::control) struct Target {
    pub(in crate::control) addresses: Arc<AddressSet>,
    pub(in crate::control) host: Option<HeaderValue>,
    pub(in crate::control) protocol: Protocol,
    pub(in crate::control) security: Security,
}

/// What is known of whom to trust there.
#[derive(Debug)]
pub(in crate::control) enum Security {
    /// No TLS.
    Plain,
    /// As the upstream has it.
    Given(BackendTls),
    /// Ours, and whether it can be had.
    Own { server_name: String, ca: Option<PathBuf>, client: ArcSwap<Result<TlsClient, String>> },
}

impl Target {
    /// The server of a URL; nothing if it names none. It reads from `files` only, which were read before: the system's
    /// authorities are read elsewhere, and taken up with the first call after that.
    pub(in crate::control) fn at(
        url: &Uri,
        ca: Option<&PathBuf>,
        directory: &Directory,
        files: &dyn Files,
    ) -> Option<Target> {
        let secure = url.scheme_str() != Some("http");
        let host = url.host()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let address = Address { host: bare.into(), port };
        let security = if secure {
            let client = ArcSwap::from_pointee(open_now(files, ca));
            Security::Own { server_name: bare.to_owned(), ca: ca.cloned(), client }
        } else {
            Security::Plain
        };
        let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Some(Target {
            addresses: directory.addresses_of(&address, OnMissing::Keep),
            host: HeaderValue::from_str(&named).ok(),
            protocol: Protocol::Http1,
            security,
        })
    }

    /// HTTP/2 wants to know the whole of it; HTTP/1 takes that too, and is told it where it is not known before the
    /// handshake which of them is spoken.
    pub(in crate::control) fn uri(&self, host: &HeaderValue, path: &Uri) -> Result<Uri, String> {
        if self.protocol == Protocol::Http1 {
            return Ok(path.clone());
        }
        let scheme = if matches!(self.security, Security::Plain) { "http" } else { "https" };
        let path = path.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path);
        uri.build().map_err(|error| error.to_string())
    }

    /// One of its addresses, and what is needed to talk there.
    pub(in crate::control) async fn line(&self, turn: usize) -> Result<Line, String> {
        if !self.addresses.is_known() {
            self.addresses.tried().await;
        }
        let list = self.addresses.load().list.clone();
        let address = turn.checked_rem(list.len()).and_then(|index| list.get(index).copied());
        let address = address.ok_or_else(|| match self.addresses.failure() {
            Some(why) => format!("its name does not resolve: {why}"),
            None => "its name does not resolve".to_owned(),
        })?;
        let tls = match &self.security {
            Security::Plain => None,
            Security::Given(tls) => Some(tls.clone()),
            Security::Own { server_name, ca, client } => {
                let mut known = client.load_full();
                if known.is_err() && ca.is_none() && roots::are_read() {
                    known = Arc::new(open(&OnDisk, &trust(None)));
                    client.store(known.clone());
                }
                let client = known;
                let client = client.as_ref().as_ref().map_err(Clone::clone)?;
                let server_name = client.server_name(server_name);
                let server_name = server_name.ok_or("its name is none that TLS can verify")?;
                Some(BackendTls { config: client.config.clone(), server_name })
            }
        };
        Ok(Line { address, tls, protocol: self.protocol })
    }

    /// Reads the files of whom it trusts again; what cannot be used changes nothing, unless there was nothing. Blocks.
    pub(in crate::control) fn renew_trust(&self) {
        let Security::Own { ca, client, .. } = &self.security else { return };
        let settings = trust(ca.clone());
        let before = client.load_full();
        let next = match &*before {
            Ok(current) => current.renewed(&settings, Protocol::Http1).ok().flatten().map(Ok),
            Err(_) => Some(open(&OnDisk, &settings)),
        };
        next.into_iter().for_each(|next| client.store(Arc::new(next)));
    }
}

fn trust(ca: Option<PathBuf>) -> TlsSettings {
    TlsSettings { server_name: None, ca, client: None }
}

/// Without waiting for a disk.
fn open_now(files: &dyn Files, ca: Option<&PathBuf>) -> Result<TlsClient, String> {
    if ca.is_none() && !roots::are_read() {
        roots::read_ahead();
        return Err(roots::not_read());
    }
    open(files, &trust(ca.cloned()))
}

fn open(files: &dyn Files, settings: &TlsSettings) -> Result<TlsClient, String> {
    TlsClient::open_from(files, settings, Protocol::Http1).map_err(|error| error.to_string())
}
