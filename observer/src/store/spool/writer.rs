//! The end of a spool where messages go in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use observer_core::record::message::Message;

use super::segment::Segment;
use super::{Files, record};

/// Puts messages in.
#[derive(Debug)]
pub struct SpoolWriter {
    files: Arc<Files>,
    /// The newest segment, and where its next record goes.
    file: File,
    end: u64,
    is_dirty: bool,
}

impl SpoolWriter {
    pub(super) fn new(files: Arc<Files>, newest: Segment, file: File) -> Self {
        Self { files, file, end: newest.bytes, is_dirty: false }
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
        let more = bytes.len() as u64;
        self.make_room(more)?;
        let has_room = {
            let index = self.files.index();
            index.drops_oldest() || !index.is_full(more)
        };
        if has_room {
            self.write(&bytes)?;
            self.files.index().grow(more, records, now);
        } else {
            self.files.index().dropped += records;
        }
        self.files.index().too_long += too_long;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.end) {
            // Half a record would hide what is written behind it.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// Begins another segment if this one is full, and drops old ones.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let (needs_segment, number) = {
            let index = self.files.index();
            (index.needs_segment(more), index.newest().number + 1)
        };
        if needs_segment {
            self.file.sync_data()?;
            let (segment, file) = Segment::create(&self.files.directory, number)?;
            (self.file, self.end) = (file, segment.bytes);
            self.files.is_directory_dirty.store(true, Ordering::Release);
            self.files.index().begin(segment);
        }
        let gone = self.files.index().drop_oldest(more);
        self.files.remove(&gone)
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        self.files.sync_directory()
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        // Nobody is left to tell; what is not said is sent again.
        let _ = self.sync();
    }
}
