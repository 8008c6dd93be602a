//! A bounded table of decisions: what was not looked at for longest goes first, by and large (a clock with one hand).
//! Pure: it is told the time.

use super::Key;
use hashbrown::HashMap;
use std::time::Instant;

/// Bytes of an entry beside what its decision tells.
const ROW: usize = 192;
/// Rows that the hand passes at most for one that goes.
const PATIENCE: usize = 32;

/// Decisions of one sort.
#[derive(Debug)]
pub(super) struct Book<T> {
    at: HashMap<Key, usize, foldhash::quality::RandomState>,
    rows: Vec<Row<T>>,
    hand: usize,
    bytes: usize,
    most_rows: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Row<T> {
    key: Key,
    decision: T,
    bytes: usize,
    fresh: Instant,
    until: Instant,
    used: bool,
}

impl<T: Clone> Book<T> {
    pub(super) fn new(most_rows: usize, most_bytes: usize) -> Self {
        let most_rows = most_rows.max(1);
        Book { at: HashMap::default(), rows: Vec::new(), hand: 0, bytes: 0, most_rows, most_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A decision that is fresh.
    pub(super) fn fresh(&mut self, key: &Key, now: Instant) -> Option<T> {
        let row = self.rows.get_mut(*self.at.get(key)?)?;
        if now >= row.fresh {
            return None;
        }
        row.used = true;
        Some(row.decision.clone())
    }

    /// A decision that may stand in.
    pub(super) fn any(&mut self, key: &Key, now: Instant) -> Option<T> {
        let row = self.rows.get_mut(*self.at.get(key)?)?;
        if now >= row.until {
            return None;
        }
        row.used = true;
        Some(row.decision.clone())
    }

    /// Keeps a decision in place of what was there; others make room for it. One that is larger than everything that
    /// may be kept is not.
    pub(super) fn put(
        &mut self,
        key: Key,
        decision: T,
        tells: usize,
        fresh: Instant,
        until: Instant,
        now: Instant,
    ) {
        self.remove(&key);
        let bytes = ROW + tells;
        if bytes > self.most_bytes.max(ROW) {
            return;
        }
        while self.rows.len() >= self.most_rows || self.bytes + bytes > self.most_bytes.max(bytes) {
            self.make_room(now);
        }
        self.at.insert(key, self.rows.len());
        self.bytes += bytes;
        self.rows.push(Row { key, decision, bytes, fresh, until, used: false });
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(at) = self.at.get(key) {
            self.take(*at);
        }
    }

    /// The hand goes on to one that is over or that nobody looked at since it last passed.
    fn make_room(&mut self, now: Instant) {
        for _ in 0..PATIENCE {
            self.hand = if self.hand + 1 < self.rows.len() { self.hand + 1 } else { 0 };
            match self.rows.get_mut(self.hand) {
                Some(row) if row.used && now < row.until => row.used = false,
                _ => break,
            }
        }
        self.take(self.hand);
    }

    fn take(&mut self, at: usize) {
        if at >= self.rows.len() {
            return;
        }
        let gone = self.rows.swap_remove(at);
        self.at.remove(&gone.key);
        self.bytes -= gone.bytes;
        if let Some(moved) = self.rows.get(at) {
            self.at.insert(moved.key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn key(n: u8) -> Key {
        [n; 16]
    }

    #[test]
    fn a_decision_is_fresh_then_stale_then_gone() {
        let (now, mut book) = (Instant::now(), Book::new(4, 4096));
        let at = |s| now + Duration::from_secs(s);
        book.put(key(1), 'a', 0, at(30), at(330), now);
        assert_eq!(book.fresh(&key(1), at(29)), Some('a'));
        assert_eq!((book.fresh(&key(1), at(30)), book.any(&key(1), at(329))), (None, Some('a')));
        assert_eq!(book.any(&key(1), at(330)), None);
        assert_eq!(book.fresh(&key(2), now), None);
    }

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let (now, mut book) = (Instant::now(), Book::new(8, 1 << 20));
        let later = now + Duration::from_secs(60);
        book.put(key(0), 0, 0, later, later, now);
        for n in 1..200 {
            book.put(key(n), n, 0, later, later, now);
            assert_eq!(book.fresh(&key(0), now), Some(0), "after {n}");
            assert!(book.len() <= 8);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn neither_rows_nor_bytes_pass_their_bounds_and_every_row_is_found(
            steps in proptest::collection::vec((0..40_u8, 0..900_usize, any::<bool>()), 1..200),
        ) {
            let (now, most) = (Instant::now(), 4096);
            let later = now + Duration::from_secs(60);
            let mut book = Book::new(10, most);
            for (n, tells, removed) in steps {
                if removed {
                    book.remove(&key(n));
                    prop_assert_eq!(book.any(&key(n), now), None);
                } else {
                    book.put(key(n), n, tells, later, later, now);
                    prop_assert_eq!(book.fresh(&key(n), now), Some(n));
                }
                prop_assert!(book.len() <= 10 && book.bytes() <= most && book.at.len() == book.len());
                prop_assert_eq!(book.bytes(), book.rows.iter().map(|row| row.bytes).sum::<usize>());
                for (at, row) in book.rows.iter().enumerate() {
                    prop_assert_eq!(book.at.get(&row.key), Some(&at));
                }
            }
        }
    }
}
