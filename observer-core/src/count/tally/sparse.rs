//! Counters for few keys of many possible, in little memory.

/// How a count is stored. What does not fit stays at the most that does.
pub(super) trait Counter: Copy {
    fn new(count: u64) -> Self;
    fn get(self) -> u64;
}

/// Up to 2^32: two months at a thousand a second.
impl Counter for u32 {
    fn new(count: u64) -> Self {
        Self::try_from(count).unwrap_or(Self::MAX)
    }

    fn get(self) -> u64 {
        self.into()
    }
}

/// Up to 2^48: nine years at a million a second. Six bytes, without the padding
/// that a `u64` would bring to a small key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide([u16; 3]);

impl Wide {
    const MAX: u64 = (1 << 48) - 1;
}

impl Counter for Wide {
    fn new(count: u64) -> Self {
        let count = count.min(Self::MAX);
        Self([0, 16, 32].map(|shift| (count >> shift) as u16))
    }

    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }
}

/// Counts by key, sorted by key; a key that was never counted takes no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sparse<K, C = Wide> {
    cells: Vec<(K, C)>,
}

impl<K, C> Default for Sparse<K, C> {
    fn default() -> Self {
        Self { cells: Vec::new() }
    }
}

impl<K: Copy + Ord, C: Counter> Sparse<K, C> {
    /// Counts `count` more of `key`.
    pub(super) fn add(&mut self, key: K, count: u64) {
        match self.cells.binary_search_by_key(&key, |cell| cell.0) {
            Ok(place) => {
                let cell = &mut self.cells[place].1;
                *cell = C::new(cell.get().saturating_add(count));
            }
            Err(place) => {
                self.grow();
                self.cells.insert(place, (key, C::new(count)));
            }
        }
    }

    /// How often `key` was counted.
    #[cfg(test)]
    pub(super) fn get(&self, key: K) -> u64 {
        let place = self.cells.binary_search_by_key(&key, |cell| cell.0);
        place.ok().and_then(|place| self.cells.get(place)).map_or(0, |cell| cell.1.get())
    }

    /// Keys and counts, sorted by key.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, u64)> + Clone {
        self.cells.iter().map(|&(key, count)| (key, count.get()))
    }

    /// The sum over all keys.
    pub(super) fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Adds everything that `other` counted.
    pub(super) fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(key, count)| self.add(key, count));
    }

    /// Gives every key another name, where two may become one, or drops it.
    pub(super) fn rename(&mut self, name: impl Fn(K) -> Option<K>) {
        if self.cells.iter().all(|&(key, _)| name(key) == Some(key)) {
            return;
        }
        self.cells.retain_mut(|cell| match name(cell.0) {
            Some(key) => {
                cell.0 = key;
                true
            }
            None => false,
        });
        self.cells.sort_by_key(|cell| cell.0);
        self.cells.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 = C::new(kept.1.get() + next.1.get());
            }
            is_same
        });
        self.cells.shrink_to(2 * self.cells.len());
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation(self.cells.capacity() * size_of::<(K, C)>())
    }

    /// A quarter at a time: most of these stay short, and there are many.
    fn grow(&mut self) {
        if self.cells.len() == self.cells.capacity() {
            self.cells.reserve_exact(1 + self.cells.len() / 4);
        }
    }
}

/// What an allocation of so many bytes takes: glibc, 64 bit, adds a word, rounds
/// up to two, and gives no less than four.
pub(super) const fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Sparse, Wide};

    proptest! {
        #[test]
        fn counts_like_a_map(adds in prop::collection::vec((0u8..20, 0u64..1 << 40), 0..60), by in 1u8..6) {
            let (mut sparse, mut plain) = (Sparse::<u8>::default(), BTreeMap::new());
            for (key, count) in adds {
                sparse.add(key, count);
                *plain.entry(key).or_insert(0) += count;
            }
            prop_assert_eq!(sparse.iter().collect::<BTreeMap<_, _>>(), plain.clone());
            prop_assert!((0u8..20).all(|key| sparse.get(key) == plain.get(&key).copied().unwrap_or(0)));
            let mut twice = sparse.clone();
            twice.merge(&sparse);
            prop_assert_eq!(twice.total(), 2 * sparse.total());
            let name = |key: u8| (key >= 5).then_some(key / by);
            let mut renamed = BTreeMap::new();
            for (key, count) in plain {
                if let Some(key) = name(key) {
                    *renamed.entry(key).or_insert(0) += count;
                }
            }
            sparse.rename(name);
            prop_assert_eq!(sparse.iter().collect::<Vec<_>>(), renamed.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_full_count_stays_full() {
        let mut wide = Sparse::<u8>::default();
        let mut narrow = Sparse::<u8, u32>::default();
        for count in [u64::MAX, 1] {
            wide.add(1, count);
            narrow.add(1, count);
        }
        assert_eq!((wide.get(1), narrow.get(1)), (Wide::MAX, u32::MAX.into()));
    }

    #[test]
    fn cells_have_no_padding() {
        assert_eq!(size_of::<([u8; 2], Wide)>(), 8);
        assert_eq!(size_of::<(u32, u32)>(), 8);
    }
}
