//! A process that is really out of descriptors. It runs in a process of its own: tests beside it would
//! suffer.

use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::process::Command;

const CHILD: &str = "TIDEGATE_TEST_OUT_OF_DESCRIPTORS";

#[test]
fn out_of_descriptors_accepting_pauses_without_spinning_and_then_goes_on() {
    if std::env::var_os(CHILD).is_some() {
        return out_of_descriptors();
    }
    let name = "listener::tests::exhaustion::\
                out_of_descriptors_accepting_pauses_without_spinning_and_then_goes_on";
    let ourselves = std::env::current_exe().expect("a test binary");
    let child = Command::new(ourselves).args(["--exact", name]).env(CHILD, "1").output().expect("started");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

fn out_of_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).expect("lowered");
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let listener = street.listeners.all().remove(0);
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let everything: Vec<_> = std::iter::from_fn(|| client.try_clone().ok()).collect();

    let since = Instant::now();
    client.connect(&address.into()).expect("completed by the system");
    eventually("three pauses", || listener.counts().paused.load(SeqCst) >= 3);
    // 10 ms, then 20 ms, lie between three of them.
    assert!(since.elapsed() >= Duration::from_millis(30), "it spins");
    assert_eq!(street.shelf.load(0) + street.shelf.load(1), 0);

    drop(everything);
    street.shelf.holds(1);
}
