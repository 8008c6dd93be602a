//! Programs that a test needs beside the gateway. Missing ones skip the test with a line that says so;
//! where `TIDEGATE_REQUIRE_EXTERNAL=1` is set a skip is a failure.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use super::wait_for;
use std::time::Duration;

/// Where `program` is, or `None` after saying that the test is skipped.
pub fn require(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var("TIDEGATE_REQUIRE_EXTERNAL").as_deref() != Ok("1"),
            "needs {program}, and TIDEGATE_REQUIRE_EXTERNAL=1 forbids skipping (hint: install it)"
        );
        println!("skipped: needs {program}");
    }
    found
}

/// Runs a command to its end and returns what it wrote; kills it after `deadline`.
pub fn finish(command: &mut Command, deadline: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} starts: {e}"));
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    // Both pipes are emptied while it runs, or a talkative program would wait for us for ever.
    let stdout = thread::spawn(move || std::io::read_to_string(stdout).unwrap_or_default());
    let stderr = thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
    let started = std::time::Instant::now();
    let status = wait_for(deadline + Duration::from_secs(5), "the command ends", || {
        if started.elapsed() > deadline {
            let _ = child.kill();
        }
        child.try_wait().expect("its status is known")
    });
    let (stdout, stderr) = (stdout.join().expect("read"), stderr.join().expect("read"));
    Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
}
