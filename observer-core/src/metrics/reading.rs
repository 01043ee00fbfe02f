//! What the daemon knows when it is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::exposition::{Exposition, MetricKind};
use crate::count::Totals;
use crate::join::Waiting;
use crate::join::attach::Tallies;
use crate::mta::LogCounts;

/// All of it, at one time.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When it was read.
    pub now: Timestamp,
    /// The kernel's counts. Those by destination are not looked at and may be left
    /// out.
    pub totals: Totals,
    /// Events that reached this process.
    pub events_delivered: u64,
    /// Records that could not be decoded.
    pub events_malformed: u64,
    /// Events that went without a name, because it was not found in time.
    pub events_unnamed: u64,
    /// What was let go, left out or refused in this process because a limit was reached,
    /// by limit; none of them twice.
    pub limits: Vec<(&'static str, u64)>,
    /// Runs of the kernel programs that the kernel skipped.
    pub skipped_runs: u64,
    /// The kernel programs, without those that are not needed here.
    pub hooks: Vec<HookMetrics>,
    /// Every sink, each with a name of its own.
    pub sinks: Vec<SinkMetrics>,
    /// Of the thread that writes history, if there is one.
    pub history: Option<HistoryMetrics>,
    /// Of the socket for readers, if there is one.
    pub readers: Option<ReaderMetrics>,
    /// Of the mail server's log, if one is read.
    pub mta: Option<MtaMetrics>,
}

/// A kernel program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookMetrics {
    /// Name of the program, which is the kernel symbol's where there is but one.
    pub name: String,
    /// `core`, without which nothing is seen; `connect`, which sees connect()
    /// fail before SYN-SENT; `evidence`.
    pub group: String,
    /// True if it is attached.
    pub is_attached: bool,
}

/// How a sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkMetrics {
    /// Its name in the configuration.
    pub name: String,
    /// Messages that the receiver has.
    pub delivered: u64,
    /// Messages that the receiver will never take.
    pub refused: u64,
    /// Messages lost outside of the spool, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// Messages that are neither spooled, nor written, nor dropped yet.
    pub queued: u64,
    /// Bytes of memory that they take.
    pub queue_bytes: u64,
    /// Bytes that they may take.
    pub queue_limit_bytes: u64,
    /// Since when something is in the way; `None`: nothing is.
    pub trouble_since: Option<Timestamp>,
    /// Of a sink that has a spool.
    pub spool: Option<SpoolMetrics>,
}

/// How a sink's spool is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolMetrics {
    /// Messages that wait.
    pub messages: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that there may be.
    pub limit_bytes: u64,
    /// When the oldest message that waits was spooled.
    pub oldest: Option<Timestamp>,
    /// Messages lost by the spool, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// Damaged records that were left out.
    pub corrupt: u64,
}

impl SinkMetrics {
    pub(super) fn write(&self, now: Timestamp, out: &mut Exposition) {
        let sink = self.name.as_str();
        let mut count = |name, kind, help, value: u64| out.family(name, kind, help).put([("sink", sink)], value);
        let help = "1 if nothing is in the way of a sink, 0 if it cannot deliver.";
        count("observer_sink_up", MetricKind::Gauge, help, u64::from(self.trouble_since.is_none()));
        let help = "Messages that a sink's receiver has.";
        count("observer_sink_messages_delivered", MetricKind::Counter, help, self.delivered);
        let help = "Messages that a sink's receiver will never take; they are in the dead-letter file.";
        count("observer_sink_messages_refused", MetricKind::Counter, help, self.refused);
        let help = "Messages to a sink that are neither spooled nor written yet.";
        count("observer_sink_messages_queued", MetricKind::Gauge, help, self.queued);
        let help = "Bytes of memory of messages to a sink that are neither spooled nor written yet.";
        count("observer_sink_queue_bytes", MetricKind::Gauge, help, self.queue_bytes);
        let help = "Bytes of memory that messages to a sink may take before they are spooled or written.";
        count("observer_sink_queue_limit_bytes", MetricKind::Gauge, help, self.queue_limit_bytes);
        let help = "For how long a sink has not been able to deliver; 0 if nothing is in its way.";
        out.family("observer_sink_trouble_seconds", MetricKind::Gauge, help)
            .put([("sink", sink)], seconds_since(self.trouble_since, now));
        let help = "Messages to a sink that are lost, by cause.";
        let family = out.family("observer_sink_messages_dropped", MetricKind::Counter, help);
        let spool = self.spool.iter().flat_map(|spool| &spool.dropped);
        for (cause, &count) in self.dropped.iter().chain(spool) {
            family.put([("sink", sink), ("cause", cause.as_str())], count);
        }
        if let Some(spool) = &self.spool {
            spool.write(sink, now, out);
        }
    }
}

