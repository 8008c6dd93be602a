//! What a change would do is told before it is made: what differs, how risky that is and why, whom it reaches, whose
//! settings it contradicts, and what it would ask. Nothing changes by the question, and no secret is in the answer.

use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::operator::{ask, change};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const CANARY: &str = "canary-41c7";

fn text(gateway: &Gateway, config: &Config) -> String {
    config.render(&gateway.folder().join("state"))
}

fn post(gateway: &Gateway, text: &str) -> Answer {
    gateway.admin_post("/v1/config:plan", "", text)
}

fn planned(gateway: &Gateway, text: &str) -> Value {
    let answer = post(gateway, text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn differences(plan: &Value) -> Vec<&str> {
    let all = plan["differences"].as_array().expect("a list").iter();
    all.map(|difference| difference["what"].as_str().expect("a sentence")).collect()
}

/// A gateway whose active version demands stages and, for high risk, a second person.
fn strict(origin: &Origin) -> (Gateway, String) {
    let config = Config::simple(origin.address());
    let gateway = Gateway::start(&config);
    let rollout = "required = true\nstages = [\"10%\", \"100%\"]\nbake = \"1s\"\napprove = \"high\"";
    let text = text(&gateway, &config).replace("required = false", rollout);
    let before = gateway.hash();
    gateway.write_text(&text);
    wait_until(PATIENCE, "the strict version is active", || gateway.hash() != before);
    (gateway, text)
}

/// Exit status, standard output and standard error.
fn run(command: &mut std::process::Command) -> (Option<i32>, String, String) {
    let output = finish(command, PATIENCE);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("the file is written");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn a_plan_says_what_differs_how_risky_it_is_whom_it_reaches_and_what_it_needs() {
    let (origin, other) = (Origin::well_behaved(), Origin::well_behaved());
    let (gateway, active) = strict(&origin);
    let before = gateway.hash();
    let moved = active.replace(&origin.address().to_string(), &other.address().to_string());
    let plan = planned(&gateway, &moved);
    assert_eq!(plan["risk"], "high", "{plan}");
    let sentence = format!("upstream u: backend u0 moves from {} to {}", origin.address(), other.address());
    assert_eq!(differences(&plan), [sentence.as_str()]);
    let difference = &plan["differences"][0];
    assert_eq!(
        (&difference["path"], &difference["risk"]),
        (&"upstreams.u.backends.u0.address".into(), &"high".into())
    );
    assert!(difference["why"].as_str().is_some_and(|why| why.contains("are others than before")), "{plan}");
    assert_eq!(plan["routes"], json!([{ "name": "r", "new": false, "removed": false }]));
    assert_eq!(plan["active"], json!({ "number": gateway.status()["version"]["number"], "hash": before }));
    let needs = &plan["needs"];
    assert_eq!(needs["stages"], json!(["10%", "100%"]), "{plan}");
    assert_eq!((&needs["ack_risk"], &needs["approval"]), (&true.into(), &true.into()));
    assert_eq!(needs["bake_seconds"], 20.0, "twice the timeout of its route");
    // Somewhat more is not much more, and a comment is nothing.
    let tuned = active.replace("path_prefix = \"/\"", "path_prefix = \"/\"\ntimeout = \"12s\"");
    let needs = planned(&gateway, &tuned)["needs"].clone();
    assert_eq!((&needs["ack_risk"], &needs["approval"]), (&false.into(), &false.into()));
    let comment = planned(&gateway, &format!("# why\n{active}"));
    assert_eq!((&comment["differences"], &comment["risk"]), (&json!([]), &"low".into()));
    assert_ne!(comment["hash"], comment["active"]["hash"]);
    assert_eq!(planned(&gateway, &active)["needs"]["stages"], json!([]), "the same text asks nothing");
    assert_eq!(gateway.hash(), before, "and nothing has changed");
}

#[test]
fn an_invalid_text_has_no_plan_and_its_findings() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer = post(
        &gateway,
        &text(&gateway, &Config::simple(origin.address())).replace("path_prefix", "path_prefx"),
    );
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(
        answer.json()["findings"].to_string().contains("did you mean `path_prefix`?"),
        "{}",
        answer.text()
    );
    assert_eq!(gateway.admin_post("/v1/config:plan", "Content-Type: text/plain\r\n", "x = 1").status(), 415);
}

#[test]
fn what_fills_a_placeholder_is_never_told_and_that_it_changed_is() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("secret"), CANARY).expect("written");
    let edit = "request_headers = { set = { x-key = \"${file:secret}\", x-other = \"${CANARY}\" } }";
    let config = Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", edit);
    let launch = Launch::default().variable("CANARY", format!("{CANARY}-too"));
    let gateway = Gateway::start_in(folder, &config, launch);
    let same = text(&gateway, &config);
    assert_eq!(differences(&planned(&gateway, &same)), Vec::<&str>::new());
    // Values move, appear, vanish and are wrong: no answer tells any.
    for changed in [
        same.replace("x-key = \"${file:secret}\"", "x-key = \"${CANARY}\""),
        same.replace("x-other", "x-another"),
        same.replace("name = \"r\"", "name = \"${CANARY}\""),
        same.replace("path_prefix = \"/\"", "path_prefix = \"/${CANARY}\"\nmax_body = \"${file:secret}\""),
    ] {
        let answer = post(&gateway, &changed).text();
        assert!(!answer.contains(CANARY), "{answer}");
    }
    // Rotated within the second in which nobody has looked yet, or later: either way the log has no value.
    let active = gateway.hash();
    fs::write(gateway.folder().join("secret"), format!("{CANARY}-rotated")).expect("written");
    let plan = planned(&gateway, &same);
    assert_eq!(
        differences(&plan),
        ["route r: what fills ${file:secret} in request_headers.set.x-key has changed"]
    );
    assert!(!plan.to_string().contains(CANARY) && !gateway.log().contains(CANARY), "{plan}");
    assert_eq!((gateway.hash(), &plan["hash"]), (active.clone(), &active.into()));
}

