//! Attempts that nobody answers, for as long as the kernel and mail servers really
//! wait for them. Takes two minutes a trial where idle time is not skipped.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Lab, LabConfig, Mode, Observation, Pace, Scenario, port};

use crate::condition::Named;
use crate::matrix::{Able, differences};
use crate::watcher::{Seen, Watcher, number, text};

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] =
    &[("patience_of_this_kernel", as_this_kernel_waits), ("patience_doubling", as_kernels_before_6_5_wait)];

const SCENARIOS: [Scenario; 3] = [Scenario::DropTimeout, Scenario::DropAbandoned, Scenario::DropAbandonedLate];

/// Between what the client saw and what observer says, of 131 s too: several
/// clients are woken at once, and the machine's only processor is emulated.
const NEAR_MS: f64 = 50.0;

/// The kernel's timers may be late by an eighth, which is why a blocking connect()
/// with a limit of 30 s may last 31.
const LATE: f64 = 1.125;

/// Since Linux 6.5 the first SYNs are a second apart.
fn as_this_kernel_waits() -> Result<()> {
    wait_for_nobody(sysctl("tcp_syn_linear_timeouts").unwrap_or(0))
}

/// Each wait is twice the one before, from the first.
fn as_kernels_before_6_5_wait() -> Result<()> {
    wait_for_nobody(0)
}

fn wait_for_nobody(linear: u32) -> Result<()> {
    let schedule = Schedule { linear, retries: sysctl("tcp_syn_retries").context("no tcp_syn_retries")? };
    let lab = Lab::up(LabConfig::default())?;
    lab.client().sysctl(&[("?ipv4/tcp_syn_linear_timeouts", &linear.to_string())])?;
    let able = Able::of_this_kernel()?;
    let cases: Vec<Case> = SCENARIOS.into_iter().flat_map(in_every_way).collect();
    let watcher = Watcher::start(&[])?;
    let observations = lab.run_at(Pace::Real, &cases, port())?;
    watcher.wait_for(cases.len(), Duration::from_secs(30))?;
    let seen = watcher.stop()?;
    println!("\n{:<38} {:>12} {:>12}  SYNs resent", "truth", "client, s", "observer, s");
    let mut wrong = Vec::new();
    for (case, saw) in cases.iter().zip(&observations) {
        if let Some(complaint) = judge(case, saw, &seen, &able, &schedule)? {
            wrong.push(complaint);
        }
    }
    ensure!(seen.events.len() == cases.len(), "{} events of {} attempts", seen.events.len(), cases.len());
    println!("{}", seen.line("ledger:")?);
    seen.ensure_balanced()?;
    ensure!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    println!("{} of {} cases right", cases.len(), cases.len());
    Ok(())
}

fn in_every_way(scenario: Scenario) -> impl Iterator<Item = Case> {
    [Family::V4, Family::V6, Family::Mapped].into_iter().flat_map(move |family| {
        [Mode::Blocking, Mode::NonBlocking, Mode::IoUring].map(|mode| Case { scenario, family, mode })
    })
}

/// What is wrong with a case, if anything.
fn judge(case: &Case, saw: &Observation, seen: &Seen, able: &Able<'_>, schedule: &Schedule) -> Result<Option<String>> {
    let event = seen.of(saw.pid)?;
    let client = saw.elapsed_ns as f64 / 1e6;
    let elapsed = number(event, "/elapsed_ms").unwrap_or(f64::NAN);
    let resent = saw.retransmits.with_context(|| format!("{}: the client did not see retransmits", case.name()))?;
    println!("{:<38} {:>12.3} {:>12.3}  {resent}", case.name(), client / 1e3, elapsed / 1e3);
    schedule.ensure_kept(case, resent, client / 1e3)?;
    let mut wrong = differences(case, &case.scenario.truth(), saw, event, able);
    if (elapsed - client).abs() > NEAR_MS || elapsed.is_nan() {
        wrong.push(format!("elapsed {elapsed} ms, the client saw {client:.3} ms"));
    }
    if text(event, "/errno") != saw.errno.as_deref().unwrap_or("") {
        wrong.push(format!("errno {:?}, the client saw {:?}", text(event, "/errno"), saw.errno));
    }
    Ok((!wrong.is_empty()).then(|| format!("{}: {}\n    {event}\n    {saw:?}", case.name(), wrong.join("; "))))
}

/// When the kernel sends a SYN again: after a second, and that `linear` times
/// more, then after twice as long each time.
struct Schedule {
    linear: u32,
    retries: u32,
}

impl Schedule {
    /// Seconds from the first SYN to the end of each wait; the last ends the attempt.
    fn waits(&self) -> impl Iterator<Item = u32> {
        let doublings = |wait: u32| wait.saturating_sub(self.linear);
        (0..=self.retries + self.linear).scan(0, move |at, wait| {
            *at += 1 << doublings(wait);
            Some(*at)
        })
    }

    /// Fails unless the client saw what the kernel is documented to do: otherwise
    /// the trial would prove something else.
    fn ensure_kept(&self, case: &Case, resent: u32, seconds: f64) -> Result<()> {
        let end = self.waits().last().unwrap_or(0);
        let patience = case.patience(Pace::Real).map(|patience| patience.as_secs_f64());
        let (name, nominal) = (case.name(), patience.unwrap_or(f64::from(end)));
        let before = |seconds: f64| self.waits().filter(|&at| at < end && f64::from(at) < seconds).count();
        let expected = before(seconds / LATE)..=before(seconds);
        ensure!(expected.contains(&(resent as usize)), "{name}: {resent} SYNs were resent, not {expected:?}");
        ensure!((nominal..nominal * LATE).contains(&seconds), "{name}: it took {seconds} s, not {nominal}");
        Ok(())
    }
}

fn sysctl(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?.trim().parse().ok()
}
