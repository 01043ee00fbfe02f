//! A RST in the destination's name that the destination did not send.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_lab::{Case, Lab, LabConfig, Observation, Scenario, matrix, port};

use crate::matrix::Able;
use crate::watcher::{Watcher, number, text};

/// Handshakes before the refusal; observer wants three.
const HANDSHAKES: usize = 4;

/// A RST that comes faster than the destination ever answered is suspect; one
/// that takes as long as its handshakes is the destination's own. Successes need
/// not be shown for that.
pub(crate) fn a_forged_rst_is_suspect() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let Some(case) = matrix().into_iter().find(|case| case.scenario == Scenario::Success) else {
        anyhow::bail!("the matrix has no success");
    };
    let watcher = Watcher::start(&[])?;
    let accepted = lab.run(&[case; HANDSHAKES], port())?;
    ensure!(accepted.iter().all(|saw| saw.errno.is_none()), "not all were accepted: {accepted:?}");
    let destination = accepted[0].dst_ip;

    let middlebox = lab.intercept(destination)?;
    let forged = refused(&lab, case)?;
    drop(middlebox);
    lab.server().nft(&refusal(destination))?;
    let own = refused(&lab, case)?;

    watcher.wait_for(2, Duration::from_secs(30))?;
    let seen = watcher.stop()?;
    for (saw, origin) in [(forged, "suspected-middlebox"), (own, "remote")] {
        let event = seen.of(saw.pid)?;
        ensure!(text(event, "/origin") == origin, "not {origin}: {event}, {saw:?}");
    }
    Ok(())
}

/// A RST with another TTL than the destination has shown in a connection that
/// it had accepted is suspect, however long it took; without the hook that reads
/// TTLs it is not, and that evidence is named as missing.
pub(crate) fn a_rst_from_elsewhere_is_suspect() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let Some(case) = matrix().into_iter().find(|case| case.scenario == Scenario::ResetBeforeBanner) else {
        anyhow::bail!("the matrix has no reset");
    };
    let able = Able::of_this_kernel()?;
    let watcher = Watcher::start(&[])?;
    let accepted = lab.run(&[case], port())?.remove(0);
    ensure!(accepted.errno.as_deref() == Some("ECONNRESET"), "not reset: {accepted:?}");
    let destination = accepted.dst_ip;
    lab.server().nft(&refusal(destination))?;
    let own = refused(&lab, case)?;
    lab.router().nft(&format!(
        "table ip elsewhere {{
           chain on_the_way {{
             type filter hook forward priority 10
             ip saddr {destination} tcp flags & rst == rst ip ttl set 40
           }}
         }}\n"
    ))?;
    let forged = refused(&lab, case)?;
    watcher.wait_for(3, Duration::from_secs(30))?;
    let seen = watcher.stop()?;
    let suspect = if able.has_rst_ttl() { "suspected-middlebox" } else { "remote" };
    for (saw, origin, ttl) in [(&own, "remote", 63.0), (&forged, suspect, 40.0)] {
        let event = seen.of(saw.pid)?;
        ensure!(text(event, "/origin") == origin, "not {origin}: {event}, {saw:?}");
        let shown = number(event, "/evidence/rst_ttl");
        ensure!(shown == able.has_rst_ttl().then_some(ttl), "TTL {shown:?}, not {ttl}: {event}");
        ensure!(shown.is_some() || event.to_string().contains(r#""missing":["rst_ttl""#), "TTL not named: {event}");
    }
    Ok(())
}

fn refusal(destination: IpAddr) -> String {
    let port = port();
    format!(
        "table ip refuse {{
           chain in {{
             type filter hook input priority 0
             ip daddr {destination} tcp dport {port} reject with tcp reset
           }}
         }}\n"
    )
}

fn refused(lab: &Lab, case: Case) -> Result<Observation> {
    let saw = lab.run(&[case], port())?.remove(0);
    ensure!(saw.errno.as_deref() == Some("ECONNREFUSED"), "not refused: {saw:?}");
    Ok(saw)
}
