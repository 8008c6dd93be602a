//! What a request is when it comes in: who sent it, for whom it is, and which route takes it. Everything here
//! is decided from its head, without waiting.

use crate::filters::fields::Fields;
use crate::filters::{forwarded, identity};
use crate::listener::settings::MessageLimits;
use crate::reject::{Reason, Reject};
use crate::request::Class;
use crate::routing::view::{Chosen, View};
use crate::routing::{Miss, Normalised, normalise, normalise_host};
use crate::server::client::Client;
use crate::server::own;
use crate::server::process::ProcessPermit;
use crate::server::record::Record;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, Uri, Version};
use std::borrow::Cow;
use std::rc::Rc;

/// For whom a request is, in its one spelling.
pub struct Arrival<'a> {
    names: Rc<Names>,
    path: Normalised<'a>,
}

/// A host, as a client wrote it and as routes know it. Most clients write the same one again and again.
#[derive(Debug)]
pub struct Names {
    /// The whole field, if the same field will mean the same.
    sent: Option<Box<[u8]>>,
    /// As the client wrote it, without port.
    named: Box<str>,
    /// In its one spelling.
    host: Box<str>,
}

impl Names {
    /// Those of a request, which are the connection's last ones if it says the same again.
    fn of(client: &Client, parts: &Parts) -> Result<Rc<Self>, Reject> {
        let sent = identity::only_host(parts).map(HeaderValue::as_bytes);
        let mut known = client.names.borrow_mut();
        if let Some(names) = known.as_ref().filter(|names| sent.is_some() && names.sent.as_deref() == sent) {
            return Ok(names.clone());
        }
        let named = identity::authority(parts)?.host;
        let host = normalise_host(named).map_err(|_| bad("the host name is malformed"))?;
        let names =
            Rc::new(Names { sent: sent.map(Box::from), named: named.into(), host: host.as_str().into() });
        *known = names.sent.is_some().then(|| names.clone());
        Ok(names)
    }
}

impl<'a> Arrival<'a> {
    /// Reads host and path; `uri` is the request's, and all of it that is kept.
    ///
    /// # Errors
    /// 400 for whatever is ambiguous, 405 for CONNECT, 414 and 431 for HTTP/2 heads beyond the limits.
    pub fn read(client: &Client, uri: &'a Uri, parts: &Parts, fields: Fields) -> Result<Self, Reject> {
        if parts.version == Version::HTTP_2 {
            check_size(parts, &client.settings.limits)?;
        }
        identity::check(parts, fields)?;
        let names = Names::of(client, parts)?;
        let path = normalise(uri.path()).map_err(|error| bad(error.to_string()))?;
        Ok(Arrival { names, path })
    }

    /// The same place under https, on a listener that only redirects.
    pub fn redirected(&self, client: &Client, parts: &Parts) -> Option<Response<Bytes>> {
        let redirects = client.settings.redirect_https && client.tls.is_none();
        redirects.then(|| own::to_https(&parts.uri, &self.names.named))
    }

    /// The route that takes it, written into the record first, so that a refusal counts there.
    ///
    /// # Errors
    /// 404, 405; 503 when the process is full; 421 for a host outside the certificate that was shown.
    pub fn choose(
        &self,
        client: &Client,
        view: &Rc<View>,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Chosen, Reject> {
        let matcher = &view.table.matcher;
        let (listener, host) = (client.listener.name(), &*self.names.host);
        let found = matcher.find(listener, host, &self.path.path, &parts.method, &parts.headers);
        let chosen = view.choose(found.map_err(miss)?);
        record.chosen = Some(chosen.clone());
        if record.permit.is_none() {
            return Err(shed(client, &chosen, Reason::ProcessLimit, "the gateway is full"));
        }
        if self.path.encoded_slash && !chosen.route().settings.keep_encoded_slash {
            return Err(bad("the path contains an encoded slash"));
        }
        let auth = chosen.route().settings.auth;
        let names = |path: &str| matcher.find(listener, host, path, &parts.method, &parts.headers);
        if self.path.path.contains(';')
            && let Ok(other) = names(&without_parameters(&self.path.path))
            && view.table.routes[other].settings.auth.is_some_and(|other| auth != Some(other))
        {
            return Err(bad("the path has parameters (`;`) without which another route would judge it"));
        }
        match &client.tls {
            Some(tls) if !tls.door.covers(tls.server_name.as_deref(), &self.names.host) => Err(Reject::new(
                Reason::Misdirected,
                "the certificate of this connection is not for that host",
            )),
            _ => Ok(chosen),
        }
    }

    /// The path in its one spelling.
    pub fn into_path(self) -> Cow<'a, str> {
        self.path.path
    }
}

