//! What is known of each destination while a run lasts.
//!
//! Bounded: when it is full, the destination that has not failed for the
//! longest time goes, and that is counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use lru::LruCache;
use observer_common::record::DestinationCounters;
use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::label::{Label, Verdict};
use crate::origin::Fingerprint;

type Key = (IpAddr, u16);

/// What is known of a destination at the time of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Attempts begun, by the kernel's exact count.
    pub attempts: u64,
    /// Handshakes completed, by the kernel's exact count.
    pub established: u64,
    /// Events with the label `refused`.
    pub refused: u64,
    /// Events with the label `timeout`.
    pub timeout: u64,
    /// First failure seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failed: Option<Timestamp>,
    /// Failures in a row, this one included.
    pub streak: u64,
}

/// Totals and per-destination state, fed one attempt after the other in the
/// order of their ends.
#[derive(Debug)]
pub struct Aggregate {
    totals: BTreeMap<Label, u64>,
    /// Most recently failed first; those that never failed last.
    destinations: LruCache<Key, State>,
    max_destinations: usize,
    evicted: u64,
    unremembered: u64,
}

#[derive(Debug, Default)]
struct State {
    refused: u64,
    timeout: u64,
    first_failed: Option<Timestamp>,
    streak: u64,
    /// The kernel's counters of this beginning, and their handshakes at the last
    /// event.
    since_ns: u64,
    established: u64,
    fingerprint: Fingerprint,
}

impl Aggregate {
    /// Room for so many destinations, at least one; some 300 bytes each.
    pub fn new(max_destinations: usize) -> Self {
        Self {
            totals: BTreeMap::new(),
            // Bounded by `state`: a bounded cache would reserve all at once.
            destinations: LruCache::unbounded(),
            max_destinations: max_destinations.max(1),
            evicted: 0,
            unremembered: 0,
        }
    }

    /// Adjusts a verdict's origin by what the destination showed before, and
    /// remembers what this attempt shows. Call it once per attempt, before
    /// [`Self::record`], with the same counters.
    pub fn observe(&mut self, attempt: &Attempt, verdict: Verdict, counters: Option<DestinationCounters>) -> Verdict {
        let key = key(attempt);
        let known = self.destinations.peek(&key).map(|state| state.fingerprint).unwrap_or_default();
        let adjusted = known.adjust(attempt, verdict, counters);
        let mut shown = Fingerprint::default();
        shown.learn(attempt);
        if !shown.is_empty()
            && let Some(state) = self.state(key, adjusted.is_failure())
        {
            state.fingerprint.learn(attempt);
        }
        adjusted
    }

    /// Counts an attempt. `counters` are the kernel's counts for its
    /// destination, read after it ended; without them no exact statement can be
    /// made, and there is none.
    pub fn record(
        &mut self,
        attempt: &Attempt,
        verdict: Verdict,
        counters: Option<DestinationCounters>,
    ) -> Option<Destination> {
        *self.totals.entry(verdict.label).or_default() += 1;
        let Some(state) = self.state(key(attempt), verdict.is_failure()) else {
            self.unremembered += 1;
            return counters.map(|counters| State::default().destination(counters));
        };
        state.count(attempt, verdict, counters);
        counters.map(|counters| state.destination(counters))
    }

    /// Events by label.
    pub fn totals(&self) -> &BTreeMap<Label, u64> {
        &self.totals
    }

    /// Destinations known now.
    pub fn len(&self) -> usize {
        self.destinations.len()
    }

    /// True before the first attempt.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Destinations forgotten for want of room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Successes not remembered for want of room: their destination had no
    /// entry, and none that had failed went for it.
    pub fn unremembered(&self) -> u64 {
        self.unremembered
    }

    /// The state of a destination. A failure moves it to the front, and makes
    /// room for it; a success is remembered only where there is room.
    fn state(&mut self, key: Key, is_failure: bool) -> Option<&mut State> {
        if !self.destinations.contains(&key) {
            if self.destinations.len() >= self.max_destinations {
                if !is_failure {
                    return None;
                }
                self.destinations.pop_lru();
                self.evicted += 1;
            }
            self.destinations.put(key, State::default());
            if !is_failure {
                self.destinations.demote(&key);
            }
        }
        if is_failure { self.destinations.get_mut(&key) } else { self.destinations.peek_mut(&key) }
    }
}

fn key(attempt: &Attempt) -> Key {
    (attempt.daddr, attempt.dport)
}

impl State {
    fn count(&mut self, attempt: &Attempt, verdict: Verdict, counters: Option<DestinationCounters>) {
        let established = self.established_by(counters);
        if verdict.is_failure() {
            // A handshake that is not this attempt's own was a success, as far
            // as anyone knows yet.
            let own = u64::from(attempt.handshake.is_some());
            let others = established.saturating_sub(self.established).saturating_sub(own);
            self.streak = if others > 0 { 1 } else { self.streak + 1 };
            self.first_failed.get_or_insert(attempt.ended);
        } else {
            self.streak = 0;
        }
        self.established = self.established.max(established);
        self.refused += u64::from(verdict.label == Label::Refused);
        self.timeout += u64::from(verdict.label == Label::Timeout);
    }

    /// Handshakes by now, in counters that may have begun anew: the kernel forgets.
    fn established_by(&mut self, counters: Option<DestinationCounters>) -> u64 {
        match counters {
            Some(counters) if counters.since_ns > self.since_ns => {
                (self.since_ns, self.established) = (counters.since_ns, 0);
                counters.established
            }
            // Read before they were forgotten.
            Some(counters) if counters.since_ns < self.since_ns => self.established,
            Some(counters) => counters.established,
            None => self.established,
        }
    }

    fn destination(&self, counters: DestinationCounters) -> Destination {
        Destination {
            attempts: counters.attempts,
            established: counters.established,
            refused: self.refused,
            timeout: self.timeout,
            first_failed: self.first_failed,
            streak: self.streak,
        }
    }
}

#[cfg(test)]
mod tests;
