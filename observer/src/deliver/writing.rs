//! From the queue to a file or to standard output.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::file::Lines;
use super::health::Opening;
use super::intake::{Batch, NOT_FORMATTED};
use super::shared::Shared;

/// How soon a wish to reopen the file is heard.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Bytes of one write.
const WRITE: usize = 256 << 10;
/// Could not be written before the end.
const AT_THE_END: &str = "not written before the end";
/// Whoever read it is gone.
const READER_GONE: &str = "reader gone";

/// Until the queue is closed and empty.
pub(super) fn run(lines: impl Lines, queue: &Receiver<Batch>, shared: &Shared) {
    let mut writing = Writing { shared, lines, bytes: Vec::new(), formatted: 0, taken: (0, 0) };
    writing.open();
    loop {
        let batch = queue.recv_timeout(LOOK_EVERY);
        if shared.is_to_reopen() {
            writing.lines.close();
            writing.open();
        }
        match batch {
            Ok(batch) => writing.take(batch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Writing<'a, L> {
    shared: &'a Shared,
    lines: L,
    /// Formatted, and not written yet.
    bytes: Vec<u8>,
    formatted: u64,
    /// Records and bytes of the queue that these are.
    taken: (u64, u64),
}

impl<L: Lines> Writing<'_, L> {
    fn open(&mut self) {
        let opened = self.lines.open();
        if let Err(error) = &opened {
            self.shared.trouble(error.to_string());
        }
        self.shared.set_opening(opened.map_or_else(|error| Opening::Failed(error.to_string()), |()| Opening::Done));
    }

    fn take(&mut self, batch: Batch) {
        for record in batch.records {
            self.taken.0 += 1;
            self.taken.1 += record.retained_bytes();
            match batch.formatter.message(record.entry()) {
                Ok(message) => {
                    self.bytes.extend_from_slice(&message.body);
                    self.formatted += 1;
                }
                Err(_) => self.shared.lose(NOT_FORMATTED, 1),
            }
            if self.bytes.len() >= WRITE {
                self.write();
            }
        }
        self.write();
    }

    /// Writes what was formatted: tries until it is done, or until the end.
    fn write(&mut self) {
        if let Err(cause) = self.try_write() {
            self.shared.lose(cause, self.formatted);
        }
        self.bytes.clear();
        self.formatted = 0;
        let (records, bytes) = std::mem::take(&mut self.taken);
        self.shared.level.release(records, bytes);
    }

    fn try_write(&mut self) -> Result<(), &'static str> {
        while let Err(error) = self.lines.write(&self.bytes) {
            let is_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
            self.shared.trouble(if is_gone { READER_GONE.to_owned() } else { error.to_string() });
            if is_gone {
                return Err(READER_GONE);
            }
            if self.shared.deadline().is_some_and(|deadline| deadline <= Instant::now() + RETRY_AFTER) {
                return Err(AT_THE_END);
            }
            self.lines.close();
            std::thread::sleep(RETRY_AFTER);
        }
        let mut health = self.shared.health();
        health.trouble = None;
        health.delivered += self.formatted;
        Ok(())
    }
}
