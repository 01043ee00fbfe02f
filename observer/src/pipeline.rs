//! From record bytes to a judged event.

use observer_common::record::{AttemptRecord, DestinationCounters, DestinationKey};

use crate::aggregate::Aggregate;
use crate::attempt::{Attempt, ClockOffset};
use crate::decode::{DecodeError, decode};
use crate::event::{Capabilities, Event, Host, Surroundings};
use crate::label::label;

/// What the outside world knows of an attempt; see [`crate::surroundings`].
pub trait Lookup {
    /// Interface names and cgroup path.
    fn surroundings(&mut self, attempt: &Attempt) -> Surroundings;
    /// The kernel's exact counters of a destination.
    fn destination(&mut self, key: &DestinationKey) -> Option<DestinationCounters>;
}

/// The stages between the ring buffer and a format.
pub struct Pipeline {
    host: Host,
    able: Capabilities,
    aggregate: Aggregate,
}

impl Pipeline {
    /// A pipeline that remembers at most `max_destinations`.
    pub fn new(host: Host, able: Capabilities, max_destinations: usize) -> Self {
        Self { host, able, aggregate: Aggregate::new(max_destinations) }
    }

    /// The event of one record.
    ///
    /// # Errors
    /// If the bytes are no record.
    pub fn event(&mut self, bytes: &[u8], clock: ClockOffset, lookup: &mut impl Lookup) -> Result<Event, DecodeError> {
        let record = decode(bytes)?;
        let attempt = Attempt::from_record(&record, clock);
        let counters = lookup.destination(&destination(&record));
        let verdict = self.aggregate.observe(&attempt, label(&record.code), counters);
        let mut around = lookup.surroundings(&attempt);
        around.destination = self.aggregate.record(&attempt, verdict, counters);
        Ok(Event::new(&attempt, verdict, &self.host, self.able, around))
    }

    /// What the pipeline has counted.
    pub fn aggregate(&self) -> &Aggregate {
        &self.aggregate
    }
}

fn destination(record: &AttemptRecord) -> DestinationKey {
    DestinationKey { daddr: record.daddr, dport: record.dport, reserved: 0 }
}
