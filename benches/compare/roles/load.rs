//! The closed-loop load: so many connections, each of which asks again as soon as it is answered. It says when
//! its warming up is over, so that the peer's processor time is read then, and once more when it is done.
//!
//! With a rate it is paced instead: requests have their moments, and times count from these, so that a pause is
//! seen by all requests that fell into it. Its clock is good to a millisecond.

use super::client::{self, Http1, Http2, Stale};
use super::tls::{Connector, Tls};
use super::{report, runtime};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge, or by ALPN with TLS.
    Http2,
    /// A unary gRPC call.
    Grpc,
}

/// Orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub to: SocketAddr,
    pub path: String,
    pub protocol: Protocol,
    pub tls: Option<Tls>,
    /// A new connection for each request.
    pub fresh: bool,
    pub connections: usize,
    /// Requests at once on a connection; more than one with HTTP/2 only.
    pub streams: usize,
    /// Seconds before anything counts.
    pub warm: f64,
    /// Seconds that count.
    pub seconds: f64,
    /// Requests a second of all connections together; `None` is as fast as it is answered.
    pub rate: Option<f64>,
}

/// The first line of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begin {
    /// Answers while it warmed up.
    pub warmed: u64,
}

/// The second and last line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    pub seconds: f64,
    /// Whole answers that were 200.
    pub answers: u64,
    pub errors: u64,
    /// Kept connections that the peer had closed when their next request came. It was asked on a new one, as any
    /// client would; only paced loads do so.
    pub reconnects: u64,
    /// What the first error said.
    pub first_error: Option<String>,
    /// With a rate: for each request its moment and how long it took from then, milliseconds; failed ones too.
    pub timeline: Vec<(f32, f32)>,
}

/// What all connections share.
struct Work {
    load: Load,
    connector: Option<Connector>,
    totals: RefCell<Totals>,
    start: Instant,
}

impl Work {
    fn count(&self, result: &Result<()>) {
        let mut totals = self.totals.borrow_mut();
        match result {
            Ok(()) => totals.answers += 1,
            Err(error) => {
                totals.errors += 1;
                totals.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn note(&self, due: Instant) {
        let at = due.duration_since(self.start).as_secs_f32() * 1000.0;
        self.totals.borrow_mut().timeline.push((at, due.elapsed().as_secs_f32() * 1000.0));
    }

    async fn http1(&self, tls: Option<&Connector>, first: bool) -> Result<Http1> {
        let stream = client::connect(self.load.to, tls, first).await?;
        // Large answers are read in large pieces: the load must not be what is slow.
        let room = if self.load.path.starts_with("/1m") { 256 << 10 } else { 32 << 10 };
        Ok(Http1::new(stream, client::request(&self.load.path, self.load.fresh), room))
    }

    async fn http2(&self) -> Result<Http2> {
        let stream = client::connect(self.load.to, self.connector.as_ref(), true).await?;
        let grpc = self.load.protocol == Protocol::Grpc;
        Http2::new(stream, self.connector.is_some(), &self.load.path, grpc).await
    }
}

/// Does what it is ordered, reports and ends.
pub fn run(orders: &str) -> Result<()> {
    let load: Load = serde_json::from_str(orders)?;
    runtime()?.block_on(async move {
        let connector = load.tls.map(Connector::new).transpose()?;
        let (warm, seconds) = (load.warm, load.seconds);
        let start = Instant::now();
        let work = Rc::new(Work { load, connector, totals: RefCell::default(), start });
        for n in 0..work.load.connections {
            tokio::task::spawn_local(connection(work.clone(), n));
        }
        sleep(Duration::from_secs_f64(warm)).await;
        let begin = Instant::now();
        let warmed = work.totals.take();
        report(&Begin { warmed: warmed.answers })?;
        sleep(Duration::from_secs_f64(seconds)).await;
        let mut totals = work.totals.take();
        totals.seconds = begin.elapsed().as_secs_f64();
        totals.first_error = warmed.first_error.or(totals.first_error);
        report(&totals)
    })
}

async fn connection(work: Rc<Work>, n: usize) {
    loop {
        let result = match (work.load.rate, work.load.protocol, work.load.fresh) {
            (Some(rate), ..) => paced(&work, n, rate).await,
            (None, Protocol::Http1, false) => kept(&work).await,
            (None, Protocol::Http1, true) => fresh(&work).await,
            (None, Protocol::Http2 | Protocol::Grpc, _) => streams(&work).await,
        };
        work.count(&result);
        // Whoever is refused does not hammer.
        sleep(Duration::from_millis(10)).await;
    }
}

async fn kept(work: &Work) -> Result<()> {
    let mut client = work.http1(work.connector.as_ref(), true).await?;
    loop {
        client.ask().await?;
        work.count(&Ok(()));
    }
}

async fn fresh(work: &Work) -> Result<()> {
    // Tickets of its own: those of a shared store are few, and taken by who comes first.
    let tls = work.load.tls.map(Connector::new).transpose()?;
    let mut first = true;
    loop {
        let mut client = work.http1(tls.as_ref(), first).await?;
        client.ask().await?;
        // The peer closes first, so that its end of the connection waits, and no port of ours.
        client.closed().await?;
        work.count(&Ok(()));
        first = false;
    }
}

async fn streams(work: &Rc<Work>) -> Result<()> {
    let client = work.http2().await?;
    let stream = |mut client: Http2, work: Rc<Work>| async move {
        loop {
            client.ask().await?;
            work.count(&Ok(()));
        }
    };
    let all = (0..work.load.streams).map(|_| stream(client.clone(), work.clone()));
    futures_util::future::try_join_all(all).await.map(|_: Vec<()>| ())
}

/// One connection's part of the rate. It comes back with an error when its connection is lost, and goes on with
/// the moment that is due then.
async fn paced(work: &Work, n: usize, rate: f64) -> Result<()> {
    let connections = work.load.connections as f64;
    let gap = Duration::from_secs_f64(connections / rate);
    let offset = gap.mul_f64(n as f64 / connections);
    let passed = Instant::now().duration_since(work.start).as_secs_f64() / gap.as_secs_f64();
    let mut due = work.start + offset + gap.mul_f64(passed.ceil());
    let mut client = work.http1(work.connector.as_ref(), true).await?;
    loop {
        sleep_until(due).await;
        let mut result = client.ask().await;
        if result.as_ref().is_err_and(|error| error.is::<Stale>()) {
            work.totals.borrow_mut().reconnects += 1;
            client = work.http1(work.connector.as_ref(), true).await?;
            result = client.ask().await;
        }
        work.note(due);
        result?;
        work.count(&Ok(()));
        due += gap;
    }
}
