//! A RST in the destination's name that the destination did not send.

use std::time::Duration;

use anyhow::{Result, ensure};
use observer_lab::{Case, Lab, LabConfig, Observation, Scenario, matrix};

use crate::watcher::{Watcher, text};

const PORT: u16 = 25;
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
    let accepted = lab.run(&[case; HANDSHAKES], PORT)?;
    ensure!(accepted.iter().all(|saw| saw.errno.is_none()), "not all were accepted: {accepted:?}");
    let destination = accepted[0].dst_ip;

    let middlebox = lab.intercept(destination)?;
    let forged = refused(&lab, case)?;
    drop(middlebox);
    lab.server().nft(&format!(
        "table ip refuse {{
           chain in {{
             type filter hook input priority 0
             ip daddr {destination} tcp dport {PORT} reject with tcp reset
           }}
         }}\n"
    ))?;
    let own = refused(&lab, case)?;

    watcher.wait_for(2, Duration::from_secs(5))?;
    let seen = watcher.stop()?;
    for (saw, origin) in [(forged, "suspected-middlebox"), (own, "remote")] {
        let mut of_client = seen.events.iter().filter(|event| event["process"]["pid"] == saw.pid);
        let event = of_client.next();
        ensure!(event.is_some_and(|event| text(event, "/origin") == origin), "not {origin}: {event:?}, {saw:?}");
    }
    Ok(())
}

fn refused(lab: &Lab, case: Case) -> Result<Observation> {
    let saw = lab.run(&[case], PORT)?.remove(0);
    ensure!(saw.errno.as_deref() == Some("ECONNREFUSED"), "not refused: {saw:?}");
    Ok(saw)
}
