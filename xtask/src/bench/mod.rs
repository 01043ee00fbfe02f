//! The parts of the benchmark: what is measured ([`kernel`], [`beside`],
//! [`limits`], [`destinations`]), by which means ([`programs`], [`empty`], [`cpu`]), on what
//! ([`subject`], [`peers`]), and how it is shown ([`figures`]).

mod beside;
mod cpu;
mod destinations;
mod empty;
pub(crate) mod figures;
mod kernel;
mod limits;
mod peers;
mod programs;
mod subject;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use observer_lab::Lab;

use crate::foreground::Stop;
use figures::Figures;

/// Nobody listens there, in the lab's own loopback.
const CLOSED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WATCHED: u16 = 25;
const UNWATCHED: u16 = 26;
/// Takes the hooks off that every system call of the host pays for.
const NO_SYSCALL_HOOKS: &str = "--no-syscall-hooks";

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Time in the kernel programs
    Kernel,
    /// CPU time, beside other tools
    Peers,
    /// The highest rate of connects
    Rate,
    /// From start to watching
    Start,
    /// Memory with many attempts in flight
    Memory,
    /// Memory of `observer run` with many destinations
    Destinations,
    /// CPU time of `observer top`
    Top,
}

/// What all measurements share.
pub(crate) struct Run {
    pub(crate) binary: PathBuf,
    /// Another observer, whose kernel programs see the same connects.
    pub(crate) against: Option<PathBuf>,
    pub(crate) lab: Lab,
    pub(crate) attempts: u32,
    pub(crate) rounds: u32,
    pub(crate) with_peers: bool,
    pub(crate) parts: Vec<Part>,
    pub(crate) interruption: Interruption,
}

/// Ctrl-C, remembered.
pub(crate) struct Interruption {
    stop: Stop,
    has_come: bool,
}

impl Interruption {
    pub(crate) const fn of(stop: Stop) -> Self {
        Self { stop, has_come: false }
    }

    fn has_come(&mut self) -> bool {
        self.has_come |= self.stop.came();
        self.has_come
    }
}

impl Run {
    /// Every measurement, one after the other.
    pub(crate) fn measure(&mut self, figures: &mut Figures) -> Result<()> {
        let measured = self.each_part(figures);
        // What it stopped complains; that is noise then.
        if self.interruption.has_come() { Err(anyhow!("interrupted")) } else { measured }
    }

    fn each_part(&mut self, figures: &mut Figures) -> Result<()> {
        for part in self.parts.clone() {
            let measure = match part {
                Part::Kernel => kernel::measure,
                Part::Peers => beside::measure,
                Part::Rate => limits::rate,
                Part::Start => limits::start,
                Part::Memory => limits::memory,
                Part::Destinations => destinations::memory,
                Part::Top => destinations::top,
            };
            measure(self, figures)?;
        }
        Ok(())
    }

    /// The connects of one round where a measurement has many, or needs few.
    fn share(&self) -> u32 {
        self.attempts.div_ceil(self.rounds)
    }

    /// Refused connects, one after the other.
    fn refuse(&mut self, count: u32, port: u16) -> Result<()> {
        self.check()?;
        self.lab.blast(count, CLOSED, port, 1).map(drop)
    }

    /// Fails once Ctrl-C has come.
    fn check(&mut self) -> Result<()> {
        ensure!(!self.interruption.has_come(), "interrupted");
        Ok(())
    }
}
