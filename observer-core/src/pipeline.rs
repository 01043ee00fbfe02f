//! From record bytes to a judged event.

use crate::aggregate::Aggregate;
use crate::attempt::{Attempt, ClockOffset};
use crate::decode::{DecodeError, decode};
use crate::event::{Capabilities, Event, Host, Surroundings};
use crate::label::label;
use crate::origin::without_syn_drops;

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

    /// The event of one record; `surroundings` says what the outside world knows
    /// of its attempt, see `surroundings`.
    ///
    /// # Errors
    /// If the bytes are no record.
    pub fn event(
        &mut self,
        bytes: &[u8],
        clock: ClockOffset,
        surroundings: impl FnOnce(&Attempt) -> Surroundings,
    ) -> Result<Event, DecodeError> {
        let record = decode(bytes)?;
        let attempt = Attempt::from_record(&record, clock);
        let counters = Some(record.counters).filter(|counters| counters.attempts > 0);
        let mut verdict = self.aggregate.observe(&attempt, label(&record.code), counters);
        if !self.able.syn_drops {
            verdict = without_syn_drops(&attempt, verdict);
        }
        let mut around = surroundings(&attempt);
        around.destination = self.aggregate.record(&attempt, verdict, counters);
        Ok(Event::new(&attempt, verdict, &self.host, self.able, around))
    }

    /// The host that events name.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What the pipeline has counted.
    pub fn aggregate(&self) -> &Aggregate {
        &self.aggregate
    }
}
