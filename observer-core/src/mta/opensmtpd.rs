//! OpenSMTPD: what its relay process logs of sessions and deliveries.
//!
//! The forms are those of `mta_session.c` and `mta.c`, version 6 and 7. Every line
//! begins with the id of a session; one session can try several connections, one
//! after the other. A session takes messages once it is connected: those that wait
//! while all sessions to their domain fail are logged with an id of zeroes, and it
//! is said nowhere which sessions those were.

use std::net::IpAddr;

use super::header::Header;
use super::words::{domain_of, host_name, redacted};
use super::{Kind, Line, Relay, Said, Status};

const NO_SESSION: &str = "0000000000000000";
/// What is said of a message whose sessions all failed. With any other words none
/// was begun.
const SESSIONS_FAILED: [&str; 2] = ["Network error on destination MXs", "Destination seem to reject all mails"];

/// The meaning of a message.
pub fn message(header: &Header<'_>) -> Option<Line> {
    if header.tag != "smtpd" {
        return None;
    }
    let (session, text) = header.text.split_once(" mta ")?;
    if session.len() != NO_SESSION.len() || !session.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut line = if let Some(rest) = text.strip_prefix("connecting address=") {
        connecting(header, rest)?
    } else if text == "connected" {
        Line::new(Kind::OpenSmtpd, header, Status::Trying)
    } else if let Some(words) = text.strip_prefix("error reason=") {
        let mut line = Line::new(Kind::OpenSmtpd, header, Status::Failed);
        line.said = said(words);
        line.words = redacted(words, &[]);
        line
    } else {
        delivery(header, text.strip_prefix("delivery ")?, session == NO_SESSION)?
    };
    line.session = (session != NO_SESSION).then(|| session.to_owned());
    Some(line)
}

/// `smtp://203.0.113.5:25 host=mx.example.net`, where the name is that of the address.
fn connecting(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (url, host) = rest.split_once(" host=")?;
    let (_, address) = url.split_once("://")?;
    let (ip, port) = address.rsplit_once(':')?;
    let mut line = Line::new(Kind::OpenSmtpd, header, Status::Trying);
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
        "Ok" => Status::Sent,
        "TempFail" => Status::Deferred,
        "PermFail" => Status::Bounced,
        _ => return None,
    };
    let mut line = Line::new(Kind::OpenSmtpd, header, status);
    line.queue_id =
        Some(evpid.to_owned()).filter(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    line.recipient_domain = domain_of(recipient);
    // Without a session it is the domain that stands for the relay.
    line.relay = if is_without_session { None } else { relay(named) };
    line.said = match status {
        Status::Sent => Said::Nothing,
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
