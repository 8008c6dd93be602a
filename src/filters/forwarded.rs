//! Who the client is and what backends are told about it: `X-Forwarded-*`, `X-Real-IP`, `Forwarded`,
//! `x-request-id`.
//!
//! From a peer that is not trusted none of these is believed or passed on: they are replaced by what we
//! know. A trusted peer's are continued. Everything read is bounded. `traceparent` passes as it came, and
//! `Via` is neither read nor added, because well-known servers stop compressing when they see it.

use crate::filters::fields::Fields;
use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// A trusted peer's list longer than this, in bytes or hops, is cut down to the client and the peer.
const MAX_LIST_BYTES: usize = 2048;
const MAX_HOPS: usize = 32;
const MAX_REQUEST_ID: usize = 128;
/// Fields that a request may get from us on its way.
const OURS: usize = 8;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The request's identifier, in requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Networks whose forwarded fields are believed (`trusted_proxies`).
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks, and no others.
    pub fn new(networks: Vec<IpNet>) -> Self {
        TrustedProxies(networks)
    }

    /// True if `address` is in one of them; an IPv4 address inside IPv6 counts as IPv4.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The nearest address on the way back to the client that is not one of ours to trust. An entry that
    /// cannot be read ends the walk: the nearest readable one before it stands.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        if !self.trusts(nearest) {
            return nearest;
        }
        // From the right: what a trusted peer added last must not be crowded out by a client's own lines.
        let lines = headers.get_all(FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
        for entry in entries.take(MAX_HOPS) {
            let Some(address) = parse_entry(entry) else { break };
            nearest = address;
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }
}

/// What we know of the hop before us, made once a connection.
#[derive(Clone, Debug)]
pub struct Hop {
    peer: IpAddr,
    peer_text: HeaderValue,
    proto: HeaderValue,
    port: HeaderValue,
}

impl Hop {
    /// A connection from `peer`, to our port `port`, over TLS or not.
    pub fn new(peer: IpAddr, port: u16, tls: bool) -> Self {
        let peer = peer.to_canonical();
        Hop {
            peer,
            peer_text: text(peer.to_string()),
            proto: HeaderValue::from_static(if tls { "https" } else { "http" }),
            port: HeaderValue::from(port),
        }
    }

    /// Writes the forwarded fields for a backend and returns the client's address. `named` is what the client asked
    /// for, if there is no `Host` field (HTTP/2); `fields` are the head's.
    pub fn apply(
        &self,
        headers: &mut HeaderMap,
        fields: Fields,
        named: Option<&HeaderValue>,
        trusted: &TrustedProxies,
    ) -> IpAddr {
        if fields.has(Fields::ALIAS) {
            drop_aliases(headers, &[]);
        }
        let client = trusted.client_ip(self.peer, headers);
        let host = headers.get(HOST).or(named).cloned();
        let client_text = if client == self.peer { self.peer_text.clone() } else { text(client.to_string()) };
        if trusted.trusts(self.peer) {
            self.continue_lists(headers, &client_text);
            keep_one_or(headers, PROTO, Some(self.proto.clone()));
            keep_one_or(headers, FORWARDED_HOST, host);
            keep_one_or(headers, PORT, Some(self.port.clone()));
        } else {
            if fields.has(Fields::CLAIM) {
                drop_claims(headers);
            }
            headers.insert(FOR, self.peer_text.clone());
            headers.insert(PROTO, self.proto.clone());
            headers.insert(PORT, self.port.clone());
            host.map(|host| headers.insert(FORWARDED_HOST, host));
        }
        headers.insert(REAL_IP, client_text);
        client
    }

