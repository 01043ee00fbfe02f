//! Up to where a spool was delivered, in a small file.
//!
//! It is overwritten by a single write, which no end of the process can halve; if
//! the host's end does, the checksum tells, and all that is there is sent again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::segment::MODE;

const NAME: &str = "delivered";
const LEN: usize = 28;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Bytes from its beginning.
    pub(super) offset: u64,
    /// Readable records before it in this segment.
    pub(super) records: u64,
}

impl Position {
    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; LEN]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let crc = bytes[24..].first_chunk().map(|chunk| u32::from_le_bytes(*chunk))?;
        let position = Self { segment: number(0)?, offset: number(8)?, records: number(16)? };
        (crc32fast::hash(&bytes[..24]) == crc).then_some(position)
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct PositionFile(File);

impl PositionFile {
    /// Opens it, and reads what it says, if that is in order.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<Position>)> {
        let path = directory.join(NAME);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
        let position = read(&file);
        Ok((Self(file), position))
    }

    /// What the file in a directory says, if there is one and it is in order.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Position>> {
        match File::open(directory.join(NAME)) {
            Ok(file) => Ok(read(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        self.0.write_all_at(&position.to_bytes(), 0)
    }
}

fn read(file: &File) -> Option<Position> {
    let mut bytes = [0; LEN];
    file.read_exact_at(&mut bytes, 0).ok().and_then(|()| Position::from_bytes(&bytes))
}
