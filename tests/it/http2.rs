//! HTTP/2 on both sides: by preface and by ALPN, with trailers, and gRPC unharmed, refusals included.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::{checksum, header_seen, pattern};
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::get;
use crate::support::run;
use crate::support::tls::Authority;
use std::time::Duration;

#[test]
fn cleartext_clients_are_known_by_their_preface() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let body = pattern(300_000);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.request("POST", "/up?x=1");
        let echo = client.send(request, body.clone()).await.unwrap().json();
        assert_eq!(
            (echo["uri"].as_str(), echo["body_hash"].as_u64()),
            (Some("/up?x=1"), Some(checksum(&body)))
        );
        assert_eq!(header_seen(&echo, "host"), Some("edge.test"));
        assert_eq!(header_seen(&echo, "x-forwarded-for"), Some("127.0.0.1"));
        let answer = client.get("/bytes/1048576").await.unwrap();
        assert!(answer.body == pattern(1_048_576), "a large answer arrives unharmed");
        assert!(answer.get("x-request-id").is_some());
        assert_eq!((answer.get("connection"), answer.get("keep-alive")), (None, None));
        let head = client.request("HEAD", "/x");
        assert_eq!(client.send(head, "").await.unwrap().get("content-length"), Some("42"));
    });
    assert_eq!(gateway.connect().ask(get("/")).status(), 200, "HTTP/1.1 on the same port");
}

#[test]
fn many_streams_share_a_connection() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(100)));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    run(async {
        let client = Http2::connect(gateway.edge()).await;
        let ask = |n: usize| {
            let mut client = client.clone();
            async move { client.get(&format!("/{n}")).await.unwrap().json()["uri"].clone() }
        };
        let answers = futures_util::future::join_all((0..30).map(ask)).await;
        for (n, uri) in answers.iter().enumerate() {
            assert_eq!(uri.as_str(), Some(&*format!("/{n}")));
        }
    });
    assert!(origin.peak() > 10, "at the same time: {}", origin.peak());
}

#[test]
fn cookie_crumbs_become_one_header_and_trailers_pass() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.request("GET", "/x").header("cookie", "a=1").header("cookie", "b=2");
        let echo = client.send(request, "").await.unwrap().json();
        assert_eq!(header_seen(&echo, "cookie"), Some("a=1; b=2"));
        let request = client.request("GET", "/chunked/1000").header("te", "trailers");
        let answer = client.send(request, "").await.unwrap();
        assert_eq!(answer.trailers["x-end"], "reached");
    });
    let asked = "GET /chunked/1000 HTTP/1.1\r\nHost: edge.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let answer = gateway.connect().ask(asked);
    assert_eq!(answer.trailers, [("x-end".to_owned(), "reached".to_owned())]);
}

#[test]
fn backends_that_speak_http2_are_spoken_to_in_http2() {
    let origin = Origin::http2(100);
    let config =
        Config::new().upstream("u", &[origin.address()], "protocol = \"http2\"").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    for _ in 0..20 {
        let echo = raw.ask(get("/a?b")).json();
        assert_eq!(echo["version"], "HTTP/2.0");
        assert!(echo["uri"].as_str().is_some_and(|uri| uri.ends_with("edge.test/a?b")), "{echo}");
    }
    assert_eq!(origin.accepted(), 1, "requests share a connection");
    let chunked =
        "POST /x HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(raw.ask(chunked).json()["body_bytes"], 3);
}

#[test]
fn more_requests_than_a_backend_allows_streams_are_all_served() {
    let origin = Origin::http2(5);
    origin.switch(Behaviour::Delay(Duration::from_millis(20)));
    let config =
        Config::new().upstream("u", &[origin.address()], "protocol = \"http2\"").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    run(async {
        let client = Http2::connect(gateway.edge()).await;
        let ask = |_| {
            let mut client = client.clone();
            async move { client.get("/").await.unwrap().status }
        };
        assert_eq!(futures_util::future::join_all((0..40).map(ask)).await, [200; 40]);
    });
}

#[test]
fn sizes_are_bounded_on_streams_too() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let long = client.get(&format!("/{}", "a".repeat(9_000))).await.unwrap();
        assert_eq!((long.status, long.get("x-tidegate-reason")), (414, Some("uri_too_long")));
        let many = (0..150).fold(client.request("GET", "/"), |r, n| r.header(format!("x-{n}"), "1"));
        let many = client.send(many, "").await.unwrap();
        assert_eq!((many.status, many.get("x-tidegate-reason")), (431, Some("headers_too_large")));
        let wide =
            (0..50).fold(client.request("GET", "/"), |r, n| r.header(format!("x-{n}"), "y".repeat(800)));
        assert_eq!(client.send(wide, "").await.unwrap().status, 431);
        assert_eq!(origin.requests(), 0, "none of it reaches a backend");
        assert_eq!(client.get("/").await.unwrap().status, 200, "the connection lives on");
    });
}

