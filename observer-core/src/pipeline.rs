//! From a record to a judged event.

use observer_common::record::AttemptRecord;

use crate::aggregate::Aggregate;
use crate::attempt::{Attempt, ClockOffset};
use crate::event::{Capabilities, Destination, Event, Host, Surroundings};
use crate::label::{Verdict, label};
use crate::origin::without_local_evidence;

/// The stages between the ring buffer and a format.
pub struct Pipeline {
    host: Host,
    able: Capabilities,
    aggregate: Aggregate,
}

/// A judged attempt that lacks only its names.
#[derive(Debug)]
pub struct Judged {
    pub(crate) attempt: Attempt,
    pub(crate) verdict: Verdict,
    pub(crate) destination: Option<Destination>,
}

impl Judged {
    /// The attempt.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }
}

impl Pipeline {
    /// A pipeline that remembers at most `max_destinations`.
    pub fn new(host: Host, able: Capabilities, max_destinations: usize) -> Self {
        Self { host, able, aggregate: Aggregate::new(max_destinations) }
    }

    /// Judges the attempt of one record.
    pub fn judge(&mut self, record: &AttemptRecord, clock: ClockOffset) -> Judged {
        let attempt = Attempt::from_record(record, clock);
        let counters = Some(record.counters).filter(|counters| counters.attempts > 0);
        let mut verdict = self.aggregate.observe(&attempt, label(&record.code), counters);
        if !self.able.syn_drops || !self.able.rst_origin {
            verdict = without_local_evidence(&attempt, verdict);
        }
        let destination = self.aggregate.record(&attempt, verdict, counters);
        Judged { attempt, verdict, destination }
    }

    /// The event of a judged attempt; `around` says what the outside world knows
    /// of it: its names.
    pub fn event(&self, judged: Judged, around: Surroundings) -> Event {
        let around = Surroundings { destination: judged.destination, ..around };
        Event::new(&judged.attempt, judged.verdict, &self.host, self.able, around)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn an_event_says_which_names_were_not_found_in_time() {
        let pipeline = Pipeline::new(sample::host(), sample::able(), 1);
        let around = Surroundings { cgroup: None, missing: vec!["cgroup"], ..sample::surroundings() };
        let event = pipeline.event(sample::nameless(sample::attempt()), around);
        assert_eq!(
            (event.evidence.missing, event.process.and_then(|process| process.cgroup)),
            (vec!["cgroup".into()], None)
        );
    }
}
