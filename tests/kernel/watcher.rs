//! `observer watch` as a child process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

/// The binary under test.
pub(crate) const OBSERVER: &str = env!("CARGO_BIN_EXE_observer");

/// A running `observer watch --format json`.
pub(crate) struct Watcher {
    child: Child,
    stderr: BufReader<ChildStderr>,
    stdout: NamedTempFile,
}

/// What it wrote.
pub(crate) struct Seen {
    /// Its events.
    pub(crate) events: Vec<Value>,
    /// Its closing summary.
    pub(crate) summary: String,
}

impl Watcher {
    /// Starts it with these arguments and waits until it watches.
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        Self::start_as(Command::new(OBSERVER), args)
    }

    /// As [`Watcher::start_as`], reading from the `observer run` that listens there.
    pub(crate) fn read_as(observer: Command, socket: &str, args: &[&str]) -> Result<Self> {
        Self::spawn(observer, &[&["--socket", socket], args].concat())
    }

    /// As [`Watcher::start`], by a command that becomes observer.
    pub(crate) fn start_as(observer: Command, args: &[&str]) -> Result<Self> {
        let port = observer_lab::port().to_string();
        let of_port = if args.contains(&"--port") { vec![] } else { vec!["--port", &port] };
        Self::spawn(observer, &[&["--standalone"], &of_port[..], args].concat())
    }

    fn spawn(mut observer: Command, args: &[&str]) -> Result<Self> {
        let stdout = NamedTempFile::new()?;
        let mut child = observer
            .args(["watch", "--format", "json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::options().write(true).open(stdout.path())?)
            .stderr(Stdio::piped())
            .spawn()
            .context(OBSERVER)?;
        let mut stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut line = String::new();
        stderr.read_line(&mut line)?;
        if !line.contains("watching") {
            let _ = child.kill();
            bail!("observer did not start: {line}");
        }
        Ok(Self { child, stderr, stdout })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops reading, or goes on.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }

    /// Waits until that many events are written, or the time is over: a count
    /// that never comes is the caller's to find out.
    pub(crate) fn wait_for(&self, events: usize, at_most: Duration) -> Result<()> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            let lines = std::fs::read(self.stdout.path())?.iter().filter(|&&byte| byte == b'\n').count();
            if lines >= events {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Ends it with SIGINT.
    pub(crate) fn stop(mut self) -> Result<Seen> {
        self.signal(rustix::process::Signal::INT)?;
        let mut summary = String::new();
        self.stderr.read_to_string(&mut summary)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "observer ended with {status}: {summary}");
        let text = std::fs::read_to_string(self.stdout.path())?;
        let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Seen { events: events.context("an event is no JSON")?, summary })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// The only event of a process.
    pub(crate) fn of(&self, pid: u32) -> Result<&Value> {
        let mut events = self.events.iter().filter(|event| number(event, "/process/pid") == Some(f64::from(pid)));
        let event = events.next().with_context(|| format!("no event of process {pid}"))?;
        ensure!(events.next().is_none(), "more than one event of process {pid}");
        Ok(event)
    }

    /// Fails unless the summary's ledger balances.
    pub(crate) fn ensure_balanced(&self) -> Result<()> {
        let ledger = self.line("ledger:")?;
        ensure!(ledger.contains("balances") && !ledger.contains("NOT"), "{ledger}");
        Ok(())
    }

    /// The number behind a word of the ledger, as in `attempts 10000`.
    pub(crate) fn number(&self, word: &str) -> Result<u64> {
        let ledger = self.line("ledger:")?;
        let mut words = ledger.split_whitespace().skip_while(|&found| found != word);
        let number = words.nth(1).with_context(|| format!("no number behind '{word}': {ledger}"))?;
        number.trim_matches(|c: char| !c.is_ascii_digit()).parse().with_context(|| format!("{word} {number}: {ledger}"))
    }

    /// The summary's count of each outcome, as `label reason`.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, u64> {
        let rows = self.summary.lines().skip_while(|line| !line.starts_with("outcome ")).skip(1);
        let mut label = "";
        let mut outcomes = BTreeMap::new();
        for row in rows.take_while(|row| !row.is_empty()) {
            let mut words = row.split_whitespace();
            if !row.starts_with(' ') {
                label = words.next().unwrap_or("");
            }
            let rest: Vec<&str> = words.collect();
            let (reason, count) = match rest[..] {
                [reason, count, _] => (reason, count),
                [count, _] => ("", count),
                _ => continue,
            };
            outcomes.insert(format!("{label} {reason}").trim_end().to_owned(), count.parse().unwrap_or(0));
        }
        outcomes
    }

    /// Runs of kernel programs that the kernel skipped, as the summary says.
    pub(crate) fn skipped_runs(&self) -> Result<u64> {
        let Some((_, said)) = self.summary.split_once("kernel program runs skipped by the kernel: ") else {
            return Ok(0);
        };
        let number = said.split_whitespace().next().unwrap_or("");
        number.replace(',', "").parse().with_context(|| format!("{number}: {}", self.summary))
    }

    /// The line of the summary that begins so.
    pub(crate) fn line(&self, start: &str) -> Result<&str> {
        let mut lines = self.summary.lines();
        lines.find(|line| line.starts_with(start)).with_context(|| format!("no line '{start}' in: {}", self.summary))
    }
}

/// A string member of an event, such as `/dst/ip`; empty if there is none.
pub(crate) fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// A number of an event; `None` if there is none.
pub(crate) fn number(event: &Value, pointer: &str) -> Option<f64> {
    event.pointer(pointer).and_then(Value::as_f64)
}
