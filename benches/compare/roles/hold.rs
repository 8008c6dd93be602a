//! Holds connections open, so that their memory can be looked at: each has made one request, or is in the middle
//! of one that is never answered.

use super::client::{self, Http1, Http2};
use super::tls::{Connector, Tls};
use super::{report, runtime};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// HTTP/1.1, quiet after one request.
    Http1,
    /// HTTP/2, quiet after one request.
    Http2,
    /// HTTP/1.1, with a request that is never answered.
    InFlight,
}

/// Orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold {
    pub to: SocketAddr,
    pub held: Held,
    pub tls: Option<Tls>,
    pub connections: usize,
}

/// The only line of the report: all are there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holding {
    pub connections: usize,
}

/// Opens them one after another, reports and holds them until it is killed.
pub fn run(orders: &str) -> Result<()> {
    let hold: Hold = serde_json::from_str(orders)?;
    runtime()?.block_on(async move {
        let connector = hold.tls.map(Connector::new).transpose()?;
        let (mut http1, mut http2) = (Vec::new(), Vec::new());
        for _ in 0..hold.connections {
            let stream = client::connect(hold.to, connector.as_ref(), true).await?;
            if hold.held == Held::Http2 {
                let mut client = Http2::new(stream, connector.is_some(), "/", false).await?;
                client.ask().await?;
                http2.push(client);
                continue;
            }
            let path = if hold.held == Held::InFlight { "/hold" } else { "/" };
            let mut client = Http1::new(stream, client::request(path, false), 4 << 10);
            if hold.held == Held::InFlight {
                client.send().await?
            } else {
                client.ask().await?
            };
            http1.push(client);
        }
        report(&Holding { connections: http1.len() + http2.len() })?;
        std::future::pending().await
    })
}
