//! What was good in one environment can be shown to another; and the key that says so is nobody's but the disk's.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::operator::ask;
use crate::support::origins::Origin;
use crate::support::{PATIENCE, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tidegate::config::policy::PromoteFrom;
use tidegate::control::receipt::{Receipt, Verifier};

/// A gateway of the environment `staging`.
fn staging(origin: &Origin, admin: &str) -> Gateway {
    let config = Config::simple(origin.address()).admin(admin).render(Path::new("state"));
    let text = config.replace("required = false", "required = false\nenvironment = \"staging\"");
    Gateway::start_on(&text, Launch::default())
}

fn printed(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let said = gateway.cli(arguments);
    (said.status.code(), String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

#[test]
fn a_receipt_is_printed_in_one_environment_and_believed_with_its_key_in_another() {
    let origin = Origin::well_behaved();
    let gateway = staging(&origin, "");
    let (code, key) = printed(&gateway, &["receipt", "key"]);
    assert_eq!(code, Some(0), "{key}");
    assert_eq!(printed(&gateway, &["receipt"]).0, Some(1), "nothing was baked here yet");

    let route = "[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"u\"\n";
    let text = fs::read_to_string(gateway.file()).expect("read") + route;
    assert_eq!(gateway.admin_post("/v1/versions?now=true", "", text).status(), 200);
    let hash = gateway.hash();
    let issued = wait_for(PATIENCE, "it is good, and there is a receipt", || {
        let (code, text) = printed(&gateway, &["receipt"]);
        (code == Some(0)).then(|| Receipt::parse(&text).expect("a receipt"))
    });

    let verifier =
        Verifier::of(&PromoteFrom { environment: "staging".into(), public_key: key }).expect("a key");
    for arguments in [&["receipt", "2"][..], &["receipt"], &["receipt", "2", "--json"]] {
        let (code, text) = printed(&gateway, arguments);
        assert_eq!(code, Some(0), "{text}");
        let receipt = Receipt::parse(&text).expect("a receipt");
        assert_eq!((verifier.verify(&receipt, &hash), receipt), (Ok(()), issued.clone()));
    }
    let missing = gateway.admin_get("/v1/versions/3/receipt");
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("no receipt of version 3"), "{}", missing.text());
    assert_eq!(gateway.admin_get("/v1/versions/x/receipt").status(), 400);

    // And its key stands in a file that demands it.
    let (_, key) = printed(&gateway, &["receipt", "key"]);
    let demand = |key: &str| {
        let text = Config::simple(origin.address()).render(Path::new("state"));
        let from = format!("promote_from = {{ environment = \"staging\", public_key = \"{key}\" }}");
        let file = gateway.folder().join("production.toml");
        fs::write(&file, text.replace("required = false", &from)).expect("written");
        finish(cli(&["check"]).arg(&file), PATIENCE).status.code()
    };
    assert_eq!((demand(&key), demand(&key[..key.len() - 8])), (Some(0), Some(1)));
}

#[test]
fn a_viewer_is_told_the_public_key_and_nobody_the_other() {
    let origin = Origin::well_behaved();
    let hash = blake3::hash(b"the token see").to_hex();
    let tokens = format!("tokens = [{{ name = \"see\", role = \"viewer\", hash = \"{hash}\" }}]");
    let gateway = staging(&origin, &tokens);
    assert_eq!(gateway.admin_get("/v1/receipt-key").status(), 401);
    let answer = ask(gateway.admin(), "GET", "/v1/receipt-key", &["Authorization: Bearer the token see"], "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let told: Value = answer.json();
    assert_eq!(told["environment"], "staging");
    assert!(told["public_key"].as_str().is_some_and(|key| key.starts_with("MCowBQYDK2VwAyEA")), "{told}");
    let file = gateway.folder().join("state/secrets/receipt-key.pem");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    let pem = fs::read_to_string(&file).expect("read");
    let secret = pem.lines().nth(1).expect("a line of it");
    assert!(!told.to_string().contains(&secret[24..]) && !gateway.log().contains(&secret[24..]));
}

#[test]
fn a_gateway_of_no_environment_issues_nothing_and_says_why() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    for path in ["/v1/receipt-key", "/v1/receipt", "/v1/versions/1/receipt"] {
        let answer = gateway.admin_get(path);
        assert_eq!(answer.status(), 404, "{path}");
        assert!(answer.text().contains("[rollout] environment"), "{}", answer.text());
    }
    assert!(!gateway.folder().join("state/secrets/receipt-key.pem").exists(), "no key is made for nobody");
}

#[test]
fn a_key_that_is_broken_is_not_replaced_but_told() {
    let origin = Origin::well_behaved();
    let gateway = staging(&origin, "");
    let folder = gateway.folder().join("state/secrets");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("receipt-key.pem"), "half of a key").expect("written");
    let answer = gateway.admin_get("/v1/receipt-key");
    assert_eq!(answer.status(), 500);
    assert!(answer.text().contains("no key for receipts"), "{}", answer.text());
    assert_eq!(fs::read_to_string(folder.join("receipt-key.pem")).expect("read"), "half of a key");
}
