//! CPU time: of the process that connects, of the tool, and of the machine.
//!
//! The packets of loopback are handled in the context of the process that sends
//! them, so its time includes the kernel programs of both directions; only with
//! CONFIG_IRQ_TIME_ACCOUNTING the kernel keeps softirqs apart, and then the
//! machine's time alone has all. That one has what other processes did, too.

use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time of one measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// By the processes that this one started and waited for meanwhile.
    pub(crate) client: Duration,
    /// By the tool's process, whose kernel time includes its reads.
    pub(crate) tool: Duration,
    /// By all CPUs, in steps of 10 ms.
    pub(crate) machine: Duration,
}

/// CPU time so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    tool: Option<u32>,
    start: Spent,
}

impl Meter {
    /// Starts to measure, beside the tool of this process id.
    pub(crate) fn start(tool: Option<u32>) -> Result<Self> {
        Ok(Self { tool, start: so_far(tool)? })
    }

    /// What was spent since the start.
    pub(crate) fn read(self) -> Result<Spent> {
        let (then, now) = (self.start, so_far(self.tool)?);
        Ok(Spent {
            client: now.client.saturating_sub(then.client),
            tool: now.tool.saturating_sub(then.tool),
            machine: now.machine.saturating_sub(then.machine),
        })
    }
}

fn so_far(tool: Option<u32>) -> Result<Spent> {
    let tool = tool.map(of_process).transpose()?.unwrap_or_default();
    Ok(Spent { client: of_children()?, tool, machine: of_machine()? })
}

/// The CPU-time clock of another process counts all its threads.
fn of_process(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the clock's id is written to a variable of its type.
    let found = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    // SAFETY: the time is written to a variable of its type.
    let is_read = found == 0 && unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } == 0;
    anyhow::ensure!(is_read, "process {pid} has no CPU-time clock: it has ended");
    // SAFETY: it was zeroed at first, and timespec is plain old data.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec)?))
}

fn of_children() -> Result<Duration> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the usage is written to a variable of its type.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    anyhow::ensure!(result == 0, "getrusage: {}", std::io::Error::last_os_error());
    // SAFETY: it was zeroed at first, and rusage is plain old data.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| -> Result<Duration> {
        Ok(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_usec)? * 1_000))
    };
    Ok(duration(usage.ru_utime)? + duration(usage.ru_stime)?)
}

/// `USER_HZ`, the same on every Linux that observer runs on.
const TICK: Duration = Duration::from_millis(10);

fn of_machine() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u32> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user.
    let worked = [0, 1, 2, 5, 6].into_iter().filter_map(|index| fields.get(index)).sum::<u32>();
    Ok(TICK * worked)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_was_waited_for_is_the_client() {
        let meter = Meter::start(None).unwrap();
        Command::new("sh").args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]).status().unwrap();
        let spent = meter.read().unwrap();
        assert!(spent.client > Duration::ZERO && spent.tool == Duration::ZERO, "{spent:?}");
        assert!(spent.machine < Duration::from_secs(3600), "{spent:?}");
    }

    #[test]
    fn the_tool_is_another_process() {
        let meter = Meter::start(Some(std::process::id())).unwrap();
        let sum: u64 = (0..2_000_000_u64).map(std::hint::black_box).sum();
        assert!(sum > 0 && meter.read().unwrap().tool > Duration::ZERO);
    }

    #[test]
    fn a_tool_that_has_ended_is_an_error() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(Meter::start(Some(child.id())).is_err());
    }
}
