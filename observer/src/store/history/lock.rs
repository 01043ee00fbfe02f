//! One recorder a file: two would write every attempt twice, since each kernel
//! session gives an attempt an id of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Error, Result};

/// Owner and group look inside, nobody else.
const DIRECTORY_MODE: u32 = 0o750;
/// The owner writes, the group reads. SQLite gives its two side files the mode
/// of the database.
const FILE_MODE: u32 = 0o640;

/// Held while a recorder lives. The lock is on a file of its own: closing a
/// descriptor of the database would release SQLite's locks.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the directory (one level), takes the lock and makes the file, empty,
/// with the right mode.
pub(super) fn prepare(path: &Path) -> Result<Lock> {
    make_directory(path)?;
    let lock = open(&lock_path(path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    // Before SQLite opens it: closing it later would release SQLite's locks.
    drop(open(path)?);
    Ok(Lock { _file: lock })
}

/// Makes the directory that the file is to lie in, if it is missing: one level.
///
/// # Errors
/// If it cannot be made.
pub fn make_directory(path: &Path) -> Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    Ok(options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?)
}

/// Device and inode of a file.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// `history.sqlite` has `history.sqlite-lock` beside it.
pub const LOCK_SUFFIX: &str = "-lock";

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOCK_SUFFIX);
    PathBuf::from(name)
}
