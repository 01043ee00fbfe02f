//! Open Cybersecurity Schema Framework 1.8.0: attempts as class 4001, Network
//! Activity; alerts as class 2004, Detection Finding. One object a line. What has
//! no place there goes into `unmapped`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::json::{append, prune};
use super::phrase::phrase;
use super::record::{Count, Record};
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::Event;
use crate::label::{Label, Reason};
use crate::scope::Change;

const VERSION: &str = "1.8.0";
/// `protocol_num` of TCP.
const TCP: u8 = 6;

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let (activity_id, activity) = activity(event.label);
    let (status_id, status) = status(event.label);
    let (severity_id, severity) = severity(Severity::of_event(event));
    let process = event.process.as_ref();
    let object = prune(json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "type_uid": 400_100 + u32::from(activity_id),
        "type_name": format!("Network Activity: {activity}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": event.errno,
        "status_detail": detail(event),
        "time": event.time.as_millisecond(),
        "start_time": event.started.map(|started| started.as_millisecond()),
        "end_time": event.time.as_millisecond(),
        "duration": event.elapsed.map(|elapsed| elapsed.as_millis() as u64),
        "message": format!("{}: {}", destination(&event.dst), phrase(event)),
        "app_protocol_name": "smtp",
        "metadata": metadata(&event.id, &format!("tcp.connect.{}", event.label.as_str())),
        "device": device(&event.host),
        "connection_info": {
            "direction_id": 2,
            "direction": "Outbound",
            "protocol_num": TCP,
            "protocol_name": "tcp",
            "protocol_ver_id": event.dst.ip.map(|ip| if ip.is_ipv4() { 4 } else { 6 }),
        },
        "src_endpoint": {
            "ip": event.src.ip,
            "port": event.src.port,
            "hostname": event.host,
            "interface_name": event.evidence.route_iface,
        },
        "dst_endpoint": { "ip": event.dst.ip, "port": event.dst.port, "svc_name": "smtp" },
        "traffic": {
            "bytes_in": event.evidence.bytes_received,
            "timespan": { "duration": event.handshake.map(|handshake| handshake.as_millis() as u64) },
        },
        "actor": {
            "process": {
                "pid": process.map(|process| process.pid),
                "name": process.map(|process| &process.comm),
                "user": { "uid": process.map(|process| process.uid.to_string()) },
            },
        },
        "observables": observables([("src_endpoint.ip", event.src.ip), ("dst_endpoint.ip", event.dst.ip)]),
        "unmapped": unmapped(event)?,
    }));
    append(&object, out)
}

/// By the names of `observer.event.v1`.
fn unmapped(event: &Event) -> serde_json::Result<Value> {
    let mut own = serde_json::to_value(event)?;
    if let Value::Object(members) = &mut own {
        let kept =
            ["label", "reason", "origin", "active_refusal", "syn_retransmits", "evidence", "destination", "process"];
        members.retain(|name, _| kept.contains(&name.as_str()));
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
    let (activity_id, activity, status_id, status) = match change.kind {
        Change::Began => (1, "Create", 1, "New"),
        Change::Widened => (2, "Update", 2, "In Progress"),
        Change::Ended => (3, "Close", 4, "Resolved"),
    };
    let (severity_id, severity) = severity(Severity::of_alert(alert));
    let scope = &change.verdict.scope;
    let mut own = serde_json::to_value(alert)?;
    if let Value::Object(members) = &mut own {
        members.retain(|name, _| !["schema", "id", "host", "text", "time", "since"].contains(&name.as_str()));
    }
    let object = prune(json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_400 + activity_id,
        "type_name": format!("Detection Finding: {activity}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "is_alert": change.kind != Change::Ended,
        "time": change.time.as_millisecond(),
        "start_time": change.since.as_millisecond(),
        "message": alert.text,
        "metadata": metadata(&alert.id, &format!("scope.{}", change.kind.as_str())),
        "device": device(&alert.host),
        "finding_info": {
            // The same for all that is said of one scope.
            "uid": format!("{}/{scope}", alert.host),
            "title": format!("SMTP connections fail: {scope}"),
            "desc": alert.text,
            "types": [scope.as_str()],
            "first_seen_time": change.since.as_millisecond(),
            "last_seen_time": change.time.as_millisecond(),
        },
        "unmapped": own,
    }));
    append(&object, out)
}

