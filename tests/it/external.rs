//! Clients that others wrote: curl and h2load, over every protocol that the door speaks.

use crate::support::config::Config;
use crate::support::external::{finish, require};
use crate::support::gateway::Gateway;
use crate::support::origins::Origin;
use crate::support::origins::exchange::{checksum, pattern};
use crate::support::tls::Authority;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A gateway with a cleartext listener `edge` and a TLS listener `secure`.
fn gateway(origin: &Origin, authority: &Authority) -> Gateway {
    let pair = authority.server(&["edge.test", "127.0.0.1"]);
    let secure = format!(
        "[[listeners]]\nname = \"secure\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n",
        pair.toml()
    );
    Gateway::start(&Config::simple(origin.address()).text(&secure))
}

fn output(command: &mut Command) -> String {
    let output = finish(command, LONG);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {} {stdout}{stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn curl_is_served_over_every_protocol() {
    let Some(curl) = require("curl") else { return };
    let (origin, authority) = (Origin::well_behaved(), Authority::new());
    let gateway = gateway(&origin, &authority);
    let body = pattern(3_000_000);
    let upload = gateway.folder().join("upload");
    std::fs::write(&upload, &body).expect("the body is written");
    let clear = format!("http://{}/upload?x=1", gateway.edge());
    let secure = format!("https://edge.test:{}/upload?x=1", gateway.listener("secure").port());
    let resolve = format!("edge.test:{}:127.0.0.1", gateway.listener("secure").port());
    for (version, flag, url) in [
        ("1.1", "--http1.1", &clear),
        ("2", "--http2-prior-knowledge", &clear),
        ("1.1", "--http1.1", &secure),
        ("2", "--http2", &secure),
    ] {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--fail", flag, "--resolve", &resolve, "--cacert"]).arg(authority.ca());
        command.args(["-H", "Expect: 100-continue", "-w", "\n%{http_version} %{http_code}", "--data-binary"]);
        command.arg(format!("@{}", upload.display())).arg(url);
        let text = output(&mut command);
        let (echo, version_and_code) = text.rsplit_once('\n').expect("two lines");
        assert_eq!(version_and_code, format!("{version} 200"), "{url}");
        let echo: Value = serde_json::from_str(echo).expect("the origin's echo");
        assert_eq!(echo["body_hash"].as_u64(), Some(checksum(&body)), "{flag} {url}");
    }
}

fn h2load(program: &Path, arguments: &[&str], url: &str) {
    let mut command = Command::new(program);
    command.args(["-n", "2000", "-c", "8"]).args(arguments).arg(url);
    let text = output(&mut command);
    assert!(text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{arguments:?} {url}:\n{text}");
    assert!(text.contains("status codes: 2000 2xx"), "{arguments:?} {url}:\n{text}");
}

#[test]
fn h2load_is_served_over_every_protocol() {
    let Some(program) = require("h2load") else { return };
    let (origin, authority) = (Origin::well_behaved(), Authority::new());
    let gateway = gateway(&origin, &authority);
    let clear = format!("http://{}/bytes/1000", gateway.edge());
    let secure = format!("https://{}/bytes/1000", gateway.listener("secure"));
    h2load(&program, &["--h1"], &clear);
    h2load(&program, &["-m", "4"], &clear);
    h2load(&program, &["--h1"], &secure);
    h2load(&program, &["-m", "4"], &secure);
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn promtool_is_content_with_the_metrics() {
    let Some(promtool) = require("promtool") else { return };
    let (origin, authority) = (Origin::well_behaved(), Authority::new());
    let gateway = gateway(&origin, &authority);
    gateway.get("/");
    let file = gateway.folder().join("metrics");
    std::fs::write(&file, gateway.admin_get("/metrics").body).expect("the scrape is written");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$1\" check metrics < \"$2\"", "sh"]).arg(promtool).arg(file);
    output(&mut command);
}
