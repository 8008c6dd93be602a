//! Every example in config/ is started as it is, with its addresses and files filled in from the environment, and
//! does what it says, through real origins.

use crate::support::client::{Http2, Whole};
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, Raw};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, run, wait_until};
use crate::tunnels::{echoes, handshake};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Those that are started here; the reference is no example, it shows every key.
const STARTED: [&str; 8] =
    ["api-fleet", "grpc", "guarded", "internal", "quickstart", "recovery", "tls-edge", "websocket"];

/// Starts the file itself; what is not said has the port that the system chooses.
fn start(name: &str, variables: &[(&'static str, String)]) -> Gateway {
    assert!(STARTED.contains(&name), "{name} is in the list");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name).with_extension("toml");
    let text = fs::read_to_string(&file).expect("the example is there");
    let addresses = [
        "ADMIN_ADDRESS",
        "DEMO_ADMIN",
        "DEMO_EDGE",
        "EDGE_ADDRESS",
        "HTTPS_ADDRESS",
        "HTTP_ADDRESS",
        "INTERNAL_ADDRESS",
        "PUBLIC_ADDRESS",
    ];
    let launch =
        addresses.into_iter().fold(Launch::default(), |launch, name| launch.variable(name, "127.0.0.1:0"));
    let launch = variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value));
    Gateway::start_on(&text, launch)
}

/// A variable that names an origin.
fn at(name: &'static str, origin: &Origin) -> (&'static str, String) {
    (name, origin.address().to_string())
}

/// The folder of an authority's certificates, by the names that an example uses.
fn files(authority: &Authority) -> (&'static str, String) {
    let ca = authority.ca();
    let folder = ca.parent().expect("a folder");
    for name in ["internal-ca.pem", "clients-ca.pem"] {
        fs::copy(&ca, folder.join(name)).expect("copied");
    }
    ("TLS_DIR", folder.display().to_string())
}

fn request(method: &str, host: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
}

fn ask(address: SocketAddr, method: &str, host: &str, path: &str) -> Answer {
    Raw::connect(address).ask(request(method, host, path))
}

#[test]
fn every_example_opens_with_words_for_a_stranger_and_is_started() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("config/ is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if path.extension().is_none_or(|end| end != "toml") || name == "tidegate" {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let opening: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let opening = opening.join("\n");
        for words in ["# To change: ", "# Check and run:", &format!("tidegate check config/{name}.toml")] {
            assert!(opening.contains(words), "{name}: the opening comment lacks `{words}`");
        }
        found.push(name);
    }
    found.sort();
    assert_eq!(found, STARTED);
}

#[test]
fn quickstart_serves_two_services_and_a_welcome() {
    let (shop, reports) = (Origin::well_behaved(), Origin::well_behaved());
    let port = |name, origin: &Origin| (name, origin.address().port().to_string());
    let gateway = start(
        "quickstart",
        &[port("DEMO_BACKEND_A", &shop), port("DEMO_BACKEND_B", &shop), port("DEMO_BACKEND_C", &reports)],
    );
    assert_eq!(gateway.get("/shop/1").json()["uri"], "/shop/1");
    assert_eq!(gateway.get("/reports").status(), 200);
    assert!(gateway.get("/").text().contains("curl -i http://127.0.0.1:8080/shop"));
    assert_eq!((shop.requests(), reports.requests()), (1, 1));
}

#[test]
fn api_fleet_leads_each_path_to_its_service() {
    let [payments, orders, reports] = [(); 3].map(|()| Origin::well_behaved());
    let gateway = start(
        "api-fleet",
        &[
            at("PAYMENTS_A", &payments),
            at("PAYMENTS_B", &payments),
            at("ORDERS_A", &orders),
            at("ORDERS_B", &orders),
            at("ORDERS_C", &orders),
            at("REPORTS_A", &reports),
        ],
    );
    let host = "api.example.com";
    let edge = gateway.edge();
    assert_eq!(ask(edge, "POST", host, "/payments/7").json()["uri"], "/payments/7");
    assert_eq!(ask(edge, "GET", host, "/payments/7").get("allow"), Some("POST"));
    assert_eq!(ask(edge, "GET", host, "/orders/7").status(), 200);
    assert_eq!(ask(edge, "GET", host, "/orders/7/export").status(), 200);
    assert_eq!(ask(edge, "GET", host, "/reports/daily").json()["uri"], "/daily", "the prefix is taken off");
    assert_eq!(ask(edge, "GET", "other.example.com", "/orders").status(), 404);
    assert_eq!((payments.requests(), orders.requests(), reports.requests()), (1, 1, 2));
    assert_eq!(gateway.admin_get("/v1/status").status(), 401, "operators show a token");
    assert_eq!(gateway.admin_get("/metrics").status(), 200);
}

