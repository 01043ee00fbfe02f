//! How attempts ended, by the kernel's exact counters.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Kind};
use crate::label::{Label, Reason, label};
use crate::ledger::Counters;

/// Label, reason and destination port. Bounded by the ports that are watched.
type Key = (Label, Option<Reason>, u16);

/// What was told last, so that a count never falls: a walk through a map that
/// changes meanwhile can miss an entry.
#[derive(Debug, Default)]
pub(super) struct Connects {
    told: BTreeMap<Key, u64>,
}

impl Connects {
    pub(super) fn write(&mut self, counters: &Counters, out: &mut Exposition) {
        let mut now: BTreeMap<Key, u64> = BTreeMap::new();
        for (key, count) in &counters.outcomes {
            let verdict = label(&key.code);
            *now.entry((verdict.label, verdict.reason, key.destination.dport)).or_default() += count;
        }
        for (key, count) in now {
            rise(self.told.entry(key).or_default(), count);
        }
        let help = "Attempts that ended, by outcome, reason and destination port, by the kernel's exact count; also \
                    those whose event was lost.";
        let family = out.family("observer_tcp_connects", Kind::Counter, help);
        for (&(label, reason, port), &count) in &self.told {
            let port = port.to_string();
            match reason {
                Some(reason) => {
                    family.put([("outcome", label.as_str()), ("reason", reason.as_str()), ("dst_port", &port)], count)
                }
                None => family.put([("outcome", label.as_str()), ("dst_port", &port)], count),
            }
        }
    }
}

/// Raises what was told to what is now counted.
pub(super) fn rise(told: &mut u64, count: u64) {
    *told = (*told).max(count);
}
