//! `observer report`.

mod capture;
mod progress;
mod recorded;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use self::progress::Progress;

pub(super) use self::recorded::unreadable;
use super::live::say;
use super::{Failure, print};
use crate::cli::{ReportArgs, ReportFormat};
use crate::exit::Exit;
use crate::host::surroundings::host;
use observer_core::report::{Report, Source, html, json, table};

/// For a file or a pipe: what mail and terminals have room for.
const WIDTH: u16 = 80;

pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    if args.format == ReportFormat::Html && args.output.is_none() && io::stdout().is_terminal() {
        let text = "a page is not for a terminal: name a file with --output FILE, such as report.html".to_owned();
        return Err(Failure { exit: Exit::Usage, text });
    }
    let now = ZonedDateTime::now();
    let report = match args.live {
        Some(duration) => capture::report(args, duration, now.time_zone())?,
        None => recorded::report(args, &now)?,
    };
    let has_attempts = report.overview.attempts > 0;
    // An empty table helps nobody; a program, or a file that was named, gets one.
    if has_attempts || args.format != ReportFormat::Table || args.output.is_some() {
        put(args, &render(args, &report, now.time_zone())?)?;
    }
    if !has_attempts && report.source == Source::Live {
        say("no attempt ended meanwhile: capture for longer, or name other ports with --port");
    }
    Ok(())
}

fn render(args: &ReportArgs, report: &Report, tz: &TimeZone) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new("cannot write the report", error);
    match args.format {
        ReportFormat::Table => Ok(table::render(report, width(args), tz).into_bytes()),
        ReportFormat::Json => json::render(report).map_err(|error| failed(&error)),
        ReportFormat::Html => html::render(report, tz).map(String::into_bytes).map_err(|error| failed(&error)),
    }
}

fn width(args: &ReportArgs) -> u16 {
    let terminal = args.output.is_none().then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
    terminal.map(|size| size.ws_col).filter(|&columns| columns > 0).unwrap_or(WIDTH)
}

fn put(args: &ReportArgs, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = &args.output else { return print(bytes) };
    if is_database(path) {
        let text =
            format!("{} is a database, and a report would destroy it: name another file with --output", path.display());
        return Err(Failure::usage(&text));
    }
    std::fs::write(path, bytes).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied { Exit::NoPermission } else { Exit::Failure };
        Failure { exit, text: format!("cannot write to {}: {error}; name another file with --output", path.display()) }
    })
}

/// A slip of the hand names the history that the report is of.
fn is_database(path: &Path) -> bool {
    const SQLITE: &[u8] = b"SQLite format 3\0";
    let mut head = Vec::new();
    // Opening a FIFO would wait.
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    is_file
        && File::open(path).and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head)).is_ok()
        && head == SQLITE
}

fn host_name() -> Result<String, Failure> {
    let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
    Ok(host.name)
}
