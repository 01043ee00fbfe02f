//! KumoMTA's log records, as its reference documents them: one JSON object a line.
//!
//! KumoMTA compresses the files that it writes (zstd): what is followed has to be
//! written by a log hook, or decompressed. A record carries the address and port of
//! this end, which makes its join exact.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::header::Header;
use super::words::{domain_of, host_name, redacted};
use super::{DeliveryStatus, Line, MtaKind, Reading, Relay, Said, Writer};

#[derive(Deserialize)]
struct KumoRecord<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    recipient: OneOrMany<'a>,
    #[serde(default, borrow)]
    response: Option<Response<'a>>,
    #[serde(default, borrow)]
    peer_address: Option<Peer<'a>>,
    timestamp: i64,
    event_time: Option<Timestamp>,
    #[serde(default, borrow)]
    source_address: Option<Source<'a>>,
    #[serde(default, borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    delivery_protocol: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

#[derive(Deserialize)]
struct Response<'a> {
    code: u16,
    #[serde(default)]
    enhanced_code: Option<EnhancedCode>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// KumoMTA takes it off the beginning of each line.
#[derive(Deserialize)]
struct EnhancedCode {
    class: u8,
    subject: u16,
    detail: u16,
}

#[derive(Deserialize)]
struct Peer<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    addr: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    /// The proxy that the connection was made through: `address` is there.
    #[serde(default)]
    server: Option<serde::de::IgnoredAny>,
}

/// The meaning of a record: of one on hosts that all failed, a line for each. `None` if it is no
/// record.
pub(super) fn record(text: &[u8]) -> Option<Reading> {
    let record: KumoRecord<'_> = serde_json::from_slice(text).ok()?;
    let reading = |lines| Some(Reading { lines, writer: Writer::Server });
    let status = match &*record.kind {
        "Delivery" => DeliveryStatus::Sent,
        "TransientFailure" => DeliveryStatus::Deferred,
        // "Expiration": too old for another try. No connection was made for it.
        "Bounce" | "Expiration" => DeliveryStatus::Bounced,
        _ => return reading(Vec::new()),
    };
    if record.delivery_protocol.as_ref().is_some_and(|protocol| protocol != "ESMTP") {
        return reading(Vec::new());
    }
    let (time, precision) = match record.event_time {
        Some(time) => (time, Duration::from_nanos(1)),
        None => (Timestamp::from_second(record.timestamp).ok()?, Duration::from_secs(1)),
    };
    let header = Header { time, precision, host: None, tag: "kumod", pid: None, text: "" };
    let recipients: Vec<&str> = match &record.recipient {
        OneOrMany::One(recipient) => vec![recipient],
        OneOrMany::Many(recipients) => recipients.iter().map(|recipient| &**recipient).collect(),
    };
    let mut line = Line::new(MtaKind::KumoMta, &header, status);
    line.queue_id = is_id(&record.id).then(|| record.id.to_string());
    line.session = record.session_id.filter(|id| is_id(id)).map(|id| id.to_string());
    line.recipient_domain = recipients.first().and_then(|recipient| domain_of(recipient));
    line.relay = record.peer_address.and_then(|peer| peer_of(&peer));
    let source = record.source_address.filter(|source| source.server.is_none());
    line.source = source.and_then(|source| source.address.parse::<SocketAddr>().ok());
    line.source = line.source.filter(|source| source.port() != 0);
    let Some(response) = record.response else { return reading(vec![line]) };
    if record.kind == "Expiration" {
        // The codes are KumoMTA's own.
        line.said = Said::Suspended;
        line.words = redacted(&response.content, &recipients);
        return reading(vec![line]);
    }
    line.said = said(status, &response.content);
    let enhanced = response.enhanced_code.as_ref();
    let enhanced = enhanced.map(|code| format!(" {}.{}.{}", code.class, code.subject, code.detail));
    let words = match response.content.contains(INTERNAL) {
        // The code is KumoMTA's own.
        true => response.content.to_string(),
        false => format!("{}{} {}", response.code, enhanced.unwrap_or_default(), response.content),
    };
    line.words = redacted(&words, &recipients);
    let mut lines = if line.relay.is_none() { failures(&line, &response.content, &recipients) } else { Vec::new() };
    if let Some(last) = lines.pop() {
        (line.relay, line.said) = (last.relay, last.said);
    }
    lines.push(line);
    reading(lines)
}

