//! `hash-token`: from a token to what may stand in a file.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::{Failure, print};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

/// Shorter tokens can be guessed from their hash.
const MIN_LENGTH: usize = 16;

/// Prints the blake3 hash of the token on standard input, or of a new one.
pub(super) fn hash_token(generate: bool, json: bool) -> Result<ExitCode, Failure> {
    let token = if generate { new_token() } else { read_token() };
    let token = token.map_err(|error| Failure::refused(format!("no token: {error}")))?;
    if token.len() < MIN_LENGTH {
        return Err(Failure {
            code: 1,
            message: format!("a token needs at least {MIN_LENGTH} characters; a shorter one can be guessed"),
            hint: Some("`tidegate hash-token --generate` makes a good one".into()),
        });
    }
    let hash = blake3::hash(token.as_bytes()).to_hex();
    print(&match (json, generate) {
        (true, true) => format!("{}\n", serde_json::json!({ "token": token, "hash": hash.as_str() })),
        (true, false) => format!("{}\n", serde_json::json!({ "hash": hash.as_str() })),
        (false, true) => format!("token: {token}\nhash:  {hash}\n"),
        (false, false) => format!("{hash}\n"),
    });
    Ok(ExitCode::SUCCESS)
}

fn read_token() -> io::Result<String> {
    if io::stdin().is_terminal() {
        eprintln!("Type the token and press Enter (it will be visible):");
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// 32 random bytes from the system, in hex.
fn new_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
