//! From the queue to the spool.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::message::Message;
use super::shared::Shared;

/// Messages are on the disk itself after this time; in the kernel's page cache,
/// which outlives this process, at once.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Messages of one write.
const BATCH: usize = 2_048;
/// Could not be spooled before the end.
const AT_THE_END: &str = "not spooled before the end";

/// Until the queue is closed and empty.
pub(super) fn run(queue: &Receiver<Vec<Message>>, shared: &Shared) {
    let mut sync_at = None;
    loop {
        match queue.recv_timeout(SYNC_EVERY) {
            Ok(first) => {
                let batch = with_more(first, queue);
                append(&batch, shared);
                shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
                sync_at.get_or_insert_with(|| Instant::now() + SYNC_EVERY);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return sync(shared),
        }
        if sync_at.is_some_and(|at| at <= Instant::now()) {
            sync(shared);
            sync_at = None;
        }
    }
}

fn with_more(mut batch: Vec<Message>, queue: &Receiver<Vec<Message>>) -> Vec<Message> {
    while batch.len() < BATCH
        && let Ok(more) = queue.try_recv()
    {
        batch.extend(more);
    }
    batch
}

/// Tries until it is done, or until the end.
fn append(batch: &[Message], shared: &Shared) {
    let Some(spool) = &shared.spool else { return };
    loop {
        let appended = Shared::lock(spool).append(batch, jiff::Timestamp::now());
        let Err(error) = appended else { return shared.notify() };
        shared.trouble(error.to_string());
        if shared.deadline().is_some_and(|deadline| deadline <= Instant::now() + RETRY_AFTER) {
            return shared.lose(AT_THE_END, batch.len() as u64);
        }
        std::thread::sleep(RETRY_AFTER);
    }
}

fn sync(shared: &Shared) {
    let Some(spool) = &shared.spool else { return };
    if let Err(error) = Shared::lock(spool).sync() {
        shared.trouble(error.to_string());
    }
}
