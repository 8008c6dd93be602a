//! Is anybody there? One place is resolved and dialled, TLS included, and the connection closed at once.
//!
//! Every wait ends with the probe at the latest; who was not given a fair time is not called dead.

use super::survey::{Place, Spot};
use crate::runtime::descriptors::Descriptors;
use crate::upstream::BackendTls;
use crate::upstream::call::{connect, secure};
use crate::upstream::discovery::inquiry::Inquiry;
use crate::upstream::settings::{Protocol, TlsSettings};
use crate::upstream::tls::TlsClient;
use futures_util::future::join_all;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Connections being made at a time.
pub(super) const MOST: usize = 64;

/// Who had so long, or all of its own timeout, and did not answer is not there.
const FAIR: Duration = Duration::from_secs(1);

/// A wait that ends so much later than it should says that this process has no time, and nothing of whoever was dialled.
const LATE: Duration = Duration::from_millis(250);

/// What was seen of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// There was no time for it, or nothing to dial it with.
    #[default]
    NotYet,
    /// Somebody is there; and why not at some of its addresses.
    Reached { dead: Vec<String>, of: usize },
    /// Nobody is, and why.
    Dead(String),
}

/// What a probe dials with.
pub(super) struct Means {
    inquiry: Result<Inquiry, String>,
    slots: Semaphore,
    descriptors: Arc<Descriptors>,
    trusts: RefCell<Trusts>,
    until: Instant,
}

/// What was made of the files of TLS, or why nothing was.
type Trusts = HashMap<(TlsSettings, Protocol), Result<TlsClient, String>>;

/// How one dial ended.
enum Dial {
    There,
    Dead(String),
    NotYet,
}

impl Means {
    /// Asking these name servers, until then. Blocks on the system's configuration.
    pub(super) fn new(servers: &[SocketAddr], descriptors: Arc<Descriptors>, until: Instant) -> Self {
        let (inquiry, trusts) = (Inquiry::of(servers), RefCell::default());
        Means { inquiry, slots: Semaphore::new(MOST), descriptors, trusts, until }
    }

    /// Looks for somebody at a place.
    pub(super) async fn look(&self, spot: &Spot) -> Seen {
        let addresses = match self.resolve(spot).await {
            Ok(addresses) => addresses,
            Err(seen) => return seen,
        };
        let dials = addresses.iter().map(|address| self.dial(spot, *address));
        let (mut dead, mut there) = (Vec::new(), 0);
        for (address, dial) in addresses.iter().zip(join_all(dials).await) {
            match dial {
                Dial::There => there += 1,
                Dial::Dead(why) if addresses.len() == 1 && spot.place.address.literal().is_some() => {
                    return Seen::Dead(why);
                }
                Dial::Dead(why) => dead.push(format!("{address}: {why}")),
                Dial::NotYet => {}
            }
        }
        match there {
            0 if dead.len() == addresses.len() => Seen::Dead(first(&dead)),
            0 => Seen::NotYet,
            _ => Seen::Reached { dead, of: addresses.len() },
        }
    }

    async fn resolve(&self, spot: &Spot) -> Result<Vec<SocketAddr>, Seen> {
        let address = &spot.place.address;
        if let Some(literal) = address.literal() {
            return Ok(vec![literal]);
        }
        let inquiry = self.inquiry.as_ref().map_err(|why| Seen::Dead(unresolved(why)))?;
        let began = Instant::now();
        match timeout_at(self.until, inquiry.addresses(address)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(Seen::Dead(unresolved(&why))),
            Err(_) if began.elapsed() >= FAIR => Err(Seen::Dead(unresolved(&format!(
                "no name server answered within {}",
                told(began.elapsed())
            )))),
            Err(_) => Err(Seen::NotYet),
        }
    }

    async fn dial(&self, spot: &Spot, address: SocketAddr) -> Dial {
        let Ok(Ok(_slot)) = timeout_at(self.until, self.slots.acquire()).await else { return Dial::NotYet };
        // A process without descriptors says nothing of whoever is dialled.
        let Some(_descriptor) = self.descriptors.try_dial() else { return Dial::NotYet };
        let began = Instant::now();
        let end = self.until.min(began + spot.timeout);
        let given = end.saturating_duration_since(began);
        match timeout_at(end, self.handshake(&spot.place, address)).await {
            Ok(Ok(())) => Dial::There,
            Ok(Err(why)) => Dial::Dead(why),
            Err(_) if given >= spot.timeout.min(FAIR) && began.elapsed() < given + LATE => {
                let what = if spot.place.tls.is_some() { "no TLS handshake" } else { "no connection" };
                Dial::Dead(format!("{what} within {}", told(given)))
            }
            Err(_) => Dial::NotYet,
        }
    }

    /// Connects, shakes hands where the file has TLS, and leaves.
    async fn handshake(&self, place: &Place, address: SocketAddr) -> Result<(), String> {
        let tls = self.tls(place, address.port())?;
        let socket = connect(address).await.map_err(|error| error.to_string())?;
        let Some(tls) = tls else { return Ok(()) };
        let stream = secure(socket, &tls).await;
        let stream = stream.map_err(|error| format!("the TLS handshake failed: {error}"))?;
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        match place.protocol {
            Protocol::Http2 if !agreed => Err("it speaks TLS, and does not agree on HTTP/2".to_owned()),
            _ => Ok(()),
        }
    }

    /// What is needed to talk TLS there; files are read once a probe.
    fn tls(&self, place: &Place, port: u16) -> Result<Option<BackendTls>, String> {
        let Some(settings) = &place.tls else { return Ok(None) };
        let mut trusts = self.trusts.borrow_mut();
        let open = || TlsClient::open(settings, place.protocol).map_err(|error| error.to_string());
        let client = trusts.entry((settings.clone(), place.protocol)).or_insert_with(open);
        let client = client.as_ref().map_err(Clone::clone)?;
        let host = place.address.spoken_at(port).host;
        let server_name = client.server_name(&host);
        let server_name = server_name.ok_or_else(|| format!("{host} is no name that TLS can verify"))?;
        Ok(Some(BackendTls { config: client.config.clone(), server_name }))
    }
}

fn unresolved(why: &str) -> String {
    format!("its name does not resolve: {why}")
}

/// The first of a few sentences, and how many more there are.
pub(super) fn first(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{shown}; and {more} more") } else { shown }
}

/// A time as people read it.
pub(super) fn told(time: Duration) -> String {
    let milliseconds = time.as_millis();
    if milliseconds < 1_000 { format!("{milliseconds} ms") } else { format!("{:.1} s", time.as_secs_f64()) }
}
