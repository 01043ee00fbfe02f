//! OpenTelemetry logs, OTLP 1.x as JSON: a request with one record a line, as
//! `/v1/logs` takes it. Attributes follow the semantic conventions; our own are
//! below `observer`.

use std::fmt::Display;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::object::Object;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::{Event, Evidence, milliseconds};
use crate::label::{Label, Origin, Reason};

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let process = event.process.as_ref();
    let error_type = (event.label != Label::Connected).then(|| error_type(event));
    let missing = (!event.evidence.missing.is_empty()).then(|| event.evidence.missing.join(","));
    let mut attributes = Attributes::with_capacity(40);
    attributes.text("log.record.uid", Some(&event.id));
    attributes.text("network.transport", Some("tcp"));
    attributes.text("network.type", event.dst.ip.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }));
    attributes.text("network.protocol.name", Some("smtp"));
    attributes.shown("network.peer.address", event.dst.ip.as_ref());
    attributes.number("network.peer.port", event.dst.port);
    attributes.shown("network.local.address", event.src.ip.as_ref());
    attributes.number("network.local.port", event.src.port);
    attributes.text("error.type", error_type.as_deref());
    attributes.number("process.pid", process.map(|process| process.pid));
    attributes.text("process.executable.name", process.map(|process| process.comm.as_str()));
    attributes.number("process.user.id", process.map(|process| process.uid));
    attributes.text("process.linux.cgroup", process.and_then(|process| process.cgroup.as_deref()));
    attributes.text("observer.label", Some(event.label.as_str()));
    attributes.text("observer.reason", event.reason.map(Reason::as_str));
    attributes.text("observer.origin", event.origin.map(Origin::as_str));
    attributes.put("observer.active_refusal", event.active_refusal.map(Any::Bool));
    attributes.text("observer.errno", event.errno.as_deref());
    attributes.shown("observer.started", event.started.as_ref());
    attributes.put("observer.elapsed_ms", event.elapsed.map(milliseconds).map(Any::Double));
    attributes.put("observer.handshake_ms", event.handshake.map(milliseconds).map(Any::Double));
    attributes.number("observer.syn_retransmits", Some(event.syn_retransmits));
    attributes.evidence(&event.evidence, missing.as_deref());
    attributes.number("observer.streak", event.destination.as_ref().map(|known| known.streak));
    let body = format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event));
    let record = LogRecord {
        name: "observer.tcp.connect",
        time: event.time,
        severity: Severity::of_event(event),
        body: &body,
        attributes,
    };
    record.append(&event.host, out)
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let (scope, numbers) = (&change.verdict.scope, &change.verdict.numbers);
    let mut attributes = Attributes::with_capacity(11);
    attributes.text("log.record.uid", Some(&alert.id));
    attributes.text("observer.change", Some(change.kind.as_str()));
    attributes.shown("observer.since", Some(&change.since));
    attributes.text("observer.scope", Some(scope.as_str()));
    attributes.shown("observer.what", Some(scope));
    attributes.number("observer.attempts", Some(numbers.attempts));
    attributes.number("observer.failures", Some(numbers.failures));
    attributes.number("observer.destinations", Some(numbers.destinations));
    attributes.text("observer.label", numbers.label.map(Label::as_str));
    attributes.number("observer.elsewhere_attempts", Some(numbers.elsewhere_attempts));
    attributes.number("observer.elsewhere_successes", Some(numbers.elsewhere_successes));
    let (severity, body) = (Severity::of_alert(alert), alert.text.as_str());
    LogRecord { name: "observer.scope", time: change.time, severity, body, attributes }.append(&alert.host, out)
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let names: Vec<String> = record.fields.keys().map(|name| format!("observer.{name}")).collect();
    let mut attributes = Attributes::with_capacity(names.len() + 2);
    attributes.text("log.record.uid", Some(record.id));
    names.iter().zip(record.fields.values()).for_each(|(name, value)| attributes.put(name, Some(Any::Json(value))));
    attributes.shown("observer.since", record.start.as_ref());
    let name = if record.count.is_some() { "observer.tcp.minute" } else { "observer.notice" };
    LogRecord { name, time: record.time, severity: record.severity, body: &record.text, attributes }
        .append(record.host, out)
}

/// Of few values, as the conventions ask for.
fn error_type(event: &Event) -> String {
    let label = event.label.as_str();
    event.reason.map_or_else(|| label.to_owned(), |reason| format!("{label}/{}", reason.as_str()))
}

