//! What there was no room for on its way to readers: counted, and told later.

use std::collections::HashMap;

use observer_core::count::Ended;
use observer_core::event::Event;

/// Different ends that are told apart, some 100 bytes each.
const MAX: usize = 16_384;

/// Events without their details.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    events: u64,
    counts: HashMap<Ended, u64>,
    /// Attempts for whose ends there was no room here either.
    uncounted: u64,
}

impl Overflow {
    /// An event that no reader will see.
    pub(super) fn event(&mut self, event: &Event) {
        self.events += 1;
        if let Some(ended) = ended(event) {
            self.count(ended, 1);
        }
    }

    /// Attempts of which no event came.
    pub(super) fn missing(&mut self, missing: &[(Ended, u64)]) {
        missing.iter().for_each(|&(ended, count)| self.count(ended, count));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.counts.is_empty()
    }

    /// Attempts that are in no totals of readers, since the beginning.
    pub(super) fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// How many events, and how attempts ended.
    pub(super) fn take(&mut self) -> (u64, Vec<(Ended, u64)>) {
        (std::mem::take(&mut self.events), std::mem::take(&mut self.counts).into_iter().collect())
    }

    fn count(&mut self, ended: Ended, count: u64) {
        if self.counts.len() < MAX || self.counts.contains_key(&ended) {
            *self.counts.entry(ended).or_default() += count;
        } else {
            self.uncounted += count;
        }
    }
}

fn ended(event: &Event) -> Option<Ended> {
    Some(Ended {
        src_ip: event.src.ip,
        dst_ip: event.dst.ip?,
        dst_port: event.dst.port?,
        label: event.label,
        reason: event.reason,
        redirected: event.evidence.redirected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_core::label::{Label, Reason};
    use observer_core::sample;

    #[test]
    fn every_event_counts_and_those_alike_are_one() {
        let mut overflow = Overflow::default();
        assert!(overflow.is_empty());
        let event = sample::event(Label::Refused, Some(Reason::Rst));
        overflow.event(&event);
        overflow.event(&event);
        overflow.missing(&[(ended(&event).unwrap(), 3)]);
        let (events, counts) = overflow.take();
        assert_eq!((events, counts), (2, vec![(ended(&event).unwrap(), 5)]));
        assert!(overflow.is_empty());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut overflow = Overflow::default();
        let one = ended(&sample::event(Label::Refused, Some(Reason::Rst))).unwrap();
        for port in 0..=u16::MAX {
            overflow.missing(&[(Ended { dst_port: port, ..one }, 1)]);
        }
        assert_eq!(overflow.take().1.len(), MAX);
        assert_eq!(overflow.uncounted(), u64::from(u16::MAX) + 1 - MAX as u64);
    }
}
