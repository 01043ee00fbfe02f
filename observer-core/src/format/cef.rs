//! ArcSight's Common Event Format, version 0, as its implementation standard
//! describes it; without a syslog header.
//!
//! `src` and `dst` are IPv4 alone; IPv6 goes into `c6a2` and `c6a3`. A `|` in a
//! value is legal, and yet receivers drop its line: it is written as `¦`. A `"` is
//! as legal, and some take all up to the next one, or to the end, for its value: a
//! process could hide what comes behind its name. It is written as `'`.

use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;

use super::escape;
use super::phrase::phrase;
use super::record::Record;
use super::severity::Severity;
use crate::alert::Alert;
use crate::event::{Event, milliseconds};
use crate::label::{Label, Origin, Reason};
use crate::scope::{EndCause, Scope};

/// Longest values, in characters.
const NAME_LEN: usize = 512;
const ID_LEN: usize = 40;
const MESSAGE_LEN: usize = 1_023;
const ADDRESS_LABELS: [(&str, &str); 2] = [("c6a2", "Source IPv6 Address"), ("c6a3", "Destination IPv6 Address")];

/// Appends the event as one line.
pub fn append(event: &Event, out: &mut Vec<u8>) {
    let label = event.label.as_str();
    header(&format!("tcp.connect.{label}"), name(event.label), Severity::of_event(event), out);
    let _ = write!(out, "rt={}", event.time.as_millisecond());
    pair("end", event.time.as_millisecond(), out);
    optional("start", event.started.map(|started| started.as_millisecond()), out);
    address("src", 0, event.src.ip, out);
    optional("spt", event.src.port, out);
    address("dst", 1, event.dst.ip, out);
    optional("dpt", event.dst.port, out);
    pair("proto", "TCP", out);
    pair("app", "smtp", out);
    pair("deviceDirection", 1, out);
    pair("act", label, out);
    pair("outcome", if event.label == Label::Connected { "success" } else { "failure" }, out);
    optional("reason", event.reason.map(Reason::as_str), out);
    if let Some(process) = &event.process {
        pair("sproc", &process.comm, out);
        pair("spid", process.pid, out);
        pair("suid", process.uid, out);
    }
    pair("dvchost", &event.host, out);
    pair("externalId", last(&event.id, ID_LEN), out);
    labelled("cn1", "connectMs", event.elapsed.map(|elapsed| elapsed.as_millis()), out);
    labelled("cn2", "synRetransmits", Some(event.syn_retransmits), out);
    labelled("cs1", "errno", event.errno.as_deref(), out);
    labelled("cs2", "origin", event.origin.map(Origin::as_str), out);
    labelled("cs3", "cgroup", event.process.as_ref().and_then(|process| process.cgroup.as_deref()), out);
    labelled("cs4", "evidence", evidence(event), out);
    let mta = event.mta.as_ref();
    labelled("cs5", "recipientDomain", mta.and_then(|mta| mta.recipient_domain.as_deref()), out);
    labelled("cs6", "queueId", mta.and_then(|mta| mta.queue_id.as_deref()), out);
    labelled("cfp1", "handshakeMs", event.handshake.map(milliseconds), out);
    pair("msg", first(&phrase(event), MESSAGE_LEN), out);
    out.push(b'\n');
}

/// Appends the alert as one line.
pub fn append_alert(alert: &Alert, out: &mut Vec<u8>) {
    let change = &alert.change;
    let (scope, numbers) = (&change.verdict.scope, &change.verdict.numbers);
    let class = format!("scope.{}", change.kind.as_str());
    header(&class, &format!("Failures {}: {}", change.kind.as_str(), scope.as_str()), Severity::of_alert(alert), out);
    let _ = write!(out, "rt={}", change.time.as_millisecond());
    pair("start", change.since.as_millisecond(), out);
    match *scope {
        Scope::OnlySource { ip } => address("src", 0, Some(ip), out),
        Scope::Destination { ip, .. } | Scope::Intermittent { ip, .. } => address("dst", 1, Some(ip), out),
        _ => {}
    }
    optional("dpt", scope.port(), out);
    pair("proto", "TCP", out);
    pair("app", "smtp", out);
    pair("deviceDirection", 1, out);
    pair("act", change.kind.as_str(), out);
    pair("dvchost", &alert.host, out);
    pair("externalId", last(&alert.id, ID_LEN), out);
    labelled("cn1", "attempts", Some(numbers.attempts), out);
    labelled("cn2", "failures", Some(numbers.failures), out);
    labelled("cn3", "destinations", Some(numbers.destinations), out);
    labelled("cs1", "scope", Some(scope.as_str()), out);
    labelled("cs2", "what", Some(scope), out);
    labelled("cs3", "mostly", numbers.label.map(Label::as_str), out);
    labelled("cs4", "cause", change.cause.map(EndCause::as_str), out);
    pair("msg", first(&alert.text, MESSAGE_LEN), out);
    out.push(b'\n');
}

