//! One destination's attempts by source address.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Outcome;
use super::sparse::Sparse;
use crate::label::{Label, Reason};

/// Source addresses told apart per destination; the rest is folded together.
const MAX_SOURCES: usize = 8;

/// Where attempts came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A local address.
    Address(IpAddr),
    /// None was chosen.
    Unchosen,
    /// Addresses beyond those told apart.
    Other,
}

impl From<Option<IpAddr>> for Source {
    fn from(saddr: Option<IpAddr>) -> Self {
        saddr.map_or(Self::Unchosen, Self::Address)
    }
}

/// What became of the attempts from one source to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCounts {
    /// Where they came from.
    pub source: Source,
    /// How often each outcome occurred, in the order of labels.
    pub outcomes: Vec<(Outcome, u64)>,
}

impl SourceCounts {
    /// Attempts that ended.
    pub fn attempts(&self) -> u64 {
        self.outcomes.iter().map(|(_, count)| count).sum()
    }

    /// Attempts that ended in any other way than `connected`.
    pub fn failures(&self) -> u64 {
        self.attempts() - self.of(Label::Connected)
    }

    /// Attempts that ended with a label.
    pub fn of(&self, label: Label) -> u64 {
        self.outcomes.iter().filter(|((of, _), _)| *of == label).map(|(_, count)| count).sum()
    }
}

/// A source address, by the order of its first appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceId(u16);

impl SourceId {
    const OTHER: Self = Self(u16::MAX);
}

/// The source addresses that have an id: the first so many, for good.
#[derive(Debug, Default)]
pub(super) struct Sources {
    ids: HashMap<Option<IpAddr>, SourceId>,
    addrs: Vec<Option<IpAddr>>,
}

impl Sources {
    /// Some 64 bytes each.
    const MAX: usize = 16_384;

    /// The id of an address, given now if it has none and there is one left.
    pub(super) fn give(&mut self, saddr: Option<IpAddr>) -> Option<SourceId> {
        if let Some(id) = self.get(saddr) {
            return Some(id);
        }
        let id = SourceId(u16::try_from(self.addrs.len()).ok()?);
        if self.addrs.len() >= Self::MAX {
            return None;
        }
        self.addrs.push(saddr);
        self.ids.insert(saddr, id);
        Some(id)
    }

    fn get(&self, saddr: Option<IpAddr>) -> Option<SourceId> {
        self.ids.get(&saddr).copied()
    }

    /// The addresses in the order of their ids.
    pub(super) fn addrs(&self) -> &[Option<IpAddr>] {
        &self.addrs
    }

    fn source(&self, id: SourceId) -> Source {
        self.addrs.get(usize::from(id.0)).map_or(Source::Other, |&saddr| saddr.into())
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let entry = size_of::<(Option<IpAddr>, SourceId)>() + 1;
        self.addrs.capacity() * size_of::<Option<IpAddr>>() + self.ids.capacity() * 8 / 7 * entry
    }
}

/// Outcomes by source. Groups that don't tell sources apart count them all as
/// [`Source::Other`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Split(Sparse<(Outcome, SourceId)>);

impl Split {
    /// Counts for a source, or for [`Source::Other`] where there is no room for
    /// it.
    pub(super) fn add(&mut self, id: Option<SourceId>, outcome: Outcome, count: u64) {
        let own = id.filter(|&id| self.has_room(id));
        self.0.add((outcome, own.unwrap_or(SourceId::OTHER)), count);
    }

    pub(super) fn total(&self) -> u64 {
        self.0.total()
    }

    pub(super) fn sum(&self, is_counted: impl Fn(Outcome) -> bool) -> u64 {
        self.0.iter().filter(|&((outcome, _), _)| is_counted(outcome)).map(|(_, count)| count).sum()
    }

    /// Counts of all sources together, in the order of outcomes.
    pub(super) fn outcomes(&self) -> Vec<(Outcome, u64)> {
        fold(self.0.iter().map(|((outcome, _), count)| (outcome, count)))
    }

    /// Counts by source, in the order of ids.
    pub(super) fn counts(&self, sources: &Sources) -> Vec<SourceCounts> {
        let of = |id| self.0.iter().filter(move |((_, of), _)| *of == id);
        let outcomes = |id| of(id).map(|((outcome, _), count)| (outcome, count)).collect();
        let ids = self.ids().into_iter();
        ids.map(|id| SourceCounts { source: sources.source(id), outcomes: outcomes(id) }).collect()
    }

    /// Every count with the place of its source among the [`Sources`], for [`Self::load`].
    pub(super) fn parts(&self) -> Vec<(Option<u16>, Label, Option<Reason>, u64)> {
        let part = |(((label, reason), id), count): ((Outcome, SourceId), u64)| {
            ((id != SourceId::OTHER).then_some(id.0), label, reason, count)
        };
        self.0.iter().map(part).collect()
    }

    /// Adds counts as [`Self::parts`] gives them.
    pub(super) fn load(&mut self, parts: &[(Option<u16>, Label, Option<Reason>, u64)]) {
        for &(id, label, reason, count) in parts {
            self.add(id.map(SourceId), (label, reason), count);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    fn ids(&self) -> Vec<SourceId> {
        let mut ids: Vec<_> = self.0.iter().map(|((_, id), _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn has_room(&self, id: SourceId) -> bool {
        if self.0.iter().any(|((_, known), _)| known == id) {
            return true;
        }
        self.ids().iter().filter(|&&known| known != SourceId::OTHER).count() < MAX_SOURCES
    }
}

/// Sums neighbours with the same key.
fn fold(counts: impl Iterator<Item = (Outcome, u64)>) -> Vec<(Outcome, u64)> {
    let mut folded: Vec<(Outcome, u64)> = Vec::new();
    for (outcome, count) in counts {
        match folded.last_mut().filter(|last| last.0 == outcome) {
            Some(last) => last.1 += count,
            None => folded.push((outcome, count)),
        }
    }
    folded
}
