//! What every command that attaches has in common: from the kernel's records to
//! events, until something ends it.

mod consumer;

use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anstream::ColorChoice;
use jiff::Timestamp;
use observer_common::record::OutcomeKey;
use observer_common::stat;
use observer_core::count::Totals;
use observer_core::decode::decode;
use observer_core::event::Host;
use observer_core::ledger::Ledger;
use observer_core::pipeline::Pipeline;
use observer_core::wire::Account;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::Failure;
use super::clock::clocks;
use super::naming::Naming;
use crate::cli::KernelArgs;
use crate::config::Kernel;
use crate::host::surroundings::host;
use crate::kernel::counting::{Counting, Counts};
use crate::kernel::hooks::HookReport;
use crate::kernel::reader::{Batch, Reader};
use crate::kernel::ring::records;
use crate::kernel::{Channels, Probers, Session, Settings};
use crate::ui::summary;
use observer_core::wrap;

pub(super) use self::consumer::Consumer;

/// Destinations whose failures in a row are remembered for events, some 10 MB.
const REMEMBERED: usize = 32_768;
/// Between two ticks when nothing comes.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// For what a command shows at its end to be counted: a grace period of the kernel.
const TOTALS_WITHIN: Duration = Duration::from_secs(10);

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
    tell(&format!("observer: {line}\n"));
}

/// Lines on stderr, written at once; those that are longer than a terminal is wide go on between
/// words.
pub(super) fn tell(lines: &str) {
    let fitted = |columns: u16| lines.lines().map(|line| wrap::fit(line, columns.into(), "  ") + "\n").collect();
    let lines = columns(io::stderr()).map_or_else(|| lines.to_owned(), fitted);
    // Nobody is left to tell if stderr is closed.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Columns of a terminal, if it is one; with fewer than these nothing can be laid out.
pub(super) fn columns(of: impl AsFd) -> Option<u16> {
    const MIN: u16 = 40;
    rustix::termios::tcgetwinsize(of).ok().map(|size| size.ws_col).filter(|&columns| columns >= MIN)
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
    /// `None`: it means something else, or whoever started this wants it ignored, as nohup(1) does.
    hangup: Option<Signal>,
    deadline: Option<Instant>,
}

impl Stop {
    /// SIGINT, SIGTERM, SIGHUP when the terminal is closed, and the end of `duration`; heard from
    /// now on. SIGUSR1 and SIGUSR2 mean nothing, and end nothing.
    pub(super) fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let hangup = SignalKind::hangup();
        let hangup = if is_ignored(hangup) { None } else { Some(handle(hangup)?) };
        let deadline = duration.and_then(|duration| Instant::now().checked_add(duration));
        Ok(Self { hangup, deadline, ..Self::of_service()? })
    }

    /// The same for a service, to which SIGHUP means something else.
    pub(super) fn of_service() -> Result<Self, Failure> {
        for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            if !is_ignored(kind) {
                drop(handle(kind)?);
            }
        }
        let (interrupt, terminate) = (handle(SignalKind::interrupt())?, handle(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: None, deadline: None })
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
            () = hung_up(&mut self.hangup) => {}
            () = timeout => {}
        }
    }
}

fn handle(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new("cannot handle signals", error))
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process was started with the signal ignored: proc_pid_status(5).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or_default();
    mask >> bit & 1 == 1
}

/// Attached kernel programs, and what makes events of their records.
pub(super) struct Live {
    session: Session,
    max_outcomes: u32,
    flow: Flow,
    pipeline: Pipeline,
    /// How the attempts of a batch ended.
    ends: Vec<(OutcomeKey, u64)>,
    /// Once it is started.
    naming: Option<Naming>,
    delivered: u64,
    malformed: u64,
    is_drained: bool,
    /// The last totals, once the hooks were taken off.
    last: Option<Totals>,
}

/// How far what the kernel sends has come.
enum Flow {
    /// Nobody takes it yet. Threads are started after privileges were given up.
    Waits(Box<Channels>),
    Runs(Running),
    Ended,
}

/// The threads that take it.
struct Running {
    reader: Reader,
    counting: Counting,
    counts: Counts,
}

impl Running {
    fn start(channels: Channels, max_outcomes: u32) -> Result<Self, Failure> {
        let failed = |error| Failure::new("cannot start a thread", error);
        let counting = Counting::start(channels.counters, max_outcomes).map_err(failed)?;
        let counts = counting.counts().clone();
        Ok(Self { reader: Reader::start(channels.ring).map_err(failed)?, counting, counts })
    }
}

impl Live {
    /// Attaches.
    pub(super) fn attach(settings: &Settings) -> Result<Self, Failure> {
        let (session, channels) = Session::attach(settings)?;
        let host = host().map_err(|error| Failure::new("cannot read this host's name from /proc", error))?;
        let remembered = (settings.max_destinations as usize).min(REMEMBERED);
        let pipeline = Pipeline::new(host, session.capabilities(), remembered);
        Ok(Self {
            session,
            max_outcomes: settings.max_destinations,
            flow: Flow::Waits(Box::new(channels)),
            pipeline,
            ends: Vec::new(),
            naming: None,
            delivered: 0,
            malformed: 0,
            is_drained: true,
            last: None,
        })
    }

