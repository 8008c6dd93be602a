//! API keys: whoever shows one passes as its owner.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, cli};
use crate::support::origins::Origin;
use crate::support::origins::exchange::header_seen;
use crate::support::raw::Answer;
use std::fmt::Write as _;

fn guarded(backend: &Origin, more: &str) -> Config {
    let mut keys = String::new();
    for n in 0..2_000 {
        let hash = blake3::hash(format!("the key of client {n}").as_bytes());
        write!(keys, "{{ name = \"client-{n}\", hash = \"{hash}\" }}, ").expect("text grows");
    }
    Config::new()
        .upstream("u", &[backend.address()], "")
        .text(&format!("[[auth]]\nname = \"key\"\nkind = \"api_key\"\nkeys = [{keys}]\n{more}\n"))
        .route("public", "/public", "u", "")
        .route("guarded", "/guarded", "u", "auth = \"key\"")
}

fn with(gateway: &Gateway, lines: &str) -> Answer {
    gateway.connect().ask(format!("GET /guarded HTTP/1.1\r\nHost: edge.test\r\n{lines}\r\n"))
}

#[test]
fn whoever_shows_a_key_passes_as_its_owner_and_nobody_else_does() {
    let backend = Origin::well_behaved();
    let more = "forward = { \"x-client\" = \"name\" }\n\
                classes = [{ claim = \"name\", value = \"client-7\", class = \"batch\" }]";
    let gateway = Gateway::start(&guarded(&backend, more));
    let answer = with(&gateway, "X-Api-Key: the key of client 1999\r\nX-Client: root\r\nx_client: root\r\n");
    assert_eq!(answer.status(), 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!(header_seen(&echo, "x-client"), Some("client-1999"));
    assert!(!echo.to_string().contains("root"), "{echo}");
    let line = gateway.logged("its line", |line| line["identity"] == "client-1999");
    assert_eq!(line["class"], "default");
    assert_eq!(with(&gateway, "X-Api-Key: the key of client 7\r\n").status(), 200);
    assert_eq!(gateway.logged("its line", |line| line["identity"] == "client-7")["class"], "batch");
    let hash = blake3::hash(b"the key of client 1");
    for lines in [
        String::new(),
        "X-Api-Key: the key of client 2000\r\n".to_owned(),
        format!("X-Api-Key: {hash}\r\n"),
        "X-Api-Key: the key of client 1\r\nX-Api-Key: the key of client 1\r\n".to_owned(),
        "Authorization: Bearer the key of client 1\r\n".to_owned(),
    ] {
        let answer = with(&gateway, &lines);
        assert_eq!((answer.status(), answer.reason()), (401, Some("unauthenticated")), "{lines}");
        assert_eq!(answer.get("www-authenticate"), Some("ApiKey"));
    }
    assert_eq!(backend.requests(), 2);
    assert!(!gateway.log().contains("the key of"), "a key is in no log");
}

#[test]
fn a_key_of_the_command_line_may_be_shown_as_a_bearers() {
    let made = cli(&["hash-token", "--generate", "--json"]).output().expect("it runs");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let (token, hash) = (made["token"].as_str().expect("a token"), made["hash"].as_str().expect("a hash"));
    let backend = Origin::well_behaved();
    let more = "header = \"authorization\"".to_owned();
    let gateway = Gateway::start(&guarded(&backend, &more).text(""));
    assert_eq!(with(&gateway, &format!("Authorization: Bearer {token}\r\n")).status(), 401);
    let text = std::fs::read_to_string(gateway.file()).expect("the file");
    gateway.write_text(&text.replacen(
        "keys = [",
        &format!("keys = [{{ name = \"new\", hash = \"{hash}\" }}, "),
        1,
    ));
    gateway.hup();
    crate::support::wait_until(crate::support::PATIENCE, "the new key is known", || {
        with(&gateway, &format!("Authorization: Bearer {token}\r\n")).status() == 200
    });
    assert_eq!(
        gateway
            .connect()
            .ask(format!("GET /guarded HTTP/1.1\r\nHost: a\r\nX-Api-Key: {token}\r\n\r\n"))
            .status(),
        401
    );
}
