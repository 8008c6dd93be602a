//! `man`: a manual page for the program and one for every verb, made of the same words as `--help`.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::{Failure, print};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Writes every page into a folder, which is made if it is not there; without one, prints the program's own.
pub(super) fn man(folder: Option<&Path>, program: clap::Command, json: bool) -> Result<ExitCode, Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(program).render(&mut page).map_err(Failure::refused)?;
        print(&String::from_utf8_lossy(&page));
        return Ok(ExitCode::SUCCESS);
    };
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(program, folder));
    written.map_err(|error| Failure::refused(format!("{}: {error}", folder.display())))?;
    if json {
        print(&format!("{}\n", serde_json::json!({ "folder": folder.display().to_string() })));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::{Command, CommandFactory, ValueEnum};

    /// Every command that is shown, with its names from the program's on.
    fn every(command: &Command, names: &str, visit: &mut dyn FnMut(&str, &Command)) {
        visit(names, command);
        for inner in
            command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        {
            every(inner, &format!("{names}-{}", inner.get_name()), visit);
        }
    }

    #[test]
    fn every_verb_has_a_page_that_says_what_it_takes() {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let below = folder.path().join("man1");
        man(Some(&below), Cli::command(), false).expect("is written");
        let mut pages = 0;
        every(&Cli::command(), "tidegate", &mut |names, command| {
            let page = fs::read_to_string(below.join(format!("{names}.1")));
            let page = page.unwrap_or_else(|error| panic!("{names} has no page: {error}"));
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{names}: {page}");
            for long in command.get_arguments().filter(|it| !it.is_hide_set()).filter_map(|it| it.get_long())
            {
                let escaped = long.replace('-', "\\-");
                assert!(page.contains(&escaped) || page.contains(long), "{names} does not name --{long}");
            }
            pages += 1;
        });
        assert!(pages > 25, "only {pages} pages");
    }

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tidegate", &mut script);
            let script = String::from_utf8(script).expect("is text");
            for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
                assert!(script.contains(verb.get_name()), "{shell} does not complete {}", verb.get_name());
            }
        }
    }
}
