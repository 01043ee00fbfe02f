//! Exact aggregates: per destination, prefix, source address and family, and
//! for everything; in total and over sliding windows.
//!
//! [`Tallies`] is fed every event, and what the kernel counted where an event was
//! lost.

mod clock;
mod latency;
mod load;
mod snapshot;
mod sparse;
mod split;
mod table;
mod tallies;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

pub use self::clock::Tick;
pub use self::latency::{Latencies, Latency};
pub use self::load::Loader;
pub use self::snapshot::{Head, Limit, Of, Part, SNAPSHOT_VERSION, Snapshot};
pub use self::split::{Source, SourceCounts};
use self::split::{SourceId, Split};
pub use self::tallies::{Budget, Family, Key, Prefixes, Tallies};
pub use self::window::{Window, WindowCounts, Windows};
use crate::count::Ended;
use crate::label::{Label, Reason};
pub use crate::ledger::Outcome;

/// True for outcomes of attempts whose handshake was completed: the outcome
/// alone says so, whether it comes from an event or a counter. A session that was destroyed
/// on this host says nothing of the destination, and counts as cancelled alone.
pub fn is_established((label, reason): Outcome) -> bool {
    match label {
        Label::Reset | Label::Closed | Label::Silent | Label::Connected => true,
        Label::Timeout => reason == Some(Reason::Stalled),
        Label::Refused | Label::Unreachable | Label::Blocked | Label::Cancelled | Label::Unknown => false,
    }
}

/// Attempts that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When they ended.
    pub at: Timestamp,
    /// Local address; `None` when none was chosen.
    pub saddr: Option<IpAddr>,
    /// Destination address.
    pub daddr: IpAddr,
    /// Destination port.
    pub dport: u16,
    /// How they ended.
    pub outcome: Outcome,
    /// From start to the completed handshake, where known.
    pub handshake: Option<Duration>,
    /// From start to end, where known.
    pub elapsed: Option<Duration>,
    /// How many.
    pub count: u64,
    /// This host redirected them to itself: they say nothing of the destination.
    pub redirected: bool,
}

impl Seen {
    /// `count` attempts of which no event came, as if they had all ended at `at`.
    pub fn from_ended(ended: &Ended, count: u64, at: Timestamp) -> Self {
        Self {
            at,
            saddr: ended.src_ip,
            daddr: ended.dst_ip,
            dport: ended.dst_port,
            outcome: (ended.label, ended.reason),
            handshake: None,
            elapsed: None,
            count,
            redirected: ended.redirected,
        }
    }

    fn is_failure(&self) -> bool {
        self.outcome.0 != Label::Connected
    }
}

/// When something happened, and when that became known.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Tick,
    now: Tick,
}

/// What became of the attempts of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    split: Split,
    latencies: Latencies,
    windows: Windows,
    /// Those among them that this host redirected to itself.
    redirected: Option<Box<Windows>>,
    first_failed: Time,
    last_failed: Time,
    last_succeeded: Time,
    streak: u64,
}

impl Tally {
    /// Counts attempts; groups other than destinations don't tell sources apart.
    fn add(&mut self, seen: &Seen, source: Option<SourceId>, moment: Moment) {
        self.windows.add(seen.outcome, seen.count, moment.at, moment.now);
        if seen.redirected {
            self.redirected.get_or_insert_default().add(seen.outcome, seen.count, moment.at, moment.now);
        }
        if let Some(handshake) = seen.handshake {
            self.latencies.add(Latency::Connect, handshake, seen.count);
        }
        if let Some(elapsed) = seen.elapsed.filter(|_| seen.outcome.0 == Label::Refused) {
            self.latencies.add(Latency::Refusal, elapsed, seen.count);
        }
        let at = Time::new(seen.at);
        if seen.is_failure() {
            self.streak = self.streak.saturating_add(seen.count);
            self.first_failed = self.first_failed.earlier(at);
            self.last_failed = self.last_failed.max(at);
        } else {
            self.streak = 0;
            self.last_succeeded = self.last_succeeded.max(at);
        }
        self.split.add(source, seen.outcome, seen.count);
    }

    /// Adds everything that `other` counted, not by source. The streak stays:
    /// two groups have none in common.
    fn merge(&mut self, other: &Self) {
        other.outcomes().for_each(|(outcome, count)| self.split.add(None, outcome, count));
        self.latencies.merge(&other.latencies);
        self.windows.merge(&other.windows);
        if let Some(redirected) = &other.redirected {
            self.redirected.get_or_insert_default().merge(redirected);
        }
        self.first_failed = self.first_failed.earlier(other.first_failed);
        self.last_failed = self.last_failed.max(other.last_failed);
        self.last_succeeded = self.last_succeeded.max(other.last_succeeded);
    }