struct LogRecord<'a> {
    name: &'static str,
    time: jiff::Timestamp,
    severity: Severity,
    body: &'a str,
    attributes: Attributes<'a>,
}

impl LogRecord<'_> {
    /// As a request of its own.
    fn append(&self, host: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut resource = Attributes::with_capacity(3);
        resource.text("service.name", Some("observer"));
        resource.text("service.version", Some(env!("CARGO_PKG_VERSION")));
        resource.text("host.name", Some(host));
        Object::line(out, |request| {
            request.list_of_one("resourceLogs", |logs| {
                logs.nest("resource", |object| object.put("attributes", &resource.0))?;
                logs.list_of_one("scopeLogs", |logs| {
                    logs.nest("scope", |scope| {
                        scope.put("name", "observer")?;
                        scope.put("version", env!("CARGO_PKG_VERSION"))
                    })?;
                    logs.list_of_one("logRecords", |record| self.put(record))
                })
            })
        })
    }

    fn put(&self, record: &mut Object<'_>) -> serde_json::Result<()> {
        // 64-bit numbers are text in protobuf's JSON.
        let time = self.time.as_nanosecond().to_string();
        let (number, text) = severity(self.severity);
        record.put("timeUnixNano", &time)?;
        record.put("observedTimeUnixNano", &time)?;
        record.put("severityNumber", number)?;
        record.put("severityText", text)?;
        record.put("eventName", self.name)?;
        record.put("body", Any::Text(self.body))?;
        record.put("attributes", &self.attributes.0)
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

/// Pairs of a name and a value; what is not there has none.
struct Attributes<'a>(Vec<KeyValue<'a>>);

/// `KeyValue` of opentelemetry/proto/common/v1.
#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: Any<'a>,
}

/// `AnyValue` of the same.
enum Any<'a> {
    Text(&'a str),
    Shown(&'a dyn Display),
    Number(u64),
    Double(f64),
    Bool(bool),
    Json(&'a Value),
}

impl<'a> Attributes<'a> {
    fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    fn put(&mut self, key: &'a str, value: Option<Any<'a>>) {
        self.0.extend(value.map(|value| KeyValue { key, value }));
    }

    fn text<T: AsRef<str> + ?Sized>(&mut self, key: &'a str, text: Option<&'a T>) {
        self.put(key, text.map(|text| Any::Text(text.as_ref())));
    }

    fn shown<T: Display>(&mut self, key: &'a str, value: Option<&'a T>) {
        self.put(key, value.map(|value| Any::Shown(value)));
    }

    fn number(&mut self, key: &'a str, number: Option<impl Into<u64>>) {
        self.put(key, number.map(|number| Any::Number(number.into())));
    }

    fn evidence(&mut self, evidence: &'a Evidence, missing: Option<&'a str>) {
        self.number("observer.rst_ttl", evidence.rst_ttl);
        self.text("observer.iface", evidence.iface.as_deref());
        self.text("observer.route_iface", evidence.route_iface.as_deref());
        self.number("observer.icmp_type", evidence.icmp_type);
        self.number("observer.icmp_code", evidence.icmp_code);
        self.shown("observer.icmp_from", evidence.icmp_from.as_ref());
        self.number("observer.syn_drops", evidence.syn_drops);
        self.text("observer.missing", missing);
    }
}

impl Serialize for Any<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Text(text) => map.serialize_entry("stringValue", text)?,
            Self::Shown(value) => map.serialize_entry("stringValue", &format_args!("{value}"))?,
            Self::Number(number) => map.serialize_entry("intValue", &format_args!("{number}"))?,
            Self::Double(number) => map.serialize_entry("doubleValue", number)?,
            Self::Bool(value) => map.serialize_entry("boolValue", value)?,
            Self::Json(Value::Bool(value)) => map.serialize_entry("boolValue", value)?,
            Self::Json(Value::Number(number)) if number.is_f64() => map.serialize_entry("doubleValue", number)?,
            Self::Json(Value::Number(number)) => map.serialize_entry("intValue", &format_args!("{number}"))?,
            Self::Json(Value::String(text)) => map.serialize_entry("stringValue", text)?,
            Self::Json(other) => map.serialize_entry("stringValue", &format_args!("{other}"))?,
        }
        map.end()
    }
}
