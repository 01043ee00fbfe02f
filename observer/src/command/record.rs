//! Recording to history, as `observer run` and `observer watch --record` do it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Failure;
use super::live::{Live, Sink, say};
use super::uncounted::{Counts, Uncounted};
use crate::alert::Alert;
use crate::config::History;
use crate::event::Event;
use crate::history::{Delivery, Recorder, Status, Writer};

/// For the writer to write what waits.
const FLUSH_WITHIN: Duration = Duration::from_millis(1_200);

/// A sink that records every event, and for those that were lost the counts.
pub(super) struct Record {
    writer: Writer,
    path: PathBuf,
    unseen: Uncounted,
    /// Attempts in the per-minute counts that have no event.
    uncounted: u64,
}

impl Record {
    /// Opens the file and starts to write. `max_outcomes` is the size of the
    /// kernel's table of outcomes.
    pub(super) fn open(history: &History, max_outcomes: u32) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new("cannot record", error);
        let recorder = Recorder::open(&history.path, history.retention, Timestamp::now());
        let recorder = recorder.map_err(|error| failed(&error))?;
        let writer = Writer::start(recorder, history.queue_bytes, say).map_err(|error| failed(&error))?;
        Ok(Self { writer, path: history.path.clone(), unseen: Uncounted::new(max_outcomes), uncounted: 0 })
    }

    /// Writes what is left, after the hooks were taken off and their events
    /// taken; [`summary_line`] says what became of it.
    pub(super) fn finish(mut self, live: &Live) -> Result<String, Failure> {
        let missing = self.unseen.last(live);
        if let Ok(missing) = &missing {
            self.uncounted += missing.iter().map(|(_, count)| count).sum::<u64>();
            self.writer.offer_last_uncounted(missing.clone());
        }
        let status = self.writer.finish(FLUSH_WITHIN);
        missing?;
        Ok(summary_line(&status, self.uncounted, &self.path))
    }

    /// How writing goes.
    pub(super) fn status(&self) -> Status {
        self.writer.status()
    }

    /// Records an alert.
    pub(super) fn alert(&self, alert: &Alert) {
        self.writer.offer_alert(alert.clone());
    }

    /// Records what the mail server's log says of deliveries.
    pub(super) fn deliveries(&self, deliveries: Vec<Delivery>) {
        self.writer.offer_deliveries(deliveries);
    }

    /// False if the writer has no room.
    fn add(&mut self, missing: &Counts) -> bool {
        let is_added = missing.is_empty() || self.writer.offer_uncounted(missing.clone());
        if is_added {
            self.uncounted += missing.iter().map(|(_, count)| count).sum::<u64>();
        }
        is_added
    }
}

impl Sink for Record {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        if self.writer.offer(Arc::clone(event)) {
            self.unseen.told(event);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let missing = self.unseen.look(live, self.writer.status().dropped_total())?;
        if self.add(&missing) {
            self.unseen.confirm(&missing);
        }
        Ok(())
    }
}

/// `history: 120 events recorded in PATH, 3 dropped (disk full 3)`.
fn summary_line(status: &Status, uncounted: u64, path: &Path) -> String {
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
        let mut status = Status { written: 120, ..Status::default() };
        let path = Path::new("/var/lib/observer/history.sqlite");
        insta::assert_snapshot!(summary_line(&status, 0, path), @"history: 120 events recorded in /var/lib/observer/history.sqlite, none dropped");
        status.dropped = [("disk full", 3), ("disk too slow", 1)].into();
        status.duplicates = 2;
        status.last_error = Some((Timestamp::UNIX_EPOCH, "database or disk is full".to_owned()));
        insta::assert_snapshot!(summary_line(&status, 7, path), @"history: 120 events recorded in /var/lib/observer/history.sqlite, 2 were there already, 4 dropped (disk full 3, disk too slow 1); 7 attempts counted without their event; last error: database or disk is full");
    }
}
