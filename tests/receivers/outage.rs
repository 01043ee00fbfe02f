//! Receivers that go away, connections that break, and an observer that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig};

use crate::cutter::Cutter;
use crate::daemon::{Daemon, Place, free_port, wait};
use crate::delivery::{certificate_keys, issue_certificates};
use crate::http::{Protocol, Server};
use crate::journal::Journald;
use crate::nats::{Nats, Security};
use crate::receiver::{Received, Receiver, distinct, event};
use crate::rsyslog::{Input, Output, Rsyslog};
use crate::spooled::spooled;
use crate::syslog_ng::{self, SyslogNg};

/// Refused connections of one blast, and blasts.
const BLAST: u32 = 1_000;
const BLASTS: u32 = 20;
/// How long the receivers are away.
const AWAY: Duration = Duration::from_secs(60);
/// The longest pause between two tries, and then the work.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// A receiver, and the section of its sink.
struct Away {
    name: &'static str,
    sink: String,
    receiver: Box<dyn Receiver>,
}

impl Away {
    fn new(name: &'static str, sink: String, receiver: impl Receiver + 'static) -> Self {
        Self { name, sink: format!("[sink.{name}]\n{sink}"), receiver: Box::new(receiver) }
    }
}

/// 20,000 events; every receiver is killed after a quarter of them and comes back a
/// minute later; observer is killed and started again meanwhile; and one receiver is
/// behind a relay that cuts connections in mid-record.
pub(crate) fn nothing_is_lost_by_an_outage() -> Result<()> {
    let place = Place::new()?;
    let [cut, metrics] = [free_port()?, free_port()?];
    let cutter = Cutter::start(cut, 5, 50_000)?;
    let mut receivers = receivers(&place, cut, &cutter)?;
    let sinks: String = receivers.iter().map(|away| away.sink.as_str()).collect();
    place.configure(&format!("[metrics]\nlisten = '127.0.0.1:{metrics}'\n{sinks}"))?;
    let mut daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let blast = || lab.blast(BLAST, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 2).map(drop);
    let (mut away_since, mut is_back) = (None, false);
    for nth in 0..BLASTS {
        blast()?;
        // The ring buffer holds some ten of them.
        let written = || Ok(place.lines("reference.json")?.len() >= ((nth + 1) * BLAST) as usize);
        wait(Duration::from_secs(20), written).with_context(|| format!("blast {nth}: {}", daemon.said()))?;
        if nth == BLASTS / 4 {
            receivers.iter_mut().try_for_each(|away| away.receiver.kill())?;
            away_since = Some(Instant::now());
        }
        if nth == BLASTS / 2 {
            // What is in a spool outlives it; what is on the way there dies with it.
            spooled(metrics).with_context(|| daemon.said())?;
            daemon.kill()?;
            daemon = Daemon::start(&place)?;
        }
        if let Some(since) = away_since.filter(|_: &Instant| nth + 3 == BLASTS) {
            std::thread::sleep(AWAY.saturating_sub(since.elapsed()));
            receivers.iter_mut().try_for_each(|away| away.receiver.restart())?;
            is_back = true;
        }
    }
    ensure!(is_back, "the receivers did not come back");
    judge(&place, &daemon, &receivers, &cutter)
}

