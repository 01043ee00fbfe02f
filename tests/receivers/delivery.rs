//! Every event at every receiver, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Lab, LabConfig, Storm, matrix};
use serde_json::Value;

use crate::certificates::Authority;
use crate::daemon::{Daemon, Place, free_port, id, wait};
use crate::nats::Nats;
use crate::rsyslog::{Input, Output, Rsyslog, parsed};

const PORT: u16 = 25;
/// For what was sent to be there.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);

/// Every way for a connection to end, and a storm of a thousand.
pub(crate) fn every_event_arrives_with_every_field() -> Result<()> {
    let place = Place::new()?;
    let authority = Authority::new(place.directory())?;
    authority.issue("server", false)?;
    authority.issue("client", false)?;
    let [udp, tcp, tls, nats] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let _unix = Rsyslog::start(&place, "unix", Input::Unix, Output::Parsed)?;
    let _udp = Rsyslog::start(&place, "udp", Input::Udp(udp), Output::Cee)?;
    let _tcp = Rsyslog::start(&place, "tcp", Input::Tcp(tcp), Output::Cee)?;
    let _tls = Rsyslog::start(&place, "tls", Input::Tls(tls), Output::Parsed)?;
    let nats = Nats::start(&place, nats)?;
    let here = place.directory().display();
    let all = "send = ['failures', 'successes', 'minutes', 'alerts']";
    place.configure(&format!(
        "[sink.lines]\ntype = 'file'\nformat = 'rfc5424'\npath = '{here}/lines'\n{all}\n\
         [sink.unix]\ntype = 'syslog'\naddress = '{here}/unix.sock'\n{all}\n\
         [sink.udp]\ntype = 'syslog'\ntransport = 'udp'\naddress = '127.0.0.1:{udp}'\nformat = 'json'\n{all}\n\
         [sink.tcp]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{tcp}'\nformat = 'json'\n{all}\n\
         [sink.tls]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'localhost:{tls}'\n{all}\n\
         tls_ca = '{here}/ca.pem'\ntls_cert = '{here}/client.pem'\ntls_key = '{here}/client.key'\n\
         [sink.nats]\ntype = 'nats'\nservers = ['{}']\n{all}\n",
        nats.url()
    ))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    let cases: Vec<Case> = matrix().into_iter().step_by(3).collect();
    let (cases, storm) = (lab.run(&cases, PORT)?, lab.storm(Storm { attempts: 1_000, ..Storm::default() })?);
    let seen = cases.len() + storm.len();
    let pids: BTreeSet<u32> = cases.iter().map(|case| case.pid).chain(storm.iter().map(|one| one.pid)).collect();
    // Minutes and alerts come too, and end with the daemon.
    std::thread::sleep(Duration::from_millis(500));
    let said = daemon.end()?;
    let reference = place.json("reference.json")?;
    let pid =
        |record: &Value| record.pointer("/process/pid").and_then(Value::as_u64).and_then(|pid| pid.try_into().ok());
    let events = reference.iter().filter(|record| pid(record).is_some_and(|pid| pids.contains(&pid))).count();
    ensure!(events == seen, "{seen} attempts, and {events} events in the file: {said}");
    // What was not confirmed before the end waits for the next start.
    let daemon = Daemon::start(&place)?;
    let has = |name: &'static str| -> Result<bool> { Ok(place.lines(name)?.len() >= reference.len()) };
    for name in ["unix.out", "udp.out", "tcp.out", "tls.out"] {
        wait(ARRIVED_WITHIN, || has(name)).with_context(|| format!("{name}: {}", daemon.said()))?;
    }
    wait(ARRIVED_WITHIN, || Ok(nats.count()? >= reference.len() as u64)).context("nats")?;
    daemon.end()?;
    for name in ["tcp.out", "udp.out"] {
        same(name, &reference, place.json(name)?, |record| id(record).to_owned())?;
    }
    let lines: Result<Vec<Value>> = place.lines("lines")?.iter().map(|line| parsed(line)).collect();
    let lines: Vec<Value> = lines?.into_iter().map(in_one_clock).collect();
    for name in ["unix.out", "tls.out"] {
        let found = place.json(name)?.into_iter().map(in_one_clock).collect();
        same(name, &lines, found, |record| record["sd"].as_str().unwrap_or_default().to_owned())?;
    }
    let (subjects, found): (Vec<String>, Vec<Value>) = nats.messages()?.into_iter().unzip();
    same("nats", &reference, found, |record| id(record).to_owned())?;
    ensure!(subjects.iter().all(|subject| subject.starts_with("observer.v1.")), "{subjects:?}");
    println!("{events} events and {} other records at five receivers, every field equal", reference.len() - events);
    Ok(())
}

/// Receivers write the same time with other zeroes.
fn in_one_clock(mut record: Value) -> Value {
    let time = record["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    record["time"] = time.map(|time| time.to_string()).into();
    // rsyslog gives the text back with the space before it, or without.
    record["msg"] = record["msg"].as_str().map(str::trim_start).into();
    record
}

/// Fails unless both are the same records. What came twice must be the same.
fn same(name: &str, expected: &[Value], found: Vec<Value>, key: impl Fn(&Value) -> String) -> Result<()> {
    let mut by_key = BTreeMap::new();
    for record in found {
        if let Some(first) = by_key.insert(key(&record), record.clone()) {
            ensure!(first == record, "{name}: one id, and {first} is not {record}");
        }
    }
    ensure!(by_key.len() == expected.len(), "{name}: {} records, not {}", by_key.len(), expected.len());
    for record in expected {
        let found = by_key.get(&key(record));
        ensure!(found == Some(record), "{name}: {found:?}\nis not\n{record}");
    }
    Ok(())
}

/// What the receiver's certificate keeps back is delivered when that is cured.
pub(crate) fn an_expired_certificate_costs_a_delay() -> Result<()> {
    let place = Place::new()?;
    let authority = Authority::new(place.directory())?;
    authority.issue("server", true)?;
    authority.issue("client", false)?;
    let port = free_port()?;
    let mut receiver = Rsyslog::start(&place, "tls", Input::Tls(port), Output::Cee)?;
    let here = place.directory().display();
    place.configure(&format!(
        "[sink.tls]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'localhost:{port}'\nformat = 'json'\n\
         tls_ca = '{here}/ca.pem'\ntls_cert = '{here}/client.pem'\ntls_key = '{here}/client.key'\n"
    ))?;
    let daemon = Daemon::start(&place)?;
    let lab = Lab::up(LabConfig::default())?;
    lab.blast(500, std::net::Ipv4Addr::LOCALHOST.into(), PORT, 4)?;
    daemon.wait_for("sink tls cannot deliver", Duration::from_secs(30))?;
    let said = daemon.said().to_lowercase();
    ensure!(said.contains("expired"), "the cause is not said: {said}");
    ensure!(place.lines("tls.out")?.is_empty(), "something was sent to a receiver whose certificate has expired");
    receiver.kill()?;
    authority.issue("server", false)?;
    receiver.restart()?;
    daemon.wait_for("sink tls delivers again", Duration::from_secs(70))?;
    let events = |name: &str| -> Result<usize> {
        Ok(place.json(name)?.iter().filter(|record| record["schema"] == "observer.event.v1").count())
    };
    wait(Duration::from_secs(10), || Ok(events("tls.out")? == 500)).context("not all was delivered")?;
    daemon.end()?;
    Ok(())
}
