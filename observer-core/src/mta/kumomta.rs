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
use super::{Kind, Line, Relay, Said, Status};

#[derive(Deserialize)]
struct Record<'a> {
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
}

/// The meaning of a record.
pub(super) fn record(line: &[u8]) -> Option<Line> {
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    let status = match &*record.kind {
        "Delivery" => Status::Sent,
        "TransientFailure" => Status::Deferred,
        "Bounce" => Status::Bounced,
        _ => return None,
    };
    if record.delivery_protocol.is_some_and(|protocol| protocol != "ESMTP") {
        return None;
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
    let mut line = Line::new(Kind::KumoMta, &header, status);
    line.queue_id = is_id(&record.id).then(|| record.id.to_string());
    line.session = record.session_id.filter(|id| is_id(id)).map(|id| id.to_string());
    line.recipient_domain = recipients.first().and_then(|recipient| domain_of(recipient));
    line.relay = record.peer_address.and_then(|peer| {
        let ip: Option<IpAddr> = peer.addr.parse().ok();
        Some(Relay { host: host_name(&peer.name), ip: Some(ip?.to_canonical()), port: None })
    });
    line.source = record.source_address.and_then(|source| source.address.parse::<SocketAddr>().ok());
    line.source = line.source.filter(|source| source.port() != 0);
    if let Some(response) = record.response {
        line.said = said(status, &response);
        let enhanced = response.enhanced_code.as_ref();
        let enhanced = enhanced.map(|code| format!(" {}.{}.{}", code.class, code.subject, code.detail));
        let words = format!("{}{} {}", response.code, enhanced.unwrap_or_default(), response.content);
        line.words = redacted(&words, &recipients);
    }
    Some(line)
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// KumoMTA makes an answer of its own, `400 KumoMTA internal: ...`, where the other
/// side gave none.
fn said(status: Status, response: &Response<'_>) -> Said {
    let Some((_, words)) = response.content.split_once("KumoMTA internal: ") else {
        return if status == Status::Sent { Said::Nothing } else { Said::Answered };
    };
    if words.contains("is suspended") || words.contains("throttled") {
        return Said::Suspended;
    }
    Said::of_errno(words).unwrap_or(Said::Other)
}
