//! A report from history.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use jiff::{Timestamp, ZonedDateTime};
use observer_core::report::{About, Builder, Frame, NameBook, Period, Recorded, Report, Selection, Source};

use super::super::configuration::load_to_read;
use super::super::source;
use super::{Failure, Progress, host_name, say};
use crate::cli::ReportArgs;
use crate::exit::Exit;
use crate::host::own;
use crate::store::history::{self, History, Question};

/// History counts by the minute.
const MINUTE_S: i64 = 60;
/// A slice is at least so long, which bounds how often history is asked, and at
/// most so many are made of a period.
const SLICE_S: i64 = 600;
const MAX_SLICES: i64 = 2_000;

pub(super) fn report(args: &ReportArgs, now: &ZonedDateTime) -> Result<Report, Failure> {
    let period = Period::resolve(args.since.as_ref(), args.until.as_ref(), now)
        .map_err(|error| Failure { exit: Exit::Usage, text: error.to_string() })?;
    let path = match &args.history {
        Some(path) => path.clone(),
        None => source::history(None, &load_to_read(args.source.config.as_deref())?),
    };
    let history = History::open_read_only(&path).map_err(|error| unreadable(&error, &path))?;
    let whole = period.whole_minutes();
    // What has not happened yet is in no history.
    let shown = Period { until: whole.until.min(now.timestamp()), ..whole };
    let selection = args.selection();
    let tz = now.time_zone().clone();
    let frame = Frame { period: shown, selection: selection.clone(), top: args.top(), finest_s: MINUTE_S, tz };
    let names = names(&history, whole, &selection).map_err(|error| unreadable(&error, &path))?;
    let builder = Builder::new(frame).with_own(own::addresses().unwrap_or_default()).with_names(names);
    let read = read(&history, whole, &selection, builder);
    let (recorded, held) = read.map_err(|error| unreadable(&error, &path))?;
    if recorded.attempts() == 0 {
        say(&nothing(args, held, &path));
    }
    let (builder, account) = recorded.finish();
    let about = About { generated: now.timestamp(), host: host_name()?, source: Source::History { path, holds: held } };
    Ok(builder.finish(about, account))
}

/// Reads slice by slice, each as one state of the file, so that the writer is
/// never held up for long. Also says what history holds at all.
fn read(
    history: &History,
    period: Period,
    selection: &Selection,
    builder: Builder,
) -> history::Result<(Recorded, Option<Period>)> {
    let held = held(history)?;
    let mut recorded = Recorded::new(builder);
    let Some(within) = held.and_then(|held| common(held, period)) else { return Ok((recorded, held)) };
    let (since, until) = (within.since.as_second(), within.until.as_second());
    // Whole minutes: counts know no shorter time.
    let slice_s = (((until - since) / MAX_SLICES).max(SLICE_S) + MINUTE_S - 1) / MINUTE_S * MINUTE_S;
    let mut progress = Progress::new((until - since).unsigned_abs(), "reading history");
    let mut start = since;
    while start < until {
        let end = (start + slice_s).min(until);
        let at = |second| Timestamp::from_second(second).ok();
        let question = Question {
            since: at(start),
            until: at(end),
            labels: selection.labels.clone(),
            destinations: selection.destinations.clone(),
            ports: selection.ports.clone(),
            ..Question::default()
        };
        history.snapshot(|history| slice(history, &question, &mut recorded))?;
        start = end;
        progress.set((start - since).unsigned_abs());
    }
    Ok((recorded, held))
}

fn slice(history: &History, question: &Question, recorded: &mut Recorded) -> history::Result<()> {
    history.counted(question, |key, count| {
        recorded.count(key, count);
        ControlFlow::Continue(())
    })?;
    history.briefs(question, |brief| {
        recorded.attempt(&brief);
        ControlFlow::Continue(())
    })?;
    recorded.end_slice();
    Ok(())
}

/// What the mail server's log, as far as history has it, calls the destinations.
fn names(history: &History, period: Period, selection: &Selection) -> history::Result<NameBook> {
    let (since, until) = (Some(period.since), Some(period.until));
    let question = Question { since, until, destinations: selection.destinations.clone(), ..Question::default() };
    let mut names = NameBook::default();
    history.names(&question, |ip, domain, host| {
        names.add(ip, domain, host);
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// What history holds, in whole minutes.
fn held(history: &History) -> history::Result<Option<Period>> {
    let attempts = history.span()?;
    // The last minute counted is told by its start.
    let counted = history.counted_span()?;
    let ends = attempts.into_iter().chain(counted);
    let held = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).map(|(since, last)| {
        let until = Timestamp::from_nanosecond(last.as_nanosecond() + 1).unwrap_or(last);
        Period { since, until }.whole_minutes()
    });
    Ok(held)
}

fn common(a: Period, b: Period) -> Option<Period> {
    let common = Period { since: a.since.max(b.since), until: a.until.min(b.until) };
    (common.since < common.until).then_some(common)
}

/// Why there is nothing to report, and what would help.
fn nothing(args: &ReportArgs, held: Option<Period>, path: &Path) -> String {
    let path = path.display();
    let Some(Period { since, until }) = held else {
        return format!("{path} holds no attempt yet: `observer run` records them");
    };
    let selection = if args.selection().is_all() { "" } else { " that pass the filters" };
    format!("no attempts{selection} in this period; {path} holds {since} to {until}: choose --since and --until")
}

pub(in crate::command) fn unreadable(error: &history::Error, path: &Path) -> Failure {
    match io_kind(error) {
        Some(io::ErrorKind::NotFound) => Failure {
            exit: Exit::Failure,
            text: format!(
                "no history at {}: `observer run` records one, --history names another, and --live 30s needs none",
                path.display()
            ),
        },
        Some(io::ErrorKind::PermissionDenied) => {
            Failure { exit: Exit::NoPermission, text: format!("cannot read history: {error}") }
        }
        _ => Failure::new("cannot read history", error),
    }
}

fn io_kind(error: &history::Error) -> Option<io::ErrorKind> {
    match error {
        history::Error::At { error, .. } => io_kind(error),
        history::Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}
