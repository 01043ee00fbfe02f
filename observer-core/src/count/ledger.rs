//! The ledger of a run: what began, how it ended, and what got lost on the way.
//!
//! It rests on the kernel's exact counters, not on events, so that it is right
//! also when events were lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use observer_common::record::{DestinationCounters, DestinationKey, OutcomeKey};
use observer_common::stat;

use crate::attempt::address;
use crate::label::{Label, Reason, label};

/// An outcome as people count it: the label and its reason.
pub type Outcome = (Label, Option<Reason>);

/// What one run saw. `attempts = outcomes + in flight + lost`, or the run
/// miscounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Attempts begun.
    pub attempts: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Attempts that ended, by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Attempts that ended, but how was counted in total only.
    pub outcomes_unlabelled: u64,
    /// Attempts that have not ended.
    pub in_flight: u64,
    /// Attempts that were begun and then not followed, by cause.
    pub lost: Vec<(&'static str, u64)>,
    /// Events that reached this process; what filters hide is included.
    pub events_delivered: u64,
    /// Events that did not, by cause. Their outcomes are counted all the same.
    pub events_lost: Vec<(&'static str, u64)>,
    /// What else a reader of the numbers must know, by cause; not part of the
    /// balance.
    pub remarks: Vec<(&'static str, u64)>,
    /// Every destination counted, in no order.
    pub destinations: Vec<DestinationSummary>,
}

/// One destination over the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSummary {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Attempts begun.
    pub attempts: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Attempts that ended in any other way than `connected`.
    pub failures: u64,
    /// The most frequent failure and how often it was; of two as frequent, the
    /// first in the order of labels.
    pub dominant: Option<(Outcome, u64)>,
}

/// The kernel's counters, read at one time.
#[derive(Clone, Debug)]
pub struct Counters {
    /// By index of [`stat`], summed over the CPUs.
    pub stats: [u64; stat::COUNT as usize],
    /// Entries of the map of attempts in flight.
    pub in_flight: u64,
    /// By destination and end code.
    pub outcomes: Vec<(OutcomeKey, u64)>,
    /// By destination.
    pub destinations: Vec<(DestinationKey, DestinationCounters)>,
}

impl Counters {
    /// What was counted since `earlier`; attempts that were in flight then count as
    /// begun since. `events` is how many events of that time went by.
    pub fn since(&self, earlier: &Self, events: u64) -> Self {
        let mut stats = self.stats;
        for (now, then) in stats.iter_mut().zip(earlier.stats) {
            *now = now.saturating_sub(then);
        }
        stats[stat::ATTEMPTS as usize] += earlier.in_flight;
        stats[stat::EVENTS as usize] = events;
        Self {
            stats,
            in_flight: self.in_flight,
            outcomes: more(&self.outcomes, &earlier.outcomes, u64::saturating_sub),
            destinations: more(&self.destinations, &earlier.destinations, counted_since),
        }
    }
}

/// Each entry less what was there before; those that did not grow are left out.
fn more<K: Copy + Ord, V: Copy + Default + PartialEq>(
    now: &[(K, V)],
    earlier: &[(K, V)],
    less: impl Fn(V, V) -> V,
) -> Vec<(K, V)> {
    let earlier: BTreeMap<K, V> = earlier.iter().copied().collect();
    let grown = now.iter().map(|&(key, value)| (key, less(value, earlier.get(&key).copied().unwrap_or_default())));
    grown.filter(|&(_, value)| value != V::default()).collect()
}

fn counted_since(now: DestinationCounters, earlier: DestinationCounters) -> DestinationCounters {
    DestinationCounters {
        attempts: now.attempts.saturating_sub(earlier.attempts),
        established: now.established.saturating_sub(earlier.established),
        // A minimum has no difference.
        fastest_handshake_ns: 0,
    }
}

impl Ledger {
    /// The ledger that the kernel's counters and the number of events that
    /// reached this process add up to.
    pub fn new(counters: &Counters, events_delivered: u64) -> Self {
        let at = |index: u32| counters.stats.get(index as usize).copied().unwrap_or(0);
        let mut outcomes = BTreeMap::new();
        for (key, count) in &counters.outcomes {
            *outcomes.entry(outcome(key)).or_default() += count;
        }
        Self {
            attempts: at(stat::ATTEMPTS),
            established: at(stat::ESTABLISHED),
            outcomes_unlabelled: at(stat::OUTCOMES).saturating_sub(outcomes.values().sum()),
            outcomes,
            in_flight: counters.in_flight,
            lost: vec![("attempt table full", at(stat::LOST_ATTEMPTS_FULL))],
            events_delivered,
            events_lost: vec![
                ("ring buffer full", at(stat::RING_FULL)),
                ("not read before the end", at(stat::EVENTS).saturating_sub(events_delivered)),
            ],
            remarks: remarks(&at),
            destinations: destinations(counters),
        }
    }

    /// Attempts that ended.
    pub fn outcomes_total(&self) -> u64 {
        self.outcomes.values().sum::<u64>() + self.outcomes_unlabelled
    }

    /// Attempts that were not followed.
    pub fn lost_total(&self) -> u64 {
        total(&self.lost)
    }

    /// Events that did not reach this process.
    pub fn events_lost_total(&self) -> u64 {
        total(&self.events_lost)
    }

    /// Attempts minus everything that became of them: 0 if the ledger balances,
    /// positive if attempts vanished, negative if some were counted twice.
    pub fn imbalance(&self) -> i128 {
        let accounted = [self.outcomes_total(), self.in_flight, self.lost_total()];
        i128::from(self.attempts) - accounted.into_iter().map(i128::from).sum::<i128>()
    }
}

fn total(causes: &[(&'static str, u64)]) -> u64 {
    causes.iter().map(|(_, count)| count).sum()
}

fn outcome(key: &OutcomeKey) -> Outcome {
    let verdict = label(&key.code);
    (verdict.label, verdict.reason)
}

fn remarks(at: &impl Fn(u32) -> u64) -> Vec<(&'static str, u64)> {
    [
        ("attempts whose beginning was not seen", stat::LATE_STARTS),
        ("ends that the first hook missed and a later one caught", stat::RECOVERED_ENDS),
        ("facts that a hook missed and the socket still told", stat::RECOVERED_FACTS),
        ("attempts counted in total only, destination table full", stat::DESTINATIONS_FULL),
        ("outcomes counted in total only, outcome table full", stat::OUTCOMES_FULL),
        ("ended attempts not remembered, some may be counted twice", stat::ENDED_FULL),
    ]
    .map(|(cause, index)| (cause, at(index)))
    .into_iter()
    .filter(|&(_, count)| count > 0)
    .collect()
}

fn destinations(counters: &Counters) -> Vec<DestinationSummary> {
    let mut failures: BTreeMap<DestinationKey, BTreeMap<Outcome, u64>> = BTreeMap::new();
    for (key, count) in &counters.outcomes {
        let outcome = outcome(key);
        if outcome.0 != Label::Connected {
            *failures.entry(key.destination).or_default().entry(outcome).or_default() += count;
        }
    }
    let known = counters.destinations.iter().copied();
    known.map(|(key, counts)| destination(key, counts, failures.get(&key))).collect()
}

fn destination(
    key: DestinationKey,
    counts: DestinationCounters,
    failures: Option<&BTreeMap<Outcome, u64>>,
) -> DestinationSummary {
    let failures = failures.into_iter().flatten().map(|(&outcome, &count)| (outcome, count));
    DestinationSummary {
        ip: address(key.daddr),
        port: key.dport,
        attempts: counts.attempts,
        established: counts.established,
        failures: failures.clone().map(|(_, count)| count).sum(),
        // max_by_key takes the last of equals, and the first is wanted.
        dominant: failures.rev().max_by_key(|&(_, count)| count),
    }
}

#[cfg(test)]
mod tests;
