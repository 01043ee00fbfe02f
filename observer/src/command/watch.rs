//! `observer watch`.

use std::io;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use anstream::ColorChoice;

use super::Failure;
use super::alerts::Alerts;
use super::live::{Live, Sink, Stop, is_coloured, runtime, say, settings};
use super::record::Record;
use crate::cli::WatchArgs;
use crate::event::Event;
use crate::filter::Filter;
use crate::history::Retention;
use crate::ui::watch::{Shown, Writer};

pub(super) fn run(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    runtime()?.block_on(watch(args, color))
}

async fn watch(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    // Signals first: a Ctrl-C while the programs load ends in order as well.
    let mut stop = Stop::new(args.output.duration)?;
    let filter = args.filter();
    let wants_successes = filter.wants_successes() || args.output.record.is_some() || args.output.alerts;
    let mut live = Live::attach(&settings(&args.port, wants_successes, &args.kernel))?;
    let max_outcomes = args.kernel.max_destinations;
    let record = args.output.record.as_deref().map(|path| Record::open(path, Retention::default(), max_outcomes));
    let record = record.transpose()?;
    let stdout = io::stdout();
    let writer = Writer::new(io::BufWriter::new(stdout.lock()), args.output.format, is_coloured(color));
    say(&format!("watching outbound TCP connections {}; Ctrl-C ends", live.scope(&args.port)));
    let alerts = args.output.alerts.then(|| Alerts::new(max_outcomes));
    let mut screen = Screen { writer, filter, limit: args.output.count.map(NonZeroU64::get), shown: 0, record, alerts };
    let ended = live.until(&mut stop, &mut screen).await.and_then(|()| live.finish(&mut screen));
    let recorded = screen.record.take().map(|record| record.finish(&live));
    // The summary is true also when stdout was not writable any more.
    live.summarize(&[])?;
    if let Some(line) = recorded.transpose()? {
        say(&line);
    }
    ended
}

/// Shows what the filter admits, up to the limit.
struct Screen<W: io::Write> {
    writer: Writer<W>,
    filter: Filter,
    limit: Option<u64>,
    shown: u64,
    record: Option<Record>,
    alerts: Option<Alerts>,
}

impl<W: io::Write> Screen<W> {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.shown >= limit)
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<W>) -> io::Result<Shown>) -> Result<ControlFlow<()>, Failure> {
        let shown = write(&mut self.writer).map_err(|error| Failure::new("cannot write events to stdout", error))?;
        Ok(if shown == Shown::ReaderGone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl<W: io::Write> Sink for Screen<W> {
    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Failure> {
        if let Some(record) = &mut self.record {
            let _ = record.event(event)?;
        }
        if let Some(alerts) = &mut self.alerts {
            alerts.add(event);
        }
        if self.is_full() || !self.filter.admits(event) {
            return Ok(ControlFlow::Continue(()));
        }
        self.shown += 1;
        self.write(|writer| writer.event(event))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        let flow = self.write(Writer::flush)?;
        Ok(if self.is_full() { ControlFlow::Break(()) } else { flow })
    }

    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let alerts = self.alerts.as_mut().map(|alerts| alerts.tick(live)).transpose()?.unwrap_or_default();
        for alert in &alerts {
            // That the reader is gone is found again by the next flush.
            let _ = self.write(|writer| writer.alert(alert))?;
            if let Some(record) = &self.record {
                record.alert(alert);
            }
        }
        self.record.as_mut().map_or(Ok(()), |record| record.tick(live))
    }
}
