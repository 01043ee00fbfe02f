//! The end of a spool where messages come out.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use observer_core::record::message::Message;

use super::Files;
use super::position::{Position, PositionFile};
use super::record::{self, Parsed};
use super::segment::Segment;

/// Messages that were taken and not acknowledged, at most.
const TAKEN_MAX: usize = 131_072;
/// Bytes read at once.
const READ: usize = 1 << 20;

/// A record that was taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Where the next one begins.
    end: Position,
    time: Timestamp,
}

/// Records that were read one behind the other.
struct Batch {
    messages: Vec<Message>,
    taken: Vec<Taken>,
    end: Position,
    corrupt_records: u64,
}

/// Takes messages out.
#[derive(Debug)]
pub struct SpoolReader {
    files: Arc<Files>,
    taken: VecDeque<Taken>,
    open: SegmentReader,
    position: PositionFile,
    /// What the position's file says.
    written: Position,
}

impl SpoolReader {
    pub(super) fn new(files: Arc<Files>, position: PositionFile, written: Position) -> Self {
        Self { files, taken: VecDeque::new(), open: SegmentReader::default(), position, written }
    }

    /// The next messages, at most so many, and not much more than so many bytes.
    /// None if too many were taken and not acknowledged.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(&mut self, messages: usize, bytes: usize) -> io::Result<Vec<Message>> {
        loop {
            let start = self.files.index().next;
            let read = self.read(start, messages, bytes);
            let mut index = self.files.index();
            if index.next != start {
                // It was dropped meanwhile, and is counted as that.
                continue;
            }
            let batch = read?;
            index.next = batch.end;
            index.corrupt_records += batch.corrupt_records;
            self.taken.extend(batch.taken);
            return Ok(batch.messages);
        }
    }

    fn read(&mut self, start: Position, messages: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch { messages: Vec::new(), taken: Vec::new(), end: start, corrupt_records: 0 };
        let mut batch_bytes = 0;
        while batch.messages.len() < messages && batch_bytes < bytes && self.taken.len() + batch.taken.len() < TAKEN_MAX
        {
            let Some((message, time)) = self.read_one(&mut batch)? else { break };
            batch_bytes += message.body.len();
            batch.messages.push(message);
            batch.taken.push(Taken { end: batch.end, time });
        }
        Ok(batch)
    }

    /// The next readable record, which the batch's end then lies behind.
    fn read_one(&mut self, batch: &mut Batch) -> io::Result<Option<(Message, Timestamp)>> {
        loop {
            let Some((segment, later)) = self.files.index().segment(batch.end.segment) else { return Ok(None) };
            match self.open.parse(&segment, batch.end.offset, &self.files.directory)? {
                Some(Parsed::Record { message, time, len }) => {
                    batch.end.offset += len as u64;
                    batch.end.records += 1;
                    return Ok(Some((message, time)));
                }
                Some(Parsed::Damaged(len)) => batch.end.offset += len as u64,
                Some(Parsed::Incomplete(_) | Parsed::Lost) | None => {
                    let Some(later) = later else { return Ok(None) };
                    // Damage since it was counted.
                    batch.corrupt_records += segment.records.saturating_sub(batch.end.records);
                    batch.end = Position::start_of(&later);
                }
            }
        }
    }

    /// The next `count` messages of those that were taken are delivered.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn acknowledge(&mut self, count: u64) -> io::Result<()> {
        let gone = {
            let mut index = self.files.index();
            for _ in 0..count {
                let Some(taken) = self.taken.pop_front() else { break };
                if taken.end.segment >= index.oldest().number {
                    (index.acknowledged, index.acknowledged_time) = (taken.end, Some(taken.time));
                }
            }
            let needed = self.taken.front().map_or(index.next, |_| index.acknowledged).segment;
            let gone = index.drop_before(needed);
            index.follow_oldest();
            gone
        };
        let removed = self.files.remove(&gone);
        self.write_position().and(removed)
    }

    /// Takes back what was taken and not acknowledged: it comes again.
    pub fn rewind(&mut self) {
        let mut index = self.files.index();
        let oldest = index.oldest().number;
        index.dropped += self.taken.iter().filter(|taken| taken.end.segment < oldest).count() as u64;
        self.taken.clear();
        index.follow_oldest();
        index.next = index.acknowledged;
    }

    fn write_position(&mut self) -> io::Result<()> {
        let acknowledged = self.files.index().acknowledged;
        if self.written != acknowledged {
            self.position.write(acknowledged)?;
            self.written = acknowledged;
        }
        Ok(())
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        // Nobody is left to tell; what is not said is sent again.
        let _ = self.write_position();
    }
}

/// A part of the segment that is read.
#[derive(Debug, Default)]
struct SegmentReader {
    file: Option<(u64, File)>,
    /// Where in the segment `bytes` begins.
    offset: u64,
    bytes: Vec<u8>,
}

impl SegmentReader {
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
