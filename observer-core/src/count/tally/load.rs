//! Tallies cut into a [`Snapshot`], and loaded from one.

use std::net::IpAddr;

use super::snapshot::{Head, Limit, Of, Part, SNAPSHOT_VERSION, Snapshot};
use super::{Budget, Family, Key, Prefixes, Tallies, Tally};

impl Tallies {
    /// What was counted until now, for another process.
    pub fn snapshot(&self, limit: Limit) -> Snapshot {
        let mut groups = vec![(Of::Total, self.total.clone())];
        groups.extend(self.families().map(|(family, tally)| (Of::Family(family), tally.clone())));
        groups.extend(self.prefixes().take(limit.destinations).map(|(net, tally)| (Of::Prefix(net), tally.clone())));
        groups.extend(self.sources().take(limit.destinations).map(|(saddr, tally)| (Of::Source(saddr), tally.clone())));
        groups.push((Of::ForgottenDestinations, self.forgotten.clone()));
        groups.push((Of::ForgottenPrefixes, self.forgotten_prefixes.clone()));
        groups.push((Of::ForgottenSources, self.forgotten_sources.clone()));
        let (others, mut bytes) = (groups.len(), 0);
        groups.extend(self.destinations().take(limit.destinations).map_while(|((ip, port), tally)| {
            bytes += size_of::<(Of, Tally)>() + tally.heap_bytes();
            (bytes <= limit.bytes).then(|| (Of::Destination(ip, port), tally.clone()))
        }));
        let more = self.len() - (groups.len() - others);
        let head = Head {
            version: SNAPSHOT_VERSION,
            clock: self.clock,
            now: self.clock.latest(),
            saddrs: self.source_ids.addrs().to_vec(),
            prefix_v4: self.prefix_lengths.v4,
            prefix_v6: self.prefix_lengths.v6,
            evicted: self.evicted(),
            made_up: self.made_up,
            more_destinations: more as u64 + self.in_total_only,
        };
        Snapshot { head, groups: groups.into_iter() }
    }

    fn load(&mut self, of: Of, tally: Tally) {
        match of {
            Of::Total => self.total = tally,
            Of::Family(Family::Ipv4) => self.families[0] = tally,
            Of::Family(Family::Ipv6) => self.families[1] = tally,
            Of::Source(saddr) => {
                if !self.sources.load(saddr, |own| own.clone_from(&tally)) {
                    self.forgotten_sources.merge(&tally);
                }
            }
            Of::ForgottenDestinations => self.forgotten.merge(&tally),
            Of::ForgottenPrefixes => self.forgotten_prefixes.merge(&tally),
            Of::ForgottenSources => self.forgotten_sources.merge(&tally),
            Of::Destination(ip, port) => {
                if !self.destinations.load((ip, port), |own| own.clone_from(&tally)) {
                    self.forgotten.merge(&tally);
                }
            }
            Of::Prefix(net) => {
                if !self.prefixes.load(net, |own| own.clone_from(&tally)) {
                    self.forgotten_prefixes.merge(&tally);
                }
            }
        }
    }

    /// Adds to the prefix of an address. Of streaks nothing is known then: several have none in
    /// common.
    fn add_to_prefix(&mut self, addr: IpAddr, tally: &Tally) {
        let net = self.prefix_lengths.of(addr);
        if !self.prefixes.load(net, |own| own.merge(tally)) {
            self.forgotten_prefixes.merge(tally);
        }
    }

    fn add_to_totals(&mut self, addr: IpAddr, tally: &Tally) {
        let [v4, v6] = &mut self.families;
        self.total.merge(tally);
        if addr.is_ipv4() { v4 } else { v6 }.merge(tally);
    }
}

/// Loads a [`Snapshot`], part by part.
#[derive(Debug)]
pub struct Loader {
    tallies: Tallies,
    head: Head,
    /// Ports whose attempts are loaded; empty: all.
    ports: Vec<u16>,
}

impl Loader {
    /// Begins. `None` if the snapshot is of another version.
    ///
    /// Where only some of its ports are wanted, all is loaded that is known by destination: the
    /// other groups of a snapshot do not tell ports apart. The same holds for prefixes that are
    /// longer than its own.
    pub fn new(head: Head, budget: Budget, lengths: Prefixes, ports: &[u16]) -> Option<Self> {
        if head.version != SNAPSHOT_VERSION {
            return None;
        }
        let mut tallies = Tallies::new(budget, lengths);
        tallies.clock = head.clock;
        // In this order, as the groups name them.
        for &saddr in &head.saddrs {
            tallies.source_ids.give(saddr);
        }
        tallies.in_total_only = head.more_destinations;
        if ports.is_empty() {
            let [destinations, prefixes, sources] = head.evicted;
            tallies.destinations.begin_evicted(destinations);
            tallies.prefixes.begin_evicted(prefixes);
            tallies.sources.begin_evicted(sources);
            tallies.made_up = head.made_up;
        }
        Some(Self { tallies, head, ports: ports.to_vec() })
    }

    /// Loads a part.
    pub fn take(&mut self, part: &Part) {
        let tally = part.tally(self.head.now);
        match part.of {
            Of::Destination(ip, port) => self.destination((ip, port), tally),
            _ if !self.ports.is_empty() => {}
            Of::Prefix(net) if self.tallies.prefix_of(net.addr()) == net => self.tallies.load(part.of, tally),
            Of::Prefix(net) if self.tells_prefix_of(net.addr()) => self.tallies.add_to_prefix(net.addr(), &tally),
            Of::Prefix(_) => {}
            _ => self.tallies.load(part.of, tally),
        }
    }

    /// What was loaded, to be added to from now on.
    pub fn finish(self) -> Tallies {
        self.tallies
    }

    fn destination(&mut self, (ip, port): Key, tally: Tally) {
        if !self.ports.is_empty() {
            if !self.ports.contains(&port) {
                return;
            }
            self.tallies.add_to_totals(ip, &tally);
        }
        if !self.ports.is_empty() || !self.tells_prefix_of(ip) {
            self.tallies.add_to_prefix(ip, &tally);
        }
        self.tallies.load(Of::Destination(ip, port), tally);
    }

    /// True if the snapshot's prefixes add up to the one of this address.
    fn tells_prefix_of(&self, addr: IpAddr) -> bool {
        let own = self.tallies.prefix_lengths;
        if addr.is_ipv4() { own.v4 <= self.head.prefix_v4 } else { own.v6 <= self.head.prefix_v6 }
    }
}
