//! From the queue to the spool: opens it, formats records, and puts them in.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::formatter::Formatter;
use super::health::Opening;
use super::message::Message;
use super::shared::Shared;
use super::shared_record::SharedRecord;
use crate::store::spool::{Spool, SpoolReader, SpoolWriter};

/// Messages are on the disk itself after this time; in the kernel's page cache,
/// which outlives this process, at once.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Before a failed write, or a spool that cannot be opened, is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Messages of one write.
const BATCH: usize = 2_048;
/// Could not be spooled before the end.
const AT_THE_END: &str = "not spooled before the end";
/// Could not be formatted.
pub(super) const NOT_FORMATTED: &str = "not formatted";

/// Records that the pipeline handed over together.
pub(super) struct Batch {
    pub(super) records: Vec<SharedRecord>,
    /// How the sink was configured then.
    pub(super) formatter: Formatter,
}

impl Batch {
    /// Counts all of it as lost.
    pub(super) fn lose(self, cause: &'static str, shared: &Shared) {
        let (records, bytes) = (self.records.len() as u64, self.records.iter().map(SharedRecord::retained_bytes).sum());
        shared.level.release(records, bytes);
        shared.lose(cause, records);
    }
}

/// Opens the spool, gives its other half away, and fills it until the queue is closed
/// and empty.
pub(super) fn run(directory: &Path, queue: &Receiver<Batch>, delivery: &Sender<SpoolReader>, shared: &Shared) {
    let Some(Spool { writer, reader, handle }) = open(directory, shared) else {
        return queue.iter().for_each(|batch| batch.lose(AT_THE_END, shared));
    };
    shared.spool_opened(handle);
    // It is gone if the end was asked for meanwhile.
    let _ = delivery.send(reader);
    Intake { shared, writer, messages: Vec::new(), taken: (0, 0) }.run(queue);
}

/// Tries until it is open, or until the end.
fn open(directory: &Path, shared: &Shared) -> Option<Spool> {
    loop {
        let error = match Spool::open(directory, shared.limits()) {
            Ok(spool) => return Some(spool),
            Err(error) => error,
        };
        let cause = format!("cannot open the spool {}: {error}", directory.display());
        shared.spool_trouble(cause.clone());
        let is_busy = error.kind() == io::ErrorKind::ResourceBusy;
        shared.set_opening(if is_busy { Opening::Busy(cause) } else { Opening::Failed(cause) });
        if shared.deadline().is_some_and(|deadline| deadline <= Instant::now() + RETRY_AFTER) {
            return None;
        }
        std::thread::sleep(RETRY_AFTER);
    }
}

struct Intake<'a> {
    shared: &'a Shared,
    writer: SpoolWriter,
    /// Formatted, and not spooled yet.
    messages: Vec<Message>,
    /// Records and bytes of the queue that these are.
    taken: (u64, u64),
}

impl Intake<'_> {
    fn run(mut self, queue: &Receiver<Batch>) {
        let mut sync_at = None;
        loop {
            match queue.recv_timeout(SYNC_EVERY) {
                Ok(first) => {
                    self.take(first);
                    while self.messages.len() < BATCH
                        && let Ok(more) = queue.try_recv()
                    {
                        self.take(more);
                    }
                    self.spool();
                    sync_at.get_or_insert_with(|| Instant::now() + SYNC_EVERY);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                self.sync();
                sync_at = None;
            }
        }
    }

    fn take(&mut self, batch: Batch) {
        for record in batch.records {
            self.taken.0 += 1;
            self.taken.1 += record.retained_bytes();
            match batch.formatter.message(record.entry()) {
                Ok(message) => self.messages.push(message),
                Err(_) => self.shared.lose(NOT_FORMATTED, 1),
            }
            if self.messages.len() >= BATCH {
                self.spool();
            }
        }
    }

    /// Spools what was formatted: tries until it is done, or until the end.
    fn spool(&mut self) {
        while let Err(error) = self.writer.append(&self.messages, jiff::Timestamp::now()) {
            self.shared.spool_trouble(format!("cannot write to the spool: {error}"));
            if self.shared.deadline().is_some_and(|deadline| deadline <= Instant::now() + RETRY_AFTER) {
                self.shared.lose(AT_THE_END, self.messages.len() as u64);
                return self.release();
            }
            std::thread::sleep(RETRY_AFTER);
        }
        self.shared.health().spool_trouble = None;
        self.release();
        self.shared.notify();
    }

    fn release(&mut self) {
        self.messages.clear();
        let (records, bytes) = std::mem::take(&mut self.taken);
        self.shared.level.release(records, bytes);
    }

    fn sync(&mut self) {
        if let Err(error) = self.writer.sync() {
            self.shared.spool_trouble(format!("cannot sync the spool: {error}"));
        }
    }
}