#[test]
fn grpc_carries_trailers_and_refuses_in_its_own_words() {
    let origin = Origin::http2(100);
    let gateway = start("grpc", &[at("INVENTORY_A", &origin), at("INVENTORY_B", &origin)]);
    run(async {
        let mut client = Http2::connect(gateway.listener("grpc")).await;
        let answer: Whole = client.grpc("/inventory.v1.Inventory/List", b"all").await.expect("an answer");
        assert_eq!((&answer.body[5..], answer.grpc_status()), (&b"all"[..], Some("0")));
        assert_eq!(answer.trailers["x-end"], "reached", "trailers pass");
        let lost = client.grpc("/other.Service/Get", b"x").await.expect("an answer");
        assert_eq!((lost.status, lost.grpc_status()), (200, Some("12")));

        origin.switch(Behaviour::AcceptsAndNeverAnswers);
        let rebuild = "/inventory.v1.Inventory/Rebuild";
        let running: Vec<_> = (0..4)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { client.grpc(rebuild, b"x").await.map(|answer| answer.status) })
            })
            .collect();
        while origin.in_flight() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let shed = client.grpc(rebuild, b"x").await.expect("an answer");
        assert_eq!((shed.status, shed.grpc_status()), (200, Some("14")), "{shed:?}");
        assert!(shed.get("x-tidegate-reason").is_some() && shed.get("grpc-retry-pushback-ms").is_some());
        origin.switch(Behaviour::WellBehaved);
        let answer = client.grpc("/inventory.v1.Inventory/List", b"all").await.expect("an answer");
        assert_eq!(answer.grpc_status(), Some("0"), "others have room");
        running.into_iter().for_each(|call| call.abort());
    });
}

#[test]
fn guarded_keeps_those_it_knows_when_the_service_that_judges_is_gone() {
    let (sessions, orders) = (Origin::start(Behaviour::Judges), Origin::well_behaved());
    let gateway = start(
        "guarded",
        &[at("SESSIONS_A", &sessions), at("SESSIONS_B", &sessions), at("ORDERS_A", &orders)],
    );
    let ask = |method, path: &str, user: Option<&str>| {
        let user = user.map(|user| format!("Authorization: Bearer {user}\r\n")).unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: api.example.com\r\nX-User: root\r\n{user}\r\n");
        Raw::connect(gateway.edge()).ask(head)
    };
    wait_until(PATIENCE, "ada is known", || ask("GET", "/orders", Some("ada")).status() == 200);
    assert_eq!(header_seen(&ask("GET", "/orders", Some("ada")).json(), "x-user"), Some("ada"));
    assert_eq!(header_seen(&ask("GET", "/catalogue", None).json(), "x-user"), None);
    assert_eq!(ask("GET", "/orders", None).status(), 401);
    assert_eq!(ask("OPTIONS", "/orders", None).status(), 200);
    sessions.switch(Behaviour::AcceptsAndNeverAnswers);
    assert_eq!(ask("GET", "/orders", Some("ada")).status(), 200);
    assert!([503, 504].contains(&ask("GET", "/orders", Some("bob")).status()));
    assert_eq!(ask("GET", "/catalogue", None).status(), 200);
}