    /// Starts the threads that take what the kernel sends; whoever gives up
    /// privileges has done so before. False: they run already.
    pub(super) fn start(&mut self) -> Result<bool, Failure> {
        let Flow::Waits(_) = self.flow else { return Ok(false) };
        if let Flow::Waits(channels) = std::mem::replace(&mut self.flow, Flow::Ended) {
            self.flow = Flow::Runs(Running::start(*channels, self.max_outcomes)?);
            self.naming = Some(Naming::start().map_err(|error| Failure::new("cannot start a thread", error))?);
        }
        Ok(true)
    }

    /// True if the kernel's counters can be read with the privileges that are left.
    pub(super) fn is_readable(&self) -> bool {
        match &self.flow {
            Flow::Waits(channels) => channels.counters.is_readable(),
            Flow::Runs(_) | Flow::Ended => true,
        }
    }

    /// `to port 25, 10 hooks attached`.
    pub(super) fn scope(&self, ports: &[u16]) -> String {
        format!("to {}, {} hooks attached", list(ports), self.hooks())
    }

    /// Hands events to `consumer` until one of both has enough.
    pub(super) async fn until(&mut self, stop: &mut Stop, consumer: &mut impl Consumer) -> Result<(), Failure> {
        self.start()?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Flow::Runs(running) = &mut self.flow else { return Ok(()) };
            let (mut batch, mut missing, mut is_last) = (None, None, false);
            tokio::select! {
                biased;
                () = stop.asked() => is_last = true,
                next = running.counting.next() => missing = Some(next.ok_or_else(|| ended("counts"))?),
                next = running.reader.next() => batch = Some(next.ok_or_else(|| ended("ring"))?),
                () = naming(&mut self.naming) => {}
                _ = tick.tick() => {}
            }
            if let Some(missing) = missing {
                consumer.missing(&missing.map_err(unreadable)?, Timestamp::now())?;
            }
            if self.take(batch, consumer)?.is_break() || is_last {
                return Ok(());
            }
            consumer.tick(self)?;
            // In a flood too, what else runs on this thread has its turn.
            tokio::task::yield_now().await;
        }
    }

    /// Takes the hooks off and hands over what they have left.
    pub(super) async fn finish(&mut self, consumer: &mut impl Consumer) -> Result<(), Failure> {
        self.start()?;
        self.session.detach().map_err(|error| Failure::new("cannot detach from the kernel", error))?;
        let Flow::Runs(mut running) = std::mem::replace(&mut self.flow, Flow::Ended) else { return Ok(()) };
        running.reader.end();
        let mut is_wanted = true;
        while let Some(batch) = running.reader.next().await {
            // Counted in any case.
            let undecodable = self.judge(&batch, is_wanted);
            running.counts.add(&self.ends, undecodable);
            is_wanted = is_wanted && self.named(consumer)?.is_continue();
            tokio::task::yield_now().await;
        }
        while is_wanted && !self.are_all_named() {
            naming(&mut self.naming).await;
            is_wanted = self.named(consumer)?.is_continue();
        }
        let last = timeout(TOTALS_WITHIN, running.counts.last()).await.ok().flatten();
        let has_answered = last.is_some();
        self.last = last.or_else(|| Some(running.counts.latest()));
        while let Some(missing) = running.counting.try_next() {
            let missing = missing.map_err(unreadable)?;
            if is_wanted {
                consumer.missing(&missing, Timestamp::now())?;
            }
        }
        self.is_drained = true;
        if is_wanted {
            let _ = consumer.batch_end()?;
        }
        if has_answered { Ok(()) } else { Err(unreadable("no answer")) }
    }

    /// Hands over this batch, or one that waits.
    fn take(&mut self, batch: Option<Batch>, consumer: &mut impl Consumer) -> Result<ControlFlow<()>, Failure> {
        self.session.flush_log();
        let batch = match &mut self.flow {
            Flow::Runs(running) => batch.or_else(|| running.reader.try_next()),
            Flow::Waits(_) | Flow::Ended => batch,
        };
        if let Some(batch) = batch
            && self.records(&batch, consumer)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        if self.named(consumer)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if let Flow::Runs(running) = &self.flow {
            self.is_drained = running.reader.is_drained() && self.are_all_named();
        }
        consumer.batch_end()
    }

    /// Judges a batch, and hands over the events that need not wait for names. `Break` if
    /// nothing more is wanted.
    fn records(&mut self, batch: &Batch, consumer: &mut impl Consumer) -> Result<ControlFlow<()>, Failure> {
        let undecodable = self.judge(batch, true);
        if let Flow::Runs(running) = &self.flow {
            running.counts.add(&self.ends, undecodable);
        }
        self.named(consumer)
    }

    /// Judges a batch; its events wait for their names, if they are wanted. Leaves in `ends` how
    /// its attempts ended, and gives the number of records that could not be decoded.
    fn judge(&mut self, batch: &Batch, is_wanted: bool) -> u64 {
        let (_, clock) = clocks();
        let now = Instant::now();
        let mut undecodable = 0;
        self.ends.clear();
        for record in records(batch) {
            self.delivered += u64::from(is_wanted);
            let Ok(record) = decode(record) else {
                undecodable += 1;
                continue;
            };
            self.ends.push((OutcomeKey::of(&record), 1));
            if is_wanted && let Some(naming) = &mut self.naming {
                naming.add(self.pipeline.judge(&record, clock), now);
            }
        }
        self.malformed += undecodable;
        undecodable
    }

    /// Hands over, in their order, the events that have their names or wait no longer.
    fn named(&mut self, consumer: &mut impl Consumer) -> Result<ControlFlow<()>, Failure> {
        let now = Instant::now();
        while let Some((judged, around)) = self.naming.as_mut().and_then(|naming| naming.next(now)) {
            if consumer.event(&Arc::new(self.pipeline.event(judged, around)))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn are_all_named(&self) -> bool {
        self.naming.as_ref().is_none_or(Naming::is_empty)
    }

    /// This host.
    pub(super) fn host(&self) -> &Host {
        self.pipeline.host()
    }

    /// True if the last look took all events that there were.
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// The kernel's counts as they were some tenths of a second ago, without
    /// destinations; at the end all of them.
    pub(super) fn totals(&self) -> Totals {
        match (&self.last, &self.flow) {
            (Some(last), _) => last.clone(),
            (None, Flow::Runs(running)) => running.counts.latest(),
            (None, _) => Totals::default(),
        }
    }

    /// The kernel's counts, for whoever asks from elsewhere. `None` before
    /// [`Self::start`] and after the end.
    pub(super) fn counts(&self) -> Option<Counts> {
        match &self.flow {
            Flow::Runs(running) => Some(running.counts.clone()),
            Flow::Waits(_) | Flow::Ended => None,
        }
    }

    /// The ledger in numbers.
    pub(super) fn account(&self) -> Account {
        let totals = self.totals();
        let ledger = Ledger::new(&totals, 0);
        Account {
            attempts: ledger.attempts,
            outcomes: ledger.outcomes_total(),
            in_flight: ledger.in_flight,
            lost: ledger.lost_total(),
            events_lost: totals.stat(stat::RING_FULL),
            malformed: self.malformed,
        }
    }

    /// Processes whose connections are no attempts.
    pub(super) fn probers(&self) -> Arc<Probers> {
        self.session.probers()
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

    /// Events that went without a name, because it was not found in time.
    pub(super) fn unnamed(&self) -> u64 {
        self.naming.as_ref().map_or(0, Naming::left_out)
    }

    /// What was let go for want of room.
    pub(super) fn limits(&self) -> [(&'static str, u64); 2] {
        let aggregate = self.pipeline.aggregate();
        [
            ("destinations with a streak", aggregate.evicted() + aggregate.unremembered()),
            ("destinations of the closing summary", self.totals().known.forgotten),
        ]
    }

    /// Runs of kernel programs that the kernel skipped.
    pub(super) fn skipped_runs(&self) -> u64 {
        self.session.skipped_runs()
    }

    /// Hooks that are attached.
    pub(super) fn hooks(&self) -> usize {
        self.session.reports().iter().filter(|report| report.is_attached()).count()
    }

    /// What happens and no attached hook sees.
    pub(super) fn unseen(&self) -> Vec<String> {
        self.session.unseen().into_iter().map(str::to_owned).collect()
    }

    /// The ledger of these counts; `remarks` are the command's own.
    pub(super) fn ledger(&self, totals: &Totals, remarks: &[(&'static str, u64)]) -> Ledger {
        let mut ledger = Ledger::new(totals, self.delivered);
        let own = [
            ("kernel program runs skipped by the kernel", self.session.skipped_runs()),
            ("records that could not be decoded", self.malformed),
            ("events without a name that was not found in time", self.unnamed()),
            ("destinations forgotten for newer ones", self.pipeline.aggregate().evicted()),
        ];
        ledger.unseen = self.unseen();
        ledger.remarks.extend(own.iter().chain(remarks).filter(|(_, count)| *count > 0));
        ledger
    }

    /// Writes the closing summary to stderr; `remarks` are the command's own.
    pub(super) fn summarize(&self, remarks: &[(&'static str, u64)]) {
        let ledger = self.ledger(&self.totals(), remarks);
        tell(&summary::render(&ledger));
    }
}

/// Returns when an event that waited for its names may go on.
async fn naming(naming: &mut Option<Naming>) {
    match naming {
        Some(naming) => naming.progress().await,
        None => std::future::pending().await,
    }
}

/// Only a panic ends a thread before [`Live::finish`].
fn ended(thread: &str) -> Failure {
    Failure::new("bug in observer, please report it", format!("its thread {thread:?} has ended"))
}

fn unreadable(error: impl fmt::Display) -> Failure {
    Failure::new("cannot read the kernel's counters", error)
}
