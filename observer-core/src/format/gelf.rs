//! Graylog Extended Log Format 1.1: one JSON object a line; a sink that frames
//! with NUL does so itself. Additional fields hold text or numbers, and `_id` is
//! not allowed.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::object::Object;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::{Event, Evidence, Mta, milliseconds};

/// Appends the event as one line.
///
/// # Errors
/// Those of serialisation, which plain values do not have.
pub fn append_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let text = format!("{} {}: {}", event.label.as_str(), destination(&event.dst), phrase(event));
    Object::line(out, |message| {
        common(message, &event.host, &text, event.time, Severity::of_event(event))?;
        message.put("_schema", event.schema)?;
        message.put("_event_id", &event.id)?;
        message.put("_time", event.time)?;
        message.put("_label", event.label)?;
        message.put("_reason", event.reason)?;
        message.put("_origin", event.origin)?;
        message.put("_active_refusal", event.active_refusal.map(|is_active| is_active.to_string()))?;
        message.put("_errno", &event.errno)?;
        message.put("_src_ip", event.src.ip)?;
        message.put("_src_port", event.src.port)?;
        message.put("_dst_ip", event.dst.ip)?;
        message.put("_dst_port", event.dst.port)?;
        message.put("_started", event.started)?;
        message.put("_elapsed_ms", event.elapsed.map(milliseconds))?;
        message.put("_handshake_ms", event.handshake.map(milliseconds))?;
        message.put("_syn_retransmits", event.syn_retransmits)?;
        evidence(message, &event.evidence)?;
        if let Some(process) = &event.process {
            message.put("_process_pid", process.pid)?;
            message.put("_process_uid", process.uid)?;
            message.put("_process_comm", &process.comm)?;
            message.put("_process_cgroup", &process.cgroup)?;
            message.put("_process_netns", process.netns)?;
        }
        mta(message, event.mta.as_ref())?;
        let Some(known) = &event.destination else { return Ok(()) };
        message.put("_destination_attempts", known.attempts)?;
        message.put("_destination_established", known.established)?;
        message.put("_destination_refused", known.refused)?;
        message.put("_destination_timeout", known.timeout)?;
        message.put("_destination_first_failed", known.first_failed)?;
        message.put("_destination_streak", known.streak)
    })
}

fn mta(message: &mut Object<'_>, mta: Option<&Mta>) -> serde_json::Result<()> {
    let Some(mta) = mta else { return Ok(()) };
    message.put("_mta_kind", mta.kind)?;
    message.put("_mta_queue_id", &mta.queue_id)?;
    message.put("_mta_recipient_domain", &mta.recipient_domain)?;
    message.put("_mta_host", &mta.host)?;
    message.put("_mta_status", mta.status)?;
    message.put("_mta_said", mta.said)?;
    message.put("_mta_words", &mta.words)?;
    message.put("_mta_unlogged", mta.unlogged.then_some("true"))?;
    message.put("_mta_candidates", mta.candidates)
}

fn evidence(message: &mut Object<'_>, evidence: &Evidence) -> serde_json::Result<()> {
    message.put("_evidence_rst_ttl", evidence.rst_ttl)?;
    message.put("_evidence_iface", &evidence.iface)?;
    message.put("_evidence_route_iface", &evidence.route_iface)?;
    message.put("_evidence_icmp_type", evidence.icmp_type)?;
    message.put("_evidence_icmp_code", evidence.icmp_code)?;
    message.put("_evidence_icmp_from", evidence.icmp_from)?;
    message.put("_evidence_icmp_ttl", evidence.icmp_ttl)?;
    message.put("_evidence_syn_drops", evidence.syn_drops)?;
    message.put("_evidence_answer_drops", evidence.answer_drops)?;
    message.put("_evidence_bytes_received", evidence.bytes_received)?;
    message.put("_evidence_unacked_bytes", evidence.unacked_bytes)?;
    message.put("_evidence_redirected", evidence.redirected.then_some("true"))?;
    message.put("_evidence_missing", list(&evidence.missing))
}

/// Appends the alert as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) -> serde_json::Result<()> {
    Object::line(out, |message| {
        common(message, &alert.host, &alert.text, alert.change.time, Severity::of_alert(alert))?;
        flatten(message, "", &serde_json::to_value(alert)?, &["_host", "_text"])
    })
}

/// Appends the record as one line.
///
/// # Errors
/// As [`append_event`].
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    Object::line(out, |message| {
        common(message, record.host, &record.text, record.time, record.severity)?;
        message.put("_event_id", record.id)?;
        message.put("_name", &record.name)?;
        message.put("_since", record.start)?;
        record.fields.iter().try_for_each(|(name, value)| flatten(message, &format!("_{name}"), value, &[]))
    })
}

fn common(
    message: &mut Object<'_>,
    host: &str,
    text: &str,
    time: jiff::Timestamp,
    severity: Severity,
) -> serde_json::Result<()> {
    message.put("version", "1.1")?;
    message.put("host", if host.is_empty() { "-" } else { host })?;
    message.put("short_message", text)?;
    message.put("timestamp", time.as_microsecond() as f64 / 1e6)?;
    message.put("level", severity.syslog())
}

/// `{"src": {"ip": x}}` becomes `_src_ip: x`; lists become comma-separated text.
fn flatten(message: &mut Object<'_>, name: &str, value: &Value, without: &[&str]) -> serde_json::Result<()> {
    match value {
        _ if without.contains(&name) => Ok(()),
        Value::Object(members) => {
            let mut members = members.iter();
            members.try_for_each(|(key, value)| flatten(message, &format!("{name}_{key}"), value, without))
        }
        // The name is the sender's own.
        value if name == "_id" => message.put("_event_id", value),
        Value::Bool(value) => message.put(name, value.to_string()),
        Value::Array(values) => {
            let words = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            message.put(name, list(&words.collect::<Vec<_>>()))
        }
        value => message.put(name, value),
    }
}

fn list(words: &[impl AsRef<str>]) -> Option<impl Serialize + Display> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    (!words.is_empty()).then(|| words.join(","))
}
