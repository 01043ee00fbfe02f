//! OpenTelemetry logs, OTLP 1.x as JSON: a request with one record a line, as
//! `/v1/logs` takes it. Attributes follow the semantic conventions; our own are
//! below `observer`.

use serde_json::{Map, Value, json};

use super::json::append;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::{Event, milliseconds};
use crate::label::{Label, Origin, Reason};

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let failed = event.label != Label::Connected;
    let evidence = &event.evidence;
    let process = event.process.as_ref();
    let attributes = attributes(json!({
        "log.record.uid": event.id,
        "network.transport": "tcp",
        "network.type": event.dst.ip.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }),
        "network.protocol.name": "smtp",
        "network.peer.address": event.dst.ip,
        "network.peer.port": event.dst.port,
        "network.local.address": event.src.ip,
        "network.local.port": event.src.port,
        "error.type": failed.then(|| error_type(event)),
        "process.pid": process.map(|process| process.pid),
        "process.executable.name": process.map(|process| &process.comm),
        "process.user.id": process.map(|process| process.uid),
        "process.linux.cgroup": process.and_then(|process| process.cgroup.as_ref()),
        "observer.label": event.label.as_str(),
        "observer.reason": event.reason.map(Reason::as_str),
        "observer.origin": event.origin.map(Origin::as_str),
        "observer.active_refusal": event.active_refusal,
        "observer.errno": event.errno,
        "observer.started": event.started,
        "observer.elapsed_ms": event.elapsed.map(milliseconds),
        "observer.handshake_ms": event.handshake.map(milliseconds),
        "observer.syn_retransmits": event.syn_retransmits,
        "observer.rst_ttl": evidence.rst_ttl,
        "observer.iface": evidence.iface,
        "observer.route_iface": evidence.route_iface,
        "observer.icmp_type": evidence.icmp_type,
        "observer.icmp_code": evidence.icmp_code,
        "observer.icmp_from": evidence.icmp_from,
        "observer.syn_drops": evidence.syn_drops,
        "observer.missing": (!evidence.missing.is_empty()).then(|| evidence.missing.join(",")),
        "observer.streak": event.destination.as_ref().map(|known| known.streak),
    }));
    let record = LogRecord {
        name: "observer.tcp.connect",
        time: event.time,
        severity: Severity::of_event(event),
        body: format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event)),
        attributes,
    };
    append(&record.request(&event.host), out)
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let numbers = &change.verdict.numbers;
    let attributes = attributes(json!({
        "log.record.uid": alert.id,
        "observer.change": change.kind.as_str(),
        "observer.since": change.since,
        "observer.scope": change.verdict.scope.as_str(),
        "observer.what": change.verdict.scope.to_string(),
        "observer.attempts": numbers.attempts,
        "observer.failures": numbers.failures,
        "observer.destinations": numbers.destinations,
        "observer.label": numbers.label.map(Label::as_str),
        "observer.elsewhere_attempts": numbers.elsewhere_attempts,
        "observer.elsewhere_successes": numbers.elsewhere_successes,
    }));
    let (severity, body) = (Severity::of_alert(alert), alert.text.clone());
    let record = LogRecord { name: "observer.scope", time: change.time, severity, body, attributes };
    append(&record.request(&alert.host), out)
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut own = Map::new();
    own.insert("log.record.uid".to_owned(), record.id.into());
    own.extend(record.fields.iter().map(|(name, value)| (format!("observer.{name}"), value.clone())));
    if let Some(start) = record.start {
        own.insert("observer.since".to_owned(), start.to_string().into());
    }
    let name = if record.count.is_some() { "observer.tcp.minute" } else { "observer.notice" };
    let log = LogRecord {
        name,
        time: record.time,
        severity: record.severity,
        body: record.text.clone(),
        attributes: attributes(Value::Object(own)),
    };
    append(&log.request(record.host), out)
}

/// Of few values, as the conventions ask for.
fn error_type(event: &Event) -> String {
    let label = event.label.as_str();
    event.reason.map_or_else(|| label.to_owned(), |reason| format!("{label}/{}", reason.as_str()))
}

struct LogRecord {
    name: &'static str,
    time: jiff::Timestamp,
    severity: Severity,
    body: String,
    attributes: Vec<Value>,
}

impl LogRecord {
    fn request(self, host: &str) -> Value {
        let resource = attributes(json!({
            "service.name": "observer",
            "service.version": env!("CARGO_PKG_VERSION"),
            "host.name": host,
        }));
        // 64-bit numbers are text in protobuf's JSON.
        let time = self.time.as_nanosecond().to_string();
        let (number, text) = severity(self.severity);
        json!({ "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{
                "scope": { "name": "observer", "version": env!("CARGO_PKG_VERSION") },
                "logRecords": [{
                    "timeUnixNano": time,
                    "observedTimeUnixNano": time,
                    "severityNumber": number,
                    "severityText": text,
                    "eventName": self.name,
                    "body": { "stringValue": self.body },
                    "attributes": self.attributes,
                }],
            }],
        }] })
    }
}

/// `SeverityNumber` of opentelemetry/proto/logs/v1.
const fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Informational => (9, "INFO"),
        Severity::Low | Severity::Medium => (13, "WARN"),
        Severity::High => (17, "ERROR"),
    }
}

/// The members of an object as `KeyValue`s, without those that are null.
fn attributes(object: Value) -> Vec<Value> {
    let Value::Object(members) = object else { return Vec::new() };
    let typed = |value: Value| match value {
        Value::Null => None,
        Value::Bool(value) => Some(json!({ "boolValue": value })),
        Value::Number(number) if number.is_f64() => Some(json!({ "doubleValue": number })),
        Value::Number(number) => Some(json!({ "intValue": number.to_string() })),
        Value::String(text) => Some(json!({ "stringValue": text })),
        other => Some(json!({ "stringValue": other.to_string() })),
    };
    let pairs = Map::into_iter(members).filter_map(|(key, value)| Some(json!({ "key": key, "value": typed(value)? })));
    pairs.collect()
}
