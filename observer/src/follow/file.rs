//! A log file, through its rotations.
//!
//! A file that is renamed is read on while it grows, beside those that take its name. What
//! comes and goes between two looks is found by what [`Directory`] saw of it: files that
//! had the log's name and have another now are read from their beginnings; of a file that
//! was copied and cut, the copy is read from where the file had been read to. What is
//! neither there any more nor was read is counted.

use std::collections::VecDeque;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use observer_core::mta::LINE_MAX;

use super::directory::Directory;
use super::lines::Lines;
use super::{From, LogCounts};

const CHUNK: usize = 64 << 10;
/// A server goes on writing to a file that was renamed until it is told: such a file is
/// read until it has not grown for so long.
const LINGER: Duration = Duration::from_secs(30);
/// Files that were renamed, of which one is read at a time.
const OLD_MAX: usize = 16;
/// So many bytes before the place that was read to are compared, to notice a file
/// that was cut and has grown again, and to know its copy.
const MARK: usize = 128;
/// What a copy is not that can be read.
const COMPRESSED: [&[u8]; 6] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".Z"];

/// An open file, and how far it was read.
#[derive(Debug)]
struct Open {
    file: File,
    position: u64,
    mark: Vec<u8>,
    lines: Lines,
}

/// A path, and the files that it has named.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    directory: Directory,
    current: Option<Open>,
    /// Those before, the first one first, each to be read until then.
    old: VecDeque<(Open, Instant)>,
    /// Files that got the name and have not been found yet; negative: found before the
    /// directory told.
    unfound: i64,
    /// The directory has changed since another file was looked for.
    has_changed: bool,
    chunk: Vec<u8>,
}

