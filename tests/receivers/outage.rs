//! Receivers that go away, connections that break, and an observer that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig};
use serde_json::Value;

use crate::certificates::Authority;
use crate::cutter::Cutter;
use crate::daemon::{Daemon, Place, free_port, id, wait};
use crate::nats::Nats;
use crate::rsyslog::{Input, Output, Rsyslog};

/// Refused connections of one blast, and blasts.
const BLAST: u32 = 1_000;
const BLASTS: u32 = 20;
/// How long the receivers are away.
const AWAY: Duration = Duration::from_secs(60);
/// The longest pause between two tries, and then the work.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// 20,000 events; every receiver is killed after a quarter of them and comes back a
/// minute later; observer is killed and started again meanwhile; and one receiver is
/// behind a relay that cuts connections in mid-record.
pub(crate) fn nothing_is_lost_by_an_outage() -> Result<()> {
    let place = Place::new()?;
    let authority = Authority::new(place.directory())?;
    authority.issue("server", false)?;
    authority.issue("client", false)?;
    let [tcp, cut, tls, nats] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let mut receivers = [
        Rsyslog::start(&place, "unix", Input::Unix, Output::Cee)?,
        Rsyslog::start(&place, "tcp", Input::Tcp(tcp), Output::Cee)?,
        Rsyslog::start(&place, "cut", Input::Tcp(cut), Output::Cee)?,
        Rsyslog::start(&place, "tls", Input::Tls(tls), Output::Cee)?,
    ];
    let cutter = Cutter::start(cut, 5, 50_000)?;
    let mut nats = Nats::start(&place, nats)?;
    let here = place.directory().display();
    place.configure(&format!(
        "[sink.unix]\ntype = 'syslog'\naddress = '{here}/unix.sock'\nformat = 'json'\n\
         [sink.tcp]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{tcp}'\nformat = 'json'\n\
         [sink.cut]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{}'\nformat = 'json'\n\
         [sink.tls]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'localhost:{tls}'\nformat = 'json'\n\
         tls_ca = '{here}/ca.pem'\ntls_cert = '{here}/client.pem'\ntls_key = '{here}/client.key'\n\
         [sink.nats]\ntype = 'nats'\nservers = ['{}']\n",
        cutter.port,
        nats.url()
    ))?;
    let mut daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(BLAST, Ipv4Addr::LOCALHOST.into(), 25, 2).map(drop);
    let (mut away_since, mut is_back) = (None, false);
    for nth in 0..BLASTS {
        blast()?;
        // The ring buffer holds some ten of them.
        let written = || Ok(place.lines("reference.json")?.len() >= ((nth + 1) * BLAST) as usize);
        wait(Duration::from_secs(20), written).with_context(|| format!("blast {nth}: {}", daemon.said()))?;
        if nth == BLASTS / 4 {
            receivers.iter_mut().try_for_each(Rsyslog::kill)?;
            nats.kill()?;
            away_since = Some(Instant::now());
        }
        if nth == BLASTS / 2 {
            // What has come is in the spool by now; what is under way dies with it.
            std::thread::sleep(Duration::from_millis(500));
            daemon.kill()?;
            daemon = Daemon::start(&place)?;
        }
        if let Some(since) = away_since.filter(|since: &Instant| nth + 3 == BLASTS && since.elapsed() < AWAY) {
            std::thread::sleep(AWAY.saturating_sub(since.elapsed()));
            receivers.iter_mut().try_for_each(Rsyslog::restart)?;
            nats.restart()?;
            is_back = true;
        }
    }
    ensure!(is_back, "the receivers did not come back");
    judge(&place, &daemon, &nats, &cutter)
}

