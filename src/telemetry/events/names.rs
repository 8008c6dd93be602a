//! What happens to backends' names, as typed events.

use super::stream::{Kind, Record};

/// A name has other addresses than it had.
#[derive(Clone, Copy, Debug)]
pub struct AddressesChanged<'a> {
    /// The upstream.
    pub upstream: &'a str,
    /// Its backend.
    pub backend: &'a str,
    /// The name, as configured.
    pub name: &'a str,
    /// Addresses that came.
    pub came: &'a [String],
    /// Addresses that went.
    pub went: &'a [String],
    /// What the name server said, where they went because it says that there are none.
    pub why: Option<&'a str>,
}

impl AddressesChanged<'_> {
    /// Logs it.
    pub fn emit(self) {
        let AddressesChanged { upstream, backend, name, came, went, why } = self;
        tracing::info!(upstream, backend, name, ?came, ?went, why, "a name has other addresses");
        let message = format!("{upstream}/{backend}: {} came, {} went", list(came), list(went));
        let record = Record::new(Kind::Name, message).with("what", "addresses");
        let record = record.with("upstream", upstream).with("backend", backend).with("name", name);
        let record = record.with_list("came", came).with_list("went", went);
        match why {
            Some(why) => record.with("reason", why).hand_on(),
            None => record.hand_on(),
        }
    }
}

fn list(all: &[String]) -> String {
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}