/// The path as servlet containers read it, which cut `;` and what follows off every segment: who may pass must not
/// depend on which of the two a backend is.
fn without_parameters(path: &str) -> String {
    let mut names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut kept = String::with_capacity(path.len());
    for name in names.clone().filter(|name| !name.is_empty()) {
        kept.push('/');
        kept.push_str(name);
    }
    if names.next_back() == Some("") {
        kept.push('/');
    }
    kept
}

/// The door measures HTTP/1 heads before they are parsed; HTTP/2 heads are measured here, by the same limits.
fn check_size(parts: &Parts, limits: &MessageLimits) -> Result<(), Reject> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.max_uri_bytes {
        return Err(Reject::new(Reason::UriTooLong, "the request's target is too long"));
    }
    if parts.headers.len() > limits.max_headers {
        return Err(Reject::new(Reason::HeadersTooLarge, "the request has too many header fields"));
    }
    Ok(())
}

/// What the route is made of is there.
///
/// # Errors
/// 503 `missing_secret`.
pub fn check_secret(client: &Client, chosen: &Chosen) -> Result<(), Reject> {
    if chosen.route().settings.missing_secret {
        let detail = "the gateway lacks a secret that this route is made of";
        return Err(shed(client, chosen, Reason::MissingSecret, detail));
    }
    Ok(())
}

/// Nothing new is let in while the bytes that the process buffers have used up their budget.
///
/// # Errors
/// 503 `memory`.
pub fn check_memory(client: &Client, chosen: &Chosen) -> Result<(), Reject> {
    if client.station.memory.is_short() {
        return Err(no_memory(client, chosen));
    }
    Ok(())
}

/// The lowest classes are not let in while the core does not keep up with its work.
///
/// # Errors
/// 503 `cpu`.
pub fn check_cpu(client: &Client, chosen: &Chosen) -> Result<(), Reject> {
    let class = chosen.route().settings.class;
    if client.station.strain.refuses(class, chosen.highest()) {
        return Err(shed(
            client,
            chosen,
            Reason::Cpu,
            "the gateway is short of processor time for this class",
        ));
    }
    Ok(())
}

/// 503 `memory`.
pub fn no_memory(client: &Client, chosen: &Chosen) -> Reject {
    shed(client, chosen, Reason::Memory, "the gateway has no memory left for buffers")
}

/// Who the client is, and the request's identifier. Nothing that an untrusted peer claims survives this.
pub fn identify(
    client: &Client,
    parts: &mut Parts,
    record: &mut Record,
    trusted: &forwarded::TrustedProxies,
) {
    record.client_ip = trusted.client_ip(client.peer.ip(), &parts.headers);
    record.id = forwarded::request_id(&mut parts.headers, trusted.trusts(client.peer.ip()));
}

/// 400; the connection closes with it.
pub fn bad(detail: impl Into<Cow<'static, str>>) -> Reject {
    Reject::new(Reason::BadRequest, detail)
}

fn miss(miss: Miss) -> Reject {
    match miss {
        Miss::NotFound => Reject::new(Reason::NotFound, "no route matches this request"),
        Miss::Method { allow } => {
            let mut reject = Reject::new(Reason::MethodNotAllowed, "the route does not take this method");
            reject.allow = Some(allow);
            reject
        }
    }
}

/// The right to be a stream in the process.
///
/// # Errors
/// `process_limit` when there are too many.
pub fn enter_stream(client: &Client, chosen: &Chosen) -> Result<ProcessPermit, Reject> {
    let table = chosen.table();
    let part = table.guest.as_ref().map(|guest| &guest.streams);
    let permit = client.station.shared.process.enter_stream(table.max_streams, part);
    permit.ok_or_else(|| {
        shed(client, chosen, Reason::ProcessLimit, "the gateway holds as many streams as it may")
    })
}

/// 503, counted where the route's sheds count.
pub fn shed(client: &Client, chosen: &Chosen, reason: Reason, detail: &'static str) -> Reject {
    match chosen.gate() {
        Some(gate) => gate.gate().shed(gate.class(), reason),
        None => client.station.unrouted_sheds.shed(client.station.core, Class::Default, reason),
    }
    let mut reject = Reject::new(reason, detail);
    reject.retry_after = Some(fastrand::u8(1..=3));
    reject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_cut_off_every_segment() {
        for (path, kept) in [
            ("/a;x/b;y=1;z", "/a/b"),
            ("/;/;v/a", "/a"),
            ("/a/;x", "/a/"),
            ("/;", "/"),
            ("/a;", "/a"),
            ("/a/b/", "/a/b/"),
        ] {
            assert_eq!(without_parameters(path), kept, "{path}");
        }
    }
}
