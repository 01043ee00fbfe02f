//! `observer run`.

use super::Failure;
use super::live::{Live, Stop, runtime, say, settings};
use super::record::Record;
use crate::cli::RunArgs;

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    runtime()?.block_on(record(args))
}

async fn record(args: &RunArgs) -> Result<(), Failure> {
    // Signals first: a SIGTERM while the programs load ends in order as well.
    let mut stop = Stop::new(None)?;
    let mut live = Live::attach(&settings(&args.port, true, &args.kernel))?;
    let mut record = Record::open(&args.history.path, args.history.retention(), args.kernel.max_destinations)?;
    let scope = live.scope(&args.port);
    say(&format!("recording outbound TCP connections {scope}, in {}; SIGTERM or Ctrl-C ends", record.path().display()));
    let ended = live.until(&mut stop, &mut record).await.and_then(|()| live.finish(&mut record));
    let recorded = record.finish(&live);
    live.summarize(&[])?;
    say(&recorded?);
    ended
}