impl SpoolMetrics {
    fn write(&self, sink: &str, now: Timestamp, out: &mut Exposition) {
        let mut count = |name, kind, help, value: u64| out.family(name, kind, help).put([("sink", sink)], value);
        count(
            "observer_sink_spool_messages",
            MetricKind::Gauge,
            "Messages that wait in a sink's spool.",
            self.messages,
        );
        count("observer_sink_spool_bytes", MetricKind::Gauge, "Bytes of a sink's spool on disk.", self.bytes);
        let help = "Bytes that a sink's spool may have.";
        count("observer_sink_spool_limit_bytes", MetricKind::Gauge, help, self.limit_bytes);
        let help = "Damaged records of a sink's spool that were left out.";
        count("observer_sink_spool_corrupt_records", MetricKind::Counter, help, self.corrupt);
        let help = "Age of the oldest message that waits in a sink's spool; 0 if none does.";
        out.family("observer_sink_spool_oldest_age_seconds", MetricKind::Gauge, help)
            .put([("sink", sink)], seconds_since(self.oldest, now));
    }
}

/// A clock that was set back makes no age negative.
fn seconds_since(then: Option<Timestamp>, now: Timestamp) -> f64 {
    then.map_or(0.0, |then| now.duration_since(then).as_secs_f64().max(0.0))
}

/// How the thread that writes history is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryMetrics {
    /// Attempts written and committed.
    pub written: u64,
    /// Attempts that are not in history, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// True from an error until something is written again.
    pub is_failing: bool,
    /// Bytes of memory that wait for the thread.
    pub queue_bytes: u64,
    /// Bytes that may wait.
    pub queue_limit_bytes: u64,
}

impl HistoryMetrics {
    pub(super) fn write(&self, out: &mut Exposition) {
        let help = "1 if history can be written, 0 from an error until it can be again.";
        out.family("observer_history_up", MetricKind::Gauge, help).put([], u64::from(!self.is_failing));
        let help = "Attempts written to history.";
        out.family("observer_history_attempts_written", MetricKind::Counter, help).put([], self.written);
        let help = "Attempts that are not in history, by cause.";
        out.family("observer_history_attempts_dropped", MetricKind::Counter, help)
            .put_causes("cause", self.dropped.iter().map(|(cause, &count)| (cause.as_str(), count)));
        let help = "Bytes of memory that wait to be written to history.";
        out.family("observer_history_queue_bytes", MetricKind::Gauge, help).put([], self.queue_bytes);
        let help = "Bytes of memory that may wait to be written to history.";
        out.family("observer_history_queue_limit_bytes", MetricKind::Gauge, help).put([], self.queue_limit_bytes);
    }
}

/// How those are who read from the daemon's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderMetrics {
    /// Readers that are connected.
    pub connected: u64,
    /// Events that readers lost because they were slow, of all that there were.
    pub events_lost: u64,
    /// Bytes that wait for the thread that serves readers.
    pub queue_bytes: u64,
    /// Bytes that may wait.
    pub queue_limit_bytes: u64,
    /// What found no room in that queue.
    pub dropped: ReadersDropped,
}

/// What readers were not told, because too much waited already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadersDropped {
    /// Events. They are in the totals that readers begin with.
    pub events: u64,
    /// What the mail server's log says of events.
    pub deliveries: u64,
    /// Alerts.
    pub alerts: u64,
}