    /// `http` or `https`: how the client came to us, or to a trusted peer that says so.
    pub fn proto<'a>(&'a self, headers: &'a HeaderMap, trusted: &TrustedProxies) -> &'a str {
        let said = headers.get(PROTO).filter(|_| trusted.trusts(self.peer));
        match said.or(Some(&self.proto)).map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            _ => "http",
        }
    }

    /// Adds the peer to the lists that a trusted peer sent.
    fn continue_lists(&self, headers: &mut HeaderMap, client: &HeaderValue) {
        let list = if headers.contains_key(FOR) {
            let before = joined(headers, &FOR).unwrap_or_else(|| client.as_bytes().to_vec());
            with(before, self.peer_text.as_bytes())
        } else {
            self.peer_text.clone()
        };
        headers.insert(FOR, list);
        if !headers.contains_key(FORWARDED) {
            return;
        }
        let quote = if self.peer.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
        let proto = if self.proto == "https" { "https" } else { "http" };
        let ours = format!("for={}{}{};proto={proto}", quote.0, self.peer, quote.1);
        match joined(headers, &FORWARDED) {
            Some(list) => headers.insert(FORWARDED, with(list, ours.as_bytes())),
            None => headers.insert(FORWARDED, text(ours)),
        };
    }
}

/// Drops fields whose name, with `_` read as `-` (as CGI, WSGI and PHP do), is one that this gateway sets or
/// decides by; `also` names more of them. Whoever sends them, they mean nothing good.
pub fn drop_aliases(headers: &mut HeaderMap, also: &[HeaderName]) {
    let aliases: Vec<HeaderName> =
        headers.keys().filter(|name| is_alias(name.as_str(), also)).cloned().collect();
    for name in aliases {
        headers.remove(name);
    }
}

/// The request's identifier, set in its head: a trusted peer's if it is one value of at most 128 visible
/// ASCII characters, else 128 random bits in hexadecimal.
pub fn request_id(headers: &mut HeaderMap, trusted_peer: bool) -> HeaderValue {
    if trusted_peer {
        let mut given = headers.get_all(REQUEST_ID).iter();
        if let (Some(only), None) = (given.next(), given.next())
            && (1..=MAX_REQUEST_ID).contains(&only.len())
            && only.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return only.clone();
        }
    }
    // Grown once for all that is added on the way, and not again and again.
    headers.reserve(OURS);
    let fresh = hexadecimal(fastrand::u128(..));
    headers.insert(REQUEST_ID, fresh.clone());
    fresh
}

/// 32 digits. By hand, because the standard library's formatting takes ten times as many instructions.
fn hexadecimal(number: u128) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
    }
    let mut number = HeaderValue::from_bytes(&digits).expect("hexadecimal is visible ASCII");
    // Never the same twice: HTTP/2 need not make room for it in the table of what was said before.
    number.set_sensitive(true);
    number
}

/// Removes everything that claims to know the client.
fn drop_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == REAL_IP || name == FORWARDED
}

fn is_alias(name: &str, also: &[HeaderName]) -> bool {
    if !name.contains('_') {
        return false;
    }
    let plain = name.replace('_', "-");
    is_claim(&plain) || ALIASED.contains(&plain.as_str()) || also.iter().any(|known| plain == known.as_str())
}

/// Beside the claims: what frames, names or authenticates a request, or identifies it.
const ALIASED: [&str; 9] = [
    "content-length",
    "content-type",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "x-request-deadline",
    "x-request-id",
    "x-tidegate-attempt",
    "x-api-key",
];

/// Keeps a trusted peer's field if it is one short line of visible ASCII; else ours.
fn keep_one_or(headers: &mut HeaderMap, name: HeaderName, ours: Option<HeaderValue>) {
    let mut given = headers.get_all(&name).iter();
    let sane = |value: &HeaderValue| {
        (1..=MAX_REQUEST_ID * 2).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if matches!((given.next(), given.next()), (Some(only), None) if sane(only)) {
        return;
    }
    match ours {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// All lines of a list as one, unless that is too long.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    for line in headers.get_all(name) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(line.as_bytes());
        if list.len() > MAX_LIST_BYTES {
            return None;
        }
    }
    let hops = list.split(|b| *b == b',').count();
    (!list.is_empty() && hops <= MAX_HOPS).then_some(list)
}

fn with(mut list: Vec<u8>, last: &[u8]) -> HeaderValue {
    list.extend_from_slice(b", ");
    list.extend_from_slice(last);
    HeaderValue::try_from(list).expect("joined header values and an address are a header value")
}

/// An address, with or without a port: `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse().ok().map(|s: SocketAddr| s.ip()))?;
    Some(address.to_canonical())
}

/// Text of ours as a field value.
fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("addresses and hexadecimal are visible ASCII")
}

#[cfg(test)]
mod tests;
