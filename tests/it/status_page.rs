//! The page for everyone: what it says and what it never says, that nothing can be done there, and that it answers while
//! the edge is saturated, while strangers sit on it, and while the configuration changes.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::operator::change;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, Raw};
use crate::support::{wait_for, wait_until};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;

/// A busy machine takes its time.
const LONG: Duration = Duration::from_secs(30);

/// Where the page is, once it is there.
fn page(gateway: &Gateway) -> SocketAddr {
    wait_for(LONG, "the page listens", || gateway.status()["status_page"]["address"].as_str()?.parse().ok())
}

fn ask(page: SocketAddr, request: &str) -> Answer {
    Raw::connect(page).ask(format!("{request} HTTP/1.1\r\nHost: status.example\r\nConnection: close\r\n\r\n"))
}

/// The page as JSON; whoever looks this often is sent away now and then.
fn shown(page: SocketAddr) -> Value {
    wait_for(LONG, "the page has time for us", || {
        let answer = ask(page, "GET /status.json");
        (answer.status() != 429).then(|| answer.json())
    })
}

/// GET from an address of its own.
fn ask_from(source: [u8; 4], page: SocketAddr) -> Answer {
    Raw::connect_from(source, page).ask("GET / HTTP/1.1\r\nHost: status.example\r\nConnection: close\r\n\r\n")
}

fn fleet(backend: SocketAddr, status_page: &str) -> Config {
    Config::new()
        .upstream("orders-eu1", &[backend], "")
        .upstream("billing-eu1", &[backend], "")
        .route("r", "/", "orders-eu1", "")
        .text(&format!("[status_page]\naddress = \"127.0.0.1:0\"\n{status_page}"))
}

const NAMED: &str = "title = \"Example\"\nupstreams = [{ upstream = \"orders-eu1\", name = \"Orders\" }]\n";

fn open(gateway: &Gateway, body: Value) -> u64 {
    let answer = change(gateway.admin(), "POST", "/v1/incidents", &body);
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()["id"].as_u64().expect("a number")
}

