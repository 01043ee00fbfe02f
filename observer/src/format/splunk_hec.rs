//! Splunk's HTTP Event Collector: one envelope a line, as its `/event` endpoint
//! takes them; names after the CIM data model Network Traffic, beside our own.
//!
//! `time` is a float of seconds, which loses digits: `event.time` has them all.

use serde_json::{Value, json};

use super::json::{append, prune};
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
    let mut body = serde_json::to_value(event)?;
    let process = event.process.as_ref();
    let cim = prune(json!({
        "action": action(event.label),
        "app": "smtp",
        "direction": "outbound",
        "transport": "tcp",
        "protocol": "ip",
        "protocol_version": version(event),
        "dest": event.dst.ip,
        "dest_ip": event.dst.ip,
        "dest_port": event.dst.port,
        "src_ip": event.src.ip,
        "src_port": event.src.port,
        "dvc": event.host,
        "duration": event.elapsed.map(|elapsed| milliseconds(elapsed) / 1e3),
        "response_time": event.handshake.map(milliseconds),
        "process_id": process.map(|process| process.pid),
        "process_name": process.map(|process| &process.comm),
        "user_id": process.map(|process| process.uid),
        "message": phrase(event),
    }));
    if let (Value::Object(body), Value::Object(cim)) = (&mut body, cim) {
        body.extend(cim);
    }
    append(&envelope(event.time, &event.host, "observer:connect", body), out)
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut body = serde_json::to_value(alert)?;
    if let Value::Object(body) = &mut body {
        body.insert("app".to_owned(), "smtp".into());
        body.insert("dvc".to_owned(), alert.host.as_str().into());
        body.insert("message".to_owned(), alert.text.as_str().into());
    }
    append(&envelope(alert.change.time, &alert.host, "observer:alert", body), out)
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut body = record.fields.clone();
    let count = record.count.as_ref();
    let cim = prune(json!({
        "id": record.id,
        "time": record.time,
        "since": record.start,
        "name": record.name,
        "message": record.text,
        "dvc": record.host,
        "app": count.map(|_| "smtp"),
        "action": count.map(|count| action(count.label)),
        "direction": count.map(|_| "outbound"),
        "transport": count.map(|_| "tcp"),
        "dest": count.and_then(|count| count.dst_ip),
        "dest_ip": count.and_then(|count| count.dst_ip),
        "dest_port": count.and_then(|count| count.dst_port),
    }));
    if let Value::Object(cim) = cim {
        body.extend(cim);
    }
    let sourcetype = if count.is_some() { "observer:minute" } else { "observer:notice" };
    append(&envelope(record.time, record.host, sourcetype, Value::Object(body)), out)
}

fn envelope(time: jiff::Timestamp, host: &str, sourcetype: &str, event: Value) -> Value {
    let time = time.as_millisecond() as f64 / 1e3;
    json!({ "time": time, "host": host, "source": "observer", "sourcetype": sourcetype, "event": event })
}

/// CIM's words: allowed, blocked, teardown; and `failure` for what is none of them.
const fn action(label: Label) -> &'static str {
    match label {
        Label::Connected => "allowed",
        Label::Refused | Label::Blocked => "blocked",
        Label::Reset | Label::Closed => "teardown",
        Label::Timeout | Label::Unreachable | Label::Silent | Label::Cancelled => "failure",
    }
}

fn version(event: &Event) -> Option<u8> {
    event.dst.ip.map(|ip| if ip.is_ipv4() { 4 } else { 6 })
}
