//! HTTP/2 clients that flood: with resets, pings, settings or streams. The connection ends, and nobody else
//! notices.

use crate::support::config::Config;
use crate::support::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NONE, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, get_block,
};
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::End;
use crate::support::{PATIENCE, wait_until};
use std::time::Duration;

/// Writes of a hundred frames each that no connection may survive.
const MANY: usize = 2_000;

fn gateway_before(origin: &Origin) -> Gateway {
    Gateway::start(&Config::simple(origin.address()))
}

/// The flood ends its connection and leaves nothing behind.
fn ends_alone(gateway: &Gateway, end: End) {
    assert_ne!(end, End::Open, "the connection ends");
    assert_eq!(gateway.get("/").status(), 200, "others are served");
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn a_flood_of_resets_ends_its_connection() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(50)));
    let gateway = gateway_before(&origin);
    let block = get_block("/x");
    let end = Frames::connect(gateway.edge()).flood(MANY, |n| {
        (0..100)
            .flat_map(|i| {
                let stream = 1 + 2 * (n * 100 + i);
                let open = frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
                [open, frames::frame(RST_STREAM, NONE, stream, &8_u32.to_be_bytes())]
            })
            .collect()
    });
    ends_alone(&gateway, end);
    assert!(origin.requests() < 5_000, "a flood is not passed on: {} requests", origin.requests());
}

#[test]
fn floods_of_control_frames_end_their_connections() {
    let origin = Origin::well_behaved();
    let gateway = gateway_before(&origin);
    let floods: [(&str, Vec<u8>); 4] = [
        ("PING", frames::frame(PING, NONE, 0, &[7; 8])),
        ("SETTINGS", frames::frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 255, 255])),
        ("WINDOW_UPDATE", frames::frame(WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frames::frame(2, NONE, 1, &[0, 0, 0, 0, 1])),
    ];
    for (name, frame) in floods {
        let end = Frames::connect(gateway.edge()).flood(MANY, |_| vec![frame.clone(); 100]);
        assert_ne!(end, End::Open, "{name}");
    }
    ends_alone(&gateway, End::Eof);
}

#[test]
fn endless_headers_and_empty_data_end_their_connections() {
    let origin = Origin::well_behaved();
    let gateway = gateway_before(&origin);
    let mut endless = Frames::connect(gateway.edge());
    endless.send(HEADERS, NONE, 1, &get_block("/x")).expect("the gateway reads");
    // A literal header field without indexing: x: y.
    let field = [0, 1, b'x', 1, b'y'];
    let end = endless.flood(MANY, |_| vec![frames::frame(CONTINUATION, NONE, 1, &field); 100]);
    assert_ne!(end, End::Open, "CONTINUATION");
    let mut empty = Frames::connect(gateway.edge());
    let mut block = get_block("/x");
    block[0] = 0x83;
    empty.send(HEADERS, END_HEADERS, 1, &block).expect("the gateway reads");
    let end = empty.flood(MANY, |_| vec![frames::frame(DATA, NONE, 1, &[]); 100]);
    ends_alone(&gateway, end);
}

#[test]
fn streams_are_capped_per_connection() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new().upstream(
        "u",
        &[hung.address()],
        "max_in_flight = 500\nmax_in_flight_per_backend = 500",
    );
    let gateway = Gateway::start(&config.route("r", "/", "u", ""));
    let mut client = Frames::connect(gateway.edge());
    let settings = client.next(SETTINGS).expect("the gateway's settings");
    let of_streams = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]);
    let most = of_streams.map(|s| u32::from_be_bytes([s[2], s[3], s[4], s[5]])).expect("a bound on streams");
    assert!((1..=1_000).contains(&most), "{most}");
    let block = get_block("/x");
    for n in 0..most + 10 {
        client.send(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * n, &block).expect("the gateway reads");
    }
    let refused = client.next(RST_STREAM).expect("streams beyond the bound are refused");
    assert_eq!(refused.stream, 1 + 2 * most, "those within it are not");
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: safe to try again");
    wait_until(PATIENCE, "the others are served", || hung.requests() >= u64::from(most.min(250)));
    assert!(hung.requests() <= u64::from(most));
}

#[test]
fn a_client_that_keeps_its_windows_closed_holds_no_backend_for_ever() {
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("u", &[origin.address()], "").route(
        "r",
        "/",
        "u",
        "body_idle = \"1s\"\nmax_duration = \"3s\"",
    );
    let gateway = Gateway::start(&config);
    let mut client = Frames::connect(gateway.edge());
    // The initial window of every stream is zero: no answer's body may ever be sent.
    client.send(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 0]).expect("the gateway reads");
    for n in 0..20 {
        let block = get_block("/bytes/1000000");
        client.send(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * n, &block).expect("the gateway reads");
    }
    wait_until(PATIENCE, "the backend is asked", || origin.requests() > 0);
    gateway.settles(Duration::from_secs(25));
    wait_until(PATIENCE, "no request is left at the backend", || origin.in_flight() == 0);
    drop(client);
}

#[test]
fn frames_out_of_order_end_the_connection_with_a_reason() {
    let origin = Origin::well_behaved();
    let gateway = gateway_before(&origin);
    let mut client = Frames::connect(gateway.edge());
    client.send(DATA, NONE, 1, b"data on a stream that was never opened").expect("the gateway reads");
    assert!(client.next(GOAWAY).is_some());
    assert_ne!(client.end(PATIENCE), End::Open);
    assert_eq!(origin.requests(), 0);
    assert_eq!(gateway.get("/").status(), 200);
}

/// A client that opens fifty streams and never takes a byte of an answer.
fn takes_nothing(gateway: &Gateway, path: &str) -> Frames {
    let mut client = Frames::connect(gateway.edge());
    client.send(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 0]).expect("the gateway reads");
    for n in 0..50 {
        let request = get_block(path);
        client.send(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * n, &request).expect("the gateway reads");
    }
    wait_until(PATIENCE, "the requests are in flight", || gateway.status()["in_flight"].as_u64() == Some(50));
    client
}

#[test]
fn a_client_with_a_closed_window_that_leaves_takes_no_permit_along() {
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("u", &[origin.address()], "").route("r", "/u", "u", "");
    let gateway = Gateway::start(&config);
    for path in ["/nowhere", "/u"] {
        drop(takes_nothing(&gateway, path));
        gateway.settles(PATIENCE);
    }
}

#[test]
fn a_window_that_stays_closed_is_not_waited_for() {
    let origin = Origin::well_behaved();
    let config = Config::new().listener("idle_timeout = \"1s\"").upstream("u", &[origin.address()], "");
    let gateway = Gateway::start(&config.route("r", "/u", "u", "body_idle = \"1s\""));
    for path in ["/nowhere", "/u"] {
        let client = takes_nothing(&gateway, path);
        assert_ne!(client.end(PATIENCE), End::Open, "{path}");
        gateway.settles(PATIENCE);
    }
}