#[test]
fn everyone_reads_how_it_does_and_the_words_of_operators_and_nothing_else() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&fleet(origin.address(), NAMED));
    let page = page(&gateway);
    let well = shown(page);
    assert_eq!((&well["title"], &well["state"]), (&"Example".into(), &"operational".into()), "{well}");
    assert_eq!(
        well["components"],
        json!([{ "name": "Orders", "description": null, "state": "operational" }])
    );
    let evil = "<script>alert('x')</script> \"&\" slow";
    let seen = json!({
        "title": evil, "severity": "major", "upstreams": ["orders-eu1", "billing-eu1"],
        "text": format!("We look.\n{evil}"), "reason": "hush",
    });
    let id = open(&gateway, seen);
    open(&gateway, json!({ "title": "hidden title", "public": false, "text": "hidden words" }));
    let now = wait_for(LONG, "the incident is shown", || {
        let now = shown(page);
        (now["incidents"].as_array()?.len() == 1).then_some(now)
    });
    assert_eq!(
        (&now["state"], &now["components"][0]["state"]),
        (&"partial_outage".into(), &"partial_outage".into())
    );
    assert_eq!(now["incidents"][0]["components"], json!(["Orders"]));
    let html = ask_from([127, 0, 3, 1], page);
    assert!(html.get("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let policy = html.get("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(html.get("cache-control").is_some_and(|cached| cached.contains("max-age=5")));
    assert!(html.text().contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{}", html.text());
    for text in [html.text(), now.to_string()] {
        for hidden in ["eu1", "billing", "hidden", "hush", "loopback", "127.0.0.1"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
    assert!(!html.text().contains("<script"), "{}", html.text());
    let close = json!({ "state": "closed", "text": "It is over." });
    assert_eq!(change(gateway.admin(), "PUT", &format!("/v1/incidents/{id}"), &close).status(), 200);
    wait_until(LONG, "all is well again", || shown(page)["state"] == "operational");
    assert_eq!(shown(page)["incidents"][0]["updates"][0]["text"], "It is over.");
}

#[test]
fn nothing_of_the_operators_side_is_there_and_nothing_can_be_done() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&fleet(origin.address(), ""));
    let page = page(&gateway);
    for path in ["/v1/status", "/v1/incidents", "/metrics", "/readyz", "/livez", "/%2e%2e/", "//status.json"]
    {
        let answer = ask(page, &format!("GET {path}"));
        assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ask(page, &format!("{method} /"));
        assert_eq!((answer.status(), answer.get("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let unnamed = ask(page, "GET /").text();
    assert!(unnamed.contains("<h1>Status</h1>") && !unnamed.contains("eu1"), "{unnamed}");
    let head =
        Raw::connect(page).ask(format!("GET / HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "y".repeat(64 << 10)));
    assert_eq!(head.status(), 431);
}

#[test]
fn the_page_answers_while_every_core_is_full_and_slow_readers_sit_on_it() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .gateway("max_in_flight = 8")
        .upstream(
            "u",
            &[hung.address()],
            "max_in_flight = 4\nqueue = { max_waiting = 2, max_wait = \"10ms\" }",
        )
        .route("r", "/", "u", "timeout = \"5s\"")
        .text(
            "[status_page]\naddress = \"127.0.0.1:0\"\nupstreams = [{ upstream = \"u\", name = \"Orders\" }]",
        );
    let gateway = Gateway::start(&config);
    let page = page(&gateway);
    // Never a pause: whatever the cores can do, they do.
    let load = Load::closed(gateway.edge(), "/", 32);
    let mut strangers = Vec::new();
    for n in 0..300_u16 {
        // Sixteen of one source are let in; these come from thirty.
        let mut raw = Raw::connect_from([127, 0, 1, (n % 30 + 1) as u8], page);
        // Half a head, or an answer that nobody takes. Whoever was ended meanwhile is as good.
        let _ = raw.try_send(if n % 2 == 0 {
            "GET / HTTP/1.1\r\nx"
        } else {
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        });
        strangers.push(raw);
    }
    let state = wait_for(LONG, "it says that requests are refused", || {
        let now = shown(page);
        (now["state"] != "operational").then_some(now)
    });
    assert!(state["components"][0]["state"].as_str().is_some_and(|it| it.ends_with("outage")), "{state}");
    for n in 1..=20 {
        assert_eq!(ask_from([127, 0, 3, n], page).status(), 200);
    }
    let status = gateway.status();
    let view = &status["status_page"];
    assert!(view["connections"].as_u64() <= view["max_connections"].as_u64(), "{view}");
    assert!(view["refused"]["oldest"].as_u64().is_some_and(|ended| ended > 0), "{view}");
    let report = load.stop();
    assert!(report.count(503) > 100, "it was full: {report:?}");
}

#[test]
fn one_source_is_served_so_much_and_no_more() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&fleet(origin.address(), ""));
    let page = page(&gateway);
    let held: Vec<Raw> = (0..16).map(|_| Raw::connect_from([127, 0, 2, 1], page)).collect();
    wait_until(LONG, "sixteen are in", || gateway.status()["status_page"]["connections"] == 16);
    let mut next = Raw::connect_from([127, 0, 2, 1], page);
    let _ = next.try_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(next.try_answer(false).is_err(), "the seventeenth is closed");
    let mut other = Raw::connect_from([127, 0, 2, 2], page);
    let mut refused = 0;
    // Twenty a second come back: on a machine that is slow enough it takes longer, never for ever.
    wait_until(LONG, "it asked too often", || {
        other.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        refused += usize::from(other.answer(false).status() == 429);
        refused > 0
    });
    assert_eq!(ask(page, "GET /").status(), 200, "others are served");
    drop(held);
}

#[test]
fn behind_a_proxy_of_ours_readers_are_many_and_each_is_counted_for_themselves() {
    let origin = Origin::well_behaved();
    let trusting = fleet(origin.address(), "").gateway("trusted_proxies = [\"127.0.0.1/32\"]");
    let gateway = Gateway::start(&trusting);
    let page = page(&gateway);
    let front = Gateway::start(&Config::simple(page));
    let through = front.get("/");
    assert_eq!(through.status(), 200);
    assert!(through.text().contains("<h1>Status</h1>"), "{}", through.text());
    // More than one source may have open, and asked on by more than one reader.
    let mut held: Vec<Raw> = (0..20).map(|_| Raw::connect_from([127, 0, 0, 1], page)).collect();
    let mut ask_for = |n: usize, client: &str| {
        held[n].send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n"));
        held[n].answer(false).status()
    };
    assert!((0..20).all(|n| ask_for(n, &format!("203.0.113.{n}")) == 200), "each is somebody else");
    wait_until(LONG, "one asks too often", || ask_for(0, "198.51.100.1") == 429);
    assert_eq!(ask_for(0, "198.51.100.2"), 200, "others are served, also on the same connection");
    // Nobody is believed who is no proxy of ours.
    let mut stranger = Raw::connect_from([127, 0, 2, 1], page);
    let mut n = 0;
    wait_until(LONG, "a stranger asks too often", || {
        n += 1;
        stranger.send(format!(
            "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.{}.{}\r\n\r\n",
            n / 250,
            n % 250
        ));
        stranger.answer(false).status() == 429
    });
}

#[test]
fn the_page_moves_with_the_configuration_and_an_address_that_is_taken_costs_nothing() {
    let origin = Origin::well_behaved();
    // Nobody else on this machine connects from there, so nobody has the port meanwhile.
    let taken = TcpListener::bind("127.0.5.1:0").expect("binds");
    let address = taken.local_addr().expect("an address");
    let folder = TempDir::new().expect("a folder of its own");
    let at = |address: SocketAddr| {
        let text = fleet(origin.address(), "").render(folder.path());
        let (before, _) = text.split_once("[status_page]").expect("the page is the last table");
        format!("{before}[status_page]\naddress = \"{address}\"\n")
    };
    let gateway = Gateway::start_on(&at(address), Launch::default());
    let trouble = || gateway.admin_get("/readyz").text().contains("status page cannot listen");
    wait_until(LONG, "operators are told that it is taken", trouble);
    assert_eq!(gateway.get("/").status(), 200);
    drop(taken);
    wait_until(LONG, "it listens as soon as it can", || page_of(&gateway) == Some(address));
    assert_eq!(ask(address, "GET /").status(), 200);
    let move_to = |address: SocketAddr| {
        gateway.write_text(&at(address));
        wait_until(LONG, "it has moved, or says why not", || {
            let page = gateway.status()["status_page"].clone();
            let is = |now: SocketAddr| now.ip() == address.ip() && [0, now.port()].contains(&address.port());
            page_of(&gateway).is_some_and(is)
                || page["trouble"].as_str().is_some_and(|why| why.contains(&address.to_string()))
        });
        page_of(&gateway).expect("it is somewhere")
    };
    // The old address is in the way of the new one. Somebody else's may be too: then it stays where it was.
    let moved = (2..20).find_map(|n| {
        let one = move_to(SocketAddr::from(([127, 0, 5, n], 0)));
        assert_eq!(ask_from([127, 0, 3, 1], one).status(), 200);
        let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
        let now = move_to(all);
        assert_eq!(ask_from([127, 0, 3, 1], one).status(), 200, "{now}");
        (now == all).then_some(one)
    });
    let moved = moved.expect("one port of many is free everywhere");
    let text = at(address);
    gateway.write_text(text.split_once("[status_page]").expect("a page").0);
    wait_until(LONG, "it goes", || gateway.status()["status_page"] == Value::Null);
    assert!(Raw::try_connect(moved).is_err());
}

fn page_of(gateway: &Gateway) -> Option<SocketAddr> {
    gateway.status()["status_page"]["address"].as_str()?.parse().ok()
}
