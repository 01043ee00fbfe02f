//! Open Cybersecurity Schema Framework 1.8.0: attempts as class 4001, Network
//! Activity; alerts as class 2004, Detection Finding. One object a line. What has
//! no place there goes into `unmapped`.

use std::net::IpAddr;

use serde::Serialize;

use super::object::Object;
use super::own;
use super::phrase::phrase;
use super::record::{Count, Record};
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::Event;
use crate::label::{Label, Reason};
use crate::scope::{Change, EndCause};

const VERSION: &str = "1.8.0";
/// `protocol_num` of TCP.
const TCP: u8 = 6;

/// A class: number and name of its category, of its own, and of the activity.
struct Class {
    category: (u32, &'static str),
    class: (u32, &'static str),
    activity: (u32, &'static str),
}

const NETWORK: (u32, &str) = (4, "Network Activity");
const NETWORK_ACTIVITY: (u32, &str) = (4001, "Network Activity");

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let class = Class { category: NETWORK, class: NETWORK_ACTIVITY, activity: activity(event.label) };
    let message = format!("{}: {}", destination(&event.dst), phrase(event));
    Object::line(out, |object| {
        class.put(object)?;
        judge(object, Severity::of_event(event), status(event.label))?;
        object.put("status_code", &event.errno)?;
        object.put("status_detail", detail(event))?;
        object.put("time", event.time.as_millisecond())?;
        object.put("start_time", event.started.map(|started| started.as_millisecond()))?;
        object.put("end_time", event.time.as_millisecond())?;
        object.put("duration", event.elapsed.map(|elapsed| elapsed.as_millis() as u64))?;
        object.put("message", &message)?;
        metadata(object, &event.id, "tcp.connect.", event.label.as_str())?;
        device(object, &event.host)?;
        connection(object, event.dst.ip)?;
        object.nest("src_endpoint", |object| {
            object.extend(&event.src)?;
            object.put("hostname", &event.host)?;
            object.put("interface_name", &event.evidence.route_iface)
        })?;
        destination_endpoint(object, event.dst.ip, event.dst.port)?;
        object.nest("traffic", |object| {
            object.put("bytes_in", event.evidence.bytes_received)?;
            let handshake = event.handshake.map(|handshake| handshake.as_millis() as u64);
            object.nest("timespan", |object| object.put("duration", handshake))
        })?;
        actor(object, event)?;
        observables(object, event.src.ip, event.dst.ip)?;
        object.nest("unmapped", |object| own::put(event, object))
    })
}

fn actor(object: &mut Object<'_>, event: &Event) -> serde_json::Result<()> {
    let process = event.process.as_ref();
    object.nest("actor", |object| {
        object.nest("process", |object| {
            object.put("pid", process.map(|process| process.pid))?;
            object.put("name", process.map(|process| &process.comm))?;
            object.nest("user", |object| object.put("uid", process.map(|process| process.uid.to_string())))
        })
    })
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let (activity, status) = match change.kind {
        Change::Began => ((1, "Create"), (1, "New")),
        Change::Widened => ((2, "Update"), (2, "In Progress")),
        // It may fail still: not resolved.
        Change::Ended if change.cause == Some(EndCause::ObserverStopped) => ((3, "Close"), (99, "Observer stopped")),
        Change::Ended => ((3, "Close"), (4, "Resolved")),
    };
    let class = Class { category: (2, "Findings"), class: (2004, "Detection Finding"), activity };
    let scope = &change.verdict.scope;
    let own = own::of_alert(alert)?;
    Object::line(out, |object| {
        class.put(object)?;
        judge(object, Severity::of_alert(alert), status)?;
        object.put("is_alert", change.kind != Change::Ended)?;
        object.put("time", change.time.as_millisecond())?;
        object.put("start_time", change.since.as_millisecond())?;
        object.put("message", &alert.text)?;
        metadata(object, &alert.id, "scope.", change.kind.as_str())?;
        device(object, &alert.host)?;
        object.nest("finding_info", |object| {
            // The same for all that is said of one scope.
            object.put("uid", format!("{}/{scope}", alert.host))?;
            object.put("title", format!("SMTP connections fail: {scope}"))?;
            object.put("desc", &alert.text)?;
            object.put("types", [scope.as_str()])?;
            object.put("first_seen_time", change.since.as_millisecond())?;
            object.put("last_seen_time", change.time.as_millisecond())
        })?;
        object.put("unmapped", &own)
    })
}

/// Appends the record as one line: a minute as class 4001 with the activity
/// Traffic, a notice as class 6008, Application Error, though one may say that all
/// is well again.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let class = match record.count {
        Some(_) => Class { category: NETWORK, class: NETWORK_ACTIVITY, activity: (6, "Traffic") },
        None => Class {
            category: (6, "Application Activity"),
            class: (6008, "Application Error"),
            activity: (1, "General Error"),
        },
    };
    Object::line(out, |object| {
        class.put(object)?;
        judge(object, record.severity, (0, "Unknown"))?;
        object.put("time", record.time.as_millisecond())?;
        object.put("start_time", record.start.map(|start| start.as_millisecond()))?;
        object.put("message", &record.text)?;
        metadata(object, record.id, &record.name, "")?;
        device(object, record.host)?;
        if let Some(count) = &record.count {
            traffic(object, count, record.time)?;
        }
        object.put("unmapped", &record.fields)
    })
}

