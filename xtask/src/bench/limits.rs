//! How fast, how soon and how small.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::figures::{Figures, Goal, Spread, Table};
use super::programs;
use super::subject::{self, Watch};
use super::{CLOSED, Run, WATCHED};

/// Of each rate, so that the ring buffer has time to fill.
const TIMES_ATTEMPTS: u32 = 2;
/// Attempts in flight for the memory.
const IN_FLIGHT: u32 = 10_000;
const STARTS: usize = 10;
/// Longest from a start to "watching", in ms.
const GOAL_START: f64 = 300.0;
/// Greatest resident size, in MB.
const GOAL_MEMORY: f64 = 20.0;

/// The highest rate at which this machine connects, by more and more threads.
pub(super) fn rate(run: &mut Run, figures: &mut Figures) -> Result<()> {
    let cpus = u32::try_from(thread::available_parallelism().context("count CPUs")?.get())?;
    let connects = run.attempts.saturating_mul(TIMES_ATTEMPTS);
    let command = subject::command(&[]);
    let mut table = Table::new(["threads", "connects/s alone", "connects/s watched", "lost"]);
    let (mut highest, mut are_all_whole) = (0.0, true);
    for threads in [1, cpus, 2 * cpus] {
        figures.progress(&format!("the rate of {threads} threads"));
        run.check()?;
        let per_second = |took: Duration| f64::from(connects) / took.as_secs_f64();
        let alone = per_second(run.lab.blast(connects, CLOSED, WATCHED, threads)?);
        let watch = Watch::start(&run.binary, &[])?;
        let watched = per_second(run.lab.blast(connects, CLOSED, WATCHED, threads)?);
        let ledger = watch.stop()?;
        let fault = ledger.fault(connects.into(), 0);
        let lost = fault.as_ref().map_or_else(|| "0".to_owned(), |_| ledger.to_string());
        table.row([threads.to_string(), format!("{alone:.0}"), format!("{watched:.0}"), lost]);
        highest = f64::max(highest, watched);
        are_all_whole &= fault.is_none();
        if let Some(fault) = fault {
            figures.fault(format!("at {watched:.0} connects a second: {fault}"));
        }
    }
    figures.detail(&format!("Highest rate, {connects} refused connects each"), &command, &table);
    let lost = if are_all_whole { "nothing lost" } else { "LOST, see above" };
    let goal = Goal::fact("nothing lost", are_all_whole);
    figures.goal("highest rate", &format!("{highest:.0} connects/s, {lost}"), goal, &command);
    Ok(())
}

/// From the start of the process to "watching".
pub(super) fn start(run: &mut Run, figures: &mut Figures) -> Result<()> {
    figures.progress("the start");
    let mut times = Vec::new();
    for _ in 0..STARTS {
        run.check()?;
        let watch = Watch::start(&run.binary, &[])?;
        times.push(watch.started_in.as_secs_f64() * 1e3);
        watch.stop()?;
    }
    let spread = Spread::of(times).context("nothing was started")?;
    let goal = Goal::at_most(spread.median, GOAL_START, "ms");
    let what = format!("start to \"watching\", of {STARTS}");
    figures.goal(&what, &format!("{spread} ms"), goal, &subject::command(&[]));
    Ok(())
}

/// Resident memory, idle and with many attempts in flight.
pub(super) fn memory(run: &mut Run, figures: &mut Figures) -> Result<()> {
    figures.progress(&format!("memory with {IN_FLIGHT} attempts in flight"));
    run.check()?;
    let names = ["VmRSS", "RssAnon", "VmHWM"];
    let watch = Watch::start(&run.binary, &[])?;
    // Past the start, which needs more for a moment.
    thread::sleep(Duration::from_millis(200));
    let idle = watch.memory(names)?;
    let began = Instant::now();
    let held = run.lab.hold(IN_FLIGHT, WATCHED)?;
    let took = began.elapsed();
    // observer looks 20 times a second.
    thread::sleep(Duration::from_millis(500));
    let busy = watch.memory(names)?;
    let maps = programs::map_bytes(watch.pid())? as f64 / 1e6;
    let ledger = watch.stop()?;
    drop(held);
    if let Some(fault) = ledger.fault(0, IN_FLIGHT.into()) {
        figures.fault(fault);
    }
    let mut table = Table::new(["attempts in flight", "resident (VmRSS)", "its own (RssAnon)", "highest (VmHWM)"]);
    for (count, sizes) in [(0, idle), (IN_FLIGHT, busy)] {
        let [rss, anon, peak] = sizes.map(|size| format!("{size:.1}"));
        table.row([count.to_string(), rss, anon, peak]);
    }
    let command = subject::command(&[]);
    let title = format!(
        "Memory in MB, beside {maps:.1} MB of kernel maps; the attempts were begun within {:.1} s",
        took.as_secs_f64()
    );
    figures.detail(&title, &command, &table);
    figures.detail_note(&format!("  {ledger}"));
    let [resident, own, highest] = busy;
    let what = format!("resident with {IN_FLIGHT} attempts in flight");
    let measured =
        format!("{resident:.1} MB, {own:.1} of it its own; {highest:.1} while it started; kernel maps {maps:.1} MB");
    figures.goal(&what, &measured, Goal::at_most(resident, GOAL_MEMORY, "MB"), &command);
    Ok(())
}
