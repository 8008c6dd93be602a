//! How the record lies in the state directory, as plain files, and how it is read again after whatever happened.
//!
//! ```text
//! state.json                the ledger, written last: what it names was written before it
//! active.toml  origin.json  what runs, and where it came from
//! last-good.toml            the newest good text, for tools
//! good/0000012.toml .json   the last good versions
//! secrets/0000012.json      what filled them, and the files that they name; for the owner only
//! admin.toml                the text whose [admin] holds, where it is not the active one's
//! ```
//!
//! Every file is written whole, and a process that dies between two of them leaves a state that [`read`] understands.

use super::ledger::Ledger;
use super::materials::Materials;
use super::record::{Facts, Good, Record, Standing};
use crate::control::Cause;
use crate::control::origin::{Kept, Origin};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const STATE: &str = "state.json";
const ACTIVE: &str = "active.toml";
const LAST_GOOD: &str = "last-good.toml";
const ORIGIN: &str = "origin.json";
const ADMIN: &str = "admin.toml";
const GOOD: &str = "good";
const SECRETS: &str = "secrets";

/// Files of a directory, by names like `good/0000001.toml`. A trait so that a crash between any two writes can be
/// tried.
pub trait Disk {
    /// The whole content of a file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The names in a folder; nothing if it is not there.
    fn list(&self, folder: &str) -> Vec<String>;

    /// Replaces a file by a whole new one, making its folder; `private` is for the owner only.
    ///
    /// # Errors
    /// What the system says; then the old one is still there.
    fn write(&self, name: &str, content: &[u8], private: bool) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says, unless it is not there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts a file that cannot be understood out of the way, for people.
    fn set_aside(&self, name: &str);
}

/// What is on the disk already, so that only what is new is written.
#[derive(Debug, Default)]
pub struct Written {
    files: BTreeMap<String, blake3::Hash>,
    /// Versions that lie there, as they were written; nothing else is ever removed.
    versions: BTreeMap<u64, Option<Good>>,
}

impl Written {
    /// On a disk from which `record` was read.
    pub fn after(record: &Record) -> Self {
        let versions = record.goods.iter().map(|good| (good.facts.number, None)).collect();
        Written { files: BTreeMap::new(), versions }
    }

    /// Makes `disk` say what `record` says.
    ///
    /// # Errors
    /// The first write that failed; what was written before it is whole.
    pub fn bring(&mut self, disk: &dyn Disk, record: &Record) -> io::Result<()> {
        for good in &record.goods {
            self.write_version(disk, good)?;
        }
        if let Some(good) = record.last_good() {
            self.write(disk, LAST_GOOD, good.text.as_bytes(), false)?;
        }
        if let Some(active) = &record.active {
            self.write(disk, ACTIVE, active.text.as_bytes(), false)?;
            self.write(disk, ORIGIN, json!(active.kept).to_string().as_bytes(), false)?;
        }
        match &record.admin {
            Some(text) => self.write(disk, ADMIN, text.as_bytes(), false)?,
            None => self.remove(disk, ADMIN)?,
        }
        let overruled = record.active.as_ref().and_then(|active| active.kept.overruled.clone());
        let ledger = Ledger { overruled, ..record.ledger.clone() };
        self.write(disk, STATE, json!(ledger).to_string().as_bytes(), false)?;
        self.sweep(disk, record)
    }

    fn write_version(&mut self, disk: &dyn Disk, good: &Good) -> io::Result<()> {
        let number = good.facts.number;
        let known = self.versions.insert(number, None).flatten();
        // There may be much of it, and hardly any of it ever changes.
        if !known.is_some_and(|known| known.is_same(good)) {
            let stem = stem(number);
            if !good.materials.is_empty() {
                self.write(disk, &format!("{SECRETS}/{stem}.json"), &good.materials.to_bytes(), true)?;
            }
            self.write(disk, &format!("{GOOD}/{stem}.toml"), good.text.as_bytes(), false)?;
            // It counts as good once this one is there.
            let facts = json!(good.facts).to_string();
            self.write(disk, &format!("{GOOD}/{stem}.json"), facts.as_bytes(), false)?;
        }
        self.versions.insert(number, Some(good.clone()));
        Ok(())
    }

    fn write(&mut self, disk: &dyn Disk, name: &str, content: &[u8], private: bool) -> io::Result<()> {
        let hash = blake3::hash(content);
        if self.files.get(name) == Some(&hash) {
            return Ok(());
        }
        // Until it is written, nothing is known of it.
        self.files.remove(name);
        disk.write(name, content, private)?;
        self.files.insert(name.to_owned(), hash);
        Ok(())
    }

    fn remove(&mut self, disk: &dyn Disk, name: &str) -> io::Result<()> {
        self.files.remove(name);
        disk.remove(name)
    }

    /// Removes versions that are not kept any more; what makes one good goes first, its secrets last.
    fn sweep(&mut self, disk: &dyn Disk, record: &Record) -> io::Result<()> {
        let gone: Vec<u64> =
            self.versions.keys().copied().filter(|number| record.good(*number).is_none()).collect();
        for number in gone {
            let stem = stem(number);
            for name in [
                format!("{GOOD}/{stem}.json"),
                format!("{GOOD}/{stem}.toml"),
                format!("{SECRETS}/{stem}.json"),
            ] {
                self.remove(disk, &name)?;
            }
            self.versions.remove(&number);
        }
        Ok(())
    }
}

