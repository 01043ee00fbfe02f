//! A stream of NATS behind TLS, whose server dies in the middle of what it is sent, and
//! to which everything is sent once more.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig};

use crate::daemon::{Daemon, Place, free_port, id, wait};
use crate::delivery::{certificate_keys, issue_certificates};
use crate::nats::{Nats, Security};
use crate::receiver::{Receiver as _, distinct};
use crate::spooled::{of_sinks, spooled};

const BLAST: u32 = 2_000;
const BLASTS: u32 = 6;
/// Pauses between tries double up to a minute.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(90);

/// kill -9 of nats-server while messages come in, again and again; then the spool of an
/// earlier time again, as after a crash of the host: the stream has each event once.
pub(crate) fn a_stream_has_each_event_once() -> Result<()> {
    let place = Place::new()?;
    issue_certificates(&place)?;
    let (port, metrics) = (free_port()?, free_port()?);
    let mut nats = Nats::start(&place, port, Security::Tls)?;
    place.configure(&format!(
        "[metrics]\nlisten = '127.0.0.1:{metrics}'\n[sink.nats]\ntype = 'nats'\nservers = ['{}']\n{}",
        nats.url(),
        certificate_keys(&place)
    ))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(BLAST, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 2).map(drop);
    let mut killed_in_mid_stream = 0;
    for nth in 0..BLASTS {
        blast()?;
        let had = kill_while_busy(&mut nats, &daemon, nth * BLAST)?;
        killed_in_mid_stream += u32::from(had < u64::from((nth + 1) * BLAST));
    }
    ensure!(killed_in_mid_stream > 0, "the server had all each time that it was killed");
    let count = (BLAST * BLASTS) as usize;
    wait(CAUGHT_UP_WITHIN, || nats.has(&place, count))
        .with_context(|| format!("{:?}: {}", nats.count(), daemon.said()))?;
    // Nothing comes behind it.
    std::thread::sleep(Duration::from_secs(1));
    each_once(&nats, &place, count)?;
    send_again(&place, &mut nats, daemon, &lab, metrics)?;
    println!("{count} events, {killed_in_mid_stream} kills in mid-stream, {BLAST} more sent twice: each is there once");
    Ok(())
}

/// Ends the server when it has more than so many; how many it has when it is back.
fn kill_while_busy(nats: &mut Nats, daemon: &Daemon, had: u32) -> Result<u64> {
    wait(CAUGHT_UP_WITHIN, || Ok(nats.count()? > u64::from(had))).with_context(|| daemon.said())?;
    nats.kill()?;
    nats.restart()?;
    nats.count()
}

/// Delivers a spool, puts back what was in it before, and delivers that.
fn send_again(place: &Place, nats: &mut Nats, daemon: Daemon, lab: &Lab, metrics: u16) -> Result<()> {
    let before = nats.count()?;
    nats.kill()?;
    lab.blast(BLAST, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 2)?;
    daemon.wait_for("sink nats cannot deliver", Duration::from_secs(30))?;
    spooled(metrics).with_context(|| daemon.said())?;
    daemon.kill()?;
    copy(&place.path("spool"), &place.path("spool.before"))?;
    nats.restart()?;
    for _ in 0..2 {
        let daemon = Daemon::start(place)?;
        let delivered = || {
            let delivered = of_sinks(metrics, "observer_sink_messages_delivered_total")?;
            Ok(delivered.get("nats").is_some_and(|&count| count >= BLAST.into()))
        };
        wait(CAUGHT_UP_WITHIN, delivered).with_context(|| daemon.said())?;
        daemon.end()?;
        std::fs::remove_dir_all(place.path("spool"))?;
        copy(&place.path("spool.before"), &place.path("spool"))?;
    }
    each_once(nats, place, before as usize + BLAST as usize)
}

fn each_once(nats: &Nats, place: &Place, count: usize) -> Result<()> {
    let (sent, found, messages) = (nats.expected(place)?, nats.events(place)?, nats.messages()?);
    ensure!(sent.len() == count, "{} events, not {count}", sent.len());
    ensure!(
        found.len() == count,
        "the stream has {} events, {} of them distinct, not {count}",
        found.len(),
        distinct(&found)
    );
    ensure!(messages.iter().all(|message| message.id == id(&message.record)), "an id of a message is another event's");
    let (mut sent, mut found) = (sent, found);
    sent.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(sent == found, "the stream has other events than were sent");
    Ok(())
}

/// A directory with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
