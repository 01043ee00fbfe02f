//! What the mail server says of its own deliveries, read from its log, and which
//! connection attempts stand behind it.
//!
//! The parsers ([`postfix`], [`exim`], [`opensmtpd`], [`kumomta`]) and the
//! `join` are pure, and so is `attach`, which gives events what was joined to them.
//!
//! A log holds mail addresses. The part before the `@` is dropped where a line is
//! parsed: no value that leaves a parser has one, in a field or in the words.

mod advice;
pub mod exim;
pub mod header;
mod journal;
pub mod kumomta;
pub mod opensmtpd;
pub mod postfix;
mod said;
pub mod stamp;
#[cfg(test)]
mod tests;
mod understanding;
pub(crate) mod words;
mod wrapper;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::advice::{advice, is_export};
use self::header::Header;
pub use self::said::Said;
use self::stamp::{Clock, Seen};
pub use self::understanding::Understanding;
pub use self::words::{WORDS_MAX, domain_of};
use crate::choice::Choice;

/// Of a longer line only so many bytes are looked at: Postfix cuts its lines at
/// 2,000, Exim at 8,192 (`LOG_BUFFER_SIZE`), docker at 16,384; a record of KumoMTA can have headers.
pub const LINE_MAX: usize = 32 << 10;

/// A mail server whose log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MtaKind {
    /// Postfix, by syslog, the journal or `maillog_file`.
    Postfix,
    /// Exim's mainlog, or the same by syslog.
    Exim,
    /// OpenSMTPD, by syslog or the journal.
    OpenSmtpd,
    /// KumoMTA's JSON records, one a line, uncompressed.
    KumoMta,
}

impl MtaKind {
    /// As the configuration and the event write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postfix => "postfix",
            Self::Exim => "exim",
            Self::OpenSmtpd => "opensmtpd",
            Self::KumoMta => "kumomta",
        }
    }
}

impl Choice for MtaKind {
    const ALL: &'static [Self] = &[Self::Postfix, Self::Exim, Self::OpenSmtpd, Self::KumoMta];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// What was read of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines, or entries of the journal.
    pub lines: u64,
    /// Those of the mail server itself, by their form.
    pub understood: u64,
    /// Those that tell of a delivery.
    pub deliveries: u64,
    /// Lines of which only the beginning was looked at.
    pub too_long: u64,
    /// Times that a new file had taken the place of the old one.
    pub rotations: u64,
    /// Times that a file was found cut.
    pub truncations: u64,
    /// Files that came and went before they could be opened.
    pub unread_files: u64,
    /// Files that went, or were cut without a copy, and may have had more than was read.
    pub unread_ends: u64,
    /// Times that journalctl had to be started again.
    pub restarts: u64,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// A connection is being tried: OpenSMTPD alone says so beforehand.
    Trying,
    /// One attempt did not deliver; another host may yet.
    Failed,
    /// Delivered to a recipient.
    Sent,
    /// Not now: to be tried again for a recipient.
    Deferred,
    /// Given up for a recipient.
    Bounced,
}

impl DeliveryStatus {
    /// As events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Failed => "failed",
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
        }
    }

    /// True where the line is the last word on a recipient for this time.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Deferred | Self::Bounced)
    }
}

/// The other end, as the log names it. What it does not name is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    /// Host name: of the MX record, but with OpenSMTPD that of the address.
    pub host: Option<String>,
    /// Address.
    pub ip: Option<IpAddr>,
    /// Port.
    pub port: Option<u16>,
}

/// One line about a delivery, or about an attempt at one.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Who wrote it.
    pub kind: MtaKind,
    /// When, as far as the stamp tells.
    pub time: Timestamp,
    /// The line was written within this time after `time`.
    pub precision: Duration,
    /// Host of the writer.
    pub host: Option<String>,
    /// Process that wrote it, if logged.
    pub pid: Option<u32>,
    /// Message within the server.
    pub queue_id: Option<String>,
    /// Connection within the server: OpenSMTPD's session.
    pub session: Option<String>,
    /// Domain of the recipient. There is no more of the address.
    pub recipient_domain: Option<String>,
    /// The other end; `None` where the line names none.
    pub relay: Option<Relay>,
    /// This end of the connection.
    pub source: Option<SocketAddr>,
    /// What the line tells.
    pub status: DeliveryStatus,
    /// What it says of the connection.
    pub said: Said,
    /// The connection was made for an earlier message, perhaps by another process.
    pub is_reused: bool,
    /// How long the delivery took from the moment that the process got it: with
    /// Postfix the last two of `delays`.
    pub took: Option<Duration>,
    /// The server's own words, at most [`WORDS_MAX`] bytes, without local parts.
    pub words: String,
}

impl Line {
    /// A line without anything but its header.
    fn new(kind: MtaKind, header: &Header<'_>, status: DeliveryStatus) -> Self {
        Self {
            kind,
            time: header.time,
            precision: header.precision,
            host: header.host.map(str::to_owned),
            pid: header.pid,
            queue_id: None,
            session: None,
            recipient_domain: None,
            relay: None,
            source: None,
            status,
            said: Said::Nothing,
            is_reused: false,
            took: None,
            words: String::new(),
        }
    }
}

/// What was made of one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What it tells of outbound deliveries: mostly nothing, or one thing.
    pub lines: Vec<Line>,
    /// Whose line it is.
    pub writer: Writer,
}

