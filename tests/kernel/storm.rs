//! Thousands of attempts at once.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, Scenario, Storm, StormAttempt};
use serde_json::Value;

use crate::watcher::{Seen, Watcher, number, text};

/// An attempt's identity as both sides know it; ports are reused, so one key
/// can have several attempts.
type Key = (u64, String, u64, String);

/// Every attempt gets exactly one outcome, equal to what its own client saw, and
/// the ledger balances to the attempt.
pub(crate) fn every_attempt_has_one_outcome() -> Result<()> {
    let storm = Storm { seed: seed(), ..Storm::default() };
    let (attempts, seen) = run(&storm, &["--successes"])?;
    let wrong = compare(&attempts, &seen);
    ensure!(
        wrong.is_empty(),
        "{} attempts differ, the first ten:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    ensure!(seen.number("attempts")? == attempts.len() as u64, "attempts: {}", seen.line("ledger:")?);
    ensure!(seen.number("outcomes")? == attempts.len() as u64, "outcomes: {}", seen.line("ledger:")?);
    seen.ensure_balanced()
}

/// A tiny ring buffer and a tiny table: what is lost is counted by cause, and
/// what is counted stays exact.
pub(crate) fn losses_are_counted_by_cause() -> Result<()> {
    let storm = Storm { seed: seed(), ..Storm::default() };
    let (attempts, seen) = run(&storm, &["--successes", "--ring-size", "64K", "--max-in-flight", "64"])?;
    let ledger = seen.line("ledger:")?;
    ensure!(seen.number("attempts")? == attempts.len() as u64, "attempts are not exact: {ledger}");
    ensure!(seen.number("lost")? > 0, "a table of 64 lost nothing: {ledger}");
    ensure!(ledger.contains("attempt table full"), "a loss without its cause: {ledger}");
    let delivered = seen.events.len() as u64;
    let outcomes = seen.number("outcomes")?;
    let events_lost = outcomes - delivered;
    ensure!(events_lost == 0 || seen.line("events:")?.contains("ring buffer full"), "{}", seen.line("events:")?);
    seen.ensure_balanced()
}

fn seed() -> u64 {
    std::env::var("OBSERVER_STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos())
    })
}

fn run(storm: &Storm, args: &[&str]) -> Result<(Vec<StormAttempt>, Seen)> {
    println!("storm of {} attempts: OBSERVER_STORM_SEED={}", storm.attempts, storm.seed);
    let lab = Lab::up(LabConfig::default())?;
    let watcher = Watcher::start(args)?;
    let attempts = lab.storm(storm.clone())?;
    watcher.wait_for(attempts.len(), Duration::from_secs(3))?;
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
    let truth = Scenario::by_name(&attempt.scenario).context("no such scenario")?.truth();
    let is_same = text(event, "/label") == truth.label && text(event, "/reason") == truth.reason.unwrap_or("");
    ensure!(is_same, "{} {}: {attempt:?} was seen as {event}", truth.label, truth.reason.unwrap_or(""));
    Ok(())
}
