//! Reads a mail server's log as it grows. Nothing is written, locked or moved.

mod directory;
mod file;
mod journal;
mod lines;
#[cfg(test)]
mod tests;
mod trail;

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::file::LogFile;
use self::journal::Journal;
pub use observer_core::mta::LogCounts as Counts;

use crate::mta::stamp::Clock;
use crate::mta::{Kind, Line, parse};

const JOURNALCTL: &str = "journalctl";
/// Where it may be beside PATH.
const DIRECTORIES: [&str; 2] = ["/usr/bin", "/bin"];

/// Where journalctl is on this host.
pub fn journalctl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    places.map(|place| place.join(JOURNALCTL)).find(|file| file.is_file())
}

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, which may be rotated, by renaming or by copying and truncating.
    File(PathBuf),
    /// The journal: what comes with the facility `mail`.
    Journal,
}

/// Where in a log to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At its end: what is logged from now on.
    End,
    /// So many bytes before the end of a file; of the journal, so many entries of
    /// 200 bytes.
    Back(u64),
}

#[derive(Debug)]
enum Log {
    File(LogFile),
    Journal(Journal),
}

/// Reads one log of one server, in a bounded memory: a chunk, and the beginning of a
/// line.
#[derive(Debug)]
pub struct Follower {
    kind: Kind,
    zone: TimeZone,
    log: Log,
    counts: Counts,
}

impl Follower {
    /// Opens a log. A file that does not exist yet is read from its beginning when it
    /// does.
    ///
    /// # Errors
    /// If it can't be read, is no regular file, or journalctl can't be started.
    pub fn open(kind: Kind, place: &Place, from: From) -> io::Result<Self> {
        let log = match place {
            Place::File(path) => Log::File(LogFile::open(path.clone(), from)?),
            Place::Journal => {
                let program = journalctl().ok_or(io::ErrorKind::NotFound)?;
                Log::Journal(Journal::start(&program, from)?)
            }
        };
        Ok(Self { kind, zone: TimeZone::system(), log, counts: Counts::default() })
    }

    /// Hands over the lines that have come since, a chunk at most; true if there may
    /// be more at once. Never waits.
    ///
    /// # Errors
    /// If it can't be read any more. It may be tried again later.
    pub fn poll(&mut self, now: Timestamp, mut take: impl FnMut(Line)) -> io::Result<bool> {
        let clock = Clock { now, zone: self.zone.clone() };
        let (kind, counts) = (self.kind, &mut self.counts);
        let mut lines = 0;
        let mut deliveries = 0;
        let mut tell = |line: Option<Line>| {
            lines += 1;
            if let Some(line) = line {
                deliveries += 1;
                take(line);
            }
        };
        let more = match &mut self.log {
            Log::File(file) => file.poll(counts, &mut |line| tell(parse(kind, line, &clock))),
            Log::Journal(journal) => journal.poll(counts, &mut |line| tell(journal::entry(kind, line, &clock))),
        };
        counts.lines += lines;
        counts.deliveries += deliveries;
        more
    }

    /// Why files can come and go unnoticed; `None`: they cannot.
    pub fn trouble(&self) -> Option<String> {
        match &self.log {
            Log::File(file) => file.trouble(),
            Log::Journal(_) => None,
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
