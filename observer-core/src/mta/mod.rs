//! What the mail server says of its own deliveries, read from its log, and which
//! connection attempts stand behind it.
//!
//! The parsers ([`postfix`], [`exim`], [`opensmtpd`], [`kumomta`]) and the
//! `join` are pure, and so is `attach`, which gives events what was joined to them.
//!
//! A log holds mail addresses. The part before the `@` is dropped where a line is
//! parsed: no value that leaves a parser has one, in a field or in the words.

pub mod exim;
pub mod header;
pub mod kumomta;
pub mod opensmtpd;
pub mod postfix;
mod said;
pub mod stamp;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::header::Header;
pub use self::said::Said;
use self::stamp::Clock;
pub use self::words::{WORDS_MAX, domain_of};
use crate::choice::Choice;

/// Of a longer line only so many bytes are looked at: Postfix cuts its lines at
/// 2,000, Exim at 8,192 (`LOG_BUFFER_SIZE`).
pub const LINE_MAX: usize = 8_192;

/// A mail server whose log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Postfix, by syslog, the journal or `maillog_file`.
    Postfix,
    /// Exim's mainlog, or the same by syslog.
    Exim,
    /// OpenSMTPD, by syslog or the journal.
    OpenSmtpd,
    /// KumoMTA's JSON records, one a line, uncompressed.
    KumoMta,
}

impl Kind {
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

impl Choice for Kind {
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
pub enum Status {
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

impl Status {
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
    pub kind: Kind,
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
    pub status: Status,
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
    fn new(kind: Kind, header: &Header<'_>, status: Status) -> Self {
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

/// The meaning of one line without its end, or `None` if it tells nothing of an
/// outbound delivery. Any bytes will do.
pub fn parse(kind: Kind, line: &[u8], clock: &Clock) -> Option<Line> {
    let line = &line[..line.len().min(LINE_MAX)];
    let text = String::from_utf8_lossy(line);
    match kind {
        Kind::Postfix => header::syslog(&text, clock).and_then(|header| postfix::message(&header)),
        Kind::OpenSmtpd => header::syslog(&text, clock).and_then(|header| opensmtpd::message(&header)),
        Kind::Exim => exim::line(&text, clock),
        Kind::KumoMta => kumomta::record(line),
    }
}

/// As [`parse`], of a line whose time and writer come with it: from the journal.
pub fn parse_entry(kind: Kind, header: &Header<'_>, clock: &Clock) -> Option<Line> {
    match kind {
        Kind::Postfix => postfix::message(header),
        Kind::OpenSmtpd => opensmtpd::message(header),
        Kind::Exim => exim::message(header, clock),
        Kind::KumoMta => kumomta::record(header.text.as_bytes()),
    }
}
