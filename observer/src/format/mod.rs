//! Formats: pure functions from an event to bytes. Adding one is a file and an
//! arm of [`Format`].

pub mod cef;
pub mod ecs;
pub mod gelf;
pub mod json;
pub mod leef;
pub mod ocsf;
pub mod otlp;
pub mod phrase;
pub mod rfc5424;
pub mod severity;
pub mod span;
pub mod splunk_hec;
pub mod text;

use std::io;

use crate::alert::Alert;
use crate::event::Event;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line per event, for people
    #[default]
    Text,
    /// One JSON object per line, observer.event.v1, for programs
    Json,
    /// Elastic Common Schema 9.4
    Ecs,
    /// Open Cybersecurity Schema Framework 1.8.0, Network Activity
    Ocsf,
    /// Common Event Format (ArcSight, Sentinel)
    Cef,
    /// Log Event Extended Format 2.0 (QRadar)
    Leef,
    /// Syslog with structured data
    Rfc5424,
    /// Graylog Extended Log Format 1.1
    Gelf,
    /// Splunk HTTP Event Collector, CIM Network Traffic
    SplunkHec,
    /// OpenTelemetry logs, as JSON
    Otlp,
}

impl Format {
    /// Appends the event, newline included. Only text has colour.
    pub fn append(self, event: &Event, is_coloured: bool, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text => text::append(event, is_coloured, out),
            Self::Json => json::append(event, out)?,
            Self::Ecs => ecs::append_event(event, out)?,
            Self::Ocsf => ocsf::append_event(event, out)?,
            Self::Cef => cef::append(event, out),
            Self::Leef => leef::append(event, out),
            Self::Rfc5424 => rfc5424::append(event, out),
            Self::Gelf => gelf::append_event(event, out)?,
            Self::SplunkHec => splunk_hec::append_event(event, out)?,
            Self::Otlp => otlp::append_event(event, out)?,
        }
        Ok(())
    }

    /// Appends the alert, newline included. Only text has colour.
    pub fn append_alert(self, alert: &Alert, is_coloured: bool, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text => text::append_alert(alert, is_coloured, out),
            Self::Json => json::append(alert, out)?,
            Self::Ecs => ecs::append_alert(alert, out)?,
            Self::Ocsf => ocsf::append_alert(alert, out)?,
            Self::Cef => cef::append_alert(alert, out),
            Self::Leef => leef::append_alert(alert, out),
            Self::Rfc5424 => rfc5424::append_alert(alert, out),
            Self::Gelf => gelf::append_alert(alert, out)?,
            Self::SplunkHec => splunk_hec::append_alert(alert, out)?,
            Self::Otlp => otlp::append_alert(alert, out)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
