//! IBM QRadar's Log Event Extended Format, version 2.0, tab-separated, without
//! a syslog header. It has no escapes: what could end a value is replaced.

use std::fmt::Display;
use std::io::Write as _;

use super::escape;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use crate::alert::Alert;
use crate::event::{Event, milliseconds};
use crate::label::{Label, Origin, Reason};
use crate::mta::DeliveryStatus;
use crate::scope::{EndCause, Scope};

/// Appends the event as one line.
pub fn append(event: &Event, out: &mut Vec<u8>) {
    let label = event.label.as_str();
    header(&format!("tcp.connect.{label}"), out);
    let _ = write!(out, "devTime={}", event.time.as_millisecond());
    pair("cat", label, out);
    pair("sev", severity(Severity::of_event(event)), out);
    optional("src", event.src.ip, out);
    optional("srcPort", event.src.port, out);
    optional("dst", event.dst.ip, out);
    optional("dstPort", event.dst.port, out);
    pair("proto", "TCP", out);
    pair("id", &event.id, out);
    pair("host", &event.host, out);
    optional("reason", event.reason.map(Reason::as_str), out);
    optional("origin", event.origin.map(Origin::as_str), out);
    optional("activeRefusal", event.active_refusal, out);
    optional("errno", event.errno.as_deref(), out);
    optional("elapsedMs", event.elapsed.map(milliseconds), out);
    optional("handshakeMs", event.handshake.map(milliseconds), out);
    pair("synRetransmits", event.syn_retransmits, out);
    evidence(event, out);
    if let Some(process) = &event.process {
        pair("usrName", process.uid, out);
        pair("process", &process.comm, out);
        pair("pid", process.pid, out);
        optional("cgroup", process.cgroup.as_deref(), out);
    }
    if let Some(mta) = &event.mta {
        pair("mta", mta.kind.as_str(), out);
        optional("queueId", mta.queue_id.as_deref(), out);
        optional("recipientDomain", mta.recipient_domain.as_deref(), out);
        optional("mxHost", mta.host.as_deref(), out);
        optional("deliveryStatus", mta.status.map(DeliveryStatus::as_str), out);
        optional("mtaWords", mta.words.as_deref(), out);
    }
    optional("streak", event.destination.as_ref().map(|known| known.streak), out);
    pair("msg", phrase(event), out);
    out.push(b'\n');
}

/// Appends the alert as one line.
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) {
    let change = &alert.change;
    let (scope, numbers) = (&change.verdict.scope, &change.verdict.numbers);
    header(&format!("scope.{}", change.kind.as_str()), out);
    let _ = write!(out, "devTime={}", change.time.as_millisecond());
    pair("cat", scope.as_str(), out);
    pair("sev", severity(Severity::of_alert(alert)), out);
    match *scope {
        Scope::OnlySource { ip } => pair("src", ip, out),
        Scope::Destination { ip, .. } | Scope::Intermittent { ip, .. } => pair("dst", ip, out),
        _ => {}
    }
    optional("dstPort", scope.port(), out);
    pair("proto", "TCP", out);
    pair("id", &alert.id, out);
    pair("host", &alert.host, out);
    pair("change", change.kind.as_str(), out);
    optional("cause", change.cause.map(EndCause::as_str), out);
    pair("since", change.since.as_millisecond(), out);
    pair("what", scope, out);
    pair("attempts", numbers.attempts, out);
    pair("failures", numbers.failures, out);
    pair("destinations", numbers.destinations, out);
    optional("mostly", numbers.label.map(Label::as_str), out);
    pair("msg", &alert.text, out);
    out.push(b'\n');
}

/// Appends the record as one line.
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) {
    header(&record.name, out);
    let _ = write!(out, "devTime={}", record.time.as_millisecond());
    pair("sev", severity(record.severity), out);
    pair("id", record.id, out);
    pair("host", record.host, out);
    optional("since", record.start.map(|start| start.as_millisecond()), out);
    if let Some(count) = &record.count {
        pair("cat", count.label.as_str(), out);
        optional("src", count.src_ip, out);
        optional("dst", count.dst_ip, out);
        optional("dstPort", count.dst_port, out);
        pair("proto", "TCP", out);
        optional("reason", count.reason.map(Reason::as_str), out);
        pair("count", count.count, out);
    } else {
        pair("cat", "notice", out);
        record.words().for_each(|(name, value)| pair(&name, value, out));
    }
    pair("msg", &record.text, out);
    out.push(b'\n');
}

fn evidence(event: &Event, out: &mut Vec<u8>) {
    let evidence = &event.evidence;
    optional("rstTtl", evidence.rst_ttl, out);
    optional("iface", evidence.iface.as_deref(), out);
    optional("routeIface", evidence.route_iface.as_deref(), out);
    optional("icmpType", evidence.icmp_type, out);
    optional("icmpCode", evidence.icmp_code, out);
    optional("icmpFrom", evidence.icmp_from, out);
    optional("synDrops", evidence.syn_drops, out);
    optional("answerDrops", evidence.answer_drops, out);
    optional("unackedBytes", evidence.unacked_bytes, out);
    optional("redirected", evidence.redirected.then_some("true"), out);
    if !evidence.missing.is_empty() {
        pair("missing", evidence.missing.join(","), out);
    }
}

/// Severities are 1 to 10.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 4,
        Severity::Medium => 6,
        Severity::High => 8,
    }
}

fn header(event_id: &str, out: &mut Vec<u8>) {
    let _ = write!(out, "LEEF:2.0|observer|observer|{}|{event_id}|x09|", env!("CARGO_PKG_VERSION"));
}

fn optional(key: &str, value: Option<impl Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        pair(key, value, out);
    }
}

/// Control characters, the tab among them, are written as visible escapes, which
/// nothing reads back, and `"` as `'`: some receivers take all up to the next one for
/// its value.
fn pair(key: &str, value: impl Display, out: &mut Vec<u8>) {
    out.push(b'\t');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    escape::append(value, |c| (c == '"').then_some("'"), out);
}
