//! `observer diagnose --live`: a capture instead of a history.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Lab, LabConfig, Mode, Scenario, port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::condition::nothing_is_attached;
use crate::watcher::OBSERVER;

const ATTEMPTS: usize = 5;
/// Longer than the attempts take on any machine; the capture is ended once they are made.
const CAPTURED: &str = "120s";

pub(crate) fn what_is_captured_is_diagnosed() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let case = |scenario| Case { scenario, family: Family::V4, mode: Mode::NonBlocking };
    let prohibited = Scenario::Icmp(observer_lab::Unreachable::AdminProhibited, observer_lab::Hop::Router);
    let target = case(prohibited).destination().to_string();
    let mut observer = Command::new(OBSERVER)
        .args(["diagnose", &target, "--live", CAPTURED, "--standalone", "--json", "--port", &port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(observer.stderr.take().context("no stderr")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line.contains("capturing"), "{line}");
    lab.run(&[[case(prohibited); ATTEMPTS], [case(Scenario::Success); ATTEMPTS]].concat(), port())?;
    kill_process(Pid::from_child(&observer), Signal::INT)?;
    said.read_to_string(&mut line)?;
    let output = observer.wait_with_output()?;
    ensure!(output.status.success(), "{}: {line}", output.status);
    let diagnosis: Value = serde_json::from_slice(&output.stdout).context("no JSON")?;
    let first = diagnosis.pointer("/causes/0/cause").and_then(Value::as_str);
    ensure!(first == Some("remote-firewall-rejects"), "{diagnosis:#}");
    ensure!(diagnosis["attempts"]["attempts"] == ATTEMPTS, "{diagnosis:#}");
    nothing_is_attached()
}
