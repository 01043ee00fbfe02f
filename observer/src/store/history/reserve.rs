//! Room on the disk that nobody else gets: retention needs some to delete, for what is
//! deleted goes through the write-ahead log, and a full disk is where it is needed most.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// `history.sqlite` has `history.sqlite-reserve` beside it.
pub const RESERVE_SUFFIX: &str = "-reserve";
/// Readable by nobody else, as it is made; there is nothing in it.
const MODE: u32 = 0o600;
/// Of how much history may hold, this part; between these bounds.
const PART: u64 = 64;
const LEAST: u64 = 1 << 20;
const MOST: u64 = 16 << 20;

/// A file `history.sqlite-reserve` that holds room, beside the database.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_held: bool,
}

impl Reserve {
    /// Beside the database at `path`, which may have so many bytes. Holds nothing yet.
    pub(super) fn beside(path: &Path, limit: u64) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(RESERVE_SUFFIX);
        Self { path: name.into(), bytes: (limit / PART).clamp(LEAST, MOST), is_held: false }
    }

    /// Takes the room, if there is some and it is not held already.
    pub(super) fn hold(&mut self) {
        if !self.is_held {
            // Without it, history goes on as long as there is room.
            self.is_held = self.try_hold().is_ok();
        }
    }

    fn try_hold(&self) -> io::Result<()> {
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&self.path)?;
        if let Err(error) = self.allocate(&options) {
            let _ = fs::remove_file(&self.path);
            return Err(error);
        }
        Ok(())
    }

    fn allocate(&self, file: &File) -> io::Result<()> {
        if file.metadata()?.len() != self.bytes {
            file.set_len(0)?;
        }
        Ok(fallocate(file, FallocateFlags::empty(), 0, self.bytes)?)
    }

    /// Gives the room back, for the database to use, also what another process held.
    /// False if there was none.
    pub(super) fn release(&mut self) -> bool {
        self.is_held = false;
        fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn holds_room_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::beside(&directory.path().join("history.sqlite"), 128 << 20);
        reserve.hold();
        let held = fs::metadata(directory.path().join("history.sqlite-reserve")).unwrap();
        assert_eq!((held.len(), held.blocks() * 512 >= 2 << 20), (2 << 20, true));
        assert!(reserve.release() && !reserve.release());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        reserve.hold();
        assert!(reserve.is_held);
    }
}
