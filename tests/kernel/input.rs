//! What a user can get wrong: one clear line that names the cause and
//! the cure, the right exit code, nothing left attached.

use std::fs::File;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::port;

use crate::condition::{Named, expect, nothing_is_attached};
use crate::watcher::OBSERVER;

/// Every trial of this file.
pub(crate) const TRIALS: &[Named] = &[
    ("input_usage", usage_is_refused_with_2),
    ("input_full_disk", a_full_disk_is_one_error),
    ("input_closed_pipe", a_closed_pipe_is_quiet),
    ("input_signals", signals_end_with_the_summary),
    ("input_starts_fast_and_light", starts_and_stays_light),
];

fn usage_is_refused_with_2() -> Result<()> {
    for (args, cause) in [
        (vec!["watch", "--no-such-flag"], "--no-such-flag"),
        (vec!["watch", "--destination", "203.0.113.0/33"], "203.0.113.0/33"),
        (vec!["watch", "--port", "0"], "65535"),
        (vec!["watch", "--port", "smtp"], "smtp"),
        (vec!["watch", "--label", "nonsense"], "nonsense"),
        (vec!["watch", "--duration=-3s"], "-3s"),
        (vec!["watch", "--ring-size", "5000"], "5000"),
        (vec!["whatever"], "whatever"),
    ] {
        let output = Command::new(OBSERVER).args(&args).output()?;
        expect(&output, 2, cause).with_context(|| format!("{args:?}"))?;
    }
    nothing_is_attached()
}

fn a_full_disk_is_one_error() -> Result<()> {
    let mut command = Command::new(OBSERVER);
    command.args(["watch", "--standalone", "--count", "1", "--duration", "5s", "--port", &port().to_string()]);
    let child = command.stdout(File::options().write(true).open("/dev/full")?).stderr(Stdio::piped()).spawn()?;
    refuse_until_ended(child).and_then(|output| expect(&output, 1, "No space left on device"))
}

fn a_closed_pipe_is_quiet() -> Result<()> {
    let mut command = Command::new(OBSERVER);
    let mut child = command
        .args(["watch", "--standalone", "--duration", "5s", "--port", &port().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = refuse_until_ended(child)?;
    expect(&output, 0, "ledger:")?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains("pipe"), "it was not quiet");
    Ok(())
}

fn signals_end_with_the_summary() -> Result<()> {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut command = Command::new(OBSERVER);
        let mut child = command.args(["watch", "--standalone"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut stderr = std::io::BufReader::new(child.stderr.take().context("no stderr")?);
        let mut text = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut text)?;
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)?;
        std::io::Read::read_to_string(&mut stderr, &mut text)?;
        let status = child.wait()?;
        ensure!(status.success() && text.contains("balances"), "{signal:?}: {status}: {text}");
    }
    nothing_is_attached()
}

/// Bounds with room for a debug build, a busy machine and an emulated processor, on which the
/// verifier of Linux 5.10 takes half of them; the benchmark has the figures.
fn starts_and_stays_light() -> Result<()> {
    let start = Instant::now();
    let watcher = crate::watcher::Watcher::start(&[])?;
    let took = start.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", watcher.pid()))?;
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
    println!("attached and watching after {took:?}, {rss}");
    watcher.stop()?;
    ensure!(took < Duration::from_secs(30), "attaching took {took:?}");
    Ok(())
}

/// Loopback refuses a connection now and then until the child ends.
fn refuse_until_ended(mut child: std::process::Child) -> Result<Output> {
    let deadline = Instant::now() + Duration::from_secs(45);
    while child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "observer did not end");
        let _ = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port()));
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(child.wait_with_output()?)
}
