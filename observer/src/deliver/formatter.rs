//! From a record to a sink's message.

use std::io;

use observer_core::format::{Entry, Format, journal};

use super::message::{Message, MessageKind};
use super::target::Target;
use crate::config::SinkConfig;

/// How a sink writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Formatter {
    /// Lines, or bodies of requests.
    Lines(Format),
    /// Syslog messages, with the private enterprise number of their structured data.
    Syslog(Format, u32),
    /// Entries of the journal's native protocol.
    Journal,
}

impl Formatter {
    pub(super) fn of(config: &SinkConfig) -> Self {
        match config.target {
            Target::Syslog(_) => Self::Syslog(config.format, config.enterprise),
            Target::Journald(_) => Self::Journal,
            _ => Self::Lines(config.format),
        }
    }

    /// # Errors
    /// Those of serialisation, which plain values do not have.
    pub(super) fn message(self, entry: Entry<'_>) -> io::Result<Message> {
        let mut body = Vec::with_capacity(1_024);
        match self {
            Self::Lines(format) => format.append(entry, false, &mut body)?,
            Self::Syslog(format, enterprise) => format.append_syslog(entry, enterprise, &mut body)?,
            Self::Journal => journal::append(entry, &mut body)?,
        }
        let (kind, label) = match entry {
            Entry::Event(event) => (MessageKind::Event, Some(event.label)),
            Entry::Alert(_) => (MessageKind::Alert, None),
            Entry::Minute(_) => (MessageKind::Minute, None),
            Entry::Notice(_) => (MessageKind::Notice, None),
        };
        Ok(Message { id: entry.id().to_owned(), kind, label, body })
    }
}