fn grpc_gateway(origin: &Origin, upstream: &str, route: &str) -> Gateway {
    let upstream_lines = format!("protocol = \"http2\"\n{upstream}");
    let config = Config::new().upstream("u", &[origin.address()], &upstream_lines);
    Gateway::start(&config.route("r", "/echo.Echo", "u", route))
}

#[test]
fn grpc_calls_of_every_shape_pass_unharmed() {
    let origin = Origin::http2(100);
    let gateway = grpc_gateway(&origin, "", "");
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let unary = client.grpc("/echo.Echo/Unary", b"hello").await.unwrap();
        assert_eq!((unary.status, unary.grpc_status(), &unary.body[5..]), (200, Some("0"), &b"hello"[..]));
        assert_eq!(unary.get("content-type"), Some("application/grpc"));
        assert_eq!(unary.trailers["x-end"], "reached");
        let ten = client.grpc("/echo.Echo/Stream", b"hello").await.unwrap();
        assert_eq!((ten.body.len(), ten.grpc_status()), (100, Some("0")));
        let request = client.grpc_request("/echo.Echo/Bidi");
        let mut call = client.open(request).await.unwrap();
        for n in 0..20_u8 {
            assert_eq!(&call.exchange(&[n; 100]).await[5..], [n; 100], "a message is passed on as it comes");
        }
        assert_eq!(call.finish().await["grpc-status"], "0");
    });
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn grpc_refusals_are_grpc_statuses() {
    let origin = Origin::http2(100);
    let gateway = grpc_gateway(&origin, "max_in_flight = 1", "timeout = \"700ms\"");
    origin.switch(Behaviour::AcceptsAndNeverAnswers);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let unknown = client.grpc("/other.Service/Call", b"x").await.unwrap();
        assert_eq!((unknown.status, unknown.grpc_status()), (200, Some("12")));
        assert!(unknown.get("x-tidegate-reason").is_some(), "the same headers as other refusals");

        let mut first = client.clone();
        let held = tokio::spawn(async move { first.grpc("/echo.Echo/Unary", b"x").await });
        tokio::time::timeout(Duration::from_secs(5), async {
            while origin.in_flight() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the first call is at the backend");
        let full = client.grpc("/echo.Echo/Unary", b"x").await.unwrap();
        assert_eq!((full.status, full.grpc_status()), (200, Some("14")), "{full:?}");
        assert!(
            full.headers.contains_key("grpc-retry-pushback-ms")
                || full.trailers.contains_key("grpc-retry-pushback-ms")
        );
        assert_eq!(full.get("content-type"), Some("application/grpc"));
        let late = held.await.unwrap().unwrap();
        assert_eq!((late.status, late.grpc_status()), (200, Some("4")), "{late:?}");
    });
}

#[test]
fn a_client_shortens_its_deadline_but_never_lengthens_it() {
    let origin = Origin::http2(100);
    origin.switch(Behaviour::AcceptsAndNeverAnswers);
    let gateway = grpc_gateway(&origin, "", "timeout = \"2s\"");
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        for (asked, least, most) in [("300m", 250, 1_500), ("60S", 1_800, 5_000)] {
            let started = std::time::Instant::now();
            let request = client.grpc_request("/echo.Echo/Unary").header("grpc-timeout", asked);
            let answer = client.send(request, "").await.unwrap();
            assert_eq!(answer.grpc_status(), Some("4"), "{asked}");
            let taken = started.elapsed().as_millis();
            assert!((least..most).contains(&taken), "{asked}: {taken} ms");
        }
    });
}

#[test]
fn a_broken_backend_is_unavailable_to_grpc() {
    let config =
        Config::new().upstream("u", &[refused()], "protocol = \"http2\"").route("r", "/echo.Echo", "u", "");
    let gateway = Gateway::start(&config);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let answer = client.grpc("/echo.Echo/Unary", b"x").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("14")));
        assert_eq!(answer.get("x-tidegate-reason"), Some("connect_failed"));
    });
}

#[test]
fn grpc_passes_over_tls_chosen_by_alpn() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::http2(100);
    let config = Config::new()
        .listener(&format!("tls = {{ certificates = [{}] }}", pair.toml()))
        .upstream("u", &[origin.address()], "protocol = \"http2\"")
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    run(async {
        let client = authority.client_config(&["h2", "http/1.1"], None);
        let mut client = Http2::connect_tls(gateway.edge(), "edge.test", client).await;
        let unary = client.grpc("/echo.Echo/Unary", b"hello").await.unwrap();
        assert_eq!((unary.grpc_status(), &unary.body[5..]), (Some("0"), &b"hello"[..]));
        let request = client.request("GET", "/x");
        let echo = client.send(request, "").await.unwrap().json();
        assert_eq!(header_seen(&echo, "x-forwarded-proto"), Some("https"));
    });
}
