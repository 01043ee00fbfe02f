//! Recording to history, as `observer run` and `observer watch --record` do it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use observer_core::alert::Alert;
use observer_core::count::Ended;
use observer_core::event::Event;

use super::Failure;
use super::live::{Consumer, Live, say};
use crate::config::History;
use crate::store::history::{DeliveryRow, HistoryStatus, MinuteKey, Recorder, Writer, minute};

/// Keys handed over at once.
const PART: usize = 2_048;
/// Keys that are owed at most; beyond them addresses and ports are left out. They
/// are owed while the disk is too slow.
const OWED_MAX: usize = 65_536;
/// For the writer to write what waits.
const FLUSH_WITHIN: Duration = Duration::from_millis(1_200);

/// A sink that records every event, and for those that were lost the counts.
pub(super) struct Recording {
    writer: Writer,
    path: PathBuf,
    /// Attempts that the per-minute counts lack, in minute 0.
    owed: HashMap<MinuteKey, u64>,
    /// Attempts in the per-minute counts that have no event.
    uncounted: u64,
    /// Those among them that were counted without addresses.
    unaddressed: u64,
}

impl Recording {
    /// Opens the file and starts to write.
    pub(super) fn open(history: &History) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new("cannot record", error);
        let recorder = Recorder::open(&history.path, history.retention, Timestamp::now());
        let recorder = recorder.map_err(|error| failed(&error))?;
        let writer = Writer::start(recorder, history.queue_bytes, say).map_err(|error| failed(&error))?;
        Ok(Self { writer, path: history.path.clone(), owed: HashMap::new(), uncounted: 0, unaddressed: 0 })
    }

    /// Writes what is left, after the hooks were taken off and their events
    /// taken; [`summary_line`] says what became of it.
    pub(super) fn finish(mut self) -> String {
        if !self.settle() {
            // There is no later.
            let minute = minute(Timestamp::now());
            let owed: Vec<_> = self.owed.drain().map(|(key, count)| (MinuteKey { minute, ..key }, count)).collect();
            self.uncounted += owed.iter().map(|(_, count)| count).sum::<u64>();
            self.writer.offer_last_uncounted(owed);
        }
        let status = self.writer.finish(FLUSH_WITHIN);
        summary_line(&status, self.uncounted, &self.path)
    }

    /// How writing goes.
    pub(super) fn status(&self) -> HistoryStatus {
        self.writer.status()
    }

    /// Attempts counted without addresses, because more was owed than there is room for.
    pub(super) fn unaddressed(&self) -> u64 {
        self.unaddressed
    }

    /// Records an alert.
    pub(super) fn alert(&self, alert: &Alert) {
        self.writer.offer_alert(alert.clone());
    }

    /// Records what the mail server's log says of deliveries.
    pub(super) fn deliveries(&self, deliveries: Vec<DeliveryRow>) {
        self.writer.offer_deliveries(deliveries);
    }

    /// Counts attempts whose event history does not get.
    fn owe(&mut self, key: MinuteKey, count: u64) {
        let has_room = self.owed.len() < OWED_MAX || self.owed.contains_key(&key);
        let key = if has_room { key } else { MinuteKey { src_ip: None, dst_ip: None, dst_port: 0, ..key } };
        self.unaddressed += if has_room { 0 } else { count };
        *self.owed.entry(key).or_default() += count;
    }

    /// Hands over what is owed. False if the writer has no room for all of it.
    fn settle(&mut self) -> bool {
        while !self.owed.is_empty() {
            let minute = minute(Timestamp::now());
            let part: Vec<_> = self.owed.iter().take(PART).map(|(&key, &count)| (key, count)).collect();
            if !self
                .writer
                .offer_uncounted(part.iter().map(|&(key, count)| (MinuteKey { minute, ..key }, count)).collect())
            {
                return false;
            }
            for (key, count) in part {
                self.owed.remove(&key);
                self.uncounted += count;
            }
        }
        // A flood's memory is not kept.
        self.owed.shrink_to(PART);
        true
    }
}

impl Consumer for Recording {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        if !self.writer.offer(Arc::clone(event)) {
            self.owe(MinuteKey { minute: 0, ..MinuteKey::of_event(event) }, 1);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn missing(&mut self, missing: &[(Ended, u64)], _: Timestamp) -> Result<(), Failure> {
        for (ended, count) in missing {
            let &Ended { src_ip, dst_ip, dst_port, label, reason, redirected } = ended;
            let (dst_ip, redirected) = (Some(dst_ip), Some(redirected));
            self.owe(MinuteKey { minute: 0, src_ip, dst_ip, dst_port, label, reason, redirected }, *count);
        }
        Ok(())
    }

    fn tick(&mut self, _: &Live) -> Result<(), Failure> {
        self.settle();
        Ok(())
    }
}

/// `history: 120 events recorded in PATH, 3 dropped (disk full 3)`.
fn summary_line(status: &HistoryStatus, uncounted: u64, path: &Path) -> String {
    let mut line = format!("history: {} events recorded in {}", status.written, path.display());
    if status.duplicates > 0 {
        line.push_str(&format!(", {} were there already", status.duplicates));
    }
    let causes: Vec<_> = status.dropped.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    match status.dropped_total() {
        0 => line.push_str(", none dropped"),
        dropped => line.push_str(&format!(", {dropped} dropped ({})", causes.join(", "))),
    }
    if uncounted > 0 {
        line.push_str(&format!("; {uncounted} attempts counted without their event"));
    }
    if let (Some((_, error)), true) = (&status.last_error, status.dropped_total() > 0) {
        line.push_str(&format!("; last error: {error}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_is_missing_and_why() {
        let mut status = HistoryStatus { written: 120, ..HistoryStatus::default() };
        let path = Path::new("/var/lib/observer/history.sqlite");
        insta::assert_snapshot!(summary_line(&status, 0, path), @"history: 120 events recorded in /var/lib/observer/history.sqlite, none dropped");
        status.dropped = [("disk full", 3), ("disk too slow", 1)].into();
        status.duplicates = 2;
        status.last_error = Some((Timestamp::UNIX_EPOCH, "database or disk is full".to_owned()));
        insta::assert_snapshot!(summary_line(&status, 7, path), @"history: 120 events recorded in /var/lib/observer/history.sqlite, 2 were there already, 4 dropped (disk full 3, disk too slow 1); 7 attempts counted without their event; last error: database or disk is full");
    }
}
