//! What `observer run` has recorded, against what the clients saw; a full disk;
//! the end by a signal.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use observer::store::history::{Entry, History, Question};
use observer_core::label::Label;
use observer_lab::{Lab, LabConfig, Scenario, Storm, port};
use rustix::process::{Pid, Signal, kill_process};

use crate::condition::Named;
use crate::watcher::{OBSERVER, Watcher, text};

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[
    ("history_signals", signals_end_it_with_everything_written),
    ("history_watch_record", watch_records_what_it_does_not_show),
    ("history_full_disk", a_full_disk_is_said_and_recovered_from),
    ("history_alert", a_failing_destination_is_told_and_recorded),
    ("history_storm", a_full_ring_loses_events_and_no_count),
];

/// A running `observer run` or `watch`.
pub(crate) struct Daemon {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts it and waits until it records or watches.
    pub(crate) fn start(args: &[&str], path: &Path) -> Result<Self> {
        let mut command = Command::new(OBSERVER);
        let (name, rest) = args.split_first().context("no subcommand")?;
        command.arg(name);
        if !rest.contains(&"--port") {
            command.args(["--port", &port().to_string()]);
        }
        if *name == "run" && !rest.contains(&"--socket") {
            command.args(["--socket-group", "0", "--socket"]).arg(path.with_extension("sock"));
        }
        Self::spawn(command, rest, path)
    }

    fn spawn(mut command: Command, args: &[&str], path: &Path) -> Result<Self> {
        let mut child =
            command.args(args).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut daemon = Self { child, stderr };
        let mut said = String::new();
        loop {
            let line = daemon.line()?;
            ensure!(!line.is_empty(), "it did not start: {said}");
            said += &line;
            if line.contains("ing outbound TCP connections") {
                return Ok(daemon);
            }
        }
    }

    /// The next line on stderr.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stderr.read_line(&mut line)?;
        Ok(line)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Ends it; returns what it still said, and how long it took.
    pub(crate) fn end(mut self, signal: Signal) -> Result<(String, Duration)> {
        let start = Instant::now();
        self.signal(signal)?;
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {said}");
        ensure!(said.contains(": balances"), "{said}");
        Ok((said, start.elapsed()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process itself did, as history has it.
fn own_attempts(path: &Path) -> Result<Vec<Entry>> {
    let mut own = Vec::new();
    History::open_read_only(path)?.attempts(&Question::default(), |entry| {
        if entry.process.as_ref().is_some_and(|process| process.pid == std::process::id()) {
            own.push(entry);
        }
        ControlFlow::Continue(())
    })?;
    Ok(own)
}

fn check(path: &Path) -> Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0))?;
    ensure!(verdict == "ok", "{verdict}");
    Ok(())
}

/// Refusals, and one session that goes well, in the last moment before the end.
fn signals_end_it_with_everything_written() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("observer/history.sqlite");
        let server = TcpListener::bind("127.0.0.1:0")?;
        let ports = format!("{},{}", port(), server.local_addr()?.port());
        let daemon = Daemon::start(&["run", "--port", &ports, "--history"], &path)?;
        for _ in 0..200 {
            ensure!(TcpStream::connect((Ipv4Addr::LOCALHOST, port())).is_err(), "something listens on port {}", port());
        }
        greet(&server)?;
        let (said, took) = daemon.end(signal)?;
        ensure!(took < Duration::from_secs(10), "the end took {took:?}");
        ensure!(said.contains(&format!("events recorded in {}, none dropped", path.display())), "{said}");
        let own = own_attempts(&path)?;
        let count = |label| own.iter().filter(|entry| entry.label == label).count();
        ensure!(count(Label::Refused) == 200 && count(Label::Connected) == 1, "{own:?}");
        check(&path)?;
    }
    Ok(())
}

/// One destination refuses, another works: that is told within ten seconds.
fn a_failing_destination_is_told_and_recorded() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("observer/history.sqlite");
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let watcher = Watcher::start(&["--port", &port.to_string(), "--alerts", "--successes"])?;
    let mut daemon = Daemon::start(&["run", "--port", &port.to_string(), "--history"], &path)?;
    for _ in 0..8 {
        ensure!(TcpStream::connect(("127.0.0.2", port)).is_err(), "something listens on 127.0.0.2");
        greet(&server)?;
    }
    let said = daemon.line()?;
    let sentence =
        format!("Fails for destination 127.0.0.2:{port} alone: 8 of 8 attempts failed in the last ten minutes");
    ensure!(said.contains(&sentence), "{said}");
    watcher.wait_for(17, Duration::from_secs(15))?;
    daemon.end(Signal::TERM)?;
    let connection = rusqlite::Connection::open(&path)?;
    let recorded: (String, String, String) =
        connection.query_row("SELECT change, scope, text FROM alert", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    ensure!(recorded.0 == "began" && recorded.1 == "destination" && recorded.2.contains(&sentence), "{recorded:?}");
    let seen = watcher.stop()?;
    let alerts: Vec<_> = seen.events.iter().filter(|event| text(event, "/schema") == "observer.alert.v1").collect();
    let [alert, end] = alerts[..] else { bail!("not an alert and its end: {alerts:?}") };
    ensure!(text(end, "/change") == "ended" && text(end, "/cause") == "observer-stopped", "{end}");
    ensure!(text(alert, "/ip") == "127.0.0.2" && text(alert, "/text").contains(&sentence), "{alert}");
    Ok(())
}

