//! Readers of one `observer run`, against the clients' own account.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, Storm};
use rustix::process::Signal;

use crate::condition::{Named, expect, nothing_is_attached, one_line, reachable};
use crate::history::Daemon;
use crate::watcher::{Seen, Watcher};

/// Trials for every host.
pub(crate) const TRIALS: &[Named] = &[
    ("readers_storm", every_reader_sees_every_attempt_and_a_slow_one_loses_its_own),
    ("readers_refused", whoever_is_not_in_the_group_is_refused),
];

/// A group that owns nothing else.
const GROUP: u32 = 61_234;
const ATTEMPTS: usize = 12_000;

/// A user without privileges, in this group alone: std drops root's other ones.
fn member_of(binary: &Path, group: u32) -> Command {
    let mut command = Command::new(binary);
    command.uid(65_534).gid(group);
    command
}

struct Run {
    daemon: Daemon,
    socket: String,
    directory: tempfile::TempDir,
}

fn run() -> Result<Run> {
    let directory = tempfile::tempdir()?;
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let socket = directory.path().join("socket/observer.sock").to_str().context("no UTF-8")?.to_owned();
    let group = GROUP.to_string();
    let args = ["run", "--socket", &socket, "--socket-group", &group, "--history"];
    let daemon = Daemon::start(&args, &directory.path().join("history/history.sqlite"))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !Path::new(&socket).exists() {
        ensure!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Run { daemon, socket, directory })
}

fn ensure_complete(seen: &Seen, attempts: usize) -> Result<()> {
    ensure!(seen.events.len() == attempts, "{} events of {attempts} attempts: {}", seen.events.len(), seen.summary);
    ensure!(seen.number("attempts")? == attempts as u64, "{}", seen.summary);
    seen.ensure_balanced()
}

fn every_reader_sees_every_attempt_and_a_slow_one_loses_its_own() -> Result<()> {
    let binary = reachable()?;
    let lab = Lab::up(LabConfig::default())?;
    let Run { daemon, socket, directory } = run()?;
    let member = || Watcher::read_as(member_of(&binary, GROUP), &socket, &["--successes"]);
    let (first, second, slow) = (member()?, member()?, member()?);
    slow.signal(Signal::STOP)?;
    let mut attempts = 0;
    while attempts < 3 * ATTEMPTS {
        attempts += lab.storm(Storm { attempts: ATTEMPTS as _, ..Storm::default() })?.len();
    }
    for reader in [&first, &second] {
        reader.wait_for(attempts, Duration::from_secs(30))?;
    }
    slow.signal(Signal::CONT)?;
    std::thread::sleep(Duration::from_secs(1));
    let slow = slow.stop()?;
    for reader in [first, second] {
        ensure_complete(&reader.stop()?, attempts)?;
    }
    let lost = attempts - slow.events.len();
    ensure!(lost > 0, "a reader that stood lost nothing of {attempts}");
    ensure!(slow.number("attempts")? == attempts as u64, "{}", slow.summary);
    ensure!(slow.line("events:")?.contains(&format!("this reader was too slow {lost}")), "{lost}: {}", slow.summary);
    ensure!(slow.summary.contains("were not read fast enough"), "it was not told: {}", slow.summary);
    slow.ensure_balanced()?;
    let (said, took) = daemon.end(Signal::TERM)?;
    ensure!(took < Duration::from_secs(10), "the end took {took:?}");
    ensure!(said.contains(&format!("{attempts} events recorded")), "{said}");
    ensure!(!Path::new(&socket).exists(), "the socket is left");
    drop(directory);
    nothing_is_attached()
}

fn whoever_is_not_in_the_group_is_refused() -> Result<()> {
    let binary = reachable()?;
    let Run { daemon, socket, directory: _directory } = run()?;
    let args = ["watch", "--socket", &socket, "--duration", "1s"];
    let output = member_of(&binary, 65_534).args(args).output()?;
    expect(&output, 77, "join the socket's group")?;
    one_line(&output)?;
    let port = member_of(&binary, GROUP).args(args).args(["--port", "587"]).output()?;
    expect(&port, 2, "--standalone")?;
    let record = member_of(&binary, GROUP).args(args).args(["--record", "/tmp/none"]).output()?;
    expect(&record, 2, "--standalone")?;
    let report = ["report", "--socket", &socket, "--live", "1s", "--format", "json"];
    expect(&member_of(&binary, GROUP).args(report).output()?, 0, "as observer run sees it")?;
    let mut reader = member_of(&binary, GROUP);
    let reader = reader
        .args(["watch", "--socket", &socket])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(500));
    let (_, took) = daemon.end(Signal::TERM)?;
    ensure!(took < Duration::from_secs(10), "the end took {took:?}");
    let output = reader.wait_with_output()?;
    expect(&output, 1, "observer run has ended")?;
    expect(&output, 1, ": balances")
}
