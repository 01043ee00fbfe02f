//! Exim's mainlog.
//!
//! The forms are those of `deliver.c`, `transports/smtp.c` and `log.c`. A delivery
//! process forks for each connection: lines that begin with `H=` come from the
//! process that connects, the lines on recipients from its parent. Every line has
//! the message's id.

use std::net::{IpAddr, SocketAddr};

use super::header::{self, Header};
use super::stamp::{self, Clock, Seen};
use super::words::{domain_of, host_name, redacted, redacted_unknown};
use super::{DeliveryStatus, Line, MtaKind, Reading, Relay, Said};

/// True for a tag of Exim: `exim`, `exim4`, and what else `syslog_processname` makes of it.
pub(super) fn is_own(tag: &str) -> bool {
    tag.starts_with("exim")
}

/// The meaning of a line of mainlog, or of the same by syslog.
pub(super) fn line(text: &str, seen: Option<Seen>, clock: &Clock) -> Reading {
    let stamped = stamp::exim(text, clock);
    // A daemon may write the same stamp before its host and tag.
    if let Some(header) = header::syslog(text, seen, clock).filter(|header| is_own(header.tag)) {
        return super::of_message(MtaKind::Exim, &header, clock);
    }
    match stamped {
        Some(stamped) => {
            let (time, precision) = stamped.written(seen);
            let header = Header { time, precision, host: None, tag: "exim", pid: None, text: stamped.rest };
            // A relay may write such a stamp before the name of a container, and the line behind it.
            let relayed = || header::syslog(text, seen, clock).and_then(|outer| bare(&outer, clock));
            plain(&header).map(|line| Reading::of(Some(line))).or_else(relayed).unwrap_or_else(|| Reading::of(None))
        }
        None => header::syslog(text, seen, clock)
            .map_or_else(Reading::default, |header| super::of_message(MtaKind::Exim, &header, clock)),
    }
}

/// The meaning of a line of mainlog in the message of another program: with a stamp and the id of a message, or
/// of a container an id alone. `None` if it is none.
pub(super) fn bare(header: &Header<'_>, clock: &Clock) -> Option<Reading> {
    let text = match stamp::exim(header.text, clock) {
        Some(stamped) => stamped.rest,
        None if header.is_of_container() => header.text,
        None => return None,
    };
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest);
    let (id, _) = text.split_once(' ')?;
    // The process is the container engine's.
    is_message_id(id).then(|| Reading::of(message(&Header { tag: "exim", pid: None, host: None, ..*header }, clock)))
}

/// The meaning of a message that came by syslog; Exim may have put its own stamp
/// before it, which is the better one if it is more exact.
pub(super) fn message(header: &Header<'_>, clock: &Clock) -> Option<Line> {
    let text = without_part(header.text);
    match stamp::exim(text, clock) {
        Some(stamped) => {
            let seen = Seen { time: header.time, precision: header.precision };
            let (time, precision) = stamped.written(Some(seen));
            let is_better = precision < header.precision;
            let (time, precision) = if is_better { (time, precision) } else { (header.time, header.precision) };
            plain(&Header { time, precision, text: stamped.rest, ..*header })
        }
        None => plain(&Header { text, ..*header }),
    }
}

/// Without `[1/2] ` before the first part of a message that was too long for syslog: a `\` where
/// it is cut in a line.
fn without_part(text: &str) -> &str {
    let part =
        text.strip_prefix("[1").and_then(|rest| rest.strip_prefix(['/', '\\'])).and_then(|rest| rest.split_once("] "));
    part.filter(|(count, _)| count.bytes().all(|byte| byte.is_ascii_digit())).map_or(text, |(_, rest)| rest)
}

/// `[PID] ID ...`, without the stamp.
fn plain(header: &Header<'_>) -> Option<Line> {
    let (pid, text) = match header.text.strip_prefix('[') {
        Some(rest) => {
            let (pid, rest) = rest.split_once("] ")?;
            (Some(pid.parse().ok()?), rest)
        }
        None => (header.pid, header.text),
    };
    let header = Header { pid, ..*header };
    let (id, text) = text.split_once(' ')?;
    if !is_message_id(id) {
        return None;
    }
    let (flag, rest) = text.split_once(' ')?;
    let mut line = match flag {
        "=>" | "->" | ">>" => recipient(&header, rest, DeliveryStatus::Sent),
        "==" => recipient(&header, rest, DeliveryStatus::Deferred),
        "**" => recipient(&header, rest, DeliveryStatus::Bounced),
        _ => attempt(&header, text),
    }?;
    line.queue_id = Some(id.to_owned());
    Some(line)
}

