//! A report from a live capture.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use observer_core::count::Ended;
use observer_core::event::Event;
use observer_core::report::{About, Account, Builder, Frame, Period, Report, Source};
use observer_core::tally::Seen;

use super::super::capture::{self, Capture};
use super::super::live::{Consumer, runtime};
use super::{Failure, Progress, host_name};
use crate::cli::ReportArgs;
use crate::host::own;

pub(super) fn report(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    runtime()?.block_on(captured(args, duration, tz))
}

async fn captured(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Result<Report, Failure> {
    let capture = Capture::begin(&args.source, &args.kernel, &args.port, duration).await?;
    let mut draft = Draft::new(args, duration, tz);
    let unseen = capture.unseen().to_vec();
    let account = match capture.finish(&mut draft).await? {
        capture::Ended::Run(Some(summary)) => Account::read(&summary, unseen),
        capture::Ended::Run(None) => return Err(Failure::new("cannot report", "observer run did not send its counts")),
        capture::Ended::Hooks(live) => Account::live(&live.ledger(&live.totals(), &[])),
    };
    draft.finish(account)
}

/// A report while it is captured.
struct Draft {
    builder: Builder,
    progress: Progress,
    begun: Instant,
    until: Timestamp,
}

impl Draft {
    fn new(args: &ReportArgs, duration: Duration, tz: &TimeZone) -> Self {
        let since = Timestamp::now();
        let length = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let until = since.saturating_add(length).unwrap_or(Timestamp::MAX);
        let period = Period { since, until };
        let frame = Frame { period, selection: args.selection(), top: args.top(), finest_s: 1, tz: tz.clone() };
        let progress = Progress::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), "capturing");
        Self {
            builder: Builder::new(frame).with_own(own::addresses().unwrap_or_default()),
            progress,
            begun: Instant::now(),
            until,
        }
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

impl Consumer for Draft {
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure> {
        if let Some(seen) = Seen::from_event(event) {
            self.builder.add(&seen, event.process.as_ref().map(|process| process.comm.as_str()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.advance();
        Ok(ControlFlow::Continue(()))
    }

    fn missing(&mut self, missing: &[(Ended, u64)], time: Timestamp) -> Result<(), Failure> {
        self.builder.make_up(missing, time.min(self.until));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_core::label::{Label, Reason};
    use observer_core::sample;

    #[test]
    fn what_a_daemon_found_missing_is_in_the_report() {
        let frame = Frame {
            period: Period { since: sample::time(), until: sample::time() + Duration::from_mins(1) },
            selection: observer_core::report::Selection::default(),
            top: 10,
            finest_s: 1,
            tz: TimeZone::UTC,
        };
        let (builder, progress) =
            (Builder::new(frame).with_own(own::addresses().unwrap_or_default()), Progress::new(1, "capturing"));
        let mut draft = Draft { builder, progress, begun: Instant::now(), until: sample::time() };
        let ended = Ended {
            src_ip: None,
            dst_ip: sample::ip("203.0.113.5"),
            dst_port: 25,
            label: Label::Refused,
            reason: Some(Reason::Rst),
            redirected: false,
        };
        draft.missing(&[(ended, 7)], sample::time()).unwrap();
        assert_eq!(draft.builder.attempts(), 7);
    }
}
