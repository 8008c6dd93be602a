//! What stands for the keys that are left out.

use super::*;
use crate::config::fields::{Field, Need, ROOT};
use crate::request::Class;
use std::fmt::Write as _;
use std::time::Duration;
use toml::de::DeValue;

/// So many upstreams with so many backends and routes each.
fn fleet(upstreams: usize, backends: usize, routes: usize, extra: &str) -> String {
    let mut text = String::from("[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n");
    for u in 0..upstreams {
        let backends: Vec<String> =
            (0..backends).map(|b| format!("{{ name = \"b{b}\", address = \"10.0.{u}.{b}:80\" }}")).collect();
        write!(text, "[[upstreams]]\nname = \"u{u}\"\nbackends = [{}]\n{extra}\n", backends.join(", "))
            .unwrap();
        for r in 0..routes {
            write!(
                text,
                "[[routes]]\nname = \"r{u}-{r}\"\npath_prefix = \"/{u}/{r}\"\nupstream = \"u{u}\"\n"
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn a_file_with_only_names_addresses_and_backends_is_bounded_everywhere() {
    let plan = plan(GOOD);
    let seconds = Duration::from_secs;
    assert_eq!((plan.gateway.max_in_flight, plan.gateway.drain_timeout), (8192, seconds(30)));
    assert!(plan.gateway.workers >= 1 && plan.gateway.trusted_proxies.is_empty());
    assert_eq!(plan.admin.address.to_string(), "127.0.0.1:9900");
    assert_eq!(plan.admin.state_dir, Path::new("/var/lib/tidegate"));
    let listener = &plan.listeners[0];
    assert_eq!((listener.max_connections, listener.max_connections_per_source), (10_000, 10_000));
    assert_eq!((listener.header_timeout, listener.idle_timeout), (seconds(10), seconds(75)));
    assert_eq!(listener.limits, crate::listener::settings::MessageLimits::default());
    let upstream = &plan.upstreams[0];
    assert_eq!((upstream.gate.max_in_flight, upstream.gate.max_waiting), (64, 128));
    assert_eq!(upstream.gate.max_wait, Duration::from_millis(50));
    assert_eq!(upstream.balancing.max_in_flight_per_backend, 64);
    assert_eq!(upstream.transport.connect_timeout, Duration::from_millis(500));
    let route = &plan.routes[0].1;
    assert_eq!((route.timeout, route.body_idle, route.max_duration), (seconds(10), seconds(60), None));
    assert_eq!((route.class, route.max_in_flight, route.filters.max_body), (Class::Default, 64, 10 << 20));
    assert!(plan.notices.is_empty(), "{:?}", plan.notices);
}

#[test]
fn an_upstreams_cap_is_64_a_backend_within_its_share_of_the_process() {
    let cap = |upstreams, backends| plan(&fleet(upstreams, backends, 1, "")).upstreams[0].gate.max_in_flight;
    assert_eq!(cap(1, 2), 128);
    assert_eq!(cap(1, 200), 7372, "90 % of the process for the only one");
    assert_eq!(cap(2, 200), 3686, "90 % ÷ 2");
    assert_eq!(cap(8, 200), 2048, "never under a quarter");
}

#[test]
fn a_cap_above_a_quarter_warns_and_above_nine_tenths_is_refused() {
    let warned = plan(&fleet(2, 200, 1, "max_in_flight = 2049"));
    assert!(warned.notices[0].contains("25 %"), "{:?}", warned.notices);
    assert!(plan(&fleet(2, 200, 1, "max_in_flight = 2048")).notices.is_empty());
    assert!(!checked(&fleet(2, 200, 1, "max_in_flight = 7372")).is_refused());
    assert!(checked(&fleet(2, 200, 1, "max_in_flight = 7373")).is_refused());
}

#[test]
fn a_route_has_half_of_a_shared_upstream_and_at_least_one() {
    let bound = |routes, extra| plan(&fleet(1, 1, routes, extra)).routes[0].1.max_in_flight;
    assert_eq!(bound(1, ""), 64);
    assert_eq!(bound(2, ""), 32);
    assert_eq!(bound(3, "max_in_flight = 1"), 1);
}

#[test]
fn a_queue_is_twice_the_limit_and_waits_a_twentieth_of_the_shortest_timeout() {
    let large = plan(&fleet(1, 30, 1, ""));
    assert_eq!(large.upstreams[0].gate.max_waiting, 1024, "at most");
    let short = GOOD.replace("name = \"r\"", "name = \"r\"\ntimeout = \"200ms\"");
    assert_eq!(plan(&short).upstreams[0].gate.max_wait, Duration::from_millis(10));
}

#[test]
fn a_backend_never_holds_more_than_its_upstream() {
    assert_eq!(
        plan(&fleet(1, 1, 1, "max_in_flight = 8")).upstreams[0].balancing.max_in_flight_per_backend,
        8
    );
}

#[test]
fn every_default_in_the_table_of_fields_is_valid() {
    fn visit(fields: &'static [Field]) {
        for field in fields {
            if let Need::Default(text) = field.need {
                assert!(DeValue::parse(text).is_ok(), "{}: {text}", field.key);
            }
            if let Some(inner) = field.kind.fields() {
                visit(inner);
            }
        }
    }
    visit(&ROOT);
    // Every optional table, so that each table's defaults are walked.
    let text = GOOD.replace(
        "name = \"u\"\n",
        "name = \"u\"\ntls = {}\nhealth = {}\nejection = {}\nretry = {}\nramp = {}\nqueue = {}\n",
    ) + "respond = {}\nrequest_headers = {}\n[rollout]\nguard = {}\nprobe = {}\n[[auth]]\nname = \"a\"\nupstream = \"u\"\npath = \"/v\"\ncache = {}\n\
         [[notify]]\nname = \"n\"\nurl = \"https://example.com\"\n[access_log]\n";
    let errors = checked(&text).errors();
    assert_eq!(errors.len(), 1, "only upstream and respond exclude each other: {errors:?}");
    plan(&GOOD.replace("upstream = \"u\"", "redirect = { path = \"/x\" }"));
}

#[test]
fn paths_in_the_file_are_relative_to_it() {
    let text = GOOD.to_owned() + "[access_log]\ntarget = \"access.log\"\n[admin]\nstate_dir = \"state\"\n";
    let plan = plan(&text);
    assert_eq!(plan.admin.state_dir, Path::new("/etc/tidegate/state"));
    let log = crate::telemetry::settings::AccessLogTarget::File("/etc/tidegate/access.log".into());
    assert_eq!(plan.access_log.target, log);
}
