//! A bounded queue on disk between the pipeline and a sink.
//!
//! # What is promised
//! Messages come out in the order in which they went in, each at least once. One
//! comes out again only after [`Spool::rewind`], or after an end of the process or
//! the host, and only if it had not been acknowledged, or a moment before.
//!
//! A message that [`Spool::append`] took is in the kernel's page cache: it outlives
//! this process, however that ends. [`Spool::sync`] brings it to the disk, where it
//! outlives the host; whoever appends calls that once a second. Nothing else waits
//! for the disk.
//!
//! What is damaged on the disk costs itself: a record whose checksum is wrong is left
//! out, and where not even its length can be believed, the rest of its segment.

mod position;
pub mod record;
mod segment;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use self::position::{Position, PositionFile};
use self::record::{MAGIC, Parsed};
use self::segment::Segment;
use crate::choice::Choice;
use observer_core::record::message::Message;

/// Messages that were taken and not acknowledged, at most.
const TAKEN_MAX: usize = 131_072;
/// Bytes read at once.
const READ: usize = 1 << 20;

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
pub struct Status {
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

impl Status {
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

/// A record that was taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Where the next one begins.
    end: Position,
    time: Timestamp,
}

/// The queue. One process at a time has it open.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    limits: Limits,
    /// In their order; the last one is written to. Never empty.
    segments: VecDeque<Segment>,
    writer: File,
    is_dirty: bool,
    /// Up to here everything is acknowledged.
    acknowledged: Position,
    acknowledged_time: Option<Timestamp>,
    /// Up to here everything is taken.
    next: Position,
    taken: VecDeque<Taken>,
    reader: Reader,
    position: PositionFile,
    written: Position,
    dropped: u64,
    too_long: u64,
    corrupt_records: u64,
    /// Locked as long as it is open.
    _lock: File,
}

impl Spool {
    /// Opens the spool in `directory`, which is made if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be used, or another process has it open.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process has it open"))?;
        let (position, delivered) = PositionFile::open(directory)?;
        let mut segments = VecDeque::new();
        let mut corrupt_records = 0;
        for number in segment::numbers(directory)? {
            let (segment, damaged) = Segment::inspect(directory, number)?;
            if segment.records == 0 || delivered.is_some_and(|delivered| number < delivered.segment) {
                segment.remove(directory)?;
            } else {
                segments.push_back(segment);
            }
            corrupt_records += damaged;
        }
        // Never a number twice: a position may still name it.
        let last = segments.back().map(|segment: &Segment| segment.number).max(delivered.map(|at| at.segment));
        let (newest, writer) = Segment::create(directory, last.map_or(1, |last| last + 1))?;
        segments.push_back(newest);
        let oldest = &segments[0];
        let start = Position { segment: oldest.number, offset: MAGIC.len() as u64, records: 0 };
        let is_within = |at: &Position| at.segment == oldest.number && at.records <= oldest.records;
        let acknowledged = delivered.filter(is_within).unwrap_or(start);
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            segments,
            writer,
            is_dirty: false,
            acknowledged,
            acknowledged_time: None,
            next: acknowledged,
            taken: VecDeque::new(),
            reader: Reader::default(),
            position,
            written: delivered.unwrap_or_default(),
            dropped: 0,
            too_long: 0,
            corrupt_records,
            _lock: lock,
        })
    }

    /// Puts messages in, all of them or none; those that find no room are counted.
    ///
    /// # Errors
    /// Those of the file system, such as a full disk. Nothing was put in then.
    pub fn append(&mut self, messages: &[Message], now: Timestamp) -> io::Result<()> {
        let (mut bytes, mut records, mut too_long) = (Vec::new(), 0, 0);
        for message in messages {
            if record::append(message, now, &mut bytes) {
                records += 1;
            } else {
                too_long += 1;
            }
        }
        self.make_room(bytes.len() as u64)?;
        if self.limits.when_full == WhenFull::DropNewest && self.bytes() + bytes.len() as u64 > self.limits.bytes {
            self.dropped += records;
        } else {
            self.write(&bytes, records, now)?;
        }
        self.too_long += too_long;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], records: u64, now: Timestamp) -> io::Result<()> {
        let newest = self.segments.len() - 1;
        let segment = &mut self.segments[newest];
        if let Err(error) = self.writer.write_all_at(bytes, segment.bytes) {
            // Half a record would hide what is written behind it.
            let _ = self.writer.set_len(segment.bytes);
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        segment.records += records;
        if records > 0 {
            segment.first.get_or_insert(now);
        }
        self.is_dirty = true;
        Ok(())
    }

    /// Begins another segment if this one is full, and drops old ones.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let is_full = |spool: &Self| spool.bytes() + bytes > spool.limits.bytes;
        let newest = &self.segments[self.segments.len() - 1];
        let drops_oldest = self.limits.when_full == WhenFull::DropOldest;
        let is_segment_full = newest.bytes + bytes > self.limits.segment_bytes;
        if newest.records > 0 && (is_segment_full || (drops_oldest && self.segments.len() == 1 && is_full(self))) {
            self.writer.sync_data()?;
            let (segment, writer) = Segment::create(&self.directory, newest.number + 1)?;
            self.segments.push_back(segment);
            self.writer = writer;
        }
        while drops_oldest && is_full(self) && self.segments.len() > 1 {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// What was taken of it may have been delivered: that is seen when it is
    /// acknowledged, or taken back.
    fn drop_oldest(&mut self) -> io::Result<()> {
        let oldest = &self.segments[0];
        oldest.remove(&self.directory)?;
        if self.next.segment == oldest.number {
            self.dropped += oldest.records.saturating_sub(self.next.records);
            self.next = start_of(&self.segments[1]);
        }
        self.segments.pop_front();
        Ok(())
    }

    /// The next messages, at most so many, and not much more than so many bytes.
    /// None if too many were taken and not acknowledged.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(&mut self, messages: usize, bytes: usize) -> io::Result<Vec<Message>> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while batch.len() < messages && batch_bytes < bytes && self.taken.len() < TAKEN_MAX {
            let Some((message, time)) = self.read()? else { break };
            batch_bytes += message.body.len();
            batch.push(message);
            self.taken.push_back(Taken { end: self.next, time });
        }
        Ok(batch)
    }

    /// The next readable record, which `self.next` then lies behind.
    fn read(&mut self) -> io::Result<Option<(Message, Timestamp)>> {
        loop {
            let Some(segment) = self.segments.iter().find(|segment| segment.number == self.next.segment) else {
                return Ok(None);
            };
            match self.reader.parse(segment, self.next.offset, &self.directory)? {
                Some(Parsed::Record { message, time, len }) => {
                    self.next.offset += len as u64;
                    self.next.records += 1;
                    return Ok(Some((message, time)));
                }
                Some(Parsed::Damaged(len)) => self.next.offset += len as u64,
                Some(Parsed::Incomplete(_) | Parsed::Lost) | None => {
                    let later = self.segments.iter().find(|later| later.number > self.next.segment);
                    let Some(later) = later else { return Ok(None) };
                    // Damage since it was counted.
                    self.corrupt_records += segment.records.saturating_sub(self.next.records);
                    self.next = start_of(later);
                }
            }
        }
    }

    /// The next `count` messages of those that were taken are delivered.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn acknowledge(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            let Some(taken) = self.taken.pop_front() else { break };
            if taken.end.segment >= self.segments[0].number {
                (self.acknowledged, self.acknowledged_time) = (taken.end, Some(taken.time));
            }
        }
        let oldest_needed = self.taken.front().map_or(self.next, |_| self.acknowledged).segment;
        while self.segments.len() > 1 && self.segments[0].number < oldest_needed {
            self.segments[0].remove(&self.directory)?;
            self.segments.pop_front();
        }
        if self.acknowledged.segment < self.segments[0].number {
            self.acknowledged = start_of(&self.segments[0]);
        }
        self.write_position()
    }

    /// Takes back what was taken and not acknowledged: it comes again.
    pub fn rewind(&mut self) {
        let oldest = self.segments[0].number;
        self.dropped += self.taken.iter().filter(|taken| taken.end.segment < oldest).count() as u64;
        self.taken.clear();
        if self.acknowledged.segment < oldest {
            self.acknowledged = start_of(&self.segments[0]);
        }
        self.next = self.acknowledged;
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.writer.sync_data()?;
            self.is_dirty = false;
        }
        self.write_position()
    }

    fn write_position(&mut self) -> io::Result<()> {
        if self.written != self.acknowledged {
            self.position.write(self.acknowledged)?;
            self.written = self.acknowledged;
        }
        Ok(())
    }

    /// Other limits from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How full it is.
    pub fn status(&self) -> Status {
        let records: u64 = self.segments.iter().map(|segment| segment.records).sum();
        let is_in_oldest = self.acknowledged.segment == self.segments[0].number;
        let messages = records.saturating_sub(if is_in_oldest { self.acknowledged.records } else { 0 });
        let first = self.segments.iter().find_map(|segment| segment.first);
        Status {
            messages,
            bytes: self.bytes(),
            oldest: first.max(self.acknowledged_time).filter(|_| messages > 0),
            dropped: self.dropped,
            too_long: self.too_long,
            corrupt_records: self.corrupt_records,
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Nobody is left to tell; what is not said is sent again.
        let _ = self.sync();
    }
}

