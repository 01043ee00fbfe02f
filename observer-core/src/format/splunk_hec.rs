//! Splunk's HTTP Event Collector: one envelope a line, as its `/event` endpoint
//! takes them; names after the CIM data model Network Traffic, beside our own.
//!
//! `time` is a float of seconds, which loses digits: `event.time` has them all.

use super::object::Object;
use super::phrase::phrase;
use super::record::Record;
use crate::alert::Alert;
use crate::event::{Event, milliseconds};
use crate::label::Label;

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let process = event.process.as_ref();
    envelope(event.time, &event.host, "observer:connect", out, |body| {
        body.extend(event)?;
        body.put("action", action(event.label))?;
        body.put("app", "smtp")?;
        body.put("direction", "outbound")?;
        body.put("transport", "tcp")?;
        body.put("protocol", "ip")?;
        body.put("protocol_version", event.dst.ip.map(|ip| if ip.is_ipv4() { 4 } else { 6 }))?;
        body.put("dest", event.dst.ip)?;
        body.put("dest_ip", event.dst.ip)?;
        body.put("dest_port", event.dst.port)?;
        body.put("src_ip", event.src.ip)?;
        body.put("src_port", event.src.port)?;
        body.put("dvc", &event.host)?;
        body.put("duration", event.elapsed.map(|elapsed| milliseconds(elapsed) / 1e3))?;
        body.put("response_time", event.handshake.map(milliseconds))?;
        body.put("process_id", process.map(|process| process.pid))?;
        body.put("process_name", process.map(|process| &process.comm))?;
        body.put("user_id", process.map(|process| process.uid))?;
        body.put("message", phrase(event))
    })
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    envelope(alert.change.time, &alert.host, "observer:alert", out, |body| {
        body.extend(alert)?;
        body.put("app", "smtp")?;
        body.put("dvc", &alert.host)?;
        body.put("message", &alert.text)
    })
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let count = record.count.as_ref();
    let sourcetype = if count.is_some() { "observer:minute" } else { "observer:notice" };
    envelope(record.time, record.host, sourcetype, out, |body| {
        body.extend(&record.fields)?;
        body.put("id", record.id)?;
        body.put("time", record.time)?;
        body.put("since", record.start)?;
        body.put("name", &record.name)?;
        body.put("message", &record.text)?;
        body.put("dvc", record.host)?;
        let Some(count) = count else { return Ok(()) };
        body.put("app", "smtp")?;
        body.put("action", action(count.label))?;
        body.put("direction", "outbound")?;
        body.put("transport", "tcp")?;
        body.put("dest", count.dst_ip)?;
        body.put("dest_ip", count.dst_ip)?;
        body.put("dest_port", count.dst_port)
    })
}

fn envelope(
    time: jiff::Timestamp,
    host: &str,
    sourcetype: &str,
    out: &mut Vec<u8>,
    event: impl FnOnce(&mut Object<'_>) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    Object::line(out, |object| {
        object.put("time", time.as_millisecond() as f64 / 1e3)?;
        object.put("host", host)?;
        object.put("source", "observer")?;
        object.put("sourcetype", sourcetype)?;
        object.nest("event", event)
    })
}

/// CIM's words: allowed, blocked, teardown; and `failure` for what is none of them.
const fn action(label: Label) -> &'static str {
    match label {
        Label::Connected => "allowed",
        Label::Refused | Label::Blocked => "blocked",
        Label::Reset | Label::Closed => "teardown",
        Label::Timeout | Label::Unreachable | Label::Silent | Label::Cancelled | Label::Unknown => "failure",
    }
}
