//! `receipt`: what another environment demands of a version (`promote_from`), and the key that it checks it with.

use super::client::Client;
use super::table::plain;
use super::{Failure, print};
use crate::control::receipt::Receipt;
use serde_json::Value;
use std::process::ExitCode;

/// Which receipt.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ReceiptArgs {
    #[command(subcommand)]
    verb: Option<ReceiptVerb>,
    /// The version's number; the newest that has a receipt if it is left out.
    #[arg(value_name = "VERSION")]
    version: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
enum ReceiptVerb {
    /// Print the public key of this gateway's receipts, for `promote_from`.
    Key,
}

/// Prints it: a receipt in one line, as it is taken along.
pub(super) fn receipt(client: &Client, wanted: &ReceiptArgs, json: bool) -> Result<ExitCode, Failure> {
    let path = match (&wanted.verb, wanted.version) {
        (Some(ReceiptVerb::Key), _) => "/v1/receipt-key".to_owned(),
        (None, Some(number)) => format!("/v1/versions/{number}/receipt"),
        (None, None) => "/v1/receipt".to_owned(),
    };
    let answer: Value = client.get(&path)?;
    print(&match (&wanted.verb, json) {
        (_, true) => format!("{answer:#}\n"),
        (Some(ReceiptVerb::Key), false) => {
            format!("{}\n", plain(answer["public_key"].as_str().unwrap_or_default()))
        }
        (None, false) => format!("{}\n", client.read::<Receipt>(answer)?.line()),
    });
    Ok(ExitCode::SUCCESS)
}
