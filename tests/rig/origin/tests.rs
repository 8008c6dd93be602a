//! The fleet at its doors.

use super::knobs::{Manner, Service};
use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

fn quick() -> Knobs {
    Knobs::new(4, Service::Constant(Duration::from_millis(1)))
}

/// One request on a connection of its own; what came back until it closed or nothing came for a second.
fn ask(address: SocketAddr) -> String {
    let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) else {
        return "no connection".into();
    };
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a deadline");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n").expect("it is taken");
    let (mut answer, mut room) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"}") {
        match socket.read(&mut room) {
            Ok(0) => return format!("{}closed", String::from_utf8_lossy(&answer)),
            Ok(n) => answer.extend_from_slice(&room[..n]),
            Err(error) => return format!("{}{:?}", String::from_utf8_lossy(&answer), error.kind()),
        }
    }
    String::from_utf8(answer).expect("an answer is text")
}

#[test]
fn an_answer_carries_the_boot_id_and_every_knob_turns_while_it_runs() {
    let mut fleet = Fleet::start(1, None, &[quick()]);
    let address = fleet.addresses()[0];
    assert!(ask(address).contains("x-boot-id: 1\r\n"));
    fleet.set(0, |knobs| knobs.boot = "2".into());
    assert!(ask(address).contains("x-boot-id: 2\r\n"));
    fleet.set(0, |knobs| knobs.fault = Some((1.0, Fault::Status(500))));
    assert!(ask(address).starts_with("HTTP/1.1 500 "));
    fleet.set(0, |knobs| knobs.fault = Some((1.0, Fault::ResetsBeforeHead)));
    assert_eq!(ask(address), "ConnectionReset");
    fleet.set(0, |knobs| knobs.fault = Some((1.0, Fault::ResetsMidBody)));
    let broken = ask(address);
    assert!(broken.starts_with("HTTP/1.1 200 ") && broken.ends_with("ConnectionReset"), "{broken}");
    fleet.set(0, |knobs| (knobs.fault, knobs.manner) = (None, Manner::Hangs));
    assert_eq!(ask(address), "WouldBlock", "it hangs");
    fleet.set(0, |knobs| knobs.manner = Manner::Serves);
    assert!(ask(address).starts_with("HTTP/1.1 200 "));
    let more = fleet.add(quick());
    assert!(ask(more).starts_with("HTTP/1.1 200 "));
    assert_eq!((fleet.seen(0).aborted, fleet.seen(1).served), (1, 1));
}

#[test]
fn a_black_hole_answers_no_syn_and_is_open_again_afterwards() {
    let fleet = Fleet::start(1, None, &[quick()]);
    let address = fleet.addresses()[0];
    fleet.set(0, |knobs| knobs.manner = Manner::NoSyn);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_ok() {
        assert!(Instant::now() < deadline, "no SYN is answered in the end");
    }
    fleet.set(0, |knobs| knobs.manner = Manner::Serves);
    while !ask(address).starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "it serves in the end");
    }
}
