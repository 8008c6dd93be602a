//! What is known of one request, from its head to its last byte: the process permit, and what the access log
//! and the metrics say at the end.
//!
//! It travels with the answer's body, then waits until the client's connection has flushed it: only then has
//! the client the last byte, and only then is the process permit free (`design.md`, "Admission").

mod fate;

use crate::filters::auth::verdict::Passed;
use crate::reject::Reason;
use crate::request::{Class, Holder};
use crate::routing::table::Table;
use crate::routing::view::Chosen;
use crate::runtime::clock::unix_ms;
use crate::server::client::Client;
use crate::server::door::Refusal;
use crate::server::ledger::Entry;
use crate::server::process::ProcessPermit;
use crate::telemetry::access_log::{AccessRecord, End};
use crate::telemetry::metrics::Source;
use crate::upstream::answer::Tail;
use crate::upstream::progress::Progress;
use crate::upstream::tunnel::Ended;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri, Version};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One request.
#[derive(Debug)]
pub struct Record {
    client: Rc<Client>,
    /// When its head was complete.
    pub started: Instant,
    /// Its right to be in the process.
    pub permit: Option<ProcessPermit>,
    /// Its row among those who hold something.
    pub entry: Option<Entry>,
    /// The route it took.
    pub chosen: Option<Chosen>,
    /// As whom it passed, where its route asks for that.
    pub passed: Option<Arc<Passed>>,
    /// Its identifier.
    pub id: HeaderValue,
    /// Who the client is, proxies looked through.
    pub client_ip: IpAddr,
    /// How the exchange with the backend goes.
    pub progress: Option<Rc<Progress>>,
    /// The backend that answered.
    pub backend: Option<Arc<str>>,
    /// Time in admission.
    pub queued: Duration,
    /// From sending to the answer's head.
    pub upstream: Option<Duration>,
    /// Second tries.
    pub retries: u32,
    /// The version that serves it.
    pub version: u64,
    /// Its auth let it pass without being sure.
    pub unsure: bool,
    /// The client gave it less time than its route does.
    pub hurried: bool,
    /// The head of the backend's answer says that it failed, in whatever protocol.
    pub broke: bool,
    /// Where two versions are compared, when the head of its answer was there, and whether it was counted.
    head: Option<Duration>,
    counted: bool,
    status: u16,
    source: Source,
    reason: Option<Reason>,
    log: Option<Box<Lines>>,
    answered: bool,
}

