//! The ledger of a run: what began, how it ended, and what got lost on the way.
//!
//! It rests on the kernel's exact counters, and on events only where they came, so that it
//! is right also when events were lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use observer_common::stat;

use crate::count::{DestinationSum, Totals};
use crate::label::{Label, Reason};

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
    /// What no hook of this kernel sees: it is in none of these numbers.
    pub unseen: Vec<String>,
    /// The destinations that failed last, in no order.
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

impl Ledger {
    /// The ledger that the kernel's counters and the number of events that
    /// reached this process add up to.
    pub fn new(totals: &Totals, events_delivered: u64) -> Self {
        let at = |index: u32| totals.stat(index);
        let mut outcomes = BTreeMap::new();
        for (&(label, reason, _), count) in totals.known.outcomes.iter() {
            *outcomes.entry((label, reason)).or_default() += count;
        }
        Self {
            attempts: at(stat::ATTEMPTS),
            established: at(stat::ESTABLISHED),
            outcomes_unlabelled: at(stat::OUTCOMES).saturating_sub(outcomes.values().sum()),
            outcomes,
            in_flight: totals.in_flight,
            lost: vec![("attempt table full", at(stat::LOST_ATTEMPTS_FULL))],
            events_delivered,
            events_lost: vec![
                ("ring buffer full", at(stat::RING_FULL)),
                ("not read before the end", totals.events().saturating_sub(events_delivered)),
            ],
            remarks: remarks(totals),
            unseen: Vec::new(),
            destinations: totals.destinations.iter().map(destination).collect(),
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

/// Whether a ledger balances, in words, where `imbalance` is missing and some things cannot be
/// seen at all.
pub fn judgement(imbalance: i128, is_all_seen: bool) -> String {
    match imbalance {
        0 if is_all_seen => "balances".to_owned(),
        0 => "balances, without what cannot be seen".to_owned(),
        by => format!("DOES NOT BALANCE by {by}"),
    }
}

fn total(causes: &[(&'static str, u64)]) -> u64 {
    causes.iter().map(|(_, count)| count).sum()
}

fn remarks(totals: &Totals) -> Vec<(&'static str, u64)> {
    let counted = [
        ("attempts whose beginning was not seen", stat::LATE_STARTS),
        ("ends that the first hook missed and a later one caught", stat::RECOVERED_ENDS),
        ("facts that a hook missed and the socket still told", stat::RECOVERED_FACTS),
        ("outcomes counted in total only, outcome table full", stat::OUTCOMES_FULL),
        ("connections of observer's own, such as probes, not recorded", stat::OWN),
        ("ended attempts not remembered, some may be counted twice", stat::ENDED_FULL),
    ]
    .map(|(cause, index)| (cause, totals.stat(index)));
    let forgotten = [
        ("destinations that the kernel forgot for newer ones", totals.kernel_forgotten),
        ("destinations left out of this summary for newer ones", totals.known.forgotten),
    ];
    counted.into_iter().chain(forgotten).filter(|&(_, count)| count > 0).collect()
}

fn destination(known: &DestinationSum) -> DestinationSummary {
    let mut failures: Vec<(Outcome, u64)> =
        known.ended.iter().copied().filter(|((label, _), _)| *label != Label::Connected).collect();
    failures.sort_unstable();
    DestinationSummary {
        ip: known.ip,
        port: known.port,
        attempts: known.ended.iter().map(|(_, count)| count).sum::<u64>() + known.in_flight,
        established: known.established,
        failures: failures.iter().map(|(_, count)| count).sum(),
        // max_by_key takes the last of equals, and the first is wanted.
        dominant: failures.into_iter().rev().max_by_key(|&(_, count)| count),
    }
}

#[cfg(test)]
mod tests;
