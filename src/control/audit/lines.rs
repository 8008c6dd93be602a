//! The audit as JSON lines, for shipping elsewhere: `audit.jsonl` in the state directory, turned at a size, five files
//! in all. The database is the truth; what could not be written here is read from it again and appended later, also
//! after a restart, so that a line that is there once stays the same and none is missing in between.
#![expect(clippy::disallowed_methods, reason = "on the thread of the history")]

use super::chain::Row;
use super::head::Head;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file's name in the state directory.
const NAME: &str = "audit.jsonl";

/// A file that is larger is turned.
const MAX_SIZE: u64 = 16 << 20;

/// Files that were turned and are kept.
const TURNED: u32 = 4;

/// Rows that are read and written at a time.
const BATCH: u64 = 256;

/// How much of the end of a file is read to find its last whole line; a row is smaller.
const TAIL: u64 = 64 << 10;

/// Between attempts at a file that could not be written.
const RETRY: Duration = Duration::from_secs(2);

/// The lines.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: Option<File>,
    /// The last row that is in them; not known before the file was looked at.
    shipped: Option<u64>,
    behind: u64,
    failures: u64,
    retry_at: Option<Instant>,
    max_size: u64,
}

impl Lines {
    /// In a state directory.
    pub fn in_directory(directory: &Path) -> Self {
        Lines {
            path: directory.join(NAME),
            file: None,
            shipped: None,
            behind: 0,
            failures: 0,
            retry_at: None,
            max_size: MAX_SIZE,
        }
    }

    /// Rows that are not in them yet.
    pub fn behind(&self) -> u64 {
        self.behind
    }

    /// Times that they could not be written.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The head of the chain as far as the lines know it.
    pub fn tail(&self) -> Option<Head> {
        let last = |path: &Path| last_row(&mut open(path, false).ok()?).ok()?.map(|row| row.head());
        last(&self.path).or_else(|| last(&self.turned(1)))
    }

    /// Appends every row up to `count` that is not there yet. A file that cannot be written is told of and tried
    /// again later.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn ship<E>(&mut self, count: u64, rows: impl Fn(u64, u64) -> Result<Vec<Row>, E>) -> Result<(), E> {
        let mut shipped = self.shipped.or_else(|| self.tail().map(|head| head.count)).unwrap_or(0);
        while shipped < count && self.retry_at.is_none_or(|at| Instant::now() >= at) {
            let batch = rows(shipped, BATCH)?;
            // Rows that were pruned are not there any more.
            let Some(last) = batch.last().map(|row| row.seq) else { break };
            match self.append(&batch) {
                Ok(()) => {
                    if self.retry_at.take().is_some() {
                        tracing::info!("the audit's lines are written again");
                    }
                    shipped = last;
                }
                Err(error) => self.failed(&error),
            }
        }
        self.shipped = Some(shipped);
        self.behind = count.saturating_sub(shipped);
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures += 1;
        self.file = None;
        let file = self.path.display();
        // Told once, for it is tried again every few seconds.
        if self.retry_at.is_none() {
            tracing::warn!(%error, %file, "the audit's lines cannot be written; the database has the rows, and they follow later");
        }
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// All of these lines, or none that could be read as one.
    fn append(&mut self, rows: &[Row]) -> io::Result<()> {
        let mut text = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        let mut file = self.file()?;
        let size = file.metadata()?.len();
        if size > 0 && size + text.len() as u64 > self.max_size {
            self.turn()?;
            file = self.file()?;
        }
        let size = file.metadata()?.len();
        let written = file.write_all(&text);
        if written.is_err() {
            // Half a line would not be one with the next.
            let _ = file.set_len(size);
        } else {
            self.file = Some(file);
        }
        written
    }