impl ReaderMetrics {
    pub(super) fn write(self, out: &mut Exposition) {
        let help = "Readers that are connected to the socket.";
        out.family("observer_readers_connected", MetricKind::Gauge, help).put([], self.connected);
        let help = "Events that readers of the socket lost because they were slow.";
        out.family("observer_readers_events_lost", MetricKind::Counter, help).put([], self.events_lost);
        let help = "Bytes of memory that wait for the thread that serves readers.";
        out.family("observer_readers_queue_bytes", MetricKind::Gauge, help).put([], self.queue_bytes);
        let help = "Bytes of memory that may wait for the thread that serves readers.";
        out.family("observer_readers_queue_limit_bytes", MetricKind::Gauge, help).put([], self.queue_limit_bytes);
        let help = "What found no room in the queue of the thread that serves readers.";
        let dropped = self.dropped;
        out.family("observer_readers_queue_dropped", MetricKind::Counter, help).put_causes(
            "kind",
            [("event", dropped.events), ("delivery", dropped.deliveries), ("alert", dropped.alerts)],
        );
    }
}

/// How reading the mail server's log goes, and what was found in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MtaMetrics {
    /// True if the log can be read.
    pub is_read: bool,
    /// True if lines came, and none of them is understood.
    pub is_not_understood: bool,
    /// What was read.
    pub counts: LogCounts,
    /// What became of attempts.
    pub tallies: Tallies,
    /// What waits, and what could not.
    pub waiting: Waiting,
}

impl MtaMetrics {
    pub(super) fn write(self, out: &mut Exposition) {
        let help = "1 if the mail server's log can be read, 0 if not.";
        out.family("observer_mta_log_up", MetricKind::Gauge, help).put([], u64::from(self.is_read));
        let help = "1 if lines of the mail server's log came and none of them is understood, 0 if not.";
        out.family("observer_mta_log_not_understood", MetricKind::Gauge, help)
            .put([], u64::from(self.is_not_understood));
        let mut count = |name, help, value: u64| out.family(name, MetricKind::Counter, help).put([], value);
        let help = "Lines of the mail server's log that have the form of its own.";
        count("observer_mta_log_understood_lines", help, self.counts.understood);
        count("observer_mta_log_lines", "Lines of the mail server's log that were read.", self.counts.lines);
        let help = "Lines of the mail server's log that tell of a delivery.";
        count("observer_mta_log_delivery_lines", help, self.counts.deliveries);
        let help = "Lines of the mail server's log of which only the beginning was looked at.";
        count("observer_mta_log_lines_cut", help, self.counts.too_long);
        let opened = [
            ("rotated", self.counts.rotations),
            ("truncated", self.counts.truncations),
            ("journalctl ended", self.counts.restarts),
        ];
        let help = "Times that the mail server's log was begun anew, by cause.";
        out.family("observer_mta_log_reopened", MetricKind::Counter, help).put_causes("cause", opened);
        let unread = [("came and went", self.counts.unread_files), ("end not read", self.counts.unread_ends)];
        let help = "Files of the mail server's log of which a part may not have been read, by cause.";
        out.family("observer_mta_log_unread", MetricKind::Counter, help).put_causes("cause", unread);
        let Tallies { joined, unlogged, ambiguous, nothing, unsought } = self.tallies;
        let found = [
            ("line", joined),
            ("delivery without a line", unlogged),
            ("several", ambiguous),
            ("nothing", nothing),
            ("not looked for", unsought),
        ];
        let help = "Attempts by what the mail server's log has on them.";
        out.family("observer_mta_attempts", MetricKind::Counter, help).put_causes("found", found);
        let waiting = [
            ("attempts", self.waiting.attempts),
            ("lines", self.waiting.mentions),
            ("deliveries", self.waiting.deliveries),
        ];
        let family = out.family(
            "observer_mta_waiting",
            MetricKind::Gauge,
            "What waits to be matched with the mail server's log.",
        );
        for (what, count) in waiting {
            family.put([("what", what)], count as u64);
        }
        let help = "Lines and deliveries that were not matched for want of room.";
        out.family("observer_mta_unmatched", MetricKind::Counter, help).put([], self.waiting.early_lines);
    }
}