/// Appends the record as one line: a minute as class 4001 with the activity
/// Traffic, a notice as class 6008, Application Error, though one may say that all
/// is well again.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let (severity_id, severity) = severity(record.severity);
    let mut object = json!({
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 0,
        "status": "Unknown",
        "time": record.time.as_millisecond(),
        "start_time": record.start.map(|start| start.as_millisecond()),
        "message": record.text,
        "metadata": metadata(record.id, &record.name),
        "device": device(record.host),
        "unmapped": record.fields,
    });
    let class = match &record.count {
        Some(count) => traffic(count, record.time),
        None => json!({
            "activity_id": 1,
            "activity_name": "General Error",
            "category_uid": 6,
            "category_name": "Application Activity",
            "class_uid": 6008,
            "class_name": "Application Error",
            "type_uid": 600_801,
            "type_name": "Application Error: General Error",
        }),
    };
    if let (Value::Object(object), Value::Object(class)) = (&mut object, class) {
        object.extend(class);
    }
    append(&prune(object), out)
}

fn traffic(count: &Count, end: jiff::Timestamp) -> Value {
    json!({
        "activity_id": 6,
        "activity_name": "Traffic",
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "type_uid": 400_106,
        "type_name": "Network Activity: Traffic",
        "status_detail": count.reason.map(Reason::as_str),
        "end_time": end.as_millisecond(),
        "count": count.count,
        "app_protocol_name": "smtp",
        "connection_info": {
            "direction_id": 2,
            "direction": "Outbound",
            "protocol_num": TCP,
            "protocol_name": "tcp",
            "protocol_ver_id": count.dst_ip.map(|ip| if ip.is_ipv4() { 4 } else { 6 }),
        },
        "src_endpoint": { "ip": count.src_ip },
        "dst_endpoint": { "ip": count.dst_ip, "port": count.dst_port, "svc_name": "smtp" },
        "observables": observables([("src_endpoint.ip", count.src_ip), ("dst_endpoint.ip", count.dst_ip)]),
    })
}

fn metadata(id: &str, code: &str) -> Value {
    json!({
        "version": VERSION,
        "uid": id,
        "event_code": code,
        "log_name": "observer",
        "profiles": ["host"],
        "product": { "name": "observer", "vendor_name": "observer", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn device(host: &str) -> Value {
    json!({ "hostname": host, "type_id": 1, "type": "Server" })
}

fn observables<const N: usize>(addresses: [(&str, Option<IpAddr>); N]) -> Vec<Value> {
    let observable = |(name, ip): (&str, Option<IpAddr>)| {
        Some(json!({ "name": name, "type_id": 2, "type": "IP Address", "value": ip? }))
    };
    addresses.into_iter().filter_map(observable).collect()
}

const fn activity(label: Label) -> (u8, &'static str) {
    match label {
        Label::Connected => (1, "Open"),
        Label::Closed => (2, "Close"),
        Label::Reset => (3, "Reset"),
        Label::Refused => (5, "Refuse"),
        Label::Timeout | Label::Unreachable | Label::Blocked | Label::Silent | Label::Cancelled => (4, "Fail"),
    }
}

/// What the application cancelled neither succeeded nor failed.
const fn status(label: Label) -> (u8, &'static str) {
    match label {
        Label::Connected => (1, "Success"),
        Label::Cancelled => (0, "Unknown"),
        _ => (2, "Failure"),
    }
}

const fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    }
}

/// `icmp 3/13`, or else the reason.
fn detail(event: &Event) -> Option<String> {
    let icmp = event.evidence.icmp_type.zip(event.evidence.icmp_code).map(|(kind, code)| format!("icmp {kind}/{code}"));
    icmp.or_else(|| event.reason.map(Reason::as_str).map(str::to_owned))
}