#[test]
fn a_setting_made_by_hand_that_a_version_contradicts_is_told_with_whose_it_is() {
    let (one, other) = (Origin::well_behaved(), Origin::well_behaved());
    let both = Config::new().upstream("u", &[one.address(), other.address()], "").route("r", "/", "u", "");
    let gateway = Gateway::start(&both);
    let ramp = json!({ "percent": 25, "reason": "a cold release" });
    assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u1/ramp", &ramp).status(), 200);
    assert_eq!(planned(&gateway, &text(&gateway, &both))["contradictions"], json!([]));
    let without = Config::simple(one.address());
    let plan = planned(&gateway, &text(&gateway, &without));
    let told = &plan["contradictions"][0];
    assert_eq!((&told["target"], &told["by"]), (&"u/u1".into(), &"loopback".into()), "{plan}");
    let what = told["what"].as_str().expect("a sentence");
    assert!(
        what.contains("25 %") && what.contains("a cold release") && what.contains("kept apart"),
        "{what}"
    );
    assert_eq!(gateway.admin_get("/v1/upstreams/u/backends/u1/ramp").json()["percent"], 25.0, "and it stays");
    let (code, stdout, stderr) =
        run(cli(&["plan", &written(gateway.folder(), "next.toml", &text(&gateway, &without))])
            .env("TIDEGATE_ADMIN", format!("http://{}", gateway.admin())));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("! the ramp of u/u1 was set to 25 % by loopback"), "{stdout}");
}

#[test]
fn a_viewer_may_plan_but_not_ask_by_placeholders_of_their_own() {
    let origin = Origin::well_behaved();
    let hash = blake3::hash(b"the token see").to_hex();
    let tokens = format!("tokens = [{{ name = \"see\", role = \"viewer\", hash = \"{hash}\" }}]");
    let edit = "request_headers = { set = { x-key = \"${KEY:none}\" } }";
    let config =
        Config::new().admin(&tokens).upstream("u", &[origin.address()], "").route("r", "/", "u", edit);
    let gateway = Gateway::start(&config);
    let see = ["Authorization: Bearer the token see"];
    let plan = |text: &str| ask(gateway.admin(), "POST", "/v1/config:plan", &see, text);
    let active = text(&gateway, &config);
    let more = active.replace("path_prefix = \"/\"", "path_prefix = \"/x\"");
    let answer = plan(&more);
    assert_eq!((answer.status(), &answer.json()["risk"]), (200, &"high".into()), "{}", answer.text());
    for placeholder in ["${PATH}", "${file:/etc/passwd}", "${KEY}"] {
        let answer = plan(&more.replace("${KEY:none}", placeholder));
        assert_eq!(
            (answer.status(), answer.json()["reason"].as_str()),
            (403, Some("forbidden")),
            "{placeholder}"
        );
    }
    assert_eq!(ask(gateway.admin(), "POST", "/v1/versions?now=true", &see, &more).status(), 403);
    assert_eq!(ask(gateway.admin(), "POST", "/v1/config:plan", &[], &more).status(), 401);
}