/// One of each kind.
fn receivers(place: &Place, cut: u16, cutter: &Cutter) -> Result<Vec<Away>> {
    issue_certificates(place)?;
    let [tcp, tls, ng, nats] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let here = place.directory().display();
    let syslog = |transport: &str, address: String| {
        format!("type = 'syslog'\nformat = 'json'\ntransport = '{transport}'\naddress = '{address}'\n")
    };
    let certificates = certificate_keys(place);
    let rsyslog = |name: &str, input| Rsyslog::start(place, name, input, Output::Cee);
    let syslog_ng = SyslogNg::start(place, "ng", syslog_ng::Input::Tcp(ng), Output::Cee)?;
    let nats = Nats::start(place, nats, Security::Plain)?;
    let journald = Journald::start(place)?;
    let socket = journald.socket();
    let mut receivers = vec![
        Away::new("unix", syslog("unix", format!("{here}/unix.sock")), rsyslog("unix", Input::Unix)?),
        Away::new("tcp", syslog("tcp", format!("127.0.0.1:{tcp}")), rsyslog("tcp", Input::Tcp(tcp))?),
        Away::new("cut", syslog("tcp", format!("127.0.0.1:{}", cutter.port)), rsyslog("cut", Input::Tcp(cut))?),
        Away::new("tls", syslog("tls", format!("localhost:{tls}")) + &certificates, rsyslog("tls", Input::Tls(tls))?),
        Away::new("ng", syslog("tcp", format!("127.0.0.1:{ng}")), syslog_ng),
        Away::new("journal", format!("type = 'journald'\naddress = '{}'\n", socket.display()), journald),
        Away::new("nats", format!("type = 'nats'\nservers = ['{}']\n", nats.url()), nats),
    ];
    for (name, protocol) in [("hec", Protocol::Hec), ("bulk", Protocol::Bulk), ("otlp", Protocol::Otlp)] {
        let server = Server::start(protocol)?;
        receivers.push(Away::new(name, server.sink(place, name)?, server));
    }
    Ok(receivers)
}

/// Prints what became of each sink's events, and fails if any was lost.
fn judge(place: &Place, daemon: &Daemon, receivers: &[Away], cutter: &Cutter) -> Result<()> {
    let count = (BLAST * BLASTS) as usize;
    let sent = place.json("reference.json")?.into_iter().filter_map(event).count();
    ensure!(sent == count, "{sent} events for {count} attempts: {}", daemon.said());
    println!("\nsink     sent   distinct  twice  out of order  lost");
    let mut wrong = Vec::new();
    for Away { name, receiver, .. } in receivers {
        let arrived = wait(CAUGHT_UP_WITHIN, || receiver.has(place, count));
        let (sent, found) = (receiver.expected(place)?, receiver.events(place)?);
        let (lost, twice, displaced) = compare(&sent, &found).with_context(|| (*name).to_owned())?;
        println!("{name:<8} {:<6} {:<9} {twice:<6} {displaced:<13} {lost}", sent.len(), distinct(&found));
        if arrived.is_err() || sent.len() != count || lost > 0 || displaced > 0 {
            wrong.push(name);
        }
    }
    ensure!(cutter.left() == 0, "{} connections were not cut", cutter.left());
    ensure!(wrong.is_empty(), "{wrong:?}: {}", daemon.said());
    Ok(())
}

/// Events that are missing, that came again, and whose first coming was out of order.
fn compare(sent: &[Received], found: &[Received]) -> Result<(usize, usize, usize)> {
    let place_of: BTreeMap<&str, usize> = sent.iter().enumerate().map(|(nth, (id, _))| (id.as_str(), nth)).collect();
    let mut seen = BTreeSet::new();
    let (mut twice, mut displaced, mut highest) = (0, 0, None);
    for (id, record) in found {
        let nth = *place_of.get(id.as_str()).with_context(|| format!("nobody sent {record}"))?;
        ensure!(sent[nth].1 == *record, "{record}\nis not\n{}", sent[nth].1);
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
    let blast = |count| lab.blast(count, Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 2).map(drop);
    blast(100)?;
    std::thread::sleep(Duration::from_millis(300));
    // What is left of the disk.
    let filled = std::fs::write(&filler, vec![0; 5 << 20]);
    ensure!(filled.is_err(), "the disk did not fill up");
    blast(100)?;
    daemon.wait_for("No space left on device", Duration::from_secs(30))?;
    std::fs::remove_file(&filler)?;
    let _receiver = Rsyslog::start(&place, "siem", Input::Tcp(port), Output::Cee)?;
    daemon.wait_for("sink siem is delivering again", Duration::from_secs(90))?;
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
