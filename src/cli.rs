//! The command line: what a person types, what they see, and the exit status.
//!
//! 0 done, 1 refused or invalid, 2 wrong usage, 3 the gateway cannot be reached. With `--json` every verb
//! that answers prints one JSON document on standard output, also when it fails. It holds no logic of the
//! gateway: `run` and `demo` call the app, the rest reads files or asks the admin side.

mod apply;
mod audit;
mod check;
pub mod client;
mod differences;
mod drill;
mod events;
mod follow;
mod history;
mod man;
mod notify;
mod incident;
mod permits;
mod plan;
mod ramp;
mod reference;
mod rollout;
mod rollback;
mod receipt;
mod status;
mod table;
mod token;
mod top;

use crate::app::{self, RunOptions};
use crate::config;
use clap::{CommandFactory, Parser, Subcommand};
use client::{Client, ClientError};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// An edge gateway that cannot be exhausted.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
struct Globals {
    /// Print JSON instead of text.
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Where the gateway's admin side is: http://HOST:PORT, or the path of its socket. TIDEGATE_TOKEN carries the
    /// token where one is needed.
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "URL",
        env = "TIDEGATE_ADMIN",
        default_value = "http://127.0.0.1:9900"
    )]
    admin: String,
    /// The token for the admin side.
    #[arg(long, global = true, env = "TIDEGATE_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
}

