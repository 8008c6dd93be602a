//! A passage between two real connections: every byte in its place, whatever the pieces.

use super::*;
use crate::runtime::descriptors::Descriptors;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Two ends of a connection: the far one, and ours.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let far = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it connects");
    far.set_nodelay(true).expect("no delay");
    (far, listener.accept().await.expect("and is accepted").0)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(30), future).await.expect("it does not hang")
    })
}

fn open(pipes: &Rc<Pipes>, left: u64) -> Rc<Passage> {
    let descriptors = Arc::new(Descriptors::with_budget(16));
    Passage::open(pipes, left, || descriptors.try_accept()).expect("a pipe")
}

/// Reads like an engine: what is given comes out again. Returns the stand-in; empty at the end.
async fn draw(passage: &Passage, socket: &TcpStream, most: usize) -> Bytes {
    let mut memory = vec![0; most];
    let given = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut memory);
        passage.poll_draw(cx, socket, &mut buffer).map_ok(|()| buffer.filled().len())
    });
    let given = given.await.expect("it reads");
    memory.truncate(given);
    let frame = passage.recognise(Frame::data(Bytes::from(memory))).expect("nothing is lost");
    frame.into_data().expect("data")
}

#[test]
fn every_byte_arrives_in_order_whatever_the_pieces() {
    for piece in [1, 700, 4_096, 100_000] {
        run(async {
            let (mut backend, ours) = pair().await;
            let (theirs, mut client) = pair().await;
            let said: Vec<u8> = (0..600_000_usize).map(|n| (n % 251) as u8).collect();
            let said = if piece == 1 { said[..5_000].to_vec() } else { said };
            let pipes = Rc::default();
            let passage = open(&pipes, said.len() as u64);
            let says = async {
                for bytes in said.chunks(piece) {
                    backend.write_all(bytes).await.expect("it is taken");
                }
            };
            let passes = async {
                let mut under_way = std::collections::VecDeque::new();
                while passage.is_open() || !under_way.is_empty() {
                    // Twice as much goes in as comes out, until the pipe is full.
                    for _ in 0..2 {
                        tokio::select! {
                            biased;
                            bytes = draw(&passage, &ours, 65_536), if passage.is_open() => under_way.push_back(bytes.len()),
                            () = std::future::ready(()) => {}
                        }
                    }
                    tokio::task::yield_now().await;
                    let Some(most) = under_way.pop_front() else { continue };
                    let poured =
                        poll_fn(|cx| passage.poll_pour(cx, &theirs, most)).await.expect("it is taken");
                    if poured < most {
                        under_way.push_front(most - poured);
                    }
                }
            };
            let mut came = vec![0; said.len()];
            let (_, (), read) = tokio::join!(says, passes, client.read_exact(&mut came));
            read.expect("all of it");
            assert!(came == said, "pieces of {piece}");
            assert!(passage.is_spent());
            drop(passage);
            assert!(pipes.take(|| None).is_some(), "an empty pipe is used again");
        });
    }
}

#[test]
fn a_full_pipe_waits_for_room_and_is_told_of_it() {
    run(async {
        let (mut backend, ours) = pair().await;
        let (theirs, mut client) = pair().await;
        let passage = open(&Rc::default(), u64::MAX);
        let says = async { while backend.write_all(&[7; 1_000]).await.is_ok() {} };
        let passes = async {
            let mut inside = 0;
            while let Ok(bytes) =
                tokio::time::timeout(std::time::Duration::from_millis(500), draw(&passage, &ours, 65_536))
                    .await
            {
                inside += bytes.len();
            }
            assert!(inside <= pipe::CAPACITY, "{inside} bytes");
            let waiting = async { draw(&passage, &ours, 65_536).await.len() };
            let poured = async {
                tokio::task::yield_now().await;
                poll_fn(|cx| passage.poll_pour(cx, &theirs, inside)).await.expect("it is taken")
            };
            let (drawn, poured) = tokio::join!(waiting, poured);
            assert!(drawn > 0 && poured > 0);
        };
        let reads = async { while client.read(&mut [0; 4_096]).await.is_ok_and(|read| read > 0) {} };
        tokio::select! {
            () = passes => {}
            () = says => {}
            () = reads => {}
        }
    });
}

#[test]
fn the_end_of_the_backend_is_the_end_and_a_full_pipe_does_not_hide_it() {
    run(async {
        let (mut backend, ours) = pair().await;
        let passage = open(&Rc::default(), u64::MAX);
        backend.write_all(b"some").await.expect("it is taken");
        drop(backend);
        assert_eq!(draw(&passage, &ours, 100).await.len(), 4);
        assert_eq!(draw(&passage, &ours, 100).await.len(), 0);
    });
}

#[test]
fn a_stand_in_without_its_bytes_is_an_error_and_a_pipe_with_a_rest_is_closed() {
    run(async {
        let (mut backend, ours) = pair().await;
        let pipes = Rc::default();
        let passage = open(&pipes, 100);
        let nothing = poll_fn(|cx| passage.poll_pour(cx, &ours, 10)).await;
        assert!(nothing.is_err(), "nothing went in");
        backend.write_all(b"some").await.expect("it is taken");
        assert_eq!(draw(&passage, &ours, 100).await.len(), 4);
        drop(passage);
        assert!(pipes.take(|| None).is_none());
    });
}

#[test]
fn only_what_was_given_is_taken_for_a_stand_in() {
    run(async {
        let (mut backend, ours) = pair().await;
        let passage = open(&Rc::default(), 100);
        let real = passage.recognise(Frame::data(Bytes::from_static(b"real"))).expect("as it is");
        let real = real.into_data().expect("data");
        assert!(!is_stand_in(&real) && real == "real");
        backend.write_all(b"some").await.expect("it is taken");
        let mut memory = vec![0; 10];
        let mut buffer = ReadBuf::new(&mut memory);
        poll_fn(|cx| passage.poll_draw(cx, &ours, &mut buffer)).await.expect("it reads");
        assert!(passage.recognise(Frame::data(Bytes::from_static(b"real"))).is_none(), "that was not given");
        memory.truncate(4);
        let stand_in = passage.recognise(Frame::data(Bytes::from(memory))).expect("that was");
        assert!(stand_in.data_ref().is_some_and(|data| is_stand_in(data) && data.len() == 4));
    });
}

#[test]
fn without_descriptors_there_is_no_passage() {
    assert!(Passage::open(&Rc::default(), 100, || None).is_none());
}