#[test]
fn tls_edge_redirects_terminates_and_shows_its_certificate_to_backends() {
    let authority = Authority::new();
    authority.server(&["www.example.com", "example.com"]);
    authority.server(&["api.example.com", "*.api.example.com"]);
    authority.client("gateway");
    let web = authority.server_config(&authority.server(&["web.internal"]), true);
    let origin = Origin::tls(Behaviour::WellBehaved, web);
    let gateway = start("tls-edge", &[files(&authority), at("WEB_A", &origin), at("WEB_B", &origin)]);
    let (https, http) = (gateway.listener("https"), gateway.listener("http"));

    let redirect = ask(http, "GET", "www.example.com", "/a?b=1");
    assert_eq!(redirect.get("location"), Some("https://www.example.com/a?b=1"));
    let client = authority.client_config(&["http/1.1"], None);
    let asked = |server: &str, host: &str, path: &str| {
        tls::connect(https, server, &client)
            .expect("the certificate is for it")
            .ask(request("GET", host, path))
    };
    let www = asked("www.example.com", "www.example.com", "/");
    assert_eq!(www.get("strict-transport-security"), Some("max-age=31536000"));
    let seen = www.json()["headers"].to_string();
    assert!(seen.contains("x-edge") && seen.contains("tidegate"), "{seen}");
    let apex = asked("example.com", "example.com", "/x");
    assert_eq!(apex.get("location"), Some("https://www.example.com/x"));
    assert_eq!(asked("api.example.com", "api.example.com", "/v1/x").status(), 200);
    assert_eq!(asked("eu.api.example.com", "eu.api.example.com", "/v1/x").status(), 200);
    assert_eq!(asked("api.example.com", "api.example.com", "/other").status(), 404);
    assert_eq!(asked("www.example.com", "api.example.com", "/v1").status(), 421);
    run(async {
        let client = authority.client_config(&["h2"], None);
        let mut http2 = Http2::connect_tls(https, "api.example.com", client).await;
        let request = http::Request::builder().uri("https://api.example.com/v1/h2");
        assert_eq!(http2.send(request, "").await.expect("an answer").status, 200);
    });
}

#[test]
fn internal_routes_take_a_certificate_and_are_not_there_in_public() {
    let authority = Authority::new();
    authority.server(&["internal.example.com"]);
    let job = authority.client("job");
    let (api, jobs) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = start("internal", &[files(&authority), at("API_A", &api), at("JOBS_A", &jobs)]);
    let (public, internal) = (gateway.listener("public"), gateway.listener("internal"));

    assert_eq!(ask(public, "GET", "api.example.com", "/api/orders").status(), 200);
    for host in ["api.example.com", "internal.example.com"] {
        assert_eq!(ask(public, "GET", host, "/admin/jobs").status(), 404, "whatever host they name");
    }
    assert_eq!(ask(public, "GET", "api.example.com", "/api/debug").text(), "not here\n");
    let name = "internal.example.com";
    let stranger = authority.client_config(&["http/1.1"], None);
    assert!(tls::is_turned_away(tls::handshake(internal, name, &stranger)));
    let own = authority.client_config(&["http/1.1"], Some(&job));
    let mut inside = tls::connect(internal, name, &own).expect("it has a certificate");
    for path in ["/admin/jobs", "/api/orders", "/api/debug"] {
        assert_eq!(inside.ask(request("GET", name, path)).json()["uri"], path);
    }
    assert_eq!((jobs.requests(), api.requests()), (1, 3));
}

#[test]
fn websocket_tunnels_have_a_bound_of_their_own_beside_requests() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let streams = ("LIVE_STREAMS", "2".to_owned());
    let gateway = start("websocket", &[at("LIVE_A", &origin), at("LIVE_B", &origin), streams]);
    let mut tunnels = Vec::new();
    // Two backends with room for two each: the fifth finds none, if not one before.
    let refused = (0..5).find_map(|_| {
        let mut raw = gateway.connect();
        let answer = raw.ask(handshake("/live", "websocket"));
        if answer.status() == 101 {
            tunnels.push(raw);
            return None;
        }
        Some(answer)
    });
    let refused = refused.expect("they are bounded");
    assert!(tunnels.len() >= 2, "{}", tunnels.len());
    tunnels.iter_mut().for_each(|tunnel| echoes(tunnel, b"hello"));
    assert_eq!((refused.status(), refused.get("retry-after").is_some()), (503, true));
    assert_eq!(gateway.get("/live/api/rooms").status(), 200, "requests have room");
    tunnels.iter_mut().for_each(|tunnel| echoes(tunnel, b"still there"));
    drop(tunnels);
    wait_until(Duration::from_secs(15), "there is room again", || {
        gateway.connect().ask(handshake("/live", "websocket")).status() == 101
    });
}

/// A recovery gateway whose backends of checkout are one origin.
fn recovery(checkout: &Origin, catalogue: &Origin) -> Gateway {
    start("recovery", &[at("CHECKOUT_A", checkout), at("CHECKOUT_B", checkout), at("CATALOGUE_A", catalogue)])
}

