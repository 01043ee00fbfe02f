//! How long attempts took, from events: what was lost is missing here.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::exposition::{Exposition, MetricKind};
use crate::event::Event;
use crate::label::Label;

/// Upper bounds in seconds: from a neighbour's answer to the kernel's own
/// timeout, some 130 s. 31 and 61 keep the 30 and 60 seconds after which mail
/// servers give up apart from what takes longer.
const BOUNDS: [f64; 17] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 31.0, 61.0, 130.0];

/// Up to what the time was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    /// The destination accepted.
    Handshake,
    /// It never did: somebody said no, or somebody gave up.
    Failure,
}

impl Until {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Failure => "failure",
        }
    }
}

/// Histograms by outcome.
#[derive(Debug, Default)]
pub(super) struct Durations {
    histograms: BTreeMap<(Label, Until), Histogram>,
}

impl Durations {
    pub(super) fn add(&mut self, event: &Event) {
        if let Some((until, duration)) = duration(event) {
            let histogram = self.histograms.entry((event.label, until)).or_insert_with(|| Histogram::new(BOUNDS));
            histogram.observe(duration.as_secs_f64());
        }
    }

    pub(super) fn write(&self, out: &mut Exposition) {
        let help = "Time from the first SYN to the handshake, or to the failure of an attempt that was never accepted, \
                    by outcome. From events: those in observer_events_dropped_total are missing.";
        let family = out.family("observer_tcp_connect_duration_seconds", MetricKind::Histogram, help);
        for ((label, until), histogram) in &self.histograms {
            family.put([("outcome", label.as_str()), ("until", until.as_str())], histogram.clone());
        }
    }
}

/// How long a session lasted is nothing about connecting.
fn duration(event: &Event) -> Option<(Until, Duration)> {
    if let Some(handshake) = event.handshake {
        return Some((Until::Handshake, handshake));
    }
    let is_accepted = event.evidence.bytes_received.is_some();
    event.elapsed.filter(|_| !is_accepted).map(|elapsed| (Until::Failure, elapsed))
}
