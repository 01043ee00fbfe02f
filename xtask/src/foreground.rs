//! Runs until a person, or whoever started this, says stop.

use std::os::fd::AsFd as _;
use std::process::{Command, ExitStatus};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Once this exists, a signal to stop no longer ends this process at once: what
/// it has set up is dropped in order.
#[derive(Debug)]
pub(crate) struct Stop {
    signals: Signals,
}

impl Stop {
    /// Begins to catch SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn catch() -> Result<Self> {
        Ok(Self { signals: Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catch signals")? })
    }

    /// Waits for a signal.
    pub(crate) fn wait(mut self) {
        self.signals.forever().next();
    }

    /// Whether a signal came since the last time that this was asked.
    pub(crate) fn came(&mut self) -> bool {
        self.signals.pending().next().is_some()
    }

    /// Runs a program to its end, and tells it to end when a signal comes. `None`
    /// if one came before it was started.
    pub(crate) fn run(mut self, command: &mut Command) -> Result<Option<ExitStatus>> {
        if self.came() {
            return Ok(None);
        }
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        // A descriptor still means this child after it has ended, a process id may not.
        let descriptor =
            pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("open the program's pidfd")?;
        let handle = self.signals.handle();
        let status = thread::scope(|scope| {
            scope.spawn(|| {
                for _ in self.signals.forever() {
                    // Ctrl-C at a terminal has reached the program already; to be
                    // told twice does no harm. This fails only once it has ended.
                    _ = pidfd_send_signal(descriptor.as_fd(), Signal::TERM);
                }
            });
            let status = child.wait();
            handle.close();
            status
        });
        status.map(Some).with_context(|| format!("wait for {program}"))
    }
}
