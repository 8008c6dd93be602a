//! The configuration as Kubernetes mounts a ConfigMap: files are links into `..data`, and an update is the swap of that
//! link, after which the folder of before is removed. No file is ever written over, and none is renamed.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::Origin;
use crate::support::{PATIENCE, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Stages take their bakes, and a busy machine its time.
const LONG: Duration = Duration::from_secs(60);
const POLICY: &str = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"2s\"\n\
                      guard = { min_requests = 10 }\n";

fn marked(backend: SocketAddr, mark: &str) -> Config {
    let edit = format!("timeout = \"1s\"\nresponse_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(POLICY).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

/// A mounted ConfigMap with nothing in it yet but the link of its only file.
fn mounted() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("..1")).expect("made");
    symlink("..1", folder.path().join("..data")).expect("linked");
    symlink("..data/gateway.toml", folder.path().join("gateway.toml")).expect("linked");
    folder
}

/// What the kubelet does with an update.
fn publish(folder: &Path, version: &str, text: &str) {
    let (own, link) = (folder.join(version), folder.join("..data_tmp"));
    fs::create_dir(&own).expect("made");
    fs::write(own.join("gateway.toml"), text).expect("written");
    symlink(version, &link).expect("linked");
    let before = fs::read_link(folder.join("..data")).expect("is a link");
    fs::rename(link, folder.join("..data")).expect("swapped");
    fs::remove_dir_all(folder.join(before)).expect("removed");
}

#[test]
fn a_config_map_is_rolled_out_by_the_swap_of_its_link_and_a_bad_one_changes_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start_in(mounted(), &marked(origin.address(), "old"), Launch::default());
    let (folder, state) = (gateway.folder(), gateway.folder().join("state"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(20));
    publish(folder, "..2", &marked(origin.address(), "new").render(&state));
    wait_until(LONG, "the new one is good", || {
        gateway.admin_get("/v1/rollout").json()["last"]["outcome"] == "good" && generation(&gateway) == "new"
    });
    let version = &gateway.status()["version"];
    assert_eq!((&version["cause"], &version["number"]), (&"watch".into(), &2.into()), "{version}");

    publish(folder, "..3", "this is [ no configuration");
    wait_until(PATIENCE, "it is told", || gateway.status()["last_apply_successful"] == false);
    assert_eq!(generation(&gateway), "new");

    publish(folder, "..4", &marked(origin.address(), "newer").render(&state));
    wait_until(LONG, "the next one is served", || generation(&gateway) == "newer");
    // A busy machine may be late for a request; none is lost.
    load.stop().only(&[200, 503, 504]);
}
