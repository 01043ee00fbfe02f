//! The tables of all groups.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::split::Sources;
use super::table::{Group, Table, Update};
use super::{Moment, Seen, SourceCounts, Tally, Tick};
use crate::count::Ended;
use crate::fact::own::OwnAddresses;
use crate::steady::Now;

/// A destination: address and port.
pub type Key = (IpAddr, u16);

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, also from IPv6 sockets.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// How long the prefixes are by which destinations are rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Bits of an IPv4 prefix, at most 32.
    pub v4: u8,
    /// Bits of an IPv6 prefix, at most 128.
    pub v6: u8,
}

impl Default for Prefixes {
    /// What operators are given at least: /24 and /48.
    fn default() -> Self {
        Self { v4: 24, v6: 48 }
    }
}

impl Prefixes {
    /// The prefix of an address.
    pub fn of(self, addr: IpAddr) -> IpNet {
        let bits = if addr.is_ipv4() { self.v4.min(32) } else { self.v6.min(128) };
        IpNet::new(addr, bits).unwrap_or_else(|_| addr.into()).trunc()
    }
}

/// Room for groups. Each table is limited in number and in bytes, whichever
/// comes first; by default they stay below 64 MB together.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Destinations, and bytes for them.
    pub destinations: (usize, usize),
    /// Prefixes, and bytes for them.
    pub prefixes: (usize, usize),
    /// Source addresses, and bytes for them.
    pub sources: (usize, usize),
}

impl Default for Budget {
    fn default() -> Self {
        Self { destinations: (100_000, 52_000_000), prefixes: (8_192, 8_000_000), sources: (256, 2_000_000) }
    }
}

impl Group for Tally {
    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

/// Every group. For each roll-up, the sum of its groups and of what was
/// forgotten equals [`Tallies::total`].
#[derive(Debug)]
pub struct Tallies {
    pub(super) clock: Clock,
    pub(super) prefix_lengths: Prefixes,
    pub(super) total: Tally,
    pub(super) families: [Tally; 2],
    pub(super) destinations: Table<Key, Tally>,
    pub(super) prefixes: Table<IpNet, Tally>,
    pub(super) sources: Table<Option<IpAddr>, Tally>,
    pub(super) forgotten: Tally,
    pub(super) forgotten_prefixes: Tally,
    pub(super) forgotten_sources: Tally,
    pub(super) unremembered: u64,
    pub(super) source_ids: Sources,
    pub(super) own: OwnAddresses,
    pub(super) made_up: u64,
    /// Destinations that another process knows, and this one has in its totals alone.
    pub(super) in_total_only: u64,
}

impl Default for Tallies {
    fn default() -> Self {
        Self::new(Budget::default(), Prefixes::default())
    }
}

impl Tallies {
    /// Nothing counted yet.
    pub fn new(budget: Budget, prefix_lengths: Prefixes) -> Self {
        Self {
            clock: Clock::default(),
            prefix_lengths,
            total: Tally::default(),
            families: Default::default(),
            destinations: Table::new(budget.destinations.0, budget.destinations.1),
            prefixes: Table::new(budget.prefixes.0, budget.prefixes.1),
            sources: Table::new(budget.sources.0, budget.sources.1),
            forgotten: Tally::default(),
            forgotten_prefixes: Tally::default(),
            forgotten_sources: Tally::default(),
            unremembered: 0,
            source_ids: Sources::default(),
            own: OwnAddresses::default(),
            made_up: 0,
            in_total_only: 0,
        }
    }

    /// Counts attempts. Times up to a minute out of order are put in order;
    /// what ended after `now` counts as ended now. Windows go by the steady clock;
    /// of a caller that has the wall clock alone, they go on from where they were
    /// when that is set back.
    pub fn add(&mut self, seen: &Seen, now: impl Into<Now>) {
        let now = now.into();
        let tick = self.clock.advance(now.steady);
        self.enter(seen, Moment { at: self.clock.place(now.steady_of(seen.at)), now: tick });
    }

    /// Counts attempts of which no event came, as if they had ended now. Successes
    /// come last: one that came to light late ends the streak.
    pub fn make_up(&mut self, missing: &[(Ended, u64)], now: impl Into<Now>) {
        let now = now.into();
        let mut missing: Vec<_> = missing.iter().collect();
        missing.sort_unstable_by_key(|(ended, _)| (ended.label, *ended));
        for (ended, count) in missing {
            self.made_up += count;
            self.add(&Seen::from_ended(ended, *count, now.wall), now);
        }
    }

    /// The time at which to look at windows.
    pub fn tick(&self, now: impl Into<Now>) -> Tick {
        self.clock.now(now.into().steady)
    }

    /// Everything.
    pub fn total(&self) -> &Tally {
        &self.total
    }

    /// One family.
    pub fn family(&self, family: Family) -> &Tally {
        let [v4, v6] = &self.families;
        if family == Family::Ipv4 { v4 } else { v6 }
    }

    /// Both families.
    pub fn families(&self) -> impl Iterator<Item = (Family, &Tally)> {
        Family::ALL.into_iter().map(|family| (family, self.family(family)))
    }

    /// Destinations: most recently failed first, then those that never failed.
    pub fn destinations(&self) -> impl Iterator<Item = (Key, &Tally)> {
        self.destinations.iter().map(|(&key, tally)| (key, tally))
    }

    /// One destination, if it is remembered.
    pub fn destination(&self, key: Key) -> Option<&Tally> {
        self.destinations.get(&key)
    }

