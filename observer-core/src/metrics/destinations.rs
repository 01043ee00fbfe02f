//! Outcomes by destination, with a cap.
//!
//! A destination gets a label of its own when it has failed, those with the most
//! failures first, until the cap is reached; it then keeps it until the process
//! ends. All others are together under the label `other`. What was told there stays
//! there, so that no counter falls and nothing is told twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::exposition::{Exposition, MetricKind};
use crate::label::Label;

/// The label of all that have none of their own.
const OTHER: &str = "other";
/// Destinations that may still get a label; what does not fit is `other`.
const PENDING_MAX: usize = 8_192;

/// Ends by outcome.
type Ends = BTreeMap<Label, u64>;

/// An address and a port.
type Destination = (IpAddr, u16);

/// Who has a label of its own, and what was counted.
#[derive(Debug)]
pub(super) struct Destinations {
    cap: usize,
    named: BTreeMap<Destination, Ends>,
    /// Of those without a label, what was counted since the last look.
    pending: HashMap<Destination, Ends>,
    /// By port and outcome.
    others: BTreeMap<(u16, Label), u64>,
    /// Failures among them, for which there was no label.
    left_out: u64,
}

impl Destinations {
    /// So many get a label of their own.
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, named: BTreeMap::new(), pending: HashMap::new(), others: BTreeMap::new(), left_out: 0 }
    }

    /// Counts attempts that ended.
    pub(super) fn add(&mut self, destination: Destination, label: Label, count: u64) {
        let may_be_named = self.may_be_named(&destination);
        let sum = match self.named.get_mut(&destination) {
            Some(named) => named.entry(label).or_default(),
            None if may_be_named => self.pending.entry(destination).or_default().entry(label).or_default(),
            None => {
                self.left_out += if label == Label::Connected { 0 } else { count };
                self.others.entry((destination.1, label)).or_default()
            }
        };
        *sum += count;
    }

    /// Attempts that failed and are told as other.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn may_be_named(&self, destination: &Destination) -> bool {
        let has_room = self.pending.len() < PENDING_MAX || self.pending.contains_key(destination);
        has_room && self.named.len() < self.cap
    }

    pub(super) fn write(&mut self, out: &mut Exposition) {
        self.name();
        let help = "Attempts that ended, by destination and outcome, counted exactly. The first that failed have a label \
                    of their own, up to the number configured; all others are other.";
        let family = out.family("observer_destination_connects", MetricKind::Counter, help);
        for (&(ip, port), ends) in &self.named {
            for (label, &count) in ends {
                let (ip, port) = (ip.to_string(), port.to_string());
                family.put([("destination", &ip), ("dst_port", &port), ("outcome", label.as_str())], count);
            }
        }
        for (&(port, label), &count) in &self.others {
            family.put([("destination", OTHER), ("dst_port", &port.to_string()), ("outcome", label.as_str())], count);
        }
    }

    /// Gives labels to the worst of those that have none, while there are any.
    fn name(&mut self) {
        let mut pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        pending.sort_by_key(|(destination, ends)| (Reverse(failures(ends)), *destination));
        for (destination, ends) in pending {
            if failures(&ends) > 0 && self.named.len() < self.cap {
                self.named.insert(destination, ends);
                continue;
            }
            self.left_out += failures(&ends);
            for (label, count) in ends {
                *self.others.entry((destination.1, label)).or_default() += count;
            }
        }
    }
}

fn failures(ends: &Ends) -> u64 {
    ends.iter().filter(|(label, _)| **label != Label::Connected).map(|(_, count)| count).sum()
}
