//! The thread that empties the ring buffer. It does nothing else: it waits for
//! nobody, opens nothing, and takes no lock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Permit, Receiver, Sender, channel};

use super::ring::Ring;

/// The kernel wakes nobody for an event, so this bounds how late a person sees
/// it. Forty empty looks a second cost nothing that can be measured.
const POLL: Duration = Duration::from_millis(25);
/// Bytes of a batch, and batches that wait: what is behind waits in the ring
/// buffer, and what finds that full is counted by the kernel.
const BATCH_BYTES: usize = 64 << 10;
const BATCHES: usize = 96;
/// Between two looks for room.
const FULL: Duration = Duration::from_millis(2);

/// Records as [`super::ring::records`] takes them apart.
pub type Batch = Vec<u8>;

/// The thread's handle. It ends with it.
pub struct Reader {
    batches: Receiver<Batch>,
    taken: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Batches sent.
    sent: AtomicU64,
    /// The last look found nothing more.
    is_empty: AtomicBool,
    is_ending: AtomicBool,
}

impl Reader {
    /// Starts it.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(ring: Ring) -> io::Result<Self> {
        let (sender, batches) = channel(BATCHES);
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("ring".to_owned()).spawn(move || run(ring, &sender, &own))?;
        Ok(Self { batches, taken: 0, shared, thread: Some(thread) })
    }

    /// The next batch; `None` after the last.
    pub async fn next(&mut self) -> Option<Batch> {
        let batch = self.batches.recv().await;
        self.taken += u64::from(batch.is_some());
        batch
    }

    /// A batch that is there already.
    pub fn try_next(&mut self) -> Option<Batch> {
        let batch = self.batches.try_recv().ok();
        self.taken += u64::from(batch.is_some());
        batch
    }

    /// True if nothing waits, neither here nor, at the last look, in the ring.
    pub fn is_drained(&self) -> bool {
        self.shared.is_empty.load(Ordering::Acquire) && self.shared.sent.load(Ordering::Acquire) == self.taken
    }

    /// Ends it when the ring is empty; batches must be taken until there are no
    /// more. To be called when no program sends any more.
    pub fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Release);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
        // What waits is of no use any more.
        self.batches.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut ring: Ring, batches: &Sender<Batch>, shared: &Shared) {
    loop {
        // Asked before the last look, so that this finds all there is.
        let is_ending = shared.is_ending.load(Ordering::Acquire);
        loop {
            let Some(room) = room(batches) else { return };
            let mut batch = Batch::new();
            let is_more = ring.take_into(&mut batch, BATCH_BYTES);
            if !batch.is_empty() {
                shared.is_empty.store(false, Ordering::Release);
                shared.sent.fetch_add(1, Ordering::Release);
                room.send(batch);
            }
            if !is_more {
                break;
            }
        }
        shared.is_empty.store(true, Ordering::Release);
        if is_ending {
            return;
        }
        ring.wait(POLL);
    }
}

/// Room for a batch, once there is; `None` if nobody takes any more.
fn room(batches: &Sender<Batch>) -> Option<Permit<'_, Batch>> {
    loop {
        match batches.try_reserve() {
            Ok(room) => return Some(room),
            Err(TrySendError::Full(())) => thread::sleep(FULL),
            Err(TrySendError::Closed(())) => return None,
        }
    }
}
