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

#[test]
fn production_takes_what_was_good_in_staging_and_nothing_else() {
    let origin = Origin::well_behaved();
    let simple = Config::simple(origin.address()).render(Path::new("state"));
    let first = staging(&origin, "");
    let (_, key) = printed(&first, &["receipt", "key"]);
    let from = format!("promote_from = {{ environment = \"staging\", public_key = \"{key}\" }}");
    let stages = "stages = [\"50%\", \"100%\"]\nbake = \"100ms\"\n";
    let active = simple.replace("required = false", &format!("required = true\n{stages}{from}"));
    let production = Gateway::start_on(&active, Launch::default());

    // The same text in both: what differs between them is filled.
    let tier = "required = false\nenvironment = \"${TIER:staging}\"";
    let route = "[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"u\"\n";
    let next = simple.replace("required = false", tier) + route;
    assert_eq!(first.admin_post("/v1/versions?now=true", "", &next).status(), 200);
    let receipt = wait_for(PATIENCE, "it is good there", || {
        let (code, text) = printed(&first, &["receipt"]);
        (code == Some(0)).then_some(text)
    });

    let ask = |text: &str, receipt: Option<&str>| {
        let header = receipt.map(|line| format!("x-tidegate-receipt: {line}\r\n")).unwrap_or_default();
        let answer = production.admin_post("/v1/versions?ack_risk=high", &header, text);
        (answer.status(), answer.json()["reason"].as_str().map(str::to_owned))
    };
    let needed = (422, Some("needs_receipt".to_owned()));
    assert_eq!(ask(&next, None), needed);
    assert_eq!(ask(&next.replace("/x", "/y"), Some(&receipt)), needed, "it is about another text");
    let mut forged = receipt.clone();
    forged.replace_range(40..41, if &receipt[40..41] == "A" { "B" } else { "A" });
    assert_eq!(ask(&next, Some(&forged)), needed);
    let file = production.folder().join("next.toml");
    let shown = production.folder().join("receipt");
    fs::write(&file, &next).and_then(|()| fs::write(&shown, &receipt)).expect("written");
    let (file, shown) = (file.display().to_string(), shown.display().to_string());
    let apply = ["apply", &file, "--ack-risk", "high", "--receipt", &shown, "--detach"];
    let (code, said) = printed(&production, &apply);
    assert_eq!(code, Some(0), "{said}");
    assert!(production.admin_get("/v1/rollout").json()["version"]["number"].is_number());
}

#[test]
fn who_asks_for_receipts_gets_them_also_without_stages() {
    let origin = Origin::well_behaved();
    let (_, key) = printed(&staging(&origin, ""), &["receipt", "key"]);
    let from =
        format!("required = false\npromote_from = {{ environment = \"staging\", public_key = \"{key}\" }}");
    let simple = Config::simple(origin.address()).render(Path::new("state"));
    let gateway = Gateway::start_on(&simple.replace("required = false", &from), Launch::default());
    let next = simple + "[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"u\"\n";
    for way in ["", "?now=true"] {
        let answer = gateway.admin_post(&format!("/v1/versions{way}"), "", &next);
        assert_eq!((answer.status(), &answer.json()["reason"]), (422, &"needs_receipt".into()), "{way}");
    }
    let glass = "/v1/versions?now=true&break_glass=true&reason=fire";
    assert_eq!(gateway.admin_post(glass, "", &next).status(), 200);
    assert!(gateway.admin_get("/readyz").text().contains("glass"), "loudly");
}
