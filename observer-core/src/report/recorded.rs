//! Feeds history to a [`Builder`]: every attempt with its details, and those of
//! which only the count is known.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::{Account, Builder};
use crate::record::entry::{Brief, MinuteKey};
use crate::tally::Seen;

/// A [`Builder`] that history is fed to, slice by slice, oldest first. Memory is
/// that of one slice's counts.
#[derive(Debug)]
pub struct Recorded {
    builder: Builder,
    /// What was counted, and not yet met as an attempt.
    counted: BTreeMap<MinuteKey, u64>,
    events: u64,
    counted_only: u64,
}

impl Recorded {
    /// Nothing fed yet.
    pub fn new(builder: Builder) -> Self {
        Self { builder, counted: BTreeMap::new(), events: 0, counted_only: 0 }
    }

    /// A count of the slice; all of them before its attempts.
    pub fn count(&mut self, key: MinuteKey, count: u64) {
        *self.counted.entry(key).or_default() += count;
    }

    /// An attempt of the slice, oldest first.
    pub fn attempt(&mut self, brief: &Brief) {
        let key = brief.key();
        self.flush(|minute| minute < key.minute);
        // An older version did not count by whether it was redirected.
        let not_known = MinuteKey { redirected: None, ..key };
        let counted = if self.counted.contains_key(&key) { key } else { not_known };
        if let Some(left) = self.counted.get_mut(&counted) {
            *left = left.saturating_sub(1);
        }
        let seen = Seen { at: brief.time, handshake: brief.handshake, elapsed: brief.elapsed, ..seen(&key, 1) };
        if self.builder.add(&seen, brief.comm.as_deref()) {
            self.events += 1;
        }
    }

    /// The end of a slice.
    pub fn end_slice(&mut self) {
        self.flush(|_| true);
    }

    /// Attempts fed.
    pub fn attempts(&self) -> u64 {
        self.events + self.counted_only
    }

    /// The builder, and what was fed to it.
    pub fn finish(mut self) -> (Builder, Account) {
        self.end_slice();
        let Self { events, counted_only, .. } = self;
        (self.builder, Account::History { attempts: events + counted_only, events, counted_only })
    }

    /// Counts what is left of minutes that are over, as of their beginning.
    fn flush(&mut self, is_over: impl Fn(i64) -> bool) {
        while let Some(first) = self.counted.first_entry().filter(|first| is_over(first.key().minute)) {
            let (key, count) = first.remove_entry();
            if count > 0 && self.builder.add(&seen(&key, count), None) {
                self.counted_only += count;
            }
        }
    }
}

fn seen(key: &MinuteKey, count: u64) -> Seen {
    Seen {
        at: Timestamp::from_second(key.minute).unwrap_or(Timestamp::UNIX_EPOCH),
        saddr: key.src_ip,
        // No event is without one; a file that was changed can be.
        daddr: key.dst_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        dport: key.dst_port,
        outcome: (key.label, key.reason),
        handshake: None,
        elapsed: None,
        count,
        redirected: key.redirected == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Label, Reason};
    use crate::report::sample;

    /// Second of its end, last byte of its destination, refused, event arrived.
    type Of = (i64, u8, bool, bool);

    fn brief(second: i64, host: u8, is_refused: bool) -> Brief {
        let outcome = if is_refused { (Label::Refused, Some(Reason::Rst)) } else { (Label::Connected, None) };
        let seen = sample::seen(second, "192.0.2.1", &format!("203.0.113.{host}"), outcome, 5);
        Brief {
            time: seen.at,
            outcome,
            origin: None,
            src_ip: seen.saddr,
            dst_ip: Some(seen.daddr),
            dst_port: 25,
            elapsed: seen.elapsed,
            handshake: seen.handshake,
            comm: Some("smtp".to_owned()),
            redirected: seen.redirected,
        }
    }

    proptest! {
        /// Whatever part of the events arrived, and however the hour is sliced,
        /// every attempt is counted once, at its minute.
        #[test]
        fn lost_events_are_counted_all_the_same(
            mut all in prop::collection::vec((0i64..3_600, 0u8..4, any::<bool>(), any::<bool>()), 0..80),
            slice_minutes in 1i64..70,
        ) {
            all.sort();
            let mut fed = Recorded::new(Builder::new(sample::frame()));
            let slice = |second: i64| second / 60 / slice_minutes;
            for number in 0..=slice(3_600) {
                let of_slice = || all.iter().filter(|(second, ..)| slice(*second) == number);
                of_slice().for_each(|&(second, host, refused, _)| fed.count(brief(second, host, refused).key(), 1));
                let arrived = of_slice().filter(|(.., arrived)| *arrived);
                arrived.for_each(|&(second, host, refused, _)| fed.attempt(&brief(second, host, refused)));
                fed.end_slice();
            }
            let (builder, account) = fed.finish();
            let report = builder.finish(sample::about(), account.clone());
            let count = |test: &dyn Fn(&Of) -> bool| all.iter().filter(|of| test(of)).count() as u64;
            let events = count(&|of| of.3);
            let expected = Account::History { attempts: all.len() as u64, events, counted_only: all.len() as u64 - events };
            prop_assert_eq!(account, expected);
            prop_assert_eq!(report.overview.attempts, all.len() as u64);
            prop_assert_eq!(report.overview.failures, count(&|of| of.2));
            for (minute, bucket) in report.timeline.buckets.iter().enumerate() {
                prop_assert_eq!(bucket.labels.attempts(), count(&|of| of.0 / 60 == minute as i64));
            }
            for known in &report.destinations {
                let of_host = |of: &Of| known.ip.to_string() == format!("203.0.113.{}", of.1);
                prop_assert_eq!(known.attempts, count(&of_host));
                prop_assert_eq!(known.failures, count(&|of| of_host(of) && of.2));
            }
        }
    }
}
