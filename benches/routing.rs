//! Building the matcher and finding routes: the time per request must not grow with the number of routes, and
//! nothing may be allocated. Run with `cargo bench --bench routing`; `support/meter.rs` says how instructions are
//! counted.

#[path = "support/meter.rs"]
mod meter;

use http::{HeaderMap, Method};
use meter::Meter;
use std::time::Instant;
use tidegate::routing::{HostPattern, Matcher, Miss, PathPattern, RouteKey, normalise, normalise_host};

fn main() {
    let meter = Meter::from_args();
    for routes in [10, 1_000, 10_000] {
        if meter.wants(&format!("{routes} routes: ")) {
            measure(&meter, routes);
        }
    }
    for path in ["/api/v1/users/12345", "/.well-known/a%20b/c"] {
        meter.assert_free_of_allocations(&format!("normalise {path}"), |_| normalise(path).is_ok());
    }
    meter.assert_free_of_allocations("normalise_host api.example.com:443", |_| {
        normalise_host("api.example.com:443").is_ok()
    });
}

fn measure(meter: &Meter, routes: usize) {
    let keys: Vec<_> = (0..routes).map(key).collect();
    let start = Instant::now();
    let matcher = Matcher::build(&keys).expect("the keys differ");
    if meter.measures() {
        println!("{:<44} {:>9.1} ms", format!("{routes} routes: build"), start.elapsed().as_secs_f64() * 1e3);
    }

    let headers = HeaderMap::new();
    let find = |host: &str, path: &str| matcher.find("edge", host, path, &Method::GET, &headers);
    let requests: Vec<_> = (0..routes).map(request).collect();
    for (n, (host, path)) in requests.iter().enumerate() {
        assert_eq!(find(host, path), Ok(n), "{host}{path}");
    }
    meter.assert_free_of_allocations(&format!("{routes} routes: find one after the other"), |n| {
        let (host, path) = &requests[n % routes];
        find(host, path)
    });
    meter.assert_free_of_allocations(&format!("{routes} routes: find the same"), |_| {
        let (host, path) = &requests[routes / 2];
        find(host, path)
    });
    let deep = "/a".repeat(2_000);
    meter.assert_free_of_allocations(&format!("{routes} routes: nothing for 4 KB of path"), |_| {
        let found = find("h1.example.com", &deep);
        assert_eq!(found, Err(Miss::NotFound));
    });
}

/// A tenth of the routes has a host; prefixes, exact paths and patterns take turns.
fn key(n: usize) -> RouteKey {
    let text = match n % 3 {
        0 => PathPattern::prefix(&format!("/api/v1/service-{n}")),
        1 => PathPattern::exact(&format!("/api/v1/service-{n}/status")),
        _ => PathPattern::pattern(&format!("/api/v1/service-{n}/users/{{id}}/orders/{{order}}")),
    };
    let hosts = match n % 10 {
        0 => vec![HostPattern::parse(&format!("h{n}.example.com")).expect("a valid host")],
        5 => vec![HostPattern::parse(&format!("*.s{n}.example.com")).expect("a valid host")],
        _ => vec![],
    };
    let path = text.expect("a valid path");
    RouteKey { hosts, path, methods: vec![Method::GET], headers: vec![], listeners: vec![] }
}

fn request(n: usize) -> (String, String) {
    let path = match n % 3 {
        0 => format!("/api/v1/service-{n}/items/17"),
        1 => format!("/api/v1/service-{n}/status"),
        _ => format!("/api/v1/service-{n}/users/4711/orders/42"),
    };
    let host = match n % 10 {
        0 => format!("h{n}.example.com"),
        5 => format!("eu.s{n}.example.com"),
        _ => "api.example.com".to_owned(),
    };
    (host, path)
}
