//! `observer watch`.

use std::io;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use anstream::ColorChoice;

use super::Failure;
use super::live::{Live, Sink, Stop, runtime, say, settings};
use crate::cli::WatchArgs;
use crate::event::Event;
use crate::filter::Filter;
use crate::ui::watch::{Shown, Writer};

pub(super) fn run(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    runtime()?.block_on(watch(args, color))
}

async fn watch(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    // Signals first: a Ctrl-C while the programs load ends in order as well.
    let mut stop = Stop::new(args.output.duration)?;
    let filter = args.filter();
    let mut live = Live::attach(&settings(&args.port, filter.wants_successes(), &args.kernel))?;
    let stdout = io::stdout();
    let writer = Writer::new(io::BufWriter::new(stdout.lock()), args.output.format, is_coloured(&stdout, color));
    say(&format!("watching outbound TCP connections {}; Ctrl-C ends", live.scope(&args.port)));
    let mut screen = Screen { writer, filter, limit: args.output.count.map(NonZeroU64::get), shown: 0 };
    let ended = live.until(&mut stop, &mut screen).await.and_then(|()| live.finish(&mut screen));
    // The summary is true also when stdout was not writable any more.
    live.summarize(&[])?;
    ended
}

fn is_coloured(stdout: &io::Stdout, color: ColorChoice) -> bool {
    match color {
        ColorChoice::Auto => anstream::AutoStream::choice(stdout) != ColorChoice::Never,
        ColorChoice::Never => false,
        _ => true,
    }
}

/// Shows what the filter admits, up to the limit.
struct Screen<W: io::Write> {
    writer: Writer<W>,
    filter: Filter,
    limit: Option<u64>,
    shown: u64,
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
}
