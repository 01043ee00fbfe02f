//! Every event at every receiver, field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Lab, LabConfig};
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::daemon::{Daemon, Place, free_port, id, wait};
use crate::journal::{self, Journald};
use crate::nats::{Nats, Security};
use crate::receiver::Receiver as _;
use crate::rsyslog::{Input, Output, Rsyslog, parsed};
use crate::syslog_ng::{self, SyslogNg};
use crate::traffic;

/// A sink's key.
pub(crate) const ALL: &str = "send = ['failures', 'successes', 'minutes', 'alerts']";
/// For what was sent to be there.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);

/// rsyslog by each of its inputs, and NATS.
pub(crate) fn every_event_arrives_with_every_field() -> Result<()> {
    let place = Place::new()?;
    issue_certificates(&place)?;
    let [udp, tcp, tls, nats] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let _unix = Rsyslog::start(&place, "unix", Input::Unix, Output::Parsed)?;
    let _udp = Rsyslog::start(&place, "udp", Input::Udp(udp), Output::Cee)?;
    let _tcp = Rsyslog::start(&place, "tcp", Input::Tcp(tcp), Output::Cee)?;
    let _tls = Rsyslog::start(&place, "tls", Input::Tls(tls), Output::Parsed)?;
    let nats = Nats::start(&place, nats, Security::Plain)?;
    let here = place.directory().display();
    place.configure(&format!(
        "[sink.lines]\ntype = 'file'\nformat = 'rfc5424'\npath = '{here}/lines'\n{ALL}\n\
         [sink.unix]\ntype = 'syslog'\naddress = '{here}/unix.sock'\n{ALL}\n\
         [sink.udp]\ntype = 'syslog'\ntransport = 'udp'\naddress = '127.0.0.1:{udp}'\nformat = 'json'\n{ALL}\n\
         [sink.tcp]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:{tcp}'\nformat = 'json'\n{ALL}\n\
         [sink.tls]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'localhost:{tls}'\n{ALL}\n\
         tls_ca = '{here}/ca.pem'\ntls_cert = '{here}/client.pem'\ntls_key = '{here}/client.key'\n\
         [sink.nats]\ntype = 'nats'\nservers = ['{}']\n{ALL}\n",
        nats.url()
    ))?;
    let recorded = traffic::record(&place)?;
    // What was not confirmed before the end waits for the next start.
    let daemon = Daemon::start(&place)?;
    await_lines(&place, &daemon, &["unix.out", "udp.out", "tcp.out", "tls.out"], recorded.records.len())?;
    wait(ARRIVED_WITHIN, || Ok(nats.count()? >= recorded.records.len() as u64)).context("nats")?;
    daemon.end()?;
    for name in ["tcp.out", "udp.out"] {
        same(name, &recorded.records, place.json(name)?, |record| id(record).to_owned())?;
    }
    same_lines(&place, &["unix.out", "tls.out"])?;
    let published = nats.messages()?;
    let stray = published.iter().find(|one| !one.subject.starts_with("observer.v1.") || one.id != id(&one.record));
    ensure!(stray.is_none(), "{:?}", stray.map(|one| (&one.subject, &one.id)));
    let found = published.into_iter().map(|one| one.record).collect();
    same("nats", &recorded.records, found, |record| id(record).to_owned())?;
    recorded.print("five receivers");
    Ok(())
}

