//! Trust and client certificates towards backends, by upstream, and what became of their files.
//!
//! Kept from table to table: an upstream whose files are as they were keeps its client, and with it the
//! sessions that may be resumed; one whose files cannot be used keeps what it has. Nothing here tells anybody.

use crate::config::plan::UpstreamPlan;
use crate::upstream::pem::{Files, OnDisk, TlsError};
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
    /// What files hold now, for the table that is being built.
    renewed: Vec<(Arc<str>, Trust)>,
    started: bool,
}

/// The clients of a table that was built and is not active.
#[derive(Debug, Default)]
pub(super) struct Aside(HashMap<Arc<str>, Trust>);

impl Aside {
    /// What is in it, to be looked at where files may block.
    pub(super) fn in_use(&self) -> Vec<(Arc<str>, Trust)> {
        self.0.iter().map(|(upstream, trust)| (upstream.clone(), trust.clone())).collect()
    }
}

/// One upstream's.
#[derive(Clone, Debug)]
pub struct Trust {
    settings: TlsSettings,
    protocol: Protocol,
    client: TlsClient,
}

/// Where the content of files comes from when a table is built, and what happens when one cannot be used.
#[derive(Clone)]
pub struct Supply {
    /// Read before, so that nothing waits for a disk while a table is built.
    pub files: Arc<dyn Files>,
    /// The version was active before: an upstream whose files cannot be used trusts nobody until they can, instead of
    /// keeping the others from their start; and an expired certificate serves more than none.
    pub forgiving: bool,
}

impl Default for Supply {
    fn default() -> Self {
        Supply { files: Arc::new(OnDisk), forgiving: false }
    }
}

/// What a look at the files of one upstream found.
#[derive(Debug)]
pub struct TrustFound {
    /// The upstream.
    pub upstream: Arc<str>,
    /// What is in use.
    pub client: TlsClient,
    /// What the files hold now, if that is something else that can be used, or why they cannot.
    pub changed: Result<Option<Trust>, TlsError>,
}

impl Trust {
    /// Reads the files again. Changes nothing.
    fn look(&self) -> Result<Option<Trust>, TlsError> {
        let renewed = self.client.renewed(&self.settings, self.protocol)?;
        Ok(renewed.map(|client| Trust { client, ..self.clone() }))
    }

    fn is_for(&self, other: &Trust) -> bool {
        self.settings == other.settings && self.protocol == other.protocol
    }
}

impl Trusts {
    /// A table is being built; `renewed` is what the files of the active one hold now.
    pub(super) fn begin(&mut self, renewed: Vec<(Arc<str>, Trust)>) {
        self.next.clear();
        self.renewed = renewed;
    }

    /// The client for an upstream of the table being built, if its backends speak TLS.
    ///
    /// # Errors
    /// Files that cannot be used, unless the active table has the same ones.
    pub(super) fn client_for(
        &mut self,
        upstream: &UpstreamPlan,
        supply: &Supply,
    ) -> Result<Option<TlsClient>, TlsError> {
        let Some(settings) = &upstream.transport.tls else { return Ok(None) };
        let protocol = upstream.transport.protocol;
        let same = |trust: &&Trust| trust.settings == *settings && trust.protocol == protocol;
        let client = match self.active.get(&upstream.name).filter(same) {
            Some(trust) => {
                let renewed =
                    self.renewed.iter().find(|(name, new)| *name == upstream.name && new.is_for(trust));
                renewed.map_or(&trust.client, |(_, new)| &new.client).clone()
            }
            None => {
                let client = match TlsClient::open_from(&*supply.files, settings, protocol) {
                    Err(_) if supply.forgiving => TlsClient::closed(settings, protocol),
                    opened => opened,
                }?;
                // At the start even an expired one is taken: it may serve more than none.
                if self.started && !supply.forgiving {
                    client.check(SystemTime::now())?;
                }
                client
            }
        };
        let trust = Trust { settings: settings.clone(), protocol, client: client.clone() };
        self.next.insert(upstream.name.clone(), trust);
        Ok(Some(client))
    }

    /// In the table being built, this upstream trusts nobody: its files cannot be used.
    pub(super) fn is_closed(&self, upstream: &str) -> bool {
        self.next.get(upstream).is_some_and(|trust| trust.client.is_closed())
    }

    /// The table that was built is active.
    pub(super) fn commit(&mut self) {
        self.active = std::mem::take(&mut self.next);
        self.started = true;
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

    /// What is in use, to be looked at where files may block.
    pub(super) fn in_use(&self) -> Vec<(Arc<str>, Trust)> {
        self.active.iter().map(|(upstream, trust)| (upstream.clone(), trust.clone())).collect()
    }

    /// What the active table uses for an upstream.
    pub(super) fn active(&self, upstream: &str) -> Option<&TlsClient> {
        self.active.get(upstream).map(|trust| &trust.client)
    }
}

/// Reads the files of what is in use. Changes nothing.
pub(super) fn look(in_use: Vec<(Arc<str>, Trust)>) -> Vec<TrustFound> {
    let look = |(upstream, trust): (Arc<str>, Trust)| TrustFound {
        changed: trust.look(),
        upstream,
        client: trust.client,
    };
    in_use.into_iter().map(look).collect()
}
