//! Ends by destination, of the destinations that failed last.

use std::collections::HashMap;
use std::net::IpAddr;

use lru::LruCache;
use observer_common::record::{AttemptRecord, OutcomeKey, phase};

use crate::attempt::address;
use crate::label::{Label, label};
use crate::ledger::Outcome;

/// What became of the attempts to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSum {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Attempts that ended, by outcome, in no order.
    pub ended: Vec<(Outcome, u64)>,
    /// Attempts that have not ended.
    pub in_flight: u64,
    /// Handshakes completed, those of attempts in flight among them.
    pub established: u64,
}

impl DestinationSum {
    fn new((ip, port): (IpAddr, u16)) -> Self {
        Self { ip, port, ended: Vec::new(), in_flight: 0, established: 0 }
    }

    fn add(&mut self, outcome: Outcome, count: u64, is_established: bool) {
        match self.ended.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, sum)) => *sum += count,
            None => {
                // Most destinations have one outcome.
                self.ended.reserve_exact(1);
                self.ended.push((outcome, count));
            }
        }
        self.established += if is_established { count } else { 0 };
    }

    /// What was counted since `earlier`; attempts that were in flight then count
    /// as begun since.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |outcome| earlier.ended.iter().find(|(known, _)| *known == outcome).map_or(0, |(_, sum)| *sum);
        let more = self.ended.iter().map(|&(outcome, sum)| (outcome, sum.saturating_sub(before(outcome))));
        Self {
            ended: more.filter(|&(_, count)| count > 0).collect(),
            established: self.established.saturating_sub(earlier.established),
            ..self.clone()
        }
    }

    /// True if there is nothing to tell.
    pub(super) fn is_idle(&self) -> bool {
        self.ended.is_empty() && self.in_flight == 0
    }
}

/// Totals by destination. When there are too many, the one that has not failed for
/// the longest time goes, those that never failed before all others.
#[derive(Debug)]
pub struct Destinations {
    known: LruCache<(IpAddr, u16), DestinationSum>,
    max: usize,
    forgotten: u64,
}

impl Destinations {
    /// Room for so many.
    pub fn new(max: usize) -> Self {
        // Bounded by `of`: a bounded cache would reserve all at once.
        Self { known: LruCache::unbounded(), max: max.max(1), forgotten: 0 }
    }

    /// Counts attempts that ended.
    pub fn add(&mut self, key: &OutcomeKey, count: u64) {
        let verdict = label(&key.code);
        let destination = (address(key.destination.daddr), key.destination.dport);
        let is_established = key.code.phase == phase::ESTABLISHED;
        let is_failure = verdict.label != Label::Connected;
        self.make_room(destination, is_failure);
        if let Some(totals) = self.known.peek_mut(&destination) {
            totals.add((verdict.label, verdict.reason), count, is_established);
        }
    }

    fn make_room(&mut self, destination: (IpAddr, u16), is_failure: bool) {
        if self.known.contains(&destination) {
            if is_failure {
                self.known.promote(&destination);
            }
            return;
        }
        if self.known.len() >= self.max && self.known.pop_lru().is_some() {
            self.forgotten += 1;
        }
        self.known.put(destination, DestinationSum::new(destination));
        if !is_failure {
            self.known.demote(&destination);
        }
    }

    /// Destinations that had to go; what was counted for them before is in the
    /// totals only.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// All that are known.
    pub fn sums(&self) -> Vec<DestinationSum> {
        self.known.iter().map(|(_, sum)| sum.clone()).collect()
    }
}

impl DestinationSum {
    /// These, and their attempts `in_flight`.
    pub fn with(sums: Vec<Self>, in_flight: &[AttemptRecord]) -> Vec<Self> {
        let mut all: HashMap<_, _> = sums.into_iter().map(|sum| ((sum.ip, sum.port), sum)).collect();
        for record in in_flight {
            let destination = (address(record.daddr), record.dport);
            let sum = all.entry(destination).or_insert_with(|| Self::new(destination));
            sum.in_flight += 1;
            sum.established += u64::from(record.code.phase == phase::ESTABLISHED);
        }
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use observer_common::address::Address;
    use observer_common::record::{DestinationKey, EndCode, end, fact};

    use super::*;
    use crate::label::Reason;

    fn key(last: u8, phase: u8, facts: u32) -> OutcomeKey {
        let daddr = Address::mapped(u32::from_ne_bytes([203, 0, 113, last]));
        let code = EndCode { facts, phase, end: end::CLOSE, family: 4, ..EndCode::default() };
        OutcomeKey { saddr: Address::UNSPECIFIED, destination: DestinationKey { daddr, dport: 25, reserved: 0 }, code }
    }

    fn refused(last: u8) -> OutcomeKey {
        key(last, phase::SYN_SENT, fact::RST)
    }

    fn connected(last: u8) -> OutcomeKey {
        key(last, phase::ESTABLISHED, fact::BYTES_RECEIVED)
    }

    #[test]
    fn the_one_that_has_not_failed_for_the_longest_time_goes() {
        let mut destinations = Destinations::new(3);
        for key in [refused(1), refused(2), connected(3), refused(1), refused(4), refused(5)] {
            destinations.add(&key, 1);
        }
        let mut left: Vec<_> = destinations.sums().iter().map(|known| known.ip.to_string()).collect();
        left.sort();
        assert_eq!(left, ["203.0.113.1", "203.0.113.4", "203.0.113.5"]);
        assert_eq!(destinations.forgotten(), 2);
    }

    #[test]
    fn attempts_in_flight_are_of_their_destination() {
        let mut destinations = Destinations::new(3);
        destinations.add(&refused(1), 2);
        destinations.add(&connected(1), 3);
        let mut record = AttemptRecord { daddr: refused(1).destination.daddr, dport: 25, ..AttemptRecord::NONE };
        record.code.phase = phase::ESTABLISHED;
        let waiting = AttemptRecord { dport: 587, code: EndCode::default(), ..record };
        let mut all = DestinationSum::with(destinations.sums(), &[record, waiting, waiting]);
        all.sort_by_key(|known| known.port);
        assert_eq!(all.iter().map(|known| (known.in_flight, known.established)).collect::<Vec<_>>(), [(1, 4), (2, 0)]);
        let ended = [((Label::Refused, Some(Reason::Rst)), 2), ((Label::Connected, None), 3)];
        assert_eq!(all[0].ended, ended);
        destinations.add(&refused(1), 5);
        let since = destinations.sums()[0].since(&all[0]);
        assert_eq!((since.ended, since.established), (vec![((Label::Refused, Some(Reason::Rst)), 5)], 0));
    }
}
