//! Formats: pure functions from an event to bytes. Adding one is a file and an
//! arm of [`Format`].

pub mod cef;
pub mod ecs;
mod escape;
pub mod gelf;
pub mod journal;
pub mod json;
pub mod leef;
mod object;
pub mod ocsf;
pub mod otlp;
mod own;
pub mod phrase;
pub mod place;
pub mod record;
pub mod rfc5424;
pub mod severity;
pub mod span;
pub mod splunk_hec;
pub mod text;

use std::io;

use self::record::Record;
use self::rfc5424::{DOCUMENTATION_PEN, Header};
use crate::alert::Alert;
use crate::choice::Choice;
use crate::event::Event;
use crate::minute::Minute;
use crate::notice::Notice;

/// Whatever formats write.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// An attempt that ended.
    Event(&'a Event),
    /// How far failures reach has changed.
    Alert(&'a Alert),
    /// Counts of a minute.
    Minute(&'a Minute),
    /// Something about observer itself.
    Notice(&'a Notice),
}

impl<'a> Entry<'a> {
    /// Its id: stable, so that a receiver can drop repeats.
    pub fn id(self) -> &'a str {
        match self {
            Self::Event(event) => &event.id,
            Self::Alert(alert) => &alert.id,
            Self::Minute(minute) => &minute.id,
            Self::Notice(notice) => &notice.id,
        }
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line per event, for people.
    #[default]
    Text,
    /// One JSON object per line, observer.event.v1, for programs.
    Json,
    /// Elastic Common Schema 9.4.
    Ecs,
    /// Open Cybersecurity Schema Framework 1.8.0, Network Activity.
    Ocsf,
    /// Common Event Format (ArcSight, Sentinel).
    Cef,
    /// Log Event Extended Format 2.0 (QRadar).
    Leef,
    /// Syslog with structured data.
    Rfc5424,
    /// Graylog Extended Log Format 1.1.
    Gelf,
    /// Splunk HTTP Event Collector, CIM Network Traffic.
    SplunkHec,
    /// OpenTelemetry logs, as JSON.
    Otlp,
}

impl Choice for Format {
    const ALL: &'static [Self] = &[
        Self::Text,
        Self::Json,
        Self::Ecs,
        Self::Ocsf,
        Self::Cef,
        Self::Leef,
        Self::Rfc5424,
        Self::Gelf,
        Self::SplunkHec,
        Self::Otlp,
    ];

    fn name(self) -> &'static str {
        Format::name(self)
    }

    fn help(self) -> Option<&'static str> {
        Some(match self {
            Self::Text => "One line per event, for people",
            Self::Json => "One JSON object per line, observer.event.v1, for programs",
            Self::Ecs => "Elastic Common Schema 9.4",
            Self::Ocsf => "Open Cybersecurity Schema Framework 1.8.0, Network Activity",
            Self::Cef => "Common Event Format (ArcSight, Sentinel)",
            Self::Leef => "Log Event Extended Format 2.0 (QRadar)",
            Self::Rfc5424 => "Syslog with structured data",
            Self::Gelf => "Graylog Extended Log Format 1.1",
            Self::SplunkHec => "Splunk HTTP Event Collector, CIM Network Traffic",
            Self::Otlp => "OpenTelemetry logs, as JSON",
        })
    }
}