/// Three parts in base 62: 6, 11 and 4 characters since Exim 4.97, before 6, 6 and 2.
fn is_message_id(text: &str) -> bool {
    let mut lengths = [0; 3];
    let mut parts = text.split('-');
    for length in &mut lengths {
        let Some(part) = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric())) else {
            return false;
        };
        *length = part.len();
    }
    parts.next().is_none() && matches!(lengths, [6, 11, 4] | [6, 6, 2])
}

/// `H=mx.example.net [203.0.113.5] Connection refused`, and with a message
/// `H=mx.example.net [203.0.113.5]: Remote host closed connection in response to
/// initial connection`. What Exim says of clients begins alike, and goes on otherwise.
fn attempt(header: &Header<'_>, text: &str) -> Option<Line> {
    let (relay, said, words) = match text.strip_prefix("H=") {
        Some(named) => {
            let (relay, rest) = relay(named)?;
            let said = match rest.strip_prefix(": ") {
                Some(words) => of_words(words).or_else(|| of_last(words))?,
                None => of_words(rest.trim_start()).or_else(|| of_errno(rest).filter(|_| !rest.contains('=')))?,
            };
            (relay, said, rest)
        }
        None => match former(text) {
            Some((relay, said)) => (relay, said, text),
            None => (unencrypted(text)?, Said::TlsFailed, text),
        },
    };
    let mut line = Line::new(MtaKind::Exim, header, DeliveryStatus::Failed);
    line.relay = Some(relay);
    line.said = said;
    line.words = redacted_unknown(words.trim_start_matches([':', ' ']));
    Some(line)
}

/// Until Exim 4.82 the host stood within the sentence, without `H=`:
/// `mx.example.net [203.0.113.5] Connection refused`, `Remote host mx.example.net [203.0.113.5] closed
/// connection in response to initial connection`, `SMTP timeout while connected to mx.example.net
/// [203.0.113.5] after initial connection`; and see [`answering_host`].
fn former(text: &str) -> Option<(Relay, Said)> {
    if let Some(relay) = answering_host(text) {
        return Some((relay, Said::Answered));
    }
    let of_step =
        |rest: &str, first: Said| if rest.contains("initial connection") { first } else { Said::LostInSession };
    if let Some((relay, rest)) = text.strip_prefix("Remote host ").and_then(relay) {
        let step = rest.strip_prefix(" closed connection in response to ")?;
        return Some((relay, of_step(step, Said::LostBeforeGreeting)));
    }
    if let Some((relay, rest)) = text.strip_prefix("SMTP timeout while connected to ").and_then(relay) {
        return Some((relay, of_step(rest.strip_prefix(" after ")?, Said::NoGreeting)));
    }
    let (relay, rest) = relay(text)?;
    let errno = Said::of_errno_alone(rest.strip_prefix(' ')?)?;
    // One word, of which it would be nonsense: `no host name found for IP address [203.0.113.5]`.
    let is_named = text.split(' ').nth(1).is_some_and(|second| second.starts_with('['));
    is_named.then_some((relay, errno))
}

/// The host of `SMTP error from remote mail server after RCPT TO:<a@example.net>: host mx.example.net
/// [203.0.113.5]: 550 5.1.1 no`, as it was written until Exim 4.82.
fn answering_host(text: &str) -> Option<Relay> {
    let (_, rest) = text.split_once("SMTP error from remote mail server after ")?;
    let (relay, rest) = rest.split_once(": host ").and_then(|(_, host)| relay(host))?;
    rest.starts_with(": ").then_some(relay)
}

