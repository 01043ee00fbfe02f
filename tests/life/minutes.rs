//! Minutes with more destinations than any queue holds records.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig, LifeTrial};
use serde_json::Value;

use crate::daemon::{Daemon, Place, wait};
use crate::sinks::{file_sink, write};

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "a minute of 20,000 destinations reaches every sink whole",
        name: "life_large_minute",
        trial: a_minute_of_many_destinations_reaches_every_sink,
    },
    LifeTrial {
        promise: "so does one that is cut short by the end of observer",
        name: "life_large_minute_cut",
        trial: a_minute_that_is_cut_short_reaches_every_sink,
    },
];

/// More than the 8,192 that fitted into a queue once, whatever their size.
const DESTINATIONS: u32 = 20_000;
/// A minute, on a busy machine.
const OVER_WITHIN: Duration = Duration::from_secs(180);

fn a_minute_of_many_destinations_reaches_every_sink() -> Result<()> {
    let place = Place::new()?;
    let daemon = flood(&place)?;
    // They come when the minute is over.
    wait(OVER_WITHIN, || is_whole(&place))
        .with_context(|| format!("{:?} attempts and destinations: {}", counted(&place), daemon.said()))?;
    let said = daemon.end()?;
    ensure!(!said.contains("queue full"), "{said}");
    Ok(())
}

fn a_minute_that_is_cut_short_reaches_every_sink() -> Result<()> {
    let place = Place::new()?;
    let said = flood(&place)?.end()?;
    ensure!(is_whole(&place)?, "{:?} attempts and destinations: {said}", counted(&place));
    ensure!(!said.contains("queue full"), "{said}");
    Ok(())
}

/// A daemon whose sink gets minutes, and a refused attempt to each destination.
fn flood(place: &Place) -> Result<Daemon> {
    write(place, &place.path("spool"), &file_sink(&place.path("minutes.json"), "['minutes']"))?;
    let daemon = Daemon::start(place)?;
    let lab = Lab::up(LabConfig::default())?;
    lab.client().inside(|| {
        for nth in 0..DESTINATIONS {
            let address = SocketAddr::new(Ipv4Addr::from_bits(0x7f01_0000 + nth).into(), observer_lab::port());
            ensure!(TcpStream::connect(address).is_err(), "something listens at {address}");
        }
        Ok(())
    })?;
    Ok(daemon)
}

fn is_whole(place: &Place) -> Result<bool> {
    Ok(counted(place)? == (DESTINATIONS.into(), DESTINATIONS as usize))
}

/// Attempts and destinations in the minutes that have come.
fn counted(place: &Place) -> Result<(u64, usize)> {
    // The last line may be on its way.
    let minutes: Vec<Value> =
        place.lines("minutes.json")?.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let attempts = minutes.iter().filter_map(|minute| minute["count"].as_u64()).sum();
    let destinations: BTreeSet<_> = minutes.iter().filter_map(|minute| minute["dst"]["ip"].as_str()).collect();
    Ok((attempts, destinations.len()))
}