    /// The file that is there now: somebody may have moved it away.
    fn file(&mut self) -> io::Result<File> {
        let same = |file: &File| {
            let (ours, there) = (file.metadata().ok()?, fs::metadata(&self.path).ok()?);
            Some((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        if let Some(file) = self.file.take().filter(|file| same(file) == Some(true)) {
            return Ok(file);
        }
        let mut file = open(&self.path, true)?;
        // What a crash left of a line goes; the same line comes again, whole.
        let end = last_line(&mut file)?.0;
        file.set_len(end)?;
        Ok(file)
    }

    /// The file gets a number, and those that have one the next.
    fn turn(&mut self) -> io::Result<()> {
        for number in (1..TURNED).rev() {
            let older = self.turned(number);
            if older.exists() {
                fs::rename(older, self.turned(number + 1))?;
            }
        }
        fs::rename(&self.path, self.turned(1))
    }

    fn turned(&self, number: u32) -> PathBuf {
        self.path.with_file_name(format!("{NAME}.{number}"))
    }
}

/// Opens without waiting for the other end of a pipe that somebody put there.
fn open(path: &Path, to_write: bool) -> io::Result<File> {
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(without_waiting).mode(0o640);
    let file = options.append(to_write).create(to_write).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// Where the last whole line ends, and the last bytes up to there.
fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let size = file.metadata()?.len();
    let start = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    tail.truncate(whole);
    Ok((start + whole as u64, tail))
}

/// The last line that is a row.
fn last_row(file: &mut File) -> io::Result<Option<Row>> {
    let (_, tail) = last_line(file)?;
    let mut lines = tail.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
    Ok(lines.find_map(|line| serde_json::from_slice(line).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::audit::Entry;
    use std::convert::Infallible;

    fn chain(count: u64) -> Vec<Row> {
        let mut head = Head::default();
        let mut next = || {
            let row = Row::after(&head, Entry::new("ops", "apply"), false);
            head = row.head();
            row
        };
        (0..count).map(|_| next()).collect()
    }

    fn ship(lines: &mut Lines, rows: &[Row]) {
        lines
            .ship(rows.len() as u64, |after, limit| {
                let some = rows.iter().filter(|row| row.seq > after).take(limit as usize);
                Ok::<_, Infallible>(some.cloned().collect())
            })
            .unwrap_or_else(|never| match never {});
    }

    fn read(path: &Path) -> Vec<Row> {
        let text = fs::read_to_string(path).expect("readable");
        text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
    }

    #[test]
    fn a_line_that_was_cut_short_comes_again_and_none_is_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let rows = chain(7);
        ship(&mut Lines::in_directory(directory.path()), &rows[..4]);
        let path = directory.path().join(NAME);
        let whole = fs::read(&path).expect("readable");
        fs::write(&path, &whole[..whole.len() - 20]).expect("cut");
        let mut again = Lines::in_directory(directory.path());
        assert_eq!(again.tail().map(|head| head.count), Some(3));
        ship(&mut again, &rows);
        assert_eq!((read(&path), again.behind()), (rows, 0));
    }

    #[test]
    fn files_are_turned_by_size_and_moved_ones_are_not_written_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let rows = chain(40);
        let mut lines = Lines { max_size: 2_000, ..Lines::in_directory(directory.path()) };
        for count in 1..=rows.len() {
            ship(&mut lines, &rows[..count]);
        }
        let names = fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(names as u32, TURNED + 1);
        assert_eq!(
            read(&lines.turned(1)).last().map(|row| row.seq + 1),
            read(&lines.path).first().map(|row| row.seq)
        );
        fs::rename(&lines.path, directory.path().join("elsewhere")).expect("moved");
        ship(&mut lines, &chain(40)[..40]);
        let more = chain(41);
        ship(&mut lines, &more);
        assert_eq!(read(&lines.path).len(), 1, "as a tool that turns logs expects");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_counted_and_made_up_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let rows = chain(3);
        let mut lines = Lines::in_directory(directory.path());
        fs::create_dir(&lines.path).expect("in its way");
        ship(&mut lines, &rows);
        assert_eq!((lines.failures(), lines.behind()), (1, 3));
        fs::remove_dir(&lines.path).expect("out of its way");
        lines.retry_at = None;
        ship(&mut lines, &rows);
        assert_eq!((read(&lines.path), lines.behind()), (rows, 0));
    }
}