/// Who wrote a line, as far as its form tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// The mail server.
    Server,
    /// Another program, which can share a log with it.
    Other,
    /// Not known: its form is none of those that can be read, or that of another mail server.
    #[default]
    Unknown,
}

impl Reading {
    fn of(line: Option<Line>) -> Self {
        Self { lines: line.into_iter().collect(), writer: Writer::Server }
    }
}

/// The meaning of one line without its end, of a file. Any bytes will do.
pub fn read(kind: MtaKind, line: &[u8], clock: &Clock) -> Reading {
    let line = &line[..line.len().min(LINE_MAX)];
    let text = without_tabs(String::from_utf8_lossy(line));
    if text.starts_with('{')
        && let Some(reading) = kumomta_record(kind, &text).or_else(|| journal::entry(kind, line, clock))
    {
        return reading;
    }
    let unwrapped = wrapper::unwrap(&text, clock);
    let reading = of_text(kind, &unwrapped.text, unwrapped.seen, clock);
    match reading.writer {
        Writer::Unknown if header::is_of_daemon(&unwrapped.text, clock) => Reading { writer: Writer::Other, ..reading },
        _ => reading,
    }
}

/// Templates of syslog daemons can have tabs between the fields.
fn without_tabs(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\t') { Cow::Owned(text.replace('\t', " ")) } else { text }
}

/// As [`read`], of an entry of the journal as `journalctl --output=json` writes it.
pub fn read_entry(kind: MtaKind, line: &[u8], clock: &Clock) -> Reading {
    journal::entry(kind, line, clock).unwrap_or_default()
}

/// The text of an entry of the journal, to show it.
pub fn entry_text(line: &[u8]) -> Option<String> {
    journal::shown(line)
}

/// The meaning of a line without wrappers.
fn of_text(kind: MtaKind, text: &str, seen: Option<Seen>, clock: &Clock) -> Reading {
    match kind {
        MtaKind::KumoMta => kumomta_record(kind, text)
            .or_else(|| Some(of_message(kind, &header::syslog(text, seen, clock)?, clock)))
            .unwrap_or_default(),
        MtaKind::Exim => exim::line(text, seen, clock),
        MtaKind::Postfix | MtaKind::OpenSmtpd => match header::syslog(text, seen, clock) {
            Some(header) => of_message(kind, &header, clock),
            // Without a daemon around it, OpenSMTPD writes the message alone (`smtpd -d`), and what passes it on a time.
            None if kind == MtaKind::OpenSmtpd => {
                let stamped = stamp::syslog(text, clock);
                let passed_on = stamped.map(|of| (of.rest, Seen { time: of.time, precision: of.precision }));
                let bare = passed_on.or(seen.map(|seen| (text, seen)));
                bare.map_or_else(Reading::default, |(text, seen)| opensmtpd::bare(text, seen))
            }
            None => Reading::default(),
        },
    }
}

fn kumomta_record(kind: MtaKind, text: &str) -> Option<Reading> {
    (kind == MtaKind::KumoMta).then(|| kumomta::record(text.as_bytes())).flatten()
}

/// The meaning of a message whose time and writer are known.
fn of_message(kind: MtaKind, header: &Header<'_>, clock: &Clock) -> Reading {
    if let Some(reading) = kumomta_record(kind, header.text) {
        return reading;
    }
    let Some(own) = own_header(kind, header, clock) else {
        // Without a stamp or a tag of its own, in the message of a container engine.
        let bare = match kind {
            MtaKind::Exim => exim::bare(header, clock),
            MtaKind::OpenSmtpd if header.is_of_container() => {
                Some(opensmtpd::bare(header.text, header.seen())).filter(|of| !of.lines.is_empty())
            }
            _ => None,
        };
        let is_servers = MtaKind::ALL.iter().any(|other| is_tag_of(*other, header.tag));
        let writer = if is_servers { Writer::Unknown } else { Writer::Other };
        return bare.unwrap_or(Reading { lines: Vec::new(), writer });
    };
    let header = &own;
    match kind {
        MtaKind::Postfix => Reading::of(postfix::message(header)),
        MtaKind::Exim => Reading::of(exim::message(header, clock)),
        MtaKind::OpenSmtpd => Reading::of(opensmtpd::message(header)),
        MtaKind::KumoMta => Reading::default(),
    }
}

/// So many headers of others can be around a server's own.
const HEADERS_MAX: usize = 3;

/// The header with the server's tag: this one, or one in the message, where the `syslog` driver of a container
/// engine or a relay wrote this one.
fn own_header<'a>(kind: MtaKind, header: &Header<'a>, clock: &Clock) -> Option<Header<'a>> {
    let mut header = *header;
    for _ in 0..HEADERS_MAX {
        if is_tag_of(kind, header.tag) {
            return Some(header);
        }
        // Of another mail server, which says what it likes.
        if MtaKind::ALL.iter().any(|other| is_tag_of(*other, header.tag)) {
            return None;
        }
        header = header::inner(&header, clock)?;
    }
    None
}

fn is_tag_of(kind: MtaKind, tag: &str) -> bool {
    match kind {
        MtaKind::Postfix => postfix::is_own(tag),
        MtaKind::Exim => exim::is_own(tag),
        MtaKind::OpenSmtpd => opensmtpd::is_own(tag),
        MtaKind::KumoMta => tag == "kumod",
    }
}

/// The last thing that a line tells.
#[cfg(test)]
pub(crate) fn parse(kind: MtaKind, line: &[u8], clock: &Clock) -> Option<Line> {
    read(kind, line, clock).lines.pop()
}
