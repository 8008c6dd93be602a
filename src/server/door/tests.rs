//! The door in front of the real engine: what it lets through arrives unharmed, the rest never gets there.

use super::*;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Notes what the door tells; busy from a head until its answer is flushed.
#[derive(Default)]
struct Notes {
    heads: Cell<usize>,
    answered: Cell<usize>,
    unflushed: Cell<bool>,
    half_closed: Cell<bool>,
    refused: Cell<Option<Refusal>>,
    interim: RefCell<Option<Bytes>>,
    wrote: Cell<usize>,
}

impl Notes {
    fn answer(&self) {
        self.answered.set(self.answered.get() + 1);
        self.unflushed.set(true);
    }
}

impl Observer for Rc<Notes> {
    fn busy(&self) -> bool {
        self.heads.get() > self.answered.get() || self.unflushed.get()
    }
    fn head_complete(&self, _: Message) {
        self.heads.set(self.heads.get() + 1);
    }
    fn half_closed(&self) {
        self.half_closed.set(true);
    }
    fn wrote(&self, bytes: usize) {
        self.wrote.set(self.wrote.get() + bytes);
    }
    fn flushed(&self) {
        self.unflushed.set(false);
    }
    fn refused(&self, refusal: Refusal) {
        assert!(self.refused.replace(Some(refusal)).is_none(), "told twice");
    }
    fn interim(&self) -> Option<Bytes> {
        self.interim.borrow_mut().take()
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("stuck") })
}

/// What a real engine behind the door made of a client's bytes.
#[derive(Debug)]
struct Served {
    /// Target and body of each request that reached the service; no body if it broke off.
    requests: Vec<(String, Option<Vec<u8>>)>,
    answer: String,
    heads: usize,
    refused: Option<Refusal>,
    error: Option<hyper::Error>,
}

