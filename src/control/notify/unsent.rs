//! What must be heard though the process ends: incidents, versions taken back, broken glass. Until a sink has taken it,
//! it is in a file of the state directory, for its owner only, and the next process tells it, late.
//!
//! It is written on a thread that a disk may block, whole, whenever something of it changes; nobody waits for it. It is
//! told at least once: a message that was under way keeps its id, by which whoever receives it knows that it has it.

use super::family::ALL;
use super::lasting::Stands;
use super::meaning::Topic;
use super::message::Item;
use crate::control::store::Store;
use crate::control::store::disk::Disk;
use crate::telemetry::events::stream::Record;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

const FILE: &str = "unsent.json";
/// Of one sink; the newest go without.
pub const MAX_OWED: usize = 64;
/// Bytes of what is kept of an event beside its sentence.
const MAX_FIELDS: usize = 16 * 1024;

/// One item that a sink is owed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// Who is to be told.
    pub sink: String,
    /// The message that it was under way in.
    pub message: Option<String>,
    alert: String,
    subject: String,
    members: Vec<String>,
    stands: String,
    /// Milliseconds since 1970.
    since: i64,
    at: i64,
    /// Events that it stands for.
    pub count: u64,
    lasting: usize,
    said: String,
    fields: Map<String, Value>,
}

/// What an earlier process left.
#[derive(Debug)]
pub enum Kept {
    /// It was read.
    Read {
        /// What it owed.
        owed: Vec<Owed>,
        /// Why that is not known, if it is not.
        trouble: Option<String>,
    },
    /// It was not read yet: why. Nothing is to be written over it.
    Unread(String),
}

impl Kept {
    /// Reads what is there. What cannot be read is set aside; what another process owes is its own until it ends.
    pub fn read(store: &Store) -> Kept {
        if let Err(error) = store.lock() {
            return Kept::unread(&error.to_string());
        }
        let read = store.read(FILE).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
        let (owed, trouble) = match read {
            Ok(owed) => (owed, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => {
                store.set_aside(FILE);
                (Vec::new(), Some(format!("{FILE} cannot be read: {error}; it was set aside")))
            }
        };
        Kept::Read { owed, trouble }
    }

    /// It cannot be had now: why.
    pub fn unread(why: &str) -> Kept {
        Kept::Unread(format!("{FILE} cannot be read: {why}"))
    }
}

/// Writes down what is owed.
///
/// # Errors
/// When the disk does not take it.
pub fn write(store: &Store, owed: &[Owed]) -> io::Result<()> {
    if owed.is_empty() {
        return store.remove(FILE);
    }
    store.write(FILE, &serde_json::to_vec(owed).map_err(io::Error::from)?, true)
}

impl Owed {
    /// What is kept of an item.
    pub fn of(sink: &str, message: Option<&str>, item: &Item) -> Option<Owed> {
        let last = item.last()?;
        let small = serde_json::to_string(&last.fields).is_ok_and(|text| text.len() <= MAX_FIELDS);
        Some(Owed {
            sink: sink.to_owned(),
            message: message.map(str::to_owned),
            alert: item.topic.family.name.to_owned(),
            subject: item.topic.subject.clone(),
            members: item.members.clone(),
            stands: item.stands.as_str().to_owned(),
            since: item.since.as_millisecond(),
            at: last.at.as_millisecond(),
            count: item.count,
            lasting: item.lasting,
            said: last.message.clone(),
            fields: if small { last.fields.clone() } else { Map::new() },
        })
    }

    /// The item, if this release knows its alert.
    pub fn item(self) -> Option<Item> {
        let family = ALL.iter().copied().find(|family| family.name == self.alert)?;
        let stands = Stands::named(&self.stands)?;
        let at = Timestamp::from_millisecond(self.at).ok()?;
        let record = Record { at, kind: family.kind, message: self.said, fields: self.fields };
        Some(Item {
            topic: Topic { family, subject: self.subject },
            stands,
            since: Timestamp::from_millisecond(self.since).ok()?,
            count: self.count,
            lasting: self.lasting,
            members: self.members,
            samples: VecDeque::from([Arc::new(record)]),
            late: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::family::ROLLED_BACK;
    use crate::control::notify::samples::notice;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn owed() -> Owed {
        let item = Item::of(notice(&ROLLED_BACK, "7", "", Stands::Happened, 5));
        Owed::of("oncall", Some("00aa-1"), &item).expect("it says something")
    }

    /// What was read, and whether it was damaged.
    fn read(store: &Store) -> (Vec<Owed>, bool) {
        match Kept::read(store) {
            Kept::Read { owed, trouble } => (owed, trouble.is_some()),
            Kept::Unread(why) => panic!("{why}"),
        }
    }

    #[test]
    fn what_is_owed_is_what_it_was_and_late() {
        let item = owed().item().expect("known");
        assert_eq!((item.topic.family, item.topic.subject.as_str()), (&ROLLED_BACK, "7"));
        assert_eq!((item.sentence(), item.stands, item.late), ("7/ is happened", Stands::Happened, true));
        assert_eq!(Owed { alert: "TidegateGone".into(), ..owed() }.item().map(|_| ()), None);
    }

    #[test]
    fn it_is_for_its_owner_only_and_gone_when_nothing_is_owed() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(home.path()).expect("made");
        write(&store, &[owed()]).expect("written");
        let file = home.path().join(FILE);
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&store), (vec![owed()], false));
        write(&store, &[]).expect("removed");
        assert!(!file.exists());
        assert_eq!(read(&store), (Vec::new(), false));
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_said() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(home.path()).expect("made");
        for text in ["", "{", "[7]", "[{\"sink\": \"x\"}]"] {
            fs::write(home.path().join(FILE), text).expect("written");
            assert_eq!(read(&store), (Vec::new(), true), "{text}");
            assert!(!home.path().join(FILE).exists(), "{text}");
        }
    }
}