#[test]
fn the_command_shows_it_by_risk_with_why_and_exits_with_0_when_something_differs() {
    let (origin, other) = (Origin::well_behaved(), Origin::well_behaved());
    let (gateway, active) = strict(&origin);
    let moved = active
        .replace(&origin.address().to_string(), &other.address().to_string())
        .replace("path_prefix = \"/\"", "path_prefix = \"/\"\nclass = \"critical\"");
    let at_gateway = |file: &str, more: &[&str]| {
        let mut command = cli(&[&["plan", file][..], more].concat());
        run(command.env("TIDEGATE_ADMIN", format!("http://{}", gateway.admin())))
    };
    let file = written(gateway.folder(), "next.toml", &moved);
    let (code, stdout, stderr) = at_gateway(&file, &[]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let place = |part: &str| stdout.find(part).unwrap_or_else(|| panic!("{part} in\n{stdout}"));
    let order = [
        "high risk\n",
        "  upstream u: backend u0 moves from",
        "why: ",
        "medium risk\n",
        "  route r: class default → critical",
    ];
    assert!(order.map(place).is_sorted(), "{stdout}");
    assert!(stdout.contains("routes that may notice: r\n"), "{stdout}");
    let asked = stdout.replace('\n', " ");
    assert!(
        asked.contains(
            "needs --ack-risk high; needs the approval of a second person; stages 10% → 100%, about 40s"
        ),
        "{stdout}"
    );
    let (code, stdout, _) = at_gateway(&file, &["--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!((code, &plan["needs"]["ack_risk"]), (Some(0), &true.into()));
    let wrong = written(gateway.folder(), "wrong.toml", &active.replace("path_prefix", "path_prefx"));
    let (code, _, stderr) = at_gateway(&wrong, &[]);
    assert!(
        code == Some(1) && stderr.contains("wrong.toml:") && stderr.contains("path_prefix"),
        "{code:?} {stderr}"
    );
    let (code, stdout, _) = at_gateway(&written(gateway.folder(), "same.toml", &active), &[]);
    assert!(code == Some(0) && stdout.contains("it is the same text"), "{stdout}");
    assert_eq!(at_gateway("/nowhere/gateway.toml", &[]).0, Some(1));
    drop(gateway);
}

#[test]
fn two_files_are_compared_without_a_gateway() {
    let folder = TempDir::new().expect("a temporary folder");
    let address = "127.0.0.1:9".parse().expect("an address");
    let config =
        Config::simple(address).render(Path::new("/var/lib/tidegate")).replace("required = false", "");
    let one = written(folder.path(), "one.toml", &config);
    let other = written(
        folder.path(),
        "other.toml",
        &config.replace("upstream = \"u\"", "upstream = \"u\"\ntimeout = \"25s\""),
    );
    // Nobody listens there, and nobody is asked.
    let offline = |arguments: &[&str]| run(cli(arguments).env("TIDEGATE_ADMIN", "http://127.0.0.1:9"));
    let (code, stdout, stderr) = offline(&["plan", &other, "--against", &one]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("route r: timeout 10s → 25s") && stdout.contains("more than double"), "{stdout}");
    assert!(stdout.contains("stages 5% → 100%, about 1m 40s"), "{stdout}");
    let (code, stdout, _) = offline(&["plan", &other, "--against", &one, "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    assert_eq!((code, &plan["risk"], &plan["active"]["number"]), (Some(0), &"high".into(), &Value::Null));
    let wrong = written(folder.path(), "wrong.toml", "[gatewya]\n");
    assert_eq!(offline(&["plan", &wrong, "--against", &one]).0, Some(1));
    assert_eq!(offline(&["plan", &one, "--against", &wrong, "--json"]).0, Some(1));
    let (code, _, stderr) = offline(&["plan", &one]);
    assert!(code == Some(3) && stderr.contains("cannot be reached"), "{code:?} {stderr}");
}