/// The host of `TLS error on connection to mx.example.net [203.0.113.5] (gnutls_handshake): timed out`,
/// and of `TLS session: ...: delivering unencrypted to H=mx.example.net [203.0.113.5] (...)`: without
/// TLS there will be another connection.
fn unencrypted(text: &str) -> Option<Relay> {
    const TO: [&str; 2] = ["delivering unencrypted to ", "TLS error on connection to "];
    let named = TO.iter().find_map(|to| text.split_once(to)).filter(|_| text.starts_with("TLS "))?.1;
    relay(named.strip_prefix("H=").unwrap_or(named)).map(|(relay, _)| relay)
}

/// Of `exim_errstrings` and strerror(3).
fn of_errno(words: &str) -> Option<Said> {
    const OWN: [(&str, Said); 5] = [
        ("Failed to start TLS session", Said::TlsFailed),
        ("Mandatory TLS session not started", Said::TlsFailed),
        ("Used internally in smtp transport", Said::TimedOut),
        ("smtp closed", Said::LostInSession),
        ("Delivery write incomplete error", Said::LostInSession),
    ];
    let own = OWN.iter().find(|(name, _)| words.contains(name)).map(|(_, said)| *said);
    own.or_else(|| Said::of_errno(words))
}

/// Of the errno that `write_logs` puts last.
fn of_last(words: &str) -> Option<Said> {
    let (_, last) = words.rsplit_once(": ")?;
    Said::of_errno_alone(last)
}

/// Messages of `check_response` and of the connection's set-up.
fn of_words(words: &str) -> Option<Said> {
    const INITIAL: &str = "initial connection";
    const TLS: [&str; 6] = [
        "TLS session",
        "TLS error on connection",
        "a TLS session is required",
        "failure while setting up TLS session",
        "bad first read from TLS",
        "TLS negotiation failed",
    ];
    if words.starts_with("Remote host closed connection in response to ") {
        return Some(if words.contains(INITIAL) { Said::LostBeforeGreeting } else { Said::LostInSession });
    }
    if words.starts_with("SMTP timeout after ") {
        return Some(if words.contains(INITIAL) { Said::NoGreeting } else { Said::LostInSession });
    }
    if words.starts_with("SMTP error from remote mail server after ") {
        return Some(Said::Answered);
    }
    if words.starts_with("failed to write a data block") {
        return Some(Said::LostInSession);
    }
    if TLS.iter().any(|begin| words.starts_with(begin)) {
        return Some(Said::TlsFailed);
    }
    const OTHERS: [&str; 3] = ["Malformed SMTP reply", "bad first read", "TLS "];
    OTHERS.iter().any(|begin| words.starts_with(begin)).then_some(Said::Other)
}

/// `john@example.net R=dnslookup T=remote_smtp H=mx.example.net [203.0.113.5] ...`,
/// from after the flag.
fn recipient(header: &Header<'_>, text: &str, status: DeliveryStatus) -> Option<Line> {
    let (address, rest) = recipient_address(text);
    let parent = rest.split_once(" <").and_then(|(_, parent)| parent.split_once('>')).map_or("", |(parent, _)| parent);
    let mut line = Line::new(MtaKind::Exim, header, status);
    line.recipient_domain = Some(domain_of(address.trim_end_matches(':'))?);
    let (fields, words) = if address.ends_with(':') { ("", rest) } else { split(rest, status) };
    if let Some((named, rest)) = fields.split_once(" H=").and_then(|(_, named)| relay(named)) {
        line.relay = Some(named);
        // Behind the port, where that is logged.
        line.is_reused = rest.starts_with('*');
    }
    line.relay = line.relay.or_else(|| answering_host(words));
    line.source = field(fields, " I=").and_then(|(relay, _)| Some(SocketAddr::new(relay.ip?, relay.port?)));
    if status == DeliveryStatus::Sent {
        // A delivery to a file or a command names no host.
        line.relay.as_ref()?;
        line.words = redacted(confirmation(fields), &[address, parent]);
        return Some(line);
    }
    // The transport lmtp speaks with a command or a socket of this host.
    if line.relay.is_none() && words.contains("LMTP error after ") {
        return None;
    }
    line.said = said(words);
    line.words = redacted(words.trim_start_matches([':', ' ']), &[address, parent]);
    Some(line)
}

