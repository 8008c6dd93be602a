//! Whose requests may notice a difference, and for how long they may take.

use super::*;

/// The routes that may notice, each with what becomes of it.
fn noticing(after: &str) -> (Vec<String>, bool, Duration) {
    let comparison = compared(FLEET, after);
    let word = |route: &RouteChange| match (route.new, route.removed) {
        (true, _) => format!("+{}", route.written),
        (_, true) => format!("-{}", route.written),
        _ => route.written.clone(),
    };
    (comparison.routes.iter().map(word).collect(), comparison.everything, comparison.longest_timeout)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_route_notices_what_it_stands_on() {
    let orders = (vec!["orders".to_owned()], false, seconds(4));
    assert_eq!(noticing(&edited("10.0.0.1:8080", "10.0.0.9:8080")), orders, "its upstream");
    assert_eq!(noticing(&edited("path = \"/verify\"", "path = \"/other\"")), orders, "its auth");
    assert_eq!(noticing(&edited("10.0.2.1:8080", "10.0.2.9:8080")), orders, "the upstream of its auth");
    assert_eq!(noticing(&edited("path_prefix = \"/orders\"", "path_prefix = \"/order\"")), orders, "itself");
    let slower = noticing(&edited("timeout = \"4s\"", "timeout = \"20s\""));
    assert_eq!(slower, (vec!["orders".to_owned()], false, seconds(20)), "the longer of both timeouts");
}

#[test]
fn a_route_that_shares_its_upstream_notices_a_second_one() {
    let second = format!("{FLEET}\n[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"users\"\n");
    let (routes, everything, timeout) = noticing(&second);
    assert_eq!(
        (routes, everything, timeout),
        (vec!["users".to_owned(), "+more".to_owned()], false, seconds(10))
    );
}

#[test]
fn a_route_that_goes_is_named() {
    let users =
        "[[routes]]\nname = \"users\"\npath_prefix = \"/users\"\nupstream = \"users\"\ntimeout = \"8s\"\n";
    assert_eq!(noticing(&edited(users, "")).0, ["-users"]);
}

#[test]
fn the_process_and_its_listeners_are_noticed_everywhere() {
    for (part, by, listeners) in [
        ("[[listeners]]", "[gateway]\nmax_in_flight = 9000\n[[listeners]]", false),
        ("127.0.0.1:8080", "127.0.0.1:8081", true),
        ("path = \"/verify\"", "path = \"/verify\"\ncopy_headers = [\"x-user\"]", false),
    ] {
        let comparison = compared(FLEET, &edited(part, by));
        assert!(comparison.everything, "{by}");
        assert_eq!(
            (comparison.touches_listeners, comparison.longest_timeout),
            (listeners, seconds(8)),
            "{by}"
        );
    }
}

#[test]
fn what_no_request_notices_reaches_nobody() {
    for (part, by) in [
        ("bake = \"30s\"", "bake = \"40s\""),
        ("[[listeners]]", "[access_log]\ntarget = \"off\"\n[[listeners]]"),
        ("[[listeners]]", "[admin]\nsocket = false\n[[listeners]]"),
    ] {
        assert_eq!(noticing(&edited(part, by)), (Vec::new(), false, Duration::ZERO), "{by}");
    }
}