/// Prints what became of each sink's events, and fails if any was lost.
fn judge(place: &Place, daemon: &Daemon, nats: &Nats, cutter: &Cutter) -> Result<()> {
    let is_event = |record: &Value| record["schema"] == "observer.event.v1";
    let only_events = |records: Vec<Value>| records.into_iter().filter(is_event).collect::<Vec<_>>();
    let sent = only_events(place.json("reference.json")?);
    let said = daemon.said();
    ensure!(sent.len() == (BLAST * BLASTS) as usize, "{} events for {} attempts: {said}", sent.len(), BLAST * BLASTS);
    let received = |name: &str| -> Result<Vec<Value>> {
        Ok(only_events(match name {
            "nats" => nats.messages()?.into_iter().map(|(_, record)| record).collect(),
            // The last line may be half written yet.
            _ => {
                place.lines(&format!("{name}.out"))?.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
            }
        }))
    };
    println!("\nsink   sent   distinct  twice  out of order  lost");
    let mut wrong = Vec::new();
    for name in ["unix", "tcp", "cut", "tls", "nats"] {
        let is_there = || match name {
            "nats" => Ok(nats.count()? >= sent.len() as u64),
            _ => Ok(distinct(&received(name)?) >= sent.len()),
        };
        let arrived = wait(CAUGHT_UP_WITHIN, is_there);
        let found = received(name)?;
        let (lost, twice, displaced) = compare(&sent, &found)?;
        println!("{name:<6} {:<6} {:<9} {twice:<6} {displaced:<13} {lost}", sent.len(), distinct(&found));
        if arrived.is_err() || lost > 0 || displaced > 0 {
            wrong.push(name);
        }
    }
    ensure!(cutter.left() == 0, "{} connections were not cut", cutter.left());
    ensure!(wrong.is_empty(), "{wrong:?}: {}", daemon.said());
    Ok(())
}

fn distinct(records: &[Value]) -> usize {
    records.iter().map(id).collect::<BTreeSet<_>>().len()
}

/// Records that are missing, that came again, and whose first coming was out of order.
fn compare(sent: &[Value], found: &[Value]) -> Result<(usize, usize, usize)> {
    let place_of: BTreeMap<&str, usize> = sent.iter().enumerate().map(|(nth, record)| (id(record), nth)).collect();
    let mut seen = BTreeSet::new();
    let (mut twice, mut displaced, mut highest) = (0, 0, None);
    for record in found {
        let nth = *place_of.get(id(record)).with_context(|| format!("nobody sent {record}"))?;
        ensure!(sent[nth] == *record, "{record}\nis not\n{}", sent[nth]);
        if !seen.insert(nth) {
            twice += 1;
            continue;
        }
        displaced += usize::from(highest.is_some_and(|highest| nth < highest));
        highest = highest.max(Some(nth));
    }
    Ok((sent.len() - seen.len(), twice, displaced))
}

/// A file system of a few megabytes is full for a while.
pub(crate) fn a_full_disk_below_the_spool_is_said_and_recovered_from() -> Result<()> {
    let place = Place::new()?;
    let spool = place.path("spool");
    std::fs::create_dir(&spool)?;
    let _mounted = Mounted::tmpfs(&spool, "size=4m")?;
    let port = free_port()?;
    place.configure(&format!(
        "[sink.siem]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{port}'\nformat = 'json'\nspool_size = '1M'\n"
    ))?;
    let filler = spool.join("filler");
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = |count| lab.blast(count, Ipv4Addr::LOCALHOST.into(), 25, 2).map(drop);
    blast(100)?;
    std::thread::sleep(Duration::from_millis(300));
    // What is left of the disk.
    let filled = std::fs::write(&filler, vec![0; 5 << 20]);
    ensure!(filled.is_err(), "the disk did not fill up");
    blast(100)?;
    daemon.wait_for("No space left on device", Duration::from_secs(30))?;
    std::fs::remove_file(&filler)?;
    let _receiver = Rsyslog::start(&place, "siem", Input::Tcp(port), Output::Cee)?;
    daemon.wait_for("sink siem delivers again", Duration::from_secs(90))?;
    let events = || -> Result<usize> {
        Ok(place.json("siem.out")?.iter().filter(|record| record["schema"] == "observer.event.v1").count())
    };
    wait(Duration::from_secs(20), || Ok(events()? == 200)).with_context(|| format!("{:?} of 200", events()))?;
    daemon.end()?;
    Ok(())
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &std::path::Path, options: &str) -> Result<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status()?;
        ensure!(status.success(), "mount: {status}");
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
