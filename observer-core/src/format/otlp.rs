//! OpenTelemetry logs, OTLP 1.x as JSON: a request with one record a line, as
//! `/v1/logs` takes it. Attributes follow the semantic conventions; our own are
//! below `observer`.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::json::write;
use super::object::Object;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::{Event, Evidence, milliseconds};
use crate::label::{Label, Origin, Reason};
use crate::mta::DeliveryStatus;
use crate::scope::EndCause;

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let body = format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event));
    let record =
        LogRecord { name: "observer.tcp.connect", time: event.time, severity: Severity::of_event(event), body: &body };
    record.append(&event.host, out, |attributes| put_event(event, attributes))
}

fn put_event(event: &Event, attributes: &mut Attributes<'_>) -> serde_json::Result<()> {
    let process = event.process.as_ref();
    let error_type = (event.label != Label::Connected).then(|| error_type(event));
    attributes.text("log.record.uid", Some(&event.id))?;
    attributes.text("network.transport", Some("tcp"))?;
    attributes.text("network.type", event.dst.ip.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }))?;
    attributes.text("network.protocol.name", Some("smtp"))?;
    attributes.shown("network.peer.address", event.dst.ip.as_ref())?;
    attributes.number("network.peer.port", event.dst.port)?;
    attributes.shown("network.local.address", event.src.ip.as_ref())?;
    attributes.number("network.local.port", event.src.port)?;
    attributes.text("error.type", error_type.as_deref())?;
    attributes.number("process.pid", process.map(|process| process.pid))?;
    attributes.text("process.executable.name", process.map(|process| process.comm.as_str()))?;
    attributes.number("process.user.id", process.map(|process| process.uid))?;
    attributes.text("process.linux.cgroup", process.and_then(|process| process.cgroup.as_deref()))?;
    attributes.text("observer.label", Some(event.label.as_str()))?;
    attributes.text("observer.reason", event.reason.map(Reason::as_str))?;
    attributes.text("observer.origin", event.origin.map(Origin::as_str))?;
    attributes.truth("observer.active_refusal", event.active_refusal)?;
    attributes.text("observer.errno", event.errno.as_deref())?;
    attributes.shown("observer.started", event.started.as_ref())?;
    attributes.double("observer.elapsed_ms", event.elapsed.map(milliseconds))?;
    attributes.double("observer.handshake_ms", event.handshake.map(milliseconds))?;
    attributes.number("observer.syn_retransmits", Some(event.syn_retransmits))?;
    attributes.evidence(&event.evidence)?;
    let mta = event.mta.as_ref();
    attributes.text("observer.mta.kind", mta.map(|mta| mta.kind.as_str()))?;
    attributes.text("observer.mta.queue_id", mta.and_then(|mta| mta.queue_id.as_deref()))?;
    attributes.text("observer.mta.recipient_domain", mta.and_then(|mta| mta.recipient_domain.as_deref()))?;
    attributes.text("observer.mta.host", mta.and_then(|mta| mta.host.as_deref()))?;
    attributes.text("observer.mta.status", mta.and_then(|mta| mta.status).map(DeliveryStatus::as_str))?;
    attributes.text("observer.mta.words", mta.and_then(|mta| mta.words.as_deref()))?;
    attributes.number("observer.streak", event.destination.as_ref().map(|known| known.streak))
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let change = &alert.change;
    let (scope, numbers) = (&change.verdict.scope, &change.verdict.numbers);
    let (severity, body) = (Severity::of_alert(alert), alert.text.as_str());
    let record = LogRecord { name: "observer.scope", time: change.time, severity, body };
    record.append(&alert.host, out, |attributes| {
        attributes.text("log.record.uid", Some(&alert.id))?;
        attributes.text("observer.change", Some(change.kind.as_str()))?;
        attributes.text("observer.cause", change.cause.map(EndCause::as_str))?;
        attributes.shown("observer.since", Some(&change.since))?;
        attributes.text("observer.scope", Some(scope.as_str()))?;
        attributes.shown("observer.what", Some(scope))?;
        attributes.number("observer.attempts", Some(numbers.attempts))?;
        attributes.number("observer.failures", Some(numbers.failures))?;
        attributes.number("observer.destinations", Some(numbers.destinations))?;
        attributes.text("observer.label", numbers.label.map(Label::as_str))?;
        attributes.text("observer.origin", numbers.origin.map(Origin::as_str))?;
        attributes.number("observer.elsewhere_attempts", Some(numbers.elsewhere_attempts))?;
        attributes.number("observer.elsewhere_successes", Some(numbers.elsewhere_successes))
    })
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let name = if record.count.is_some() { "observer.tcp.minute" } else { "observer.notice" };
    let log = LogRecord { name, time: record.time, severity: record.severity, body: &record.text };
    log.append(record.host, out, |attributes| {
        attributes.text("log.record.uid", Some(record.id))?;
        for (name, value) in &record.fields {
            attributes.json(&format!("observer.{name}"), value)?;
        }
        attributes.shown("observer.since", record.start)
    })
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
}

