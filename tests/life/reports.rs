//! What `observer report` says of what was recorded.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Lab, LabConfig, LifeTrial, Mode, Scenario, port};
use serde_json::Value;

use crate::daemon::{Daemon, Place, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[LifeTrial {
    promise: "a report says each scope once, and of several destinations that none fails alone",
    name: "life_report_once",
    trial: a_report_says_each_scope_once,
}];

const FAILURES: usize = 6;
const SUCCESSES: usize = 24;

fn a_report_says_each_scope_once() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let place = Place::new()?;
    let directory = place.directory().display().to_string();
    let port = port();
    let text = format!(
        "[watch]\nports = [{port}]\n[history]\npath = '{directory}/history.sqlite'\n[socket]\nenabled = false\n[spool]\n\
         directory = '{directory}/spool'\n"
    );
    std::fs::write(place.path("observer.toml"), text)?;
    let daemon = Daemon::start(&place)?;
    let case = |scenario, family| Case { scenario, family, mode: Mode::NonBlocking };
    let closed = [Family::V4, Family::V6].map(|family| case(Scenario::ClosedPort, family));
    let mut cases = closed.repeat(FAILURES);
    cases.extend([case(Scenario::Success, Family::V4); SUCCESSES]);
    let seen = lab.run(&cases, port)?;
    let report = |format: &str| -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.args(["report", "--format", format, "--history"]).arg(place.path("history.sqlite"));
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let all_are_there = || {
        let found: Value = serde_json::from_str(&report("json")?)?;
        Ok(found.pointer("/overview/attempts") == Some(&seen.len().into()))
    };
    wait(Duration::from_secs(20), all_are_there).context("history has not all attempts")?;
    daemon.end()?;
    let found: Value = serde_json::from_str(&report("json")?)?;
    let mut scopes: Vec<String> = Vec::new();
    for scope in found["scopes"].as_array().context("no scopes")? {
        scopes.push(format!("{} {} {}", scope["scope"], scope["ip"], scope["port"]));
        ensure!(scope.pointer("/longer/0/window").is_some_and(|window| window == "24h"), "{scope:#}");
    }
    scopes.sort();
    let count = scopes.len();
    scopes.dedup();
    ensure!((count, scopes.len()) == (2, 2), "{scopes:?}");
    for format in ["table", "html"] {
        let text = report(format)?.split_whitespace().collect::<Vec<_>>().join(" ");
        let failing = text.matches("Fails for").count();
        ensure!(failing == 1 && text.contains("Fails for 2 destinations in the last hour, and the last day"), "{text}");
        ensure!(!text.contains(" alone"), "{text}");
    }
    Ok(())
}
