//! OpenSMTPD: what its relay process logs of sessions and deliveries.
//!
//! The forms are those of `mta_session.c` and `mta.c`, version 6 and 7. Every line
//! begins with the id of a session; one session can try several connections, one
//! after the other. A session takes messages once it is connected: those that wait
//! while all sessions to their domain fail are logged with an id of zeroes, and it
//! is said nowhere which sessions those were.

use std::net::IpAddr;

use super::header::Header;
use super::stamp::Seen;
use super::words::{domain_of, host_name, redacted, redacted_unknown};
use super::{DeliveryStatus, Line, MtaKind, Reading, Relay, Said};

const NO_SESSION: &str = "0000000000000000";
/// What an error begins with after a message was sent, and where TLS is given up.
const SESSION_ERROR: &str = "smtp-out: Error on session ";
/// What is said of a message whose sessions all failed. With any other words none
/// was begun.
const SESSIONS_FAILED: [&str; 2] = ["Network error on destination MXs", "Destination seem to reject all mails"];

/// True for the tag of OpenSMTPD, or its unit.
pub(super) fn is_own(tag: &str) -> bool {
    matches!(tag, "smtpd" | "opensmtpd" | "smtpd.service" | "opensmtpd.service")
}

/// A message without a header, if it has the form of one.
pub(super) fn bare(text: &str, seen: Seen) -> Reading {
    let header = Header { time: seen.time, precision: seen.precision, host: None, tag: "smtpd", pid: None, text };
    let is_of_session = text.split_once(' ').is_some_and(|(id, _)| is_session(id));
    if is_of_session || text.starts_with(SESSION_ERROR) { Reading::of(message(&header)) } else { Reading::default() }
}

fn is_session(id: &str) -> bool {
    id.len() == NO_SESSION.len() && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The meaning of a message.
pub fn message(header: &Header<'_>) -> Option<Line> {
    if !is_own(header.tag) {
        return None;
    }
    if let Some(rest) = header.text.strip_prefix(SESSION_ERROR) {
        return error(header, rest);
    }
    let (session, text) = header.text.split_once(" mta ")?;
    if !is_session(session) {
        return None;
    }
    // Version 6.0 writes `event=connecting`.
    let text = text.strip_prefix("event=").unwrap_or(text);
    let mut line = if let Some(rest) = text.strip_prefix("connecting address=") {
        connecting(header, rest)?
    } else if text == "connected" {
        Line::new(MtaKind::OpenSmtpd, header, DeliveryStatus::Trying)
    } else if let Some(words) = text.strip_prefix("error reason=") {
        failed(header, words)
    } else if text.starts_with("closing reason=tls-") {
        failed(header, text.strip_prefix("closing reason=").unwrap_or(text))
    } else if text == "host-rejects-all-mails" {
        failed(header, text)
    } else {
        delivery(header, text.strip_prefix("delivery ")?, session == NO_SESSION)?
    };
    line.session = (session != NO_SESSION).then(|| session.to_owned());
    Some(line)
}

/// Why a session ended.
fn failed(header: &Header<'_>, words: &str) -> Line {
    let mut line = Line::new(MtaKind::OpenSmtpd, header, DeliveryStatus::Failed);
    line.said = said(words);
    line.words = redacted_unknown(words);
    line
}

/// `5bd4e1f2a3b4c5d6 after 1 message sent: Connection closed unexpectedly`, or without the number.
fn error(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (named, words) = rest.split_once(": ")?;
    let session = named.split(' ').next().filter(|id| is_session(id))?;
    let mut line = failed(header, words);
    line.session = Some(session.to_owned());
    Some(line)
}

/// `smtp://203.0.113.5:25 host=mx.example.net`, where the name is that of the address.
fn connecting(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (url, host) = rest.split_once(" host=")?;
    let (_, address) = url.split_once("://")?;
    let (ip, port) = address.rsplit_once(':')?;
    let mut line = Line::new(MtaKind::OpenSmtpd, header, DeliveryStatus::Trying);
    line.relay = Some(Relay { host: name(host), ip: Some(self::ip(ip)?), port: Some(port.parse().ok()?) });
    Some(line)
}

/// `evpid=... from=<...> to=<...> rcpt=<...> source="..." relay="..." delay=1s
/// result="TempFail" stat="..."`.
fn delivery(header: &Header<'_>, text: &str, is_without_session: bool) -> Option<Line> {
    let (evpid, rest) = text.strip_prefix("evpid=")?.split_once(' ')?;
    let (_, rest) = rest.split_once(" to=<")?;
    // Quoted values hold no bare quote before `result`: names and addresses alone.
    let (recipients, rest) = rest.split_once("> source=\"")?;
    let (recipient, other) = recipients.split_once("> rcpt=<")?;
    let (_, rest) = rest.split_once("relay=\"")?;
    let (named, rest) = rest.split_once('"')?;
    let (_, rest) = rest.split_once("result=\"")?;
    let (result, rest) = rest.split_once("\" stat=\"")?;
    let words = rest.strip_suffix('"').unwrap_or(rest);
    let status = match result {
        "Ok" => DeliveryStatus::Sent,
        "TempFail" => DeliveryStatus::Deferred,
        "PermFail" => DeliveryStatus::Bounced,
        _ => return None,
    };
    let mut line = Line::new(MtaKind::OpenSmtpd, header, status);
    line.queue_id =
        Some(evpid.to_owned()).filter(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    line.recipient_domain = domain_of(recipient);
    // Without a session it is the domain that stands for the relay.
    line.relay = if is_without_session { None } else { relay(named) };
    line.said = match status {
        DeliveryStatus::Sent => Said::Nothing,
        _ if is_without_session && !SESSIONS_FAILED.contains(&words) => Said::Suspended,
        _ => said(words),
    };
    line.words = redacted(words, &[recipient, other]);
    Some(line)
}

/// `203.0.113.5 (mx.example.net)`.
fn relay(text: &str) -> Option<Relay> {
    let (ip, host) = match text.split_once(" (") {
        Some((ip, host)) => (ip, host.strip_suffix(')').and_then(name)),
        None => (text, None),
    };
    Some(Relay { host, ip: Some(self::ip(ip)?), port: None })
}

fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// A name that is none is logged as `(null)`, or as the address.
fn name(text: &str) -> Option<String> {
    host_name(text).filter(|name| name.parse::<IpAddr>().is_err())
}

fn said(words: &str) -> Said {
    // Of mta_session.c, and of libtls behind "IO Error".
    const TLS: [&str; 11] = [
        "tls-failure",
        "tls-connect-failed",
        "opportunistic TLS failed",
        "TLS required but not supported",
        "STARTTLS rejected: ",
        "IO Error: handshake failed",
        "IO Error: TLS",
        "IO Error: SSL",
        "IO Error: certificate ",
        "IO Error: ssl",
        "IO Error: tls",
    ];
    if TLS.iter().any(|begin| words.starts_with(begin)) || words.contains("not present in server certificate") {
        return Said::TlsFailed;
    }
    if words == "host-rejects-all-mails" {
        return Said::Answered;
    }
    if words.starts_with("Connection timeout") {
        return Said::TimedOut;
    }
    if words.starts_with("Connection closed unexpectedly") {
        return Said::LostInSession;
    }
    if let Some(said) = Said::of_errno(words) {
        return said;
    }
    let is_code = |code: &str| code.starts_with(['4', '5']) && code.bytes().all(|byte| byte.is_ascii_digit());
    if words.contains(" rejected: ") || words.get(..3).is_some_and(is_code) { Said::Answered } else { Said::Other }
}