fn start_of(segment: &Segment) -> Position {
    Position { segment: segment.number, offset: MAGIC.len() as u64, records: 0 }
}

/// A part of the segment that is read.
#[derive(Debug, Default)]
struct Reader {
    file: Option<(u64, File)>,
    /// Where in the segment `bytes` begins.
    offset: u64,
    bytes: Vec<u8>,
}

impl Reader {
    /// What is at `offset` of the segment; `None` at its end.
    fn parse(&mut self, segment: &Segment, offset: u64, directory: &Path) -> io::Result<Option<Parsed>> {
        if offset >= segment.bytes {
            return Ok(None);
        }
        let mut wanted = 0;
        loop {
            let bytes = self.at(segment.number, offset);
            match record::parse(bytes) {
                Parsed::Incomplete(more) if more > wanted && offset + bytes.len() as u64 != segment.bytes => {
                    wanted = more;
                    self.fill(segment, offset, wanted, directory)?;
                }
                parsed => return Ok(Some(parsed)),
            }
        }
    }

    fn at(&self, number: u64, offset: u64) -> &[u8] {
        let is_open = self.file.as_ref().is_some_and(|(open, _)| *open == number);
        let start = offset.checked_sub(self.offset).and_then(|start| usize::try_from(start).ok());
        start.filter(|_| is_open).and_then(|start| self.bytes.get(start..)).unwrap_or_default()
    }

    fn fill(&mut self, segment: &Segment, offset: u64, wanted: usize, directory: &Path) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|(open, _)| *open != segment.number) {
            self.file = Some((segment.number, segment.open(directory)?));
        }
        let Some((_, file)) = &self.file else { return Ok(()) };
        let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX);
        self.bytes.resize(READ.max(wanted).min(left), 0);
        self.offset = offset;
        let mut filled = 0;
        while filled < self.bytes.len() {
            match file.read_at(&mut self.bytes[filled..], offset + filled as u64)? {
                0 => break,
                len => filled += len,
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
