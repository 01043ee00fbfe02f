//! observer itself, as it is measured.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A running `observer watch`. Killed on drop.
pub(crate) struct Watch {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// From the start of the process to the line that says that it watches.
    pub(crate) started_in: Duration,
}

impl Watch {
    /// Starts it, its events going to /dev/null as JSON, and waits until it
    /// watches.
    pub(crate) fn start(binary: &Path, arguments: &[&str]) -> Result<Self> {
        let start = Instant::now();
        let mut child = Command::new(binary)
            .args(["watch", "--format", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut stderr = BufReader::new(child.stderr.take().context("observer's stderr")?);
        let mut line = String::new();
        stderr.read_line(&mut line).context("read observer's stderr")?;
        let started_in = start.elapsed();
        ensure!(line.contains("watching"), "observer did not start: {line}");
        Ok(Self { child, stderr, started_in })
    }

    /// A line of /proc/PID/status in KiB, such as `VmRSS`.
    pub(crate) fn memory(&self, what: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.with_context(|| format!("no {what} in {path}"))
    }

    /// Ends it, and returns the two lines of its ledger.
    pub(crate) fn stop(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("stop observer")?;
        let mut summary = String::new();
        self.stderr.read_to_string(&mut summary).context("read observer's summary")?;
        self.child.wait().context("wait for observer")?;
        let lines = summary.lines().filter(|line| line.starts_with("ledger:") || line.starts_with("events:"));
        Ok(lines.collect::<Vec<_>>().join("; "))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