impl LogFile {
    pub(super) fn open(path: PathBuf, from: From) -> io::Result<Self> {
        let mut directory = Directory::of(&path);
        let current = match Open::new(&path) {
            Ok(mut open) => {
                open.begin(from)?;
                Some(open)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What was before is not asked for.
        directory.look();
        directory.trail().clear();
        Ok(Self {
            path,
            directory,
            current,
            old: VecDeque::new(),
            unfound: 0,
            has_changed: false,
            chunk: vec![0; CHUNK],
        })
    }

    /// The log has another name from now on, as one for each day has. The file of the old one is read until there is one of
    /// the new, and for a while after that.
    pub(super) fn go_to(&mut self, path: PathBuf) {
        if path != self.path {
            self.directory = Directory::of(&path);
            self.path = path;
            self.unfound = 0;
        }
    }

    /// Why files can come and go unnoticed.
    pub(super) fn trouble(&self) -> Option<String> {
        self.directory.trouble()
    }

    pub(super) fn poll(&mut self, counts: &mut LogCounts, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        for (old, until) in &mut self.old {
            if old.was_cut()? {
                counts.truncations += 1;
                old.move_to(0)?;
            }
            if old.read(&mut self.chunk, counts, take)? > 0 {
                *until = Instant::now() + LINGER;
                return Ok(true);
            }
        }
        self.old.retain(|(_, until)| *until > Instant::now());
        if let Some(current) = &mut self.current {
            if current.was_cut()? {
                self.begin_again(counts)?;
                return Ok(true);
            }
            if current.read(&mut self.chunk, counts, take)? > 0 {
                return Ok(true);
            }
        }
        self.look_for_another(counts)
    }

    /// At the end of the file: has another one taken its place?
    fn look_for_another(&mut self, counts: &mut LogCounts) -> io::Result<bool> {
        let has_changed = self.directory.look() | std::mem::take(&mut self.has_changed);
        let is_another = self.open_present(counts)?;
        let are_others = has_changed && self.open_former(counts);
        if has_changed {
            self.unfound += i64::try_from(self.directory.trail().appeared()).unwrap_or(i64::MAX);
        } else {
            // All that was told by now has been looked for twice.
            counts.unread_files += u64::try_from(self.unfound).unwrap_or_default();
            self.unfound = 0;
            self.directory.trail().forget_moves();
            self.directory.trail().forget_former();
        }
        counts.unread_files += u64::from(self.directory.trail().is_unsure());
        Ok(is_another || are_others)
    }

    /// Opens what the path names now, if it is another file.
    fn open_present(&mut self, counts: &mut LogCounts) -> io::Result<bool> {
        let found = match self.path.metadata() {
            Ok(found) => found,
            // Renamed, and not made anew yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(current) = &self.current
            && identity(&current.file.metadata()?) == identity(&found)
        {
            return Ok(false);
        }
        // One that was renamed may have come back.
        let is_found = |(old, _): &(Open, _)| old.file.metadata().is_ok_and(|old| identity(&old) == identity(&found));
        let back = self.old.iter().position(is_found).and_then(|at| self.old.remove(at));
        let next = match back {
            Some((back, _)) => back,
            None => Open::new(&self.path)?,
        };
        self.unfound -= i64::from(self.directory.trouble().is_none());
        if let Some(old) = self.current.replace(next) {
            counts.rotations += 1;
            self.keep(old, LINGER, counts);
        }
        Ok(true)
    }

    /// Opens the files that have had the name, and never were open.
    fn open_former(&mut self, counts: &mut LogCounts) -> bool {
        let mut is_any = false;
        for name in self.directory.trail().former() {
            // One that cannot be opened is not found.
            let Ok(file) = Open::new(&self.directory.file(&name)) else { continue };
            if !self.has(&file) {
                is_any = true;
                counts.rotations += 1;
                self.unfound -= 1;
                self.keep(file, LINGER, counts);
            }
        }
        is_any
    }

    /// The file was cut. If it was copied before, the rest is in the copy; and whole files
    /// are in the copies after that, if it was cut several times.
    fn begin_again(&mut self, counts: &mut LogCounts) -> io::Result<()> {
        counts.truncations += 1;
        self.has_changed |= self.directory.look();
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let mut is_found = false;
        for name in self.directory.trail().made() {
            let Ok(mut copy) = Open::new(&self.directory.file(&name)) else { continue };
            if COMPRESSED.iter().any(|end| name.ends_with(end)) || self.has(&copy) {
                continue;
            }
            if !is_found {
                let is_copy = copy.holds(&current).unwrap_or_default();
                if !is_copy || copy.move_to(current.position).is_err() {
                    continue;
                }
                is_found = true;
                copy.lines = std::mem::replace(&mut current.lines, Lines::new(LINE_MAX));
            }
            self.keep(copy, Duration::ZERO, counts);
        }
        counts.unread_ends += u64::from(!is_found);
        let moved = current.move_to(0);
        self.current = Some(current);
        self.directory.trail().forget_moves();
        self.directory.trail().forget_made();
        moved
    }

    /// Reads a file on, beside the present one.
    fn keep(&mut self, old: Open, linger: Duration, counts: &mut LogCounts) {
        if self.old.len() >= OLD_MAX {
            // Perhaps it had been read to its end.
            counts.unread_ends += 1;
            self.old.pop_front();
        }
        self.old.push_back((old, Instant::now() + linger));
    }

    /// True if it is open already.
    fn has(&self, other: &Open) -> bool {
        let identity = |open: &Open| open.file.metadata().ok().map(|file| identity(&file));
        let all = self.old.iter().map(|(old, _)| old).chain(&self.current);
        identity(other).is_none_or(|other| all.filter_map(identity).any(|known| known == other))
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        // A pipe would block, and a terminal become ours.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { file, position: 0, mark: Vec::new(), lines: Lines::new(LINE_MAX) })
    }

    fn begin(&mut self, from: From) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let position = match from {
            From::End => len,
            From::Back(bytes) => len.saturating_sub(bytes),
        };
        self.move_to(position)?;
        if position > 0 {
            let mut before = [0];
            let is_line_end = self.file.read_at(&mut before, position - 1)? == 1 && before == *b"\n";
            self.lines = if is_line_end { Lines::new(LINE_MAX) } else { Lines::in_the_middle(LINE_MAX) };
        }
        Ok(())
    }

    fn move_to(&mut self, position: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(position))?;
        self.position = position;
        self.mark.resize(MARK.min(usize::try_from(position).unwrap_or(MARK)), 0);
        let before = position - self.mark.len() as u64;
        self.file.read_exact_at(&mut self.mark, before)?;
        self.lines = Lines::new(LINE_MAX);
        Ok(())
    }

    /// Reads a chunk; returns its size, 0 at the end.
    fn read(&mut self, chunk: &mut [u8], counts: &mut LogCounts, take: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let read = match self.file.read(chunk) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => 0,
            Err(error) => return Err(error),
        };
        let chunk = &chunk[..read];
        self.position += read as u64;
        if read > 0 {
            self.mark.extend_from_slice(&chunk[read.saturating_sub(MARK)..]);
            self.mark.drain(..self.mark.len().saturating_sub(MARK));
        }
        counts.too_long += self.lines.split(chunk, take);
        Ok(read)
    }

    /// True if the file is shorter than it was, or not what it was.
    fn was_cut(&self) -> io::Result<bool> {
        // It may have grown to the same length again.
        if self.file.metadata()?.len() < self.position {
            return Ok(true);
        }
        Ok(!self.has_mark_of(self)?)
    }

    /// True if this is a copy of what was read of another file, and perhaps more of it.
    fn holds(&self, other: &Self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() >= other.position && self.has_mark_of(other)?)
    }

    /// True if the bytes before the place that another file was read to are the same here.
    fn has_mark_of(&self, other: &Self) -> io::Result<bool> {
        let mut here = [0; MARK];
        let here = &mut here[..other.mark.len()];
        let read = self.file.read_at(here, other.position - other.mark.len() as u64)?;
        Ok(here[..read] == other.mark)
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