/// Appends the record as one line.
pub fn append_record(record: &Record<'_>, out: &mut Vec<u8>) {
    header(&record.name, record.title, record.severity, out);
    let _ = write!(out, "rt={}", record.time.as_millisecond());
    optional("start", record.start.map(|start| start.as_millisecond()), out);
    pair("dvchost", record.host, out);
    pair("externalId", last(record.id, ID_LEN), out);
    if let Some(count) = &record.count {
        pair("end", record.time.as_millisecond(), out);
        address("src", 0, count.src_ip, out);
        address("dst", 1, count.dst_ip, out);
        optional("dpt", count.dst_port, out);
        pair("proto", "TCP", out);
        pair("app", "smtp", out);
        pair("deviceDirection", 1, out);
        pair("act", count.label.as_str(), out);
        pair("outcome", if count.label == Label::Connected { "success" } else { "failure" }, out);
        optional("reason", count.reason.map(Reason::as_str), out);
        pair("cnt", count.count, out);
    } else {
        for (key, (name, value)) in ["cs1", "cs2", "cs3", "cs4"].into_iter().zip(record.words()) {
            labelled(key, &name, Some(value), out);
        }
    }
    pair("msg", first(&record.text, MESSAGE_LEN), out);
    out.push(b'\n');
}

const fn name(label: Label) -> &'static str {
    match label {
        Label::Refused => "SMTP connection refused",
        Label::Timeout => "SMTP connection timed out",
        Label::Unreachable => "SMTP destination unreachable",
        Label::Blocked => "SMTP connection blocked by this host",
        Label::Reset => "SMTP connection reset",
        Label::Closed => "SMTP connection closed before the banner",
        Label::Silent => "SMTP server silent",
        Label::Cancelled => "SMTP connection cancelled",
        Label::Connected => "SMTP connection established",
        Label::Unknown => "SMTP connection ended",
    }
}

/// What is known beside the label, as `name:value` words.
fn evidence(event: &Event) -> Option<String> {
    let evidence = &event.evidence;
    let mut words = Vec::new();
    let mut word = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name}:{value}")));
    word("rst_ttl", evidence.rst_ttl.map(|ttl| ttl.to_string()));
    word("iface", evidence.iface.clone());
    word("route_iface", evidence.route_iface.clone());
    word("icmp", evidence.icmp_type.zip(evidence.icmp_code).map(|(kind, code)| format!("{kind}/{code}")));
    word("icmp_from", evidence.icmp_from.map(|from| from.to_string()));
    word("syn_drops", evidence.syn_drops.map(|drops| drops.to_string()));
    word("answer_drops", evidence.answer_drops.map(|drops| drops.to_string()));
    word("unacked_bytes", evidence.unacked_bytes.map(|bytes| bytes.to_string()));
    word("redirected", evidence.redirected.then(|| "true".to_owned()));
    word("missing", (!evidence.missing.is_empty()).then(|| evidence.missing.join(",")));
    (!words.is_empty()).then(|| words.join(" "))
}

/// Severities are 0 to 10: up to 3 is low, 6 medium, 8 high.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 3,
        Severity::Medium => 6,
        Severity::High => 8,
    }
}

fn header(class: &str, name: &str, of: Severity, out: &mut Vec<u8>) {
    let (version, severity) = (env!("CARGO_PKG_VERSION"), severity(of));
    let _ = write!(out, "CEF:0|observer|observer|{version}|{class}|{}|{severity}|", first(name, NAME_LEN));
}

/// An address where its family has its key.
fn address(ipv4: &str, label: usize, ip: Option<IpAddr>, out: &mut Vec<u8>) {
    let (key, meaning) = ADDRESS_LABELS[label];
    match ip {
        Some(IpAddr::V4(ip)) => pair(ipv4, ip, out),
        Some(IpAddr::V6(ip)) => labelled(key, meaning, Some(ip), out),
        None => {}
    }
}

fn labelled(key: &str, label: &str, value: Option<impl Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        pair(key, value, out);
        let _ = write!(out, " {key}Label=");
        append_value(label, out);
    }
}

fn optional(key: &str, value: Option<impl Display>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        pair(key, value, out);
    }
}

fn pair(key: &str, value: impl Display, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    append_value(value, out);
}

fn append_value(value: impl Display, out: &mut Vec<u8>) {
    let special = |c| match c {
        '\\' => Some("\\\\"),
        '=' => Some("\\="),
        '|' => Some("¦"),
        '"' => Some("'"),
        _ => None,
    };
    escape::append(value, special, out);
}

fn first(text: &str, len: usize) -> &str {
    text.char_indices().nth(len).map_or(text, |(at, _)| &text[..at])
}

/// The end of an id is what tells it from others.
fn last(text: &str, len: usize) -> &str {
    len.checked_sub(1).and_then(|before| text.char_indices().nth_back(before)).map_or(text, |(at, _)| &text[at..])
}