    /// A destination's attempts by source address, the first eight told apart.
    pub fn split(&self, destination: &Tally) -> Vec<SourceCounts> {
        destination.split.counts(&self.source_ids)
    }

    /// Destinations by prefix, in the order of [`Self::destinations`].
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, &Tally)> {
        self.prefixes.iter().map(|(&net, tally)| (net, tally))
    }

    /// One prefix, if it is remembered.
    pub fn prefix(&self, net: IpNet) -> Option<&Tally> {
        self.prefixes.get(&net)
    }

    /// The prefix that an address is counted under.
    pub fn prefix_of(&self, addr: IpAddr) -> IpNet {
        self.prefix_lengths.of(addr)
    }

    /// This host's own addresses, as they are now. What was counted before stays where it is.
    pub fn set_own(&mut self, own: OwnAddresses) {
        self.own.renew(own);
    }

    /// True for an address of this host: attempts to it say nothing of the outside.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(address)
    }

    /// Local addresses, `None` where none was chosen, in the order of
    /// [`Self::destinations`]; attempts to this host itself, or redirected to it, are under none.
    pub fn sources(&self) -> impl Iterator<Item = (Option<IpAddr>, &Tally)> {
        self.sources.iter().map(|(&saddr, tally)| (saddr, tally))
    }

    /// One local address, if it is remembered.
    pub fn source(&self, saddr: Option<IpAddr>) -> Option<&Tally> {
        self.sources.get(&saddr)
    }

    /// Destinations that are not remembered any more, together. Their streak
    /// means nothing.
    pub fn forgotten(&self) -> &Tally {
        &self.forgotten
    }

    /// Prefixes that are not remembered any more, together.
    pub fn forgotten_prefixes(&self) -> &Tally {
        &self.forgotten_prefixes
    }

    /// Attempts that are under no local address: of those that are not remembered any more,
    /// and to this host itself, or redirected to it.
    pub fn forgotten_sources(&self) -> &Tally {
        &self.forgotten_sources
    }

    /// Destinations, prefixes and local addresses that had to go.
    pub fn evicted(&self) -> [u64; 3] {
        [self.destinations.evicted(), self.prefixes.evicted(), self.sources.evicted()]
    }

    /// Successes of destinations that there was no room for; among the
    /// forgotten.
    pub fn unremembered(&self) -> u64 {
        self.unremembered
    }

    /// Attempts known from the kernel's counters alone.
    pub fn made_up(&self) -> u64 {
        self.made_up
    }

    /// Destinations of a loaded [`Snapshot`](super::Snapshot) that it had in its totals alone.
    pub fn in_total_only(&self) -> u64 {
        self.in_total_only
    }

    /// Destinations known now.
    pub fn len(&self) -> usize {
        self.destinations.len()
    }

    /// True before the first attempt.
    pub fn is_empty(&self) -> bool {
        self.total.attempts() == 0
    }

    /// Bytes of memory that all this takes, about.
    pub fn bytes(&self) -> usize {
        let tables = self.destinations.bytes() + self.prefixes.bytes() + self.sources.bytes();
        let forgotten = [&self.forgotten, &self.forgotten_prefixes, &self.forgotten_sources];
        let tallies = forgotten.into_iter().chain(&self.families).chain([&self.total]).map(Tally::heap_bytes);
        tables + tallies.sum::<usize>() + self.source_ids.heap_bytes()
    }

    #[cfg(test)]
    pub(super) fn destination_bytes(&self) -> usize {
        self.destinations.bytes()
    }

    fn enter(&mut self, seen: &Seen, moment: Moment) {
        let seen = &Seen { daddr: seen.daddr.to_canonical(), saddr: seen.saddr.map(|a| a.to_canonical()), ..*seen };
        let [v4, v6] = &mut self.families;
        self.total.add(seen, None, moment);
        if seen.daddr.is_ipv4() { v4 } else { v6 }.add(seen, None, moment);
        let net = self.prefix_lengths.of(seen.daddr);
        roll_up(&mut self.prefixes, &mut self.forgotten_prefixes, net, seen, moment);
        self.own.learn(seen.saddr, seen.daddr);
        if seen.redirected || self.own.contains(seen.daddr) {
            self.forgotten_sources.add(seen, None, moment);
        } else {
            roll_up(&mut self.sources, &mut self.forgotten_sources, seen.saddr, seen, moment);
        }
        self.enter_destination(seen, moment);
    }

    fn enter_destination(&mut self, seen: &Seen, moment: Moment) {
        let Self { source_ids, forgotten, .. } = self;
        let id = source_ids.give(seen.saddr);
        let update = self.destinations.update(
            (seen.daddr, seen.dport),
            seen.is_failure(),
            |destination| destination.add(seen, id, moment),
            |_, gone| forgotten.merge(&gone),
        );
        if update == Update::NoRoom {
            self.unremembered += seen.count;
            self.forgotten.add(seen, None, moment);
        }
    }
}

fn roll_up<K: std::hash::Hash + Eq + Copy>(
    table: &mut Table<K, Tally>,
    forgotten: &mut Tally,
    key: K,
    seen: &Seen,
    moment: Moment,
) {
    let failure = seen.is_failure();
    let update = table.update(key, failure, |tally| tally.add(seen, None, moment), |_, gone| forgotten.merge(&gone));
    if update == Update::NoRoom {
        forgotten.add(seen, None, moment);
    }
}
