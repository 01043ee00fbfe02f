//! Spools that no sink owns any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::position::PositionFile;
use super::segment::{self, Segment};

/// A spool with messages that nobody delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftSpool {
    /// Where it is.
    pub directory: PathBuf,
    /// Messages that were not delivered; 0 if another version wrote them.
    pub messages: u64,
    /// Bytes of its segments.
    pub bytes: u64,
}

/// The directories below `spools` that hold messages and are not among `owned`. Reads
/// all of them, and changes nothing.
///
/// # Errors
/// Those of the file system.
pub fn left_spools(spools: &Path, owned: &BTreeSet<PathBuf>) -> io::Result<Vec<LeftSpool>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(spools)? {
        let directory = entry?.path();
        if directory.is_dir() && !owned.contains(&directory) {
            let spool = look_into(directory)?;
            left.extend(Some(spool).filter(|spool| spool.bytes > 0));
        }
    }
    left.sort_by(|a, b| a.directory.cmp(&b.directory));
    Ok(left)
}

fn look_into(directory: PathBuf) -> io::Result<LeftSpool> {
    let delivered = PositionFile::read(&directory)?;
    let (mut messages, mut bytes) = (0, 0);
    for number in segment::numbers(&directory)? {
        let (segment, damaged) = Segment::inspect(&directory, number)?;
        let is_unreadable = segment.records == 0 && damaged > 0;
        if delivered.is_some_and(|delivered| number < delivered.segment) || (segment.records == 0 && !is_unreadable) {
            continue;
        }
        let done = delivered.filter(|delivered| delivered.segment == number).map_or(0, |delivered| delivered.records);
        let waiting = segment.records.saturating_sub(done);
        messages += waiting;
        if waiting > 0 || is_unreadable {
            bytes += fs::metadata(segment::path(&directory, number))?.len();
        }
    }
    Ok(LeftSpool { directory, messages, bytes })
}
