//! Thousands of attempts at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, Scenario, Storm, StormAttempt};
use rustix::process::Signal;
use serde_json::Value;

use crate::privilege::release;
use crate::watcher::{Seen, Watcher, number, text};

/// An attempt's identity as both sides know it; ports are reused, so one key
/// can have several attempts.
type Key = (u64, String, u64, String);

/// Every attempt gets exactly one outcome, equal to what its own client saw, and
/// the ledger balances to the attempt.
pub(crate) fn every_attempt_has_one_outcome() -> Result<()> {
    let (attempts, seen) = run(&["--successes"], Reader::Runs)?;
    let wrong = compare(&attempts, &seen);
    ensure!(
        wrong.is_empty(),
        "{} attempts differ, the first ten:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    counters_are_exact(&attempts, &seen)
}

/// A tiny ring buffer that nobody reads: events are lost and counted, and the
/// counters stay exact.
pub(crate) fn a_full_ring_loses_events_and_no_count() -> Result<()> {
    let (attempts, seen) = run(&["--successes", "--ring-size", "64K"], Reader::Stands)?;
    counters_are_exact(&attempts, &seen)?;
    let events = seen.line("events:")?;
    let lost = attempts.len() - seen.events.len();
    ensure!(lost > 0, "64 KiB held {} events", attempts.len());
    ensure!(events.contains(&format!("ring buffer full {lost}")), "{lost} events are missing: {events}");
    Ok(())
}

/// A tiny table of attempts in flight: what finds no room is lost and counted.
pub(crate) fn a_full_table_loses_attempts_and_no_count() -> Result<()> {
    let (attempts, seen) = run(&["--successes", "--max-in-flight", "64"], Reader::Runs)?;
    let ledger = seen.line("ledger:")?;
    ensure!(seen.number("attempts")? == attempts.len() as u64, "attempts are not exact: {ledger}");
    let lost = seen.number("lost")?;
    ensure!(lost > 0 && ledger.contains(&format!("attempt table full {lost}")), "a loss without its cause: {ledger}");
    ensure!(seen.number("outcomes")? == seen.events.len() as u64, "outcomes and events differ: {ledger}");
    seen.ensure_balanced()
}

/// The kernel's counters equal the clients' own counts, outcome by outcome.
fn counters_are_exact(attempts: &[StormAttempt], seen: &Seen) -> Result<()> {
    let mut truth: BTreeMap<String, u64> = BTreeMap::new();
    for attempt in attempts {
        *truth.entry(outcome(attempt)?).or_default() += 1;
    }
    let missing = ensure_counted(seen, &truth)?;
    ensure!(seen.number("attempts")? + missing == attempts.len() as u64, "{}", seen.line("ledger:")?);
    seen.ensure_balanced()
}

/// The kernel counted what the clients saw. Gives the number of attempts that it did not:
/// since Linux 7.0 it can skip runs of the program that sees attempts begin and end, in a
/// summary that says how many, and never more than that.
pub(crate) fn ensure_counted(seen: &Seen, truth: &BTreeMap<String, u64>) -> Result<u64> {
    let counted = seen.outcomes();
    let differ = || format!("the clients saw {truth:?}, the kernel counted {counted:?}: {}", seen.summary);
    let is_too_much = counted.iter().any(|(outcome, count)| truth.get(outcome).is_none_or(|saw| count > saw));
    ensure!(!is_too_much, "{}", differ());
    let missing = truth.values().sum::<u64>() - counted.values().sum::<u64>();
    let may_miss = if release() < (7, 0) { 0 } else { seen.skipped_runs()? };
    ensure!(missing <= may_miss, "{}", differ());
    Ok(missing)
}

/// The outcome that a client's scenario promises, as the summary writes it.
pub(crate) fn outcome(attempt: &StormAttempt) -> Result<String> {
    let truth = Scenario::by_name(&attempt.scenario).context("no such scenario")?.truth();
    Ok(format!("{} {}", truth.label, truth.reason.unwrap_or("")).trim_end().to_owned())
}

/// What observer does meanwhile.
#[derive(PartialEq, Eq)]
enum Reader {
    /// It reads the ring buffer.
    Runs,
    /// It is stopped until all is over.
    Stands,
}

fn seed() -> u64 {
    std::env::var("OBSERVER_STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos())
    })
}

/// Fewer where the processor is emulated.
fn size() -> u32 {
    let asked = std::env::var("OBSERVER_STORM_ATTEMPTS").ok().and_then(|size| size.parse().ok());
    asked.unwrap_or(Storm::default().attempts)
}

fn run(args: &[&str], reader: Reader) -> Result<(Vec<StormAttempt>, Seen)> {
    let storm = Storm { seed: seed(), attempts: size(), ..Storm::default() };
    println!("storm of {} attempts, {args:?}: OBSERVER_STORM_SEED={}", storm.attempts, storm.seed);
    let lab = Lab::up(LabConfig::default())?;
    let watcher = Watcher::start(args)?;
    if reader == Reader::Stands {
        watcher.signal(Signal::STOP)?;
    }
    let attempts = lab.storm(storm)?;
    if reader == Reader::Stands {
        watcher.signal(Signal::CONT)?;
    } else {
        watcher.wait_for(attempts.len(), Duration::from_secs(30))?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let seen = watcher.stop()?;
    println!("{}", seen.summary);
    Ok((attempts, seen))
}

fn compare(attempts: &[StormAttempt], seen: &Seen) -> Vec<String> {
    let mut expected: HashMap<Key, Vec<&StormAttempt>> = HashMap::new();
    for attempt in attempts {
        let key = (
            u64::from(attempt.pid),
            attempt.src_ip.to_string(),
            u64::from(attempt.src_port),
            attempt.dst_ip.to_string(),
        );
        expected.entry(key).or_default().push(attempt);
    }
    let mut wrong = Vec::new();
    for event in &seen.events {
        let found = expected.get_mut(&key(event)).and_then(|same| {
            let nearest =
                same.iter().enumerate().min_by_key(|(_, attempt)| distance(attempt, event)).map(|(index, _)| index);
            nearest.map(|index| same.swap_remove(index))
        });
        match found {
            None => wrong.push(format!("an event of no attempt: {event}")),
            Some(attempt) => wrong.extend(difference(attempt, event).err().map(|error| format!("{error:#}"))),
        }
    }
    wrong.extend(expected.into_values().flatten().map(|attempt| format!("no event for {attempt:?}")));
    wrong
}

fn key(event: &Value) -> Key {
    let as_number = |pointer| number(event, pointer).unwrap_or(0.0) as u64;
    (as_number("/process/pid"), text(event, "/src/ip").into(), as_number("/src/port"), text(event, "/dst/ip").into())
}

/// How far apart in time an attempt and an event are: by how long they took,
/// for both clocks count from the same start.
fn distance(attempt: &StormAttempt, event: &Value) -> u64 {
    let observer_ns = text(event, "/id").rsplit('-').next().and_then(|id| id.split('.').next());
    let started = observer_ns.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    started.abs_diff(attempt.started_monotonic_ns)
}

fn difference(attempt: &StormAttempt, event: &Value) -> Result<()> {
    let truth = outcome(attempt)?;
    let seen = format!("{} {}", text(event, "/label"), text(event, "/reason"));
    ensure!(seen.trim_end() == truth, "{truth}: {attempt:?} was seen as {event}");
    Ok(())
}
