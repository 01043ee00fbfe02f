//! Entries of the journal, as journalctl writes them with `--output=json`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::header::Header;
use super::stamp::{Clock, Seen};
use super::{MtaKind, Reading, Writer, of_message, of_text};

/// Fields, of which each can be a text, a list of bytes, or a list of several values.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Field<'a>,
    #[serde(rename = "SYSLOG_IDENTIFIER", default, borrow)]
    identifier: Option<Field<'a>>,
    #[serde(rename = "SYSLOG_PID", default, borrow)]
    said_pid: Option<Field<'a>>,
    #[serde(rename = "_PID", default, borrow)]
    pid: Option<Field<'a>>,
    #[serde(rename = "_HOSTNAME", default, borrow)]
    host: Option<Field<'a>>,
    /// Docker's and podman's drivers.
    #[serde(rename = "CONTAINER_ID", default)]
    container: Option<serde::de::IgnoredAny>,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", default, borrow)]
    written: Option<Field<'a>>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow)]
    received: Field<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

impl Field<'_> {
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
            Self::Other(_) => None,
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Option<T> {
        self.text()?.parse().ok()
    }
}

/// The meaning of an entry; `None` if it is none.
pub(super) fn entry(kind: MtaKind, line: &[u8], clock: &Clock) -> Option<Reading> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let written = entry.written.as_ref().and_then(Field::number::<i64>);
    let time = Timestamp::from_microsecond(written.or_else(|| entry.received.number())?).ok()?;
    let precision = Duration::from_micros(1);
    let message = entry.message.text()?;
    if entry.container.is_some() {
        // Identifier and process are those of the container engine. What the server wrote is whole in the message.
        let reading = of_text(kind, &message, Some(Seen { time, precision }), clock);
        // All containers share the journal.
        let writer = if reading.writer == Writer::Server { Writer::Server } else { Writer::Other };
        return Some(Reading { writer, ..reading });
    }
    let tag = entry.identifier.as_ref().and_then(Field::text).unwrap_or_default();
    let host = entry.host.as_ref().and_then(Field::text);
    // Journald sees processes as they are here; what a process says of itself may be
    // of a namespace of its own.
    let pid = entry.pid.as_ref().or(entry.said_pid.as_ref()).and_then(Field::number);
    let header = Header { time, precision, host: host.as_deref(), tag: &tag, pid, text: &message };
    Some(of_message(kind, &header, clock))
}

/// `IDENTIFIER: MESSAGE` of an entry, to show it.
pub(super) fn shown(line: &[u8]) -> Option<String> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let identifier = entry.identifier.as_ref().and_then(Field::text).unwrap_or_default();
    Some(format!("{identifier}: {}", entry.message.text()?))
}
