//! Alerts over the end of observer, in whatever way it ends.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Ip, Lab, LabConfig, LifeTrial, Mode, Scenario, destination};
use serde_json::Value;

use crate::daemon::{Daemon, Place, id, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "alerts that are open when observer stops are ended, with that cause",
        name: "life_alerts_stop",
        trial: alerts_end_when_observer_stops,
    },
    LifeTrial {
        promise: "alerts that a killed observer left open are ended by the next start, before any begins",
        name: "life_alerts_killed",
        trial: alerts_of_a_killed_observer_are_ended,
    },
];

/// Attempts to each destination: more than a verdict needs.
const ATTEMPTS: usize = 20;

/// The alerts on the destination that fails, as a sink has got them: change and cause.
fn alerts(place: &Place) -> Result<Vec<(String, String)>> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let failing = destination(Scenario::ClosedPort, Ip::V4).to_string();
    let records = place.json("reference.json")?;
    let mut ids: Vec<_> = records.iter().map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == records.len(), "an id came twice");
    let is_of_it = |record: &&Value| record["schema"] == "observer.alert.v1" && record["ip"] == *failing;
    Ok(records.iter().filter(is_of_it).map(|alert| (text(alert, "change"), text(alert, "cause"))).collect())
}

fn began() -> (String, String) {
    ("began".to_owned(), String::new())
}

fn stopped() -> (String, String) {
    ("ended".to_owned(), "observer-stopped".to_owned())
}

/// Connects to a destination that refuses, and to one that works, until an alert begins
/// beyond those that were there.
fn fail(lab: &Lab, daemon: &Daemon, place: &Place, before: usize) -> Result<()> {
    let case = |scenario| Case { scenario, family: Family::V4, mode: Mode::NonBlocking };
    lab.run(
        &[[case(Scenario::Success); ATTEMPTS], [case(Scenario::ClosedPort); ATTEMPTS]].concat(),
        observer_lab::port(),
    )?;
    let has_begun = || Ok(alerts(place)?.iter().skip(before).any(|alert| *alert == began()));
    wait(Duration::from_secs(60), has_begun)
        .with_context(|| format!("no alert began: {:?}, {}", alerts(place), daemon.said()))
}

fn alerts_end_when_observer_stops() -> Result<()> {
    let place = Place::new()?;
    place.configure("")?;
    let lab = Lab::up(LabConfig::default())?;
    let daemon = Daemon::start(&place)?;
    fail(&lab, &daemon, &place, 0)?;
    daemon.end()?;
    let found = alerts(&place)?;
    ensure!(found == [began(), stopped()], "{found:?}");
    // And it is over: the next start has nothing to end.
    let daemon = Daemon::start(&place)?;
    fail(&lab, &daemon, &place, found.len())?;
    let found = alerts(&place)?;
    ensure!(found[2..] == [began()], "{found:?}");
    daemon.end().map(drop)
}

fn alerts_of_a_killed_observer_are_ended() -> Result<()> {
    let place = Place::new()?;
    place.configure("")?;
    let lab = Lab::up(LabConfig::default())?;
    let daemon = Daemon::start(&place)?;
    fail(&lab, &daemon, &place, 0)?;
    daemon.kill()?;
    ensure!(alerts(&place)? == [began()], "{:?}", alerts(&place)?);
    let daemon = Daemon::start(&place)?;
    wait(Duration::from_secs(20), || Ok(alerts(&place)?.len() > 1))
        .with_context(|| format!("nothing ended it: {}", daemon.said()))?;
    ensure!(alerts(&place)?[1..] == [stopped()], "{:?}", alerts(&place)?);
    // It fails still, and so it begins again.
    fail(&lab, &daemon, &place, 2)?;
    daemon.end()?;
    let found = alerts(&place)?;
    ensure!(found[2..] == [began(), stopped()], "{found:?}");
    Ok(())
}
