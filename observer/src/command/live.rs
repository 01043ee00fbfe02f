//! What every command that attaches has in common: from the kernel's records to
//! events, until something ends it.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anstream::ColorChoice;
use observer_common::record::OutcomeKey;
use observer_common::stat;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Failure;
use super::clock::clocks;
use crate::cli::KernelArgs;
use crate::config::Kernel;
use crate::event::{Event, Host};
use crate::kernel::hooks::HookReport;
use crate::kernel::{Session, Settings};
use crate::ledger::{Counters, Ledger};
use crate::pipeline::Pipeline;
use crate::surroundings::{Names, host};
use crate::ui::summary;
use crate::wire::Account;

/// The kernel wakes nobody for an event, so this bounds how late a person sees
/// it. Twenty empty looks a second cost nothing that can be measured.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// Records taken at once, so that signals are heard in a flood.
const BATCH: usize = 8_192;

/// A runtime on this thread.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new("cannot start", error))
}

/// What was typed, as the kernel's side takes it.
pub(super) fn settings(ports: &[u16], successes: bool, kernel: &KernelArgs) -> Settings {
    settings_of(&kernel.settings(), ports, successes, kernel)
}

/// The same with what was configured.
pub(super) fn settings_of(kernel: &Kernel, ports: &[u16], successes: bool, typed: &KernelArgs) -> Settings {
    Settings {
        ports: ports.to_vec(),
        successes,
        syscall_hooks: kernel.syscall_hooks,
        without: typed.without_hook.clone(),
        max_in_flight: kernel.max_in_flight,
        max_destinations: kernel.max_destinations,
        ring_bytes: kernel.ring_bytes,
        log: typed.kernel_log,
        watch_self: false,
    }
}

/// Whether to use colour on stdout.
pub(super) fn is_coloured(color: ColorChoice) -> bool {
    match color {
        ColorChoice::Auto => anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        ColorChoice::Never => false,
        _ => true,
    }
}

/// A line on stderr, written whole.
pub(super) fn say(line: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = io::stderr().write_all(format!("observer: {line}\n").as_bytes());
}

/// `port 25`, `ports 25, 587`.
pub(super) fn list(ports: &[u16]) -> String {
    let plural = if ports.len() == 1 { "port" } else { "ports" };
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{plural} {}", ports.join(", "))
}