/// syslog-ng by TCP and TLS, in both formats, and by a unix stream socket.
pub(crate) fn syslog_ng_gets_every_event_with_every_field() -> Result<()> {
    let place = Place::new()?;
    issue_certificates(&place)?;
    let mut receivers = Vec::new();
    let here = place.directory().display();
    let mut sinks = format!("[sink.lines]\ntype = 'file'\nformat = 'rfc5424'\npath = '{here}/lines'\n{ALL}\n");
    for (format, output) in [("rfc5424", Output::Parsed), ("json", Output::Cee)] {
        let [tcp, tls] = [free_port()?, free_port()?];
        for (transport, input, address) in [
            ("unix", syslog_ng::Input::UnixStream, format!("{here}/unix-{format}.sock")),
            ("tcp", syslog_ng::Input::Tcp(tcp), format!("127.0.0.1:{tcp}")),
            ("tls", syslog_ng::Input::Tls(tls), format!("localhost:{tls}")),
        ] {
            let name = format!("{transport}-{format}");
            receivers.push(SyslogNg::start(&place, &name, input, output)?);
            let certificates = if transport == "tls" { certificate_keys(&place) } else { String::new() };
            sinks += &format!(
                "[sink.{name}]\ntype = 'syslog'\ntransport = '{transport}'\naddress = '{address}'\n\
                 format = '{format}'\n{ALL}\n{certificates}"
            );
        }
    }
    place.configure(&sinks)?;
    let recorded = traffic::record(&place)?;
    let daemon = Daemon::start(&place)?;
    let (parsed, json) =
        (["unix-rfc5424.out", "tcp-rfc5424.out", "tls-rfc5424.out"], ["unix-json.out", "tcp-json.out", "tls-json.out"]);
    await_lines(&place, &daemon, &[parsed, json].concat(), recorded.records.len())?;
    daemon.end()?;
    same_lines(&place, &parsed)?;
    for name in json {
        same(name, &recorded.records, place.json(name)?, |record| id(record).to_owned())?;
    }
    recorded.print("six inputs of syslog-ng");
    Ok(())
}

/// The journal, with a process's name of several lines among the values.
pub(crate) fn the_journal_gets_every_event_with_every_field() -> Result<()> {
    let place = Place::new()?;
    let journald = Journald::start(&place)?;
    let (here, socket) = (place.directory().display(), journald.socket());
    place.configure(&format!(
        "[sink.lines]\ntype = 'file'\nformat = 'rfc5424'\npath = '{here}/lines'\n{ALL}\n\
         [sink.journal]\ntype = 'journald'\naddress = '{}'\n{ALL}\n",
        socket.display()
    ))?;
    let recorded = traffic::record(&place)?;
    let daemon = Daemon::start(&place)?;
    let has_all = || Ok(journald.entries()?.len() >= recorded.records.len());
    wait(ARRIVED_WITHIN, has_all)
        .with_context(|| format!("{:?} entries: {}", journald.entries().map(|all| all.len()), daemon.said()))?;
    daemon.end()?;
    let entries = journald.entries()?;
    let key = |fields: &Value| fields["OBSERVER_ID"].to_string();
    let expected: Vec<Value> = recorded.records.iter().map(|record| json!(journal::fields(record))).collect();
    same(
        "journal",
        &expected,
        entries.iter().map(|entry| json!(journal::fields_of_ours(entry.clone()))).collect(),
        key,
    )?;
    same_headlines(&place, &recorded.records, &entries)?;
    let strange = strange(&recorded.records)?;
    journald.send(&strange)?;
    let entries = journald.entries()?;
    let found = entries.iter().skip_while(|entry| !journal::is(entry, "OBSERVER_ID", "strange-0"));
    let expected: Vec<Value> = strange.iter().map(|record| json!(journal::fields(record))).collect();
    same("strange ones", &expected, found.map(|entry| json!(journal::fields_of_ours(entry.clone()))).collect(), key)?;
    let afar = journald.entries_afar(&place)?;
    ensure!(afar == entries, "systemd-journal-remote has {} of {} entries, or others", afar.len(), entries.len());
    recorded.print("systemd-journald, and from there at systemd-journal-remote");
    Ok(())
}

/// Events with values that try to be something else, and one that is too long for a
/// datagram.
fn strange(records: &[Value]) -> Result<Vec<Value>> {
    let is_whole = |record: &&Value| record["process"]["cgroup"].is_string() && record["host"].is_string();
    let event = records.iter().find(is_whole).context("no event with a process")?;
    let long = "x".repeat(1 << 20);
    let values = ["a\nMESSAGE=forged\n\nPRIORITY=0\n", "\u{0}\u{1b}[2J\r\u{202e}\u{feff}\n", "=\n=", " ", &long];
    let strange = values.iter().enumerate().map(|(nth, value)| {
        let mut event = event.clone();
        event["id"] = format!("strange-{nth}").into();
        event["host"] = (*value).into();
        event["process"]["cgroup"] = (*value).into();
        event["process"]["comm"] = (*value).into();
        event
    });
    Ok(strange.collect())
}

