//! `observer run`.

use std::ops::ControlFlow;

use super::Failure;
use super::alerts::Alerts;
use super::live::{Live, Sink, Stop, runtime, say, settings};
use super::record::Record;
use crate::cli::RunArgs;
use crate::event::Event;

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    runtime()?.block_on(record(args))
}

async fn record(args: &RunArgs) -> Result<(), Failure> {
    // Signals first: a SIGTERM while the programs load ends in order as well.
    let mut stop = Stop::new(None)?;
    let mut live = Live::attach(&settings(&args.port, true, &args.kernel))?;
    let record = Record::open(&args.history.path, args.history.retention(), args.kernel.max_destinations)?;
    let scope = live.scope(&args.port);
    say(&format!("recording outbound TCP connections {scope}, in {}; SIGTERM or Ctrl-C ends", record.path().display()));
    let mut daemon = Daemon { record, alerts: Alerts::new(args.kernel.max_destinations) };
    let ended = live.until(&mut stop, &mut daemon).await.and_then(|()| live.finish(&mut daemon));
    let recorded = daemon.record.finish(&live);
    live.summarize(&[])?;
    say(&recorded?);
    ended
}

/// Records every event and alert, and says the alerts.
struct Daemon {
    record: Record,
    alerts: Alerts,
}

impl Sink for Daemon {
    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Failure> {
        self.alerts.add(event);
        self.record.event(event)
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.record.batch_end()
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        for alert in self.alerts.tick(live)? {
            say(&alert.text);
            self.record.alert(&alert);
        }
        self.record.tick(live)
    }
}
