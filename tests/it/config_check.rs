//! A text is checked from where the gateway stands and changes nothing: whatever it is, however much of it, whoever
//! sends it; and what fills its values is never told.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::raw::Raw;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn gateway(origin: &Origin) -> Gateway {
    Gateway::start(&Config::simple(origin.address()))
}

fn text(gateway: &Gateway, config: &Config) -> String {
    config.render(&gateway.folder().join("state"))
}

fn checked(gateway: &Gateway, text: impl AsRef<[u8]>) -> Value {
    let answer = gateway.admin_post("/v1/config:check", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_text_is_checked_without_a_change() {
    let origin = Origin::well_behaved();
    let gateway = gateway(&origin);
    let before = gateway.hash();
    let more = Config::simple(origin.address()).route("more", "/more", "u", "class = \"batch\"");
    let good = checked(&gateway, text(&gateway, &more));
    let errors = good["findings"].as_array().expect("a list").iter().filter(|it| it["severity"] == "error");
    assert_eq!((&good["valid"], errors.count()), (&true.into(), 0), "{good}");
    assert!(good["hash"].as_str().is_some_and(|hash| hash.len() == 64) && good["notices"].is_array());
    let wrong = text(&gateway, &more).replace("[gateway]", "[gatewya]");
    let bad = checked(&gateway, &wrong);
    assert_eq!((&bad["valid"], &bad["hash"]), (&false.into(), &Value::Null));
    let finding = &bad["findings"][0];
    assert_eq!(
        (&finding["severity"], &finding["line"], &finding["column"]),
        (&"error".into(), &1.into(), &2.into())
    );
    assert!(finding["message"].as_str().is_some_and(|message| message.contains("gatewya")), "{finding}");
    assert!(finding["hint"].as_str().is_some_and(|hint| hint.contains("gateway")), "{finding}");
    assert_eq!(gateway.hash(), before);
    assert_eq!(gateway.metrics().value("tidegate_config_last_apply_successful", &[]), 1.0);
}

#[test]
fn it_stands_where_the_file_stands_and_shows_no_secret() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("secret"), "hunter2").expect("written");
    let gateway = Gateway::start_in(folder, &Config::simple(origin.address()), Launch::default());
    let with = |value: &str| {
        let edit = format!("request_headers = {{ set = {{ x-key = \"{value}\" }} }}");
        text(&gateway, &Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", &edit))
    };
    assert_eq!(checked(&gateway, with("${file:secret}"))["valid"], true, "relative to the file");
    assert_eq!(checked(&gateway, with("${file:nowhere}"))["valid"], false);
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let root = shadow.lines().next().filter(|line| line.len() > 8).unwrap_or("root:");
    for place in ["name = \"r\"", "path_prefix = \"/\"", "upstream = \"u\""] {
        for source in ["secret", "/etc/shadow", "/proc/self/environ", "/dev/zero"] {
            let key = place.split(' ').next().unwrap_or_default();
            let text = with("x").replace(place, &format!("{key} = \"${{file:{source}}}\""));
            let said = checked(&gateway, text).to_string();
            assert!(!said.contains("hunter2") && !said.contains(root), "{place} {source}: {said}");
        }
    }
    assert!(!gateway.log().contains("hunter2"));
}

#[test]
fn whatever_comes_is_answered_and_the_gateway_goes_on() {
    let origin = Origin::well_behaved();
    let gateway = gateway(&origin);
    let deep = 100_000;
    let nests = [
        format!("x = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("x = {}1{}", "{a=".repeat(deep), "}".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("[{}a]\n", "a.".repeat(deep)),
        "[[routes]]\n".repeat(5_000),
        "\0\u{feff}\u{202e}".to_owned(),
        String::new(),
    ];
    for nest in nests {
        assert_eq!(checked(&gateway, &nest)["valid"], false, "{:.20}", nest);
    }
    let post = |more: &str, body: &[u8]| gateway.admin_post("/v1/config:check", more, body).status();
    assert_eq!(post("", b"a = \"\xff\xfe\""), 400, "not UTF-8");
    assert_eq!(post("Content-Type: text/plain\r\n", b"a = 1"), 415, "a form of another page");
    assert_eq!(post("Content-Type: multipart/form-data; boundary=x\r\n", b"a = 1"), 415);
    assert_eq!(post("Origin: http://evil.test\r\n", b"a = 1"), 403);
    let mut giant = Raw::connect(gateway.admin());
    let head = format!("POST /v1/config:check HTTP/1.1\r\nHost: {}\r\n", gateway.admin());
    assert_eq!(giant.ask(format!("{head}Content-Length: 5000000\r\n\r\n")).status(), 413);
    let mut endless = Raw::connect(gateway.admin());
    endless.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("10000\r\n{}\r\n", "#".repeat(65_536));
    let taken = (0..400).take_while(|_| endless.try_send(&chunk).is_ok()).count();
    assert!(taken < 400 || endless.try_answer(false).is_ok_and(|answer| answer.status() == 413));
    assert_eq!((gateway.get("/").status(), gateway.admin_get("/readyz").status()), (200, 200));
}

#[test]
fn a_hundred_checks_at_once_hold_up_nobody() {
    let origin = Origin::well_behaved();
    let gateway = gateway(&origin);
    let body = "[[routes]]\n".repeat(1_000);
    let head =
        format!("POST /v1/config:check HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", gateway.admin());
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let workers: Vec<_> = (0..20)
        .map(|_| {
            let (request, admin) = (request.clone(), gateway.admin());
            std::thread::spawn(move || {
                let ask = |_| {
                    let mut raw = Raw::try_connect(admin).ok()?;
                    raw.try_send(&request).ok()?;
                    Some(raw.try_answer(false).ok()?.status())
                };
                (0..5).filter_map(ask).collect::<Vec<u16>>()
            })
        })
        .collect();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(gateway.admin_get("/livez").status(), 200);
        assert_eq!(gateway.get("/").status(), 200);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let answers: Vec<u16> = workers.into_iter().flat_map(|worker| worker.join().expect("asked")).collect();
    assert!(answers.contains(&200), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert_eq!(checked(&gateway, "x = 1")["valid"], false, "and the turns came back");
}
