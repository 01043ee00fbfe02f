//! Elastic Common Schema 9.4: one document a line. Our own fields are below
//! `tcp_observer`, for ECS has a field set `observer` of its own.

use std::net::IpAddr;

use super::object::Object;
use super::own;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::{Event, milliseconds};
use crate::label::{Label, Reason};
use crate::scope::Scope;
use jiff::Timestamp;

const VERSION: &str = "9.4.0";

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let message = format!("{}: {}", destination(&event.dst), phrase(event));
    Object::line(out, |document| {
        base(document, event.time, &message, "observer.connect")?;
        document.nest("event", |object| {
            object.put("kind", "event")?;
            object.put("category", ["network"])?;
            object.put("type", types(event.label))?;
            object.put("action", format_args!("tcp-connect-{}", event.label.as_str()))?;
            object.put("outcome", outcome(event.label))?;
            object.put("reason", event.reason.map(Reason::as_str))?;
            object.put("code", &event.errno)?;
            object.put("duration", event.elapsed.map(|elapsed| elapsed.as_nanos() as u64))?;
            object.put("start", event.started)?;
            object.put("end", event.time)?;
            identity(object, &event.id, "observer.connect", Severity::of_event(event))
        })?;
        network(document, event.dst.ip)?;
        document.put("source", event.src)?;
        document.put("destination", event.dst)?;
        let process = event.process.as_ref();
        document.nest("process", |object| {
            object.put("pid", process.map(|process| process.pid))?;
            object.put("name", process.map(|process| &process.comm))
        })?;
        document.nest("user", |object| object.put("id", process.map(|process| process.uid.to_string())))?;
        document.nest("error", |object| {
            object.put("code", &event.errno)?;
            object.put("type", event.reason.filter(|_| event.label != Label::Connected).map(Reason::as_str))
        })?;
        place(document, &event.host, &[event.src.ip, event.dst.ip, event.evidence.icmp_from])?;
        document.nest("tcp_observer", |object| {
            object.put("handshake_ms", event.handshake.map(milliseconds))?;
            own::put(event, object)
        })
    })
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let scope = &change.verdict.scope;
    let (src, dst) = match *scope {
        Scope::OnlySource { ip } => (Some(ip), None),
        Scope::Destination { ip, .. } | Scope::Intermittent { ip, .. } => (None, Some(ip)),
        _ => (None, None),
    };
    let own = own::of_alert(alert)?;
    Object::line(out, |document| {
        base(document, change.time, &alert.text, "observer.alert")?;
        document.nest("event", |object| {
            object.put("kind", "alert")?;
            object.put("category", ["network"])?;
            object.put("type", ["info"])?;
            object.put("action", format_args!("scope-{}", change.kind.as_str()))?;
            object.put("start", change.since)?;
            identity(object, &alert.id, "observer.alert", Severity::of_alert(alert))
        })?;
        network(document, None)?;
        document.nest("source", |object| object.put("ip", src))?;
        document.nest("destination", |object| {
            object.put("ip", dst)?;
            object.put("port", scope.port())
        })?;
        place(document, &alert.host, &[src, dst])?;
        document.nest("tcp_observer", |object| object.put("alert", &own))
    })
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
    let (src, dst) = (count.and_then(|count| count.src_ip), count.and_then(|count| count.dst_ip));
    let dataset = format!("observer.{own}");
    Object::line(out, |document| {
        base(document, record.time, &record.text, &dataset)?;
        document.nest("event", |object| {
            object.put("kind", kind)?;
            object.put("category", [category])?;
            object.put("type", ["info"])?;
            object.put("action", record.name.replace('.', "-"))?;
            object.put("start", record.start)?;
            object.put("end", count.map(|_| record.time))?;
            identity(object, record.id, &dataset, record.severity)
        })?;
        if count.is_some() {
            network(document, None)?;
        }
        document.nest("source", |object| object.put("ip", src))?;
        document.nest("destination", |object| {
            object.put("ip", dst)?;
            object.put("port", count.and_then(|count| count.dst_port))
        })?;
        place(document, record.host, &[src, dst])?;
        document.nest("tcp_observer", |object| object.put(own, &record.fields))
    })
}

/// What every document has.
fn base(document: &mut Object<'_>, time: Timestamp, message: &str, dataset: &str) -> serde_json::Result<()> {
    document.put("@timestamp", time)?;
    document.nest("ecs", |object| object.put("version", VERSION))?;
    document.put("message", message)?;
    document.nest("data_stream", |object| {
        object.put("type", "logs")?;
        object.put("dataset", dataset)?;
        object.put("namespace", "default")
    })
}

/// The rest of `event`.
fn identity(event: &mut Object<'_>, id: &str, dataset: &str, of: Severity) -> serde_json::Result<()> {
    event.put("id", id)?;
    event.put("module", "observer")?;
    event.put("dataset", dataset)?;
    event.put("severity", severity(of))
}

fn network(document: &mut Object<'_>, dst: Option<IpAddr>) -> serde_json::Result<()> {
    document.nest("network", |object| {
        object.put("transport", "tcp")?;
        object.put("type", dst.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }))?;
        object.put("protocol", "smtp")?;
        object.put("direction", "egress")
    })
}

/// Where it comes from, and what it is about.
fn place(document: &mut Object<'_>, host: &str, ips: &[Option<IpAddr>]) -> serde_json::Result<()> {
    document.nest("host", |object| {
        object.put("hostname", host)?;
        object.put("name", host)
    })?;
    document.nest("agent", |object| {
        object.put("type", "observer")?;
        object.put("version", env!("CARGO_PKG_VERSION"))
    })?;
    document.nest("related", |object| {
        object.put("ip", ips.iter().flatten().collect::<Vec<_>>())?;
        object.put("hosts", [host])
    })
}

/// Of the values that ECS allows for the category network.
const fn types(label: Label) -> &'static [&'static str] {
    match label {
        Label::Refused | Label::Blocked => &["connection", "denied"],
        Label::Connected | Label::Reset | Label::Closed | Label::Silent => &["connection", "start", "end"],
        Label::Timeout | Label::Unreachable | Label::Cancelled | Label::Unknown => &["connection", "end"],
    }
}

/// What the application cancelled neither succeeded nor failed.
const fn outcome(label: Label) -> &'static str {
    match label {
        Label::Connected => "success",
        Label::Cancelled | Label::Unknown => "unknown",
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