/// Its address is without a port, or with one.
fn peer_of(peer: &Peer<'_>) -> Option<Relay> {
    let ip: Option<IpAddr> = peer.addr.parse().ok();
    let address: Option<SocketAddr> = peer.addr.parse().ok();
    let ip = ip.or(address.map(|address| address.ip()))?;
    Some(Relay {
        host: host_name(&peer.name),
        ip: Some(ip.to_canonical()),
        port: address.map(|address| address.port()),
    })
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

const INTERNAL: &str = "KumoMTA internal: ";
/// What ready_queue.rs says where no host could be connected to; then comes what it made of each, in
/// the order in which they were tried.
const ALL_FAILED: &str = "failed to connect to any candidate hosts: ";
/// So many hosts are read of one record.
const HOSTS_MAX: usize = 32;
/// A host that fails at once takes no longer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A line for each host that failed, the last one last. Only the last one failed when the record was
/// written: of those before it, the words tell when by what was waited for after them.
fn failures(line: &Line, content: &str, recipients: &[&str]) -> Vec<Line> {
    let Some((_, hosts)) = content.split_once(ALL_FAILED) else { return Vec::new() };
    let (mut time, mut precision) = (line.time, line.precision);
    let mut lines = Vec::new();
    for words in each(hosts).into_iter().rev().take(HOSTS_MAX) {
        let took = waited(words);
        if let Some(relay) = relay_in(words) {
            let mut one = Line { status: DeliveryStatus::Failed, relay: Some(relay), time, precision, ..line.clone() };
            one.said = said_of_host(words);
            one.words = redacted(words, recipients);
            lines.push(one);
        }
        let step = if took.is_zero() { AT_ONCE } else { took };
        time = time.checked_sub(step).unwrap_or(time);
        precision += if took.is_zero() { AT_ONCE } else { Duration::from_secs(1) };
    }
    lines.reverse();
    lines
}

/// The hosts are joined by a comma, which can be in what is said of one as well.
fn each(hosts: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut begin = 0;
    for (at, _) in hosts.match_indices(", ") {
        if is_begin(&hosts[at + 2..]) {
            all.push(&hosts[begin..at]);
            begin = at + 2;
        }
    }
    all.push(&hosts[begin..]);
    all
}

/// True for what begins the words on a host.
fn is_begin(words: &str) -> bool {
    const BEGINS: [&str; 5] = ["connect to ", "TLS handshake ", "tls policy is ", "DANE ", "MTA-STS "];
    let address = || words.split_once(": ").and_then(|(address, _)| address.parse::<SocketAddr>().ok());
    BEGINS.iter().any(|begin| words.starts_with(begin)) || address().is_some()
}

/// The first address in the words, and the name beside it: `203.0.113.5:25`, `[2001:db8::5]:25`, or
/// `ResolvedAddress { name: "mx.example.net.", addr: 203.0.113.5 }:25`.
fn relay_in(words: &str) -> Option<Relay> {
    if let Some((_, resolved)) = words.split_once("ResolvedAddress { name: \"") {
        let (name, rest) = resolved.split_once("\", addr: ")?;
        let (address, rest) = rest.split_once([',', ' ', '}'])?;
        let port = rest.split_once("}:").map_or(rest, |(_, port)| port);
        let port = port.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok());
        let relay = peer_of(&Peer { name: name.into(), addr: address.into() })?;
        return Some(Relay { port: relay.port.or(port), ..relay });
    }
    let mut tokens = words.split(' ').map(|word| word.trim_end_matches([':', ',']));
    let address: SocketAddr = tokens.find_map(|word| word.parse().ok())?;
    Some(Relay { host: None, ip: Some(address.ip().to_canonical()), port: Some(address.port()) })
}

/// For how long was waited, as Rust writes it: `60s`, `1.5s`, `250ms`.
fn waited(words: &str) -> Duration {
    let after = ["timeout after ", "Timed Out waiting ", "Timed Out after "];
    let time = after.iter().find_map(|begin| words.split_once(begin)).and_then(|(_, rest)| rest.split(' ').next());
    let seconds = time.and_then(|time| match time.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().ok().map(|number| number / 1_000.0),
        None => time.strip_suffix('s')?.parse().ok(),
    });
    // A number from outside: an hour is more than any of its timeouts.
    let seconds = seconds.filter(|seconds: &f64| (0.0..=3_600.0).contains(seconds));
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

/// What egress_source.rs, smtp_dispatcher.rs and client.rs say of one host.
fn said_of_host(words: &str) -> Said {
    // It is the proxy that could not be reached, and not the host that is named.
    if [" HA { ", " Socks5 { "].iter().any(|proxy| words.contains(proxy)) {
        return Said::Other;
    }
    if words.contains("while connecting to") {
        return Said::TimedOut;
    }
    if words.contains("Rejected(") || words.contains("ommand rejected") {
        return Said::Answered;
    }
    const TLS: [&str; 6] = ["TLS handshake", "tls policy is", "STARTTLS", "SSL Error", "DANE ", "MTA-STS "];
    if TLS.iter().any(|mark| words.contains(mark)) {
        return Said::TlsFailed;
    }
    if words.contains("reading banner") {
        return if words.contains("Timed Out") { Said::NoGreeting } else { Said::LostBeforeGreeting };
    }
    if ["LHLO after", "EHLO after", "Timed Out", " reading response to "].iter().any(|mark| words.contains(mark)) {
        return Said::LostInSession;
    }
    Said::of_errno(words).unwrap_or(Said::Other)
}

/// KumoMTA makes an answer of its own, `400 KumoMTA internal: ...`, where the other
/// side gave none.
fn said(status: DeliveryStatus, content: &str) -> Said {
    let Some((_, words)) = content.split_once(INTERNAL) else {
        return if status == DeliveryStatus::Sent { Said::Nothing } else { Said::Answered };
    };
    const SUSPENDED: [&str; 5] =
        ["is suspended", "delivery suspended", "throttled", "no sources ", "returning message to"];
    if SUSPENDED.iter().any(|reason| words.contains(reason)) {
        return Said::Suspended;
    }
    said_of_host(words)
}
