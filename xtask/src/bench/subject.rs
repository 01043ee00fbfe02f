//! observer itself, as it is measured.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A running observer that attaches. Killed on drop.
pub(crate) struct Watch {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// From the start of the process to the line that says that it is attached.
    pub(crate) started_in: Duration,
}

/// What is typed for [`Watch::start`].
pub(crate) fn command(arguments: &[&str]) -> String {
    let mut line = String::from("observer watch --format json");
    for argument in arguments {
        line += &format!(" {argument}");
    }
    line + " >/dev/null"
}

impl Watch {
    /// Starts it, its events going to /dev/null as JSON, and waits until it
    /// watches.
    pub(crate) fn start(binary: &Path, arguments: &[&str]) -> Result<Self> {
        Self::spawn(binary, &[&["watch", "--standalone", "--format", "json"], arguments].concat())
    }

    /// Starts observer with these arguments, and waits until it is attached.
    pub(crate) fn spawn(binary: &Path, arguments: &[&str]) -> Result<Self> {
        let start = Instant::now();
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let stderr = BufReader::new(child.stderr.take().context("observer's stderr")?);
        let mut watch = Self { child, stderr, started_in: Duration::ZERO };
        let mut line = String::new();
        watch.stderr.read_line(&mut line).context("read observer's stderr")?;
        watch.started_in = start.elapsed();
        ensure!(line.contains("outbound TCP connections"), "observer did not start: {}", line.trim());
        Ok(watch)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines of /proc/PID/status, such as `VmRSS`, in MB.
    pub(crate) fn memory<const N: usize>(&self, names: [&str; N]) -> Result<[f64; N]> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let mut sizes = [0.0; N];
        for (size, name) in sizes.iter_mut().zip(names) {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
            *size = f64::from(kib.with_context(|| format!("no {name} in {path}"))?) * 1024.0 / 1e6;
        }
        Ok(sizes)
    }

    /// Ends it, and returns what its closing summary says.
    pub(crate) fn stop(mut self) -> Result<Ledger> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("stop observer")?;
        let mut summary = String::new();
        self.stderr.read_to_string(&mut summary).context("read observer's summary")?;
        let status = self.child.wait().context("wait for observer")?;
        ensure!(status.success(), "observer ended with {status}: {summary}");
        Ledger::read(&summary).with_context(|| format!("observer's summary is not understood: {summary}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The closing summary's account of attempts and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    attempts: u64,
    in_flight: u64,
    lost: u64,
    delivered: u64,
    events_lost: u64,
    is_balanced: bool,
    lines: String,
}

impl Ledger {
    fn read(summary: &str) -> Option<Self> {
        let line = |start| summary.lines().find(|line| line.starts_with(start));
        let (ledger, events) = (line("ledger: ")?, line("events: ")?);
        Some(Self {
            attempts: after(ledger, "attempts")?,
            in_flight: after(ledger, "in flight")?,
            lost: after(ledger, "lost")?,
            delivered: after(events, "events:")?,
            events_lost: after(events, "delivered,")?,
            is_balanced: ledger.contains(": balances"),
            lines: format!("{ledger}; {events}"),
        })
    }

    /// What is wrong with it after `ended` attempts that ended, and `in_flight`
    /// that did not. Other attempts of this host may have been seen too.
    pub(crate) fn fault(&self, ended: u64, in_flight: u64) -> Option<String> {
        let is_whole = self.is_balanced
            && self.lost == 0
            && self.events_lost == 0
            && self.delivered >= ended
            && self.in_flight >= in_flight
            && self.attempts >= ended + in_flight;
        (!is_whole).then(|| format!("of {ended} attempts that ended and {in_flight} in flight, observer says: {self}"))
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines)
    }
}

/// The number that follows a word.
fn after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\nledger: attempts 12 = outcomes 9 + in flight 3 + lost 0: balances\n\
        events: 9 delivered, 0 lost; handshakes completed: 0\n";

    #[test]
    fn a_whole_ledger_has_no_fault() {
        let ledger = Ledger::read(SUMMARY).unwrap();
        assert_eq!(ledger.fault(9, 3), None);
        assert!(ledger.fault(10, 2).is_some(), "an event is missing");
        assert!(ledger.fault(8, 4).is_some(), "one in flight is missing");
        let limited = SUMMARY.replace("balances", "balances, without what cannot be seen");
        assert_eq!(Ledger::read(&limited).unwrap().fault(9, 3), None);
    }

    #[test]
    fn whatever_is_lost_is_a_fault() {
        for (whole, broken) in [
            ("0 lost;", "1 lost (ring buffer full 1);"),
            ("lost 0:", "lost 1 (skipped 1):"),
            (": balances", ": DOES NOT BALANCE by 1"),
        ] {
            let ledger = Ledger::read(&SUMMARY.replace(whole, broken)).unwrap();
            assert!(ledger.fault(1, 1).is_some(), "{broken}");
        }
        assert!(Ledger::read("observer: cannot attach").is_none());
    }
}