impl Format {
    /// The format as options and configuration name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Leef => "leef",
            Self::Rfc5424 => "rfc5424",
            Self::Gelf => "gelf",
            Self::SplunkHec => "splunk-hec",
            Self::Otlp => "otlp",
        }
    }

    /// Appends the entry, newline included. Only text has colour.
    ///
    /// # Errors
    /// Those of serialisation, which plain values do not have.
    pub fn append(self, entry: Entry<'_>, is_coloured: bool, out: &mut Vec<u8>) -> io::Result<()> {
        match entry {
            Entry::Event(event) => self.append_event(event, is_coloured, out)?,
            Entry::Alert(alert) => self.append_alert(alert, is_coloured, out)?,
            Entry::Minute(minute) if self == Self::Json => json::append(minute, out)?,
            Entry::Notice(notice) if self == Self::Json => json::append(notice, out)?,
            Entry::Minute(minute) => self.append_record(&Record::of_minute(minute)?, is_coloured, out)?,
            Entry::Notice(notice) => self.append_record(&Record::of_notice(notice)?, is_coloured, out)?,
        }
        Ok(())
    }

    /// Appends the entry as one syslog message of RFC 5424, without a newline: as
    /// itself in that format, in another one behind its header. What is JSON has
    /// the cookie `@cee:` before it, by which receivers know it.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_syslog(self, entry: Entry<'_>, enterprise: u32, out: &mut Vec<u8>) -> io::Result<()> {
        if self == Self::Rfc5424 {
            match entry {
                Entry::Event(event) => rfc5424::append(event, enterprise, out),
                Entry::Alert(alert) => rfc5424::append_alert(alert, enterprise, out),
                Entry::Minute(minute) => rfc5424::append_record(&Record::of_minute(minute)?, enterprise, out),
                Entry::Notice(notice) => rfc5424::append_record(&Record::of_notice(notice)?, enterprise, out),
            }
        } else {
            match entry {
                Entry::Event(event) => Header::of_event(event).append(out),
                Entry::Alert(alert) => Header::of_alert(alert).append(out),
                Entry::Minute(minute) => Header::of_record(&Record::of_minute(minute)?).append(out),
                Entry::Notice(notice) => Header::of_record(&Record::of_notice(notice)?).append(out),
            }
            let is_json = !matches!(self, Self::Text | Self::Cef | Self::Leef);
            out.extend_from_slice(if is_json { b"- @cee: " } else { b"- " });
            self.append(entry, false, out)?;
        }
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        Ok(())
    }

    fn append_event(self, event: &Event, is_coloured: bool, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Text => text::append(event, is_coloured, out),
            Self::Json => json::append(event, out)?,
            Self::Ecs => ecs::append_event(event, out)?,
            Self::Ocsf => ocsf::append_event(event, out)?,
            Self::Cef => cef::append(event, out),
            Self::Leef => leef::append(event, out),
            Self::Rfc5424 => rfc5424::append(event, DOCUMENTATION_PEN, out),
            Self::Gelf => gelf::append_event(event, out)?,
            Self::SplunkHec => splunk_hec::append_event(event, out)?,
            Self::Otlp => otlp::append_event(event, out)?,
        }
        Ok(())
    }

    fn append_alert(self, alert: &Alert, is_coloured: bool, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Text => text::append_alert(alert, is_coloured, out),
            Self::Json => json::append(alert, out)?,
            Self::Ecs => ecs::append_alert(alert, out)?,
            Self::Ocsf => ocsf::append_alert(alert, out)?,
            Self::Cef => cef::append_alert(alert, out),
            Self::Leef => leef::append_alert(alert, out),
            Self::Rfc5424 => rfc5424::append_alert(alert, DOCUMENTATION_PEN, out),
            Self::Gelf => gelf::append_alert(alert, out)?,
            Self::SplunkHec => splunk_hec::append_alert(alert, out)?,
            Self::Otlp => otlp::append_alert(alert, out)?,
        }
        Ok(())
    }

    /// All but JSON, which writes minutes and notices as they are.
    fn append_record(self, record: &Record<'_>, is_coloured: bool, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Text | Self::Json => text::append_record(record, is_coloured, out),
            Self::Ecs => ecs::append_record(record, out)?,
            Self::Ocsf => ocsf::append_record(record, out)?,
            Self::Cef => cef::append_record(record, out),
            Self::Leef => leef::append_record(record, out),
            Self::Rfc5424 => rfc5424::append_record(record, DOCUMENTATION_PEN, out),
            Self::Gelf => gelf::append_record(record, out)?,
            Self::SplunkHec => splunk_hec::append_record(record, out)?,
            Self::Otlp => otlp::append_record(record, out)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
