//! Attempts of the next minutes, where nothing was recorded: as history, in a directory
//! that is removed at the end.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use observer_core::event::Event;
use observer_core::wire;
use tempfile::TempDir;

use super::super::Failure;
use super::super::capture::Capture;
use super::super::live::{Consumer, runtime};
use crate::cli::DiagnoseArgs;
use crate::store::history::{DeliveryRow, Entry, Recorder, Retention};

/// Entries of one transaction.
const BATCH: usize = 1_000;

/// What was captured.
pub(super) struct Captured {
    /// The history.
    pub(super) path: PathBuf,
    /// When it began.
    pub(super) since: Timestamp,
    _place: TempDir,
}

/// Captures until `duration` is over, or Ctrl-C comes: from `observer run`, or with hooks
/// of its own.
pub(super) fn capture(args: &DiagnoseArgs, duration: Duration) -> Result<Captured, Failure> {
    runtime()?.block_on(async {
        let capture = Capture::begin(&args.source, &args.kernel, &[args.port()], duration).await?;
        let mut record = CapturedHistory::begin()?;
        capture.finish(&mut record).await?;
        record.end()
    })
}

/// History while it is captured.
struct CapturedHistory {
    recorder: Recorder,
    entries: Vec<Entry>,
    deliveries: Vec<DeliveryRow>,
    since: Timestamp,
    place: TempDir,
}

impl CapturedHistory {
    fn begin() -> Result<Self, Failure> {
        let place = tempfile::tempdir().map_err(|error| failed(&error))?;
        let since = Timestamp::now();
        let path = place.path().join("history.sqlite");
        let recorder = Recorder::open(&path, Retention::default(), since).map_err(|error| failed(&error))?;
        Ok(Self { recorder, entries: Vec::new(), deliveries: Vec::new(), since, place })
    }

    fn write(&mut self, least: usize) -> Result<(), Failure> {
        if self.entries.len() >= least {
            self.recorder.record(&self.entries, &[]).map_err(|error| failed(&error))?;
            self.entries.clear();
        }
        if self.deliveries.len() >= least {
            self.recorder.record_deliveries(&self.deliveries).map_err(|error| failed(&error))?;
            self.deliveries.clear();
        }
        Ok(())
    }

    fn end(mut self) -> Result<Captured, Failure> {
        self.write(1)?;
        Ok(Captured { path: self.recorder.path().to_owned(), since: self.since, _place: self.place })
    }
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("cannot keep what is captured", error)
}

impl Consumer for CapturedHistory {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        self.entries.push(Entry::from(&**event));
        Ok(ControlFlow::Continue(()))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.write(BATCH)?;
        Ok(ControlFlow::Continue(()))
    }

    fn delivery(&mut self, delivery: &wire::Joined) -> Result<(), Failure> {
        let wire::Joined { id, time, dst, mta } = delivery;
        self.deliveries.push(DeliveryRow::of_attempt(id, *time, *dst, mta));
        Ok(())
    }
}
