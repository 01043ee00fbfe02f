//! How long handshakes and refusals took.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sparse::Sparse;

/// What a latency measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// From start to ESTABLISHED.
    Connect,
    /// From start to a refusal.
    Refusal,
}

/// Each bucket ends at this many times its beginning. Its middle is then off by
/// at most (1.1 - 1) / (1.1 + 1) = 4.8 % of any value in it.
const GROWTH: f64 = 1.1;

/// Latencies in buckets that grow with the value, as in a DDSketch: quantiles
/// are right to 5 %, from 1 microsecond to 10 hours; what is beyond counts as
/// the nearest. At most 4 kB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: Sparse<(Latency, u8)>,
}

impl Latencies {
    /// Counts one latency `count` times.
    pub fn add(&mut self, what: Latency, latency: Duration, count: u64) {
        self.buckets.add((what, bucket(latency)), count);
    }

    /// How many latencies were counted.
    pub fn count(&self, what: Latency) -> u64 {
        self.of(what).map(|(_, count)| count).sum()
    }

    /// The latency that a share `q` (0 to 1) of all do not exceed; `None`
    /// without any.
    pub fn quantile(&self, what: Latency, q: f64) -> Option<Duration> {
        let total = self.count(what);
        let rank = (q.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut passed = 0;
        self.of(what).find_map(|(bucket, count)| {
            passed += count;
            (passed >= rank.min(total)).then(|| middle(bucket))
        })
    }

    /// Buckets in ascending order, each by its middle, for a distribution.
    pub fn distribution(&self, what: Latency) -> impl Iterator<Item = (Duration, u64)> {
        self.of(what).map(|(bucket, count)| (middle(bucket), count))
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.merge(&other.buckets);
    }

    /// The buckets and their counts, for [`Self::load`].
    pub(super) fn parts(&self) -> Vec<(Latency, u8, u64)> {
        self.buckets.iter().map(|((what, bucket), count)| (what, bucket, count)).collect()
    }

    /// Adds buckets as [`Self::parts`] gives them.
    pub(super) fn load(&mut self, parts: &[(Latency, u8, u64)]) {
        parts.iter().for_each(|&(what, bucket, count)| self.buckets.add((what, bucket), count));
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.buckets.heap_bytes()
    }

    fn of(&self, what: Latency) -> impl Iterator<Item = (u8, u64)> {
        self.buckets.iter().filter(move |&((of, _), _)| of == what).map(|((_, bucket), count)| (bucket, count))
    }
}

fn bucket(latency: Duration) -> u8 {
    let us = latency.as_micros().max(1) as f64;
    // A float cast saturates.
    us.log(GROWTH) as u8
}

fn middle(bucket: u8) -> Duration {
    let us = GROWTH.powi(i32::from(bucket)) * 2.0 * GROWTH / (GROWTH + 1.0);
    Duration::from_secs_f64(us / 1e6)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Latencies, Latency};

    proptest! {
        #[test]
        fn quantiles_are_right_to_five_percent(
            mut us in prop::collection::vec(prop_oneof![1u64..1_000, 1u64..36_000_000_000], 1..80),
            q in 0.0f64..=1.0,
        ) {
            let mut latencies = Latencies::default();
            us.iter().for_each(|&us| latencies.add(Latency::Connect, Duration::from_micros(us), 1));
            us.sort_unstable();
            let rank = ((q * us.len() as f64).ceil() as usize).max(1);
            let (expected, got) = (us[rank - 1] as f64, latencies.quantile(Latency::Connect, q).unwrap());
            let error = (got.as_secs_f64() * 1e6 - expected).abs() / expected;
            prop_assert!(error <= 0.05, "{expected} {got:?}");
            prop_assert_eq!(latencies.count(Latency::Connect), us.len() as u64);
            prop_assert_eq!(latencies.distribution(Latency::Connect).map(|(_, n)| n).sum::<u64>(), us.len() as u64);
        }
    }

    #[test]
    fn none_without_any_and_kinds_apart() {
        let mut latencies = Latencies::default();
        latencies.add(Latency::Refusal, Duration::from_millis(30), 3);
        assert_eq!(latencies.quantile(Latency::Connect, 0.5), None);
        assert_eq!(latencies.count(Latency::Refusal), 3);
    }

    #[test]
    fn extremes_are_counted() {
        let mut latencies = Latencies::default();
        latencies.add(Latency::Connect, Duration::ZERO, 1);
        latencies.add(Latency::Connect, Duration::MAX, 1);
        assert!(latencies.quantile(Latency::Connect, 0.0).unwrap() < Duration::from_micros(2));
        assert!(latencies.quantile(Latency::Connect, 1.0).unwrap() > Duration::from_secs(36_000));
    }
}