fn traffic(object: &mut Object<'_>, count: &Count, end: jiff::Timestamp) -> serde_json::Result<()> {
    object.put("status_detail", count.reason.map(Reason::as_str))?;
    object.put("end_time", end.as_millisecond())?;
    object.put("count", count.count)?;
    connection(object, count.dst_ip)?;
    object.nest("src_endpoint", |object| object.put("ip", count.src_ip))?;
    destination_endpoint(object, count.dst_ip, count.dst_port)?;
    observables(object, count.src_ip, count.dst_ip)
}

impl Class {
    fn put(&self, object: &mut Object<'_>) -> serde_json::Result<()> {
        let (uid, name) = self.class;
        let (activity, activity_name) = self.activity;
        object.put("activity_id", activity)?;
        object.put("activity_name", activity_name)?;
        object.put("category_uid", self.category.0)?;
        object.put("category_name", self.category.1)?;
        object.put("class_uid", uid)?;
        object.put("class_name", name)?;
        object.put("type_uid", uid * 100 + activity)?;
        object.put("type_name", format_args!("{name}: {activity_name}"))
    }
}

fn judge(object: &mut Object<'_>, of: Severity, status: (u8, &str)) -> serde_json::Result<()> {
    let (severity_id, severity) = severity(of);
    object.put("severity_id", severity_id)?;
    object.put("severity", severity)?;
    object.put("status_id", status.0)?;
    object.put("status", status.1)
}

/// The event's code is `kind` and `what` together.
fn metadata(object: &mut Object<'_>, id: &str, kind: &str, what: &str) -> serde_json::Result<()> {
    object.nest("metadata", |object| {
        object.put("version", VERSION)?;
        object.put("uid", id)?;
        object.put("event_code", format_args!("{kind}{what}"))?;
        object.put("log_name", "observer")?;
        object.put("profiles", ["host"])?;
        object.nest("product", |object| {
            object.put("name", "observer")?;
            object.put("vendor_name", "observer")?;
            object.put("version", env!("CARGO_PKG_VERSION"))
        })
    })
}

fn device(object: &mut Object<'_>, host: &str) -> serde_json::Result<()> {
    object.nest("device", |object| {
        object.put("hostname", host)?;
        object.put("type_id", 1)?;
        object.put("type", "Server")
    })
}

fn connection(object: &mut Object<'_>, dst: Option<IpAddr>) -> serde_json::Result<()> {
    object.put("app_protocol_name", "smtp")?;
    object.nest("connection_info", |object| {
        object.put("direction_id", 2)?;
        object.put("direction", "Outbound")?;
        object.put("protocol_num", TCP)?;
        object.put("protocol_name", "tcp")?;
        object.put("protocol_ver_id", dst.map(|ip| if ip.is_ipv4() { 4 } else { 6 }))
    })
}

fn destination_endpoint(object: &mut Object<'_>, ip: Option<IpAddr>, port: Option<u16>) -> serde_json::Result<()> {
    object.nest("dst_endpoint", |object| {
        object.put("ip", ip)?;
        object.put("port", port)?;
        object.put("svc_name", "smtp")
    })
}

#[derive(Serialize)]
struct Observable {
    name: &'static str,
    type_id: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    value: IpAddr,
}

fn observables(object: &mut Object<'_>, src: Option<IpAddr>, dst: Option<IpAddr>) -> serde_json::Result<()> {
    let observable = |(name, ip): (&'static str, Option<IpAddr>)| {
        Some(Observable { name, type_id: 2, kind: "IP Address", value: ip? })
    };
    let addresses = [("src_endpoint.ip", src), ("dst_endpoint.ip", dst)];
    object.put("observables", addresses.into_iter().filter_map(observable).collect::<Vec<_>>())
}

const fn activity(label: Label) -> (u32, &'static str) {
    match label {
        Label::Connected => (1, "Open"),
        Label::Closed => (2, "Close"),
        Label::Reset => (3, "Reset"),
        Label::Refused => (5, "Refuse"),
        Label::Timeout | Label::Unreachable | Label::Blocked | Label::Silent | Label::Cancelled => (4, "Fail"),
        Label::Unknown => (0, "Unknown"),
    }
}

/// What the application cancelled neither succeeded nor failed.
const fn status(label: Label) -> (u8, &'static str) {
    match label {
        Label::Connected => (1, "Success"),
        Label::Cancelled | Label::Unknown => (0, "Unknown"),
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
