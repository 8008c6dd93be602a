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
fn of_texts_of_long_ago_what_is_written_says_whom_it_reaches() {
    let written = |after: &str| {
        let comparison = compare(Side { text: FLEET, plan: None }, Side { text: after, plan: None });
        let names = comparison.routes.iter().map(|route| route.written.clone()).collect::<Vec<_>>();
        (names, comparison.everything)
    };
    let orders = (vec!["orders".to_owned()], false);
    for (part, by) in [
        ("10.0.0.1:8080", "10.0.0.9:8080"),
        ("path = \"/verify\"", "path = \"/other\""),
        ("10.0.2.1:8080", "10.0.2.9:8080"),
        ("path_prefix = \"/orders\"", "path_prefix = \"/order\""),
        ("timeout = \"4s\"", "timeout = \"20s\""),
    ] {
        assert_eq!(written(&edited(part, by)), orders, "{by}");
    }
    let second = format!("{FLEET}\n[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"users\"\n");
    assert_eq!(written(&second), (vec!["users".to_owned(), "more".to_owned()], false));
    assert_eq!(written(&edited("bake = \"30s\"", "bake = \"40s\"")), (vec![], false));
    for (part, by) in [
        ("[[listeners]]", "[gateway]\nmax_in_flight = 9000\n[[listeners]]"),
        ("path = \"/verify\"", "path = \"/verify\"\ncopy_headers = [\"x-user\"]"),
        ("name = \"orders\"\n", "name = \"${NAME}\"\n"),
    ] {
        assert_eq!(written(&edited(part, by)), (vec![], true), "{by}");
    }
}

#[test]
fn what_is_written_never_names_fewer_routes_than_the_plans_do() {
    let users =
        "[[routes]]\nname = \"users\"\npath_prefix = \"/users\"\nupstream = \"users\"\ntimeout = \"8s\"\n";
    for (part, by) in [
        ("10.0.0.1:8080", "10.0.0.9:8080"),
        ("10.0.2.1:8080", "10.0.2.9:8080"),
        ("timeout = \"8s\"", "timeout = \"3s\""),
        ("timeout = \"8s\"", "timeout = \"8s\"\nclass = \"critical\""),
        ("timeout = \"8s\"", "timeout = \"8s\"\nstreaming = true"),
        (users, ""),
    ] {
        let after = edited(part, by);
        let exact = compared(FLEET, &after);
        let told = compare(Side { text: FLEET, plan: None }, Side { text: &after, plan: None });
        let names = |of: &Comparison| of.routes.iter().map(|it| it.written.clone()).collect::<Vec<_>>();
        assert!(
            told.everything || names(&exact).iter().all(|name| names(&told).contains(name)),
            "{by}: {exact:#?} {told:#?}"
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
