//! Whether the clients of the last minute are enough to give a candidate a share of them, or each request is given for
//! itself (`design.md`, "Cohorts"). They are counted all the time, so that the first request of a trial is chosen well.

use crate::admission::cohorts::{Keys, Minute};
use crate::routing::trial::Trial;
use std::time::{Duration, Instant};

/// At least; a thread that is late looks less often.
const SECOND: Duration = Duration::from_secs(1);

/// The clients of the last minute.
#[derive(Debug, Default)]
pub struct People {
    minute: Minute,
    second_began: Option<Instant>,
}

impl People {
    /// A trial begins, or goes on with another share.
    pub fn begin(&self, trial: &Trial) {
        trial.choice.set_per_request(self.minute.census().is_few(trial.share.part()));
    }

    /// Looks; once a second it takes the census.
    pub fn look(&mut self, keys: &Keys, trial: Option<&Trial>, now: Instant) {
        if now.saturating_duration_since(*self.second_began.get_or_insert(now)) < SECOND {
            return;
        }
        self.second_began = Some(now);
        self.minute.count(keys.take());
        trial.into_iter().for_each(|trial| self.begin(trial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::cohort::Fact;
    use http::HeaderMap;
    use std::net::IpAddr;

    #[test]
    fn a_hundred_clients_within_a_minute_are_enough_unless_one_of_them_is_most() {
        let (keys, none) = (Keys::default(), HeaderMap::new());
        let key = |n: u32| Fact::Address.key(IpAddr::from(n.to_be_bytes()), &none);
        let mut people = People::default();
        let start = Instant::now();
        let mut now = start;
        let mut second = |people: &mut People, clients: &mut dyn Iterator<Item = u32>| {
            clients.for_each(|n| keys.saw(key(n)));
            people.look(&keys, None, now);
            now += SECOND;
        };
        second(&mut people, &mut std::iter::empty());
        assert!(people.minute.census().is_few(0.05), "nobody");
        (0..4).for_each(|part| second(&mut people, &mut (part * 40..(part + 1) * 40)));
        assert!(!people.minute.census().is_few(0.05), "160 in four seconds");
        second(&mut people, &mut std::iter::repeat_n(7, 40));
        assert!(people.minute.census().is_few(0.05), "one is a fifth of all");
        assert!(!people.minute.census().is_few(0.5));
        (0..61).for_each(|_| second(&mut people, &mut std::iter::empty()));
        assert!(people.minute.census().is_few(0.5), "they are of more than a minute ago");
    }
}
