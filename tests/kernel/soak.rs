//! An hour of a busy mail host in minutes, and the faults that a host can have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use observer_lab::{Lab, LabConfig, Storm, StormAttempt, port};
use rustix::process::Signal;

use crate::condition::nothing_is_attached;
use crate::storm::{ensure_counted, outcome};
use crate::watcher::{Seen, Watcher};

/// How much of it.
#[derive(Clone, Copy)]
struct Size {
    /// Each round is a lab of its own: namespaces, processes, ports and sockets
    /// come and go.
    rounds: u32,
    /// Refused connects of a round.
    blast: u32,
    /// Attempts of every kind beside them.
    storm: u32,
    /// The round in which observer is stopped, for [`STOPPED_FOR`] at least.
    stopped: Option<u32>,
}

const MILLION: Size = Size { rounds: 10, blast: 90_000, storm: 10_000, stopped: Some(4) };
/// For machines on which an hour of a busy host would take an hour.
const THOUSANDS: Size = Size { rounds: 3, blast: 2_000, storm: 1_000, stopped: None };
const STOPPED_FOR: Duration = Duration::from_secs(10);
/// Resident memory may grow by this from the middle to the end: before, tables and
/// buffers find their size, which is bounded but not reached in the first round.
const GROWTH_KB: u64 = 2_048;
/// Nothing is shown: this is about the counting.
const NOBODY: &[&str] = &["--successes", "--comm", "nobody"];

/// A million attempts: nothing is lost, nothing leaks, memory stays flat, and
/// what a stopped observer could not read is counted.
pub(crate) fn a_million_attempts_leave_nothing_behind() -> Result<()> {
    soak(MILLION)
}

/// The same, shorter.
pub(crate) fn thousands_of_attempts_leave_nothing_behind() -> Result<()> {
    soak(THOUSANDS)
}

fn soak(size: Size) -> Result<()> {
    let watcher = Watcher::start(NOBODY)?;
    let mut truth = BTreeMap::new();
    let mut resident = Vec::new();
    println!("\nround  attempts  resident KiB");
    for round in 0..size.rounds {
        let is_stopped = size.stopped == Some(round);
        if is_stopped {
            watcher.signal(Signal::STOP)?;
        }
        let started = std::time::Instant::now();
        one_round(size, round, &mut truth)?;
        if is_stopped {
            std::thread::sleep(STOPPED_FOR.saturating_sub(started.elapsed()));
            watcher.signal(Signal::CONT)?;
            std::thread::sleep(Duration::from_millis(500));
        }
        resident.push(resident_kb(watcher.pid())?);
        println!("{round:>5}  {:>8}  {:>12}", truth.values().sum::<u64>(), resident[resident.len() - 1]);
    }
    std::thread::sleep(Duration::from_millis(300));
    let seen = watcher.stop()?;
    println!("{}", seen.summary);
    let missing = ensure_counted(&seen, &truth)?;
    nothing_is_left(&seen)?;
    let (middle, last) = (resident[resident.len() / 2], resident[resident.len() - 1]);
    ensure!(last <= middle + GROWTH_KB, "resident memory grew from {middle} to {last} KiB");
    let attempts: u64 = truth.values().sum();
    if missing > 0 {
        println!("{missing} of {attempts} attempts not seen: the kernel skipped the runs, and the summary says so");
        return Ok(());
    }
    println!("nothing lost, nothing leaked, nothing mislabelled in {attempts} attempts of {} rounds", size.rounds);
    Ok(())
}

/// kill -9 in the middle of a storm: the kernel takes everything off, and the
/// next observer counts from its own beginning.
pub(crate) fn a_killed_observer_leaves_nothing_behind() -> Result<()> {
    for round in 0..3 {
        let watcher = Watcher::start(NOBODY)?;
        let lab = Lab::up(LabConfig::default())?;
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| lab.storm(storm(MILLION, round)));
            std::thread::sleep(Duration::from_millis(700));
            watcher.signal(Signal::KILL)?;
            storm.join().unwrap_or_else(|_| bail!("the storm panicked"))
        })?;
        drop(watcher);
        nothing_is_attached().context("after kill -9")?;
    }
    let watcher = Watcher::start(NOBODY)?;
    let mut truth = BTreeMap::new();
    one_round(MILLION, 3, &mut truth)?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = watcher.stop()?;
    ensure_counted(&seen, &truth)?;
    nothing_is_left(&seen)
}

fn nothing_is_left(seen: &Seen) -> Result<()> {
    seen.ensure_balanced()?;
    let ledger = seen.line("ledger:")?;
    ensure!(ledger.contains("in flight 0 + lost 0:"), "{ledger}");
    nothing_is_attached()
}

fn storm(size: Size, round: u32) -> Storm {
    Storm { seed: round.into(), attempts: size.storm, ..Storm::default() }
}

fn one_round(size: Size, round: u32, truth: &mut BTreeMap<String, u64>) -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let attempts: Vec<StormAttempt> = std::thread::scope(|scope| {
        let storm = scope.spawn(|| lab.storm(storm(size, round)));
        lab.blast(size.blast, IpAddr::V4(Ipv4Addr::LOCALHOST), port(), 2)?;
        storm.join().unwrap_or_else(|_| bail!("the storm panicked"))
    })?;
    for attempt in &attempts {
        *truth.entry(outcome(attempt)?).or_default() += 1;
    }
    *truth.entry("refused rst".to_owned()).or_default() += u64::from(size.blast);
    Ok(())
}

fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().context("no number behind VmRSS")?.parse().context("VmRSS")
}
