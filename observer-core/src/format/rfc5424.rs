//! Syslog messages of RFC 5424, without framing: one a line.
//!
//! No byte order mark before the text: rsyslog keeps it. At most six digits of a
//! second: more makes some receivers write wrong times.

use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;

use super::escape;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use super::text::destination;
use crate::alert::Alert;
use crate::event::Event;
use crate::label::{Origin, Reason};
use crate::mta::DeliveryStatus;
use crate::sanitize::sanitize;
use crate::scope::EndCause;

/// IANA's number for documentation (RFC 5612), until somebody has one of their own.
pub const DOCUMENTATION_PEN: u32 = 32_473;
/// Facility 3, system daemons.
const DAEMON: u8 = 3;
/// Longest HOSTNAME, RFC 5424 section 6.
const HOSTNAME_LEN: usize = 255;

/// Appends the event as one message.
pub fn append(event: &Event, enterprise: u32, out: &mut Vec<u8>) {
    Header::of_event(event).append(out);
    data(enterprise, out);
    parameter("id", &event.id, out);
    parameter("label", event.label.as_str(), out);
    optional("reason", event.reason.map(Reason::as_str), out);
    optional("origin", event.origin.map(Origin::as_str), out);
    optional("active_refusal", event.active_refusal, out);
    optional("errno", event.errno.as_deref(), out);
    optional("src", event.src.ip, out);
    optional("sport", event.src.port, out);
    optional("dst", event.dst.ip, out);
    optional("dport", event.dst.port, out);
    optional("started", event.started, out);
    optional("elapsed_ms", event.elapsed.map(crate::event::milliseconds), out);
    optional("handshake_ms", event.handshake.map(crate::event::milliseconds), out);
    parameter("syn_retransmits", event.syn_retransmits, out);
    evidence(event, out);
    if let Some(process) = &event.process {
        parameter("pid", process.pid, out);
        parameter("uid", process.uid, out);
        parameter("comm", &process.comm, out);
        optional("cgroup", process.cgroup.as_deref(), out);
        parameter("netns", process.netns, out);
    }
    if let Some(mta) = &event.mta {
        parameter("mta", mta.kind.as_str(), out);
        optional("queue_id", mta.queue_id.as_deref(), out);
        optional("recipient_domain", mta.recipient_domain.as_deref(), out);
        optional("mx_host", mta.host.as_deref(), out);
        optional("delivery_status", mta.status.map(DeliveryStatus::as_str), out);
        optional("mta_words", mta.words.as_deref(), out);
    }
    if let Some(known) = &event.destination {
        parameter("attempts", known.attempts, out);
        parameter("established", known.established, out);
        parameter("streak", known.streak, out);
    }
    let _ = writeln!(out, "] {}: {}", destination(&event.dst), phrase(event));
}

/// Appends the alert as one message.
pub fn append_alert(alert: &Alert, enterprise: u32, out: &mut Vec<u8>) {
    let change = &alert.change;
    Header::of_alert(alert).append(out);
    data(enterprise, out);
    parameter("id", &alert.id, out);
    parameter("change", change.kind.as_str(), out);
    optional("cause", change.cause.map(EndCause::as_str), out);
    parameter("since", change.since, out);
    parameter("scope", change.verdict.scope.as_str(), out);
    parameter("what", &change.verdict.scope, out);
    let numbers = &change.verdict.numbers;
    parameter("attempts", numbers.attempts, out);
    parameter("failures", numbers.failures, out);
    parameter("destinations", numbers.destinations, out);
    optional("label", numbers.label.map(crate::label::Label::as_str), out);
    optional("origin", numbers.origin.map(Origin::as_str), out);
    parameter("elsewhere_attempts", numbers.elsewhere_attempts, out);
    parameter("elsewhere_successes", numbers.elsewhere_successes, out);
    let _ = writeln!(out, "] {}", sanitize(&alert.text));
}

fn evidence(event: &Event, out: &mut Vec<u8>) {
    let evidence = &event.evidence;
    optional("rst_ttl", evidence.rst_ttl, out);
    optional("iface", evidence.iface.as_deref(), out);
    optional("route_iface", evidence.route_iface.as_deref(), out);
    optional("icmp_type", evidence.icmp_type, out);
    optional("icmp_code", evidence.icmp_code, out);
    optional("icmp_from", evidence.icmp_from, out);
    optional("icmp_ttl", evidence.icmp_ttl, out);
    optional("syn_drops", evidence.syn_drops, out);
    optional("answer_drops", evidence.answer_drops, out);
    optional("bytes_received", evidence.bytes_received, out);
    optional("unacked_bytes", evidence.unacked_bytes, out);
    optional("redirected", evidence.redirected.then_some("true"), out);
    if !evidence.missing.is_empty() {
        parameter("missing", evidence.missing.join(","), out);
    }
}

/// Appends the record as one message.
pub fn append_record(record: &Record<'_>, enterprise: u32, out: &mut Vec<u8>) {
    Header::of_record(record).append(out);
    data(enterprise, out);
    parameter("id", record.id, out);
    optional("since", record.start, out);
    record.words().for_each(|(name, value)| parameter(&name, value, out));
    let _ = writeln!(out, "] {}", sanitize(&record.text));
}

/// What a message begins with, up to its structured data.
pub struct Header<'a> {
    severity: Severity,
    time: Timestamp,
    host: &'a str,
    message_id: String,
}

impl<'a> Header<'a> {
    /// Of an event.
    pub fn of_event(event: &'a Event) -> Self {
        let message_id = format!("tcp.connect.{}", event.label.as_str());
        Self { severity: Severity::of_event(event), time: event.time, host: &event.host, message_id }
    }

    /// Of an alert.
    pub fn of_alert(alert: &'a Alert) -> Self {
        let message_id = format!("scope.{}", alert.change.kind.as_str());
        Self { severity: Severity::of_alert(alert), time: alert.change.time, host: &alert.host, message_id }
    }

    /// Of a minute or a notice.
    pub fn of_record(record: &Record<'a>) -> Self {
        Self { severity: record.severity, time: record.time, host: record.host, message_id: record.name.clone() }
    }

    /// Appends it, the space behind it included.
    pub fn append(&self, out: &mut Vec<u8>) {
        let priority = DAEMON * 8 + self.severity.syslog();
        // PRINTUSASCII, and nothing else.
        let visible = self.host.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' });
        let host: String = visible.take(HOSTNAME_LEN).collect();
        let host = if host.is_empty() { "-" } else { &host };
        let (time, message_id) = (self.time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"), &self.message_id);
        let _ = write!(out, "<{priority}>1 {time} {host} observer - {message_id} ");
    }
}

/// The beginning of the structured data.
fn data(enterprise: u32, out: &mut Vec<u8>) {
    let _ = write!(out, "[observer@{enterprise}");
}

fn optional(name: &str, value: Option<impl Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        parameter(name, value, out);
    }
}

/// A parameter, with the three characters escaped that end or escape a value.
fn parameter(name: &str, value: impl Display, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let special = |c| match c {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        ']' => Some("\\]"),
        _ => None,
    };
    escape::append(value, special, out);
    out.push(b'"');
}
