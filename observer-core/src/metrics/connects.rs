//! How attempts ended, by their events and the kernel's counters.

use super::exposition::{Exposition, MetricKind};
use crate::count::Totals;

/// By label, reason and destination port: bounded by the ports that are watched.
pub(super) fn write(totals: &Totals, out: &mut Exposition) {
    let help = "Attempts that ended, by outcome, reason and destination port, counted exactly; also those whose \
                event was lost.";
    let family = out.family("observer_tcp_connects", MetricKind::Counter, help);
    for (&(label, reason, port), &count) in totals.known.outcomes.iter() {
        let port = port.to_string();
        match reason {
            Some(reason) => {
                family.put([("outcome", label.as_str()), ("reason", reason.as_str()), ("dst_port", &port)], count)
            }
            None => family.put([("outcome", label.as_str()), ("dst_port", &port)], count),
        }
    }
}
