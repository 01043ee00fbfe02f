//! Postfix: what smtp(8), qmgr(8) and error(8) log of deliveries.
//!
//! The forms are those of `log_adhoc.c`, `smtp_connect.c` and `smtp_trouble.c`.
//! One smtp(8) process makes one connection at a time, and logs a line for each
//! connect that failed; only the last line of a delivery names the recipient.

use std::net::IpAddr;
use std::time::Duration;

use super::header::Header;
use super::words::{domain_of, host_name, redacted, redacted_unknown};
use super::{DeliveryStatus, Line, MtaKind, Relay, Said};

/// What retry(8) says where no process of the transport could be had.
const NO_TRANSPORT: &str = "mail transport unavailable";
/// What qmgr(8) puts before the words of the delivery that made it stop.
const SUSPENDED: &str = "delivery temporarily suspended: ";

/// The daemons that deliver to other hosts, or say why nothing was tried: `relay`
/// is what master.cf commonly calls a second smtp(8). lmtp(8) is smtp(8) by another name, and its
/// hosts are connected to by TCP too. Where the tag is `postfix` alone (rsyslog's `programname`) it can be any
/// of them.
fn is_delivering(tag: &str) -> bool {
    let program = tag.rsplit_once('/').map_or(tag, |(_, program)| program);
    tag.contains("postfix") && matches!(program, "smtp" | "lmtp" | "relay" | "qmgr" | "error" | "retry" | "postfix")
        || matches!(program, "smtp" | "lmtp" | "qmgr") && tag.contains('/')
        || tag.starts_with("postfix") && tag.ends_with(".service")
}

/// Programs of Postfix, by which it is known under another `syslog_name`.
const PROGRAMS: [&str; 16] = [
    "anvil",
    "bounce",
    "cleanup",
    "error",
    "lmtp",
    "local",
    "master",
    "pickup",
    "pipe",
    "postscreen",
    "qmgr",
    "scache",
    "smtp",
    "smtpd",
    "trivial-rewrite",
    "virtual",
];
/// Beginnings of lines that have no queue id.
const NO_IDS: [&str; 5] = ["warning", "error", "fatal", "panic", "statistics"];
/// Of what smtp_proto.c says where TLS could not be agreed on.
const TLS_FAILED: [&str; 6] = [
    "Cannot start TLS: ",
    "TLS is required, but ",
    "Server certificate not ",
    "client TLS configuration problem",
    "Sender requested REQUIRETLS, ",
    "TLS handshake failed",
];

/// True for a tag of Postfix; `journalctl -o with-unit` has the unit in its place.
pub(super) fn is_own(tag: &str) -> bool {
    let program = tag.rsplit_once('/').map(|(_, program)| program);
    tag.contains("postfix") || program.is_some_and(|program| PROGRAMS.contains(&program))
}

/// The meaning of a message.
pub fn message(header: &Header<'_>) -> Option<Line> {
    if !is_delivering(header.tag) {
        return None;
    }
    if let Some(rest) = header.text.strip_prefix("connect to ") {
        return connect(header, rest);
    }
    if let Some(words) = header.text.strip_prefix("warning: smtp_connect_addr: ") {
        return bind(header, words);
    }
    if let Some(rest) = header.text.strip_prefix("SSL_connect error to ") {
        return handshake(header, rest);
    }
    let (queue_id, text) = header.text.split_once(": ")?;
    if !is_queue_id(queue_id) {
        return None;
    }
    let mut line = match text.strip_prefix("to=<") {
        Some(rest) => delivery(header, rest)?,
        None => session(header, text)?,
    };
    line.queue_id = Some(queue_id.to_owned());
    Some(line)
}

/// Short ids are five hexadecimal digits of microseconds and the inode, up to 21 in all; long ones at
/// least six of seconds, four of microseconds, a `z` and the inode, up to 29 (`mail_queue.h`).
fn is_queue_id(text: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (5..=32).contains(&text.len()) && text.bytes().all(is_of_id) && !NO_IDS.contains(&text)
}

/// `mx.example.net[203.0.113.5]:25: lost connection`, of tls_client.c: what follows on the message
/// does not name the host.
fn handshake(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (relay, words) = relay(rest)?;
    let mut line = Line::new(MtaKind::Postfix, header, DeliveryStatus::Failed);
    line.relay = Some(relay);
    line.said = Said::TlsFailed;
    line.words = redacted_unknown(&format!("SSL_connect error{words}"));
    Some(line)
}