/// What only the access log wants to know of the head.
#[derive(Debug)]
struct Lines {
    unix_ms: i64,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Record {
    /// A request's head is complete. What is logged is the stable version's to say.
    pub fn begin(client: &Rc<Client>, parts: &Parts, stable: &Table) -> Self {
        client.enter();
        let logged = &stable.access_log.headers;
        let log = client.station.log.is_on().then(|| Box::new(Lines::of(parts, logged)));
        Record {
            client: client.clone(),
            started: Instant::now(),
            permit: None,
            entry: None,
            chosen: None,
            passed: None,
            id: HeaderValue::from_static("-"),
            client_ip: client.peer.ip(),
            progress: None,
            backend: None,
            queued: Duration::ZERO,
            upstream: None,
            retries: 0,
            version: stable.number,
            unsure: false,
            hurried: false,
            broke: false,
            head: None,
            counted: false,
            status: 0,
            source: Source::Gateway,
            reason: None,
            log,
            answered: false,
        }
    }

    /// In which class it stands: its route's, or the lower one that its auth puts it into.
    pub fn class(&self) -> Option<Class> {
        let own = self.chosen.as_ref()?.route().settings.class;
        let granted = self.passed.as_ref().and_then(|passed| passed.class);
        Some(granted.map_or(own, |granted| granted.max(own)))
    }

    /// On whose behalf permits are held.
    pub fn holder(&self) -> Holder {
        Holder { since: self.started, client: self.client_ip }
    }

    /// Is seen among those who hold something, if it does. The client must be known.
    pub fn sign_in(&mut self) {
        self.entry = self.permit.is_some().then(|| self.client.station.ledger.enter(self.holder()));
    }

    /// The gateway answers itself.
    pub fn refused(&mut self, reason: Reason) {
        self.source = Source::Gateway;
        self.reason = Some(reason);
        self.client.station.shared.metrics.process().refused(self.client.station.core, reason);
    }

    /// A backend answers.
    pub fn relayed(&mut self) {
        self.source = Source::Backend;
    }

    /// The answer's head is on its way.
    pub fn answering(&mut self, status: u16) {
        self.status = status;
        self.answered = true;
        fate::answering(self);
        self.entry.iter().for_each(Entry::answers);
        self.client.answering();
    }

    /// The client has the last byte.
    pub(super) fn complete(self) {
        self.finish(End::Complete, None);
    }

    /// A tunnel ended, for a reason if it was not one of its sides.
    pub(super) fn tunnel_ended(self, ended: Ended) {
        match ended {
            Ended::Closed => self.finish(End::Complete, None),
            Ended::Told => self.finish(End::Complete, Some(Reason::Draining)),
            Ended::ClientBroke => self.finish(End::ClientGone, Some(Reason::ClientGone)),
            Ended::BackendBroke => self.finish(End::BackendGone, Some(Reason::Reset)),
            Ended::Quiet | Ended::TooLong => self.finish(End::Cut, Some(Reason::Timeout)),
        }
    }

    /// The connection ended before the client had the last byte.
    pub(super) fn cut(self) {
        self.cut_for(None);
    }

    /// The same, and why, unless something ended the exchange before.
    pub(super) fn cut_for(self, why: Option<Reason>) {
        let reason = self.progress.as_ref().and_then(|progress| progress.cause()).or(why);
        if self.client.station.shared.process.is_over() {
            // Cut by us: what looks like a client that left is our own end.
            let reason = reason.filter(|reason| *reason != Reason::ClientGone).unwrap_or(Reason::Draining);
            return self.finish(End::Cut, Some(reason));
        }
        match reason {
            None | Some(Reason::ClientGone) => self.finish(End::ClientGone, Some(Reason::ClientGone)),
            Some(Reason::Reset | Reason::BadResponse) => self.finish(End::BackendGone, reason),
            Some(_) => self.finish(End::Cut, reason),
        }
    }

    fn finish(mut self, end: End, reason: Option<Reason>) {
        let station = self.client.station.clone();
        let elapsed = self.started.elapsed();
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        if let Some(reason) = reason.filter(|reason| self.reason.is_none() && *reason != Reason::ClientGone) {
            station.shared.metrics.process().refused(station.core, reason);
        }
        self.reason = self.reason.or(reason);
        // Nobody was told a status: the line says what would have been.
        if !self.answered {
            self.status = 499;
        }
        fate::ended(&mut self, end);
        let route = self.chosen.as_ref().map_or(&station.unrouted, |chosen| &chosen.route().metrics);
        route.finished(station.core, self.status, self.source, ns);
        if let Some(log) = &self.log {
            station.log.write(&self.line(log, end, ns));
        }
        self.permit = None;
    }

    fn line<'a>(&'a self, log: &'a Lines, end: End, ns: u64) -> AccessRecord<'a> {
        let chosen = self.chosen.as_ref();
        let progress = self.progress.as_deref();
        AccessRecord {
            unix_ms: log.unix_ms,
            request_id: self.id.to_str().unwrap_or("-"),
            client: Some(self.client_ip),
            listener: self.client.listener.name(),
            method: log.method.as_str(),
            host: log.host.as_ref().and_then(|host| host.to_str().ok()).or(log.uri.host()).unwrap_or(""),
            path: log.uri.path(),
            query: log.uri.query(),
            redact_query: chosen.map_or(&[][..], |chosen| &chosen.table().access_log.redact_query),
            protocol: protocol(log.version),
            route: chosen.map_or("-", |chosen| &chosen.route().settings.name),
            upstream: chosen.and_then(Chosen::upstream).map_or("", |upstream| &upstream.name),
            backend: self.backend.as_deref().unwrap_or(""),
            status: self.status,
            reason: self.reason.map_or("", Reason::as_str),
            class: self.class().map_or("", Class::as_str),
            identity: self.passed.as_ref().and_then(|passed| passed.identity.subject.as_deref()),
            version: self.version,
            bytes_in: progress.map_or(0, Progress::bytes_in),
            bytes_out: progress.map_or(0, Progress::bytes_out),
            duration_ns: ns,
            queue_ns: u64::try_from(self.queued.as_nanos()).unwrap_or(u64::MAX),
            upstream_ns: self.upstream.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            retries: self.retries,
            end,
            user_agent: log.user_agent.as_ref(),
            traceparent: log.traceparent.as_ref(),
            headers: &log.headers,
        }
    }
}

impl Lines {
    fn of(parts: &Parts, logged: &[HeaderName]) -> Self {
        let header = |name: &HeaderName| parts.headers.get(name).cloned();
        Lines {
            unix_ms: unix_ms(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: header(&HOST),
            user_agent: header(&USER_AGENT),
            traceparent: header(&TRACEPARENT),
            headers: logged.iter().filter_map(|name| Some((name.clone(), header(name)?))).collect(),
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// What the door refused is counted and logged like any request, as far as it is known.
pub fn refused_at_the_door(client: &Rc<Client>, id: &HeaderValue, refusal: Refusal) {
    let station = &client.station;
    let status = refusal.reason.status().as_u16();
    station.unrouted.finished(station.core, status, Source::Gateway, 0);
    if !station.log.is_on() {
        return;
    }
    station.log.write(&AccessRecord {
        unix_ms: unix_ms(),
        request_id: id.to_str().unwrap_or("-"),
        client: Some(client.peer.ip()),
        listener: client.listener.name(),
        route: "-",
        status,
        reason: refusal.reason.as_str(),
        ..AccessRecord::default()
    });
}

/// The record of a request, on its way with the answer's body. However that ends (sent, cut, or the request's
/// task dropped before there was an answer), the record is finished exactly once.
#[derive(Debug)]
pub struct Pending {
    record: Option<Record>,
    delivered: bool,
    loses_trailers: bool,
}

impl Pending {
    /// The engine writes trailers only to HTTP/1 clients that asked for them, and only announced ones; others
    /// are counted.
    pub fn loses_trailers(&mut self) {
        self.loses_trailers = true;
    }

    /// From the head on.
    pub fn new(record: Record) -> Self {
        Pending { record: Some(record), delivered: false, loses_trailers: false }
    }

    /// Takes the record away, for a tunnel that will finish it.
    pub fn detach(&mut self) -> Option<Record> {
        let record = self.record.take()?;
        record.client.leave(false);
        Some(record)
    }

    /// The record, while it is pending.
    pub fn record(&mut self) -> Option<&mut Record> {
        self.record.as_mut()
    }
}

impl Tail for Pending {
    fn delivered(&mut self) {
        self.delivered = true;
    }

    fn trailers(&mut self) {
        if let Some(record) = self.record.as_ref().filter(|_| self.loses_trailers) {
            let station = &record.client.station;
            station.shared.metrics.process().trailers_dropped(station.core);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        let client = record.client.clone();
        client.leave(!record.answered);
        if self.delivered {
            client.finish_when_flushed(record);
        } else {
            record.cut();
        }
    }
}