/// What ends a command from outside.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    /// SIGINT, SIGTERM, and the end of `duration`; heard from now on.
    pub(super) fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let handle = |kind| signal(kind).map_err(|error| Failure::new("cannot handle signals", error));
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        })
    }

    /// Returns when it is time to end.
    pub(super) async fn asked(&mut self) {
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

/// Where events go.
pub(super) trait Sink {
    /// Takes an event. `Break` ends it at once.
    fn event(&mut self, event: &Arc<Event>) -> Result<ControlFlow<()>, Failure>;
    /// Called after each batch, however small. `Break` ends it.
    fn batch_end(&mut self) -> Result<ControlFlow<()>, Failure>;
    /// Called after each look at the kernel.
    fn tick(&mut self, live: &Live) -> Result<(), Failure> {
        let _ = live;
        Ok(())
    }
}

/// Attached kernel programs, and what makes events of their records.
pub(super) struct Live {
    session: Session,
    pipeline: Pipeline,
    names: Names,
    delivered: u64,
    malformed: u64,
    is_drained: bool,
}

impl Live {
    /// Attaches. Must run inside a tokio runtime.
    pub(super) fn attach(settings: &Settings) -> Result<Self, Failure> {
        let session = Session::attach(settings)?;
        let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
        let pipeline = Pipeline::new(host, session.capabilities(), settings.max_destinations as usize);
        Ok(Self { session, pipeline, names: Names::new(), delivered: 0, malformed: 0, is_drained: true })
    }

    /// `to port 25, 10 hooks attached`.
    pub(super) fn scope(&self, ports: &[u16]) -> String {
        format!("to {}, {} hooks attached", list(ports), self.hooks())
    }

    /// Hands events to `sink` until one of both has enough.
    pub(super) async fn until(&mut self, stop: &mut Stop, sink: &mut impl Sink) -> Result<(), Failure> {
        let mut tick = interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_more = false;
        loop {
            let is_last = tokio::select! {
                biased;
                () = stop.asked() => true,
                // In a flood too, the signals' turn comes after each batch.
                () = tokio::task::yield_now(), if is_more => false,
                _ = tick.tick() => false,
                woken = self.session.filling() => {
                    woken.map_err(|error| Failure::new("cannot wait for the kernel", error))?;
                    false
                }
            };
            match self.drain(sink)? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(_) if is_last => return Ok(()),
                ControlFlow::Continue(waits) => is_more = waits,
            }
            sink.tick(self)?;
        }
    }

    /// Takes the hooks off and hands over what they have left.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        self.session.detach().map_err(|error| Failure::new("cannot detach from the kernel", error))?;
        while self.drain(sink)? == ControlFlow::Continue(true) {}
        Ok(())
    }

    /// Hands over a batch of what waits. `Break` if nothing more is wanted, else
    /// whether more waits.
    fn drain(&mut self, sink: &mut impl Sink) -> Result<ControlFlow<(), bool>, Failure> {
        self.session.flush_log();
        self.names.refresh();
        let (_, clock) = clocks();
        let mut batch = Vec::new();
        let is_more = self.session.drain(BATCH, |record| batch.push(bytes::Bytes::copy_from_slice(record)));
        self.is_drained = !is_more;
        for record in batch {
            self.delivered += 1;
            let Ok(event) = self.pipeline.event(&record, clock, |attempt| self.names.of(attempt)) else {
                self.malformed += 1;
                continue;
            };
            if sink.event(&Arc::new(event))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(match sink.batch_end()? {
            ControlFlow::Break(()) => ControlFlow::Break(()),
            ControlFlow::Continue(()) => ControlFlow::Continue(is_more),
        })
    }

    /// This host.
    pub(super) fn host(&self) -> &Host {
        self.pipeline.host()
    }

    /// True if the last look at the kernel took all that waited.
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Events that did not reach a sink, and will not.
    pub(super) fn lost(&self) -> Result<u64, Failure> {
        let stats = self.session.stats().map_err(unreadable)?;
        Ok(stats[stat::RING_FULL as usize] + self.malformed)
    }

    /// The kernel's exact counters by destination and end code.
    pub(super) fn outcomes(&self) -> Result<Vec<(OutcomeKey, u64)>, Failure> {
        self.session.outcomes().map_err(unreadable)
    }

    /// The kernel's counters now.
    pub(super) fn counters(&self) -> Result<Counters, Failure> {
        self.session.counters().map_err(unreadable)
    }

    /// As [`Self::counters`], without those by destination.
    pub(super) fn totals(&self) -> Result<Counters, Failure> {
        self.session.totals().map_err(unreadable)
    }

    /// The ledger in numbers.
    pub(super) fn account(&self) -> Result<Account, Failure> {
        let totals = self.totals()?;
        let events_lost = totals.stats[stat::RING_FULL as usize];
        let ledger = Ledger::new(&totals, 0);
        Ok(Account {
            attempts: ledger.attempts,
            outcomes: ledger.outcomes_total(),
            in_flight: ledger.in_flight,
            lost: ledger.lost_total(),
            events_lost,
            malformed: self.malformed,
        })
    }

    /// What became of each hook.
    pub(super) fn reports(&self) -> &[HookReport] {
        self.session.reports()
    }

    /// Records that came.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Of those, how many could not be decoded.
    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Runs of kernel programs that the kernel skipped.
    pub(super) fn skipped_runs(&self) -> u64 {
        self.session.skipped_runs()
    }

    /// Hooks that are attached.
    pub(super) fn hooks(&self) -> usize {
        self.session.reports().iter().filter(|report| report.is_attached()).count()
    }

    /// The ledger of these counters; `remarks` are the command's own.
    pub(super) fn ledger(&self, counters: &Counters, remarks: &[(&'static str, u64)]) -> Ledger {
        let mut ledger = Ledger::new(counters, self.delivered);
        let own = [
            ("kernel program runs skipped by the kernel", self.session.skipped_runs()),
            ("records that could not be decoded", self.malformed),
            ("destinations forgotten for newer ones", self.pipeline.aggregate().evicted()),
        ];
        ledger.remarks.extend(own.iter().chain(remarks).filter(|(_, count)| *count > 0));
        ledger
    }

    /// Writes the closing summary to stderr; `remarks` are the command's own.
    pub(super) fn summarize(&self, remarks: &[(&'static str, u64)]) -> Result<(), Failure> {
        let ledger = self.ledger(&self.counters()?, remarks);
        let _ = io::stderr().write_all(summary::render(&ledger).as_bytes());
        Ok(())
    }
}

fn unreadable(error: impl fmt::Display) -> Failure {
    Failure::new("cannot read the kernel's counters", error)
}