/// `bind 192.0.2.99: Cannot assign requested address`, of smtp_connect.c: with `smtp_bind_address_enforce`
/// it does not come to a connect, and the last word does not say why.
fn bind(header: &Header<'_>, words: &str) -> Option<Line> {
    if !words.starts_with("bind ") {
        return None;
    }
    let mut line = Line::new(MtaKind::Postfix, header, DeliveryStatus::Failed);
    line.said = Said::of_errno(words).unwrap_or(Said::NotPermitted);
    line.words = redacted_unknown(words);
    Some(line)
}

/// `connect to mx.example.net[203.0.113.5]:25: Connection refused`
fn connect(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (relay, said, words) = of_connect(rest)?;
    let mut line = Line::new(MtaKind::Postfix, header, DeliveryStatus::Failed);
    line.relay = Some(relay);
    line.said = said;
    line.words = redacted_unknown(words);
    Some(line)
}

/// The host, what is said of it, and the words, of what follows `connect to `. Before version 2.5 the port
/// was behind the words, `Connection refused (port 25)`, and in the oldest before the colon; until 2.7
/// the greeting was part of the connect.
fn of_connect(rest: &str) -> Option<(Relay, Said, &str)> {
    const OLD: [(&str, Said); 4] = [
        ("server dropped connection without sending the initial ", Said::LostBeforeGreeting),
        ("read timeout", Said::NoGreeting),
        ("server refused mail service", Said::Answered),
        ("server refused to talk to me", Said::Answered),
    ];
    let (mut relay, rest) = relay(rest)?;
    let (words, port) = match rest.strip_prefix(" port ").and_then(|rest| rest.split_once(": ")) {
        Some((port, words)) => (words, Some(port)),
        None => {
            let words = rest.strip_prefix(": ")?;
            (words, words.rsplit_once(" (port ").map(|(_, port)| port.trim_end_matches(')')))
        }
    };
    relay.port = relay.port.or_else(|| port?.parse().ok());
    let old = OLD.iter().find(|(begin, _)| words.starts_with(begin)).map(|(_, said)| *said);
    Some((relay, old.or_else(|| Said::of_errno(words)).unwrap_or(Said::Other), words))
}

/// `QUEUE-ID: lost connection with mx.example.net[203.0.113.5] while receiving the
/// initial server greeting`: another host will be tried.
fn session(header: &Header<'_>, text: &str) -> Option<Line> {
    let (named, said) = of_session(text)?;
    let mut line = Line::new(MtaKind::Postfix, header, DeliveryStatus::Failed);
    line.relay = Some(named);
    line.said = said;
    line.words = redacted_unknown(text);
    Some(line)
}

/// The host that words of `smtp_trouble.c` name, and what they say of the connection.
fn of_session(words: &str) -> Option<(Relay, Said)> {
    const GREETING: &str = "receiving the initial server greeting";
    if let Some(rest) = words.strip_prefix("lost connection with ") {
        let (relay, rest) = relay(rest)?;
        let said = if rest.ends_with(GREETING) { Said::LostBeforeGreeting } else { Said::LostInSession };
        return rest.starts_with(" while ").then_some((relay, said));
    }
    if let Some(rest) = words.strip_prefix("conversation with ") {
        let (relay, rest) = relay(rest)?;
        let said = if rest.ends_with(GREETING) { Said::NoGreeting } else { Said::LostInSession };
        return rest.starts_with(" timed out while ").then_some((relay, said));
    }
    if let Some(rest) = TLS_FAILED.iter().find_map(|begin| words.strip_prefix(begin)) {
        let (_, host) = rest.split_once("host ").or_else(|| rest.split_once("server was "))?;
        return relay(host).map(|(relay, _)| (relay, Said::TlsFailed));
    }
    if let Some(rest) = words.strip_prefix("local data error while talking to ") {
        return relay(rest).map(|(relay, _)| (relay, Said::Other));
    }
    let words = words.strip_prefix("Protocol error: ").unwrap_or(words);
    if let Some((_, server)) = words.strip_prefix("SASL ").and_then(|rest| rest.split_once("server ")) {
        let (relay, rest) = relay(server)?;
        return Some((relay, if rest.starts_with(" said: ") { Said::Answered } else { Said::Other }));
    }
    let (relay, rest) = relay(words.strip_prefix("host ")?)?;
    (rest.starts_with(" said: ") || rest.starts_with(" refused to talk to me: ")).then_some((relay, Said::Answered))
}

