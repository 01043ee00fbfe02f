//! What was counted, for another process: cut at one time, and handed over in parts of bounded
//! size.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::window::LabelBuckets;
use super::{Family, Latency, Tally, Tick, Time};
use crate::label::{Label, Reason};

/// Version of [`Head`] and [`Part`]. Members are added within a version; a change of meaning
/// is a new one.
pub const SNAPSHOT_VERSION: u32 = 1;

/// How much of the tallies a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Destinations, and as many prefixes and local addresses. Those that failed most recently
    /// come first.
    pub destinations: usize,
    /// Bytes of memory for destinations. As JSON they take about three times as much.
    pub bytes: usize,
}

/// What was counted until one time.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) head: Head,
    pub(super) groups: std::vec::IntoIter<(Of, Tally)>,
}

/// What comes before the parts of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`SNAPSHOT_VERSION`].
    pub version: u32,
    pub(super) clock: Clock,
    /// When it was cut, by that clock.
    pub(super) now: Tick,
    /// Bits of its prefixes.
    pub(super) prefix_v4: u8,
    pub(super) prefix_v6: u8,
    /// Local addresses, by which destinations tell their attempts apart.
    pub(super) saddrs: Vec<Option<IpAddr>>,
    /// Destinations, prefixes and local addresses forgotten so far.
    pub(super) evicted: [u64; 3],
    /// Attempts of which no event came.
    pub(super) made_up: u64,
    /// Destinations that are known and not in the snapshot: they are in the totals.
    pub more_destinations: u64,
}

/// Whose attempts a [`Part`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// All.
    Total,
    /// Those of one family.
    Family(Family),
    /// Those to one prefix.
    Prefix(IpNet),
    /// Those from one local address; `None` where none was chosen.
    Source(Option<IpAddr>),
    /// Those to destinations that were forgotten.
    ForgottenDestinations,
    /// Those to prefixes that were forgotten.
    ForgottenPrefixes,
    /// Those from local addresses that were forgotten.
    ForgottenSources,
    /// Those to one destination.
    Destination(IpAddr, u16),
}

/// The counts of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whose they are.
    pub of: Of,
    /// How often each outcome occurred, by the place of the local address in [`Head`] where a
    /// destination tells them apart.
    #[serde(default)]
    outcomes: Vec<(Option<u16>, Label, Option<Reason>, u64)>,
    #[serde(default)]
    windows: Vec<LabelBuckets>,
    /// Those among the windows' that this host redirected to itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    redirected: Vec<LabelBuckets>,
    #[serde(default)]
    latencies: Vec<(Latency, u8, u64)>,
    /// Microseconds since the epoch, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_failed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_failed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_succeeded: Option<i64>,
    #[serde(default)]
    streak: u64,
}

impl Snapshot {
    /// What comes before the parts.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

/// The parts, in the order in which they are to be loaded.
impl Iterator for Snapshot {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (of, tally) = self.groups.next()?;
        Some(Part {
            of,
            outcomes: tally.split.parts(),
            windows: tally.windows.parts(),
            redirected: tally.redirected.map(|windows| windows.parts()).unwrap_or_default(),
            latencies: tally.latencies.parts(),
            first_failed: tally.first_failed.micros(),
            last_failed: tally.last_failed.micros(),
            last_succeeded: tally.last_succeeded.micros(),
            streak: tally.streak,
        })
    }
}

impl Part {
    /// The counts, cut at `now`.
    pub(super) fn tally(&self, now: Tick) -> Tally {
        let mut tally = Tally {
            first_failed: Time::from_micros(self.first_failed),
            last_failed: Time::from_micros(self.last_failed),
            last_succeeded: Time::from_micros(self.last_succeeded),
            streak: self.streak,
            ..Tally::default()
        };
        tally.split.load(&self.outcomes);
        tally.windows.load(now, &self.windows);
        if !self.redirected.is_empty() {
            tally.redirected.get_or_insert_default().load(now, &self.redirected);
        }
        tally.latencies.load(&self.latencies);
        tally
    }
}
