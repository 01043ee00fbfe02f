//! From the queue to a file or to standard output.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::file::Lines;
use super::message::Message;
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
pub(super) fn run(mut lines: impl Lines, queue: &Receiver<Vec<Message>>, shared: &Shared) {
    loop {
        let batch = queue.recv_timeout(LOOK_EVERY);
        if shared.reopen.swap(false, Ordering::Relaxed) {
            lines.reopen();
        }
        match batch {
            Ok(batch) => {
                for part in parts(&batch) {
                    write(&mut lines, part, shared);
                }
                shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Of about [`WRITE`] bytes each.
fn parts(batch: &[Message]) -> impl Iterator<Item = &[Message]> {
    let mut bytes = 0;
    batch.chunk_by(move |message, _| {
        bytes += message.body.len();
        let goes_on = bytes < WRITE;
        if !goes_on {
            bytes = 0;
        }
        goes_on
    })
}

/// Tries until it is done, or until the end.
fn write(lines: &mut impl Lines, batch: &[Message], shared: &Shared) {
    let bytes: Vec<u8> = batch.iter().flat_map(|message| message.body.iter().copied()).collect();
    let count = batch.len() as u64;
    loop {
        let Err(error) = lines.write(&bytes) else {
            let mut health = shared.health();
            health.trouble = None;
            health.delivered += count;
            return;
        };
        let is_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        shared.trouble(if is_gone { READER_GONE.to_owned() } else { error.to_string() });
        if is_gone {
            return shared.lose(READER_GONE, count);
        }
        if shared.deadline().is_some_and(|deadline| deadline <= Instant::now() + RETRY_AFTER) {
            return shared.lose(AT_THE_END, count);
        }
        lines.reopen();
        std::thread::sleep(RETRY_AFTER);
    }
}