/// The address, which a quoted local part can have spaces in, and all after it.
fn recipient_address(text: &str) -> (&str, &str) {
    let mut is_quoted = false;
    let end = text.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == b' ' && !is_quoted
    });
    text.split_at(end.unwrap_or(text.len()))
}

/// Fields such as ` T=remote_smtp`, and the words: of a deferral they begin with
/// `defer (111)`, and the host can stand within them.
fn split(text: &str, status: DeliveryStatus) -> (&str, &str) {
    let mark = match status {
        DeliveryStatus::Sent => return (text, ""),
        DeliveryStatus::Deferred => " defer (",
        _ => ": ",
    };
    let Some(at) = text.find(mark) else { return (text, "") };
    match status {
        // H= is after the errno, and before the message.
        DeliveryStatus::Deferred => (text, &text[at + 1..]),
        _ => (&text[..at], &text[at..]),
    }
}

fn said(words: &str) -> Said {
    const SUSPENDED: [&str; 2] = ["retry time not reached", "have been failing for a long time"];
    // retry.c adds it to what the last try, which was made just now, ended with.
    let (words, is_over) = match words.strip_suffix("retry timeout exceeded") {
        Some(words) => (words.strip_suffix(": ").unwrap_or(words), true),
        None => (words, false),
    };
    let is_alone = is_over && words.trim_matches([':', ' ']).is_empty();
    if is_alone || SUSPENDED.iter().any(|reason| words.contains(reason)) {
        return Said::Suspended;
    }
    if let Some((_, message)) = words.split_once(": ")
        && let Some(said) = message.split(": ").find_map(of_words)
    {
        return said;
    }
    let number = words.strip_prefix("defer (").and_then(|rest| rest.split_once(')'));
    if let Some(said) = number.and_then(|(number, _)| of_number(number.parse().ok()?)) {
        return said;
    }
    match of_errno(words) {
        Some(said) => said,
        None if words.contains("SMTP error from remote mail server") => Said::Answered,
        None => Said::Other,
    }
}

/// Errnos, and Exim's own of `macros.h`, which are negative.
fn of_number(number: i32) -> Option<Said> {
    Some(match number {
        libc::ECONNREFUSED | libc::ENOPROTOOPT => Said::Refused,
        libc::ETIMEDOUT | -43 => Said::TimedOut,
        libc::ENETUNREACH | libc::ENETDOWN => Said::NetworkUnreachable,
        libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENONET | libc::EINVAL => Said::NoRoute,
        libc::EPERM | libc::EACCES | libc::EADDRNOTAVAIL | libc::EADDRINUSE => Said::NotPermitted,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Said::NotPermitted,
        -18 | -26 => Said::LostInSession,
        -38 | -37 => Said::TlsFailed,
        -46..=-44 => Said::Answered,
        -57..=-52 => Said::Suspended,
        _ => return None,
    })
}

/// `NAME [ADDRESS]:PORT`, where the port may be absent, and what is after it. The
/// name can be in parentheses, or absent.
fn relay(text: &str) -> Option<(Relay, &str)> {
    let (host, rest) = text.split_once('[')?;
    let (ip, rest) = rest.split_once(']')?;
    let host = host.split(' ').next().and_then(host_name);
    let digits = rest.strip_prefix(':').map_or(0, |port| port.bytes().take_while(u8::is_ascii_digit).count());
    let port = rest.get(1..=digits).and_then(|port| port.parse().ok());
    let rest = if port.is_some() { &rest[1 + digits..] } else { rest };
    let ip = ip.parse::<IpAddr>().ok()?.to_canonical();
    let host = host.filter(|host| host.parse::<IpAddr>().is_err());
    Some((Relay { host, ip: Some(ip), port }, rest))
}

fn field<'a>(fields: &'a str, name: &str) -> Option<(Relay, &'a str)> {
    fields.split_once(name).and_then(|(_, value)| relay(value))
}

/// The text of ` C="250 OK"`.
fn confirmation(fields: &str) -> &str {
    let Some((_, text)) = fields.split_once(" C=\"") else { return "" };
    text.rsplit_once('"').map_or(text, |(text, _)| text)
}
