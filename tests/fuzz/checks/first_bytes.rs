//! A client's first bytes. The first byte of the input says how the rest is cut into reads.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use tidegate::server::door::framing::{Event, Framing};
use tidegate::server::door::{Door, HeadLimits, Message, Observer, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// The verdict does not depend on how the bytes are cut, and the engine never finds fault with what passed.
pub fn first_bytes(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let size = usize::from(*size).max(1);
    let seen = framed(bytes, bytes.len().max(1));
    assert_eq!(seen, framed(bytes, size));
    let whole = seen.events.iter().filter(|event| **event == Event::MessageComplete).count();
    let (read, broken) = served(bytes, size);
    assert!(read <= whole, "the engine read {read} requests, the door saw {whole}");
    assert!(broken == 0 || seen.ends_badly, "the engine found fault with a body that the door passed");
}

/// What the door's framing made of the bytes.
#[derive(Debug, PartialEq)]
struct Framed {
    passed: Vec<u8>,
    events: Vec<Event>,
    refusal: Option<Refusal>,
    /// Refused, or ended inside a body.
    ends_badly: bool,
}

/// The bytes, shown `size` at a time.
fn framed(bytes: &[u8], size: usize) -> Framed {
    let mut framing = Framing::new(HeadLimits::default());
    let (mut passed, mut events, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        held.extend_from_slice(piece);
        loop {
            let seen = framing.inspect(&held, |event| events.push(event));
            passed.extend(held.drain(..seen.pass));
            if seen.refusal.is_some() {
                return Framed { passed, events, refusal: seen.refusal, ends_badly: true };
            }
            if !framing.undecided() {
                break;
            }
            // As after the service below, which answers without an upgrade.
            framing.stay_http();
        }
    }
    Framed { passed, events, refusal: None, ends_badly: framing.in_body() }
}

/// Busy from a head until its answer is flushed.
#[derive(Default)]
struct Notes {
    heads: Cell<usize>,
    answered: Cell<usize>,
    unflushed: Cell<bool>,
}

/// Shared with the service.
struct Watch(Rc<Notes>);

impl Observer for Watch {
    fn busy(&self) -> bool {
        self.0.heads.get() > self.0.answered.get() || self.0.unflushed.get()
    }
    fn head_complete(&self, _: Message) {
        self.0.heads.set(self.0.heads.get() + 1);
    }
    fn flushed(&self) {
        self.0.unflushed.set(false);
    }
}

/// A real engine behind the door: no answer but the service's, no parse error. How many requests were read
/// to their end, and how many broke off.
fn served(bytes: &[u8], size: usize) -> (usize, usize) {
    let notes = Rc::new(Notes::default());
    let (read, broken) = (Cell::new(0), Cell::new(0));
    let service = service_fn(|request: Request<Incoming>| {
        let (notes, read, broken) = (notes.clone(), &read, &broken);
        async move {
            let count = if request.into_body().collect().await.is_ok() { read } else { broken };
            count.set(count.get() + 1);
            notes.answered.set(notes.answered.get() + 1);
            notes.unflushed.set(true);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let (client, server) = duplex(1 << 16);
    let door = Door::h1(server, Vec::new(), HeadLimits::default(), Watch(notes.clone()));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(door), service);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let (answer, outcome) = runtime.block_on(async { tokio::join!(talk(client, bytes, size), connection) });
    assert!(!outcome.is_err_and(|error| error.is_parse()), "the engine could not read what the door passed");
    let answer = String::from_utf8_lossy(&answer);
    let fine = answer.matches(" 200 OK\r\n").count() + answer.matches(" 100 Continue\r\n").count();
    assert_eq!(answer.matches("HTTP/1.").count(), fine, "the engine answered by itself: {answer}");
    (read.get(), broken.get())
}

async fn talk(client: DuplexStream, bytes: &[u8], size: usize) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(client);
    let send = async move {
        for piece in bytes.chunks(size) {
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        // The server may have gone already.
        let _ = write.shutdown().await;
    };
    let receive = async move {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(send, receive).1
}
