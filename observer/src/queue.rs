//! Bounds a queue from a thread that must not wait to one that may: in bytes, so that
//! it holds the same memory whatever is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How full a queue is.
#[derive(Debug)]
pub(crate) struct QueueLevel {
    bytes: AtomicU64,
    items: AtomicU64,
    limit: AtomicU64,
}

impl QueueLevel {
    /// Of a queue that may hold so many bytes.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), items: AtomicU64::new(0), limit: AtomicU64::new(limit) })
    }

    /// Bytes that wait, or are being written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Items that wait, or are being written.
    pub(crate) fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Bytes that there may be.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Another limit from now on.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Reserves room for an item. An empty queue takes one of any size, so that none
    /// is too large for ever.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let fits = |held: u64| {
            let with = held.saturating_add(bytes);
            (held == 0 || with <= self.limit()).then_some(with)
        };
        let is_room = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.items.fetch_add(u64::from(is_room), Ordering::Relaxed);
        is_room
    }

    /// Takes an item that must not be lost for want of room, and whose size something
    /// else bounds.
    pub(crate) fn force(&self, bytes: u64) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Items have left, whatever became of them.
    pub(crate) fn release(&self, items: u64, bytes: u64) {
        self.items.fetch_sub(items, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fits_and_one_item_of_any_size_when_empty() {
        let level = QueueLevel::new(100);
        assert!(level.reserve(60) && !level.reserve(41) && level.reserve(40));
        assert_eq!((level.items(), level.bytes()), (2, 100));
        level.release(2, 100);
        assert!(level.reserve(1_000) && !level.reserve(1));
        level.release(1, 1_000);
        assert_eq!((level.items(), level.bytes()), (0, 0));
    }
}
