//! Segments as files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::record::{self, MAGIC};

/// Readable by nobody else: messages name users and hosts.
pub(super) const MODE: u32 = 0o600;
const ENDING: &str = "segment";

/// What is known of a segment without looking into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Their order.
    pub(super) number: u64,
    /// Where the next record goes.
    pub(super) bytes: u64,
    /// Records that can be read.
    pub(super) records: u64,
    /// When the first was spooled.
    pub(super) first: Option<Timestamp>,
}

impl Segment {
    /// Makes an empty one.
    pub(super) fn create(directory: &Path, number: u64) -> io::Result<(Self, File)> {
        let path = path(directory, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(MODE).open(&path)?;
        if let Err(error) = file.write_all_at(&MAGIC, 0) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok((Self { number, bytes: MAGIC.len() as u64, records: 0, first: None }, file))
    }

    /// Looks into one that another process has left; the second value counts its
    /// damaged places.
    pub(super) fn inspect(directory: &Path, number: u64) -> io::Result<(Self, u64)> {
        let bytes = fs::read(path(directory, number))?;
        if !bytes.starts_with(&MAGIC) {
            let damaged = u64::from(!bytes.is_empty());
            return Ok((Self { number, bytes: 0, records: 0, first: None }, damaged));
        }
        let census = record::census(&bytes, MAGIC.len());
        let segment = Self { number, bytes: bytes.len() as u64, records: census.records, first: census.first };
        Ok((segment, census.damaged))
    }

    /// Opens it for reading.
    pub(super) fn open(&self, directory: &Path) -> io::Result<File> {
        File::open(path(directory, self.number))
    }

    /// Removes the file. One that is gone already is no error.
    pub(super) fn remove(&self, directory: &Path) -> io::Result<()> {
        match fs::remove_file(path(directory, self.number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The numbers of all segments in a directory, in their order.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            numbers.extend(stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.{ENDING}"))
}
