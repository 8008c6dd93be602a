//! The gateway in process: real listener, real station, and between them what a worker does without TLS, on the
//! thread of whoever asks for it.

use crate::house;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tidegate::listener::Listeners;
use tidegate::listener::accept::{Accepted, Cores};
use tidegate::runtime::descriptors::Descriptors;
use tidegate::server::client::{Came, Client};
use tidegate::server::connection;
use tidegate::server::station::{Resident, Station};
use tidegate::upstream::outbox::Socket;
use tidegate::upstream::transport::Transport;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Enough for every client and every origin's connection.
const DESCRIPTORS: u32 = 1024;

/// A gateway on this thread, as long as the value lives.
pub struct Edge {
    /// Where clients connect.
    pub address: SocketAddr,
    listeners: Listeners,
}

/// The mailbox of the only core.
struct Mailbox(mpsc::Sender<Accepted>);

impl Cores for Mailbox {
    fn count(&self) -> usize {
        1
    }

    fn load(&self, _: usize) -> u32 {
        0
    }

    fn deliver(&self, _: usize, accepted: Accepted) -> Result<(), Accepted> {
        self.0.try_send(accepted).map_err(mpsc::error::TrySendError::into_inner)
    }
}

impl Edge {
    /// Starts it with a configuration of one listener, and looks for what is overdue so often.
    pub async fn open(configuration: &str, tick: Duration) -> Edge {
        let descriptors = Arc::new(Descriptors::with_budget(DESCRIPTORS));
        let (station, plan) = house::station(configuration, &descriptors);
        let (mailbox, mut arrivals) = mpsc::channel(16);
        let listeners =
            Listeners::start(Arc::new(Mailbox(mailbox)), descriptors).expect("a thread for the acceptor");
        listeners.apply(&plan.listeners).expect("port 0 is free");
        let address = listeners.bound()[0].1;
        tokio::task::spawn_local(station.clone().keep_house());
        tokio::task::spawn_local(station.outbox.clone().deliver());
        tokio::task::spawn_local(ticks(station.clone(), tick));
        tokio::task::spawn_local(async move {
            while let Some(accepted) = arrivals.recv().await {
                tokio::task::spawn_local(welcome(station.clone(), accepted));
            }
        });
        Edge { address, listeners }
    }

    /// Waits until so many connections are parked.
    pub async fn parks(&self, connections: usize) {
        let parked = || self.listeners.all()[0].limits().parked() as usize;
        while parked() < connections {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Without ticks each request's timeout would be the runtime's next one, which costs a system call.
async fn ticks(station: Rc<Station>, tick: Duration) {
    let mut ticks = tokio::time::interval(tick);
    loop {
        ticks.tick().await;
        station.tick();
    }
}

async fn welcome(station: Rc<Station>, accepted: Accepted) {
    let Accepted { stream, peer, listener, entrance, terms, mut permit } = accepted;
    permit.handshake_done();
    let socket = TcpStream::from_std(stream).expect("a runtime with sockets");
    let came = Came { listener, entrance, settings: terms.settings, peer, tls: None };
    let client = Client::new(station.clone(), came);
    let resident = Resident::enter(&station, &client);
    connection::serve(client, Transport::Tcp(Socket::new(socket, &station.outbox)), None).await;
    drop(resident);
    drop(permit);
}