/// Sends `bytes` in pieces of the given sizes, ends the sending side, and serves them.
fn serve(bytes: &[u8], cuts: &[usize]) -> Served {
    block_on(async {
        let (client, server) = duplex(64 * 1024);
        let notes = Rc::new(Notes::default());
        let requests = Rc::new(RefCell::new(Vec::new()));
        let service = service_fn(|request: Request<Incoming>| {
            let (notes, requests) = (notes.clone(), requests.clone());
            async move {
                let target = request.uri().to_string();
                let body = request.into_body().collect().await.ok().map(|b| b.to_bytes().to_vec());
                // Not ready at once, as with a backend.
                tokio::task::yield_now().await;
                requests.borrow_mut().push((target, body));
                notes.answer();
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let door = Door::h1(server, Vec::new(), HeadLimits::default(), notes.clone());
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(door), service);
        let (answer, outcome) = tokio::join!(talk(client, bytes, cuts), connection);
        let requests = requests.take();
        Served {
            requests,
            answer,
            heads: notes.heads.get(),
            refused: notes.refused.get(),
            error: outcome.err(),
        }
    })
}

async fn talk(client: DuplexStream, bytes: &[u8], cuts: &[usize]) -> String {
    let (mut read, mut write) = tokio::io::split(client);
    let send = async move {
        let mut rest = bytes;
        for n in cuts.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(n.min(rest.len()));
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
            rest = after;
        }
        // The server may have gone already.
        let _ = write.shutdown().await;
    };
    let receive = async move {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    tokio::join!(send, receive).1
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn pipelined_requests_are_answered_before_the_refusal_of_the_next() {
    let served = serve(&[GET, POST, b"GET /c HTTP/1.1\r\nHost : a\r\n\r\n"].concat(), &[]);
    let targets: Vec<_> = served.requests.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(targets, ["/a", "/b"]);
    assert_eq!(served.requests[1].1.as_deref(), Some(&b"hello"[..]));
    assert_eq!(served.answer.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(served.answer.matches("HTTP/1.1").count(), 2, "the engine answered: {}", served.answer);
    assert_eq!(served.refused.unwrap().detail, "malformed header name");
}

#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let served = serve(&[GET, POST].concat(), &[10, 30]);
    assert_eq!(served.answer.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(served.error.is_none() && served.refused.is_none());
}

#[test]
fn a_client_that_leaves_inside_a_body_is_noticed_at_once() {
    let served = serve(&POST[..POST.len() - 1], &[]);
    assert_eq!(served.requests, [("/b".to_owned(), None)]);
}

#[test]
fn a_client_that_leaves_inside_a_head_makes_no_request() {
    let served = serve(&GET[..GET.len() - 1], &[]);
    assert!(served.requests.is_empty());
    assert_eq!(served.answer, "");
}

#[test]
fn a_broken_chunk_ends_its_own_request_at_once() {
    let served = serve(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!", &[]);
    assert_eq!(served.requests, [("/".to_owned(), None)]);
    assert_eq!(served.refused.unwrap().detail, "chunk data does not end in CRLF");
}

/// A transport whose reads are given one by one, so that a test knows what one read held.
struct Reads(Vec<Vec<u8>>);

impl AsyncRead for Reads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(next) = self.0.first_mut() {
            let rest = next.split_off(buf.remaining().min(next.len()));
            buf.put_slice(&std::mem::replace(next, rest));
            if next.is_empty() {
                self.0.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[test]
fn the_end_of_a_body_and_a_whole_head_pass_in_one_piece() {
    block_on(async {
        let (first, second) = (POST[..POST.len() - 2].to_vec(), [&POST[POST.len() - 2..], GET].concat());
        let transport = Reads(vec![first.clone(), second.clone()]);
        let mut door = Door::h1(transport, Vec::new(), HeadLimits::default(), Rc::new(Notes::default()));
        let mut buf = [0; 1024];
        assert_eq!(door.read(&mut buf).await.unwrap(), first.len());
        let n = door.read(&mut buf).await.unwrap();
        assert_eq!(buf[..n], second);
        assert_eq!(door.held.capacity(), 0, "nothing was copied");
    });
}

#[test]
fn an_incomplete_head_is_withheld_and_what_is_held_does_not_pile_up() {
    block_on(async {
        // Every read ends inside a head, for ever.
        let mut reads = vec![GET[..9].to_vec()];
        for _ in 0..1000 {
            reads.push([&GET[9..], &GET[..9]].concat());
        }
        let notes = Rc::new(Notes::default());
        let mut door = Door::h1(Reads(reads), Vec::new(), HeadLimits::default(), notes);
        let mut buf = [0; 1024];
        for _ in 0..1000 {
            let n = door.read(&mut buf).await.unwrap();
            assert_eq!(&buf[..n], GET);
            assert!(door.held.len() <= GET.len());
        }
    });
}

#[test]
fn a_small_buffer_gets_a_held_head_in_parts() {
    block_on(async {
        let notes = Rc::new(Notes::default());
        let mut door = Door::h1(Reads(vec![]), GET.to_vec(), HeadLimits::default(), notes.clone());
        let mut got = Vec::new();
        while got.len() < GET.len() {
            let mut buf = [0; 7];
            let n = door.read(&mut buf).await.unwrap();
            got.extend_from_slice(&buf[..n]);
        }
        assert_eq!((&got[..], notes.heads.get()), (GET, 1));
    });
}

#[test]
fn a_tunnel_begins_with_what_was_read_early() {
    block_on(async {
        let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let first = [&upgrade[..], b"\x81\x00"].concat();
        let transport = Reads(vec![first, b"\r\n\x00later".to_vec()]);
        let mut door = Door::h1(transport, Vec::new(), HeadLimits::default(), Rc::new(Notes::default()));
        let mut buf = [0; 1024];
        assert_eq!(door.read(&mut buf).await.unwrap(), upgrade.len());
        door.tunnel(b"early");
        let mut rest = Vec::new();
        door.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"early\x81\x00\r\n\x00later");
    });
}

#[test]
fn what_a_refused_websocket_request_was_followed_by_is_judged_as_http() {
    let upgrade = b"GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let served = serve(&[upgrade, GET].concat(), &[]);
    let targets: Vec<_> = served.requests.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(targets, ["/w", "/a"]);
}

#[test]
fn an_interim_answer_goes_out_before_the_answer_and_never_inside_one() {
    block_on(async {
        let (mut client, server) = duplex(1024);
        let notes = Rc::new(Notes::default());
        let mut door = Door::h1(server, Vec::new(), HeadLimits::default(), notes.clone());
        let hint = Bytes::from_static(b"<103>");
        notes.interim.replace(Some(hint.clone()));
        door.flush().await.unwrap();
        door.write_all(b"<200").await.unwrap();
        notes.interim.replace(Some(hint.clone()));
        door.write_all(b">").await.unwrap();
        door.flush().await.unwrap();
        notes.interim.replace(Some(hint));
        door.write_all(b"<204>").await.unwrap();
        assert_eq!(notes.wrote.get(), 20);
        drop(door);
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "<103><200><103><204>");
    });
}

#[test]
fn an_h2_flood_fails_the_connection_and_says_so() {
    block_on(async {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut reads = vec![sniff::PREFACE.to_vec()];
        reads.extend(std::iter::repeat_n(ping.repeat(10), 200));
        let notes = Rc::new(Notes::default());
        let mut door = Door::h2(Reads(reads), Vec::new(), notes.clone());
        let mut passed = Vec::new();
        let error = door.read_to_end(&mut passed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(notes.refused.get().unwrap().detail, "h2 PING flood");
    });
}

/// A request with its bytes, its target and its body.
fn request() -> impl Strategy<Value = (Vec<u8>, String, Vec<u8>)> {
    let target = "/[a-z0-9%=&?._~-]{0,12}|/[|{}\\[\\]\\\\^\"']{1,3}|http://a/[a-z]{0,3}";
    let field = "[A-Za-z0-9_-]{1,10}: ?[ -~\t]{0,20}\r\n";
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let chunks = prop::option::of(1..7usize);
    let parts = (target, prop::collection::vec(field, 0..4), body, chunks, any::<bool>(), any::<bool>());
    parts.prop_map(|(target, fields, body, chunks, empty_line, trailer)| {
        let mut bytes = if empty_line { b"\r\n".to_vec() } else { Vec::new() };
        bytes.extend(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{}", fields.concat()).bytes());
        match chunks {
            Some(size) => {
                bytes.extend(b"Transfer-Encoding: Chunked\r\n\r\n");
                for chunk in body.chunks(size) {
                    bytes.extend(format!("{:02X};q=\"x\"\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(if trailer { &b"0\r\nT: v\r\n\r\n"[..] } else { b"0\r\n\r\n" });
            }
            None => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(&body);
            }
        }
        (bytes, target, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_engine_sees_the_requests_that_the_door_saw(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(1..60usize, 0..10),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<bool>(), any::<u8>())),
    ) {
        let mut bytes = requests.iter().flat_map(|(bytes, ..)| bytes.clone()).collect::<Vec<_>>();
        if let Some((at, insert, byte)) = damage {
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        }
        let served = serve(&bytes, &cuts);
        // The engine found nothing to answer 400 to.
        prop_assert!(!served.error.as_ref().is_some_and(hyper::Error::is_parse), "{:?}", served);
        prop_assert_eq!(served.answer.matches("HTTP/1.").count(), served.answer.matches(" 200 OK").count());
        // A client that breaks off inside a later body takes the earlier request with it.
        let broke_off = served.error.as_ref().is_some_and(hyper::Error::is_incomplete_message);
        prop_assert!(broke_off || served.requests.len() == served.heads, "{:?}", served);
        if damage.is_none() && served.refused.is_some() {
            prop_assert_eq!(served.refused.unwrap().detail, "malformed request target");
        } else if damage.is_none() {
            prop_assert_eq!(served.requests.len(), requests.len());
            for ((_, body), (.., sent)) in served.requests.iter().zip(&requests) {
                prop_assert_eq!(body.as_ref(), Some(sent));
            }
        }
    }
}
