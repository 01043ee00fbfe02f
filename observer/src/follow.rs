//! Reads a mail server's log as it grows. Nothing is written, locked or moved.

mod directory;
mod file;
mod journal;
mod lines;
#[cfg(test)]
mod tests;
mod trail;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::file::LogFile;
use self::journal::Journal;

pub use observer_core::mta::LogCounts;

use observer_core::mta::stamp::Clock;
use observer_core::mta::{Line, MtaKind, Reading, Understanding, Writer, entry_text, read, read_entry};

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
    /// A file, which may be rotated, by renaming or by copying and truncating; or one for each day or month, with the
    /// `%D` or `%M` of Exim's `log_file_path` in its name.
    File(PathBuf),
    /// The journal: what comes with the facility `mail`, or from a container.
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
    kind: MtaKind,
    zone: TimeZone,
    log: Log,
    /// The path, where its name has a date in it.
    dated: Option<PathBuf>,
    counts: LogCounts,
    understanding: Understanding,
}

impl Follower {
    /// Opens a log. A file that does not exist yet is read from its beginning when it
    /// does.
    ///
    /// # Errors
    /// If it can't be read, is no regular file, or journalctl can't be started.
    pub fn open(kind: MtaKind, place: &Place, from: From) -> io::Result<Self> {
        let zone = TimeZone::system();
        let (log, dated) = match place {
            Place::File(path) => {
                let now = named_at(path, Timestamp::now(), &zone);
                let is_dated = now != *path;
                (Log::File(LogFile::open(now, from)?), is_dated.then(|| path.clone()))
            }
            Place::Journal => {
                let program = journalctl().ok_or(io::ErrorKind::NotFound)?;
                (Log::Journal(Journal::start(&program, from)?), None)
            }
        };
        let (counts, understanding) = (LogCounts::default(), Understanding::default());
        Ok(Self { kind, zone, log, dated, counts, understanding })
    }

    /// Hands over the lines that have come since, a chunk at most; true if there may
    /// be more at once. Never waits.
    ///
    /// # Errors
    /// If it can't be read any more. It may be tried again later.
    pub fn poll(&mut self, now: Timestamp, mut take: impl FnMut(Line)) -> io::Result<bool> {
        let clock = Clock { now, zone: self.zone.clone() };
        let (kind, counts, understanding) = (self.kind, &mut self.counts, &mut self.understanding);
        let mut read_so_far = LogCounts::default();
        let mut tell = |reading: Reading, shown: &[u8]| {
            read_so_far.lines += 1;
            read_so_far.understood += u64::from(reading.writer == Writer::Server);
            read_so_far.deliveries += u64::from(!reading.lines.is_empty());
            understanding.take(shown, reading.writer);
            reading.lines.into_iter().for_each(&mut take);
        };
        let more = match &mut self.log {
            Log::File(file) => {
                if let Some(path) = &self.dated {
                    file.go_to(named_at(path, now, &self.zone));
                }
                file.poll(counts, &mut |line| tell(read(kind, line, &clock), line))
            }
            Log::Journal(journal) => journal.poll(counts, &mut |line| {
                let reading = read_entry(kind, line, &clock);
                let shown = if reading.writer == Writer::Server { None } else { entry_text(line) };
                tell(reading, shown.as_ref().map_or(line, String::as_bytes));
            }),
        };
        counts.lines += read_so_far.lines;
        counts.understood += read_so_far.understood;
        counts.deliveries += read_so_far.deliveries;
        more
    }

    /// How many lines came of which none is understood, and the first of them; `None` if one is.
    pub fn not_understood(&self) -> Option<(u64, &str)> {
        self.understanding.nothing()
    }

    /// Why files can come and go unnoticed; `None`: they cannot.
    pub fn trouble(&self) -> Option<String> {
        match &self.log {
            Log::File(file) => file.trouble(),
            Log::Journal(_) => None,
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }
}

/// The path with the date in the place of Exim's `%D` and `%M`, and the name of the log in that of `%s`.
fn named_at(path: &Path, now: Timestamp, zone: &TimeZone) -> PathBuf {
    let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| name.contains("%D") || name.contains("%M"))
    else {
        return path.to_owned();
    };
    let date = zone.to_datetime(now).date();
    let day = date.strftime("%Y%m%d").to_string();
    path.with_file_name(name.replace("%s", "main").replace("%D", &day).replace("%M", &day[..6]))
}
