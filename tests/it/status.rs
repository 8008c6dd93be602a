//! `tidegate status` at the moment when somebody is woken: what is wrong stands on top, with what to do.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{PATIENCE, wait_until};

fn status(gateway: &Gateway) -> String {
    String::from_utf8(gateway.cli(&["status"]).stdout).expect("text")
}

/// What stands above the version, in one line.
fn first(gateway: &Gateway) -> String {
    let told = status(gateway);
    let first = told.lines().take_while(|line| !line.starts_with("version "));
    first.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_upstream_that_sheds_and_hangs_is_the_first_thing_that_status_says() {
    let (origin, hung) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let full = "max_in_flight = 1\nqueue = { max_waiting = 0, max_wait = \"10ms\" }";
    let name = "an-upstream-with-a-name-that-is-longer-than-any-column";
    let config = Config::new()
        .upstream("well", &[origin.address()], "")
        .upstream(name, &[hung.address()], full)
        .route("well", "/well", "well", "")
        .route("full", "/full", name, "timeout = \"60s\"");
    let gateway = Gateway::start(&config);
    assert!(status(&gateway).starts_with("version 1 "), "all is well: {}", status(&gateway));
    let _held = gateway.ask("/full", 1);
    hung.holds(1);
    let _load = [Load::closed(gateway.edge(), "/well", 2), Load::closed(gateway.edge(), "/full", 2)];
    wait_until(PATIENCE, "its sheds stand on top", || {
        let first = first(&gateway);
        first.starts_with(&format!("! {name} sheds "))
            && first.contains("/s (upstream_limit): 1 of 1 held, oldest ")
            && first.ends_with(&format!("`tidegate permits --upstream {name}` says who holds them"))
    });
    wait_until(PATIENCE, "its silence is told", || {
        first(&gateway).starts_with(&format!("! {name} hangs: nothing came back for "))
    });
    let told = status(&gateway);
    let row =
        told.lines().find(|line| line.starts_with(name)).expect("whole: nobody's terminal is too narrow");
    assert!(row.ends_with("-/-"), "nothing was answered: {row}");
    let well = told.lines().find(|line| line.starts_with("well ")).expect("its row");
    assert!(well.contains("ms/") && !well.contains("-/-"), "{well}");
}