/// Reads what an earlier process left, and says what of it was not whole, a sentence each.
pub fn read(disk: &dyn Disk) -> (Record, Vec<String>) {
    let mut trouble = Vec::new();
    let mut record = Record { goods: goods(disk, &mut trouble), ..Record::default() };
    record.ledger = ledger(disk, &mut trouble);
    let kept: Option<Kept> = disk.read(ORIGIN).ok().and_then(|bytes| {
        let damaged =
            |error| format!("{ORIGIN} is damaged ({error}): whose the active version is, is not known");
        serde_json::from_slice(&bytes).map_err(|error| trouble.push(damaged(error))).ok()
    });
    if record.goods.is_empty() {
        record.goods.extend(first(disk, &record.ledger, kept.as_ref()));
    }
    record.goods.iter().for_each(|good| record.ledger.know_number(good.facts.number));
    if let Some(active) = &record.ledger.active {
        let number = active.number;
        record.ledger.know_number(number);
    }
    if record.last_good().is_none() {
        let newest = record.goods.iter().rev().find(|good| !good.facts.reverted).or(record.goods.last());
        record.ledger.last_good = newest.map(Good::name);
    }
    stand(disk, &mut record, kept);
    record.admin = text(disk, ADMIN);
    (record, trouble)
}

fn ledger(disk: &dyn Disk, trouble: &mut Vec<String>) -> Ledger {
    match disk.read(STATE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ledger::default(),
        Err(error) => {
            trouble.push(format!("{STATE} cannot be read ({error}): numbers and bars are taken from good/"));
            Ledger::default()
        }
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            disk.set_aside(STATE);
            trouble.push(format!(
                "{STATE} was damaged ({error}) and is set aside; it was made again from good/"
            ));
            Ledger::default()
        }),
    }
}

/// The good versions that are whole, by rising number.
fn goods(disk: &dyn Disk, trouble: &mut Vec<String>) -> Vec<Good> {
    let mut numbers: Vec<_> = disk
        .list(GOOD)
        .iter()
        .filter(|name| name.ends_with(".json"))
        .filter_map(|name| numbered(name))
        .collect();
    numbers.sort_unstable();
    let mut goods = Vec::with_capacity(numbers.len());
    for number in numbers {
        match good(disk, number) {
            Some(good) => goods.push(good),
            None => trouble.push(format!("good/{} is damaged and is not used", stem(number))),
        }
    }
    goods
}

fn good(disk: &dyn Disk, number: u64) -> Option<Good> {
    let stem = stem(number);
    let facts: Facts = serde_json::from_slice(&disk.read(&format!("{GOOD}/{stem}.json")).ok()?).ok()?;
    let text = text(disk, &format!("{GOOD}/{stem}.toml"))?;
    let whole = facts.number == number && facts.hash == hash(&text);
    let secrets = disk.read(&format!("{SECRETS}/{stem}.json")).ok();
    let materials = secrets.and_then(|bytes| Materials::from_bytes(&bytes)).unwrap_or_default();
    whole.then(|| Good { facts, text, materials: Arc::new(materials) })
}

/// What a program without numbers left: its last good text is the first version.
fn first(disk: &dyn Disk, ledger: &Ledger, kept: Option<&Kept>) -> Option<Good> {
    let text = text(disk, LAST_GOOD)?;
    let origin = kept.and_then(|kept| kept.origin_of(&text)).cloned();
    let facts = Facts {
        number: ledger.active.as_ref().map_or(1, |active| active.number).max(1),
        hash: hash(&text),
        parent: None,
        origin: origin.unwrap_or_else(|| Origin::now(Cause::Boot, None, None)),
        risk: None,
        reverted: false,
        release: String::new(),
    };
    Some(Good { facts, text, materials: Arc::default() })
}

/// Finds what ran: the text that the ledger names, else the last good one.
fn stand(disk: &dyn Disk, record: &mut Record, kept: Option<Kept>) {
    let active = text(disk, ACTIVE).map(|text| (hash(&text), text));
    let named = record.ledger.active.clone();
    let found = match (&named, active) {
        (Some(name), Some((hash, text))) if hash == name.hash => Some((name.clone(), text)),
        (Some(name), _) => record.named(name).map(|good| (name.clone(), good.text.clone())),
        // The ledger was lost: a good version is known by its text.
        (None, Some((hash, text))) => {
            let good = record.goods.iter().rev().find(|good| good.facts.hash == hash);
            good.map(|good| (good.name(), text))
        }
        (None, None) => None,
    };
    let found = found.or_else(|| record.last_good().map(|good| (good.name(), good.text.clone())));
    record.ledger.active = found.as_ref().map(|(name, _)| name.clone());
    let overruled = record.ledger.overruled.clone();
    record.active = found.map(|(name, text)| {
        let known = record.named(&name).map(|good| good.facts.origin.clone());
        let whole = |kept: &Kept| kept.hash == name.hash;
        let kept = kept.filter(whole).unwrap_or_else(|| {
            let origin = known.unwrap_or_else(|| Origin::now(Cause::Boot, None, None));
            Kept { overruled, ..Kept::of(&text, &origin, None) }
        });
        Standing { text, kept }
    });
}

/// How a version's files are called.
fn stem(number: u64) -> String {
    format!("{number:07}")
}

/// The number of a version's file.
fn numbered(name: &str) -> Option<u64> {
    let (stem, end) = name.split_once('.')?;
    matches!(end, "toml" | "json").then(|| stem.parse().ok())?
}

fn text(disk: &dyn Disk, name: &str) -> Option<Arc<str>> {
    String::from_utf8(disk.read(name).ok()?).ok().map(Arc::from)
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests;
