//! Origins of the house: each says its name, and answers, fails or hangs as it is told.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

/// What an origin does.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers,
    Fails,
    Hangs,
}

/// An origin that says its name.
pub(super) struct Origin {
    pub(super) at: SocketAddr,
    knobs: Rc<Knobs>,
}

struct Knobs {
    name: &'static str,
    manner: Cell<Manner>,
    asked: Cell<usize>,
    turned: Notify,
    heard: Notify,
}

impl Origin {
    pub(super) async fn named(name: &'static str) -> Origin {
        Origin::of(name, Manner::Answers).await
    }

    pub(super) async fn failing(name: &'static str) -> Origin {
        Origin::of(name, Manner::Fails).await
    }

    pub(super) async fn hung(name: &'static str) -> Origin {
        Origin::of(name, Manner::Hangs).await
    }

    async fn of(name: &'static str, manner: Manner) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("it is bound");
        let knobs = Rc::new(Knobs {
            name,
            manner: Cell::new(manner),
            asked: Cell::new(0),
            turned: Notify::new(),
            heard: Notify::new(),
        });
        let shared = knobs.clone();
        spawn_local(async move {
            while let Ok((connection, _)) = listener.accept().await {
                spawn_local(attend(connection, shared.clone()));
            }
        });
        Origin { at, knobs }
    }

    /// From now on it answers, also those whom it let wait.
    pub(super) fn answer(&self) {
        self.knobs.manner.set(Manner::Answers);
        self.knobs.turned.notify_waiters();
    }

    /// From now on it does not answer.
    pub(super) fn hang(&self) {
        self.knobs.manner.set(Manner::Hangs);
    }

    /// Requests that it heard.
    pub(super) fn asked(&self) -> usize {
        self.knobs.asked.get()
    }

    /// Waits until it has heard so many.
    pub(super) async fn reached(&self, many: usize) {
        while self.asked() < many {
            self.knobs.heard.notified().await;
        }
    }
}

async fn attend(mut connection: TcpStream, knobs: Rc<Knobs>) {
    while message(&mut connection).await.is_some() {
        knobs.asked.set(knobs.asked.get() + 1);
        knobs.heard.notify_one();
        while knobs.manner.get() == Manner::Hangs {
            knobs.turned.notified().await;
        }
        let status = if knobs.manner.get() == Manner::Fails { "500 No" } else { "200 OK" };
        let (name, length) = (knobs.name, knobs.name.len());
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{name}");
        if connection.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A head, and what came with it.
pub(super) async fn message(connection: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Some((String::from_utf8_lossy(&read).into_owned(), rest));
        }
        let mut piece = [0; 4_096];
        let many = connection.read(&mut piece).await.ok().filter(|many| *many > 0)?;
        read.extend_from_slice(&piece[..many]);
    }
}
