//! A report from a live capture.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::live::{Live, Sink, Stop, runtime, settings};
use super::{Failure, Progress, host_name, say};
use crate::cli::ReportArgs;
use crate::event::Event;
use crate::report::{About, Account, Builder, Frame, Period, Report, Source};
use crate::tally::Seen;

pub(super) fn report(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    runtime()?.block_on(capture(args, duration, tz))
}

async fn capture(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    let ports = if args.port.is_empty() { vec![25] } else { args.port.clone() };
    let mut live = Live::attach(&settings(&ports, true, &args.kernel))?;
    // Attached first: the time asked for is time that is seen.
    let mut stop = Stop::new(Some(duration))?;
    let since = Timestamp::now();
    let length = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let until = since.saturating_add(length).unwrap_or(Timestamp::MAX);
    let period = Period { since, until };
    let frame = Frame { period, selection: args.selection(), top: args.top(), finest_s: 1, tz: tz.clone() };
    let progress = Progress::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), "capturing");
    say(&format!("capturing outbound TCP connections {} for {duration:?}; Ctrl-C ends it", live.scope(&ports)));
    let mut sink = Capture { builder: Builder::new(frame), progress, begun: Instant::now() };
    live.until(&mut stop, &mut sink).await?;
    live.finish(&mut sink)?;
    let Capture { mut builder, progress, .. } = sink;
    drop(progress);
    let now = Timestamp::now();
    let counters = live.counters()?;
    builder.reconcile(&counters, now.min(until));
    builder.end(now);
    let about = About { generated: now, host: host_name()?, source: Source::Live };
    Ok(builder.finish(about, Account::live(&live.ledger(&counters, &[]))))
}

struct Capture {
    builder: Builder,
    progress: Progress,
    begun: Instant,
}

impl Sink for Capture {
    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Failure> {
        if let Some(seen) = Seen::from_event(event) {
            self.builder.add(&seen, event.process.as_ref().map(|process| process.comm.as_str()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }

    fn tick(&mut self, _: &Live) -> Result<(), Failure> {
        self.progress.set(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        Ok(())
    }
}
