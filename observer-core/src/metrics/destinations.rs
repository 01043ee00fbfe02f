//! Outcomes by destination, with a cap.
//!
//! A destination gets a label of its own when it has failed, those with the most
//! failures first, until the cap is reached; it then keeps it until the process
//! ends. All others are together under the label `other`. A destination that
//! leaves `other` leaves there what was told of it, so that no counter falls and
//! nothing is told twice.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::connects::rise;
use super::exposition::{Exposition, Kind};
use crate::attempt::address;
use crate::label::{Label, label};
use crate::ledger::Counters;

/// The label of all that have none of their own.
const OTHER: &str = "other";

/// Ends by outcome.
type Ends = BTreeMap<Label, u64>;

/// An address and a port.
type Destination = (IpAddr, u16);

/// A destination with a label of its own.
#[derive(Debug, Default)]
struct Named {
    /// Successes that were told under `other` before it first failed.
    elsewhere: u64,
    told: Ends,
}

/// Who has a label of its own, and what was told.
#[derive(Debug)]
pub(super) struct Destinations {
    cap: usize,
    named: BTreeMap<Destination, Named>,
    /// By port and outcome.
    others: BTreeMap<(u16, Label), u64>,
    was_read: bool,
}

impl Destinations {
    /// So many get a label of their own.
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, named: BTreeMap::new(), others: BTreeMap::new(), was_read: false }
    }

    pub(super) fn write(&mut self, counters: &Counters, out: &mut Exposition) {
        let now = by_destination(counters);
        self.name(&now);
        self.tell(&now);
        let help = "Attempts that ended, by destination and outcome, by the kernel's exact count. The first that failed \
                    have a label of their own, up to the number configured; all others are other.";
        let family = out.family("observer_destination_connects", Kind::Counter, help);
        for (&(ip, port), named) in &self.named {
            for (label, &count) in &named.told {
                let (ip, port) = (ip.to_string(), port.to_string());
                family.put([("destination", &ip), ("dst_port", &port), ("outcome", label.as_str())], count);
            }
        }
        for (&(port, label), &count) in &self.others {
            family.put([("destination", OTHER), ("dst_port", &port.to_string()), ("outcome", label.as_str())], count);
        }
    }

    /// Gives labels to the worst of those that have none, while there are any.
    fn name(&mut self, now: &BTreeMap<Destination, Ends>) {
        let free = self.cap.saturating_sub(self.named.len());
        if free > 0 {
            let unnamed = now.iter().filter(|(destination, _)| !self.named.contains_key(*destination));
            let mut failing: Vec<_> = unnamed.map(|(to, ends)| (failures(ends), to)).filter(|&(n, _)| n > 0).collect();
            failing.sort_by_key(|&(failures, to)| (Reverse(failures), to));
            for (_, destination) in failing.into_iter().take(free) {
                // All its failures are new, or it would have a label already.
                let ends = now.get(destination);
                let successes = ends.and_then(|ends| ends.get(&Label::Connected)).copied().unwrap_or(0);
                let elsewhere = if self.was_read { successes } else { 0 };
                self.named.insert(*destination, Named { elsewhere, told: Ends::new() });
            }
        }
        self.was_read = true;
    }

    fn tell(&mut self, now: &BTreeMap<Destination, Ends>) {
        let mut others: BTreeMap<(u16, Label), u64> = BTreeMap::new();
        for (&(ip, port), ends) in now {
            let mut named = self.named.get_mut(&(ip, port));
            for (&label, &count) in ends {
                let elsewhere = match &mut named {
                    Some(named) => named.tell(label, count),
                    None => count,
                };
                if elsewhere > 0 {
                    *others.entry((port, label)).or_default() += elsewhere;
                }
            }
        }
        for (key, count) in others {
            rise(self.others.entry(key).or_default(), count);
        }
    }
}

impl Named {
    /// Takes a count; what of it is told under `other`.
    fn tell(&mut self, label: Label, count: u64) -> u64 {
        let elsewhere = if label == Label::Connected { self.elsewhere.min(count) } else { 0 };
        rise(self.told.entry(label).or_default(), count - elsewhere);
        elsewhere
    }
}

fn by_destination(counters: &Counters) -> BTreeMap<Destination, Ends> {
    let mut all: BTreeMap<Destination, Ends> = BTreeMap::new();
    for (key, count) in &counters.outcomes {
        let destination = (address(key.destination.daddr), key.destination.dport);
        *all.entry(destination).or_default().entry(label(&key.code).label).or_default() += count;
    }
    all
}

fn failures(ends: &Ends) -> u64 {
    ends.iter().filter(|(label, _)| **label != Label::Connected).map(|(_, count)| count).sum()
}
