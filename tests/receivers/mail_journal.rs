//! A mail server that logs to the journal: its lines come to `observer run` through
//! journalctl, which Landlock lets it start, and nothing else.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Ip, Lab, LabConfig, Scenario, destination, port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::daemon::{Daemon, Place, wait};
use crate::journal::Journald;

/// In no event.
const LOCAL_PART: &str = "secret";
/// An event waits for its delivery.
const WITHIN: Duration = Duration::from_secs(20);
/// journalctl is not started again sooner.
const PAUSE: Duration = Duration::from_secs(6);

pub(crate) fn deliveries_come_from_the_journal() -> Result<()> {
    let place = Place::new()?;
    let journald = Journald::start(&place)?;
    place.configure("[mta]\nkind = 'postfix'\nlog = 'journal'\n")?;
    let lab = Lab::up(LabConfig::default())?;
    let daemon = Daemon::start_by(journald.inside(env!("CARGO_BIN_EXE_observer"))?, &place)?;
    ensure!(daemon.said().contains("starting journalctl"), "{}", daemon.said());
    let refusing = destination(Scenario::ClosedPort, Ip::V4);
    let reader = wait_for_reader(&daemon)?;
    delivered(&place, &journald, &lab, refusing, "4WxFIRST")?;
    // It goes on after the last entry.
    kill_process(reader, Signal::KILL)?;
    std::thread::sleep(PAUSE);
    wait_for_reader(&daemon)?;
    delivered(&place, &journald, &lab, refusing, "4WxSECOND")?;
    let text = place.lines("reference.json")?.concat();
    ensure!(!text.contains(LOCAL_PART), "a local part was sent");
    daemon.end().map(drop)
}

/// journalctl, which is the daemon's only child.
fn wait_for_reader(daemon: &Daemon) -> Result<Pid> {
    let mut reader = None;
    wait(WITHIN, || {
        reader = daemon.children()?.first().copied();
        Ok(reader.is_some())
    })
    .with_context(|| format!("no journalctl: {}", daemon.said()))?;
    // For it to have opened the journal.
    std::thread::sleep(Duration::from_secs(1));
    reader.context("no child")
}

/// A delivery that is refused, as Postfix logs it: its event has to say which it was.
fn delivered(place: &Place, journald: &Journald, lab: &Lab, to: IpAddr, queue_id: &str) -> Result<()> {
    let refused = lab.client().inside(|| Ok(TcpStream::connect(SocketAddr::new(to, port()))))?;
    ensure!(refused.is_err(), "{to} accepts");
    let why = format!("connect to mx.example.net[{to}]:{}: Connection refused", port());
    let log = UnixDatagram::unbound()?;
    log.connect(journald.syslog_socket())?;
    let tag = format!("postfix/smtp[{}]", std::process::id());
    // The facility is mail, the severities info and warning.
    log.send(format!("<22>{tag}: {why}").as_bytes())?;
    let status = format!("relay=none, delay=0.1, delays=0/0/0.1/0, dsn=4.4.1, status=deferred ({why})");
    log.send(format!("<20>{tag}: {queue_id}: to=<{LOCAL_PART}@example.net>, {status}").as_bytes())?;
    let is_told = |event: &Value| event.pointer("/mta/queue_id").is_some_and(|id| id == queue_id);
    let mut told = None;
    wait(WITHIN, || {
        told = place.json("reference.json")?.into_iter().find(is_told);
        Ok(told.is_some())
    })
    .with_context(|| format!("no event of {queue_id}: {:?}", place.lines("reference.json")))?;
    let mta = told.map(|event| event["mta"].clone()).unwrap_or_default();
    println!("{mta}");
    // The words are those of the first line: none is lost, also of an empty journal.
    let expected = [
        ("said", "refused"),
        ("words", "Connection refused"),
        ("recipient_domain", "example.net"),
        ("status", "deferred"),
    ];
    ensure!(expected.iter().all(|(name, value)| mta[*name] == *value), "{mta}");
    Ok(())
}
