//! Elastic Common Schema 9.4: one document a line. Our own fields are below
//! `tcp_observer`, for ECS has a field set `observer` of its own.

use serde_json::{Value, json};

use super::json::{append, prune};
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::Event;
use crate::label::{Label, Reason};
use crate::scope::Scope;

const VERSION: &str = "9.4.0";

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let failed = event.label != Label::Connected;
    let related: Vec<_> = [event.src.ip, event.dst.ip, event.evidence.icmp_from].into_iter().flatten().collect();
    let process = event.process.as_ref();
    let document = prune(json!({
        "@timestamp": event.time,
        "ecs": { "version": VERSION },
        "message": format!("{}: {}", destination(&event.dst), phrase(event)),
        "data_stream": { "type": "logs", "dataset": "observer.connect", "namespace": "default" },
        "event": {
            "kind": "event",
            "category": ["network"],
            "type": types(event.label),
            "action": format!("tcp-connect-{}", event.label.as_str()),
            "outcome": outcome(event.label),
            "reason": event.reason.map(Reason::as_str),
            "code": event.errno,
            "duration": event.elapsed.map(|elapsed| elapsed.as_nanos() as u64),
            "start": event.started,
            "end": event.time,
            "id": event.id,
            "module": "observer",
            "dataset": "observer.connect",
            "severity": severity(Severity::of_event(event)),
        },
        "network": {
            "transport": "tcp",
            "type": event.dst.ip.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }),
            "protocol": "smtp",
            "direction": "egress",
        },
        "source": { "ip": event.src.ip, "port": event.src.port },
        "destination": { "ip": event.dst.ip, "port": event.dst.port },
        "process": { "pid": process.map(|process| process.pid), "name": process.map(|process| &process.comm) },
        "user": { "id": process.map(|process| process.uid.to_string()) },
        "host": { "hostname": event.host, "name": event.host },
        "agent": { "type": "observer", "version": env!("CARGO_PKG_VERSION") },
        "error": { "code": event.errno, "type": event.reason.filter(|_| failed).map(Reason::as_str) },
        "related": { "ip": related, "hosts": [event.host] },
        "tcp_observer": own(event)?,
    }));
    append(&document, out)
}

/// What ECS has no field for, by the names of `observer.event.v1`.
fn own(event: &Event) -> serde_json::Result<Value> {
    let mut own = serde_json::to_value(event)?;
    if let Value::Object(members) = &mut own {
        let mapped = ["schema", "id", "time", "host", "errno", "src", "dst", "started", "elapsed_ms"];
        members.retain(|name, _| !mapped.contains(&name.as_str()));
        if let Some(Value::Object(process)) = members.get_mut("process") {
            process.retain(|name, _| ["cgroup", "netns"].contains(&name.as_str()));
        }
    }
    Ok(own)
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let (src, dst) = match change.verdict.scope {
        Scope::OnlySource { ip } => (Some(ip), None),
        Scope::Destination { ip, .. } | Scope::Intermittent { ip, .. } => (None, Some(ip)),
        _ => (None, None),
    };
    let mut own = serde_json::to_value(alert)?;
    if let Value::Object(members) = &mut own {
        members.retain(|name, _| !["schema", "id", "time", "host", "text", "since"].contains(&name.as_str()));
    }
    let document = prune(json!({
        "@timestamp": change.time,
        "ecs": { "version": VERSION },
        "message": alert.text,
        "data_stream": { "type": "logs", "dataset": "observer.alert", "namespace": "default" },
        "event": {
            "kind": "alert",
            "category": ["network"],
            "type": ["info"],
            "action": format!("scope-{}", change.kind.as_str()),
            "start": change.since,
            "id": alert.id,
            "module": "observer",
            "dataset": "observer.alert",
            "severity": severity(Severity::of_alert(alert)),
        },
        "network": { "transport": "tcp", "protocol": "smtp", "direction": "egress" },
        "source": { "ip": src },
        "destination": { "ip": dst, "port": change.verdict.scope.port() },
        "host": { "hostname": alert.host, "name": alert.host },
        "agent": { "type": "observer", "version": env!("CARGO_PKG_VERSION") },
        "related": { "ip": src.into_iter().chain(dst).collect::<Vec<_>>(), "hosts": [alert.host] },
        "tcp_observer": { "alert": own },
    }));
    append(&document, out)
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let count = record.count.as_ref();
    let (kind, category, own) = match count {
        Some(_) => ("metric", "network", "minute"),
        None => ("event", "process", "notice"),
    };
    let ips = [count.and_then(|count| count.src_ip), count.and_then(|count| count.dst_ip)];
    let dataset = format!("observer.{own}");
    let document = prune(json!({
        "@timestamp": record.time,
        "ecs": { "version": VERSION },
        "message": record.text,
        "data_stream": { "type": "logs", "dataset": dataset, "namespace": "default" },
        "event": {
            "kind": kind,
            "category": [category],
            "type": ["info"],
            "action": record.name.replace('.', "-"),
            "start": record.start,
            "end": count.map(|_| record.time),
            "id": record.id,
            "module": "observer",
            "dataset": dataset,
            "severity": severity(record.severity),
        },
        "network": count.map(|_| json!({ "transport": "tcp", "protocol": "smtp", "direction": "egress" })),
        "source": { "ip": ips[0] },
        "destination": { "ip": ips[1], "port": count.and_then(|count| count.dst_port) },
        "host": { "hostname": record.host, "name": record.host },
        "agent": { "type": "observer", "version": env!("CARGO_PKG_VERSION") },
        "related": { "ip": ips.into_iter().flatten().collect::<Vec<_>>(), "hosts": [record.host] },
        "tcp_observer": { own: record.fields },
    }));
    append(&document, out)
}

/// Of the values that ECS allows for the category network.
const fn types(label: Label) -> &'static [&'static str] {
    match label {
        Label::Refused | Label::Blocked => &["connection", "denied"],
        Label::Connected | Label::Reset | Label::Closed | Label::Silent => &["connection", "start", "end"],
        Label::Timeout | Label::Unreachable | Label::Cancelled => &["connection", "end"],
    }
}

/// What the application cancelled neither succeeded nor failed.
const fn outcome(label: Label) -> &'static str {
    match label {
        Label::Connected => "success",
        Label::Cancelled => "unknown",
        _ => "failure",
    }
}

/// As QRadar and others count, up to 100.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 21,
        Severity::Low => 35,
        Severity::Medium => 47,
        Severity::High => 73,
    }
}
