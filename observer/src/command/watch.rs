//! `observer watch`.

use std::io::{self, Write as _};
use std::time::Duration;

use anstream::ColorChoice;
use jiff::Timestamp;
use observer_common::record::{DestinationCounters, DestinationKey};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Failure;
use crate::attempt::{Attempt, ClockOffset};
use crate::cli::WatchArgs;
use crate::event::Surroundings;
use crate::kernel::{Session, Settings};
use crate::ledger::Ledger;
use crate::pipeline::{Lookup, Pipeline};
use crate::surroundings::{Names, host};
use crate::ui::summary;
use crate::ui::watch::{Shown, Writer};

/// The kernel wakes nobody for an event, so this bounds how late a person sees
/// it. Twenty empty looks a second cost nothing that can be measured.
const POLL: Duration = Duration::from_millis(50);
/// Records taken at once, so that signals are heard in a flood.
const BATCH: usize = 8_192;

pub(super) fn run(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start", error))?;
    runtime.block_on(watch(args, color))
}

async fn watch(args: &WatchArgs, color: ColorChoice) -> Result<(), Failure> {
    // Signals first: a Ctrl-C while the programs load ends in order as well.
    let mut stop = Stop::new(args.output.duration).map_err(|error| Failure::new("cannot handle signals", error))?;
    let session = Session::attach(&settings(args))?;
    let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
    let pipeline = Pipeline::new(host, session.capabilities(), args.kernel.max_destinations as usize);
    let stdout = io::stdout();
    let writer = Writer::new(io::BufWriter::new(stdout.lock()), args.output.format, is_coloured(&stdout, color));
    announce(args, &session);
    let mut watch =
        Watch { session, pipeline, writer, names: Names::new(), args, shown: 0, delivered: 0, malformed: 0 };
    let ended = watch.until(&mut stop).await.and_then(|()| watch.finish());
    // The summary is true also when stdout was not writable any more.
    watch.summarize()?;
    ended
}

fn settings(args: &WatchArgs) -> Settings {
    Settings {
        ports: args.port.clone(),
        successes: args.filter().wants_successes(),
        syscall_hooks: !args.kernel.no_syscall_hooks,
        max_in_flight: args.kernel.max_in_flight,
        max_destinations: args.kernel.max_destinations,
        ring_bytes: args.kernel.ring_size,
        log: args.kernel.kernel_log,
        watch_self: false,
    }
}

fn is_coloured(stdout: &io::Stdout, color: ColorChoice) -> bool {
    match color {
        ColorChoice::Auto => anstream::AutoStream::choice(stdout) != ColorChoice::Never,
        ColorChoice::Never => false,
        _ => true,
    }
}

fn announce(args: &WatchArgs, session: &Session) {
    let ports: Vec<String> = args.port.iter().map(u16::to_string).collect();
    let attached = session.reports().iter().filter(|report| report.is_attached()).count();
    let plural = if ports.len() == 1 { "port" } else { "ports" };
    let line = format!(
        "observer: watching outbound TCP connections to {plural} {}, {attached} hooks attached; Ctrl-C ends\n",
        ports.join(", ")
    );
    let _ = io::stderr().write_all(line.as_bytes());
}

/// What ends a watch from outside.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    fn new(duration: Option<Duration>) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        })
    }

    async fn asked(&mut self) {
        let deadline = self.deadline;
        let timeout = async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = timeout => {}
        }
    }
}

struct Watch<'a, W: io::Write> {
    session: Session,
    pipeline: Pipeline,
    writer: Writer<W>,
    names: Names,
    args: &'a WatchArgs,
    shown: u64,
    delivered: u64,
    malformed: u64,
}

impl<W: io::Write> Watch<'_, W> {
    async fn until(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        let mut tick = interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.asked() => true,
                _ = tick.tick() => false,
                woken = self.session.filling() => {
                    woken.map_err(|error| Failure::new("cannot wait for the kernel", error))?;
                    false
                }
            };
            if !self.drain()? || is_last {
                return Ok(());
            }
        }
    }

    /// Takes the hooks off and shows what they have left.
    fn finish(&mut self) -> Result<(), Failure> {
        self.session.detach().map_err(|error| Failure::new("cannot detach from the kernel", error))?;
        self.drain().map(drop)
    }

    /// Shows what waits. False if nothing more is to be shown.
    fn drain(&mut self) -> Result<bool, Failure> {
        self.session.flush_log();
        self.names.refresh();
        let clock = clock_offset();
        let filter = self.args.filter();
        let limit = self.args.output.count.map(std::num::NonZeroU64::get);
        loop {
            let mut batch = Vec::new();
            let is_more = self.session.drain(BATCH, |record| batch.push(bytes::Bytes::copy_from_slice(record)));
            for record in batch {
                self.delivered += 1;
                let mut lookup = Outside { session: &self.session, names: &mut self.names };
                let Ok(event) = self.pipeline.event(&record, clock, &mut lookup) else {
                    self.malformed += 1;
                    continue;
                };
                if limit.is_some_and(|limit| self.shown >= limit) || !filter.admits(&event) {
                    continue;
                }
                self.shown += 1;
                if self.write(|writer| writer.event(&event))? == Shown::ReaderGone {
                    return Ok(false);
                }
            }
            if self.write(Writer::flush)? == Shown::ReaderGone || limit.is_some_and(|limit| self.shown >= limit) {
                return Ok(false);
            }
            if !is_more {
                return Ok(true);
            }
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<W>) -> io::Result<Shown>) -> Result<Shown, Failure> {
        write(&mut self.writer).map_err(|error| Failure::new("cannot write events to stdout", error))
    }

    fn summarize(&self) -> Result<(), Failure> {
        let counters =
            self.session.counters().map_err(|error| Failure::new("cannot read the kernel's counters", error))?;
        let mut ledger = Ledger::new(&counters, self.delivered);
        for (cause, count) in [
            ("kernel program runs skipped by the kernel", self.session.skipped_runs()),
            ("records that could not be decoded", self.malformed),
            ("destinations forgotten for newer ones", self.pipeline.aggregate().evicted()),
        ] {
            if count > 0 {
                ledger.remarks.push((cause, count));
            }
        }
        let _ = io::stderr().write_all(summary::render(&ledger).as_bytes());
        Ok(())
    }
}

struct Outside<'a> {
    session: &'a Session,
    names: &'a mut Names,
}

impl Lookup for Outside<'_> {
    fn surroundings(&mut self, attempt: &Attempt) -> Surroundings {
        self.names.of(attempt)
    }

    fn destination(&mut self, key: &DestinationKey) -> Option<DestinationCounters> {
        self.session.destination(key)
    }
}

/// Measured for each batch: the wall clock may have been set meanwhile.
fn clock_offset() -> ClockOffset {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let ns = monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64;
    ClockOffset::new(ns, Timestamp::now())
}
