//! A report from a live capture.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::live::{Live, Sink, Stop, runtime, settings};
use super::super::remote::{Reads, Remote};
use super::{Failure, Progress, host_name, say};
use crate::cli::ReportArgs;
use crate::event::Event;
use crate::report::{About, Account, Builder, Frame, Period, Report, Source};
use crate::tally::Seen;
use crate::wire::Request;

pub(super) fn report(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    runtime()?.block_on(capture(args, duration, tz))
}

async fn capture(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    let request = Request { successes: true, ..Request::default() };
    match Remote::connect(&args.source, &request).await? {
        Some(remote) => follow(remote, args, duration, tz).await,
        None => attach(args, duration, tz).await,
    }
}

/// Reads from `observer run`.
async fn follow(mut remote: Remote, args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    remote.ensure_watched(&args.port)?;
    let mut stop = Stop::new(Some(duration))?;
    say(&format!("reading {} for {duration:?}, as observer run sees it; Ctrl-C ends it", remote.scope(&args.port)));
    let mut capture = Capture::new(args, duration, tz);
    remote.until(&mut stop, &mut capture).await?;
    let summary = remote.finish(&mut capture).await?;
    let summary = summary.ok_or_else(|| Failure::new("cannot report", "observer run did not send its counts"))?;
    capture.finish(Account::read(&summary))
}

/// Watches with hooks of its own.
async fn attach(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    let ports = if args.port.is_empty() { vec![25] } else { args.port.clone() };
    let mut live = Live::attach(&settings(&ports, true, &args.kernel))?;
    // Attached first: the time asked for is time that is seen.
    let mut stop = Stop::new(Some(duration))?;
    say(&format!("capturing outbound TCP connections {} for {duration:?}; Ctrl-C ends it", live.scope(&ports)));
    let mut capture = Capture::new(args, duration, tz);
    live.until(&mut stop, &mut capture).await?;
    live.finish(&mut capture)?;
    let counters = live.counters()?;
    capture.builder.reconcile(&counters, Timestamp::now().min(capture.until));
    capture.finish(Account::live(&live.ledger(&counters, &[])))
}

struct Capture {
    builder: Builder,
    progress: Progress,
    begun: Instant,
    until: Timestamp,
}

impl Capture {
    fn new(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Self {
        let since = Timestamp::now();
        let length = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let until = since.saturating_add(length).unwrap_or(Timestamp::MAX);
        let period = Period { since, until };
        let frame = Frame { period, selection: args.selection(), top: args.top(), finest_s: 1, tz: tz.clone() };
        let progress = Progress::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), "capturing");
        Self { builder: Builder::new(frame), progress, begun: Instant::now(), until }
    }

    fn finish(self, account: Account) -> Result<Report, Failure> {
        let Self { mut builder, progress, .. } = self;
        drop(progress);
        let now = Timestamp::now();
        builder.end(now);
        let about = About { generated: now, host: host_name()?, source: Source::Live };
        Ok(builder.finish(about, account))
    }

    fn advance(&mut self) {
        self.progress.set(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    }
}

impl Reads for Capture {
    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Failure> {
        Sink::event(self, event)
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.advance();
        Ok(ControlFlow::Continue(()))
    }
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
        self.advance();
        Ok(())
    }
}
