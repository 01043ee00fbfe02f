//! A table of groups that stays within its room.

use std::hash::Hash;

use lru::LruCache;

use super::sparse::allocation;

/// What a [`Table`] holds.
pub(super) trait Group: Default {
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// Groups by key, limited in number and in bytes. When it is full, the group
/// that has not failed for the longest time goes, those that never failed
/// before all others. A success makes no room: where there is none, its group
/// is not remembered.
#[derive(Debug)]
pub(super) struct Table<K: Hash + Eq, V> {
    /// Most recently failed first; those that never failed last.
    entries: LruCache<K, V>,
    max: usize,
    max_bytes: usize,
    heap_bytes: usize,
    evicted: u64,
}

/// What [`Table::update`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Done,
    NoRoom,
}

impl<K: Hash + Eq + Copy, V: Group> Table<K, V> {
    /// A key with its value, two links, and what the hash table behind it takes
    /// at its fullest for each, two pointers and a control byte at 7/16.
    const ENTRY_BYTES: usize =
        allocation(size_of::<(K, V)>() + 2 * size_of::<usize>()) + (2 * size_of::<usize>() + 1) * 16 / 7;

    pub(super) fn new(max: usize, max_bytes: usize) -> Self {
        // Bounded by `update`: a bounded cache would reserve all at once.
        Self { entries: LruCache::unbounded(), max: max.max(1), max_bytes, heap_bytes: 0, evicted: 0 }
    }

    /// Changes the group of `key`. Groups that have to go for it are handed to
    /// `evict`.
    pub(super) fn update(
        &mut self,
        key: K,
        is_failure: bool,
        change: impl FnOnce(&mut V),
        mut evict: impl FnMut(K, V),
    ) -> Update {
        if !self.entries.contains(&key) {
            if self.is_full() {
                if !is_failure {
                    return Update::NoRoom;
                }
                self.pop(&mut evict);
            }
            self.entries.put(key, V::default());
            if !is_failure {
                self.entries.demote(&key);
            }
        }
        let group = if is_failure { self.entries.get_mut(&key) } else { self.entries.peek_mut(&key) };
        if let Some(group) = group {
            let before = group.heap_bytes();
            change(group);
            self.heap_bytes = self.heap_bytes + group.heap_bytes() - before;
        }
        while self.bytes() > self.max_bytes && self.entries.len() > 1 {
            self.pop(&mut evict);
        }
        Update::Done
    }

    /// Changes the group of `key`, which comes after all others if it is new. False if there
    /// is no room for it.
    pub(super) fn load(&mut self, key: K, change: impl FnOnce(&mut V)) -> bool {
        if !self.entries.contains(&key) {
            if self.is_full() {
                self.evicted += 1;
                return false;
            }
            self.entries.put(key, V::default());
            self.entries.demote(&key);
        }
        if let Some(group) = self.entries.peek_mut(&key) {
            let before = group.heap_bytes();
            change(group);
            self.heap_bytes = self.heap_bytes + group.heap_bytes() - before;
        }
        true
    }

    /// Groups that had to go elsewhere, before this table's own.
    pub(super) fn begin_evicted(&mut self, evicted: u64) {
        self.evicted = evicted;
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.peek(key)
    }

    /// Most recently failed first, then those that never failed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Groups that had to go.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes that the groups take, at most.
    pub(super) fn bytes(&self) -> usize {
        self.heap_bytes + self.entries.len() * Self::ENTRY_BYTES
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.max || self.bytes() + Self::ENTRY_BYTES > self.max_bytes
    }

    fn pop(&mut self, evict: &mut impl FnMut(K, V)) {
        if let Some((key, group)) = self.entries.pop_lru() {
            self.heap_bytes -= group.heap_bytes();
            self.evicted += 1;
            evict(key, group);
        }
    }
}
