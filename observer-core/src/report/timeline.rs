//! Outcomes over time, in buckets of a round length.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{LabelCounts, Period};
use crate::label::Label;

/// Bars that a page and a line of 80 columns have room for.
const MAX_BUCKETS: i64 = 60;

/// Lengths of buckets in seconds: what clocks and calendars are divided by.
const LENGTHS: [i64; 17] =
    [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800];

/// Outcomes over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Length of a bucket in seconds.
    pub bucket_s: i64,
    /// Every bucket of the period, oldest first, also those without attempts.
    pub buckets: Vec<Bucket>,
}

/// What ended within a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its beginning.
    pub start: Timestamp,
    /// Attempts by label.
    pub labels: LabelCounts,
}

impl Timeline {
    /// Empty buckets for a period, none shorter than `finest_s` seconds. They
    /// begin where the clock of `tz` shows a multiple of their length.
    pub(super) fn new(period: Period, finest_s: i64, tz: &TimeZone) -> Self {
        let bucket_s = length(period.seconds(), finest_s);
        let offset = i64::from(tz.to_offset(period.since).seconds());
        let since = period.since.as_second();
        let first = since - (since + offset).rem_euclid(bucket_s);
        let last = Timestamp::from_nanosecond(period.until.as_nanosecond() - 1).unwrap_or(period.until).as_second();
        let count = (last - first) / bucket_s + 1;
        let starts = (0..count).filter_map(|n| Timestamp::from_second(first + n * bucket_s).ok());
        let buckets = starts.map(|start| Bucket { start, labels: LabelCounts::default() }).collect();
        Self { bucket_s, buckets }
    }

    /// Counts attempts; what ended outside of the period counts at its end.
    pub(super) fn add(&mut self, at: Timestamp, label: Label, count: u64) {
        let after = self.buckets.partition_point(|bucket| bucket.start <= at);
        if let Some(bucket) = self.buckets.get_mut(after.saturating_sub(1)) {
            bucket.labels.add(label, count);
        }
    }

    /// Drops buckets that begin at `until` or later, if they are empty.
    pub(super) fn end(&mut self, until: Timestamp) {
        self.buckets.retain(|bucket| bucket.start < until || bucket.labels.attempts() > 0);
    }
}

/// Seconds of the shortest bucket with which there are not too many.
fn length(period_s: i64, finest_s: i64) -> i64 {
    let fits = |&length: &i64| length >= finest_s && period_s <= length.saturating_mul(MAX_BUCKETS);
    let weeks = || {
        let week = LENGTHS[LENGTHS.len() - 1];
        (period_s / (week * MAX_BUCKETS) + 1) * week
    };
    LENGTHS.into_iter().find(fits).unwrap_or_else(weeks)
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn period(since: &str, until: &str) -> Period {
        Period { since: since.parse().unwrap(), until: until.parse().unwrap() }
    }

    #[test]
    fn buckets_are_round_and_few() {
        for (since, until, finest, expected) in [
            ("2026-11-23T16:00:00Z", "2026-11-23T16:00:30Z", 1, (1, 30)),
            ("2026-11-23T16:00:00Z", "2026-11-23T16:01:30Z", 1, (2, 45)),
            ("2026-11-23T16:00:00Z", "2026-11-23T16:00:30Z", 60, (60, 1)),
            ("2026-11-23T16:00:00Z", "2026-11-23T17:00:00Z", 60, (60, 60)),
            ("2026-11-23T16:07:00Z", "2026-11-24T16:07:00Z", 60, (1_800, 49)),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", 60, (604_800, 52)),
            ("2000-01-01T00:00:00Z", "2026-12-31T00:00:00Z", 60, (24 * 604_800, 59)),
        ] {
            let timeline = Timeline::new(period(since, until), finest, &TimeZone::UTC);
            assert_eq!((timeline.bucket_s, timeline.buckets.len()), expected, "{since} {until}");
        }
    }

    #[test]
    fn days_begin_at_local_midnight() {
        let tz = TimeZone::fixed(Offset::constant(5));
        let timeline = Timeline::new(period("2026-11-01T12:00:00Z", "2026-12-24T12:00:00Z"), 60, &tz);
        assert_eq!(timeline.bucket_s, 86_400);
        assert_eq!(timeline.buckets[0].start.to_string(), "2026-10-31T19:00:00Z");
    }

    proptest! {
        #[test]
        fn every_attempt_is_in_one_bucket(
            since in 0i64..2_000_000_000, length in 1i64..1 << 30, hours in -12i8..12, at in 0.0f64..1.0, finest in 1i64..61,
        ) {
            let second = |s| Timestamp::from_second(s).unwrap();
            let tz = TimeZone::fixed(Offset::constant(hours));
            let mut timeline = Timeline::new(Period { since: second(since), until: second(since + length) }, finest, &tz);
            prop_assert!(timeline.bucket_s >= finest && !timeline.buckets.is_empty());
            prop_assert!(timeline.buckets.len() as i64 <= MAX_BUCKETS + 1);
            let when = since + (at * length as f64) as i64;
            timeline.add(second(when), Label::Refused, 3);
            let held: Vec<_> = timeline.buckets.iter().filter(|bucket| bucket.labels.attempts() > 0).collect();
            prop_assert_eq!(held.len(), 1);
            let start = held[0].start.as_second();
            prop_assert!(start <= when && when < start + timeline.bucket_s);
        }
    }
}
