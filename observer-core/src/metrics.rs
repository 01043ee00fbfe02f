//! What Prometheus is told: everything that the daemon knows of its own work and
//! of the attempts that it saw, in the text format 0.0.4.
//!
//! Counters of attempts and outcomes are exact: where there was no event, the
//! kernel counted. Durations come from events: an event that was lost is missing in the
//! histograms, and `observer_events_dropped_total` says how many were.
//!
//! No destination is a label unless asked for, and then only so many.

mod connects;
mod destinations;
mod durations;
mod exposition;
mod reading;

use std::fmt;

use jiff::Timestamp;
use observer_common::stat;

use crate::count::Ended;
use crate::event::Event;
use crate::ledger::Ledger;
use destinations::Destinations;
use durations::Durations;
use exposition::{Exposition, MetricKind};

pub use exposition::CONTENT_TYPE;
pub use reading::{
    HistoryMetrics, HookMetrics, MtaMetrics, ReaderMetrics, ReadersDropped, Reading, SinkMetrics, SpoolMetrics,
};

/// What is kept from one reading to the next, so that no counter ever falls.
#[derive(Debug)]
pub struct Metrics {
    started: Timestamp,
    destinations: Option<Destinations>,
    durations: Durations,
}

impl Metrics {
    /// Of a process that was started at `started`. So many `destinations` get a
    /// label of their own; 0: there is no such metric.
    pub fn new(started: Timestamp, destinations: usize) -> Self {
        Self {
            started,
            destinations: (destinations > 0).then(|| Destinations::new(destinations)),
            durations: Durations::default(),
        }
    }

    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        self.durations.add(event);
        if let (Some(destinations), Some(ip), Some(port)) = (&mut self.destinations, event.dst.ip, event.dst.port) {
            destinations.add((ip, port), event.label, 1);
        }
    }

    /// Counts attempts of which no event came.
    pub fn missing(&mut self, missing: &[(Ended, u64)]) {
        for (ended, count) in missing {
            if let Some(destinations) = &mut self.destinations {
                destinations.add((ended.dst_ip, ended.dst_port), ended.label, *count);
            }
        }
    }

    /// The text that `GET /metrics` answers.
    ///
    /// # Errors
    /// Those of writing into a string: none.
    pub fn render(&mut self, reading: &Reading) -> Result<String, fmt::Error> {
        let mut out = Exposition::default();
        self.process(&mut out);
        attempts(reading, &mut out);
        events(reading, &mut out);
        self.limits(reading, &mut out);
        connects::write(&reading.totals, &mut out);
        if let Some(destinations) = &mut self.destinations {
            destinations.write(&mut out);
        }
        self.durations.write(&mut out);
        hooks(reading, &mut out);
        for sink in &reading.sinks {
            sink.write(reading.now, &mut out);
        }
        if let Some(history) = &reading.history {
            history.write(&mut out);
        }
        if let Some(readers) = &reading.readers {
            readers.write(&mut out);
        }
        if let Some(mta) = reading.mta {
            mta.write(&mut out);
        }
        out.render()
    }

    fn process(&self, out: &mut Exposition) {
        let started = self.started.as_millisecond() as f64 / 1_000.0;
        out.family("process_start_time_seconds", MetricKind::Gauge, "Start of this process, seconds since 1970 UTC.")
            .put([], started);
        out.family("observer_build_info", MetricKind::Gauge, "Version of observer; always 1.")
            .put([("version", env!("CARGO_PKG_VERSION"))], 1u64);
    }

    fn limits(&self, reading: &Reading, out: &mut Exposition) {
        let labels =
            self.destinations.iter().map(|destinations| ("destinations with a label", destinations.left_out()));
        let help = "What was let go, left out or refused because a limit was reached, by limit.";
        out.family("observer_limit_reached", MetricKind::Counter, help)
            .put_causes("limit", reading.limits.iter().copied().chain(labels));
    }
}

/// The ledger: what began, and what became of it.
fn attempts(reading: &Reading, out: &mut Exposition) {
    let ledger = Ledger::new(&reading.totals, reading.events_delivered);
    out.family("observer_attempts", MetricKind::Counter, "Connection attempts begun, by the kernel's exact count.")
        .put([], ledger.attempts);
    out.family("observer_tcp_handshakes", MetricKind::Counter, "Handshakes completed, by the kernel's exact count.")
        .put([], ledger.established);
    out.family("observer_attempts_in_flight", MetricKind::Gauge, "Attempts that have not ended.")
        .put([], ledger.in_flight);
    let lost = "Attempts begun and then not followed, by cause.";
    out.family("observer_attempts_lost", MetricKind::Counter, lost).put_causes("cause", ledger.lost.iter().copied());
    let own = "Connections of observer's own, such as probes: not attempts, and not recorded.";
    out.family("observer_own_connections", MetricKind::Counter, own).put([], reading.totals.stat(stat::OWN));
    let imbalance = "Attempts minus outcomes, in flight and lost; anything but 0 is a miscount.";
    out.family("observer_ledger_imbalance", MetricKind::Gauge, imbalance).put([], ledger.imbalance() as f64);
    let unlabelled = "Outcomes counted in total only and missing in observer_tcp_connects_total: the kernel's table was \
                      full before it was drained, or an event could not be decoded.";
    out.family("observer_outcomes_unlabelled", MetricKind::Counter, unlabelled)
        .put([], reading.totals.stat(stat::OUTCOMES_FULL) + reading.totals.known.undecodable);
    let forgotten = "Destinations that the kernel forgot for newer ones: the counts of their events begin anew, their \
                     outcomes are counted all the same.";
    out.family("observer_destinations_forgotten", MetricKind::Counter, forgotten)
        .put([], reading.totals.kernel_forgotten);
    let unremembered = "Ended attempts that were not remembered because the kernel's table was full; some may be counted \
                        twice.";
    out.family("observer_ended_attempts_unremembered", MetricKind::Counter, unremembered)
        .put([], reading.totals.stat(stat::ENDED_FULL));
}

fn events(reading: &Reading, out: &mut Exposition) {
    out.family("observer_events", MetricKind::Counter, "Events that reached this process.")
        .put([], reading.events_delivered);
    // What waits in the ring buffer is late, and not lost.
    let dropped = [
        ("ring buffer full", reading.totals.stat(stat::RING_FULL)),
        ("could not be decoded", reading.events_malformed),
    ];
    let help = "Events that were lost before any sink, by cause; their outcomes are counted all the same.";
    out.family("observer_events_dropped", MetricKind::Counter, help).put_causes("cause", dropped);
    let help = "Events without the name of a cgroup or an interface, because it was not found in time.";
    out.family("observer_events_unnamed", MetricKind::Counter, help).put([], reading.events_unnamed);
}

fn hooks(reading: &Reading, out: &mut Exposition) {
    let help = "1 if the kernel program is attached, 0 if it could not be. Those that are not needed on this kernel are \
                left out.";
    let family = out.family("observer_kernel_hook_attached", MetricKind::Gauge, help);
    for hook in &reading.hooks {
        family.put([("hook", &*hook.name), ("group", &*hook.group)], u64::from(hook.is_attached));
    }
    let help = "Runs of the kernel programs that the kernel skipped because the same program was running there.";
    out.family("observer_kernel_runs_skipped", MetricKind::Counter, help).put([], reading.skipped_runs);
}

#[cfg(test)]
mod tests;