/// `to=<john@example.net>, relay=none, delay=0.1, delays=0.1/0/0/0, dsn=4.4.1,
/// status=deferred (connect to ...)`, from after the `<`.
fn delivery(header: &Header<'_>, rest: &str) -> Option<Line> {
    let (recipient, mut rest) = address(rest)?;
    let mut recipients = vec![recipient];
    if let Some(original) = rest.strip_prefix(", orig_to=<") {
        let (original, after) = address(original)?;
        recipients.push(original);
        rest = after;
    }
    let rest = rest.strip_prefix(", relay=")?;
    let (named, rest) = rest.split_once(", ")?;
    let (fields, status) = rest.split_once("status=")?;
    let (status, words) = status.split_once(" (")?;
    let status = self::status(status, fields)?;
    let mut line = Line::new(MtaKind::Postfix, header, status);
    line.recipient_domain = domain_of(recipient);
    line.is_reused = fields.contains("conn_use=");
    line.took = took(fields);
    if named != "none" {
        // A local transport's relay is no host.
        line.relay = Some(relay(named)?.0);
    }
    words_of(&mut line, whole(words), &recipients);
    // What lmtp(8) says without a host is of a socket of this one.
    let is_here = header.tag.ends_with("lmtp") && line.relay.is_none();
    (!is_here).then_some(line)
}

/// What becomes of the message, or would become of one where an address is only verified.
fn status(word: &str, fields: &str) -> Option<DeliveryStatus> {
    Some(match word {
        "sent" | "deliverable" => DeliveryStatus::Sent,
        // With `soft_bounce` the message stays in the queue.
        "deferred" | "SOFTBOUNCE" | "softbounce" => DeliveryStatus::Deferred,
        "bounced" | "expired" => DeliveryStatus::Bounced,
        "undeliverable" | "undeliverable-but-not-cached" if fields.contains("dsn=5.") => DeliveryStatus::Bounced,
        "undeliverable" | "undeliverable-but-not-cached" => DeliveryStatus::Deferred,
        _ => return None,
    })
}

/// What is in the parentheses; where the line was cut, without the last word, unless it ends an errno's.
fn whole(words: &str) -> &str {
    match words.strip_suffix(')') {
        Some(words) => words,
        None if Said::ends_in_errno(words) => words,
        None => words.rfind(' ').map_or("", |at| &words[..at]),
    }
}

fn words_of(line: &mut Line, words: &str, recipients: &[&str]) {
    let (is_suspended, reason) = match words.strip_prefix(SUSPENDED) {
        Some(reason) => (true, reason),
        None => (words == NO_TRANSPORT, words),
    };
    let named = match reason.strip_prefix("connect to ").and_then(of_connect) {
        Some((named, said, _)) => Some((named, said)),
        None => of_session(reason),
    };
    let of_relay = line.relay.as_ref().map(|_| match line.status {
        DeliveryStatus::Sent => Said::Nothing,
        _ if TLS_FAILED.iter().any(|begin| reason.starts_with(begin)) => Said::TlsFailed,
        _ if reason.contains(" said: ") => Said::Answered,
        // Postfix itself ended the session, for want of something.
        _ => Said::Other,
    });
    line.said = if is_suspended {
        Said::Suspended
    } else {
        named.as_ref().map(|(_, said)| *said).or(of_relay).unwrap_or(Said::Other)
    };
    if line.relay.is_none() {
        line.relay = named.map(|(relay, _)| relay);
    }
    line.words = redacted(words, recipients);
}

/// An address up to its `>`, which may also stand in a quoted local part.
fn address(text: &str) -> Option<(&str, &str)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'>' && !is_quoted;
        if byte == b'"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// `mx.example.net[203.0.113.5]:25`, where the port may be absent, and what is after it.
fn relay(text: &str) -> Option<(Relay, &str)> {
    let (host, rest) = text.split_once('[')?;
    let (ip, rest) = rest.split_once(']')?;
    let ip: IpAddr = ip.strip_prefix("IPv6:").unwrap_or(ip).parse().ok()?;
    let host = host_name(host).filter(|host| host.parse::<IpAddr>().is_err());
    let digits = rest.strip_prefix(':').map_or(0, |port| port.bytes().take_while(u8::is_ascii_digit).count());
    let port = rest.get(1..=digits).and_then(|port| port.parse().ok());
    let rest = if port.is_some() { &rest[1 + digits..] } else { rest };
    Some((Relay { host, ip: Some(ip.to_canonical()), port }, rest))
}

/// The last two of `delays=a/b/c/d`: connecting, and all after it.
fn took(fields: &str) -> Option<Duration> {
    let (_, delays) = fields.split_once("delays=")?;
    let delays = delays.split([',', ' ']).next()?;
    let mut last = delays.rsplit('/').take(2).map(|text| text.parse::<f64>().ok());
    let seconds = last.next()?? + last.next()??;
    Duration::try_from_secs_f64(seconds).ok()
}