impl LogRecord<'_> {
    /// As a request of its own.
    fn append(
        &self,
        host: &str,
        out: &mut Vec<u8>,
        attributes: impl FnOnce(&mut Attributes<'_>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        Object::line(out, |request| {
            request.list_of_one("resourceLogs", |logs| {
                logs.nest("resource", |resource| {
                    Attributes::list(resource, |attributes| {
                        attributes.text("service.name", Some("observer"))?;
                        attributes.text("service.version", Some(env!("CARGO_PKG_VERSION")))?;
                        attributes.text("host.name", Some(host))
                    })
                })?;
                logs.list_of_one("scopeLogs", |logs| {
                    logs.nest("scope", |scope| {
                        scope.put("name", "observer")?;
                        scope.put("version", env!("CARGO_PKG_VERSION"))
                    })?;
                    logs.list_of_one("logRecords", |record| {
                        self.put(record)?;
                        Attributes::list(record, attributes)
                    })
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
        record.nest("body", |body| body.put("stringValue", self.body))
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

/// A list of `KeyValue`s of opentelemetry/proto/common/v1; what is not there has none.
/// Keys are the formats' own and need no escapes.
struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl Attributes<'_> {
    /// The member `attributes`.
    fn list(
        object: &mut Object<'_>,
        members: impl FnOnce(&mut Attributes<'_>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        object.list("attributes", |out| members(&mut Attributes { out, is_empty: true }))
    }

    fn put(&mut self, key: &str, kind: &str, value: impl Serialize) -> serde_json::Result<()> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        for part in [r#"{"key":""#, key, r#"","value":{""#, kind, r#"":"#] {
            self.out.extend_from_slice(part.as_bytes());
        }
        write(&value, self.out)?;
        self.out.extend_from_slice(b"}}");
        Ok(())
    }

    fn text(&mut self, key: &str, text: Option<impl AsRef<str>>) -> serde_json::Result<()> {
        text.map_or(Ok(()), |text| self.put(key, "stringValue", text.as_ref()))
    }

    fn shown(&mut self, key: &str, value: Option<impl Display>) -> serde_json::Result<()> {
        value.map_or(Ok(()), |value| self.put(key, "stringValue", format_args!("{value}")))
    }

    /// 64-bit numbers are text in protobuf's JSON.
    fn number(&mut self, key: &str, number: Option<impl Display>) -> serde_json::Result<()> {
        number.map_or(Ok(()), |number| self.put(key, "intValue", format_args!("{number}")))
    }

    fn double(&mut self, key: &str, number: Option<f64>) -> serde_json::Result<()> {
        number.map_or(Ok(()), |number| self.put(key, "doubleValue", number))
    }

    fn truth(&mut self, key: &str, value: Option<bool>) -> serde_json::Result<()> {
        value.map_or(Ok(()), |value| self.put(key, "boolValue", value))
    }

    fn json(&mut self, key: &str, value: &Value) -> serde_json::Result<()> {
        match value {
            Value::Bool(value) => self.truth(key, Some(*value)),
            Value::Number(number) if number.is_f64() => self.put(key, "doubleValue", number),
            Value::Number(number) => self.number(key, Some(number)),
            Value::String(text) => self.text(key, Some(text)),
            other => self.shown(key, Some(other)),
        }
    }

    fn evidence(&mut self, evidence: &Evidence) -> serde_json::Result<()> {
        self.number("observer.rst_ttl", evidence.rst_ttl)?;
        self.text("observer.iface", evidence.iface.as_ref())?;
        self.text("observer.route_iface", evidence.route_iface.as_ref())?;
        self.number("observer.icmp_type", evidence.icmp_type)?;
        self.number("observer.icmp_code", evidence.icmp_code)?;
        self.shown("observer.icmp_from", evidence.icmp_from)?;
        self.number("observer.syn_drops", evidence.syn_drops)?;
        self.number("observer.answer_drops", evidence.answer_drops)?;
        self.number("observer.unacked_bytes", evidence.unacked_bytes)?;
        self.text("observer.redirected", evidence.redirected.then_some("true"))?;
        let missing = (!evidence.missing.is_empty()).then(|| evidence.missing.join(","));
        self.text("observer.missing", missing)
    }
}
