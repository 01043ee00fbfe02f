//! SIGHUP.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig};
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Place, free_port, id, wait};
use crate::rsyslog::{Input, Output, Rsyslog};

/// Sinks come, go and move to another receiver while attempts fail; a wrong
/// configuration changes nothing.
pub(crate) fn sinks_change_without_a_lost_event() -> Result<()> {
    let place = Place::new()?;
    let [first, second] = [free_port()?, free_port()?];
    let _first = Rsyslog::start(&place, "first", Input::Tcp(first), Output::Cee)?;
    let _second = Rsyslog::start(&place, "second", Input::Tcp(second), Output::Cee)?;
    let siem = |port: u16| {
        format!("[sink.siem]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{port}'\nformat = 'json'\n")
    };
    place.configure(&siem(first))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(2_000, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 2);
    std::thread::scope(|scope| -> Result<()> {
        let blasts = scope.spawn(|| (0..4).try_for_each(|_| blast().map(drop)));
        std::thread::sleep(Duration::from_millis(300));
        place.configure(&(siem(first) + "[sink.wrong]\ntype = 'syslog'\nadress = 'x'\n"))?;
        daemon.signal(Signal::HUP)?;
        daemon.wait_for("keeping the current one", Duration::from_secs(5))?;
        let said = daemon.said();
        ensure!(said.contains("did you mean \"address\"?"), "{said}");
        place.configure(&siem(second))?;
        daemon.signal(Signal::HUP)?;
        daemon.wait_for("configuration loaded again, 2 sinks", Duration::from_secs(5))?;
        blasts.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })?;
    // A file that somebody has renamed is opened anew.
    std::fs::rename(place.path("reference.json"), place.path("reference.1"))?;
    daemon.signal(Signal::HUP)?;
    let reloads = || Ok(daemon.said().matches("configuration loaded again").count() == 2);
    wait(Duration::from_secs(5), reloads).context("the second SIGHUP")?;
    // Whoever writes the file looks twice a second.
    std::thread::sleep(Duration::from_secs(1));
    blast()?;
    let events = |name: &str| -> Result<Vec<Value>> {
        let records = place.json(name)?.into_iter();
        Ok(records.filter(|record| record["schema"] == "observer.event.v1").collect())
    };
    let distinct = || -> Result<usize> {
        let mut ids: Vec<String> =
            [events("first.out")?, events("second.out")?].concat().iter().map(|event| id(event).to_owned()).collect();
        ids.sort();
        ids.dedup();
        Ok(ids.len())
    };
    wait(Duration::from_secs(30), || Ok(distinct()? == 10_000))
        .with_context(|| format!("{:?} of 10000", distinct()))?;
    ensure!(!events("second.out")?.is_empty(), "nothing went to the new receiver");
    daemon.end()?;
    let reference = events("reference.json")?.len() + events("reference.1")?.len();
    ensure!(reference == 10_000, "{reference} events in the renamed file and the new one, not 10000");
    ensure!(!events("reference.json")?.is_empty(), "the file was not opened anew");
    Ok(())
}
