//! What was counted so far, key by key as the kernel counts.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Outcome, Seen};

/// The kernel's key of an outcome, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct KnownKey {
    /// Failures first: a success that came to light late ends the streak.
    pub(super) outcome: Outcome,
    pub(super) daddr: IpAddr,
    pub(super) dport: u16,
    pub(super) saddr: Option<IpAddr>,
}

impl KnownKey {
    pub(super) fn new(seen: &Seen) -> Self {
        Self { outcome: seen.outcome, daddr: seen.daddr, dport: seen.dport, saddr: seen.saddr }
    }
}

/// Counts of keys that no destination keeps: of those evicted, of those that
/// found no room, and of sources folded together.
#[derive(Debug)]
pub(super) struct Known {
    counts: HashMap<KnownKey, u64>,
    max: usize,
    untracked: u64,
}

impl Known {
    pub(super) fn new(max: usize) -> Self {
        Self { counts: HashMap::new(), max, untracked: 0 }
    }

    pub(super) fn add(&mut self, key: KnownKey, count: u64) {
        if self.counts.len() < self.max || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += count;
        } else {
            self.untracked += count;
        }
    }

    pub(super) fn get(&self, key: &KnownKey) -> u64 {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// False for a key of which there may be more than was written down.
    pub(super) fn is_certain(&self, key: &KnownKey) -> bool {
        self.untracked == 0 || self.counts.contains_key(key)
    }

    /// Forgets the keys that the kernel will never count.
    pub(super) fn retain(&mut self, is_counted: impl Fn(&KnownKey) -> bool) {
        self.counts.retain(|key, _| is_counted(key));
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.counts.capacity() * 8 / 7 * (size_of::<(KnownKey, u64)>() + 1)
    }
}
