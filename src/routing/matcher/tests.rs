//! The matcher against a reference that reads the rules off the page: try every route, keep the best.

use super::super::pattern::Segment;
use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn route(hosts: &[&str], path: PathPattern, methods: &[&str], headers: &[(&str, &str)]) -> RouteKey {
    RouteKey {
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        path,
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        headers: headers
            .iter()
            .map(|(name, value)| HeaderMatch {
                name: name.parse().unwrap(),
                value: if *value == "*" {
                    HeaderTest::Present
                } else {
                    HeaderTest::Exact(HeaderValue::from_str(value).unwrap())
                },
            })
            .collect(),
        listeners: vec![],
    }
}

fn on(listeners: &[&str], key: RouteKey) -> RouteKey {
    RouteKey { listeners: listeners.iter().map(|name| Arc::from(*name)).collect(), ..key }
}

/// `=/a` exact, `/a/{b}` pattern, `/a` prefix.
fn path(text: &str) -> PathPattern {
    match text.strip_prefix('=') {
        Some(exact) => PathPattern::exact(exact).unwrap(),
        None if text.contains('{') => PathPattern::pattern(text).unwrap(),
        None => PathPattern::prefix(text).unwrap(),
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn get(matcher: &Matcher, host: &str, path: &str) -> Option<usize> {
    matcher.find("edge", host, path, &Method::GET, &HeaderMap::new()).ok()
}

#[test]
fn the_more_specific_path_wins() {
    let paths =
        ["/", "/orders", "/orders/big", "/orders/{id}", "=/orders/new", "/{any}/new", "/files/{*rest}"];
    let routes: Vec<_> = paths.iter().map(|text| route(&[], path(text), &[], &[])).collect();
    let matcher = Matcher::build(&routes).unwrap();
    for (request, expected) in [
        ("/", 0),
        ("/x", 0),
        ("/ordersX", 0),
        ("/orders", 1),
        ("/orders/", 1),
        ("/orders/1/2", 1),
        ("/orders/big/1", 2),
        ("/orders/big", 3),
        ("/orders/1", 3),
        ("/orders/new", 4),
        ("/x/new", 5),
        ("/files", 0),
        ("/files/", 6),
        ("/files/a/b", 6),
    ] {
        assert_eq!(get(&matcher, "any", request), Some(expected), "{request}");
    }
}

#[test]
fn the_more_specific_host_wins_and_others_answer_where_it_has_nothing() {
    let routes = [
        route(&[], path("/"), &[], &[]),
        route(&["*.example.com"], path("/a"), &[], &[]),
        route(&["*.eu.example.com"], path("/a"), &[], &[]),
        route(&["x.eu.example.com"], path("/a"), &[], &[]),
        route(&[], path("=/a/exact"), &[], &[]),
        route(&["[::1]"], path("/"), &[], &[]),
    ];
    let matcher = Matcher::build(&routes).unwrap();
    for (host, request, expected) in [
        ("x.eu.example.com", "/a", 3),
        ("x.eu.example.com", "/b", 0),
        ("y.eu.example.com", "/a", 2),
        ("z.y.eu.example.com", "/a/exact", 2),
        ("eu.example.com", "/a", 1),
        ("example.com", "/a", 0),
        ("example.com", "/a/exact", 4),
        ("", "/a", 0),
        ("[::1]", "/a", 5),
    ] {
        assert_eq!(get(&matcher, host, request), Some(expected), "{host}{request}");
    }
}

#[test]
fn a_wrong_method_is_405_with_what_is_allowed() {
    let routes = [
        route(&[], path("/a"), &["POST"], &[]),
        route(&[], path("=/a"), &["GET"], &[]),
        route(&[], path("/a"), &["DELETE"], &[("x-admin", "1")]),
    ];
    let matcher = Matcher::build(&routes).unwrap();
    let find = |path, method: &str, lines| {
        matcher.find("edge", "h", path, &method.parse().unwrap(), &headers(lines))
    };
    let allow = |text| Err(Miss::Method { allow: HeaderValue::from_static(text) });
    assert_eq!(find("/a", "POST", &[]), Ok(0));
    assert_eq!(find("/a", "GET", &[]), Ok(1));
    assert_eq!(find("/a", "PUT", &[]), allow("GET, HEAD, POST"));
    assert_eq!(find("/a/b", "DELETE", &[]), allow("POST"));
    assert_eq!(find("/a/b", "PUT", &[("x-admin", "1")]), allow("DELETE, POST"));
    assert_eq!(find("/b", "PUT", &[]), Err(Miss::NotFound));
}

#[test]
fn get_answers_head_unless_a_route_names_it() {
    let routes = [route(&[], path("/a"), &["GET"], &[]), route(&[], path("/a"), &[], &[])];
    let matcher = Matcher::build(&routes).unwrap();
    assert_eq!(matcher.find("edge", "h", "/a", &Method::HEAD, &HeaderMap::new()), Ok(0));
    assert_eq!(matcher.find("edge", "h", "/a", &Method::PUT, &HeaderMap::new()), Ok(1));
    let routes = [route(&[], path("/a"), &["GET"], &[]), route(&[], path("/a"), &["HEAD"], &[])];
    let matcher = Matcher::build(&routes).unwrap();
    assert_eq!(matcher.find("edge", "h", "/a", &Method::HEAD, &HeaderMap::new()), Ok(1));
}

#[test]
fn more_headers_win_and_a_repeated_header_is_in_no_two_routes() {
    let routes = [
        route(&[], path("/a"), &[], &[]),
        route(&[], path("/a"), &[], &[("x-v", "1")]),
        route(&[], path("/a"), &[], &[("x-v", "2")]),
        route(&[], path("/a"), &[], &[("x-v", "2"), ("x-t", "*")]),
    ];
    let matcher = Matcher::build(&routes).unwrap();
    let find = |lines| matcher.find("edge", "h", "/a", &Method::GET, &headers(lines)).unwrap();
    assert_eq!(find(&[]), 0);
    assert_eq!(find(&[("x-v", "1")]), 1);
    assert_eq!(find(&[("x-v", "2")]), 2);
    assert_eq!(find(&[("x-v", "2"), ("x-t", "")]), 3);
    assert_eq!(find(&[("x-v", "1"), ("x-v", "2")]), 0);
    assert_eq!(find(&[("x-v", "1"), ("x-v", "1")]), 1);
}

#[test]
fn two_routes_that_cannot_be_told_apart_are_an_error_with_an_example() {
    for (one, two, example) in [
        (route(&[], path("/a"), &[], &[]), route(&[], path("/a/"), &[], &[]), "GET any.host/a"),
        (
            route(&["a.com", "*.b.com"], path("/u/{id}"), &["PUT", "GET"], &[]),
            route(&["*.b.com"], path("/u/{name}"), &["PUT"], &[]),
            "PUT any.b.com/u/id",
        ),
        (
            route(&[], path("=/"), &[], &[("x-a", "1")]),
            route(&[], path("=/"), &[], &[("x-b", "*")]),
            "GET any.host/ with `x-a: 1` with `x-b`",
        ),
    ] {
        let errors = Matcher::build(&[one, two]).unwrap_err();
        assert_eq!(errors, [Ambiguity { first: 0, second: 1, example: example.to_owned() }]);
    }
}

#[test]
fn a_route_that_names_listeners_is_not_there_for_others() {
    let routes = [
        route(&[], path("/"), &["GET"], &[]),
        on(&["internal"], route(&[], path("/"), &["GET", "PUT"], &[])),
        on(&["internal", "other"], route(&[], path("/admin"), &["POST"], &[])),
        on(&["edge"], route(&[], path("/"), &["GET"], &[("x-a", "1")])),
    ];
    let matcher = Matcher::build(&routes).unwrap();
    let find = |listener, path, method| matcher.find(listener, "h", path, &method, &HeaderMap::new());
    assert_eq!(find("edge", "/", Method::GET), Ok(0));
    assert_eq!(find("internal", "/", Method::GET), Ok(1), "naming the listener is more specific");
    assert_eq!(find("internal", "/admin", Method::POST), Ok(2));
    assert_eq!(find("edge", "/admin", Method::GET), Ok(0), "it is a path like any other there");
    let allow = |allow| Err(Miss::Method { allow: HeaderValue::from_static(allow) });
    assert_eq!(find("edge", "/admin", Method::POST), allow("GET, HEAD"), "and its methods are not told");
    assert_eq!(find("other", "/admin", Method::PUT), allow("GET, HEAD, POST"));
    let twins = [&["internal", "edge"][..], &["other", "edge"]];
    let twins = twins.map(|listeners| on(listeners, route(&[], path("/"), &[], &[])));
    let errors = Matcher::build(&twins).unwrap_err();
    assert_eq!(errors[0].example, "GET any.host/ on edge");
}

/// The rules, one route at a time. Larger is better; `None` does not match.
fn rank(
    key: &RouteKey,
    listener: &str,
    host: &str,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Option<impl Ord + use<>> {
    let host = match key.hosts.iter().filter(|pattern| pattern.matches(host)).max_by_key(|p| host_rank(p)) {
        Some(pattern) => host_rank(pattern),
        None if key.hosts.is_empty() => 0,
        None => return None,
    };
    let entry = Entry::new(0, key);
    let fit = entry.fit(method)?;
    entry.accepts_headers(headers).then_some(())?;
    let named = key.listeners.iter().any(|name| **name == *listener);
    (named || key.listeners.is_empty()).then_some(())?;
    Some((host, path_rank(&key.path, path)?, named, key.headers.len(), fit))
}

fn host_rank(pattern: &HostPattern) -> usize {
    match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Suffix(suffix) => suffix.as_str().len(),
    }
}

/// Kind, segment by segment from the left, length.
fn path_rank(pattern: &PathPattern, path: &str) -> Option<(u8, Vec<u8>, usize)> {
    match pattern {
        PathPattern::Exact(exact) => (exact.as_str() == path).then(|| (3, vec![], 0)),
        PathPattern::Prefix(prefix) => {
            let rest = path.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (1, vec![], prefix.as_str().len()))
        }
        PathPattern::Pattern(gaps) => {
            let parts: Vec<&str> = path[1..].split('/').collect();
            let mut ranks = Vec::new();
            for (at, segment) in gaps.segments().iter().enumerate() {
                let part = *parts.get(at)?;
                match segment {
                    Segment::Literal(text) if **text == *part => ranks.push(3),
                    Segment::Gap if !part.is_empty() => ranks.push(2),
                    Segment::Tail => return Some((2, [ranks, vec![1]].concat(), 0)),
                    _ => return None,
                }
            }
            (gaps.segments().len() == parts.len()).then_some((2, ranks, 0))
        }
    }
}

const LISTENERS: [&str; 3] = ["edge", "internal", "other"];
const HOSTS: [&str; 5] = ["a.com", "b.a.com", "*.a.com", "*.b.a.com", "*.com"];
const PATHS: [&str; 18] = [
    "/",
    "=/",
    "/a",
    "=/a",
    "=/a/",
    "/a/b",
    "=/a/b",
    "/{x}",
    "/a/{x}",
    "/{x}/b",
    "/{x}/{y}",
    "/{*r}",
    "/a/{*r}",
    "/{x}/{*r}",
    "/a/b/{x}",
    "/{x}/",
    "/a/b/c",
    "/b/{x}/c",
];

fn any_route() -> impl Strategy<Value = RouteKey> {
    let hosts = prop::collection::vec(select(&HOSTS[..]), 0..3);
    let methods = prop::collection::vec(select(&["GET", "HEAD", "PUT"][..]), 0..2);
    let lines = prop::collection::hash_map(select(&["x-a", "x-b"][..]), select(&["1", "2", "*"][..]), 0..3);
    let listeners = prop::collection::vec(select(&LISTENERS[..]), 0..3);
    (hosts, select(&PATHS[..]), methods, lines, listeners).prop_map(
        |(hosts, text, methods, lines, listeners)| {
            on(&listeners, route(&hosts, path(text), &methods, &lines.into_iter().collect::<Vec<_>>()))
        },
    )
}

type Request = (&'static str, &'static str, &'static str, Method, HeaderMap);

fn any_request() -> impl Strategy<Value = Request> {
    let hosts = select(&["", "a.com", "b.a.com", "c.b.a.com", "c.a.com", "d.org", "com"][..]);
    let paths =
        select(&["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/b", "/b/a/c", "/c/b", "/b/", "/ab"][..]);
    let methods = select(vec![Method::GET, Method::HEAD, Method::PUT, Method::POST]);
    let lines = prop::collection::vec((select(&["x-a", "x-b"][..]), select(&["1", "2"][..])), 0..3);
    (select(&LISTENERS[..]), hosts, paths, methods, lines)
        .prop_map(|(listener, host, path, method, lines)| (listener, host, path, method, headers(&lines)))
}

/// Leaves out routes that are ambiguous, so that most sets build.
fn buildable(routes: Vec<RouteKey>) -> Vec<RouteKey> {
    match Matcher::build(&routes) {
        Ok(_) => routes,
        Err(errors) => {
            let mut at = 0..;
            let bad = |n| errors.iter().any(|error| error.second == n);
            buildable(routes.into_iter().filter(|_| !at.next().is_some_and(bad)).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_trying_every_route(
        routes in prop::collection::vec(any_route(), 1..25),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let routes = buildable(routes);
        let matcher = Matcher::build(&routes).unwrap();
        for (listener, host, path, method, headers) in requests {
            let ranked = |method: &Method| {
                routes.iter().enumerate()
                    .filter_map(|(at, key)| Some((rank(key, listener, host, path, method, &headers)?, at)))
                    .collect::<Vec<_>>()
            };
            let mut matching = ranked(&method);
            matching.sort();
            let expected = matching.pop();
            match matcher.find(listener, host, path, &method, &headers) {
                Ok(found) => {
                    prop_assert_eq!(Some(found), expected.as_ref().map(|(_, at)| *at), "{}{}", host, path);
                    if let (Some((best, _)), Some((next, _))) = (&expected, matching.last()) {
                        prop_assert!(best != next, "a tie that build did not see");
                    }
                }
                Err(miss) => {
                    prop_assert!(expected.is_none());
                    let allowed: Vec<String> = ["GET", "HEAD", "PUT"].into_iter()
                        .filter(|name| !ranked(&name.parse().unwrap()).is_empty())
                        .map(str::to_owned).collect();
                    let expected = match allowed.is_empty() {
                        true => Miss::NotFound,
                        false => Miss::Method { allow: HeaderValue::from_str(&allowed.join(", ")).unwrap() },
                    };
                    prop_assert_eq!(miss, expected);
                }
            }
        }
    }

    #[test]
    fn the_order_of_routes_does_not_matter(
        routes in prop::collection::vec(any_route(), 1..25),
        swaps in prop::collection::vec((any::<Index>(), any::<Index>()), 25),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let routes = buildable(routes);
        let mut order: Vec<usize> = (0..routes.len()).collect();
        for (one, two) in swaps {
            order.swap(one.index(routes.len()), two.index(routes.len()));
        }
        let matcher = Matcher::build(&routes).unwrap();
        let shuffled = Matcher::build(&order.iter().map(|at| routes[*at].clone()).collect::<Vec<_>>()).unwrap();
        for (listener, host, path, method, headers) in requests {
            let other = shuffled.find(listener, host, path, &method, &headers).map(|at| order[at]);
            prop_assert_eq!(matcher.find(listener, host, path, &method, &headers), other);
        }
    }

    #[test]
    fn a_named_ambiguity_is_a_real_one(one in any_route(), two in any_route()) {
        if let Err(errors) = Matcher::build(&[one.clone(), two.clone()]) {
            let example = &errors[0].example;
            let (method, rest) = example.split_once(' ').unwrap();
            let mut parts = rest.split(" with ");
            let target = parts.next().unwrap();
            let (target, listener) = target.split_once(" on ").unwrap_or((target, "edge"));
            let (host, path) = target.split_at(target.find('/').unwrap());
            let mut map = HeaderMap::new();
            for line in parts {
                let (name, value) = line.trim_matches('`').split_once(": ").unwrap_or((line.trim_matches('`'), "x"));
                map.insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
            // A `Present` beside an `Exact` of the same header comes out as the latter.
            for key in [&one, &two] {
                for header in &key.headers {
                    if let HeaderTest::Exact(value) = &header.value {
                        map.insert(&header.name, value.clone());
                    }
                }
            }
            let method = method.parse().unwrap();
            let first = rank(&one, listener, host, path, &method, &map);
            prop_assert!(first.is_some(), "{}", example);
            prop_assert!(first == rank(&two, listener, host, path, &method, &map), "{}", example);
        }
    }
}
