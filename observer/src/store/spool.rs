//! A bounded queue on disk between the pipeline and a sink.
//!
//! # What is promised
//! Messages come out in the order in which they went in, each at least once. One
//! comes out again only after [`SpoolReader::rewind`], or after an end of the process
//! or the host, and only if it had not been acknowledged, or a moment before.
//!
//! A message that [`SpoolWriter::append`] took is in the kernel's page cache: it
//! outlives this process, however that ends. [`SpoolWriter::sync`] brings it to the
//! disk, where it outlives the host; whoever appends calls that once a second.
//! Nothing else waits for the disk.
//!
//! What is damaged on the disk costs itself: a record whose checksum is wrong is left
//! out, and where not even its length can be believed, the rest of its segment.
//!
//! # Who waits for whom
//! One thread writes and another reads. They share an `index` of what is where, in
//! memory: its lock is never held while a file is written, synced, read or removed, so
//! that neither of them waits for the other's disk, and whoever asks for the
//! [`SpoolStatus`] waits for none.

mod index;
mod left;
mod position;
mod reader;
pub mod record;
mod segment;
mod writer;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use self::index::Index;

pub use self::left::{LeftSpool, left_spools};
use self::position::PositionFile;
pub use self::reader::SpoolReader;
use self::segment::Segment;
pub use self::writer::SpoolWriter;
use observer_core::choice::Choice;

/// How much a spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all of its segments.
    pub bytes: u64,
    /// Bytes of one segment; the oldest goes whole.
    pub segment_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

/// What happens to messages that find a spool full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest segment goes.
    #[default]
    DropOldest,
    /// The new messages go.
    DropNewest,
}

impl Choice for WhenFull {
    const ALL: &'static [Self] = &[Self::DropOldest, Self::DropNewest];

    fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
        }
    }
}

/// How full a spool is, and what it has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Messages that were not acknowledged.
    pub messages: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// When the oldest of its messages was spooled, or somewhat earlier.
    pub oldest: Option<Timestamp>,
    /// Messages that went because it was full.
    pub dropped: u64,
    /// Messages too long to be spooled.
    pub too_long: u64,
    /// Damaged records, or places where some were.
    pub corrupt_records: u64,
}

impl SpoolStatus {
    /// What was lost before it was delivered, by cause. Damage is not among it: how
    /// much that was, nobody knows.
    pub fn drops(&self) -> [(&'static str, u64); 2] {
        [("spool full", self.dropped), ("too long for the spool", self.too_long)]
    }

    /// All of [`Self::drops`].
    pub fn dropped_total(&self) -> u64 {
        self.drops().iter().map(|(_, count)| count).sum()
    }
}

/// A spool that was opened. One process at a time has it open, until both halves are
/// dropped.
#[derive(Debug)]
pub struct Spool {
    /// For the thread that puts messages in.
    pub writer: SpoolWriter,
    /// For the thread that delivers them.
    pub reader: SpoolReader,
    /// For whoever wants to know how full it is.
    pub handle: SpoolHandle,
}

impl Spool {
    /// Opens the spool in `directory`, which is made if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be used, or another process has it open
    /// ([`io::ErrorKind::ResourceBusy`]).
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        make_directory(directory)?;
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process has it open"))?;
        let (position, delivered) = PositionFile::open(directory)?;
        let mut segments = Vec::new();
        let mut corrupt_records = 0;
        for number in segment::numbers(directory)? {
            let (segment, damaged) = Segment::inspect(directory, number)?;
            if segment.records == 0 || delivered.is_some_and(|delivered| number < delivered.segment) {
                segment.remove(directory)?;
            } else {
                segments.push(segment);
            }
            corrupt_records += damaged;
        }
        // Never a number twice: a position may still name it.
        let last = segments.last().map(|segment| segment.number).max(delivered.map(|at| at.segment));
        let (newest, file) = Segment::create(directory, last.map_or(1, |last| last + 1))?;
        segments.push(newest);
        let index = Arc::new(Mutex::new(Index::new(segments, delivered, limits, corrupt_records)));
        let files = Arc::new(Files {
            index: Arc::clone(&index),
            handle: File::open(directory)?,
            directory: directory.to_owned(),
            is_directory_dirty: AtomicBool::new(true),
            _lock: lock,
        });
        Ok(Self {
            writer: SpoolWriter::new(Arc::clone(&files), newest, file),
            reader: SpoolReader::new(files, position, delivered.unwrap_or_default()),
            handle: SpoolHandle(index),
        })
    }
}

/// Makes the directory, so that it outlives the host.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// What both halves of a spool share.
#[derive(Debug)]
struct Files {
    index: Arc<Mutex<Index>>,
    directory: PathBuf,
    /// The directory, to sync it.
    handle: File,
    /// Files were made or removed since it was synced.
    is_directory_dirty: AtomicBool,
    /// Locked as long as it is open.
    _lock: File,
}

impl Files {
    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Removes files of segments that the index no longer has. Those that cannot be
    /// removed are put back into it.
    fn remove(&self, segments: &[Segment]) -> io::Result<()> {
        let mut result = Ok(());
        for segment in segments {
            if let Err(error) = segment.remove(&self.directory) {
                self.index().restore(*segment);
                result = Err(error);
            }
        }
        if !segments.is_empty() {
            self.is_directory_dirty.store(true, Ordering::Release);
        }
        result
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.is_directory_dirty.swap(false, Ordering::AcqRel)
            && let Err(error) = self.handle.sync_all()
        {
            self.is_directory_dirty.store(true, Ordering::Release);
            return Err(error);
        }
        Ok(())
    }
}

/// Tells how full a spool is, and limits it. Never waits for a disk.
#[derive(Clone, Debug)]
pub struct SpoolHandle(Arc<Mutex<Index>>);

impl SpoolHandle {
    /// How full it is.
    pub fn status(&self) -> SpoolStatus {
        lock(&self.0).status()
    }

    /// Other limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.0).limits = limits;
    }
}

/// A panic while counting leaves an index that is still worth reading.
fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