impl Globals {
    /// For the gateway that is meant.
    fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.admin, self.token.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway.
    Run {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Where good versions, history, audit, ramps and drains are kept.
        #[arg(long, value_name = "DIR", env = "TIDEGATE_STATE_DIR")]
        state_dir: Option<PathBuf>,
        /// End when the process that started it ends; for drills.
        #[arg(long, hide = true)]
        end_with_parent: bool,
    },
    /// Run a demonstration with small built-in backends on 127.0.0.1:8080, admin on 127.0.0.1:9900.
    Demo,
    /// Check a configuration file without the network; reports every mistake at once.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also resolve and dial what it names, from here, in 3 seconds at most.
        #[arg(long)]
        probe: bool,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the reference of reasons, metrics, events and keys, as Markdown.
    Reference,
    /// Show what the gateway is doing.
    Status,
    /// Show the gateway live on this terminal, with its levers.
    Top(top::TopArgs),
    /// Show who holds the slots: counted, and the oldest.
    Permits(permits::PermitsArgs),
    /// Show what a configuration would change, how risky that is, and what it would need; changes nothing.
    Plan(plan::PlanArgs),
    /// Make a configuration active by the stages of the active policy, and wait for
    /// the end.
    Apply(apply::ApplyArgs),
    /// Keep a version that was applied with --confirm.
    Confirm(rollout::Why),
    /// Let a version begin that somebody else applied.
    Approve(rollout::Approved),
    /// Go on to the next stage without waiting for more traffic; never past a failing guard.
    Promote(rollout::Why),
    /// End the rollout under way; the stable version stays.
    Abort(rollout::Why),
    /// Say that you have seen that somebody broke the glass.
    Acknowledge(rollout::Why),
    /// List what was accepted, and what became of it.
    History(history::HistoryArgs),
    /// Show a version: where it came from, what became of it, and its text.
    Show {
        /// Its number.
        #[arg(value_name = "VERSION")]
        version: u64,
    },
    /// Show what differs between two versions, in an operator's words.
    Diff(history::DiffArgs),
    /// Take back what runs, or bring a version back: at once, for everyone.
    Rollback(rollback::RollbackArgs),
    /// Print what happened lately, or what happens (--follow).
    Events(events::EventsArgs),
    /// Show who did what, or verify that nobody changed it since (--verify).
    Audit(audit::AuditArgs),
    /// Show who is told what happens, and try whether they are.
    Notify {
        #[command(subcommand)]
        verb: notify::NotifyVerb,
    },
    /// Move and show ramps: how much an upstream or a backend may carry.
    Ramp {
        #[command(subcommand)]
        verb: ramp::RampVerb,
    },
    /// Send no new requests to a backend; what it has may end.
    Drain {
        /// UPSTREAM/BACKEND.
        target: ramp::BackendTarget,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Bring a drained backend back.
    Ready {
        /// UPSTREAM/BACKEND.
        target: ramp::BackendTarget,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Tell people what is wrong, and hold risky changes meanwhile.
    Incident {
        #[command(subcommand)]
        verb: incident::IncidentVerb,
    },
    /// Print the receipt of a version that was good here, for another environment.
    Receipt(receipt::ReceiptArgs),
    /// Play outages on this machine, before a gateway of its own, and say which settings would have helped.
    Drill(drill::DrillArgs),
    /// Hash an admin token or an API key for the file; reads it from standard input.
    HashToken {
        /// Make a new random token and print it with its hash.
        #[arg(long)]
        generate: bool,
    },
    /// Write a manual page for every verb into a folder; without one, print the program's own.
    Man {
        /// Such as /usr/local/share/man/man1; made if it is not there.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the arguments, does what they say, and answers with the exit status.
pub fn main() -> ExitCode {
    let Cli { globals, verb } = Cli::parse();
    match perform(verb, &globals) {
        Ok(code) => code,
        Err(failure) => failure.report(globals.json),
    }
}

fn perform(verb: Verb, globals: &Globals) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Run { config, state_dir, end_with_parent } => {
            if end_with_parent {
                // Whoever drills may be killed, and must leave nothing running.
                let kill = Some(rustix::process::Signal::KILL);
                rustix::process::set_parent_process_death_signal(kill).map_err(anyhow::Error::from)?;
            }
            Ok(app::run(RunOptions { config, state_dir })?)
        }
        Verb::Demo => Ok(app::demo()?),
        Verb::Check { file, probe } => check::check(&file, probe, globals.json),
        Verb::Schema => {
            print(&format!("{:#}\n", config::schema()));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Reference => {
            print(&reference::markdown());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Status => status::status(&globals.client()?, globals.json),
        Verb::Top(wanted) => top::top(globals.client()?, &globals.admin, &wanted, globals.json),
        Verb::Permits(wanted) => permits::permits(&globals.client()?, &wanted, globals.json),
        Verb::Plan(wanted) => plan::plan(|| globals.client(), &wanted, globals.json),
        Verb::Apply(wanted) => apply::apply(&globals.client()?, &wanted, globals.json),
        Verb::Confirm(why) => rollout::say(&globals.client()?, "confirm", &why, globals.json),
        Verb::Approve(approved) => rollout::approve(&globals.client()?, &approved, globals.json),
        Verb::Promote(why) => rollout::say(&globals.client()?, "promote", &why, globals.json),
        Verb::Abort(why) => rollout::say(&globals.client()?, "abort", &why, globals.json),
        Verb::Acknowledge(why) => rollout::say(&globals.client()?, "acknowledge", &why, globals.json),
        Verb::History(wanted) => history::history(&globals.client()?, &wanted, globals.json),
        Verb::Show { version } => history::show(&globals.client()?, version, globals.json),
        Verb::Diff(wanted) => history::diff(&globals.client()?, &wanted, globals.json),
        Verb::Rollback(wanted) => rollback::rollback(&globals.client()?, &wanted, globals.json),
        Verb::Events(wanted) => events::events(&globals.client()?, &wanted, globals.json),
        Verb::Audit(wanted) => match &*wanted.file {
            [] => audit::audit(&globals.client()?, &wanted, globals.json),
            files => audit::offline(files, &wanted, globals.json),
        },
        Verb::Notify { verb } => notify::notify(&globals.client()?, verb, globals.json),
        Verb::Ramp { verb } => ramp::ramp(&globals.client()?, verb, globals.json),
        Verb::Drain { target, reason } => {
            ramp::drain(&globals.client()?, &target, true, &reason, globals.json)
        }
        Verb::Ready { target, reason } => {
            ramp::drain(&globals.client()?, &target, false, &reason, globals.json)
        }
        Verb::Incident { verb } => incident::incident(&globals.client()?, verb, globals.json),
        Verb::Receipt(wanted) => receipt::receipt(&globals.client()?, &wanted, globals.json),
        Verb::Drill(wanted) => drill::drill(&wanted, globals.json),
        Verb::HashToken { generate } => token::hash_token(generate, globals.json),
        Verb::Man { folder } => man::man(folder.as_deref(), Cli::command(), globals.json),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes to standard output; that its reader has left is no error worth a word.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Why a verb ends with another status than 0.
#[derive(Debug)]
struct Failure {
    /// 1 refused or invalid, 2 wrong usage, 3 unreachable.
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn refused(message: impl fmt::Display) -> Self {
        Failure { code: 1, message: message.to_string(), hint: None }
    }

    fn usage(message: impl fmt::Display) -> Self {
        Failure { code: 2, message: message.to_string(), hint: None }
    }

    fn report(&self, json: bool) -> ExitCode {
        if json {
            let answer = serde_json::json!({ "error": self.message, "hint": self.hint });
            print(&format!("{answer}\n"));
        } else {
            let mut stderr = io::stderr().lock();
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(stderr, "error: {}", self.message);
            if let Some(hint) = &self.hint {
                let _ = writeln!(stderr, "hint: {hint}");
            }
        }
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let message = format!("{error:#}");
        // What `check` shows of a file begins with the word already, and ends with an empty line.
        Failure::refused(message.strip_prefix("error: ").unwrap_or(&message).trim_end())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Address { .. } => 2,
            ClientError::Unreachable { .. } => 3,
            ClientError::Refused { .. } | ClientError::Unreadable { .. } => 1,
        };
        Failure { code, message: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_make_sense_to_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_verb_fits_80_columns() {
        fn fits(command: &mut clap::Command) {
            let help = command.render_help().to_string();
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
            command.get_subcommands_mut().for_each(fits);
        }
        let mut command = Cli::command();
        command.build();
        fits(&mut command);
    }

    #[test]
    fn globals_may_stand_before_and_after_the_verb() {
        for arguments in [["tidegate", "--json", "status"], ["tidegate", "status", "--json"]] {
            assert!(Cli::try_parse_from(arguments).expect("parses").globals.json);
        }
    }

    #[test]
    fn a_gateway_that_cannot_be_reached_is_status_3() {
        // Bound and dropped: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let admin = format!("http://{}", port.expect("a port"));
        let client = Client::new(&admin, None).expect("an address");
        let failure = status::status(&client, false).expect_err("nobody is there");
        assert_eq!(failure.code, 3);
        assert!(failure.message.contains(&admin) && failure.hint.is_some(), "{failure:?}");
    }

    #[test]
    fn an_error_is_called_one_once() {
        let shown = anyhow::anyhow!("error: \"x\" is not an address\n --> a.toml:3:11\n\n");
        assert_eq!(Failure::from(shown).message, "\"x\" is not an address\n --> a.toml:3:11");
    }

    #[test]
    fn an_address_that_is_none_is_wrong_usage() {
        let failure = Failure::from(Client::new("ftp://x", None).expect_err("no address"));
        assert_eq!(failure.code, 2);
    }
}
