//! A log file, through its rotations.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::lines::Lines;
use super::{Counts, From};
use crate::mta::LINE_MAX;

const CHUNK: usize = 64 << 10;
/// A server goes on writing to a file that was renamed until it is told.
const LINGER: Duration = Duration::from_secs(30);
/// So many bytes before the place that was read to are compared, to notice a file
/// that was cut and has grown again.
const MARK: usize = 32;

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
    current: Option<Open>,
    /// The one before, to be read until then.
    old: Option<(Open, Instant)>,
    chunk: Vec<u8>,
}

impl LogFile {
    pub(super) fn open(path: PathBuf, from: From) -> io::Result<Self> {
        let current = match Open::new(&path) {
            Ok(mut open) => {
                open.begin(from)?;
                Some(open)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, current, old: None, chunk: vec![0; CHUNK] })
    }

    pub(super) fn poll(&mut self, counts: &mut Counts, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        if let Some((old, until)) = &mut self.old {
            if old.read(&mut self.chunk, counts, take)? > 0 {
                return Ok(true);
            }
            if *until <= Instant::now() {
                self.old = None;
            }
        }
        if let Some(current) = &mut self.current
            && current.read(&mut self.chunk, counts, take)? > 0
        {
            return Ok(true);
        }
        self.look_for_another(counts)
    }

    /// At the end of the file: has another one taken its place?
    fn look_for_another(&mut self, counts: &mut Counts) -> io::Result<bool> {
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
        let next = Open::new(&self.path)?;
        if let Some(old) = self.current.replace(next) {
            counts.rotations += 1;
            self.old = Some((old, Instant::now() + LINGER));
        }
        Ok(true)
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
        self.mark.clear();
        self.lines = Lines::new(LINE_MAX);
        Ok(())
    }

    /// Reads a chunk; returns its size, 0 at the end.
    fn read(&mut self, chunk: &mut [u8], counts: &mut Counts, take: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        if self.was_cut()? {
            counts.truncations += 1;
            self.move_to(0)?;
        }
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
        let len = self.file.metadata()?.len();
        if len <= self.position {
            return Ok(len < self.position);
        }
        let mut now = [0; MARK];
        let now = &mut now[..self.mark.len()];
        let read = self.file.read_at(now, self.position - self.mark.len() as u64)?;
        Ok(now[..read] != self.mark)
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
