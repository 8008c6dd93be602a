//! Trust and client certificates towards backends, by upstream, and what became of their files.
//!
//! Kept from table to table: an upstream whose files are as they were keeps its client, and with it the
//! sessions that may be resumed; one whose files cannot be used keeps what it has. Nothing here tells anybody.

use crate::config::plan::UpstreamPlan;
use crate::upstream::pem::TlsError;
use crate::upstream::settings::{Protocol, TlsSettings};
use crate::upstream::tls::TlsClient;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// The clients of the active table, and of the one that is being built.
#[derive(Debug, Default)]
pub struct Trusts {
    active: HashMap<Arc<str>, Trust>,
    next: HashMap<Arc<str>, Trust>,
    reread: bool,
    forgiving: bool,
    started: bool,
}

/// The clients of a table that was built and is not active.
#[derive(Debug, Default)]
pub(super) struct Aside(HashMap<Arc<str>, Trust>);

/// One upstream's.
#[derive(Clone, Debug)]
struct Trust {
    settings: TlsSettings,
    protocol: Protocol,
    client: TlsClient,
}

/// What a look at the files of one upstream found.
#[derive(Debug)]
pub struct TrustFound {
    /// The upstream.
    pub upstream: Arc<str>,
    /// What is in use.
    pub client: TlsClient,
    /// Whether the files hold something else that can be used, or why they cannot.
    pub changed: Result<bool, TlsError>,
}

impl Trusts {
    /// A table is being built; with `reread`, files that the active table uses are read again.
    pub(super) fn begin(&mut self, reread: bool) {
        self.next.clear();
        self.reread = reread;
    }

    /// Until the next table is active, an upstream whose files cannot be used trusts nobody, instead of keeping
    /// the others from their start.
    pub(super) fn forgive(&mut self) {
        self.forgiving = true;
    }

    /// The client for an upstream of the table being built, if its backends speak TLS.
    ///
    /// # Errors
    /// Files that cannot be used, unless the active table has the same ones.
    pub(super) fn client_for(&mut self, upstream: &UpstreamPlan) -> Result<Option<TlsClient>, TlsError> {
        let Some(settings) = &upstream.transport.tls else { return Ok(None) };
        let protocol = upstream.transport.protocol;
        let same = |trust: &&Trust| trust.settings == *settings && trust.protocol == protocol;
        let client = match self.active.get(&upstream.name).filter(same) {
            Some(Trust { client, .. }) if !self.reread => client.clone(),
            Some(Trust { client, .. }) => {
                let renewed = client.renewed(settings, protocol).ok().flatten();
                renewed.unwrap_or_else(|| client.clone())
            }
            None => {
                let client = match TlsClient::open(settings, protocol) {
                    Err(_) if self.forgiving => TlsClient::closed(settings, protocol),
                    opened => opened,
                }?;
                // At the start even an expired one is taken: it may serve more than none.
                if self.started {
                    client.check(SystemTime::now())?;
                }
                client
            }
        };
        let trust = Trust { settings: settings.clone(), protocol, client: client.clone() };
        self.next.insert(upstream.name.clone(), trust);
        Ok(Some(client))
    }

    /// The table that was built is active.
    pub(super) fn commit(&mut self) {
        self.active = std::mem::take(&mut self.next);
        self.started = true;
        self.forgiving = false;
    }

    /// Takes away what was built, to become active later or never.
    pub(super) fn set_aside(&mut self) -> Aside {
        Aside(std::mem::take(&mut self.next))
    }

    /// What was set aside is what was built.
    pub(super) fn take_up(&mut self, aside: Aside) {
        self.next = aside.0;
    }

    /// Swaps what is active with what was set aside, so that the other's table can be built again.
    pub(super) fn trade(&mut self, aside: &mut Aside) {
        std::mem::swap(&mut self.active, &mut aside.0);
    }

    /// Reads the files of every upstream of the active table. Changes nothing.
    pub(super) fn look(&self) -> Vec<TrustFound> {
        let found = self.active.iter().map(|(upstream, trust)| TrustFound {
            upstream: upstream.clone(),
            client: trust.client.clone(),
            changed: trust.client.renewed(&trust.settings, trust.protocol).map(|new| new.is_some()),
        });
        found.collect()
    }

    /// What the active table uses for an upstream.
    pub(super) fn active(&self, upstream: &str) -> Option<&TlsClient> {
        self.active.get(upstream).map(|trust| &trust.client)
    }
}