#[test]
fn recovery_serves_both_services_and_shows_what_it_ramps() {
    let (checkout, catalogue) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = recovery(&checkout, &catalogue);
    let edge = gateway.edge();
    assert_eq!(ask(edge, "POST", "shop.test", "/checkout/pay").status(), 200);
    assert_eq!(ask(edge, "GET", "shop.test", "/checkout/cart").status(), 200);
    assert_eq!(ask(edge, "GET", "shop.test", "/catalogue").status(), 200);
    let upstreams = gateway.upstreams();
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream["name"].as_str().unwrap_or("")).collect();
    assert_eq!(names, ["checkout", "catalogue"]);
    let ramp = [("upstream", "checkout")];
    assert_eq!(gateway.metrics().value("tidegate_upstream_ramp_percent", &ramp), 100.0);
}

/// The commands in an example's comments, each as its words.
fn commands(name: &str) -> Vec<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name).with_extension("toml");
    let text = fs::read_to_string(file).expect("the example is there");
    let lines = text.lines().filter_map(|line| line.strip_prefix("#        tidegate "));
    // What stands between quotation marks is one word.
    let words = |(at, part): (usize, &str)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    };
    lines.map(|line| line.split('"').enumerate().flat_map(words).collect()).collect()
}

/// What a ramp of the whole of checkout does while its backends hang: a quarter of what is assumed without history
/// (a quarter of 64 for each of two) holds, the last of it is for those who pay, and nobody else notices.
fn holds_a_quarter(gateway: &Gateway, checkout: &Origin) {
    let edge = gateway.edge();
    checkout.switch(Behaviour::AcceptsAndNeverAnswers);
    let _browsing = gateway.ask("/checkout/cart", 20);
    wait_until(Duration::from_secs(5), "browsing has its share", || gateway.sheds("checkout") == 13.0);
    let refused = ask(edge, "GET", "shop.test", "/checkout/cart");
    assert_eq!((refused.status(), refused.reason()), (503, Some("class_limit")));
    let mut paying = gateway.connect();
    paying.send(request("POST", "shop.test", "/checkout/pay"));
    wait_until(Duration::from_secs(5), "who pays has the rest", || checkout.in_flight() == 8);
    let refused = ask(edge, "POST", "shop.test", "/checkout/pay");
    assert_eq!((refused.status(), refused.reason()), (503, Some("ramp")));
    assert!(refused.get("retry-after").is_some());
    assert_eq!(ask(edge, "GET", "shop.test", "/catalogue").status(), 200);
    checkout.switch(Behaviour::WellBehaved);
}

#[test]
fn recovery_every_command_in_its_comments_does_what_it_says() {
    let (checkout, catalogue) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = recovery(&checkout, &catalogue);
    let upstream = || gateway.upstream("checkout");
    let mut done = Vec::new();
    for words in commands("recovery") {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = gateway.cli(&words);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.lines().count() > 0, "{words:?} says something");
        let now = upstream();
        match words[..] {
            ["ramp", "set", "checkout", .., reason] => {
                assert_eq!((&now["ramp"]["percent"], &now["ramp"]["reason"]), (&25.0.into(), &reason.into()));
                holds_a_quarter(&gateway, &checkout);
            }
            ["ramp", "pause", _] => assert_eq!(now["ramp"]["then"]["paused"], true),
            ["ramp", "resume", _] => assert_eq!(now["ramp"]["then"]["paused"], false),
            ["ramp", "clear", _] => {
                assert_eq!((&now["ramp"], &now["ramp_percent"]), (&().into(), &100.0.into()))
            }
            ["ramp", "set", "checkout/a", ..] => assert_eq!(now["backends"][0]["ramp_percent"], 25.0),
            ["drain", ..] => {
                wait_until(Duration::from_secs(15), "b is empty", || {
                    upstream()["backends"][1]["state"] == "drained"
                });
            }
            ["ready", _] => assert_eq!(now["backends"][1]["drain"], serde_json::Value::Null),
            ["ramp", "show"] => {
                assert!(told.contains("checkout/a") && told.contains("a was rebuilt"), "{told}")
            }
            ["status"] => assert!(told.contains("checkout"), "{told}"),
            ["events"] => assert!(told.contains("ready"), "{told}"),
            ["permits"] => assert!(told.contains("nobody holds a slot"), "{told}"),
            _ => panic!("{words:?}: nothing here knows what it should do"),
        }
        done.push(words[..words.len().min(2)].join(" "));
    }
    let all =
        ["status", "events", "permits", "ramp set", "ramp pause", "ramp resume", "ramp clear", "ramp set"];
    assert_eq!(done[..all.len()], all);
    assert_eq!(done[all.len()..], ["drain checkout/b", "ready checkout/b", "ramp show"]);
}
