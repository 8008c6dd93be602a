//! A real terminal, tmux: a shell in it, keys that are pressed, and what stands on its screen.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

use super::external::{finish, require};
use super::{PATIENCE, wait_for};

/// How long a debug build may take to show something on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A terminal with a shell; its server ends when it is dropped.
pub struct Terminal {
    program: PathBuf,
    folder: TempDir,
}

impl Terminal {
    /// Opens one of this size with these variables; `None` where tmux is not installed.
    pub fn open(columns: u16, rows: u16, environment: &[(&str, String)]) -> Option<Terminal> {
        let program = require("tmux")?;
        let terminal = Terminal { program, folder: TempDir::new().expect("a temporary folder") };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut command =
            terminal.command(&["-f", "/dev/null", "-u", "new-session", "-d", "-x", &columns, "-y", &rows]);
        // A prompt that says when the shell waits.
        command.args(["env", "PS1=$ ", "sh"]).envs(environment.iter().map(|(name, value)| (*name, value)));
        let output = finish(&mut command, PATIENCE);
        assert!(output.status.success(), "tmux starts: {output:?}");
        terminal.until("the shell waits", |screen| screen.contains('$'));
        Some(terminal)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-S").arg(self.folder.path().join("socket")).args(arguments);
        for name in ["TMUX", "NO_COLOR", "TIDEGATE_TOKEN"] {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C.UTF-8");
        command.envs([("TERM", "xterm-256color"), ("SHELL", "/bin/sh")]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = finish(&mut self.command(arguments), PATIENCE);
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        output
    }

    /// Presses keys by their names, such as `Enter`.
    pub fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    pub fn types(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.types(text);
        self.press(&["Enter"]);
    }

    /// Gives it another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// What stands on it.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.run(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// What stands on it once `holds`.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(SOON, what, || {
                let screen = self.screen();
                let seen = holds(&screen).then(|| screen.clone());
                *last.borrow_mut() = screen;
                seen
            })
        }));
        seen.unwrap_or_else(|_| panic!("waited in vain until {what}; on the screen:\n{}", last.borrow()))
    }

    /// A program has taken the whole screen and not given it back.
    pub fn is_taken(&self) -> bool {
        self.run(&["display-message", "-p", "#{alternate_on}"]).stdout.starts_with(b"1")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = finish(&mut self.command(&["kill-server"]), PATIENCE);
    }
}
