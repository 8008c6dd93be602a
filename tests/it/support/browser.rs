//! A person at the operators' page: Chromium, driven step by step through `tests/browser/pilot.mjs`. It needs node,
//! Chromium, and what `npm ci --prefix tests/browser` installs; without one of them the test is skipped.

use super::external::require;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::wait_for;

/// A step takes this long at most on a busy machine; the pilot itself gives up before.
const STEP: Duration = Duration::from_secs(60);
/// How long the browser may take to go.
const GOODBYE: Duration = Duration::from_secs(10);

/// A browser at a page.
pub struct Browser {
    pilot: Child,
    steps: Option<ChildStdin>,
    told: Receiver<Value>,
}

impl Browser {
    /// Starts one for the admin side at this address; nothing if the test is to be skipped.
    pub fn at(admin: SocketAddr) -> Option<Browser> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        let (node, chromium) = (require("node")?, require("chromium")?);
        if !folder.join("node_modules/playwright-core").is_dir() {
            assert!(
                std::env::var("TIDEGATE_REQUIRE_EXTERNAL").as_deref() != Ok("1"),
                "needs playwright-core, and TIDEGATE_REQUIRE_EXTERNAL=1 forbids skipping (hint: npm ci --prefix tests/browser)"
            );
            println!("skipped: needs playwright-core (npm ci --prefix tests/browser)");
            return None;
        }
        let mut pilot = Command::new(node)
            .arg(folder.join("pilot.mjs"))
            .arg(format!("http://{admin}/"))
            .arg(pictures())
            .env("CHROMIUM", chromium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let (steps, answers) = (pilot.stdin.take(), pilot.stdout.take().expect("piped"));
        let (teller, told) = channel();
        thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "failed": line }));
                if teller.send(answer).is_err() {
                    break;
                }
            }
        });
        Some(Browser { pilot, steps, told })
    }

    /// Does a step of the pilot and returns what it told.
    pub fn does(&mut self, step: &str, mut how: Value) -> Value {
        how["step"] = step.into();
        let steps = self.steps.as_mut().expect("it is open until it is dropped");
        writeln!(steps, "{how}").unwrap_or_else(|error| panic!("{how}: the pilot is gone: {error}"));
        let answer = self.told.recv_timeout(STEP).unwrap_or_else(|error| panic!("{how}: {error}"));
        match answer.get("told") {
            Some(told) => told.clone(),
            None => panic!("{how}: {}", answer["failed"].as_str().unwrap_or("no answer")),
        }
    }

    /// The same for what is told as a text.
    pub fn reads(&mut self, step: &str, how: Value) -> String {
        self.does(step, how).as_str().expect("a text").to_owned()
    }

    /// A picture of the screen, kept in `target/tmp/page`; `whole` for all that can be scrolled to.
    pub fn picture(&mut self, name: &str, whole: bool) {
        self.does("picture", json!({ "name": name, "whole": whole }));
    }

    /// No script broke, and nothing was asked for that the page's policy forbids.
    pub fn has_no_complaints(&mut self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the browser complains: {complaints:?}");
    }

    /// The same where some have to be.
    pub fn has_no_complaints_but(&mut self, expected: &str) {
        let wrong: Vec<_> = self.complaints().into_iter().filter(|it| !it.contains(expected)).collect();
        assert!(wrong.is_empty(), "the browser complains: {wrong:?}");
    }

    fn complaints(&mut self) -> Vec<String> {
        let complaints = self.does("complaints", json!({}));
        complaints.as_array().expect("a list").iter().map(Value::to_string).collect()
    }
}

/// Where pictures of the page are left.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("page")
}

impl Drop for Browser {
    /// It ends with its input, and takes the browser along.
    fn drop(&mut self) {
        drop(self.steps.take());
        if thread::panicking() {
            let _ = self.pilot.kill();
            let _ = self.pilot.wait();
        } else {
            wait_for(GOODBYE, "the pilot ends", || self.pilot.try_wait().expect("its status is known"));
        }
    }
}