    /// Attempts that ended.
    pub fn attempts(&self) -> u64 {
        self.split.total()
    }

    /// Attempts whose handshake was completed.
    pub fn established(&self) -> u64 {
        self.sum(is_established)
    }

    /// Attempts that ended as `connected`.
    pub fn connected(&self) -> u64 {
        self.of(Label::Connected)
    }

    /// Attempts that ended in any other way.
    pub fn failures(&self) -> u64 {
        self.sum(|(label, _)| label != Label::Connected)
    }

    /// Share of failures among all attempts, 0 to 1; `None` without attempts.
    pub fn ratio(&self) -> Option<f64> {
        let attempts = self.attempts();
        (attempts > 0).then(|| self.failures() as f64 / attempts as f64)
    }

    /// Attempts that ended with a label.
    pub fn of(&self, label: Label) -> u64 {
        self.sum(|outcome| outcome.0 == label)
    }

    /// How often each outcome occurred, in the order of labels; none is 0.
    pub fn outcomes(&self) -> impl DoubleEndedIterator<Item = (Outcome, u64)> + Clone {
        self.split.outcomes().into_iter()
    }

    /// The most frequent failure and how often it was; of two as frequent, the
    /// first in the order of labels.
    pub fn dominant(&self) -> Option<(Outcome, u64)> {
        let failures = self.outcomes().filter(|&((label, _), _)| label != Label::Connected);
        failures.rev().max_by_key(|&(_, count)| count)
    }

    /// Failures since the last success, in the order in which they became
    /// known. 0 after a success that only the kernel's counters showed.
    pub fn streak(&self) -> u64 {
        self.streak
    }

    /// When the first failure ended, to the microsecond.
    pub fn first_failed(&self) -> Option<Timestamp> {
        self.first_failed.get()
    }

    /// When the last failure ended, to the microsecond.
    pub fn last_failed(&self) -> Option<Timestamp> {
        self.last_failed.get()
    }

    /// When the last success ended, to the microsecond.
    pub fn last_succeeded(&self) -> Option<Timestamp> {
        self.last_succeeded.get()
    }

    /// How long handshakes and refusals took, of the events that arrived.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Counts of a window at a time that [`Tallies::tick`] gave.
    pub fn window(&self, window: Window, now: Tick) -> WindowCounts {
        self.windows.count(window, now)
    }

    /// Those among [`Self::window`] that this host redirected to itself.
    pub fn redirected(&self, window: Window, now: Tick) -> WindowCounts {
        self.redirected.as_ref().map(|windows| windows.count(window, now)).unwrap_or_default()
    }

    /// A window in at most `columns` columns, oldest first, as (attempts,
    /// failures): a sparkline. `now` as in [`Self::window`].
    pub fn series(&self, window: Window, columns: usize, now: Tick) -> Vec<(u64, u64)> {
        self.windows.series(window, columns, now)
    }

    fn sum(&self, is_counted: impl Fn(Outcome) -> bool) -> u64 {
        self.split.sum(is_counted)
    }

    fn heap_bytes(&self) -> usize {
        let redirected = |windows: &Windows| size_of::<Windows>() + windows.heap_bytes();
        self.split.heap_bytes()
            + self.latencies.heap_bytes()
            + self.windows.heap_bytes()
            + self.redirected.as_deref().map_or(0, redirected)
    }
}

/// Microseconds since the epoch, or [`Self::NEVER`]: a third of the size of an
/// optional [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time(i64);

impl Default for Time {
    fn default() -> Self {
        Self::NEVER
    }
}

impl Time {
    const NEVER: Self = Self(i64::MIN);

    fn new(time: Timestamp) -> Self {
        Self(time.as_microsecond())
    }

    fn earlier(self, other: Self) -> Self {
        if self == Self::NEVER || (other != Self::NEVER && other < self) { other } else { self }
    }

    fn micros(self) -> Option<i64> {
        (self != Self::NEVER).then_some(self.0)
    }

    fn from_micros(micros: Option<i64>) -> Self {
        micros.map_or(Self::NEVER, Self)
    }

    fn get(self) -> Option<Timestamp> {
        (self != Self::NEVER).then(|| Timestamp::from_microsecond(self.0).ok()).flatten()
    }
}

#[cfg(test)]
mod tests;