/// A session with a banner and an end in order.
fn greet(server: &TcpListener) -> Result<()> {
    use std::io::Write as _;
    let mut client = TcpStream::connect(server.local_addr()?)?;
    let (mut session, _) = server.accept()?;
    session.write_all(b"220 mx.example.net ESMTP\r\n")?;
    let mut banner = [0; 26];
    client.read_exact(&mut banner)?;
    Ok(())
}

fn watch_records_what_it_does_not_show() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("history.sqlite");
    let server = TcpListener::bind("127.0.0.1:0")?;
    let ports = format!("{},{}", port(), server.local_addr()?.port());
    let daemon = Daemon::start(&["watch", "--port", &ports, "--label", "timeout", "--record"], &path)?;
    ensure!(TcpStream::connect((Ipv4Addr::LOCALHOST, port())).is_err(), "something listens on port {}", port());
    greet(&server)?;
    let (said, _) = daemon.end(Signal::INT)?;
    ensure!(said.contains("none dropped"), "{said}");
    let labels: Vec<_> = own_attempts(&path)?.iter().map(|entry| entry.label).collect();
    ensure!(labels == [Label::Refused, Label::Connected], "{labels:?}");
    Ok(())
}

/// A file system of one megabyte, gone when this is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let options = std::ffi::CString::new("size=1m")?;
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", directory.path(), "tmpfs", flags, Some(options.as_c_str()))?;
        Ok(Self(directory))
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// Said once, recovered from without a restart, nothing damaged, and the counts
/// are the kernel's in the end.
fn a_full_disk_is_said_and_recovered_from() -> Result<()> {
    let small = Small::mount()?;
    let path = small.path().join("history.sqlite");
    let filler = small.path().join("filler");
    let mut daemon = Daemon::start(&["run", "--history"], &path)?;
    std::fs::write(&filler, vec![0; 700 << 10]).context("the filler")?;
    let mut refused = 0u64;
    let mut refuse = |count: u64| {
        (0..count).for_each(|_| drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port()))));
        refused += count;
    };
    // Some 350 bytes each, and as much again in the write-ahead log.
    refuse(3_000);
    let line = daemon.line()?;
    ensure!(line.contains("history is not written: ") && line.contains("free some space"), "{line}");
    refuse(100);
    std::fs::remove_file(&filler)?;
    // A megabyte does not hold it all: the size is the administrator's to choose.
    let line = daemon.line()?;
    ensure!(line.contains("history is written again after"), "{line}");
    let (said, took) = daemon.end(Signal::TERM)?;
    ensure!(took < Duration::from_secs(10), "the end took {took:?}");
    let mut counted = 0;
    let own: IpAddr = "127.0.0.1".parse()?;
    History::open_read_only(&path)?.destinations(&Question::default(), |group| {
        if group.destination.ip() == own {
            counted += group.outcomes.values().map(|tally| tally.count).sum::<u64>();
        }
        ControlFlow::Continue(())
    })?;
    ensure!(counted == refused, "{counted} counted, {refused} made: {said}");
    check(&path)
}

/// A tiny ring buffer that nobody reads: events are lost, and the counts for
/// each destination and source are still the clients' own.
fn a_full_ring_loses_events_and_no_count() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("history.sqlite");
    let lab = Lab::up(LabConfig::default())?;
    let daemon = Daemon::start(&["run", "--ring-size", "64K", "--history"], &path)?;
    daemon.signal(Signal::STOP)?;
    let attempts = lab.storm(Storm::default())?;
    daemon.signal(Signal::CONT)?;
    std::thread::sleep(Duration::from_millis(300));
    let (said, _) = daemon.end(Signal::TERM)?;
    println!("{said}");

    let mut truth: BTreeMap<(IpAddr, String), u64> = BTreeMap::new();
    let mut sources: BTreeMap<Option<IpAddr>, u64> = BTreeMap::new();
    for attempt in &attempts {
        let outcome = Scenario::by_name(&attempt.scenario).context("no such scenario")?.truth();
        *truth.entry((attempt.dst_ip, outcome.label.to_string())).or_default() += 1;
        *sources.entry(Some(attempt.src_ip)).or_default() += 1;
    }
    let history = History::open_read_only(&path)?;
    let mut found: BTreeMap<(IpAddr, String), u64> = BTreeMap::new();
    history.destinations(&Question::default(), |group| {
        for ((label, _), tally) in group.outcomes {
            *found.entry((group.destination.ip(), label.as_str().to_owned())).or_default() += tally.count;
        }
        ControlFlow::Continue(())
    })?;
    ensure!(found == truth, "the clients saw {truth:?}, history has {found:?}");
    let mut from: BTreeMap<Option<IpAddr>, u64> = BTreeMap::new();
    history.sources(&Question::default(), |group| {
        from.insert(group.source, group.outcomes.values().map(|tally| tally.count).sum());
        ControlFlow::Continue(())
    })?;
    ensure!(from == sources, "the clients had {sources:?}, history has {from:?}");
    let rows = history.attempts(&Question::default(), |_| ControlFlow::Continue(()))?;
    ensure!(rows < attempts.len() as u64, "the ring buffer held every event");
    let without = format!("; {} attempts counted without their event", attempts.len() as u64 - rows);
    ensure!(said.contains(&without), "no '{without}': {said}");
    println!("{} attempts, {rows} events, {} destinations and outcomes equal", attempts.len(), truth.len());
    check(&path)
}