/// Fails unless the fields that are the journal's own say what syslog is told.
fn same_headlines(place: &Place, records: &[Value], entries: &[journal::Entry]) -> Result<()> {
    let lines: Result<Vec<Value>> = place.lines("lines")?.iter().map(|line| parsed(line)).collect();
    for (record, line) in records.iter().zip(lines?) {
        let entry = entries.iter().find(|entry| journal::is(entry, "OBSERVER_ID", id(record)));
        let entry = entry.with_context(|| format!("no entry {record}"))?;
        let priority = line["pri"].as_str().and_then(|pri| pri.parse::<u8>().ok()).map(|pri| (pri & 7).to_string());
        ensure!(journal::is(entry, "PRIORITY", &priority.unwrap_or_default()), "{line}: {entry:?}");
        if let (Some(label), Some(text)) = (record["label"].as_str(), line["msg"].as_str())
            && record["schema"] == "observer.event.v1"
        {
            // The journal's is made of microseconds, the other one of nanoseconds: what is
            // halfway between two milliseconds can be rounded to either.
            let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
            let message = words(&format!("{label} {text}"));
            ensure!(entry["MESSAGE"].iter().all(|found| words(found) == message), "{message}: {entry:?}");
        }
        ensure!(entry["MESSAGE"].len() == 1 && entry["MESSAGE_ID"].len() == 1, "{entry:?}");
    }
    Ok(())
}

/// The keys of a sink that uses them.
pub(crate) fn certificate_keys(place: &Place) -> String {
    let here = place.directory().display();
    format!("tls_ca = '{here}/ca.pem'\ntls_cert = '{here}/client.pem'\ntls_key = '{here}/client.key'\n")
}

/// A server's and a client's.
pub(crate) fn issue_certificates(place: &Place) -> Result<()> {
    let authority = Authority::new(place.directory())?;
    ["server", "client"].into_iter().try_for_each(|name| authority.issue(name, false))
}

/// Waits until each of the files has so many lines.
fn await_lines(place: &Place, daemon: &Daemon, names: &[&str], count: usize) -> Result<()> {
    for name in names {
        let has_all = || Ok(place.lines(name)?.len() >= count);
        wait(ARRIVED_WITHIN, has_all).with_context(|| {
            format!("{name}: {} of {count}: {}", place.lines(name).map_or(0, |lines| lines.len()), daemon.said())
        })?;
    }
    Ok(())
}

/// Fails unless receivers parsed from each line of the file `lines` what is in it.
fn same_lines(place: &Place, names: &[&str]) -> Result<()> {
    let lines: Result<Vec<Value>> = place.lines("lines")?.iter().map(|line| parsed(line)).collect();
    let lines: Vec<Value> = lines?.into_iter().map(in_one_spelling).collect();
    for name in names {
        let found = place.json(name)?.into_iter().map(in_one_spelling).collect();
        same(name, &lines, found, |record| record["sd"].as_str().unwrap_or_default().to_owned())?;
    }
    Ok(())
}

/// Receivers write the same time with other zeroes, and syslog-ng numbers messages.
fn in_one_spelling(mut record: Value) -> Value {
    let time = record["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    record["time"] = time.map(|time| time.to_string()).into();
    let sd = record["sd"].as_str().and_then(|sd| Some(sd.rsplit_once("[meta sequenceId=")?.0.to_owned()));
    if let Some(sd) = sd {
        record["sd"] = sd.into();
    }
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
    for record in expected {
        let found = by_key.remove(&key(record));
        ensure!(found.as_ref() == Some(record), "{name}: {found:?}\nis not\n{record}");
    }
    let more = by_key.values().next();
    ensure!(more.is_none(), "{name}: {} records that nobody sent: {more:?}", by_key.len());
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
    lab.blast(500, std::net::Ipv4Addr::LOCALHOST.into(), observer_lab::port(), 4)?;
    daemon.wait_for("sink tls cannot deliver", Duration::from_secs(30))?;
    let said = daemon.said().to_lowercase();
    ensure!(said.contains("expired"), "the cause is not said: {said}");
    ensure!(place.lines("tls.out")?.is_empty(), "something was sent to a receiver whose certificate has expired");
    receiver.kill()?;
    authority.issue("server", false)?;
    receiver.restart()?;
    daemon.wait_for("sink tls is delivering again", Duration::from_secs(70))?;
    let events = |name: &str| -> Result<usize> {
        Ok(place.json(name)?.iter().filter(|record| record["schema"] == "observer.event.v1").count())
    };
    wait(Duration::from_secs(30), || Ok(events("tls.out")? == 500)).context("not all was delivered")?;
    daemon.end()?;
    Ok(())
}
