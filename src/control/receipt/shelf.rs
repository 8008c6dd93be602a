//! Receipts that were issued, as plain files in `state_dir/receipts/`, so that they are there without the history. They
//! are no secrets. As many are kept as versions in the history.
#![expect(clippy::disallowed_methods, reason = "on the background thread, or a place for work that blocks")]

use super::{MAX_BYTES, Receipt, Unproven};
use crate::control::store::Store;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

/// Where they lie in a state directory.
const FOLDER: &str = "receipts";

/// Receipts that are kept.
pub(super) const MOST: usize = 200;

/// The receipts of one state directory.
#[derive(Clone, Debug)]
pub struct Shelf {
    store: Store,
}

impl Shelf {
    /// In a state directory, which need not be there.
    pub fn of(store: Store) -> Self {
        Shelf { store }
    }

    /// Keeps a receipt, whole; one of the same number is replaced, and the oldest beyond 200 go. Blocks.
    ///
    /// # Errors
    /// What the disk says. The version is as good without.
    pub fn keep(&self, receipt: &Receipt) -> io::Result<()> {
        fs::create_dir_all(self.folder())?;
        let name = format!("{FOLDER}/{}.json", receipt.number);
        self.store.keep_file(&name, format!("{:#}\n", json!(receipt)).as_bytes())?;
        let mut numbers = self.numbers()?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        for old in numbers.into_iter().skip(MOST) {
            fs::remove_file(self.path(old))?;
        }
        Ok(())
    }

    /// The receipt of a version; of the newest that has one, if no number is given. Blocks.
    ///
    /// # Errors
    /// What the disk says, or that what lies there is no receipt.
    pub fn get(&self, number: Option<u64>) -> io::Result<Option<Receipt>> {
        let Some(number) =
            number.map_or_else(|| Ok(self.numbers()?.into_iter().max()), |n| Ok(Some(n))).or_else(absent)?
        else {
            return Ok(None);
        };
        let mut text = String::new();
        match File::open(self.path(number)) {
            Ok(file) => file.take(MAX_BYTES as u64).read_to_string(&mut text)?,
            Err(error) => return absent(error),
        };
        let wrong = |error: Unproven| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        Receipt::parse(&text).map(Some).map_err(wrong)
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = fs::read_dir(self.folder())?.filter_map(Result::ok);
        let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
        Ok(entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder().join(format!("{number}.json"))
    }

    fn folder(&self) -> PathBuf {
        self.store.directory().join(FOLDER)
    }
}

/// What is not there is no error.
fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
}
